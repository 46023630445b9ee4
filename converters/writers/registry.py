"""The label formats that can be written, parallel to `converters.registry`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from converters.dataset import write_superset
from converters.registry import Option, option_values
from converters.writers import deeplabcut, yolo_pose
from superset_vocab import InputError, LabelSet


@dataclass(frozen=True)
class Writer:
    """A format to write.

    Attributes:
        name: As given to `--format`; the reader of the same name reads it back.
        description: What is written, for messages.
        write: `write(labels, out, **options)`; `out` is a new or empty folder, written whole or not at all.
        options: What the writer takes besides.
    """

    name: str
    description: str
    write: Callable[..., Any]
    options: tuple[Option, ...] = ()


def _yes_or_no(text: str) -> bool:
    """Raises ValueError unless it is a yes or a no."""
    try:
        return {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}[text.lower()]
    except KeyError as error:
        raise ValueError(text) from error


WRITERS: dict[str, Writer] = {
    writer.name: writer
    for writer in (
        Writer("coco", "COCO with the superset's fields: keeps everything", write_superset),
        Writer(
            "deeplabcut",
            "a DeepLabCut project: config.yaml, labeled-data with csv and h5",
            deeplabcut.write,
            (
                Option("scorer", str, "name of the scorer; default: zoo"),
                Option("multi_animal", _yes_or_no, "yes or no; default: by the labels"),
            ),
        ),
        Writer("yolo-pose", "a YOLO-pose folder with data.yaml", yolo_pose.write),
    )
}


def write_labels(
    labels: LabelSet,
    out: Path,
    *,
    format: str,  # noqa: A002
    options: Mapping[str, Any] | None = None,
) -> None:
    """Write labels with copies of their images in a format of `WRITERS`.

    Args:
        labels: The set; in a superset vocabulary or not.
        out: A new or empty folder.
        format: Name of the format.
        options: Options of the format by name (`Writer.options`); texts are parsed.

    Raises:
        InputError: If the format or an option is unknown, the labels cannot be written in it, or the
            folder cannot be written; nothing is then left behind.
    """
    if format not in WRITERS:
        raise InputError(f"{format!r} is no format to write; there are: {', '.join(WRITERS)}")
    writer = WRITERS[format]
    values = option_values(f"format {format}", writer.options, options or {})
    if not labels.records:
        raise InputError(f"there is no image to write into {out}")
    writer.write(labels, out, **values)
