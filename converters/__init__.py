"""Foreign label formats to superset label records, merging, and a synthetic source.

The names below are loaded when they are first used: `import converters` alone stays light.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from converters.conversion import convert, convert_labels, reading
    from converters.dataset import load_superset, write_superset
    from converters.merging import merge, merge_to
    from converters.registry import FORMATS, Format, detect_format, read_labels
    from converters.writers.registry import WRITERS, Writer, write_labels

_HOMES = {
    "FORMATS": "converters.registry",
    "Format": "converters.registry",
    "convert": "converters.conversion",
    "convert_labels": "converters.conversion",
    "detect_format": "converters.registry",
    "load_superset": "converters.dataset",
    "merge": "converters.merging",
    "merge_to": "converters.merging",
    "read_labels": "converters.registry",
    "reading": "converters.conversion",
    "write_labels": "converters.writers.registry",
    "write_superset": "converters.dataset",
    "WRITERS": "converters.writers.registry",
    "Writer": "converters.writers.registry",
}

__all__ = [
    "FORMATS",
    "WRITERS",
    "Format",
    "Writer",
    "convert",
    "convert_labels",
    "detect_format",
    "load_superset",
    "merge",
    "merge_to",
    "read_labels",
    "reading",
    "write_labels",
    "write_superset",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'converters' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
