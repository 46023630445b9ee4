"""A folder for each visitor. Nobody else's files are in it, and it goes when the visitor goes.

What was still being written when somebody left, and uploads that nobody claimed, go when the next one comes
or leaves. Gradio's session hash says who somebody is. The folder's name is random, so that it cannot be
guessed from the session, and its path is taken out of everything that a visitor is told.
"""

from __future__ import annotations

import logging
import re
import secrets
import shutil
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from app.web.guards import shown_name
from app.web.settings import Settings

_LOG = logging.getLogger(__name__)
_UNCLAIMED = 3_600.0  # seconds that an upload is kept of which nobody's page has said that it is theirs
_FOLDER = re.compile(r"[0-9a-f]{32}")  # a visitor's
_PATH = re.compile(r"(?:[A-Za-z]:)?(?:[/\\][^\s'\",:;<>|/\\]+){2,}")


@dataclass
class Visitor:
    """One browser session.

    Attributes:
        folder: Where their files are.
        seen: When they last asked for something, in seconds of `time.monotonic`.
        uploads: What they uploaded; Gradio gives equal files of two visitors one place.
        unpacks: Whether an upload of theirs is being unpacked.
    """

    folder: Path
    seen: float = field(default_factory=time.monotonic)
    uploads: set[Path] = field(default_factory=set)
    unpacks: bool = False

    def new_folder(self, what: str) -> Path:
        """A new empty folder for one job."""
        self.folder.mkdir(parents=True, exist_ok=True)
        return Path(tempfile.mkdtemp(prefix=f"{what}-", dir=self.folder))

    def keep_only(self, what: str, kept: Path) -> None:
        """Remove the folders of other jobs of a kind: pressing again and again fills no disk."""
        for folder in self.folder.glob(f"{what}-*"):
            if folder != kept:
                shutil.rmtree(folder, ignore_errors=True)


class Visitors:
    """Who is here.

    Args:
        settings: Where the folders are, and how long they stay.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._known: dict[str, Visitor] = {}
        self._here: Counter[str] = Counter()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._known)

    @contextmanager
    def here(self, session: str) -> Iterator[None]:
        """As long as this lasts the page of a session is open: however idle, nothing of it is removed."""
        with self._lock:
            self._here[session] += 1
        try:
            yield
        finally:
            with self._lock:
                self._here[session] -= 1
                self._here += Counter()  # drops those that are nowhere

    def of(self, session: str) -> Visitor:
        """The visitor of a session, and the end of those who left long ago."""
        now = time.monotonic()
        with self._lock:
            visitor = self._known.get(session)
            is_new = visitor is None
            if visitor is None:
                visitor = self._known[session] = Visitor(self._settings.root / secrets.token_hex(16))
            visitor.seen = now
            idle = self._settings.idle_minutes * 60
            left = self._known.keys() - self._here.keys()
            gone = [key for key in left if now - self._known[key].seen > idle]
        for key in gone:
            self.forget(key)
        if is_new:
            self._sweep()
        return visitor

    def forget(self, session: str) -> None:
        """Remove a visitor's files."""
        with self._lock:
            visitor = self._known.pop(session, None)
            shared = set().union(*(other.uploads for other in self._known.values()))
        if visitor is not None:
            shutil.rmtree(visitor.folder, ignore_errors=True)
            for path in visitor.uploads - shared:
                with suppress(OSError):
                    path.unlink()
            self._sweep()
            _LOG.info("a visitor left; %d here", len(self._known))

    def _sweep(self) -> None:
        """Remove what is nobody's: folders of those who left, uploads that were never claimed.

        Gradio makes an empty file for every upload that it hands on, and forgets it.
        """
        with self._lock:
            folders = {visitor.folder for visitor in self._known.values()}
            uploads = set().union(*(visitor.uploads for visitor in self._known.values()))
        for folder in self._settings.root.glob("*"):
            if _FOLDER.fullmatch(folder.name) and folder not in folders:
                shutil.rmtree(folder, ignore_errors=True)
        now = time.time()
        for path in self._settings.uploads.resolve().glob("**/*"):
            with suppress(OSError):  # another one may sweep at the same time
                found = path.stat()
                old = 60 if found.st_size == 0 and path.name.startswith("tmp") else _UNCLAIMED
                if path.is_file() and path not in uploads and now - found.st_mtime > old:
                    path.unlink()

    def forget_all(self) -> None:
        """Remove everybody's files; when the app ends."""
        for session in list(self._known):
            self.forget(session)


def public(message: str) -> str:
    """A message with every path cut down to its last part, and nothing that a browser takes for markup."""
    short = _PATH.sub(lambda found: shown_name(found.group()), message)
    return short.replace("<", "‹").replace(">", "›")
