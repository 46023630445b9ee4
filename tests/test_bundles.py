"""The official bundles: downloaded from a Zenodo on this machine, verified, extracted, read."""

from __future__ import annotations

import io
import json
import re
import stat
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from label_sets import assert_same
from loopback_zenodo import LoopbackZenodo

import converters.zenodo
from app.cli import main
from converters import load_superset
from converters.archives import extract
from converters.bundles import BUNDLES, fetch, find_bundle, read_bundle
from converters.zenodo import download, read_record
from superset_vocab import InputError, load_map, load_vocabulary

MOUSE = load_vocabulary("superanimal_topviewmouse")
BUNDLE = BUNDLES["topviewmouse-5k"]
OPENFIELD = [MOUSE.index[name] for name in ("nose", "left_ear", "right_ear", "tail_base")]


@pytest.fixture
def zenodo(monkeypatch: pytest.MonkeyPatch) -> Iterator[LoopbackZenodo]:
    with LoopbackZenodo() as server:
        monkeypatch.setenv("ZOO_ZENODO", server.address)
        monkeypatch.setattr(converters.zenodo, "_PAUSE", 0.01)
        yield server


def png(seed: int) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 255, (24, 32, 3), dtype=np.uint8)
    return cv2.imencode(".png", pixels)[1].tobytes()


def coco(ids: range, defined: list[int], source_dataset: str = "") -> dict:
    """A part as the authors' converter writes it: absolute names, -1 where undefined."""
    images, annotations = [], []
    for i in ids:
        more = {"source_dataset": source_dataset} if source_dataset else {}
        name = f"/mnt/md0/somebody/data/bundle/images/img{i:03d}_{i}.png"
        images.append({"file_name": name, "width": 32, "height": 24, "id": i, **more})
        values = np.full((len(MOUSE), 3), -1.0)
        values[defined] = [[5.5 + k, 4.25, 2.0] for k in range(len(defined))]
        values[defined[-1]] = [0.0, 0.0, 0.0]
        annotations.append(
            {
                "image_id": i,
                "num_keypoints": 27,
                "keypoints": values.ravel().tolist(),
                "id": i,
                "category_id": 0,
                "area": 1600.0,
                "bbox": [1.0, 2.0, 20.0, 20.0],
                "iscrowd": 0,
            }
        )
    category = {"name": "individual0", "id": 0, "supercategory": "animal", "keypoints": list(MOUSE.keypoints)}
    return {"images": images, "annotations": annotations, "categories": [category]}


def bundle_files(source_dataset: str = "") -> dict[str, bytes]:
    """A small bundle: three images of openfield's keypoints to train, two of all keypoints to test."""
    train, test = (
        coco(range(3), OPENFIELD, source_dataset),
        coco(range(3, 5), list(range(26)), source_dataset),
    )
    files = {
        "bundle/annotations/train.json": json.dumps(train).encode(),
        "bundle/annotations/test.json": json.dumps(test).encode(),
        "bundle/readme.json": b'{"not": "labels"}',
        "__MACOSX/bundle/._readme.json": b"\0\5\26\7",
    }
    return files | {f"bundle/images/img{i:03d}_{i}.png": png(i) for i in range(5)}


def zipped(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def written(path: Path, content: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def test_a_bundle_from_the_download_to_a_superset_dataset(zenodo, tmp_path, caplog):
    zenodo.publish(BUNDLE.record, {"bundle.zip": zipped(bundle_files()), "datasheet.pdf": b"%PDF"})
    labels = fetch("TopViewMouse-5K", tmp_path / "data")
    assert [r.dataset for r in labels.records] == ["topviewmouse-5k_26_keypoints"] * 2 + ["dlc-openfield"] * 3
    assert [r.split_group for r in labels.records] == ["test"] * 2 + ["train"] * 3
    openfield = labels.records[2]
    assert (openfield.visibility[0] >= 0).nonzero()[0].tolist() == sorted(OPENFIELD)
    np.testing.assert_array_equal(openfield.keypoints[0, OPENFIELD[1]], [6.5, 4.25])
    assert openfield.visibility[0, OPENFIELD[-1]] == 0
    np.testing.assert_array_equal(openfield.bbox_xywh, [[1, 2, 20, 20]])
    assert {source.licence for source in labels.sources} == {"cc-by-nc-sa-4.0"}
    assert labels.operations[0]["record"] == "10618947"
    assert_same(load_superset(tmp_path / "data" / "superset"), labels)
    extracted = tmp_path / "data" / "extracted" / "bundle" / "bundle" / "images" / "img000_0.png"
    assert openfield.image.samefile(extracted)
    assert "dlc-openfield (3), topviewmouse-5k_26_keypoints (2)" in caplog.text
    assert len(zenodo.ranges) == 1  # the datasheet is not fetched


def test_archives_whose_names_begin_alike_are_all_extracted(zenodo, tmp_path):
    files = bundle_files()
    test = {name: content for name, content in files.items() if "train" not in name}
    train = {name: content for name, content in files.items() if "test" not in name}
    zenodo.publish(BUNDLE.record, {"mouse.v1.test.zip": zipped(test), "mouse.v1.train.zip": zipped(train)})
    assert len(fetch("topviewmouse-5k", tmp_path / "data")) == 5
    assert len(list((tmp_path / "data" / "extracted").iterdir())) == 2


def test_stated_source_datasets_are_taken_as_they_are(tmp_path):
    for name, content in bundle_files("MausHaus").items():
        written(tmp_path / name, content)
    labels = read_bundle(tmp_path, BUNDLE)
    assert [source.dataset for source in labels.sources] == ["MausHaus"]
    assert labels.sources[0].licence == "unknown"


def test_an_archive_at_hand_needs_no_network(tmp_path, monkeypatch):
    monkeypatch.setenv("ZOO_ZENODO", "http://127.0.0.1:9")
    archive = written(tmp_path / "mine.zip", zipped(bundle_files()))
    assert len(fetch("topviewmouse-5k", tmp_path / "data", archive=archive)) == 5


def test_a_broken_download_goes_on_where_it_broke(zenodo, tmp_path):
    content = bytes(np.random.default_rng(0).bytes(300_000))
    zenodo.publish("1", {"a.zip": content})
    zenodo.switches.break_after = [100_000, 50_000]
    path = download(read_record("1").files[0], tmp_path)
    assert path.read_bytes() == content
    assert zenodo.ranges == ["", "bytes=100000-", "bytes=150000-"]
    assert [path.name for path in tmp_path.iterdir()] == ["a.zip"]


def test_a_connection_that_is_reset_keeps_what_came(zenodo, tmp_path, monkeypatch):
    class Reset(io.BytesIO):
        status, headers = 200, {}

        def read1(self, size: int | None = -1) -> bytes:
            if data := super().read1(size):
                return data
            raise ConnectionResetError(104, "Connection reset by peer")

    content = b"abcdef" * 1000
    zenodo.publish("1", {"a.zip": content})
    file, real = read_record("1").files[0], converters.zenodo._open
    first = iter([Reset(content[:2500])])
    monkeypatch.setattr(converters.zenodo, "_open", lambda *a: next(first, None) or real(*a))
    assert download(file, tmp_path).read_bytes() == content
    assert zenodo.ranges == ["bytes=2500-"]


def test_a_killed_download_goes_on_in_the_next_process(zenodo, tmp_path, monkeypatch):
    content = bytes(np.random.default_rng(1).bytes(200_000))
    zenodo.publish("1", {"a.zip": content})
    monkeypatch.setattr(converters.zenodo, "_ATTEMPTS", 1)
    zenodo.switches.break_after = [120_000, 0]  # the second attempt brings nothing: given up
    file = read_record("1").files[0]
    with pytest.raises(InputError, match=r"0\.1 MB of 0\.2 MB are here, the same command goes on"):
        download(file, tmp_path)
    part = next(tmp_path.glob("*.part"))
    assert part.stat().st_size == 120_000
    assert download(file, tmp_path).read_bytes() == content
    assert zenodo.ranges == ["", "bytes=120000-", "bytes=120000-"]
    download(file, tmp_path)  # whole and verified: nothing is asked for
    assert len(zenodo.ranges) == 3


def test_a_server_without_ranges_sends_it_all_again(zenodo, tmp_path):
    content = bytes(np.random.default_rng(2).bytes(100_000))
    zenodo.publish("1", {"a.zip": content})
    zenodo.ignore_ranges = True
    zenodo.switches.break_after = [40_000]
    assert download(read_record("1").files[0], tmp_path).read_bytes() == content


def test_a_partial_file_that_is_too_long_is_started_again(zenodo, tmp_path):
    zenodo.publish("1", {"a.zip": b"abcdef"})
    file = read_record("1").files[0]
    written(tmp_path / f"a.zip.{file.md5[:8]}.part", b"something else")
    with pytest.raises(InputError, match="is 14 bytes"):
        download(file, tmp_path)
    assert download(file, tmp_path).read_bytes() == b"abcdef"


def test_another_content_than_listed_is_refused_and_deleted(zenodo, tmp_path):
    zenodo.publish("1", {"a.zip": b"abcdef"})
    zenodo.records["1"]["files"][0]["checksum"] = "md5:" + "0" * 32
    with pytest.raises(InputError, match=r"damaged or not the published file .* want md5 0000"):
        download(read_record("1").files[0], tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_busy_server_is_asked_again_and_then_given_up(zenodo, tmp_path):
    zenodo.publish("1", {"a.zip": b"abcdef"})
    file = read_record("1").files[0]
    zenodo.switches.statuses = [503, 429]
    assert download(file, tmp_path / "a").read_bytes() == b"abcdef"
    zenodo.switches.statuses = [503] * 9
    with pytest.raises(InputError, match=r"answers with status 503; try again later; 0\.0 MB of 0\.0 MB"):
        download(file, tmp_path / "b")


def test_what_zenodo_can_answer_instead_of_a_record(zenodo, monkeypatch):
    with pytest.raises(InputError, match=r"records/404: there is no such record or file \(status 404\)"):
        read_record("404")
    zenodo.publish("1", {"a.zip": b"abc"})
    files = zenodo.records["1"]["files"]
    for change, message in (
        ({"checksum": "sha1:00"}, "is no md5"),
        ({"key": "../a.zip"}, "is no file name"),
        ({"links": {"self": "file:///etc/passwd"}}, "is no address"),
        ({"links": {}}, "KeyError: 'self'"),
    ):
        zenodo.records["1"]["files"] = [files[0] | change]
        with pytest.raises(InputError, match=message):
            read_record("1")
    zenodo.records["1"] = []
    with pytest.raises(InputError, match="does not list files as Zenodo does"):
        read_record("1")
    monkeypatch.setenv("ZOO_ZENODO", "http://127.0.0.1:9")
    with pytest.raises(InputError, match=r"127.0.0.1:9.*cannot be reached .*check the network"):
        read_record("1")


def test_a_file_that_is_gone_and_a_record_without_archive(zenodo, tmp_path):
    zenodo.publish(BUNDLE.record, {"a.zip": b"abc"})
    zenodo.stored.clear()
    with pytest.raises(InputError, match="there is no such record or file"):
        fetch("topviewmouse-5k", tmp_path)
    zenodo.publish(BUNDLE.record, {"data.parquet": b"abc"})
    with pytest.raises(InputError, match=r"has no archive .* among its files: data.parquet"):
        fetch("topviewmouse-5k", tmp_path)
    with pytest.raises(InputError, match="'topview' is no official dataset; there are: topviewmouse-5k"):
        find_bundle("topview")


def test_an_answer_that_is_no_json(zenodo):
    zenodo.records["1"] = b"<html>log in to the hotel's network</html>"
    with pytest.raises(InputError, match="does not answer like Zenodo"):
        read_record("1")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("../evil.txt", "'../evil.txt' leads out of the folder"),
        ("/etc/evil.txt", "'/etc/evil.txt' leads out of the folder"),
        ("a/..\\..\\evil.txt", "leads out of the folder"),
        ("C:/evil.txt", "leads out of the folder"),
    ],
)
def test_an_archive_cannot_write_elsewhere(tmp_path, name, message):
    archive = written(tmp_path / "a.zip", zipped({"fine.txt": b"1", name: b"2"}))
    with pytest.raises(InputError) as error:
        extract(archive, tmp_path / "out")
    assert message in str(error.value)
    assert not (tmp_path / "out").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["a.zip"]


def test_links_in_an_archive_are_left_out(tmp_path, caplog):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("fine.txt", b"1")
        link = zipfile.ZipInfo("link.txt")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(link, "/etc/passwd")
    extract(written(tmp_path / "a.zip", buffer.getvalue()), tmp_path / "zip")
    with tarfile.open(tmp_path / "a.tar.gz", "w:gz") as tar:
        info = tarfile.TarInfo("link.txt")
        info.type, info.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(info)
        info = tarfile.TarInfo("d/fine.txt")
        info.size = 1
        tar.addfile(info, io.BytesIO(b"1"))
    extract(tmp_path / "a.tar.gz", tmp_path / "tar")
    assert [path.name for path in (tmp_path / "zip").rglob("*")] == ["fine.txt"]
    assert sorted(path.name for path in (tmp_path / "tar").rglob("*")) == ["d", "fine.txt"]
    assert caplog.text.count("1 links and devices are left out, e.g. link.txt") == 2


def test_a_bomb_a_twin_and_a_lock_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("converters.archives._ALLOWANCE", 0)
    bomb = written(tmp_path / "bomb.zip", zipped({"zeros": bytes(10_000_000)}))
    with pytest.raises(InputError, match="claim to hold 10000000, which no archive of images does"):
        extract(bomb, tmp_path / "out")
    twins = written(tmp_path / "twins.zip", zipped({"a.txt": b"1" * 20, "A.txt": b"2" * 20}))
    with pytest.raises(InputError, match=r"'a\.txt' is in it 2 times"):
        extract(twins, tmp_path / "out")
    content = bytearray(zipped({"a.txt": b"1" * 20}))
    for at in (content.find(b"PK\x03\x04") + 6, content.find(b"PK\x01\x02") + 8):
        content[at] |= 1
    with pytest.raises(InputError, match=r"'a\.txt' is encrypted"):
        extract(written(tmp_path / "locked.zip", bytes(content)), tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ((".",), "'.' leads out of the folder"),
        (("./a", "a"), "'a' is in it 2 times"),
        (("a", "a/b"), "'a' is a file and a folder in it"),
        (("a/b", "a"), "'a' is a file and a folder in it"),
    ],
)
def test_members_in_each_other_s_place(tmp_path, names, message):
    archive = written(tmp_path / "a.zip", zipped(dict.fromkeys(names, b"x")))
    with pytest.raises(InputError, match=re.escape(message)):
        extract(archive, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("kind", ["zip", "tgz"])
def test_an_archive_with_any_byte_wrong_is_whole_or_refused(tmp_path, kind):
    """Python's readers stumble in many ways over damaged bytes; none of them may be a traceback."""
    if kind == "zip":
        content = zipped({"a/b.txt": b"x" * 2000, "c.txt": b"y" * 100})
    else:
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
            member = tarfile.TarInfo("a/b.txt")
            member.size = 3000
            archive.addfile(member, io.BytesIO(b"x" * 3000))
        content = buffer.getvalue()
    refused = 0
    for place in range(len(content)):
        broken = bytearray(content)
        broken[place] ^= 0xFF
        path = written(tmp_path / "a", bytes(broken))
        try:
            extract(path, tmp_path / f"out{place}")
        except InputError:
            refused += 1
    assert refused > len(content) / 3


def test_damaged_archives(tmp_path):
    with pytest.raises(InputError, match="is neither a zip nor a tar archive"):
        extract(written(tmp_path / "a.zip", b"<html>sorry</html>"), tmp_path / "out")
    content = bytearray(zipped({"a.png": png(0)}))
    content[60] ^= 0xFF
    with pytest.raises(InputError, match="is damaged"):
        extract(written(tmp_path / "b.zip", bytes(content)), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_other_keypoints_and_missing_images_are_all_listed(tmp_path):
    files = bundle_files()
    part = json.loads(files["bundle/annotations/test.json"])
    part["categories"][0]["keypoints"][0] = "snout"
    files["bundle/annotations/test.json"] = json.dumps(part).encode()
    del files["bundle/images/img001_1.png"]
    for name, content in files.items():
        written(tmp_path / name, content)
    with pytest.raises(InputError) as error:
        read_bundle(tmp_path, BUNDLE)
    assert "its keypoints snout are none of superanimal_topviewmouse" in str(error.value)
    assert "image img001_1.png is not in" in str(error.value)


def test_a_folder_without_labels(tmp_path):
    with pytest.raises(InputError, match=r"holds no COCO file of keypoints .* is it topviewmouse-5k\?"):
        read_bundle(tmp_path, BUNDLE)


def test_keypoints_in_another_order_go_to_their_names(tmp_path):
    files = bundle_files()
    part = json.loads(files["bundle/annotations/train.json"])
    part["categories"][0]["keypoints"] = list(reversed(MOUSE.keypoints))
    files["bundle/annotations/train.json"] = json.dumps(part).encode()
    for name, content in files.items():
        written(tmp_path / name, content)
    record = read_bundle(tmp_path, BUNDLE).records[-1]
    np.testing.assert_array_equal(record.keypoints[0, len(MOUSE) - 1 - OPENFIELD[0]], [5.5, 4.25])


def test_every_official_dataset_has_a_vocabulary_and_some_maps():
    for bundle in BUNDLES.values():
        load_vocabulary(bundle.vocabulary)
    assert load_map("dlc-openfield").vocabulary.name == BUNDLE.vocabulary


def test_the_command(zenodo, tmp_path, capsys):
    zenodo.publish(BUNDLE.record, {"bundle.zip": zipped(bundle_files())})
    assert main(["fetch-data", "topviewmouse-5k", "--out", str(tmp_path / "d"), "--quiet"]) == 0
    out = capsys.readouterr().out
    assert "superset: 5 images, 5 instances" in out
    assert "cc-by-nc-sa-4.0" in out
    assert main(["fetch-data", "topviewmouse-5k", "--out", str(tmp_path / "d"), "--quiet"]) == 2
    assert "exists already" in capsys.readouterr().err
    assert main(["fetch-data", "nothing", "--out", str(tmp_path / "e"), "--quiet"]) == 2
    assert not (tmp_path / "e").exists()
