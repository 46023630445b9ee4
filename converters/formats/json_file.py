"""Where a JSON label file lies, and what it looks like from outside, for telling formats apart.

Several formats are JSON, and each has to look into a file to recognise its own. Label files are large, so
one is parsed once for all of them and only its outline is kept.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from superset_vocab import InputError
from superset_vocab.files import read_json


@dataclass(frozen=True)
class JsonShape:
    """The outline of a JSON value.

    Attributes:
        kinds: Of an object: the type of the value of each entry.
        shared: Of a list of objects: the keys that all of them have.
    """

    kinds: dict[str, type]
    shared: frozenset[str] = frozenset()


def json_file(source: Path, in_folder: str) -> Path:
    """The label file that was meant: the source itself, or a file in it if that is a folder.

    Args:
        source: The .json, or the folder.
        in_folder: The file's name in a folder; with a "*" just one file there must have such a name.

    Raises:
        InputError: If the source is another file, or a folder with none or several.
    """
    if not source.is_dir():
        if source.suffix.lower() != ".json":
            raise InputError(f"{source}: is not a .json file")
        return source
    if "*" not in in_folder:
        return source / in_folder
    files = sorted(source.glob(in_folder))
    if len(files) != 1:
        kind = in_folder.removeprefix("*")
        raise InputError(f"{source}: has {len(files)} {kind} files, not one; give the path of the label file")
    return files[0]


def json_shape(source: Path, in_folder: str) -> JsonShape:
    """The outline of `json_file`; an empty one if there is none or it is no JSON."""
    try:
        file = json_file(source, in_folder)
        about = file.stat()
        return _shape(file, about.st_mtime_ns, about.st_size)
    except (OSError, InputError):
        return JsonShape({})


@lru_cache(maxsize=16)
def _shape(path: Path, _mtime_ns: int, _size: int) -> JsonShape:
    """As `json_shape`, for a file as it was at a time."""
    content: Any = read_json(path)
    if isinstance(content, dict):
        return JsonShape({key: type(value) for key, value in content.items()})
    if isinstance(content, list) and content and all(isinstance(entry, dict) for entry in content):
        return JsonShape({}, frozenset(content[0]).intersection(*content[1:]))
    return JsonShape({})
