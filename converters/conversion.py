"""From a foreign label source to a superset dataset: read, project, validate, write."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from converters.dataset import write_superset
from converters.images import Looked, image_problems
from converters.registry import detect_format, format_named, read_labels
from converters.validation import tolerant_reading, validate
from converters.validation_report import Choice, ValidationReport
from superset_vocab import InputError, KeypointMap, LabelSet, load_map, project
from superset_vocab.errors import all_problems
from superset_vocab.files import make_folder
from superset_vocab.provenance import operation

_LOG = logging.getLogger(__name__)


def convert(
    source: Path,
    map_name: str | None,
    out: Path,
    *,
    format: str | None = None,  # noqa: A002
    dataset: str | None = None,
    split_group: str | None = None,
    on_problem: Choice = "refuse",
    report: Path | None = None,
    options: Mapping[str, Any] | None = None,
) -> LabelSet:
    """Convert a label source to a superset dataset.

    The labels are validated before anything is written (`converters.validation` says what an error and what
    a suspicion is). Suspicions never stop a conversion; a warning counts them.

    Args:
        source: File or folder of a known format (`converters.FORMATS`).
        map_name: Name of a keypoint map, or path of a .toml with one. None for a source that is in a
            vocabulary already: a superset dataset, or pictures without labels.
        out: New or empty folder for annotations.json and images/.
        format: Format of the source; None detects it.
        dataset: Dataset name of the records; None takes the map's, or else the source's name.
        split_group: One group for all records, e.g. the name of the only animal; None keeps the
            groups that the format gives (the video, the recording day).
        on_problem: With records that have errors: "refuse" all, "drop" these, or "keep" them.
        report: Folder for validation.json and validation.html, written whether or not there are errors.
        options: Options of the format (`Format.options`).

    Returns:
        The labels as written.

    Raises:
        InputError: If the source, the map or the output folder is at fault, or with "refuse" the labels have
            errors; `out` is then untouched.
    """
    keypoint_map = load_map(map_name) if map_name is not None else None
    name = dataset or (keypoint_map.dataset if keypoint_map else None)
    with (
        tolerant_reading(source) as looked,
        reading(source, out, format=format, dataset=name, options=options) as labels,
    ):
        if dataset is not None and labels.vocabulary is not None:
            labels = _renamed(labels, dataset)
        if split_group is not None:
            labels = replace(
                labels,
                records=tuple(replace(record, split_group=split_group) for record in labels.records),
                operations=(*labels.operations, operation("set_split_group", split_group=split_group)),
            )
        if looked.errors and on_problem == "refuse":
            _validated(labels, looked, on_problem, report)  # raises: images come before the fit of the map
        if keypoint_map is not None:
            labels = _project(labels, keypoint_map)
        elif labels.vocabulary is None:
            raise InputError(
                f"{source}: its keypoints are in no superset vocabulary; give a keypoint map with --map "
                f"(they are {', '.join(labels.keypoints)})"
            )
        return write_superset(_validated(labels, looked, on_problem, report), out)


def _renamed(labels: LabelSet, dataset: str) -> LabelSet:
    """A superset dataset, which brings its own name, under another one.

    Raises:
        InputError: If it is of several datasets.
    """
    names = [source.dataset for source in labels.sources]
    if names == [dataset]:
        return labels
    if len(names) != 1:
        raise InputError(f"--dataset {dataset}: there are {len(names)} datasets in it ({', '.join(names)})")
    return replace(
        labels,
        records=tuple(replace(record, dataset=dataset) for record in labels.records),
        sources=(replace(labels.sources[0], dataset=dataset),),
        operations=(*labels.operations, operation("rename_dataset", old=names[0], new=dataset)),
    )


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


@contextmanager
def reading(
    source: Path,
    out: Path,
    *,
    format: str | None = None,  # noqa: A002
    dataset: str | None = None,
    options: Mapping[str, Any] | None = None,
) -> Iterator[LabelSet]:
    """The labels of a source, and its images for as long as the block lasts.

    Images inside videos and packages are written into a temporary folder beside `out`, the only place
    where the user said that something may be written.

    Args:
        source: File or folder of a known format.
        out: The output folder of what is done with the labels.
        format: Format of the source; None detects it.
        dataset: Dataset name of the records; None takes the source's name.
        options: Options of the format (`Format.options`).

    Yields:
        The labels, with the operation "read" in their history.

    Raises:
        InputError: As `read_labels`.
    """
    if not source.exists():
        raise InputError(f"{source}: no such file or folder")
    chosen = format_named(format) if format is not None else detect_format(source)
    with ExitStack() as stack:
        frames = None
        if chosen.writes_frames:
            beside = make_folder(out.resolve().parent)
            folder = tempfile.TemporaryDirectory(dir=beside, prefix=f".{out.name}.frames.")
            frames = Path(stack.enter_context(folder))
        labels = read_labels(source, format=chosen.name, dataset=dataset, frames=frames, options=options)
        origin = labels.sources[0]
        told = {"options": dict(options)} if options else {}
        done = operation("read", source=source, format=origin.format, dataset=origin.dataset, **told)
        yield replace(labels, operations=(*labels.operations, done))


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
    if not any(record.annotated.any() for record in projected.records):
        raise InputError(
            f"keypoint map {keypoint_map.dataset}: no annotated keypoint of {labels.sources[0].location} "
            f"has a counterpart in {keypoint_map.vocabulary.name}; nothing is written"
        )
    return projected
