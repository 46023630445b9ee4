"""Reading text with errors a user understands, and writing so that nothing is ever half written.

Every file this project writes goes to a temporary name in the target's own folder and is renamed
when complete: a reader, or a later run that resumes, sees the old file or the whole new one.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from superset_vocab.errors import InputError

# It can only be read by setting it, which another thread that does the same, or makes a file meanwhile, must
# not see: so once, here.
_UMASK = os.umask(0o077)
os.umask(_UMASK)


def read_text(path: Path) -> str:
    """The UTF-8 text of a file.

    Raises:
        InputError: If it cannot be read or is not UTF-8 text.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error}); check the path") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: is not UTF-8 text ({error}); is it the right file?") from error


def read_json(path: Path) -> Any:
    """The content of a JSON file.

    Raises:
        InputError: If it cannot be read or is not JSON.
    """
    try:
        return json.loads(read_text(path))
    except json.JSONDecodeError as error:
        raise InputError(f"{path}: is not JSON ({error}); was it copied completely?") from error
    except RecursionError as error:
        raise InputError(f"{path}: is nested too deeply to be a label file") from error


def sha256_of(path: Path) -> str:
    """SHA-256 of a file's bytes, hexadecimal.

    Raises:
        InputError: If it cannot be read.
    """
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from error


def make_folder(folder: Path) -> Path:
    """Create `folder` with its parents and check that files can be written in it.

    Raises:
        InputError: If it cannot be created, is not a folder, or is not writable.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise InputError(
            f"{folder}: cannot write into this output folder ({error.strerror or error}); "
            "choose another with --out"
        ) from error
    return folder


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary path with the same suffix; rename it to `path` if the block succeeds.

    If the block fails, the temporary file is removed and an existing `path` is left as it was.
    """
    try:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem}.", suffix=path.suffix)
    except OSError as error:
        raise InputError(
            f"{path}: cannot be written there ({error.strerror or error}); choose another output folder"
        ) from error
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        temporary.chmod(0o666 & ~_UMASK)  # mkstemp's 0600 is for secrets; results are shared
        temporary.replace(path)
    finally:
        with suppress(FileNotFoundError):
            temporary.unlink()


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Yield a temporary sibling folder; rename it to `path` if the block succeeds.

    If the block fails, the temporary folder is removed. `path` must not exist, or be an empty folder:
    results are never mixed with what somebody else left there.

    Raises:
        InputError: If `path` is a file or a folder with something in it, or cannot be created.
    """
    if path.exists() and not path.is_dir():
        raise InputError(f"{path}: is a file, not an output folder; choose another with --out")
    if path.is_dir() and any(path.iterdir()):
        raise InputError(f"{path}: is not empty; choose a new output folder with --out, or remove it")
    make_folder(path.resolve().parent)
    temporary = Path(tempfile.mkdtemp(dir=path.resolve().parent, prefix=f".{path.name}."))
    try:
        yield temporary
        temporary.chmod(0o777 & ~_UMASK)
        temporary.replace(path.resolve())  # over an empty folder this is one atomic step too
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def write_json(path: Path, content: Any, *, indent: int | None = 1) -> None:
    """Write `content` as UTF-8 JSON, atomically. NaN is refused: it is not JSON."""
    text = json.dumps(content, indent=indent, allow_nan=False, ensure_ascii=False)
    with atomic_path(path) as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")
