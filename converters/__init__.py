"""Foreign label formats to superset label records, merging, and a synthetic source.

The names below are loaded when they are first used: `import converters` alone stays light.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from converters.conversion import convert, convert_labels
    from converters.dataset import load_superset, write_superset
    from converters.merging import merge, merge_to
    from converters.registry import FORMATS, Format, detect_format, read_labels
    from converters.validation import read_for_validation, validate
    from converters.validation_report import ValidationReport

_HOMES = {
    "FORMATS": "converters.registry",
    "Format": "converters.registry",
    "ValidationReport": "converters.validation_report",
    "convert": "converters.conversion",
    "convert_labels": "converters.conversion",
    "detect_format": "converters.registry",
    "load_superset": "converters.dataset",
    "merge": "converters.merging",
    "merge_to": "converters.merging",
    "read_for_validation": "converters.validation",
    "read_labels": "converters.registry",
    "validate": "converters.validation",
    "write_superset": "converters.dataset",
}

__all__ = [
    "FORMATS",
    "Format",
    "ValidationReport",
    "convert",
    "convert_labels",
    "detect_format",
    "load_superset",
    "merge",
    "merge_to",
    "read_for_validation",
    "read_labels",
    "validate",
    "write_superset",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'converters' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
