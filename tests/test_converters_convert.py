"""Detection of formats, and a conversion as a whole: all of it or nothing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from data import need
from label_sets import assert_same, small_set, write_image

import converters
from converters import FORMATS, convert, convert_labels, detect_format, load_superset
from superset_vocab import InputError, LabelSet, Visibility, load_vocabulary
from superset_vocab.files import atomic_folder, atomic_path
from superset_vocab.provenance import operation, package_version

NAMES = ("snout", "leftear", "rightear", "tailbase")
SLP = "trajectories/deepof_tests/tests/test_examples/test_single_topview/Tables/SLEAP/testDLC_sleap.slp"
MOUSE = load_vocabulary("superanimal_topviewmouse")


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("openfield-Pranav-2018-10-30", "deeplabcut"),
        ("openfield-Pranav-2018-10-30/labeled-data/m4s1/CollectedData_Pranav.h5", "deeplabcut"),
        ("openfield-Pranav-2018-10-30/labeled-data/m4s1/CollectedData_Pranav.csv", "deeplabcut"),
        ("mirror-mouse-example", "lightning-pose"),
        ("mirror-mouse-example/CollectedData.csv", "lightning-pose"),
        ("dlulab_bottomview", "deeplabcut"),
        (SLP, "sleap"),
        ("alphatracker_train9", "sloth"),
        ("alphatracker_train9/train9_640x360.json", "sloth"),
        ("animal_pose", "animal-pose"),
        ("animal_pose/keypoints.json", "animal-pose"),
        ("tiger_pose", "yolo-pose"),
        ("horses_roboflow_v5", "yolo-pose"),
    ],
)
def test_real_sources_are_recognised(path, name):
    assert detect_format(need(path)).name == name


@pytest.mark.parametrize("path", ["ensembles", "trajectories", "animal_pose/images/2007_000063.jpg"])
def test_other_sources_are_refused_with_the_known_formats(path):
    with pytest.raises(InputError) as error:
        detect_format(need(path))
    assert all(f"- {name}: " in str(error.value) for name in FORMATS)


def test_an_ambiguous_source_asks_for_the_format(tmp_path):
    (tmp_path / "config.yaml").write_text("bodyparts: [a]")
    (tmp_path / "labeled-data").mkdir()
    (tmp_path / "labels.json").write_text(json.dumps([{"filename": "a.png", "annotations": []}]))
    with pytest.raises(InputError, match="deeplabcut or sloth; say which with --format"):
        detect_format(tmp_path)


def test_a_missing_source_and_an_unknown_format(tmp_path):
    with pytest.raises(InputError, match="no such file or folder"):
        convert(tmp_path / "nothing", "dlc-openfield", tmp_path / "out")
    with pytest.raises(InputError, match="'csv' is no label format; there are: coco, coco-parts, deeplabcut"):
        converters.read_labels(tmp_path, format="csv")


def test_openfield_to_superset_and_back_from_disk(tmp_path):
    written = convert(need("openfield-Pranav-2018-10-30"), "dlc-openfield", tmp_path / "out")
    assert_same(load_superset(tmp_path / "out"), written)
    assert (len(written), written.vocabulary, written.keypoints) == (116, MOUSE.name, MOUSE.keypoints)
    first = written.records[0]
    defined = {
        name: first.visibility[0, k] for k, name in enumerate(MOUSE.keypoints) if first.visibility[0, k] >= 0
    }
    assert defined == {"nose": 2, "left_ear": 2, "right_ear": 2, "tail_base": 2}
    np.testing.assert_allclose(first.keypoints[0, MOUSE.index["tail_base"]], [87.11, 152.698], atol=1e-9)
    assert first.image.name == "dlc-openfield__m4s1__img0000.png"
    assert (first.dataset, first.split_group) == ("dlc-openfield", "m4s1")
    assert [done["name"] for done in load_superset(tmp_path / "out").operations] == ["read", "project"]


def test_a_view_from_below_converts_with_its_licence(tmp_path):
    written = convert(need("inscopix_bottomview"), "inscopix_bottomview", tmp_path / "out")
    assert written.sources[0].licence == "CC BY-NC 4.0"
    assert (written.records[0].visibility >= 0).sum() == 3


def test_options_dataset_and_split_group(tmp_path):
    source = need("inscopix_bottomview")
    written = convert(
        source,
        "inscopix_bottomview",
        tmp_path / "out",
        dataset="cage2",
        split_group="m1",
        format="deeplabcut",
    )
    assert {(r.dataset, r.split_group) for r in written.records} == {("cage2", "m1")}
    assert written.operations[1] == {"name": "set_split_group", "split_group": "m1"}


def test_labels_in_memory(tmp_path):
    labels = small_set(tmp_path, "lab", NAMES)
    written = convert_labels(labels, "dlc-openfield", tmp_path / "out")
    assert written.records[1].image.read_bytes() == labels.records[1].image.read_bytes()
    np.testing.assert_array_equal(written.records[0].keypoints[0, MOUSE.index["right_ear"]], [2, 2.5])
    bad = replace(labels.records[0], size_wh=(33, 24))
    with pytest.raises(InputError, match="is 32x24 pixels, the labels say 33x24"):
        convert_labels(replace(labels, records=(bad,)), "dlc-openfield", tmp_path / "out2")


def test_a_map_that_keeps_nothing_writes_nothing(tmp_path):
    labels = small_set(tmp_path, "lab", NAMES, n=1)
    state = np.array([[0, 0, 0, 2]], dtype=np.int8)
    xy = np.where(state[..., None] > 0, labels.records[0].keypoints, np.nan)
    labels = replace(labels, records=(replace(labels.records[0], visibility=state, keypoints=xy),))
    text = 'dataset="m"\nvocabulary="superanimal_topviewmouse"\ndrop=["tailbase","leftear","rightear"]\n'
    (tmp_path / "m.toml").write_text(text + '[map]\nsnout="nose"\n')
    with pytest.raises(InputError, match="no annotated keypoint"):
        convert_labels(labels, str(tmp_path / "m.toml"), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_map_of_another_dataset_writes_nothing(tmp_path):
    with pytest.raises(InputError, match=r"'snout' is neither mapped nor dropped"):
        convert_labels(small_set(tmp_path, "lab", NAMES), "OFT", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_output_folder_with_content_is_left_alone(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("mine")
    with pytest.raises(InputError, match=r"out: is not empty; choose a new output folder"):
        convert_labels(small_set(tmp_path, "lab", NAMES), "dlc-openfield", tmp_path / "out")
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["mine.txt"]


def test_an_unwritable_output_folder(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot write into this output folder"):
        convert_labels(small_set(tmp_path, "lab", NAMES), "dlc-openfield", tmp_path / "file" / "out")


def test_a_folder_is_written_whole_or_not_at_all(tmp_path):
    def write_then_fail(folder) -> None:
        (folder / "half").write_text("half")
        raise RuntimeError("killed")

    with pytest.raises(RuntimeError), atomic_folder(tmp_path / "out") as folder:
        write_then_fail(folder)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "out").mkdir()  # an empty one is fine
    with atomic_folder(tmp_path / "out") as folder:
        (folder / "whole").write_text("whole")
        assert not list((tmp_path / "out").iterdir())
    assert [p.name for p in tmp_path.iterdir()] == ["out"]
    assert (tmp_path / "out" / "whole").read_text() == "whole"


def test_written_files_have_the_usual_mode_and_the_umask_is_left_alone(tmp_path, monkeypatch):
    """Setting it, only to read it, made files of other threads writable for everybody."""
    (tmp_path / "plain").write_text("x")
    monkeypatch.setattr(os, "umask", lambda _: pytest.fail("the umask was set"))
    with atomic_path(tmp_path / "a.json") as path:
        path.write_text("x")
    with atomic_folder(tmp_path / "folder"):
        pass
    usual = (tmp_path / "plain").stat().st_mode & 0o777
    assert (tmp_path / "a.json").stat().st_mode & 0o777 == usual
    assert (tmp_path / "folder").stat().st_mode & 0o666 == usual


def test_a_file_in_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(InputError, match="cannot be written there"), atomic_path(tmp_path / "no" / "a.json"):
        pass


def test_an_image_that_vanishes_before_writing(tmp_path):
    labels = small_set(tmp_path, "lab", NAMES)
    labels.records[0].image.unlink()
    with pytest.raises(InputError, match=r"not written: .*0\.png: no such image"):
        converters.write_superset(labels, tmp_path / "out")


def test_a_labelled_animal_outside_every_state_is_kept_apart(tmp_path):
    """Not annotated in a defined keypoint and undefined elsewhere are different after a conversion."""
    labels = small_set(tmp_path, "lab", NAMES, n=1)
    state = np.array([[2, 0, 1, 2]], dtype=np.int8)
    xy = np.where(state[..., None] > 0, labels.records[0].keypoints, np.nan)
    labels = LabelSet(NAMES, (replace(labels.records[0], visibility=state, keypoints=xy),), labels.sources)
    convert_labels(labels, "dlc-openfield", tmp_path / "out")
    (record,) = load_superset(tmp_path / "out").records
    got = {
        name: Visibility(record.visibility[0, MOUSE.index[name]])
        for name in ("left_ear", "right_ear", "neck")
    }
    assert got == {"left_ear": 0, "right_ear": 1, "neck": -1}


def test_operation_is_plain_json(tmp_path):
    done = operation(
        "crop", path=tmp_path, box=np.array([1, 2]), scale=np.float32(0.5), tags=("a", None), on=True
    )
    expected = {
        "name": "crop",
        "path": str(tmp_path),
        "box": [1, 2],
        "scale": 0.5,
        "tags": ["a", None],
        "on": True,
    }
    assert json.loads(json.dumps(done)) == expected
    assert package_version().startswith("0.")


def test_importing_converters_is_light():
    code = (
        "import sys, converters; print([m for m in ('cv2', 'pandas', 'h5py', 'torch') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
    assert all(
        callable(getattr(converters, name)) or name in ("FORMATS", "WRITERS") for name in converters.__all__
    )


def test_reading_labels_needs_no_torch():
    code = (
        "import sys, converters; converters.convert; print('torch' in sys.modules, 'pandas' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False False"


def test_write_image_differs_by_seed(tmp_path):
    a, b = (write_image(tmp_path / f"{seed}.png", seed=seed).read_bytes() for seed in (1, 2))
    assert a != b
