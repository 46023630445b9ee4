"""What a JSON file looks like from outside, for telling formats apart.

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


def json_shape(path: Path) -> JsonShape:
    """The outline of a JSON file; an empty one if it is none."""
    try:
        about = path.stat()
        return _shape(path, about.st_mtime_ns, about.st_size)
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
