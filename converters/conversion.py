"""From a foreign label source to a superset dataset: read, project, check, write."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from converters.dataset import write_superset
from converters.images import image_problems
from converters.registry import detect_format, format_named, read_labels
from superset_vocab import InputError, KeypointMap, LabelSet, Visibility, load_map, project
from superset_vocab.errors import all_problems
from superset_vocab.files import make_folder
from superset_vocab.provenance import operation


def convert(
    source: Path,
    map_name: str | None,
    out: Path,
    *,
    format: str | None = None,  # noqa: A002
    dataset: str | None = None,
    split_group: str | None = None,
    options: Mapping[str, Any] | None = None,
) -> LabelSet:
    """Convert a label source to a superset dataset.

    Args:
        source: File or folder of a known format (`converters.FORMATS`).
        map_name: Name of a keypoint map, or path of a .toml with one. None for a source that is in a
            vocabulary already: a superset dataset, or pictures without labels.
        out: New or empty folder for annotations.json and images/.
        format: Format of the source; None detects it.
        dataset: Dataset name of the records; None takes the map's, or else the source's name.
        split_group: One group for all records, e.g. the name of the only animal; None keeps the
            groups that the format gives (the video, the recording day).
        options: Options of the format (`Format.options`).

    Returns:
        The labels as written.

    Raises:
        InputError: If the source, the map or the output folder is at fault; `out` is then untouched.
    """
    keypoint_map = load_map(map_name) if map_name is not None else None
    with _frames_folder(source, format, out) as (chosen, frames):
        labels = read_labels(
            source,
            format=chosen,
            dataset=dataset or (keypoint_map.dataset if keypoint_map else None),
            frames=frames,
            options=options,
        )
        origin = labels.sources[0]
        told = {"options": dict(options)} if options else {}
        done = operation("read", source=source, format=origin.format, dataset=origin.dataset, **told)
        labels = replace(labels, operations=(*labels.operations, done))
        if split_group is not None:
            labels = replace(
                labels,
                records=tuple(replace(record, split_group=split_group) for record in labels.records),
                operations=(*labels.operations, operation("set_split_group", split_group=split_group)),
            )
        if keypoint_map is not None:
            return _project_and_write(labels, keypoint_map, out)
        if labels.vocabulary is None:
            raise InputError(
                f"{source}: its keypoints are in no superset vocabulary; give a keypoint map with --map "
                f"(they are {', '.join(labels.keypoints)})"
            )
        return write_superset(labels, out)


@contextmanager
def _frames_folder(source: Path, format_name: str | None, out: Path) -> Iterator[tuple[str, Path | None]]:
    """The format, and a temporary folder beside `out` if it keeps its images in videos."""
    if not source.exists():
        raise InputError(f"{source}: no such file or folder")
    chosen = format_named(format_name) if format_name is not None else detect_format(source)
    if not chosen.writes_frames:
        yield chosen.name, None
        return
    place = make_folder(out.resolve().parent)
    with tempfile.TemporaryDirectory(dir=place, prefix=f".{out.name}.frames.") as folder:
        yield chosen.name, Path(folder)


def convert_labels(labels: LabelSet, keypoint_map: KeypointMap | str, out: Path) -> LabelSet:
    """Convert labels that are in memory, e.g. synthetic ones; see `convert`.

    Raises:
        InputError: As `convert`, and if an image does not decode or has another size than its record says.
    """
    if isinstance(keypoint_map, str):
        keypoint_map = load_map(keypoint_map)
    problems = image_problems(labels.records)
    if problems:
        raise all_problems("label set", problems)
    return _project_and_write(labels, keypoint_map, out)


def _project_and_write(labels: LabelSet, keypoint_map: KeypointMap, out: Path) -> LabelSet:
    """Project labels whose images are checked, and write them."""
    projected = project(labels, keypoint_map)
    if not any((record.visibility >= Visibility.OCCLUDED).any() for record in projected.records):
        raise InputError(
            f"keypoint map {keypoint_map.dataset}: no annotated keypoint of {labels.sources[0].location} "
            f"has a counterpart in {keypoint_map.vocabulary.name}; nothing is written"
        )
    return write_superset(projected, out)
