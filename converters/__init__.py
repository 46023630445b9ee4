"""Foreign label formats to superset label records, merging, and a synthetic source.

The names below are loaded when they are first used: `import converters` alone stays light.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from superset_vocab.lazy import lazy_names

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

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "converters.conversion": ["convert", "convert_labels", "reading"],
        "converters.dataset": ["load_superset", "write_superset"],
        "converters.merging": ["merge", "merge_to"],
        "converters.registry": ["FORMATS", "Format", "detect_format", "read_labels"],
        "converters.statistics": ["dataset_statistics"],
        "converters.validation": ["read_for_validation", "validate"],
        "converters.validation_report": ["ValidationReport"],
        "converters.views": ["leave_one_out", "leave_out", "only"],
        "converters.writers.registry": ["WRITERS", "Writer", "write_labels"],
    },
)
