"""Publishing models and loading them again, through the unmodified client, on a Hub of this machine."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hub_client import HubClient, Said
from huggingface_hub import ModelCard
from loopback_hub_upload import UploadHub, metadata_problems
from safetensors.numpy import load_file

import zoo
from hub_cards import export_model
from zoo.catalogue import Parent
from zoo.model_folder import write_model_folder

ANN, BOB, READER = "hf_ann-secret", "hf_bob-secret", "hf_reader-secret"
PICTURE = Path(__file__).parent / "golden" / "wild_11.png"


@pytest.fixture(scope="module")
def hub() -> Iterator[UploadHub]:
    with UploadHub({ANN: "ann", BOB: "bob", READER: ""}) as served:
        yield served


@pytest.fixture(scope="module")
def client(hub: UploadHub, tmp_path_factory: pytest.TempPathFactory) -> Iterator[HubClient]:
    """A client that logs all it can."""
    with HubClient(hub.endpoint, tmp_path_factory.mktemp("hf"), HF_DEBUG="1") as started:
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


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def refusal(said: Said) -> str:
    """The one line that a refused call ends with."""
    assert said.status == 2
    lines = [line for line in said.err.splitlines() if line.startswith("zoo: error: ")]
    assert len(lines) == 1, said.err
    assert "Traceback" not in said.err
    assert said.err.rstrip().endswith(lines[0])
    return lines[0]


def poses(client: HubClient, *arguments: str, token: str = "") -> list:
    """Keypoints and confidence that a model gives on a picture, and where its weights are from."""
    said = client.python(
        f"import zoo\nmodel = zoo.load({', '.join(map(repr, arguments))}, device='cpu')\n"
        f"found = model.predict({str(PICTURE)!r})\n"
        "result = [repr(found.keypoints.tolist()), repr(found.confidence.tolist()),"
        " found.provenance['weights']['pose']]",
        token,
    )
    return said.result


def load_error(client: HubClient, name: str) -> str:
    """What loading says is wrong."""
    said = client.python(
        f"import zoo\ntry:\n    zoo.load({name!r}, device='cpu')\n"
        "except zoo.InputError as error:\n    result = str(error)"
    )
    assert said.result, "it was loaded"
    return said.result


def test_publish_and_load_again(hub: UploadHub, client: HubClient, exported: Path, tmp_path: Path) -> None:
    said = client.zoo("publish", exported, "--repo", "ann/mouse", "--message", "First", token=ANN)
    assert said.status == 0, said.err
    assert said.out.splitlines()[-2] == "hf://ann/mouse@v1"
    held = hub.repositories["ann/mouse"]
    assert len(held.commits) == 2  # the Hub's own, and one with everything
    files = held.commits[held.refs["v1"]]
    local, theirs = poses(client, str(exported)), poses(client, "hf://ann/mouse@v1")
    assert local[0].count(",") == 2 * 3 * 27 - 1  # three animals, all keypoints
    assert "nan" not in local[0]
    assert theirs[:2] == local[:2] == poses(client, "superanimal_topviewmouse", "compact")[:2]
    assert theirs[2]["repository"] == "ann/mouse"
    assert theirs[2]["revision"] == held.refs["v1"]
    assert poses(client, "hf://ann/mouse")[:2] == local[:2]  # main

    (tmp_path / "w.safetensors").write_bytes(files["weights.safetensors"])
    assert {name.split(".")[0] for name in load_file(tmp_path / "w.safetensors")} == {"pose", "detector"}
    sums = dict(reversed(line.split("  ")) for line in files["SHA256SUMS"].decode().splitlines())
    own = {".gitattributes", "SHA256SUMS"}
    assert sums == {n: hashlib.sha256(data).hexdigest() for n, data in files.items() if n not in own}
    assert re.search(r"- v1 \(20\d\d-\d\d-\d\d\): First \[superanimal_topv", files["CHANGELOG.md"].decode())
    assert json.loads(files["run.json"])["evaluations"]


def test_the_card_on_the_hub_is_valid(hub: UploadHub, client: HubClient, exported: Path) -> None:
    assert client.zoo("publish", exported, "--repo", "ann/card", token=ANN).status == 0
    held = hub.repositories["ann/card"]
    text = held.commits[held.refs["v1"]]["README.md"].decode()
    card = ModelCard(text)
    assert metadata_problems(card.data.to_dict(), "model") == []
    assert {r.metric_type for r in card.data.eval_results} == {"mean_distance", "median_distance", "oks_map"}
    assert 'zoo.load("hf://ann/card@v1")' in text
    checked = [request for request in hub.asked("POST") if request.path == "/api/validate-yaml"]
    assert checked
    assert checked[-1].status == 200
    said = client.python(
        "from huggingface_hub import ModelCard, metadata_load\n"
        "card = ModelCard.load('ann/card')\ncard.validate()\nresult = card.data.pipeline_tag"
    )
    assert said.result == "keypoint-detection"


def test_versions_are_never_overwritten(hub: UploadHub, client: HubClient, folder: Path) -> None:
    publish = ("publish", folder, "--repo", "ann/versions")
    assert client.zoo(*publish, token=ANN).status == 0
    again = client.zoo(*publish, token=ANN)
    assert "nothing has changed" in again.out
    assert again.out.splitlines()[-2] == "hf://ann/versions@v1"
    held = hub.repositories["ann/versions"]
    first = dict(held.commits[held.refs["v1"]])
    assert len(held.commits) == 2

    edit(folder / "card.toml", "A start for", "A beginning for")
    (folder / "README.md").unlink()
    (folder / "preview.png").unlink()
    assert client.zoo(*publish, "--message", "Words", token=ANN).status == 0
    assert held.tags == {"v1", "v2"}
    assert held.commits[held.refs["v1"]] == first
    second = held.commits[held.refs["v2"]]
    assert "preview.png" in first
    assert "preview.png" not in second
    assert re.findall(r"- (v\d) ", second["CHANGELOG.md"].decode()) == ["v2", "v1"]
    assert poses(client, "hf://ann/versions@v1")[:2] == poses(client, "hf://ann/versions@v2")[:2]

    edit(folder / "card.toml", "A beginning for", "A start for")
    assert "version v1 exists and is never" in refusal(client.zoo(*publish, "--version", "v1", token=ANN))
    assert client.zoo(*publish, "--version", "2026.1", token=ANN).status == 0
    assert held.tags == {"v1", "v2", "2026.1"}
    assert "is no name of a tag" in refusal(client.zoo(*publish, "--version", "a/b", token=ANN))


def test_what_broke_off_is_taken_up(hub: UploadHub, client: HubClient, folder: Path) -> None:
    weights = folder / "weights.safetensors"
    with weights.open("r+b") as stream:  # other bytes than those which the Hub has already
        stream.seek(-1, 2)
        stream.write(b"\x01")
    digest = hashlib.sha256(weights.read_bytes()).hexdigest()
    old = re.search(r'sha256 = "(\w+)"', (folder / "model.toml").read_text())
    assert old is not None
    edit(folder / "model.toml", old[1], digest)
    for name in ("run.json", "README.md"):
        edit(folder / name, old[1], digest)
    hub.received.clear()
    hub.uploads.break_upload_after = [100_000]
    hub.uploads.commit_statuses = [500]
    publish = ("publish", folder, "--repo", "ann/broken")
    assert "answers with status 500" in refusal(client.zoo(*publish, token=ANN))
    sent = [n for name, n in hub.received if name == digest]
    assert sent == [100_000, weights.stat().st_size]  # broken, and once more by the client itself
    held = hub.repositories["ann/broken"]
    assert held.tags == set()
    assert client.zoo(*publish, token=ANN).status == 0
    assert [n for name, n in hub.received if name == digest] == sent  # not sent again
    assert held.tags == {"v1"}

    held.refs.pop("v1")  # as if it had broken off between the commit and its tag
    held.tags.clear()
    assert client.zoo(*publish, token=ANN).status == 0
    assert held.refs["v1"] == held.refs["main"]
    assert len(held.commits) == 2


def test_what_the_hub_refuses(hub: UploadHub, client: HubClient, folder: Path) -> None:
    publish = ("publish", folder, "--repo", "ann/refused")
    assert "nobody is logged in" in refusal(client.zoo(*publish))
    assert "does not accept your token (Invalid cred" in refusal(
        client.zoo(*publish, token="hf_wrong-secret")
    )
    assert "your token may not write there" in refusal(client.zoo(*publish, token=READER))
    assert "your token may not write there" in refusal(client.zoo(*publish, token=BOB))
    assert "ann/refused" not in hub.repositories
    edit(folder / "card.toml", "A start for", "No room for")
    (folder / "README.md").unlink()
    (folder / "preview.png").write_bytes(PICTURE.read_bytes())
    hub.uploads.full = True
    line = refusal(client.zoo(*publish, token=ANN))
    hub.uploads.full = False
    assert "there is no room left in this account" in line
    assert "storage limit reached" in line
    assert client.zoo(*publish, token=ANN).status == 0
    hub.commit("ann/other", {"notes.txt": b"mine", "config.json": b"{}"})
    other = client.zoo("publish", folder, "--repo", "ann/other", token=ANN)
    assert "holds something else (config.json, notes.txt)" in refusal(other)
    for wrong in ("mouse", "ann/mo use", "a/b/c"):
        said = client.zoo("publish", folder, "--repo", wrong, token=ANN)
        assert f"'{wrong}' is no name of a repository; want owner/name" in refusal(said)


def test_tokens_are_never_told(hub: UploadHub, client: HubClient, exported: Path) -> None:
    """Everything is logged, the client's requests too (HF_DEBUG)."""
    calls = [
        client.zoo("publish", exported, "--repo", "ann/token", token=ANN),
        client.zoo("publish", exported, "--repo", "bob/token", token=ANN),
        client.zoo("publish", exported, "--repo", "ann/token", token="hf_wrong-secret"),
        client.zoo("models", "--remote", token=ANN),
    ]
    assert [said.status for said in calls] == [0, 2, 0, 0]  # the third: there is nothing to write
    for said in calls:
        assert "/api/" in said.log
        assert "secret" not in said.out + said.err + said.log
    assert any(request.authorized for request in hub.asked("POST"))


def test_private_repositories(hub: UploadHub, client: HubClient, exported: Path) -> None:
    publish = ("publish", exported, "--repo", "ann/private")
    assert client.zoo(*publish, "--private", token=ANN).status == 0
    assert hub.repositories["ann/private"].token == ANN
    assert "no such repository, or it is private" in load_error(client, "hf://ann/private@v1")
    assert poses(client, "hf://ann/private@v1", token=ANN)[2]["repository"] == "ann/private"
    assert client.zoo("publish", exported, "--repo", "ann/public", token=ANN).status == 0
    again = client.zoo("publish", exported, "--repo", "ann/public", "--private", token=ANN)
    assert "exists and is public" in refusal(again)
    remote = client.zoo("models", "--remote", "--long").out
    assert "hf://ann/public@main" in remote
    assert "license:other" in remote
    assert "ann/private" not in remote


def test_a_dry_run_writes_nothing(hub: UploadHub, client: HubClient, folder: Path) -> None:
    (folder / "notes.txt").write_text("mine")
    before = len(hub.asked("POST")) + len(hub.asked("PUT"))
    said = client.zoo("publish", folder, "--repo", "ann/dry", "--dry-run")
    assert said.status == 0, said.err
    assert "ann/dry: model superanimal_topviewmouse_compact as v1" in said.out
    assert "weights.safetensors  3518236 bytes" in said.out
    assert "notes.txt  stays here" in said.out
    assert said.out.endswith("nothing was published (--dry-run)\n")
    assert len(hub.asked("POST")) + len(hub.asked("PUT")) == before
    assert "ann/dry" not in hub.repositories


def test_a_fine_tuned_model(hub: UploadHub, client: HubClient, tmp_path: Path) -> None:
    """A folder as fine-tuning leaves it: a short README.md, weights in single precision, no evaluation."""
    mouse = zoo.load("superanimal_topviewmouse", "compact", device="cpu")
    networks = {"pose": mouse.pose.network, "detector": mouse.detector.network}
    parent = Parent(mouse.spec.name, "compact", mouse.weights["pose"]["sha256"], "replay")
    spec = replace(mouse.spec, variant="compact-field-replay", parent=parent, evaluation={})
    training = {"datasets": {"field": 9}, "iterations": 4, "samples": 36, "seconds": 60.0, "device": "cpu"}
    write_model_folder(tmp_path / "m", spec, networks, record={"training": training, "replay": None})
    publish = ("publish", tmp_path / "m", "--repo", "ann/tuned")
    assert "card.toml: is missing" in refusal(client.zoo(*publish, token=ANN))
    facts = 'contact = "Ann"\nintended_use = ["Our field."]\n'
    (tmp_path / "m" / "card.toml").write_text(facts)
    line = refusal(client.zoo(*publish, token=ANN))
    assert "licence and citation of the training set 'field' are not known" in line
    (tmp_path / "m" / "card.toml").write_text(facts + '[training_sets.field]\nlicence = "CC BY 4.0"\n')
    assert client.zoo(*publish, token=ANN).status == 0
    held = hub.repositories["ann/tuned"]
    card = held.commits[held.refs["v1"]]["README.md"].decode()
    assert "From superanimal_topviewmouse, variant compact (pose weights sha256 `79536105" in card
    assert "None: these weights have not been evaluated" in card
    assert "| field | 9 | CC BY 4.0 | - |" in card
    assert poses(client, "hf://ann/tuned@v1")[:2] == poses(client, str(tmp_path / "m"))[:2]


@pytest.mark.parametrize(
    ("file", "old", "new", "words"),
    [
        ("model.toml", "[24, 48, 96, 160]", "[24, 48, 96, 192]", "does not fit the network compact_unet"),
        ("model.toml", '"superanimal_topviewmouse"\nsum', '"superanimal_quadruped"\nsum', "has 27 keypoints"),
        ("model.toml", '"superanimal_topviewmouse"\nsum', '"own.toml"\nsum', "'own.toml' is none of super"),
        ("model.toml", '"weights.safe', '"../weights.safe', "is a path; it must be"),
        ("model.toml", "output_stride = 2", "output_stride = 0", "cannot be built with"),
        ("model.toml", "size = 96", "size = -96", "size is -96, want a number above 0"),
        ("model.toml", "context = 1.25", "kontext = 1.25", "unexpected keyword argument 'kontext'"),
        ("run.json", '"mean_distance"', '"mean"', "lacks n, n_missing, mean_distance or median"),
        ("run.json", '"split": "openfield-Pranav, zero-shot"', '"split": ""', "does not say on what part"),
        ("run.json", '"n_images": 116,', '"n_images": 0,', "was measured on nothing"),
        ("run.json", '"sha256": "79536105', '"sha256": "00000000', "was measured with weights 000000"),
        ("README.md", "5.42", "2.42", "figures come from the run record only"),
        ("card.toml", "contact =", "contakt =", "lacks the entry 'contact'"),
        ("card.toml", "[\n", "[1,\n", "no list of texts"),
    ],
)
def test_folders_that_do_not_agree_are_refused(
    client: HubClient, folder: Path, file: str, old: str, new: str, words: str
) -> None:
    edit(folder / file, old, new)
    said = client.zoo("publish", folder, "--repo", "ann/wrong", "--dry-run")
    assert said.status == 2
    assert words in said.err


def test_missing_and_damaged_files_are_refused(client: HubClient, folder: Path, tmp_path: Path) -> None:
    publish = ("publish", folder, "--repo", "ann/wrong", "--dry-run")
    (folder / "preview.png").write_bytes(b"no picture")
    assert "no picture that can be read" in refusal(client.zoo(*publish))
    (folder / "preview.png").unlink()
    (folder / "preview.png").symlink_to(PICTURE)
    assert "is a link or a path that leads elsewhere" in refusal(client.zoo(*publish))
    (folder / "card.toml").unlink()
    assert "card.toml: is missing; write into it" in refusal(client.zoo(*publish))
    damaged = bytearray((folder / "weights.safetensors").read_bytes())
    damaged[-1] ^= 1
    (folder / "weights.safetensors").write_bytes(damaged)
    assert "not the weights that the folder was written with" in refusal(client.zoo(*publish))
    (tmp_path / "empty").mkdir()
    said = client.zoo("publish", tmp_path / "empty", "--repo", "ann/wrong")
    assert "has neither model.toml nor annotations.json" in refusal(said)


@pytest.mark.parametrize(
    ("file", "change", "words"),
    [
        ("weights.safetensors", lambda b: b[:-1] + bytes([b[-1] ^ 1]), "damaged or not the published one"),
        ("model.toml", lambda b: b.replace(b"context = 1.25", b"context = 1.5"), "was changed after it"),
        ("model.toml", lambda b: b.replace(b'"superanimal_topviewmouse"\nsum', b'"x"\nsum'), "was changed"),
        ("SHA256SUMS", lambda b: b"", "model.toml is not listed in it"),
        ("SHA256SUMS", None, "has no such file"),
        ("model.toml", None, "has no such file"),
    ],
)
def test_tampered_models_on_the_hub_are_refused(
    hub: UploadHub, client: HubClient, exported: Path, request: pytest.FixtureRequest, file, change, words
) -> None:
    name = f"ann/tampered-{request.node.callspec.indices['file']}-{request.node.callspec.indices['words']}"
    files = {path.name: path.read_bytes() for path in exported.iterdir()}
    files["SHA256SUMS"] = "".join(
        f"{hashlib.sha256(data).hexdigest()}  {n}\n" for n, data in files.items()
    ).encode()
    hub.commit(name, files)
    changed = {n: data for n, data in files.items() if n != file or change is not None}
    if change is not None:
        changed[file] = change(files[file])
        assert changed[file] != files[file]
    held = hub.repositories[name]
    held.commits[held.refs["main"]] = changed
    hub.stored |= {hashlib.sha256(data).hexdigest(): data for data in changed.values()}
    assert words in load_error(client, f"hf://{name}")


def test_a_published_folder_on_disk_is_checked(
    client: HubClient, hub: UploadHub, exported: Path, tmp_path: Path
):
    assert client.zoo("publish", exported, "--repo", "ann/disk", token=ANN).status == 0
    held = hub.repositories["ann/disk"]
    for name, data in held.commits[held.refs["v1"]].items():
        (tmp_path / name).write_bytes(data)
    assert poses(client, str(tmp_path))[:2] == poses(client, "hf://ann/disk@v1")[:2]
    assert client.zoo("publish", tmp_path, "--repo", "ann/disk", "--dry-run").out.count("nothing has changed")
    edit(tmp_path / "model.toml", "context = 1.25", "context = 1.5")
    assert "model.toml is not the file that was published" in load_error(client, str(tmp_path))


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("hf://mouse", "is no address on the Hub; want hf://owner/name@revision"),
        ("hf://ann/mouse@", "is no address on the Hub"),
        ("hf://datasets/ann/mouse", "is a dataset, not a model"),
        ("hf://ann/nothing@v1", "no such repository"),
    ],
)
def test_wrong_addresses(client: HubClient, address: str, words: str) -> None:
    assert words in load_error(client, address)
