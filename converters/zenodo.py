"""Files of a Zenodo record: listed, downloaded so that a break can be resumed, and verified.

`https://zenodo.org/api/records/<id>` lists a record's files with size, MD5 and address. A download goes to
`<name>.<md5>.part` beside its target; a later call goes on where it ends (HTTP Range), also after the
process was killed. When it is complete its size and MD5 are compared and it gets its name.

Why this is not a library's: pooch, which is made for such downloads, starts a broken one from the beginning,
and these files have gigabytes; huggingface_hub resumes, but its general download function is private. urllib
heeds the proxies of the environment. ZOO_ZENODO names another host, e.g. a mirror.
"""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import re
import shutil
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from superset_vocab import InputError
from superset_vocab.files import make_folder
from superset_vocab.provenance import package_version

HOST = "https://zenodo.org"
_TIMEOUT = 30  # seconds without a byte
_ATTEMPTS = 5  # in a row that bring nothing
_PAUSE = 1.0  # seconds before the second attempt, doubled each time
_CHUNK = 1 << 20
_LATER = (408, 429, 500, 502, 503, 504)


@dataclass(frozen=True)
class RemoteFile:
    """A file of a record.

    Attributes:
        name: Its name.
        url: Where it is.
        size: In bytes.
        md5: Hexadecimal.
    """

    name: str
    url: str
    size: int
    md5: str


@dataclass(frozen=True)
class Record:
    """A record.

    Attributes:
        number: Its id.
        title: Its title.
        licence: Id of its licence as Zenodo has it, "" if it states none.
        files: Its files.
    """

    number: str
    title: str
    licence: str
    files: tuple[RemoteFile, ...]


def host() -> str:
    """Address of Zenodo: $ZOO_ZENODO, else the real one."""
    return (os.environ.get("ZOO_ZENODO") or HOST).rstrip("/")


def read_record(number: str, *, at: str | None = None) -> Record:
    """What a record holds.

    Args:
        number: Its id.
        at: Address of Zenodo; None takes `host()`.

    Raises:
        InputError: If it cannot be reached, has no such record, or answers something else.
    """
    address = f"{(at or host()).rstrip('/')}/api/records/{number}"
    try:
        with _open(address) as answer:
            content: Any = json.loads(answer.read())
    except (OSError, http.client.HTTPException) as error:
        raise InputError(f"{address}: {_reason(error)}") from error
    except ValueError as error:
        raise InputError(
            f"{address}: does not answer like Zenodo ({error}); check proxies and ZOO_ZENODO"
        ) from error
    try:
        files = tuple(_file(entry) for entry in content["files"])
        metadata = content.get("metadata") or {}
        licence = metadata.get("license") or ""
        licence = licence.get("id", "") if isinstance(licence, dict) else str(licence)
        return Record(number, str(metadata.get("title", "")), str(licence), files)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        what = f"{type(error).__name__}: {error}"
        raise InputError(
            f"{address}: does not list files as Zenodo does ({what}); has its API changed?"
        ) from error


def _file(entry: dict[str, Any]) -> RemoteFile:
    """A file as the API lists it. Raises KeyError, TypeError or ValueError on anything else."""
    name, url = str(entry["key"]), str(entry["links"]["self"])
    kind, _, digest = str(entry["checksum"]).partition(":")
    if kind != "md5" or not re.fullmatch(r"[0-9a-f]{32}", digest):
        raise ValueError(f"checksum {entry['checksum']!r} is no md5")
    if not name or name != Path(name).name or name.startswith(".") or "\\" in name:
        raise ValueError(f"{name!r} is no file name")
    if not url.startswith(("https://", "http://")):
        raise ValueError(f"{url!r} is no address")
    return RemoteFile(name, url, int(entry["size"]), digest)


def download(file: RemoteFile, folder: Path, *, progress: bool = False) -> Path:
    """A file of a record, from the folder if it is there and whole, else downloaded into it.

    Args:
        file: Which one.
        folder: Is made if need be.
        progress: Show a progress bar.

    Raises:
        InputError: If it cannot be downloaded now (what has come is kept for the next time), does not fit on
            the disk, or is not the file that the record lists.
    """
    target = make_folder(folder) / file.name
    if target.is_file() and target.stat().st_size == file.size and _md5(target) == file.md5:
        return target
    part = folder / f"{file.name}.{file.md5[:8]}.part"
    have = part.stat().st_size if part.is_file() else 0
    free = shutil.disk_usage(folder).free
    if file.size - have > free:
        raise InputError(f"{target}: needs {_size(file.size - have)}, the disk has {_size(free)} left")
    with tqdm(
        total=file.size, desc=file.name, unit="B", unit_scale=True, leave=False, disable=not progress
    ) as bar:
        _complete(file, part, bar)
    if part.stat().st_size != file.size or (found := _md5(part)) != file.md5:
        found = found if part.stat().st_size == file.size else f"{part.stat().st_size} bytes"
        part.unlink()
        raise InputError(
            f"{file.url}: what was downloaded is damaged or not the published file (is {found}, want md5 "
            f"{file.md5} and {file.size} bytes); it is deleted, try again"
        )
    part.replace(target)
    return target


def _complete(file: RemoteFile, part: Path, bar: tqdm) -> None:
    """Fetch what is missing of a file, in as many attempts as bring something and a few that do not."""
    failed = 0
    while (have := part.stat().st_size if part.is_file() else 0) < file.size:
        bar.n = have
        bar.refresh()
        error = None
        try:
            _fetch_rest(file, part, have, bar)
        except urllib.error.HTTPError as refusal:
            if refusal.code == 416:  # not that far: what is here is not of this file
                part.unlink(missing_ok=True)
            elif refusal.code not in _LATER:
                raise InputError(f"{file.url}: {_reason(refusal)}") from refusal
            error = refusal
        except (OSError, http.client.HTTPException) as broken:
            if isinstance(broken, OSError) and broken.filename is not None:
                raise  # the disk, not the network
            error = broken
        now = part.stat().st_size if part.is_file() else 0
        failed = 0 if now > have else failed + 1
        if failed == _ATTEMPTS:
            raise InputError(
                f"{file.url}: {_reason(error)}; {_size(now)} of {_size(file.size)} are here, "
                "the same command goes on from there"
            ) from error
        if now < file.size:
            time.sleep(_PAUSE * 2**failed / 2)


def _fetch_rest(file: RemoteFile, part: Path, have: int, bar: tqdm) -> None:
    """One request for the bytes from `have` on, as many as come."""
    with _open(file.url, {"Range": f"bytes={have}-"} if have else {}) as answer:
        resumed = answer.status == 206 and answer.headers.get("Content-Range", "").startswith(
            f"bytes {have}-"
        )
        with part.open("ab" if resumed else "wb") as out:  # a server without ranges sends all of it again
            bar.n = have if resumed else 0
            left = file.size - bar.n
            while left >= 0 and (chunk := answer.read1(_CHUNK)):
                out.write(chunk)
                bar.update(len(chunk))
                left -= len(chunk)


def _open(address: str, headers: dict[str, str] | None = None) -> Any:
    """The answer to a GET."""
    agent = {"User-Agent": f"superanimal-zoo/{package_version()}", "Accept-Encoding": "identity"}
    request = urllib.request.Request(address, headers={**agent, **(headers or {})})
    try:
        return urllib.request.urlopen(request, timeout=_TIMEOUT)
    except urllib.error.HTTPError as refusal:
        refusal.close()  # it holds the connection
        raise


def _reason(error: BaseException | None) -> str:
    """Why a request failed, and what to do."""
    if isinstance(error, urllib.error.HTTPError):
        if error.code in (404, 410):
            return f"there is no such record or file (status {error.code})"
        if error.code in (401, 403):
            return f"access is refused (status {error.code})"
        return f"answers with status {error.code}; try again later"
    if error is None:
        return "the connection ends early again and again; try again later"
    reason = getattr(error, "reason", None) or error
    return f"cannot be reached ({str(reason) or type(reason).__name__}); check the network and proxies"


def _md5(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "md5").hexdigest()


def _size(n_bytes: int) -> str:
    """A number of bytes for people."""
    return f"{n_bytes / 1e9:.1f} GB" if n_bytes >= 1e8 else f"{n_bytes / 1e6:.1f} MB"
