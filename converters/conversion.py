"""From a foreign label source to a superset dataset: read, project, check, write."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from converters.dataset import write_superset
from converters.images import image_problems
from converters.registry import read_labels
from superset_vocab import InputError, KeypointMap, LabelSet, Visibility, load_map, project
from superset_vocab.errors import all_problems
from superset_vocab.provenance import operation


def convert(
    source: Path,
    map_name: str,
    out: Path,
    *,
    format: str | None = None,  # noqa: A002
    dataset: str | None = None,
    split_group: str | None = None,
) -> LabelSet:
    """Convert a label source to a superset dataset.

    Args:
        source: File or folder of a known format (`converters.FORMATS`).
        map_name: Name of a keypoint map, or path of a .toml with one.
        out: New or empty folder for annotations.json and images/.
        format: Format of the source; None detects it.
        dataset: Dataset name of the records; None takes the map's.
        split_group: One group for all records, e.g. the name of the only animal; None keeps the
            groups that the format gives (the video, the recording day).

    Returns:
        The labels as written.

    Raises:
        InputError: If the source, the map or the output folder is at fault; `out` is then untouched.
    """
    keypoint_map = load_map(map_name)
    labels = read_labels(source, format=format, dataset=dataset or keypoint_map.dataset)
    done = operation(
        "read", source=source, format=labels.sources[0].format, dataset=labels.sources[0].dataset
    )
    labels = replace(labels, operations=(*labels.operations, done))
    if split_group is not None:
        labels = replace(
            labels,
            records=tuple(replace(record, split_group=split_group) for record in labels.records),
            operations=(*labels.operations, operation("set_split_group", split_group=split_group)),
        )
    return _project_and_write(labels, keypoint_map, out)


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
