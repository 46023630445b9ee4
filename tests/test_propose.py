"""Pull requests to a shared repository on a Hub of this machine, and reading the shared repository."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hub_client import HubClient
from hub_datasets import dataset, read, refusal
from label_sets import write_image
from loopback_hub_upload import UploadHub

from converters import load_superset

ANN, BOB, READER = "hf_ann-secret", "hf_bob-secret", "hf_reader-secret"
TAKEN = "contributions/two-mice/annotations.json"


@pytest.fixture(scope="module")
def hub() -> Iterator[UploadHub]:
    with UploadHub({ANN: "ann", BOB: "bob", READER: ""}) as served:
        yield served


@pytest.fixture(scope="module")
def client(hub: UploadHub, tmp_path_factory: pytest.TempPathFactory) -> Iterator[HubClient]:
    with HubClient(hub.endpoint, tmp_path_factory.mktemp("hf")) as started:
        yield started


def shared_repository(hub: UploadHub, name: str) -> str:
    """A shared repository of Ann's with a page of hers; its key on the Hub."""
    hub.commit(f"datasets/ann/{name}", {"README.md": b"# Mice of many labs\n"})
    return f"datasets/ann/{name}"


def test_a_stranger_proposes_and_the_owner_takes_it(
    hub: UploadHub, client: HubClient, tmp_path: Path
) -> None:
    key, folder = shared_repository(hub, "mice"), dataset(tmp_path)
    said = client.zoo("propose", folder, "--repo", "ann/mice", "--message", "From our day.", token=BOB)
    assert said.status == 0, said.err
    assert said.out.splitlines()[-2:] == [
        "hf://datasets/ann/mice@refs/pr/1#two-mice",
        f"{hub.endpoint}/datasets/ann/mice/discussions/1",
    ]
    held, (request,) = hub.repositories[key], hub.pull_requests[key]
    assert (request.author, request.title) == ("bob", "Contribution: two-mice")
    assert "3 images, 3 animals" in request.description
    assert "From our day." in request.description
    assert set(held.commits[held.refs["main"]]) == {"README.md"}  # nothing has been written to it
    files = held.commits[held.refs["refs/pr/1"]]
    assert files["README.md"] == b"# Mice of many labs\n"
    ours = {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()} | {"SHA256SUMS"}
    assert set(files) == {"README.md", *(f"contributions/two-mice/{name}" for name in ours)}
    card = files["contributions/two-mice/README.md"].decode()
    assert 'load_dataset("hf://datasets/ann/mice@main#two-mice")' in card

    found = read(client, "hf://datasets/ann/mice@refs/pr/1#two-mice")  # the owner looks at it
    assert found["n"] == 3
    hub.merge(key, 1)
    found = read(client, "hf://ann/mice#two-mice")
    theirs, mine = load_superset(Path(found["folder"])), load_superset(folder)
    for a, b in zip(theirs.records, mine.records, strict=True):
        assert a.keypoints.tobytes() == b.keypoints.tobytes()
        assert a.image.read_bytes() == b.image.read_bytes()
    again = client.zoo("propose", folder, "--repo", "ann/mice", token=BOB)
    assert "the shared repository has two-mice as it is here; nothing has changed" in again.out
    assert again.out.splitlines()[-1].endswith("/tree/main/contributions/two-mice")
    assert len(hub.pull_requests[key]) == 1


def test_a_shared_repository_becomes_one_superset(hub: UploadHub, client: HubClient, tmp_path: Path) -> None:
    key = shared_repository(hub, "many")
    own = dataset(tmp_path / "own", lab="home", seed=90)
    hub.repositories[key].refs["main"] = hub.commit(key, {}, "empty")
    assert client.zoo("publish", own, "--repo", "ann/many", token=ANN).status == 0
    for n, token in ((1, BOB), (2, ANN)):
        folder = dataset(tmp_path / str(n), lab=f"lab{n}", seed=10 * n)
        assert client.zoo("propose", folder, "--repo", "ann/many", "--name", f"n{n}", token=token).status == 0
        hub.merge(key, n)
    assert read(client, "hf://ann/many")["n"] == 3  # the owner's own
    said = client.zoo("merge", "hf://ann/many", "--out", tmp_path / "all", "--quiet")
    assert said.status == 0, said.err
    merged = load_superset(tmp_path / "all")
    assert sorted(source.dataset for source in merged.sources) == ["home", "lab1", "lab2"]
    assert len(merged) == 9
    commit = hub.repositories[key].refs["main"]
    read_from = [done["address"] for done in merged.operations if done["name"] == "read_published"]
    address = f"hf://datasets/ann/many@{commit}"
    assert read_from == [address, f"{address}#n1", f"{address}#n2"]
    link = ("merge", "hf://ann/many#n2", tmp_path / "1" / "dataset", "--out", tmp_path / "two")
    assert client.zoo(*link, "--images", "link", "--quiet").status == 0
    images = [record.image for record in load_superset(tmp_path / "two").records]
    assert len(images) == 6
    assert not any(image.is_symlink() for image in images)

    # A new version of the owner's dataset leaves what others contributed where it is.
    write_image(own / "examples" / "a b.png", seed=3)
    (own / "SHA256SUMS").unlink(missing_ok=True)
    assert client.zoo("publish", own, "--repo", "ann/many", token=ANN).status == 0
    assert client.zoo("merge", "hf://ann/many", "--out", tmp_path / "still", "--quiet").status == 0
    assert len(load_superset(tmp_path / "still")) == 9


def test_a_shared_repository_without_a_dataset_of_its_own(
    hub: UploadHub, client: HubClient, tmp_path: Path
) -> None:
    key = shared_repository(hub, "only")
    assert read(client, "hf://ann/only")["error"].endswith(
        "is no superset dataset (it has no annotations.json)"
    )
    assert client.zoo("propose", dataset(tmp_path), "--repo", "ann/only", token=BOB).status == 0
    hub.merge(key, 1)
    assert ": a shared repository of several datasets; name one" in read(client, "hf://ann/only")["error"]
    assert "there are: two-mice" in read(client, "hf://ann/only#other")["error"]
    assert client.zoo("merge", "hf://ann/only", "--out", tmp_path / "all", "--quiet").status == 0
    assert "is no address on the Hub" in read(client, "hf://ann/only#../x")["error"]


def test_after_a_review_the_same_pull_request_goes_on(
    hub: UploadHub, client: HubClient, tmp_path: Path
) -> None:
    key, folder = shared_repository(hub, "review"), dataset(tmp_path)
    propose = ("propose", folder, "--repo", "ann/review")
    for n in range(3):  # more than a page of them, by others and closed ones
        assert client.zoo(*propose, "--name", f"other{n}", token=BOB).status == 0
    assert client.zoo(*propose, token=ANN).status == 0
    assert client.zoo(*propose, token=BOB).out.splitlines()[-1].endswith("/discussions/5")
    held = hub.repositories[key]
    first = held.refs["refs/pr/5"]
    assert "pull request 5 has two-mice as it is here" in client.zoo(*propose, token=BOB).out
    assert held.refs["refs/pr/5"] == first
    image = folder / "examples" / "a b.png"
    card = (folder / "README.md").read_text().replace("a%20b.png", "c.png")
    (folder / "README.md").write_text(card)
    image.rename(image.with_name("c.png"))
    said = client.zoo(*propose, "--dry-run", token=BOB)
    assert "contributions/two-mice/examples/a b.png  is not in it any more" in said.out
    assert said.out.splitlines()[-1] == "nothing was proposed (--dry-run)"
    assert held.refs["refs/pr/5"] == first
    assert client.zoo(*propose, token=BOB).out.splitlines()[-1].endswith("/discussions/5")
    files = held.commits[held.refs["refs/pr/5"]]
    assert "contributions/two-mice/examples/c.png" in files
    assert "contributions/two-mice/examples/a b.png" not in files
    assert read(client, "hf://ann/review@refs/pr/5#two-mice")["n"] == 3
    hub.pull_requests[key][4].status = "closed"
    assert client.zoo(*propose, token=BOB).out.splitlines()[-1].endswith("/discussions/6")


def test_a_lost_answer_and_a_broken_upload_make_no_second_one(
    hub: UploadHub, client: HubClient, tmp_path: Path
) -> None:
    key, propose = (
        shared_repository(hub, "lost"),
        ("propose", dataset(tmp_path, seed=70), "--repo", "ann/lost"),
    )
    hub.received.clear()
    hub.uploads.break_upload_after = [10]
    hub.uploads.commit_statuses = [500]
    assert "answers with status 500" in refusal(client.zoo(*propose, token=BOB))
    assert key not in hub.pull_requests
    sent = list(hub.received)
    assert [n for _, n in sent].count(10) == 1
    hub.uploads.lose_answers = 1
    assert "Run the same command again" in refusal(client.zoo(*propose, token=BOB))
    assert hub.received == sent  # what had arrived was not sent again
    assert len(hub.pull_requests[key]) == 1
    assert "nothing has changed" in client.zoo(*propose, token=BOB).out
    assert len(hub.pull_requests[key]) == 1


def test_what_is_refused(hub: UploadHub, client: HubClient, tmp_path: Path) -> None:
    key, folder = shared_repository(hub, "refused"), dataset(tmp_path)
    propose = ("propose", folder, "--repo", "ann/refused")
    assert "nobody is logged in" in refusal(client.zoo(*propose))
    assert "does not accept your token" in refusal(client.zoo(*propose, token="hf_wrong"))
    assert "must use a write token" in refusal(client.zoo(*propose, token=READER))
    assert "no such dataset repository" in refusal(
        client.zoo("propose", folder, "--repo", "ann/none", token=BOB)
    )
    for name in ("../x", "a/b", ".hidden", "x" * 97, "a b", "dot."):
        said = client.zoo(*propose, "--name", name, token=BOB)
        assert f"{name!r} is no name of a contribution" in refusal(said)
    model = tmp_path / "model"
    assert client.zoo("export-model", "superanimal_topviewmouse", "--out", model).status == 0
    said = client.zoo("propose", model, "--repo", "ann/refused", token=BOB)
    assert "is a model; only datasets go into a shared repository, use `zoo publish`" in refusal(said)
    bare = dataset(tmp_path / "bare", licence="unknown")
    said = client.zoo("propose", bare, "--repo", "ann/refused", token=BOB)
    assert "lab states no licence, so nobody has allowed its images" in refusal(said)
    hub.uploads.no_pull_requests = True
    said = client.zoo(*propose, token=BOB)
    hub.uploads.no_pull_requests = False
    assert "Discussions are disabled for this repo" in refusal(said)
    assert key not in hub.pull_requests
    assert set(hub.repositories[key].commits[hub.repositories[key].refs["main"]]) == {"README.md"}


def test_an_account_that_many_share_replaces_nothing(
    hub: UploadHub, client: HubClient, tmp_path: Path
) -> None:
    key = shared_repository(hub, "shared")
    ours, theirs = dataset(tmp_path / "ours"), dataset(tmp_path / "theirs", seed=50)

    def propose(folder: Path) -> str:
        return client.python(
            "from pathlib import Path\nfrom hub_cards import open_pull_request, plan_contribution\n"
            "from superset_vocab import InputError\n"
            f"try:\n    plan = plan_contribution(Path({str(folder)!r}), 'ann/shared', revise=False)\n"
            "    result = open_pull_request(plan).url\n"
            "except InputError as error:\n    result = str(error)",
            BOB,
        ).result

    url = propose(ours)
    assert url.endswith("/discussions/1")
    assert propose(ours) == url  # pressed twice
    assert "pull request 1 has another dataset of the name two-mice" in propose(theirs)
    hub.merge(key, 1)
    assert "the shared repository has another dataset of the name two-mice" in propose(theirs)
    held = hub.repositories[key]
    assert held.commits[held.refs["main"]][TAKEN] == (ours / "annotations.json").read_bytes()
