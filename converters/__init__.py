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
    from converters.statistics import dataset_statistics
    from converters.validation import read_for_validation, validate
    from converters.validation_report import ValidationReport
    from converters.views import leave_one_out, leave_out, only
    from converters.writers.registry import WRITERS, Writer, write_labels

_HOMES = {
    "FORMATS": "converters.registry",
    "Format": "converters.registry",
    "ValidationReport": "converters.validation_report",
    "convert": "converters.conversion",
    "convert_labels": "converters.conversion",
    "dataset_statistics": "converters.statistics",
    "detect_format": "converters.registry",
    "leave_one_out": "converters.views",
    "leave_out": "converters.views",
    "load_superset": "converters.dataset",
    "merge": "converters.merging",
    "merge_to": "converters.merging",
    "only": "converters.views",
    "read_for_validation": "converters.validation",
    "read_labels": "converters.registry",
    "validate": "converters.validation",
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
    "ValidationReport",
    "Writer",
    "convert",
    "convert_labels",
    "dataset_statistics",
    "detect_format",
    "leave_one_out",
    "leave_out",
    "load_superset",
    "merge",
    "merge_to",
    "only",
    "read_for_validation",
    "read_labels",
    "reading",
    "validate",
    "write_labels",
    "write_superset",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'converters' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
