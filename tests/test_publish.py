"""Publishing and loading again, through the unmodified Hugging Face client, on a Hub of this machine."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from hub_client import HubClient
from loopback_hub_upload import UploadHub

from hub_cards import export_model

ANN, BOB, READER = "hf_ann-secret", "hf_bob-secret", "hf_reader-secret"
PICTURE = Path(__file__).parent / "golden" / "wild_4.png"


@pytest.fixture(scope="module")
def hub() -> Iterator[UploadHub]:
    with UploadHub({ANN: "ann", BOB: "bob", READER: ""}) as served:
        yield served


@pytest.fixture(scope="module")
def client(hub: UploadHub, tmp_path_factory: pytest.TempPathFactory) -> Iterator[HubClient]:
    with HubClient(hub.endpoint, tmp_path_factory.mktemp("hf")) as started:
        yield started


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "mouse"
    export_model("superanimal_topviewmouse", "compact", folder)
    return folder


@pytest.fixture
def folder(exported: Path, tmp_path: Path) -> Path:
    """A folder that a test may change."""
    return Path(shutil.copytree(exported, tmp_path / "mouse"))


def poses(client: HubClient, name: str, *more: str, token: str = "") -> list:
    """Keypoints and confidence that a model gives on a picture, and the provenance of its weights."""
    arguments = ", ".join(map(repr, (name, *more)))
    said = client.python(
        f"import zoo\nfound = zoo.load({arguments}, device='cpu').predict({str(PICTURE)!r})\n"
        "result = [repr(found.keypoints.tolist()), repr(found.confidence.tolist()),"
        " found.provenance['weights']['pose']]",
        token,
    )
    return said.result


def test_publish_and_load_again(hub: UploadHub, client: HubClient, exported: Path) -> None:
    said = client.zoo("publish", exported, "--repo", "ann/mouse", "--message", "First", token=ANN)
    assert said.status == 0, said.err
    assert said.out.splitlines()[-2] == "hf://ann/mouse@v1"
    held = hub.repositories["ann/mouse"]
    assert len(held.commits) == 2  # the Hub's own, and one
    commit = held.refs["v1"]
    files = held.commits[commit]
    print(said.out, files["CHANGELOG.md"].decode(), files["SHA256SUMS"].decode(), said.err)
    local, theirs = poses(client, str(exported)), poses(client, "hf://ann/mouse@v1")
    assert theirs[:2] == local[:2] == poses(client, "superanimal_topviewmouse", "compact")[:2]
    assert theirs[2]["repository"] == "ann/mouse"
    assert theirs[2]["revision"] == commit
