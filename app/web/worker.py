"""Heavy work in a process of its own: one job at a time, visitors in line, cancelled by ending the process.

A network cannot be stopped in the middle of a thread, a crash in native code would take the page down with
it, and what a job leaves in memory would stay; a process has none of these faults. It keeps its loaded
models from job to job. Who waits is told how many are ahead; nobody has two jobs in line.

The process speaks through a pipe: progress as it comes (every progress bar of the package reports there),
then a result or a refusal. An unforeseen error ends it, with the traceback in the server's log; the next
job gets a new process.
"""

from __future__ import annotations

import asyncio
import importlib
import logging
import multiprocessing
import os
import sys
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from app.extras import what_to_install
from app.web.settings import Settings
from superset_vocab.errors import InputError

_LOG = logging.getLogger(__name__)
_LOOK = 0.15  # seconds between looks at the pipe
_LONGEST = 4_000  # characters of a refusal: a file may have a million problems
_PATIENCE = 100  # looks at a job that was cancelled


@dataclass(frozen=True)
class Waiting:
    """Not begun: `ahead` jobs come first."""

    ahead: int


@dataclass(frozen=True)
class Progress:
    """Under way.

    Attributes:
        what: What is being done, in a word or two.
        done, total: Steps; total 0 where it is not known.
        seconds_left: At the present rate; None where that cannot be said yet.
    """

    what: str = "starting"
    done: int = 0
    total: int = 0
    seconds_left: float | None = None


@dataclass(frozen=True)
class Finished:
    """Done; `result` is what the job returned."""

    result: dict[str, Any]


class JobLostError(RuntimeError):
    """The process ended without a word: an error in the program, or no memory left."""


class JobCancelledError(InputError):
    """The visitor cancelled it."""

    def __init__(self) -> None:
        super().__init__("cancelled")


@dataclass(eq=False)
class _Ticket:
    """A visitor's place in line."""

    session: str
    cancelled: bool = False


class Worker:
    """The process and the line before it. All methods belong to one event loop.

    Args:
        settings: How many may wait, and how long a job may take.
        jobs: Module with the functions that are the jobs.
    """

    def __init__(self, settings: Settings, jobs: str = "app.web.jobs") -> None:
        self._settings = settings
        self._jobs = jobs
        self._line: list[_Ticket] = []
        self._process: BaseProcess | None = None
        self._pipe: Connection | None = None

    @property
    def waiting(self) -> int:
        """Jobs in line, with the one under way."""
        return len(self._line)

    async def run(
        self, session: str, job: str, arguments: dict[str, Any]
    ) -> AsyncIterator[Waiting | Progress | Finished]:
        """Do a job when its turn has come.

        Args:
            session: Whose it is; a session has one job at a time.
            job: Name of the function.
            arguments: Its keyword arguments, plain data.

        Raises:
            InputError: If too many wait, the session has a job already, or the job refuses its input or
                takes too long.
            JobCancelledError: If it is cancelled.
            JobLostError: If the process ends without an answer.
        """
        if self.has(session):
            raise InputError("you have a job under way; wait for it or cancel it first")
        if len(self._line) > self._settings.max_waiting:
            raise InputError(
                f"{len(self._line) - 1} visitors are waiting already; please come back in a while"
            )
        ticket = _Ticket(session)
        self._line.append(ticket)
        try:
            while self._line[0] is not ticket:
                if ticket.cancelled:
                    raise JobCancelledError
                yield Waiting(self._line.index(ticket))
                await asyncio.sleep(_LOOK)
            async for message in self._work(ticket, job, arguments):
                yield message
        finally:
            self._line.remove(ticket)

    def has(self, session: str) -> bool:
        """Whether a session has a job, under way or in line."""
        return any(ticket.session == session for ticket in self._line)

    def cancel(self, session: str) -> bool:
        """Cancel a session's job; False if it has none."""
        for ticket in self._line:
            if ticket.session == session:
                ticket.cancelled = True
                return True
        return False

    async def end(self, session: str) -> None:
        """Cancel a session's job and wait until nothing works on it any more."""
        for _ in range(_PATIENCE):
            if not self.cancel(session):
                return
            await asyncio.sleep(_LOOK)
        _LOG.warning("a job of somebody who left does not end")

    def close(self) -> None:
        """End the process."""
        if self._pipe is not None:
            self._pipe.close()
        if self._process is not None:
            self._process.kill()
            self._process.join()
        self._pipe = self._process = None

    async def _work(
        self, ticket: _Ticket, job: str, arguments: dict[str, Any]
    ) -> AsyncIterator[Progress | Finished]:
        pipe = self._started()
        end = time.monotonic() + self._settings.max_job_seconds
        finished, last = False, Progress()
        pipe.send((job, arguments))
        try:
            while True:
                kind, content = await self._next(ticket, pipe, end)
                if kind == "progress":
                    last = Progress(**content)
                elif kind == "refused":
                    finished = True
                    raise InputError(content)
                elif kind == "done":
                    finished = True
                    yield Finished(content)
                    return
                yield last
        finally:
            if not finished:  # cancelled, crashed, too slow, or the visitor left
                self.close()

    async def _next(self, ticket: _Ticket, pipe: Connection, end: float) -> tuple[str, Any]:
        """The next message; ("nothing", None) now and then, so that the caller can say that it goes on."""
        for _ in range(5):
            if ticket.cancelled:
                raise JobCancelledError
            if time.monotonic() > end:
                raise InputError(
                    f"this takes longer than the {self._settings.max_job_seconds / 60:.0f} minutes that a "
                    "job may take here; use less data, or your own machine"
                )
            try:
                if pipe.poll():
                    return pipe.recv()
            except (EOFError, OSError) as error:
                _LOG.error("the worker process ended during a job")
                raise JobLostError("the worker process ended") from error
            await asyncio.sleep(_LOOK)
        return "nothing", None

    def _started(self) -> Connection:
        """The pipe to the process, which is started if there is none."""
        if self._pipe is None or self._process is None or not self._process.is_alive():
            self.close()
            context = multiprocessing.get_context("spawn")
            ours, theirs = context.Pipe()
            process = context.Process(
                target=_serve,
                args=(theirs, self._jobs, self._settings.max_memory_share),
                daemon=True,
                name="zoo-app-worker",
            )
            process.start()
            theirs.close()
            self._process, self._pipe = process, ours
        return self._pipe


def _serve(pipe: Connection, module: str, memory_share: float) -> None:
    """The process: jobs from the pipe, one after the other, until it is closed."""
    _limit_memory(memory_share)
    _report_progress_to(pipe)
    jobs = importlib.import_module(module)
    while True:
        try:
            job, arguments = pipe.recv()
        except EOFError:
            return
        try:
            pipe.send(("done", getattr(jobs, job)(**arguments)))
        except InputError as error:
            text = str(error)
            pipe.send(("refused", text if len(text) <= _LONGEST else f"{text[:_LONGEST]} ..."))
        except MemoryError:
            pipe.send(("refused", "this takes more memory than a job may have here; use less data"))
        except ModuleNotFoundError as error:
            remedy = what_to_install(error)
            if remedy is None:
                raise
            pipe.send(("refused", f"{remedy}, where this app runs"))


def _limit_memory(share: float) -> None:
    """End this process, rather than the server or the machine, over a file that unpacks to a mountain."""
    if sys.platform != "linux":
        return
    import resource

    own = Path("/sys/fs/cgroup/memory.max")  # of a container
    limits = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    with suppress(OSError, ValueError):  # "max": none
        limits.append(int(own.read_text()))
    most = int(share * min(limits))
    resource.setrlimit(resource.RLIMIT_DATA, (most, most))
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")


def _report_progress_to(pipe: Connection) -> None:
    """Make every progress bar of this process report to the pipe. Before anything imports tqdm's class."""
    import tqdm

    nowhere = open(os.devnull, "w")  # noqa: SIM115, PTH123 - for the life of the process

    class Reporting(tqdm.tqdm):
        """A progress bar that sends its state instead of drawing it."""

        def __init__(self, *args: Any, **kwargs: Any) -> None:
            kwargs |= {"file": nowhere, "disable": False}
            super().__init__(*args, **kwargs)

        def display(self, *_: Any, **__: Any) -> None:
            state = self.format_dict
            done, total, rate = state["n"], state["total"] or 0, state["rate"]
            if rate is None and state["elapsed"] > 0:
                rate = done / state["elapsed"]
            left = (total - done) / rate if rate and total else None
            what = str(state["prefix"] or "working")
            pipe.send(("progress", {"what": what, "done": done, "total": total, "seconds_left": left}))

    tqdm.tqdm = Reporting  # type: ignore[misc]
