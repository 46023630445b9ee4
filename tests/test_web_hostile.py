"""Visitors who do not use the page but speak to the server behind it, against a running app."""

from __future__ import annotations

import json
import os
import shutil
import signal
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

pytest.importorskip("gradio", reason="the app's extra is not installed")
if not Path("/proc/self/task").is_dir():
    pytest.skip("processes are read from /proc", allow_module_level=True)

from benchmarks.app_load import MODEL, VARIANT, RunningApp, Visitor, picture

GOLDEN = Path(__file__).with_name("golden")


class Stranger(Visitor):
    """A visitor who knows the server's functions by heart, also those that are the page's own."""

    def __init__(self, app: RunningApp) -> None:
        super().__init__(app)
        config = self._http.get(f"{app.address}/config").json()
        self._elements = {c["props"].get("elem_id"): c["id"] for c in config["components"]}
        self._dependencies = config["dependencies"]

    def ask(self, path: str, element: str, data: list[Any], event: Any = None) -> httpx.Response:
        """Call the first function that an element of the page triggers."""
        asked = {"data": data, "fn_index": self._function(element), "session_hash": self.session}
        return self.post(path, json={**asked, "event_data": event})

    def result(self, element: str, data: list[Any], event: Any = None) -> list[Any]:
        """What that function answers at its end."""
        self._functions[element] = self._function(element)
        (*_, last) = self._messages(element, data, event)
        assert last["success"], last
        return last["output"]["data"]

    def _function(self, element: str) -> int:
        place = self._elements[element]
        return next(d["id"] for d in self._dependencies if any(t[0] == place for t in d["targets"]))

    def post(self, path: str, **asked: Any) -> httpx.Response:
        return self._http.post(f"{self._api}/{path}", **asked)

    def put(self, path: Path) -> str:
        """Upload without telling whose it is; the address."""
        with path.open("rb") as file:
            return self.post("upload", files=[("files", (path.name, file))]).raise_for_status().json()[0]

    def claim(self, path: str) -> None:
        self._at_once("remember", [[file_at(path)]])


def file_at(path: str) -> dict[str, Any]:
    return {"path": path, "meta": {"_type": "gradio.FileData"}}


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningApp]:
    running = RunningApp(tmp_path_factory.mktemp("app"), GOLDEN)
    yield running
    running.close()


@pytest.fixture
def stranger(app: RunningApp) -> Iterator[Stranger]:
    with Stranger(app) as visitor:
        yield visitor


def root_of(app: RunningApp) -> Path:
    (root,) = app.temporary.glob("zoo-app-*")
    return root


def files_of_visitors(app: RunningApp) -> list[Path]:
    found = [path for path in root_of(app).rglob("*") if path.is_file()]
    return [path for path in found if "offered" not in path.parts and path.stat().st_size]


def wait_for(what: Callable[[], object], seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, "it did not come to pass"
        time.sleep(0.05)


def test_nobody_removes_the_host_s_examples_by_calling_them_their_own(
    app: RunningApp, tmp_path: Path
) -> None:
    offered = root_of(app) / "offered"
    before = {path.name for path in offered.iterdir()}
    example = next(name for name in before if name.endswith(".png"))
    with Stranger(app) as stranger:
        upload = stranger.upload(picture(tmp_path, 1))
        for path in (f"{root_of(app)}/uploads/../offered/{example}", str(offered / example)):
            stranger.claim(path)
    wait_for(lambda: not Path(upload["path"]).exists())  # the stranger has left
    assert {path.name for path in offered.iterdir()} == before


def test_an_address_in_the_place_of_an_upload_is_not_fetched(stranger: Stranger) -> None:
    for address in ("https://example.org/a.png", "http://127.0.0.1:9/a.png"):
        assert "an address is no file" in stranger.predict(file_at(address)).message
    for path in ("file=https://example.org/", "file/https://example.org/", "file/%20HTTP://example.org/"):
        assert stranger.get(stranger._api + "/" + path).status_code == 404


@pytest.mark.parametrize(
    ("name", "text"), [("a.html", "<script>alert(1)</script>"), ("a.svg", "<svg onload='alert(1)'/>")]
)
def test_an_uploaded_page_is_no_page_of_the_host(
    stranger: Stranger, name: str, text: str, tmp_path: Path
) -> None:
    (tmp_path / name).write_text(text)
    path = stranger.put(tmp_path / name)
    answer = stranger.get(path)
    Path(path).unlink()  # it is nobody's, and would stay for an hour
    assert answer.text == text
    policies = answer.headers.get_list("content-security-policy")
    assert policies
    assert all("sandbox" in policy and "script-src" not in policy for policy in policies)
    assert all("default-src 'none'" in policy for policy in policies)


def test_what_goes_wrong_inside_is_not_said_with_the_server_s_paths(
    app: RunningApp, stranger: Stranger, tmp_path: Path
) -> None:
    upload = stranger.upload(picture(tmp_path, 2))
    gone = {**upload, "path": f"{upload['path']}.png"}
    assert stranger.predict(gone).message == "visitor_002.png.png is not here any more; upload it again"
    for wrong in (file_at(str(GOLDEN / "wild_11.png")), file_at(f"{root_of(app)}/uploads"), {"path": "x"}):
        answer = stranger.predict(wrong)
        assert not answer.served
        assert str(app.temporary) not in answer.message
        assert str(GOLDEN) not in answer.message
    assert stranger.predict(upload).served


def test_an_edit_that_comes_late_is_one_of_its_own_picture(stranger: Stranger, tmp_path: Path) -> None:
    uploads = [stranger.upload(picture(tmp_path, n)) for n in (10, 11)]
    predicted = stranger.result("try-run", [uploads, MODEL, VARIANT, 0.3, 0, "none", None])
    assert "2 images" in predicted[0]
    first = stranger.result("correct-back", [None, None])[2]  # from none to the last
    first = stranger.result("correct-back", [None, None])[2]
    assert first["file"] == "visitor_010.png"
    shown = stranger.result("correct-next", [None, None])[2]
    assert shown["file"] == "visitor_011.png"
    points: list[Any] = [None] * len(first["names"])
    points[first["names"].index("nose")] = [12.0, 34.0, 1.0]
    stranger.result("correct-canvas", [None], {"key": first["key"], "individuals": [points]})
    stranger.result("correct-canvas", [None], {"key": "of a prediction before", "individuals": [points]})
    saved = stranger.result("correct-save", [None, "superset COCO", 1.0])[0]
    with zipfile.ZipFile(saved["value"]["path"]) as archive:
        content = json.loads(archive.read("corrected/annotations.json"))
    names = {image["id"]: image["file_name"] for image in content["images"]}
    (animal,) = content["annotations"]
    assert "visitor_010" in names[animal["image_id"]]


def test_a_request_that_never_ends_is_ended(app: RunningApp, stranger: Stranger) -> None:
    before = app.memory()
    asked = b'{"data": [' + b"[" * (40 * 2**20)
    answer = stranger.post("queue/join", content=asked, headers={"content-type": "application/json"})
    assert (answer.status_code, answer.text) == (413, "At most 16 MiB are taken")
    assert app.memory() - before < 40
    deep = b'{"data": ' + b"[" * 10**6 + b"]" * 10**6 + b"}"
    answer = stranger.post("queue/join", content=deep, headers={"content-type": "application/json"})
    assert 400 <= answer.status_code < 600
    assert stranger.get(app.address).status_code == 200


def large_zip(folder: Path) -> Path:
    content = np.random.default_rng(0).integers(0, 3, 20 * 2**20, dtype=np.uint8).tobytes()
    with zipfile.ZipFile(folder / "large.zip", "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for n in range(6):
            archive.writestr(f"project/{n}.bin", content)
    return folder / "large.zip"


def test_nothing_stays_of_who_leaves_while_their_zip_is_unpacked(app: RunningApp, tmp_path: Path) -> None:
    wait_for(lambda: not files_of_visitors(app))
    with Stranger(app) as stranger:
        path = stranger.put(large_zip(tmp_path))
        assert stranger.ask("run/predict", "contribute-upload", [file_at(path)]).is_success
        assert stranger.ask("queue/join", "contribute-inspect", [file_at(path), MODEL, False]).is_success
        wait_for(lambda: list(root_of(app).glob("*/contribution-*/large/project/*.bin")))
    wait_for(lambda: not Path(path).exists())
    time.sleep(3)  # the rest of the zip would be unpacked meanwhile
    with Visitor(app) as another:
        another.upload(picture(tmp_path, 3))
    wait_for(lambda: not files_of_visitors(app))


def test_pressing_again_and_again_unpacks_once(app: RunningApp, tmp_path: Path) -> None:
    with Stranger(app) as stranger:
        path = stranger.put(large_zip(tmp_path))
        assert stranger.ask("run/predict", "contribute-upload", [file_at(path)]).is_success
        most = 0
        for element, data in (
            *[("contribute-inspect", [file_at(path), MODEL, False])] * 6,
            *[("finetune-run", [file_at(path), None, MODEL, VARIANT, 0, 10, None])] * 6,
        ):
            assert stranger.ask("queue/join", element, data).is_success
            most = max(most, len(list(root_of(app).glob("*/*-*/large"))))
            time.sleep(0.2)
        time.sleep(1)
        most = max(most, len(list(root_of(app).glob("*/*-*/large"))))
    assert most <= 3  # of each tab the last one, and one that is being unpacked


def test_a_service_that_is_stopped_leaves_no_visitor_s_files(tmp_path: Path) -> None:
    running = RunningApp(tmp_path)
    try:
        with Visitor(running) as visitor:
            visitor.upload(picture(tmp_path, 4))
            os.kill(running.process.pid, signal.SIGTERM)
            running.process.wait(20)
        assert not list(running.temporary.glob("zoo-app-*"))
    finally:
        running.close()
        shutil.rmtree(running.temporary, ignore_errors=True)
