"""Writing files so that nothing is ever half written.

Every file this project writes goes to a temporary name in the target's own folder and is renamed
when complete: a reader, or a later run that resumes, sees the old file or the whole new one.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from superset_vocab.errors import InputError


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
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem}.", suffix=path.suffix)
    os.close(handle)
    temporary = Path(name)
    umask = os.umask(0)
    os.umask(umask)
    try:
        yield temporary
        temporary.chmod(0o666 & ~umask)  # mkstemp's 0600 is for secrets; results are shared
        temporary.replace(path)
    finally:
        with suppress(FileNotFoundError):
            temporary.unlink()


def write_json(path: Path, content: Any) -> None:
    """Write `content` as UTF-8 JSON, atomically. NaN is refused: it is not JSON."""
    text = json.dumps(content, indent=1, allow_nan=False, ensure_ascii=False)
    with atomic_path(path) as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")
