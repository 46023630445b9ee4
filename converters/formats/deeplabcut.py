"""DeepLabCut labels: a project folder, or one CollectedData file. Single animal.

The format's conventions: `config.yaml` names the bodyparts and the scorer;
`labeled-data/<video>/CollectedData_<scorer>.csv` (and .h5 with the same content) holds x and y for
every labelled frame, whose image lies beside it. Coordinates are pixels with the centre of the
top-left pixel at (0, 0), as here, so nothing is shifted. An empty cell is a keypoint that was not
annotated; there is no flag for an occluded one, and no box. A frame without any label stays in, as an
instance whose keypoints are all not annotated. The split group is the folder of the video.

The csv is read where both exist: it says the same and needs no HDF5.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import yaml

from converters.formats.label_table import LabelTable, is_label_csv, read_table
from converters.images import SizeReader
from superset_vocab import InputError, LabelRecord, LabelSet, Source, Visibility
from superset_vocab.errors import all_problems
from superset_vocab.files import read_text

_LOG = logging.getLogger(__name__)
_TABLES = (".csv", ".h5")


@dataclass(frozen=True)
class _Config:
    """What a reader needs of config.yaml."""

    bodyparts: tuple[str, ...]
    scorer: str


def detect(path: Path) -> bool:
    """A folder with config.yaml and labeled-data, or a CollectedData table."""
    if path.is_dir():
        return (path / "config.yaml").is_file() and (path / "labeled-data").is_dir()
    if path.suffix.lower() == ".csv":
        return is_label_csv(path)
    return path.suffix.lower() == ".h5" and path.name.startswith("CollectedData")


def read(source: Path, *, dataset: str) -> LabelSet:
    """Read a project folder, or one label file.

    Args:
        source: The project folder, its config.yaml, or a CollectedData .csv or .h5.
        dataset: Dataset name of the records.

    Returns:
        One record for each labelled frame, keypoints in the order of config.yaml (of the file's
        header, for a single file).

    Raises:
        InputError: If anything is broken; all problems are listed.
    """
    folder = source.parent if source.name == "config.yaml" else source
    config = _read_config(folder / "config.yaml") if folder.is_dir() else None
    if config is None and source.suffix.lower() not in _TABLES:
        raise InputError(f"{source}: is neither a DeepLabCut project folder nor a label .csv or .h5")
    tables = [read_table(path) for path in (_label_files(folder, config.scorer) if config else [source])]
    keypoints = config.bodyparts if config else tuple(dict.fromkeys(tables[0].level("bodyparts")))
    problems = [problem for table in tables for problem in _table_problems(table, keypoints)]
    if problems:
        raise all_problems(f"{source}", problems)
    sizes = SizeReader()
    records = [record for table in tables for record in _records(table, keypoints, dataset, sizes)]
    if sizes.problems:
        raise all_problems(
            f"{source}: images of labelled frames are missing or broken (restore them, or remove their rows)",
            sizes.problems,
        )
    empty = sum(not (record.visibility >= Visibility.OCCLUDED).any() for record in records)
    if empty:
        _LOG.warning("%s: %d of %d frames have no annotated keypoint", source, empty, len(records))
    found = Source(dataset, keypoints, format="deeplabcut", location=str(source))
    return LabelSet(keypoints, tuple(records), (found,))


def _read_config(path: Path) -> _Config:
    """Bodyparts and scorer of a project.

    Raises:
        InputError: If it is no config.yaml of a single-animal project.
    """
    try:
        config: Any = yaml.safe_load(read_text(path))
    except yaml.YAMLError as error:
        raise InputError(f"{path}: is not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(config, dict):
        raise InputError(f"{path}: is not a DeepLabCut configuration")
    if config.get("multianimalproject"):
        raise InputError(f"{path}: {_MULTI_ANIMAL}")
    names = config.get("bodyparts")
    if not isinstance(names, list) or not names:
        raise InputError(f"{path}: has no list of bodyparts")
    names = [str(name) for name in names]
    twice = [name for name, times in Counter(names).items() if times > 1]
    if twice:
        raise all_problems(
            f"{path}", [f"bodypart {name!r} is listed more than once" for name in sorted(twice)]
        )
    return _Config(tuple(names), str(config.get("scorer", "")))


_MULTI_ANIMAL = (
    "holds multi-animal labels (individuals), and only single-animal DeepLabCut labels can be read; "
    "export them as COCO and use --format coco"
)


def _label_files(project: Path, scorer: str) -> list[Path]:
    """The label file of each video folder of a project, sorted; csv before h5.

    Raises:
        InputError: If there is none, or a folder has those of several scorers and none of the project's.
    """
    files, problems = [], []
    for folder in sorted(path for path in (project / "labeled-data").glob("*") if path.is_dir()):
        tables = sorted(path for path in folder.glob("CollectedData_*") if path.suffix in _TABLES)
        scorers = {path.stem for path in tables}
        if len(scorers) > 1:
            tables = [path for path in tables if path.stem == f"CollectedData_{scorer}"]
            if not tables:
                problems.append(f"{folder.name} has {', '.join(sorted(scorers))}, none by {scorer!r}")
        if tables:
            files.append(tables[0])
        elif not folder.name.endswith("_labeled"):  # DeepLabCut's own pictures of the labels
            _LOG.info("%s: no CollectedData file, not labelled yet", folder)
    if not files and not problems:
        problems.append("no CollectedData_*.csv or .h5 in any folder of labeled-data")
    if problems:
        raise all_problems(f"{project}", problems)
    return files


def _table_problems(table: LabelTable, keypoints: Sequence[str]) -> list[str]:
    """Everything that keeps a table from being single-animal labels of these keypoints."""
    if "individuals" in table.levels:
        return [f"{table.path.name} {_MULTI_ANIMAL}"]
    problems = []
    if "scorer" in table.levels and len(set(table.level("scorer"))) > 1:
        problems.append(f"has labels of several scorers: {', '.join(sorted(set(table.level('scorer'))))}")
    names = table.level("bodyparts")
    pairs = Counter(zip(names, table.level("coords"), strict=True))
    for name in dict.fromkeys(names):
        found = {coord: times for (n, coord), times in pairs.items() if n == name}
        if set(found) != {"x", "y"}:
            problems.append(f"bodypart {name!r} has the columns {', '.join(sorted(found))}, not x and y")
        elif max(found.values()) > 1:
            problems.append(f"bodypart {name!r} occurs {max(found.values())} times")
    for name in sorted(set(names) - set(keypoints)):
        problems.append(f"bodypart {name!r} is not in config.yaml; add it there or remove its columns")
    for name in sorted(set(keypoints) - set(names)):
        problems.append(f"bodypart {name!r} of config.yaml has no columns")
    for name, times in Counter(table.images).items():
        if times > 1:
            problems.append(f"image {name} has {times} rows")
    missing = np.isnan(table.values)
    if not problems and np.isinf(table.values).any():
        problems.append("has infinite coordinates")
    elif not problems:
        xy = _to_keypoints(missing, table, keypoints)
        for frame, keypoint in zip(*np.nonzero(xy[..., 0] != xy[..., 1]), strict=True):
            problems.append(f"{table.images[frame]}: {keypoints[keypoint]!r} has only one of x and y")
    return [f"{table.path.name}: {problem}" for problem in problems]


def _to_keypoints(values: np.ndarray, table: LabelTable, keypoints: Sequence[str]) -> np.ndarray:
    """(F, C) columns of a checked table as (F, K, 2), keypoints in the given order."""
    place = {
        pair: c for c, pair in enumerate(zip(table.level("bodyparts"), table.level("coords"), strict=True))
    }
    order = [[place[name, coord] for coord in ("x", "y")] for name in keypoints]
    return values[:, order]


def _records(
    table: LabelTable, keypoints: Sequence[str], dataset: str, sizes: SizeReader
) -> list[LabelRecord]:
    """One record for each frame of a table whose image can be read."""
    xy = _to_keypoints(table.values, table, keypoints)
    state = np.where(np.isnan(xy[..., 0]), Visibility.NOT_ANNOTATED, Visibility.VISIBLE).astype(np.int8)
    records = []
    for frame, name in enumerate(table.images):
        path = _find_image(table.path, name)
        size = sizes(path)
        if size is not None:
            group = path.parent.name
            no_box = np.full((1, 4), np.nan)
            records.append(
                LabelRecord(
                    path, size, dataset, group, xy[frame : frame + 1], state[frame : frame + 1], no_box, name
                )
            )
    return records


def _find_image(table: Path, name: str) -> Path:
    """The image that a row of a label file names: beside the file, or below the folder of the file.

    Projects are moved about, so only the part of the name that is the image itself can be trusted.
    """
    beside = table.parent / PurePosixPath(name).name
    below = table.parent / name
    if not beside.exists() and ".." not in PurePosixPath(name).parts and below.exists():
        return below
    return beside
