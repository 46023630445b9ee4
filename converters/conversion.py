"""From a foreign label source to a superset dataset: read, project, validate, write."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

from converters.dataset import write_superset
from converters.images import Looked, image_problems
from converters.validation import read_for_validation, validate
from converters.validation_report import Choice, ValidationReport
from superset_vocab import InputError, KeypointMap, LabelSet, Visibility, load_map, project
from superset_vocab.errors import all_problems
from superset_vocab.files import make_folder
from superset_vocab.provenance import operation

_LOG = logging.getLogger(__name__)


def convert(
    source: Path,
    map_name: str,
    out: Path,
    *,
    format: str | None = None,  # noqa: A002
    dataset: str | None = None,
    split_group: str | None = None,
    on_problem: Choice = "refuse",
    report: Path | None = None,
) -> LabelSet:
    """Convert a label source to a superset dataset.

    The labels are validated before anything is written (`converters.validation` says what an error and what
    a suspicion is). Suspicions never stop a conversion; a warning counts them.

    Args:
        source: File or folder of a known format (`converters.FORMATS`).
        map_name: Name of a keypoint map, or path of a .toml with one.
        out: New or empty folder for annotations.json and images/.
        format: Format of the source; None detects it.
        dataset: Dataset name of the records; None takes the map's.
        split_group: One group for all records, e.g. the name of the only animal; None keeps the
            groups that the format gives (the video, the recording day).
        on_problem: With records that have errors: "refuse" all, "drop" these, or "keep" them.
        report: Folder for validation.json and validation.html, written whether or not there are errors.

    Returns:
        The labels as written.

    Raises:
        InputError: If the source, the map or the output folder is at fault, or with "refuse" the labels have
            errors; `out` is then untouched.
    """
    keypoint_map = load_map(map_name)
    labels, looked = read_for_validation(source, format=format, dataset=dataset or keypoint_map.dataset)
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
    if looked.errors and on_problem == "refuse":
        _validated(labels, looked, on_problem, report)  # raises: images come before the fit of the map
    return write_superset(_validated(_project(labels, keypoint_map), looked, on_problem, report), out)


def _validated(labels: LabelSet, looked: Looked, on_problem: Choice, report: Path | None) -> LabelSet:
    """Labels without what validation refuses or drops; see `convert`."""
    found = validate(labels, looked=looked)
    if report is not None:
        write_report(found, report)
    elif found.suspicions:
        names = ", ".join(source.dataset for source in labels.sources)
        _LOG.warning("%s: %s; look at them with --report DIR or `zoo check`", names, found.summary())
    return found.apply(labels, on_problem)


def write_report(report: ValidationReport, folder: Path) -> tuple[Path, Path]:
    """Write validation.json and validation.html into a folder, which is made if need be; their paths."""
    make_folder(folder)
    paths = folder / "validation.json", folder / "validation.html"
    report.write_json(paths[0])
    report.write_html(paths[1])
    return paths


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
    return write_superset(_project(labels, keypoint_map), out)


def _project(labels: LabelSet, keypoint_map: KeypointMap) -> LabelSet:
    """Project labels; an error if that leaves no annotated keypoint."""
    projected = project(labels, keypoint_map)
    if not any((record.visibility >= Visibility.OCCLUDED).any() for record in projected.records):
        raise InputError(
            f"keypoint map {keypoint_map.dataset}: no annotated keypoint of {labels.sources[0].location} "
            f"has a counterpart in {keypoint_map.vocabulary.name}; nothing is written"
        )
    return projected
