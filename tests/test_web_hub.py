"""What the demo does with the Hub: pictures to annotate from there, contributions proposed to there."""

from __future__ import annotations

import asyncio
import json
import runpy
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from dataclasses import fields
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("gradio", reason="the app's extra is not installed")

import gradio as gr
from hub_client import HubClient
from hub_datasets import dataset, refusal
from loopback_hub_upload import UploadHub

from app.web import contribute_tab
from app.web.context import AppContext
from app.web.settings import Settings
from app.web.worker import Finished, JobCancelledError, JobLostError, Progress
from converters import load_superset
from superset_vocab import InputError

BOB = "hf_bob-secret"
SPACE = Path(__file__).parents[1] / "app" / "space"


@pytest.fixture(scope="module")
def hub() -> Iterator[UploadHub]:
    with UploadHub({BOB: "bob"}) as served:
        yield served


@pytest.fixture(scope="module")
def client(hub: UploadHub, tmp_path_factory: pytest.TempPathFactory) -> Iterator[HubClient]:
    with HubClient(hub.endpoint, tmp_path_factory.mktemp("hf")) as started:
        yield started


def test_pictures_of_a_dataset_on_the_hub_are_annotated(
    hub: UploadHub, client: HubClient, tmp_path: Path
) -> None:
    images = sorted((dataset(tmp_path) / "images").iterdir())
    files = {f"day {n}/{path.stem}.PNG": path.read_bytes() for n, path in enumerate(images)}
    first = hub.commit("datasets/ann/pictures", {**files, "README.md": b"# Mice", "labels.csv": b"a,b"})
    base = ("app", "--pool", "hf://ann/pictures", "--annotations", tmp_path / "kept", "--merge-annotations")
    assert "nothing has been annotated yet" in refusal(client.zoo(*base, tmp_path / "none"))
    assert not hub.asked(file="labels.csv")  # pictures only
    said = client.python(
        "from pathlib import Path\nfrom app.web.annotations import Pool\n"
        "from app.web.settings import Settings\n"
        "from hub_cards import fetch_pictures\n"
        "folder, origin = fetch_pictures('hf://ann/pictures', ('.png',))\n"
        f"settings = Settings(root=Path({str(tmp_path)!r}) / 'root', pool=folder, pool_origin=origin,\n"
        f"    annotations=Path({str(tmp_path)!r}) / 'kept', pool_keypoints=('nose',))\n"
        "pool = Pool.of(settings)\n"
        "pool.save('ann', pool.next_for('ann'), (32, 24), [[[3.0, 4.0, 1.0]]])\n"
        "result = [pool.next_for('ann'), origin]"
    )
    assert said.result == [sorted(files)[1], f"hf://datasets/ann/pictures@{first}"]

    hub.commit("datasets/ann/pictures", {"day 3/new.png": images[0].read_bytes()})  # the pool grows
    said = client.zoo(*base, tmp_path / "out")
    assert said.out == f"{tmp_path / 'out'}: 1 labelled pictures\n"
    labels = load_superset(tmp_path / "out")
    (done,) = [done for done in labels.operations if done["name"] == "annotate"]
    assert done["pools"] == [f"hf://datasets/ann/pictures@{first}"]
    assert labels.records[0].image.read_bytes() == images[0].read_bytes()


def test_one_dataset_of_a_shared_one_is_a_pool_too(hub: UploadHub, client: HubClient, tmp_path: Path) -> None:
    picture = next((dataset(tmp_path, seed=40) / "images").iterdir()).read_bytes()
    files = {"contributions/mine/images/a.png": picture, "contributions/other/images/b.png": picture}
    commit = hub.commit("datasets/ann/many", files)
    said = client.python(
        "from hub_cards import fetch_pictures\n"
        "folder, origin = fetch_pictures('hf://ann/many#mine', ('.png',))\n"
        "result = [[p.name for p in folder.rglob('*.png')], origin]"
    )
    assert said.result == [["a.png"], f"hf://datasets/ann/many@{commit}#mine"]


def test_a_pool_that_cannot_be_had(hub: UploadHub, client: HubClient, tmp_path: Path) -> None:
    hub.commit("datasets/ann/tables", {"train.csv": b"a,b"})

    def pool(address: str) -> str:
        return refusal(client.zoo("app", "--annotations", tmp_path / "kept", "--pool", address))

    assert "has no pictures as files (.png" in pool("hf://ann/tables")
    assert "no such repository" in pool("hf://ann/none")
    assert "no such revision" in pool("hf://ann/tables@v9")
    assert "is no address on the Hub" in pool("hf://ann")
    assert "no such folder" in pool(str(tmp_path / "none"))


def test_a_host_who_is_not_logged_in_is_told_before_the_page_opens(client: HubClient, tmp_path: Path) -> None:
    assert "nobody is logged in" in refusal(client.zoo("app", "--contribute-to", "ann/many"))
    with pytest.raises(InputError, match="contribute_to: 'mice' is no name of a repository"):
        Settings(root=tmp_path, contribute_to="mice")


def test_a_finished_bundle_is_proposed(hub: UploadHub, client: HubClient, tmp_path: Path) -> None:
    hub.commit("datasets/ann/open", {"README.md": b"# Mice"})
    folders = [dataset(tmp_path / str(n), seed=60 + 10 * n) for n in (0, 1)]

    def propose(folder: Path, name: str, token: str = BOB) -> dict[str, str]:
        return client.python(
            "from app.web import jobs\nfrom superset_vocab import InputError\n"
            f"try:\n    result = jobs.propose({str(folder)!r}, contribute_to='ann/open', name={name!r})\n"
            "except InputError as error:\n    result = {'error': str(error)}",
            token,
        ).result

    first = propose(folders[0], "field")
    assert first == {"url": f"{hub.endpoint}/datasets/ann/open/discussions/1", "name": "field"}
    assert propose(folders[0], "field") == first
    assert "another dataset of the name field" in propose(folders[1], "field")["error"]
    assert propose(folders[1], "field2")["url"].endswith("/discussions/2")
    assert "secret" not in json.dumps(propose(folders[1], "field3", "hf_wrong-secret"))
    held = hub.repositories["datasets/ann/open"]
    assert set(held.commits[held.refs["main"]]) == {"README.md"}


def test_the_host_s_account_opens_no_more_than_so_many_a_day(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = AppContext.start(Settings(root=tmp_path, max_pull_requests=2))
    monkeypatch.setattr(time, "monotonic", lambda: 100.0)
    context.count_pull_request()
    context.check_pull_requests()
    context.count_pull_request()
    with pytest.raises(InputError, match="2 pull requests were opened here in the last day"):
        context.check_pull_requests()
    monkeypatch.setattr(time, "monotonic", lambda: 100.0 + 86_401)
    context.check_pull_requests()


@pytest.mark.parametrize(
    ("end", "n_counted"), [("opened", 1), ("refused", 0), ("lost", 1), ("left", 1), ("cancelled", 1)]
)
def test_a_pull_request_counts_also_for_who_does_not_wait_for_it(
    end: str, n_counted: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ends = {
        "refused": InputError("the name is taken"),
        "lost": JobLostError("no memory"),
        "cancelled": JobCancelledError(),
    }

    async def run(*_: Any) -> AsyncIterator[Any]:
        yield Progress("sending")
        if end in ends:
            raise ends[end]
        yield Finished({"name": "field", "url": "https://hub/1"})

    context = AppContext.start(Settings(root=tmp_path, contribute_to="ann/many", max_pull_requests=1))
    monkeypatch.setattr(context.worker, "run", run)
    parts: dict[str, Any] = {field.name: field.name for field in fields(contribute_tab._Handlers)}
    tab = contribute_tab._Handlers(
        **{**parts, "context": context, "pull_request": SimpleNamespace(opened="opened")}
    )
    request: Any = SimpleNamespace(session_hash="s")

    async def press() -> list[Any]:
        said = []
        answers = tab.propose_it(request, "a folder", "field", True)
        async for answer in answers:
            said.append(answer["opened"])
            if end == "left" and len(said) == 2:
                break
        await answers.aclose()
        return said

    with suppress(gr.Error):
        assert len(asyncio.run(press())) >= 2
    assert len(context.proposed) == n_counted


def test_a_space_starts_the_same_app(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POOL", "hf://ann/pictures@v1")
    monkeypatch.setenv("ANNOTATIONS", "/data/annotations")
    monkeypatch.setenv("KEYPOINTS", " ")
    found = runpy.run_path(str(SPACE / "run_space.py"))["arguments"]()
    assert found[:5] == ["app", "--host", "0.0.0.0", "--port", "7860"]
    assert found[5:] == ["--pool", "hf://ann/pictures@v1", "--annotations", "/data/annotations"]
    constraints = (SPACE.parents[1] / "constraints.txt").read_text()
    version = next(line for line in (SPACE / "README.md").read_text().splitlines() if "sdk_version" in line)
    assert f"gradio=={version.split()[-1]}\n" in constraints
