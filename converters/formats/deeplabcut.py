"""DeepLabCut labels: a project folder, or one CollectedData file; single- and multi-animal.

The format's conventions: `config.yaml` names the bodyparts and the scorer;
`labeled-data/<video>/CollectedData_<scorer>.csv` (and .h5 with the same content) holds x and y for
every labelled frame, whose image lies beside it. Coordinates are pixels with the centre of the
top-left pixel at (0, 0), as here, so nothing is shifted. An empty cell is a keypoint that was not
annotated; there is no flag for an occluded one, and no box. The split group is the folder of the video.
Two folders may have frames of the same name: an image is called `labeled-data/<video>/<frame>`.

Single-animal labels: every row is one instance. A frame without any label stays in, as an instance whose
keypoints are all not annotated.

Multi-animal labels (config.yaml has `multianimalproject: true`, tables have the level `individuals`): an
instance for each individual with at least one label in the frame, under its name (`individuals`). An
individual without labels is not in the frame, as far as the file can tell; a frame in which nobody has
one stays in, without instances. The keypoints are multianimalbodyparts, then uniquebodyparts. Unique
bodyparts (a corner of the cage, or what only one animal has) belong to no animal: they are an instance of
their own, called "single" as in the tables, in which the animals' bodyparts are undefined, just as
unique ones are undefined in the animals.

A folder without config.yaml is read, too: names and their order are then those of the first table. The csv is
read where both exist: it says the same and needs no HDF5. Where an image is not there but one of the same
name and another ending is (frames saved again as jpg), that one is taken, and reported.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from converters.formats.image_lookup import IMAGE_SUFFIXES, ImageFinder, posix_name
from converters.formats.label_table import LabelTable, is_label_csv, read_table
from converters.images import SizeReader
from superset_vocab import InputError, LabelRecord, LabelSet, Source, Visibility
from superset_vocab.errors import all_problems
from superset_vocab.files import read_text

_LOG = logging.getLogger(__name__)
_TABLES = (".csv", ".h5")
SINGLE = "single"  # what DeepLabCut calls the individual of unique bodyparts


@dataclass(frozen=True)
class Bodyparts:
    """The keypoints of a project.

    Attributes:
        shared: Bodyparts of every animal.
        unique: Bodyparts that belong to no animal, or to one only.
        multi_animal: Whether the labels name individuals.
        scorer: Who labelled, as config.yaml says; "" without one.
        origin: Where these names are from, for messages.
    """

    shared: tuple[str, ...]
    unique: tuple[str, ...] = ()
    multi_animal: bool = False
    scorer: str = ""
    origin: str = "config.yaml"

    @property
    def keypoints(self) -> tuple[str, ...]:
        """(K,) all names, the shared ones first."""
        return self.shared + self.unique


def detect(path: Path) -> bool:
    """A project folder, the folder of one video with its table, or a CollectedData table."""
    if path.is_dir():
        has_config = (path / "config.yaml").is_file() and (path / "labeled-data").is_dir()
        return has_config or bool(_video_folders(path))
    if path.suffix.lower() == ".csv":
        return is_label_csv(path) and not (path.parent / "labeled-data").is_dir()
    return path.suffix.lower() == ".h5" and path.name.startswith("CollectedData")


def read(source: Path, *, dataset: str) -> LabelSet:
    """Read a project folder, or one label file.

    Args:
        source: The project folder, its config.yaml, the folder of one video, or a CollectedData .csv or .h5.
        dataset: Dataset name of the records.

    Returns:
        One record for each labelled frame, keypoints in the order of config.yaml (of the file's
        header, for a single file).

    Raises:
        InputError: If anything is broken; all problems are listed.
    """
    folder = source.parent if source.name == "config.yaml" else source
    if not folder.is_dir() and source.suffix.lower() not in _TABLES:
        raise InputError(f"{source}: is neither a DeepLabCut project folder nor a label .csv or .h5")
    config = _read_config(folder / "config.yaml") if (folder / "config.yaml").is_file() else None
    files = _label_files(folder, config.scorer if config else None) if folder.is_dir() else [source]
    tables = [read_table(path) for path in files]
    return from_tables(tables, config, source, dataset=dataset, format_name="deeplabcut")


def from_tables(
    tables: Sequence[LabelTable], bodyparts: Bodyparts | None, source: Path, *, dataset: str, format_name: str
) -> LabelSet:
    """The label set of DeepLabCut's tables.

    Args:
        tables: One or more.
        bodyparts: The names and their order; None takes those of the first table.
        source: What is read, for messages and `Source`.
        dataset: Dataset name of the records.
        format_name: Name of the format, for `Source`.

    Raises:
        InputError: If anything is broken; all problems are listed.
    """
    bodyparts = bodyparts or _bodyparts_of(tables[0])
    problems = [problem for table in tables for problem in _table_problems(table, bodyparts)]
    if problems:
        raise all_problems(f"{source}", problems)
    sizes, other_endings = SizeReader(), []
    finder = ImageFinder([source.parent])
    records = []
    for table in tables:
        paths = [_find_image(table.path, name, finder, other_endings) for name in table.images]
        records += _records(table, bodyparts, paths, dataset, sizes)
    if sizes.problems:
        raise all_problems(
            f"{source}: images of labelled frames are missing or broken (restore them, or remove their rows)",
            sizes.problems,
        )
    if other_endings:
        text = "%s: %d images have another ending than the labels say, e.g. %s"
        _LOG.warning(text, source, len(other_endings), other_endings[0])
    empty = sum(not record.annotated.any() for record in records)
    if empty:
        _LOG.warning("%s: %d of %d frames have no annotated keypoint", source, empty, len(records))
    found = Source(dataset, bodyparts.keypoints, format=format_name, location=str(source))
    return LabelSet(bodyparts.keypoints, tuple(records), (found,))


def _read_config(path: Path) -> Bodyparts:
    """Bodyparts and scorer of a project.

    Raises:
        InputError: If it is no config.yaml.
    """
    try:
        config: Any = yaml.safe_load(read_text(path))
    except yaml.YAMLError as error:
        mark, what = getattr(error, "problem_mark", None), getattr(error, "problem", None) or error
        place = f" in line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise InputError(f"{path}: is not YAML{place}: {what}; correct it by hand") from error
    if not isinstance(config, dict):
        raise InputError(f"{path}: is not a DeepLabCut configuration")
    multi = bool(config.get("multianimalproject"))
    entry = "multianimalbodyparts" if multi else "bodyparts"
    names, unique = config.get(entry), config.get("uniquebodyparts") if multi else None
    if multi and names in (None, []) and unique:
        names = []  # a project of unique bodyparts only
    elif not isinstance(names, list) or not names:
        raise InputError(f"{path}: has no list of {entry}; add the names there")
    if unique is not None and not isinstance(unique, list):
        raise InputError(f"{path}: its uniquebodyparts are no list")
    shared, own = tuple(map(str, names)), tuple(map(str, unique or ()))
    twice = sorted(name for name, times in Counter(shared + own).items() if times > 1)
    if twice:
        raise all_problems(f"{path}", [f"bodypart {name!r} is listed more than once" for name in twice])
    return Bodyparts(shared, own, multi, str(config.get("scorer", "")))


def _bodyparts_of(table: LabelTable) -> Bodyparts:
    """The bodyparts of a table, in its order."""
    names = table.level("bodyparts")
    if "individuals" not in table.levels:
        return Bodyparts(tuple(dict.fromkeys(names)), origin=table.path.name)
    pairs = list(zip(table.level("individuals"), names, strict=True))
    shared = tuple(dict.fromkeys(name for individual, name in pairs if individual != SINGLE))
    unique = tuple(dict.fromkeys(name for individual, name in pairs if individual == SINGLE))
    return Bodyparts(shared, unique, True, origin=table.path.name)


def _video_folders(folder: Path) -> list[Path]:
    """The folders of a project that have label tables, sorted; the folder itself if it is that of a video."""
    inside = folder / "labeled-data"
    places = sorted(path for path in inside.glob("*") if path.is_dir()) if inside.is_dir() else [folder]
    return [path for path in places if _tables(path)]


def _tables(folder: Path) -> list[Path]:
    """The label tables of a video's folder, csv before h5."""
    return sorted(path for path in folder.glob("CollectedData_*") if path.suffix in _TABLES)


def _label_files(project: Path, scorer: str | None) -> list[Path]:
    """The label file of each video folder of a project, sorted; csv before h5.

    Raises:
        InputError: If there is none, or a folder has those of several scorers and none of the project's.
    """
    files, problems = [], []
    for folder in _video_folders(project):
        tables = _tables(folder)
        scorers = {path.stem for path in tables}
        if len(scorers) > 1:
            tables = [path for path in tables if path.stem == f"CollectedData_{scorer}"]
            if not tables:
                problems.append(
                    f"{folder.name} has {', '.join(sorted(scorers))}, none by {scorer!r} "
                    "(the scorer of config.yaml); give the file itself, or remove the others"
                )
        files += tables[:1]
    if not files and not problems:
        problems.append("no CollectedData_*.csv or .h5 in any folder of labeled-data; label frames first")
    if problems:
        raise all_problems(f"{project}", problems)
    return files


def _table_problems(table: LabelTable, bodyparts: Bodyparts) -> list[str]:
    """Everything that keeps a table from being labels of these bodyparts."""
    if ("individuals" in table.levels) != bodyparts.multi_animal:
        has, says = ("no individuals", "true") if bodyparts.multi_animal else ("individuals", "false")
        if bodyparts.origin != "config.yaml":
            return [f"{table.path.name}: has {has}, unlike {bodyparts.origin}; read them one by one"]
        return [
            f"{table.path.name}: has {has}, but config.yaml says multianimalproject: {says}; "
            "correct config.yaml, or convert the labels with deeplabcut.convert2_maDLC"
        ]
    problems = []
    if "scorer" in table.levels and len(set(table.level("scorer"))) > 1:
        problems.append(f"has labels of several scorers: {', '.join(sorted(set(table.level('scorer'))))}")
    problems += _column_problems(table, bodyparts)
    for name, times in Counter(table.images).items():
        if times > 1:
            problems.append(f"image {name} has {times} rows; remove all but one")
    if not problems and np.isinf(table.values).any():
        problems.append("has infinite coordinates; correct these cells, or empty them")
    elif not problems:
        _, xy = _to_keypoints(table, bodyparts)
        missing = np.isnan(xy)
        for frame, _, k in zip(*np.nonzero(missing[..., 0] != missing[..., 1]), strict=True):
            problems.append(
                f"{table.images[frame]}: {bodyparts.keypoints[k]!r} has only one of x and y; "
                "complete it, or empty the cell"
            )
    return [f"{table.path.name}: {problem}" for problem in problems]


def _column_problems(table: LabelTable, bodyparts: Bodyparts) -> list[str]:
    """Columns that are missing, twice, or of unknown bodyparts."""
    problems = []
    triples = Counter(_triples(table))
    if any(coord == "likelihood" for _, _, coord in triples):
        return ["has likelihood columns: these are predictions, not labels; give CollectedData_*.csv"]
    for individual, name in dict.fromkeys((i, n) for i, n, _ in triples):
        what = f"bodypart {name!r}" + (f" of {individual!r}" if individual else "")
        found = {
            coord: triples[individual, name, coord] for i, n, coord in triples if (i, n) == (individual, name)
        }
        if set(found) != {"x", "y"}:
            problems.append(f"{what} has the columns {', '.join(sorted(found))}, not x and y")
        elif max(found.values()) > 1:
            problems.append(f"{what} occurs {max(found.values())} times")
    for listed, are_unique in ((bodyparts.shared, False), (bodyparts.unique, True)):
        names = {n for i, n, _ in triples if (i == SINGLE and bodyparts.multi_animal) == are_unique}
        kind = "unique bodypart" if are_unique else "bodypart"
        for name in sorted(names - set(listed)):
            problems.append(
                f"{kind} {name!r} is not in {bodyparts.origin}; add it there or remove its columns"
            )
        for name in sorted(set(listed) - names) if names or not are_unique else ():
            problems.append(f"{kind} {name!r} of {bodyparts.origin} has no columns")
    return problems


def _triples(table: LabelTable) -> list[tuple[str, str, str]]:
    """(C,) individual ("" without that level), bodypart and coordinate of each column."""
    individuals = table.level("individuals") if "individuals" in table.levels else [""] * len(table.columns)
    return list(zip(individuals, table.level("bodyparts"), table.level("coords"), strict=True))


def _to_keypoints(table: LabelTable, bodyparts: Bodyparts) -> tuple[tuple[str, ...], np.ndarray]:
    """Individuals (I,) of a checked table, and its values as (F, I, K, 2) px, bodyparts in their order."""
    place = {triple: c for c, triple in enumerate(_triples(table))}
    individuals = tuple(dict.fromkeys(individual for individual, _, _ in place))
    empty = len(table.columns)  # an individual need not have columns for every bodypart
    order = [
        [[place.get((i, name, coord), empty) for coord in ("x", "y")] for name in bodyparts.keypoints]
        for i in individuals
    ]
    padded = np.concatenate([table.values, np.full((len(table.values), 1), np.nan)], axis=1)
    return individuals, padded[:, np.array(order, dtype=np.int64)]


def _records(
    table: LabelTable, bodyparts: Bodyparts, paths: Sequence[Path], dataset: str, sizes: SizeReader
) -> list[LabelRecord]:
    """One record for each frame of a table whose image can be read."""
    individuals, xy = _to_keypoints(table, bodyparts)
    state = np.where(np.isnan(xy[..., 0]), Visibility.NOT_ANNOTATED, Visibility.VISIBLE).astype(np.int8)
    present = np.ones(state.shape[:2], dtype=bool)
    if bodyparts.multi_animal:
        present = (state == Visibility.VISIBLE).any(-1)
        own = np.array([individual == SINGLE for individual in individuals])
        n_shared = len(bodyparts.shared)
        state[:, own, :n_shared] = Visibility.UNDEFINED
        state[:, ~own, n_shared:] = Visibility.UNDEFINED
    records = []
    for frame, (name, path) in enumerate(zip(table.images, paths, strict=True)):
        if (size := sizes(path)) is not None:
            here = present[frame]
            names = tuple(i for i, is_here in zip(individuals, here, strict=True) if is_here)
            record = LabelRecord(
                path, size, dataset, path.parent.name, xy[frame, here], state[frame, here],
                np.full((int(here.sum()), 4), np.nan), name,
                individuals=names if bodyparts.multi_animal else (),
            )  # fmt: skip
            records.append(record)
    return records


def _find_image(table: Path, name: str, finder: ImageFinder, other_endings: list[str]) -> Path:
    """The image that a row of a label file names: beside the file, or below the folder of the file.

    Projects are moved about, so only the part of the name that is the image itself can be trusted.
    """
    parts = posix_name(name)
    folders = [table.parent]
    if ".." not in parts.parts and not parts.is_absolute():
        folders.append(table.parent / parts.parent)
    for folder in folders:
        if parts.name in finder.listing(folder):
            return folder / parts.name
    for folder in folders:
        same = [parts.stem + end for end in IMAGE_SUFFIXES if parts.stem + end in finder.listing(folder)]
        if len(same) == 1:
            other_endings.append(f"{same[0]} for {name}")
            return folder / same[0]
    return folders[-1 if (table.parent / "labeled-data").is_dir() else 0] / parts.name
