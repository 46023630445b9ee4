"""Publishing superset datasets and reading them back, on a Hub of this machine."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from hub_client import HubClient, Said
from hub_datasets import FACTS, dataset, read, refusal
from huggingface_hub import DatasetCard
from label_sets import write_image
from loopback_hub_upload import UploadHub, metadata_problems

from converters import load_superset
from hub_cards import dataset_card, load_dataset
from superset_vocab import InputError

ANN = "hf_ann-secret"


@pytest.fixture(scope="module")
def hub() -> Iterator[UploadHub]:
    with UploadHub({ANN: "ann"}) as served:
        yield served


@pytest.fixture(scope="module")
def client(hub: UploadHub, tmp_path_factory: pytest.TempPathFactory) -> Iterator[HubClient]:
    with HubClient(hub.endpoint, tmp_path_factory.mktemp("hf")) as started:
        yield started


def test_publish_and_read_back(hub: UploadHub, client: HubClient, tmp_path: Path) -> None:
    folder = dataset(tmp_path)
    (folder / "notes.txt").write_text("mine")
    said = client.zoo("publish", folder, "--repo", "ann/two-mice", token=ANN)
    assert said.status == 0, said.err
    assert said.out.splitlines()[-2] == "hf://datasets/ann/two-mice@v1"
    assert "notes.txt  stays here" in said.out
    held = hub.repositories["datasets/ann/two-mice"]
    files = held.commits[held.refs["v1"]]
    images = [name for name in files if name.startswith("images/")]
    assert len(images) == 3
    made = {"README.md", "CHANGELOG.md", "SHA256SUMS", ".gitattributes"}
    assert set(files) == {*images, *made, "annotations.json", "examples/a b.png"}
    for name in set(files) - made:
        assert files[name] == (folder / name).read_bytes()
    card = DatasetCard(files["README.md"].decode())
    assert metadata_problems(card.data.to_dict(), "dataset") == []
    assert 'load_dataset("hf://datasets/ann/two-mice@v1")' in card.text
    for name in ("hf://ann/two-mice@v1", "hf://datasets/ann/two-mice"):
        found = read(client, name)
        assert found["n"] == 3
        theirs, ours = load_superset(Path(found["folder"])), load_superset(folder)
        assert theirs.sources == ours.sources
        for a, b in zip(theirs.records, ours.records, strict=True):
            assert a.keypoints.tobytes() == b.keypoints.tobytes()
            assert a.image.read_bytes() == b.image.read_bytes()


def test_a_new_version_of_a_published_one(hub: UploadHub, client: HubClient, tmp_path: Path) -> None:
    folder = dataset(tmp_path)
    publish = ("publish", folder, "--repo", "ann/versions")
    assert client.zoo(*publish, token=ANN).status == 0
    assert "nothing has changed" in client.zoo(*publish, token=ANN).out
    held = hub.repositories["datasets/ann/versions"]
    copy = tmp_path / "downloaded"
    for name, data in held.commits[held.refs["v1"]].items():
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        (copy / name).write_bytes(data)
    assert len(load_dataset(copy)) == 3
    write_image(copy / "examples" / "a b.png", seed=7)
    with pytest.raises(InputError, match=r"examples/a b\.png is not the file that was published"):
        load_dataset(copy)
    assert client.zoo("publish", copy, "--repo", "ann/versions", token=ANN).status == 0
    assert held.tags == {"v1", "v2"}
    assert b"versions@v2" in held.commits[held.refs["v2"]]["README.md"]


def test_nothing_of_anybody_s_is_removed(hub: UploadHub, client: HubClient, tmp_path: Path) -> None:
    folder = dataset(tmp_path)
    theirs = {"annotations.json": b'{"images": []}', "images/1.png": b"x", "README.md": b"# Theirs"}
    hub.commit("datasets/ann/coco", theirs)
    said = client.zoo("publish", folder, "--repo", "ann/coco", token=ANN)
    assert "holds something else (README.md, annotations.json, images/1.png)" in refusal(said)
    held = hub.repositories["datasets/ann/coco"]
    assert held.commits[held.refs["main"]] == theirs

    publish = ("publish", folder, "--repo", "ann/added")
    assert client.zoo(*publish, token=ANN).status == 0
    added = {"LICENSE": b"CC BY", "notebooks/look.ipynb": b"{}"}
    hub.commit("datasets/ann/added", added)
    assert "nothing has changed" in client.zoo(*publish, token=ANN).out
    other = dataset(tmp_path / "other", lab="other")
    assert client.zoo("publish", other, "--repo", "ann/added", token=ANN).status == 0
    held = hub.repositories["datasets/ann/added"]
    files = held.commits[held.refs["v2"]]
    assert all(files[name] == content for name, content in added.items())
    assert not any(name.startswith("images/lab") for name in files)  # the version before had them
    assert sum(name.startswith("images/other") for name in files) == 3
    assert read(client, "hf://ann/added@v2")["n"] == 3


def test_folders_of_the_contributor_s_disk_are_not_published(
    hub: UploadHub, client: HubClient, tmp_path: Path
) -> None:
    folder = dataset(tmp_path)
    file = folder / "annotations.json"
    content = json.loads(file.read_text())
    content["info"]["sources"][0]["location"] = "/home/ann/secret/lab"
    file.write_text(json.dumps(content))
    assert client.zoo("publish", folder, "--repo", "ann/paths", token=ANN).status == 0
    held = hub.repositories["datasets/ann/paths"]
    published = held.commits[held.refs["v1"]]["annotations.json"]
    assert b"secret" not in published
    assert json.loads(published)["info"]["sources"][0]["location"] == "lab"
    assert json.loads(published)["annotations"] == content["annotations"]
    assert read(client, "hf://ann/paths")["n"] == 3
    assert "nothing has changed" in client.zoo("publish", folder, "--repo", "ann/paths", token=ANN).out


def test_images_without_a_licence_are_not_shown(hub: UploadHub, client: HubClient, tmp_path: Path) -> None:
    folder = dataset(tmp_path, licence="unknown")
    publish = ("publish", folder, "--repo", "ann/unlicensed")
    assert "lab states no licence, so nobody has allowed" in refusal(client.zoo(*publish, token=ANN))
    assert "datasets/ann/unlicensed" not in hub.repositories
    assert client.zoo(*publish, "--private", token=ANN).status == 0
    assert hub.repositories["datasets/ann/unlicensed"].token == ANN
    (folder / "README.md").unlink()
    (folder / "card.toml").write_text(
        'name = "Ours"\nsummary = "Mice."\ncontact = "Ann"\nlicence = "CC BY 4.0"\n'
    )
    assert client.zoo("publish", folder, "--repo", "ann/licensed", token=ANN).status == 0
    held = hub.repositories["datasets/ann/licensed"]
    assert b"license: cc-by-4.0" in held.commits[held.refs["v1"]]["README.md"]
    (folder / "card.toml").unlink()
    (folder / "README.md").write_text(dataset_card(load_superset(folder), FACTS))
    hub.commit("datasets/ann/open", {"annotations.json": b"{}"})
    assert "lab states no licence" in refusal(client.zoo("publish", folder, "--repo", "ann/open", token=ANN))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda d: (d / "README.md").unlink(), "has neither README.md nor card.toml"),
        (lambda d: (d / "README.md").write_text("# Mice"), "its figures are not those of annotations.json"),
        (
            lambda d: (d / "README.md").write_text(
                (d / "README.md").read_text().replace("| images | 3 |", "| images | 4 |")
            ),
            "want the lines '| images | 3 |'",
        ),
        (
            lambda d: (d / "README.md").write_text(
                (d / "README.md").read_text().replace("superanimal-zoo", "x")
            ),
            "is no card of this package",
        ),
        (
            lambda d: (d / "README.md").write_text((d / "README.md").read_text().replace("tags:", "tags: :")),
            "its metadata cannot be read",
        ),
        (lambda d: (d / "examples" / "a b.png").unlink(), "examples/a b.png is missing"),
        (lambda d: (d / "card.toml").write_text('name = "Mice"'), "2 problems"),
        (
            lambda d: (d / "card.toml").write_text('name = "M"\nsummary = "s"\ncontact = "c"\n'),
            "is not the card that annotations.json and card.toml give",
        ),
        (lambda d: next((d / "images").iterdir()).write_bytes(b"no image"), "images/"),
    ],
)
def test_folders_that_do_not_agree_are_refused(client: HubClient, tmp_path: Path, change, words: str) -> None:
    folder = dataset(tmp_path)
    change(folder)
    assert words in refusal(client.zoo("publish", folder, "--repo", "ann/wrong", "--dry-run"))


def test_a_link_out_of_the_folder_is_not_followed(client: HubClient, tmp_path: Path) -> None:
    folder = dataset(tmp_path)
    image = next((folder / "images").iterdir())
    outside = Path(shutil.move(image, tmp_path / "outside.png"))
    image.symlink_to(outside)
    said = client.zoo("publish", folder, "--repo", "ann/wrong", "--dry-run")
    assert "is a link or a path that leads elsewhere" in refusal(said)


def test_a_tampered_dataset_is_refused(hub: UploadHub, client: HubClient, tmp_path: Path) -> None:
    folder = dataset(tmp_path)
    assert client.zoo("publish", folder, "--repo", "ann/tampered", token=ANN).status == 0
    held = hub.repositories["datasets/ann/tampered"]
    good = held.commits[held.refs["v1"]]

    def tampered(name: str, data: bytes) -> str:
        hub.stored[hashlib.sha256(data).hexdigest()] = data
        hub.commit("datasets/ann/tampered", {**good, name: data})
        return read(client, "hf://ann/tampered").get("error", "")

    image = next(name for name in good if name.startswith("images/"))
    assert f"{image} is not the file that was published" in tampered(image, good[image] + b"x")
    labels = good["annotations.json"].replace(b"superanimal_topviewmouse", b"superanimal_quadruped")
    assert "annotations.json is not the file" in tampered("annotations.json", labels)
    assert "line 1 is not a digest and the name" in tampered("SHA256SUMS", b"0" * 64 + b"  ../../x\n")
    assert tampered("README.md", good["README.md"] + b"A word more.\n") == ""


def test_two_writers_at_once(hub: UploadHub, client: HubClient, tmp_path: Path) -> None:
    """While one is about to commit, the other publishes: the first is refused, nothing is lost."""
    ours, theirs = dataset(tmp_path / "ours"), dataset(tmp_path / "theirs")
    write_image(theirs / "examples" / "a b.png", seed=7)
    publish = ("--repo", "ann/both")
    for n_before in (0, 1):  # a new repository, and one with a version
        with HubClient(hub.endpoint, tmp_path / "hf") as other:
            done: list[Said] = []
            hub.uploads.before_commit = [
                lambda: done.append(other.zoo("publish", theirs, *publish, token=ANN))  # noqa: B023
            ]
            line = refusal(client.zoo("publish", ours, *publish, token=ANN)).splitlines()[-1]
        assert "somebody else published to it meanwhile" in line
        assert done[0].status == 0
        held = hub.repositories["datasets/ann/both"]
        assert len(held.tags) == n_before + 1
        newest = held.commits[held.refs["main"]]
        assert newest["examples/a b.png"] == (theirs / "examples" / "a b.png").read_bytes()
        write_image(theirs / "examples" / "a b.png", seed=8)
    assert client.zoo("publish", ours, *publish, token=ANN).out.splitlines()[-2].endswith("ann/both@v3")
    assert b"[3 images, 3 animals" in held.commits[held.refs["v1"]]["CHANGELOG.md"]


def test_a_hub_without_xet_and_no_hub_at_all(hub: UploadHub, tmp_path: Path) -> None:
    """The client's default protocol, where the Hub does not speak it; and a network that is gone."""
    publish = ("publish", dataset(tmp_path), "--repo", "ann/xet")
    with HubClient(hub.endpoint, tmp_path / "hf", HF_HUB_DISABLE_XET="0") as client:
        said = client.zoo(*publish, token=ANN)
        line = said.err.splitlines()[-1]
        assert said.status == 2
        assert "set HF_HUB_DISABLE_XET=1 and run the same command again" in line
        assert "secret" not in said.err
    with HubClient("http://127.0.0.1:9", tmp_path / "hf") as client:
        line = refusal(client.zoo(*publish, token=ANN))
        assert "the connection to http://127.0.0.1:9 broke off" in line
        assert "cannot be reached" in refusal(client.zoo("models", "--remote"))
        assert "cannot be reached" in read(client, "hf://ann/two-mice")["error"]
