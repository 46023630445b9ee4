"""What visitors take home, as a zip file: without the folders of the server in its texts."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Sequence
from pathlib import Path

from superset_vocab.files import atomic_path, make_folder

_TEXTS = (".csv", ".html", ".json", ".md", ".toml", ".txt", ".yaml")


def pack(
    folder: Path, target: Path, visitor: Path, *, top: str = "", patterns: Sequence[str] = ("**/*",)
) -> Path:
    """Pack a folder's files.

    Reports, provenance and DeepLabCut's config.yaml name files by where they lie. Here that is a folder of
    the visitor's on the server, which is taken out: what is left is the place within it.

    Args:
        folder: What is packed.
        target: The zip file.
        visitor: The visitor's folder, in which every job has a folder.
        top: Folder in the zip file that everything is in; "" for none.
        patterns: Of the files that are packed.

    Returns:
        `target`.
    """
    files = sorted({path for pattern in patterns for path in folder.glob(pattern) if path.is_file()})
    make_folder(target.parent)
    with atomic_path(target) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in files:
            name = str(Path(top) / path.relative_to(folder))
            if path.suffix.lower() in _TEXTS:
                archive.writestr(name, without_folders(path.read_bytes(), visitor))
            else:
                archive.write(path, name, zipfile.ZIP_STORED)  # pictures and weights are packed already
    return target


def without_folders(text: bytes, visitor: Path) -> bytes:
    """A text in which paths below a visitor's folder begin after the job's folder."""
    places = {str(visitor), str(visitor.resolve())}
    job = rb"(?:/[\w-]+)?/?"
    for place in sorted(places, key=len, reverse=True):
        text = re.sub(re.escape(place.encode()) + job, b"", text)
    return text
