"""What every tab needs: the settings, who is here, and the worker; and how a job is followed on the page."""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gradio as gr

from app.web.settings import Settings
from app.web.visitors import Visitor, Visitors, public
from app.web.worker import Finished, JobCancelledError, JobLostError, Progress, Waiting, Worker
from superset_vocab.errors import InputError

_LOG = logging.getLogger(__name__)
_CRASHED = (
    "something went wrong on our side and the job was ended; nothing of yours is kept. Try again, or with "
    "another file; the app itself goes on"
)

_DAY = 86_400.0  # seconds
_CANCELLED = "Cancelled."
PRIVATE: dict[str, Any] = {"api_visibility": "private"}  # of an event: for the page alone


@dataclass(frozen=True, eq=False)
class AppContext:
    """One running app.

    Attributes:
        settings: What the host allows.
        visitors: Who is here.
        worker: Where heavy work is done.
        proposed: When pull requests were opened in the host's name, `time.monotonic`.
    """

    settings: Settings
    visitors: Visitors
    worker: Worker
    proposed: list[float] = field(default_factory=list)

    @classmethod
    def start(cls, settings: Settings) -> AppContext:
        """The context of a new app."""
        return cls(settings, Visitors(settings), Worker(settings))

    def visitor(self, request: gr.Request) -> Visitor:
        """Who asks."""
        return self.visitors.of(session(request))

    @contextmanager
    def unpacking(self, request: gr.Request, what: str, *, alone: bool = True) -> Iterator[Path]:
        """A new folder for files of a visitor's, one at a time; when it is full, older ones of the kind go.

        Args:
            request: Whose.
            what: Kind of the files.
            alone: Not beside a job of the visitor's either, which may still need the older ones.

        Raises:
            InputError: If the visitor has to wait.
        """
        visitor = self.visitor(request)
        if visitor.unpacks or (alone and self.worker.has(session(request))):
            raise InputError("you have a job under way; wait for it or cancel it first")
        visitor.unpacks = True
        try:
            folder = visitor.new_folder(what)
            try:
                yield folder
            except InputError:
                shutil.rmtree(folder, ignore_errors=True)
                raise
            visitor.keep_only(what, folder)
        finally:
            visitor.unpacks = False

    def offered(self, path: Path) -> Path:
        """A copy of a file of the host's that visitors may fetch, so that they learn no other path."""
        copy = self.settings.root / "offered" / path.name
        if not copy.exists():
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, copy)
        return copy

    def check_pull_requests(self) -> None:
        """Refuse one more pull request in the host's name, if as many as may be were opened in the last day.

        Raises:
            InputError: If so.
        """
        now = time.monotonic()
        self.proposed[:] = [then for then in self.proposed if now - then < _DAY]
        if len(self.proposed) >= self.settings.max_pull_requests:
            raise InputError(
                f"{len(self.proposed)} pull requests were opened here in the last day, no more may be; come "
                "back tomorrow, or take the bundle with you and use `zoo propose`"
            )

    def count_pull_request(self) -> None:
        """Count one that will be opened."""
        self.proposed.append(time.monotonic())

    def forgive_pull_request(self) -> None:
        """Count one less: it was refused."""
        self.proposed.pop()

    def close(self) -> None:
        """End the worker and remove every visitor's files."""
        self.worker.close()
        self.visitors.forget_all()


def session(request: gr.Request) -> str:
    """The browser session that asks."""
    return str(request.session_hash)


async def follow(
    context: AppContext, request: gr.Request, job: str, arguments: dict[str, Any]
) -> AsyncIterator[str | dict[str, Any]]:
    """Do a job and tell how it goes: sentences for the page, then the result unless it is cancelled.

    Raises:
        gr.Error: With a sentence for the visitor.
    """
    last = ""
    try:
        async for message in context.worker.run(session(request), job, arguments):
            if isinstance(message, Finished):
                yield message.result
                return
            text = _sentence(message)
            if text != last:
                last = text
                yield text
    except JobCancelledError:
        yield _CANCELLED
    except InputError as error:
        raise gr.Error(public(str(error)), duration=None, print_exception=False) from error
    except JobLostError as error:
        _LOG.exception("job %s was lost", job)
        raise gr.Error(_CRASHED, duration=None, print_exception=False) from error


def cancelled_by(context: AppContext, stop: gr.Button, status: gr.Markdown) -> None:
    """Let a button cancel the visitor's job, wherever it was begun."""

    def cancel(request: gr.Request) -> str:
        return _CANCELLED if context.worker.cancel(session(request)) else "Nothing is running."

    stop.click(cancel, None, status, queue=False, **PRIVATE)


def refuse(error: InputError) -> gr.Error:
    """A mistake of the visitor's, as the page shows it."""
    return gr.Error(public(str(error)), duration=None, print_exception=False)


def _sentence(message: Waiting | Progress) -> str:
    if isinstance(message, Waiting):
        one = message.ahead == 1
        return f"In line: {message.ahead} {'job comes' if one else 'jobs come'} first."
    if not message.total:
        return f"{public(message.what).capitalize()} ..."
    share = message.done / message.total
    text = f"{public(message.what)}: {message.done} of {message.total} ({share:.0%})"
    if message.seconds_left is not None:
        text += f", about {_duration(message.seconds_left)} left"
    return text


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"
