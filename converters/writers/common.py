"""What writers share: names of copied images, and the record of where an export came from."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path, PurePosixPath
from typing import Any

from superset_vocab import LabelRecord, LabelSet
from superset_vocab.errors import all_problems
from superset_vocab.files import write_json
from superset_vocab.provenance import operation, package_version

PROVENANCE = "provenance.json"
_UNSAFE = re.compile(r"[<>:\"/\\|?*\x00-\x1f\x7f-\x9f\u2028\u2029]")
_LONGEST = 60  # characters: at most 240 bytes, which every file system takes


def safe_name(text: str) -> str:
    """A text as a file name on any system."""
    return _UNSAFE.sub("_", text).strip(". ")[:_LONGEST] or "_"


def image_name(record: LabelRecord) -> str:
    """The last part of what the source calls an image, with the ending that the file has."""
    name = PurePosixPath(record.source_image or record.image.name).name
    return safe_name(Path(name).stem) + record.image.suffix.lower()


def free_name(name: str, taken: set[str]) -> str:
    """The name, or it with a number, so that it is not among `taken` on any file system; it is then added."""
    path, n, free = PurePosixPath(name), 1, name
    while free.casefold() in taken:
        n += 1
        free = path.with_stem(f"{path.stem}__{n}").as_posix()
    taken.add(free.casefold())
    return free


def check_images(records: Sequence[LabelRecord], out: Path) -> None:
    """Check that the images are there before anything is written.

    Raises:
        InputError: Lists those that are missing.
    """
    missing = [f"{record.image}: no such image" for record in records if not record.image.is_file()]
    if missing:
        raise all_problems(f"{out} is not written", missing)


def write_provenance(labels: LabelSet, folder: Path, format_name: str, **parameters: Any) -> None:
    """Write provenance.json: sources with licences, and everything that was done to the labels."""
    done = operation("export", format=format_name, **parameters)
    content = {
        "version": package_version(),
        "vocabulary": labels.vocabulary,
        "sources": [asdict(source) for source in labels.sources],
        "operations": [*labels.operations, done],
    }
    write_json(folder / PROVENANCE, content)
