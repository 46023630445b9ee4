"""A running app under load: many visitors, a cancelled and a killed job, and files that are nobody else's."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

pytest.importorskip("gradio", reason="the app's extra is not installed")
if not Path("/proc/self/task").is_dir():
    pytest.skip("processes are read from /proc", allow_module_level=True)

from app.cli import main
from benchmarks.app_load import RunningApp, Visitor, at_once, in_a_row, picture

GOLDEN = Path(__file__).with_name("golden")


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningApp]:
    running = RunningApp(tmp_path_factory.mktemp("app"), GOLDEN)
    yield running
    running.close()


def wait_for(what: Callable[[], object], seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, "it did not come to pass"
        time.sleep(0.05)


def files_of(app: RunningApp) -> set[str]:
    """What visitors uploaded and got; not what the host offers, nor Gradio's empty files, swept later."""
    found = set()
    for root in app.temporary.glob("zoo-app-*"):
        for folder, _, names in os.walk(root):  # which goes on where the app removes a folder meanwhile
            for path in (Path(folder) / name for name in names if "offered" not in Path(folder).parts):
                with contextlib.suppress(FileNotFoundError):
                    if path.stat().st_size:
                        found.add(str(path))
    return found


def test_twenty_visitors_at_once_each_get_their_own(app: RunningApp, tmp_path: Path) -> None:
    answers = at_once(app, tmp_path, 20)
    assert [answer.message for answer, _ in answers if not answer.served] == []
    assert all(own for _, own in answers)
    assert sum(answer.waited for answer, _ in answers) >= 5  # and were told so


def test_memory_stays_flat(app: RunningApp, tmp_path: Path) -> None:
    in_a_row(app, tmp_path, 5, 5)  # warm
    (_, server, worker), *_, (_, server_after, worker_after) = in_a_row(app, tmp_path, 40, 40)
    assert server_after - server < 4  # 6 where what is known of a closed page stays
    assert worker_after - worker < 60


def test_a_cancelled_and_a_killed_job_leave_the_others_alone(app: RunningApp, tmp_path: Path) -> None:
    options = ["--labs", "openfield", "--frames", "120", "--video"]
    assert main(["synthesize", "--out", str(tmp_path), *options]) == 0
    clip = tmp_path / "synthetic_openfield.mp4"
    with Visitor(app) as first, Visitor(app) as second, Visitor(app) as third, ThreadPoolExecutor(3) as pool:
        long = first.upload(clip)
        waiting = second.upload(picture(tmp_path, 1))
        job = pool.submit(first.predict, long)
        with Visitor(app) as beside:
            wait_for(lambda: beside.get(app.address).status_code == 200)
        time.sleep(1)
        other = pool.submit(second.predict, waiting)
        assert first.cancel() == "Cancelled."
        assert (job.result().message, job.result().served) == ("Cancelled.", False)
        assert other.result().served

        job = pool.submit(first.predict, long)
        wait_for(app.workers)
        time.sleep(1)
        os.kill(app.workers()[0], signal.SIGKILL)
        lost = job.result()
        assert not lost.served
        assert "something went wrong on our side" in lost.message
        assert third.predict(third.upload(picture(tmp_path, 2))).served


def test_nobody_fetches_what_the_page_did_not_give(app: RunningApp, tmp_path: Path) -> None:
    with Visitor(app) as visitor:
        upload = visitor.upload(picture(tmp_path, 3))
        answer = visitor.predict(upload)
        folder = Path(answer.files[0].split("file=", 1)[1])
        root = next(parent for parent in folder.parents if parent.name.startswith("zoo-app-"))
    with Visitor(app) as stranger:
        guesses = [
            "/etc/passwd",
            f"{root}",
            f"{root}/",
            f"{root}/uploads",
            f"{root}/../../../../../etc/passwd",
            f"{root}/%2e%2e/%2e%2e/etc/passwd",
            f"{app.log}",
            f"{Path(__file__).resolve()}",
            "app/cli.py",
            "../README.md",
            "https://example.org/",
            "HTTP://127.0.0.1/",
        ]
        codes = {guess: stranger.get(guess).status_code for guess in guesses}
    assert set(codes.values()) <= {403, 404}, codes


def test_files_go_when_the_visitor_goes(app: RunningApp, tmp_path: Path) -> None:
    wait_for(lambda: not files_of(app))  # of those before
    path = picture(tmp_path, 4)
    with Visitor(app) as first:
        upload = first.upload(path)
        answer = first.predict(upload)
        assert len(files_of(app)) >= 5
        with Visitor(app) as second:
            second.upload(path)
        time.sleep(1.5)
        assert Path(upload["path"]).exists()  # the same picture, still somebody's
        assert first.get(answer.files[0]).status_code == 200
    wait_for(lambda: not files_of(app))


def test_nothing_is_left_when_the_app_ends(tmp_path: Path) -> None:
    running = RunningApp(tmp_path, GOLDEN)
    with Visitor(running) as visitor:
        visitor.upload(picture(tmp_path, 5))
        assert files_of(running)
    running.close()
    assert not list(running.temporary.glob("zoo-app-*"))
    assert "Traceback" not in running.log.read_text()
