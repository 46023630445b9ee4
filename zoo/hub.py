"""Weights from the Hugging Face Hub: downloaded once, pinned to a revision, checked by their SHA-256.

All traffic and the cache are those of `huggingface_hub`: HF_HOME and HF_HUB_CACHE say where files are kept,
HF_ENDPOINT names a mirror, HF_TOKEN logs in, HF_HUB_OFFLINE forbids the network, HF_HUB_ETAG_TIMEOUT is
how long an answer is waited for. They are read when `huggingface_hub` is imported, so they must be set
before this process starts. A connection that breaks is resumed where it broke; an interrupted process
leaves no partial file behind and the next one starts the file again.

Every failure is an `InputError` that says what to do: without a network there is nothing to debug.
"""

from __future__ import annotations

import errno
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from superset_vocab.errors import InputError
from superset_vocab.files import sha256_of

if TYPE_CHECKING:
    from huggingface_hub.errors import HfHubHTTPError

# Seconds for a first answer. The client's own 10 s and five retries keep a machine without network waiting.
_ANSWER_SECONDS = 5
_COMMIT = re.compile(r"[0-9a-f]{40}")
_DISK_FULL = (errno.ENOSPC, errno.EDQUOT)
_TRY_LATER = (408, 429, 500, 502, 503, 504)  # the client waits and asks again


class NotReachableError(InputError):
    """The file is not in the cache and the Hub cannot be asked now: another time it may work."""


@dataclass(frozen=True)
class _File:
    """A file of a repository, at a revision."""

    repository: str
    file: str
    revision: str

    def __str__(self) -> str:
        at = "" if self.revision == "main" else f" at {self.revision}"
        return f"{self.repository}/{self.file}{at}"

    def check(self) -> None:
        """Refuse names that are none: a path among them would lead out of the cache.

        Raises:
            InputError: If repository, file or revision cannot be a name on the Hub.
        """
        check_repository(self.repository, f"{self}: ")
        for what, name in (("file", self.file), ("revision", self.revision)):
            path = PurePosixPath(name)
            if not name or "\\" in name or path.is_absolute() or ".." in path.parts:
                raise InputError(f"{self}: {name!r} is no name of a {what} on the Hub; check it")


@dataclass(frozen=True)
class Found:
    """A public model repository that a search found.

    Attributes:
        repository: "owner/name".
        tags: What its card says it is about.
        updated: Day of its last commit, "2026-11-24"; "" if the Hub does not say.
    """

    repository: str
    tags: tuple[str, ...]
    updated: str


def search(tag: str) -> list[Found]:
    """The public models on the Hub that have a tag, sorted by name.

    Raises:
        NotReachableError: If the Hub cannot be reached.
        InputError: If it answers with something else.
    """
    from huggingface_hub import HfApi, constants
    from huggingface_hub.errors import HTTPError  # pyright: ignore[reportPrivateImportUsage]
    from huggingface_hub.utils import get_session

    try:
        # Once without the client's five retries, so that without a network one fails at once.
        get_session().head(constants.ENDPOINT, timeout=_answer_seconds())
        infos = list(HfApi().list_models(filter=tag, full=True))
    except (HTTPError, OSError, RuntimeError) as error:
        kind, reason = _diagnosis(error)
        raise kind(f"models with the tag {tag}: {reason}") from error
    found = [
        Found(info.id, tuple(info.tags or ()), f"{info.last_modified:%Y-%m-%d}" if info.last_modified else "")
        for info in infos
    ]
    return sorted(found, key=lambda one: one.repository)


def check_repository(name: str, place: str = "") -> None:
    """Refuse what cannot be the name of a repository.

    Args:
        name: "owner/name"; old repositories without an owner are not for models of ours.
        place: Begin of the message.

    Raises:
        InputError: If it is none.
    """
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id

    try:
        validate_repo_id(name)
        valid = "/" in name
    except HFValidationError:
        valid = False
    if not valid:
        raise InputError(f"{place}{name!r} is no name of a repository; want owner/name")


def fetch(repository: str, file: str, revision: str, sha256: str = "") -> Path:
    """A file of a model repository on the Hub, from the cache if it is there, else downloaded.

    A file at a commit, or one whose hash is known, is taken from the cache without a look at the network.
    Else, at a branch or tag, the Hub is asked for a newer one; if it cannot be reached, the cached one is
    taken.

    Args:
        repository: "owner/name".
        file: Its path in the repository.
        revision: Branch, tag or commit. Only a commit (40 digits) stays the same for ever.
        sha256: What the file must hash to, hexadecimal; "" if that is not known.

    Returns:
        Path of the file in the cache; not to be changed.

    Raises:
        NotReachableError: If the file is not cached and the Hub cannot be reached, or not be asked.
        InputError: If it cannot be downloaded for another reason, or is not the one expected.
    """
    wanted = _File(repository, file, revision)
    path = cached(repository, file, revision)
    if path is not None and sha256 and sha256_of(path) == sha256.lower():
        return path
    if path is None or not _COMMIT.fullmatch(revision):
        path = _download(wanted, is_cached=path is not None)
    if sha256 and (found := sha256_of(path)) != sha256.lower():
        real = path.resolve()  # the cache has links to it; without it they count as absent
        raise InputError(
            f"{wanted}: the downloaded file is damaged or not the published one (sha256 {found[:12]}…, "
            f"want {sha256.lower()[:12]}…); delete it with `rm '{real}'` and try again"
        )
    return path


def cached(repository: str, file: str, revision: str) -> Path | None:
    """A file of a model repository, if it is in the cache; never looks at the network.

    Args:
        repository: "owner/name".
        file: Its path in the repository.
        revision: Branch, tag or commit; a branch is where it was when last asked for.

    Raises:
        InputError: If one of these cannot be a name on the Hub.
    """
    from huggingface_hub import try_to_load_from_cache

    wanted = _File(repository, file, revision)
    wanted.check()
    found = try_to_load_from_cache(repository, file, revision=revision)
    return Path(found) if isinstance(found, str) else None


def fetch_snapshot(
    repository: str,
    revision: str,
    kind: str = "model",
    *,
    only: Sequence[str] | None = None,
    without: Sequence[str] | None = None,
) -> Path:
    """The files of a repository at a revision, from the cache or downloaded.

    Args:
        repository: "owner/name".
        revision: Branch, tag or commit.
        kind: "model" or "dataset".
        only: Patterns of the paths that are wanted, e.g. "*.png"; None for all. What was downloaded before
            is in the folder too.
        without: Patterns of the paths that are not.

    Returns:
        The folder in the cache; not to be changed.

    Raises:
        NotReachableError, InputError: As `fetch`.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HTTPError  # pyright: ignore[reportPrivateImportUsage]

    wanted = _File(repository, "its files", revision)
    wanted.check()
    try:
        found = snapshot_download(
            repository,
            repo_type=kind,
            revision=revision,
            etag_timeout=_answer_seconds(),
            allow_patterns=list(only) if only is not None else None,
            ignore_patterns=list(without) if without is not None else None,
        )
    except (HTTPError, OSError, RuntimeError) as error:
        failed, reason = _diagnosis(error)
        raise failed(f"{wanted}: {reason}") from error
    return Path(found)


def _download(wanted: _File, is_cached: bool) -> Path:
    """Ask the Hub, and download if it has something else than the cache."""
    from huggingface_hub import hf_hub_download

    # The client changed its HTTP library twice (requests, httpx, httpx2); this name is always that library's
    # base of errors. The Xet downloader raises bare RuntimeErrors, all else that can happen is an OSError.
    from huggingface_hub.errors import HTTPError  # pyright: ignore[reportPrivateImportUsage]

    try:
        if not is_cached:
            _ask(wanted)
        path = hf_hub_download(
            wanted.repository, wanted.file, revision=wanted.revision, etag_timeout=_answer_seconds()
        )
    except (HTTPError, OSError, RuntimeError) as error:
        kind, reason = _diagnosis(error)
        raise kind(f"{wanted}: {reason}") from error
    return Path(path)


def _ask(wanted: _File) -> None:
    """Ask for the file once, so that without a network one fails at once and not after five retries."""
    from huggingface_hub import get_hf_file_metadata, hf_hub_url
    from huggingface_hub.errors import HfHubHTTPError

    url = hf_hub_url(wanted.repository, wanted.file, revision=wanted.revision)
    try:
        get_hf_file_metadata(url, timeout=_answer_seconds())
    except HfHubHTTPError as error:
        if error.response.status_code not in _TRY_LATER:
            raise


def _answer_seconds() -> float:
    """How long to wait for the Hub's answer: HF_HUB_ETAG_TIMEOUT if it is set."""
    from huggingface_hub import constants

    chosen = constants.HF_HUB_ETAG_TIMEOUT
    return chosen if chosen != constants.DEFAULT_ETAG_TIMEOUT else _ANSWER_SECONDS


def _diagnosis(error: Exception) -> tuple[type[InputError], str]:
    """Why a download failed and what to do; `NotReachableError` if that may pass by itself."""
    from huggingface_hub import constants
    from huggingface_hub.errors import (
        FileMetadataError,
        HfHubHTTPError,
        LocalEntryNotFoundError,
        OfflineModeIsEnabled,
    )

    hub, cache = constants.ENDPOINT, constants.HF_HUB_CACHE
    if isinstance(error, LocalEntryNotFoundError) and isinstance(error.__cause__, Exception):
        error = error.__cause__  # it only says that the file is not cached either
    if isinstance(error, HfHubHTTPError):
        kind = NotReachableError if error.response.status_code in _TRY_LATER else InputError
        return kind, _refusal(error)
    if isinstance(error, OfflineModeIsEnabled):
        return NotReachableError, (
            f"is not in the cache ({cache}) and HF_HUB_OFFLINE is set; unset it once, with a network"
        )
    if isinstance(error, FileMetadataError):
        return InputError, f"{hub} does not answer like a Hugging Face Hub; check HF_ENDPOINT and proxies"
    what = str(error).splitlines()[0] if str(error) else type(error).__name__
    number = error.errno if isinstance(error, OSError) else None
    if number in _DISK_FULL or "os error 28" in what:
        return (
            InputError,
            f"there is no space left in the cache ({cache}); free some, or set HF_HOME elsewhere",
        )
    if number is not None and not isinstance(error, ConnectionError | TimeoutError):
        return InputError, f"cannot be written into the cache ({cache}: {what}); set HF_HOME elsewhere"
    return NotReachableError, (
        f"cannot be downloaded: {hub} cannot be reached or broke off ({what}); "
        "check the network and try again"
    )


def _refusal(error: HfHubHTTPError) -> str:
    """What the Hub answered instead of the file."""
    from huggingface_hub import constants
    from huggingface_hub.errors import (
        GatedRepoError,
        RemoteEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    hub = constants.ENDPOINT
    log_in = "log in with `hf auth login` or set HF_TOKEN"
    if isinstance(error, GatedRepoError):
        return f"its repository is gated; ask for access on its page on {hub}, then {log_in}"
    if isinstance(error, RepositoryNotFoundError):
        return f"{hub} has no such repository, or it is private; check its name, or {log_in}"
    if isinstance(error, RevisionNotFoundError):
        return f"its repository on {hub} has no such revision; check the branch, tag or commit"
    if isinstance(error, RemoteEntryNotFoundError):
        return f"its repository on {hub} has no such file at this revision; check its name"
    status = error.response.status_code
    if status in (401, 403):
        return f"{hub} refuses access (status {status}): no such repository, or it is private; {log_in}"
    remedy = "try again later" if status in _TRY_LATER else "check HF_ENDPOINT and the file's name"
    return f"{hub} answers with status {status}; {remedy}"
