"""The worker process: its line, cancelling, crashes, refusals."""

from __future__ import annotations

import asyncio
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import web_jobs

from app.web.settings import Settings
from app.web.worker import Finished, JobCancelledError, JobLostError, Progress, Waiting, Worker
from superset_vocab import InputError

Said = list[Waiting | Progress | Finished]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("root")


@pytest.fixture
def worker(root: Path) -> Iterator[Worker]:
    made = Worker(Settings(root=root, max_waiting=2, max_job_seconds=20), web_jobs.__name__)
    yield made
    made.close()


async def do(worker: Worker, session: str, job: str, said: Said | None = None, **arguments: Any) -> Any:
    """A job's result; everything that was said goes into `said`."""
    said = [] if said is None else said
    async for message in worker.run(session, job, arguments):
        said.append(message)
    assert isinstance(said[-1], Finished)
    return said[-1].result


async def until_in_line(worker: Worker, n: int) -> None:
    while worker.waiting < n:
        await asyncio.sleep(0.01)


def test_jobs_come_in_order_one_at_a_time_in_one_process(worker: Worker, tmp_path: Path) -> None:
    file, go = tmp_path / "words", tmp_path / "go"

    async def all_of_them() -> list[Any]:
        first = asyncio.create_task(do(worker, "a", "wait_for", file=str(go)))
        await until_in_line(worker, 1)
        said: Said = []
        second = asyncio.create_task(do(worker, "b", "note", said, file=str(file), word="b"))
        await until_in_line(worker, 2)
        third = asyncio.create_task(do(worker, "c", "note", file=str(file), word="c"))
        await until_in_line(worker, 3)
        assert not file.exists()
        go.touch()
        results = await asyncio.gather(first, second, third)
        assert Waiting(1) in said
        return results

    results = asyncio.run(all_of_them())
    assert file.read_text().split() == ["b", "c"]
    assert len({result["process"] for result in results}) == 1
    assert worker.waiting == 0


def test_a_visitor_has_one_job_and_the_line_has_an_end(worker: Worker, tmp_path: Path) -> None:
    go = tmp_path / "go"

    async def crowd() -> None:
        tasks = []
        for n, session in enumerate("abc", 1):  # one at work, two waiting
            tasks.append(asyncio.create_task(do(worker, session, "wait_for", file=str(go))))
            await until_in_line(worker, n)
        with pytest.raises(InputError, match="you have a job under way; wait for it or cancel it first"):
            await do(worker, "a", "refuse", text="never")
        with pytest.raises(InputError, match="2 visitors are waiting already; please come back in a while"):
            await do(worker, "d", "refuse", text="never")
        go.touch()
        await asyncio.gather(*tasks)

    asyncio.run(crowd())
    assert asyncio.run(do(worker, "d", "sleep", seconds=0)) == {"slept": 0}


def test_cancelling_ends_the_work_and_the_next_job_works(worker: Worker, tmp_path: Path) -> None:
    async def cancelled() -> None:
        task = asyncio.create_task(do(worker, "a", "sleep", seconds=600))
        await until_in_line(worker, 1)
        while worker._process is None:
            await asyncio.sleep(0.01)
        process = worker._process
        waiting = asyncio.create_task(do(worker, "b", "sleep", seconds=0))
        left = asyncio.create_task(do(worker, "c", "note", file=str(tmp_path / "never"), word="c"))
        await until_in_line(worker, 3)
        assert worker.cancel("c")
        assert worker.cancel("a")
        assert not worker.cancel("nobody")
        for one in (task, left):
            with pytest.raises(JobCancelledError):
                await one
        assert not process.is_alive()
        assert await waiting == {"slept": 0}

    asyncio.run(cancelled())
    assert not (tmp_path / "never").exists()


@pytest.mark.parametrize("job", ["die", "fail"])
def test_a_crash_is_said_and_the_worker_goes_on(worker: Worker, job: str) -> None:
    with pytest.raises(JobLostError):
        asyncio.run(do(worker, "a", job))
    assert asyncio.run(do(worker, "a", "sleep", seconds=0)) == {"slept": 0}


def test_a_refusal_keeps_its_words_and_its_process(worker: Worker, tmp_path: Path) -> None:
    file = str(tmp_path / "words")
    before = asyncio.run(do(worker, "a", "note", file=file, word="before"))
    with pytest.raises(InputError, match=r"^the 3 frames are no frames$"):
        asyncio.run(do(worker, "a", "refuse", text="the 3 frames are no frames"))
    after = asyncio.run(do(worker, "a", "note", file=file, word="after"))
    assert before["process"] == after["process"]


def test_a_missing_extra_is_named(worker: Worker) -> None:
    remedy = (
        'this needs mmengine, which is not installed; pip install "superanimal-zoo[train]", where this app'
    )
    with pytest.raises(InputError, match=re.escape(remedy)):
        asyncio.run(do(worker, "a", "need", module="mmengine"))
    with pytest.raises(JobLostError):  # no extra of ours: an error in the program
        asyncio.run(do(worker, "a", "need", module="no_such_module"))


def test_progress_bars_are_heard_even_where_they_are_switched_off(worker: Worker) -> None:
    said: Said = []
    assert asyncio.run(do(worker, "a", "count", said, n=8)) == {"n": 8}
    heard = [m for m in said if isinstance(m, Progress) and m.what == "counting"]
    assert heard
    assert {m.total for m in heard} == {8}
    done = [m.done for m in heard]
    assert done == sorted(done)
    assert done[-1] >= 6


def test_a_job_that_takes_too_long_is_ended(root: Path) -> None:
    worker = Worker(Settings(root=root, max_job_seconds=0.5), web_jobs.__name__)
    try:
        with pytest.raises(InputError, match="longer than the 0 minutes that a job may take here; use less"):
            asyncio.run(do(worker, "a", "sleep", seconds=600))
    finally:
        worker.close()


@pytest.mark.skipif(sys.platform != "linux", reason="no limit elsewhere")
def test_a_job_that_takes_all_memory_is_refused_and_the_worker_goes_on(root: Path) -> None:
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    worker = Worker(Settings(root=root, max_memory_share=500 * 2**20 / machine), web_jobs.__name__)
    try:
        with pytest.raises(
            InputError, match=r"^this takes more memory than a job may have here; use less data"
        ):
            asyncio.run(do(worker, "a", "eat", mib=800))
        assert asyncio.run(do(worker, "a", "eat", mib=50)) == {"mib": 50}
    finally:
        worker.close()


def test_a_refusal_of_a_million_lines_is_cut(worker: Worker) -> None:
    with pytest.raises(InputError) as caught:
        asyncio.run(do(worker, "a", "refuse", text="image 1 has no id\n" * 10**6))
    assert len(str(caught.value)) < 5_000
    assert str(caught.value).endswith(" ...")
