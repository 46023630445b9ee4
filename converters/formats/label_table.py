"""DeepLabCut's label tables, csv and h5, as one plain table.

Both hold a row for each image and three header levels: scorer, bodyparts, coords (x, y); files of
multi-animal projects have a fourth, individuals. The image is named by one text
("labeled-data/m4s1/img0000.png", older) or by three cells (labeled-data, m4s1, img0000.png, newer).

The h5 files are pandas stores in one of PyTables' two layouts. Pandas and PyTables unpickle
attributes of the file while they open it, so a stranger's file could run code. Here the file is read
with h5py, which has no notion of pickles; the column names of the "table" layout, which pandas
pickles, are decoded by `plain_pickle`, which runs nothing. Layouts that need more are refused: every
DeepLabCut h5 has a csv of the same content beside it.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import h5py
import numpy as np

from converters.formats.plain_pickle import plain_data
from converters.formats.self_contained import check_self_contained
from superset_vocab import InputError
from superset_vocab.errors import all_problems
from superset_vocab.files import read_text

HEADER = ("scorer", "individuals", "bodyparts", "coords")


@dataclass(frozen=True, eq=False)
class LabelTable:
    """A label file as it stands.

    Attributes:
        path: The file.
        levels: Names of the header levels, e.g. ("scorer", "bodyparts", "coords").
        columns: One tuple of names for each column, in the order of `levels`.
        images: (F,) image names with "/" between their parts; in a table of predictions numbers of frames.
        values: (F, C) float64, NaN where a cell is empty.
    """

    path: Path
    levels: tuple[str, ...]
    columns: tuple[tuple[str, ...], ...]
    images: tuple[str, ...]
    values: np.ndarray

    def level(self, name: str) -> tuple[str, ...]:
        """(C,) the names of one header level."""
        place = self.levels.index(name)
        return tuple(column[place] for column in self.columns)


def read_table(path: Path) -> LabelTable:
    """Read a DeepLabCut label file, .csv or .h5.

    Raises:
        InputError: If it is broken, or an h5 that could only be read by unpickling.
    """
    if path.suffix.lower() == ".csv":
        return _read_csv(path)
    try:
        check_self_contained(path)
        return _read_h5(path)
    except (OSError, KeyError, ValueError, IndexError, AttributeError, TypeError, RuntimeError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(
            f"{path}: is no DeepLabCut h5 that can be read without unpickling ({error}); "
            "use the csv of the same name beside it"
        ) from error


def is_label_csv(path: Path) -> bool:
    """Whether a .csv begins like a DeepLabCut label file."""
    try:
        with path.open(encoding="utf-8-sig") as file:
            return file.readline(2000).split(",")[0].strip() == "scorer"
    except (OSError, UnicodeDecodeError):
        return False


def _read_csv(path: Path) -> LabelTable:
    rows = [row for row in csv.reader(read_text(path).splitlines()) if any(cell.strip() for cell in row)]
    n_header = next((i for i, row in enumerate(rows) if row[0].strip() not in HEADER), len(rows))
    levels = tuple(row[0].strip() for row in rows[:n_header])
    if "bodyparts" not in levels or "coords" not in levels:
        raise InputError(f"{path}: has no DeepLabCut header (rows scorer, bodyparts, coords)")
    bodyparts = rows[levels.index("bodyparts")]
    n_names = next((i for i, cell in enumerate(bodyparts) if i > 0 and cell.strip()), len(bodyparts))
    width, problems, images, values = len(bodyparts), [], [], []
    for line, row in enumerate(rows, start=1):
        if len(row) != width:
            problems.append(f"row {line} has {len(row)} cells, the header {width}")
        elif line > n_header:
            images.append(_image_name(row[:n_names]))
            values.append([_number(cell, line, problems) for cell in row[n_names:]])
    if problems:
        raise all_problems(f"{path}", problems)
    columns = tuple(zip(*([cell.strip() for cell in row[n_names:]] for row in rows[:n_header]), strict=True))
    array = np.array(values, dtype=np.float64).reshape(len(images), width - n_names)
    return LabelTable(path, levels, columns, tuple(images), array)


def _number(cell: str, line: int, problems: list[str]) -> float:
    """A cell's number, NaN where it is empty; anything else is a problem."""
    if not cell.strip():
        return math.nan
    try:
        return float(cell)
    except ValueError:
        problems.append(f"row {line} has {cell!r} where a number belongs; correct or empty it")
        return math.nan


def _image_name(cells: list[str] | tuple[str, ...]) -> str:
    """One name with "/" from one cell or three; files made on Windows have backslashes."""
    return str(PurePosixPath(*(cell.strip().replace("\\", "/") for cell in cells)))


def _read_h5(path: Path) -> LabelTable:
    with h5py.File(path, "r") as file:
        groups = [g for g in file.values() if isinstance(g, h5py.Group) and "pandas_type" in g.attrs]
        if len(groups) != 1:
            raise ValueError(f"it holds {len(groups)} pandas tables, not one")
        kind = _attribute(groups[0], "pandas_type")
        if kind == "frame_table":
            return _read_table_layout(path, groups[0])
        if kind == "frame":
            return _read_fixed_layout(path, groups[0])
        raise ValueError(f"its pandas type is {kind!r}")


def _read_table_layout(path: Path, group: h5py.Group) -> LabelTable:
    """The "table" layout: one compound dataset with a field for each block; column names are pickled."""
    (_, names), *more = _pickled(group, "non_index_axes")
    levels = next(iter(_pickled(group, "info").values()))["names"]
    fields = _pickled(group, "values_cols")
    rows = _array(group, "table")
    if more or set(rows.dtype.names or ()) != {"index", *fields}:
        raise ValueError("it is not a table of numbers")
    blocks = [(_names(_pickled(group["table"], f"{field}_kind")), rows[field]) for field in fields]
    images = tuple(_image_name([name]) for name in _row_names(rows["index"]))
    columns = _names(names)
    return LabelTable(path, tuple(map(str, levels)), columns, images, _join(columns, blocks, len(images)))


def _read_fixed_layout(path: Path, group: h5py.Group) -> LabelTable:
    """The "fixed" layout: plain arrays for the blocks, and for each axis its levels and codes."""
    n_levels = int(_attribute(group, "axis0_nlevels"))
    levels = tuple(_attribute(group[f"axis0_level{i}"], "name") for i in range(n_levels))
    images = tuple(_image_name(names) for names in _axis(group, "axis1"))
    blocks = []
    for i in range(int(_attribute(group, "nblocks"))):
        values = _array(group, f"block{i}_values")
        stored_by_row = "transposed" in group[f"block{i}_values"].attrs
        blocks.append((_axis(group, f"block{i}_items"), values if stored_by_row else values.T))
    columns = _axis(group, "axis0")
    return LabelTable(path, levels, columns, images, _join(columns, blocks, len(images)))


def _join(
    columns: Sequence[tuple[str, ...]],
    blocks: Sequence[tuple[Sequence[tuple[str, ...]], np.ndarray]],
    n_rows: int,
) -> np.ndarray:
    """(F, C) float64 in the order of `columns`: pandas keeps columns of one number type as one block."""
    by_column = {}
    for names, values in blocks:
        for name, column in zip(names, values.reshape(n_rows, len(names)).T, strict=True):
            by_column[name] = column.astype(np.float64)
    return np.array([by_column[name] for name in columns]).reshape(len(columns), n_rows).T


def _names(columns: Sequence[Sequence[object]]) -> tuple[tuple[str, ...], ...]:
    """Column names as texts."""
    return tuple(tuple(str(name) for name in column) for column in columns)


def _pickled(node: Any, name: str) -> Any:
    """A pickled attribute, decoded without unpickling."""
    return plain_data(_attribute(node, name).encode("latin-1"))


def _axis(group: h5py.Group, name: str) -> tuple[tuple[str, ...], ...]:
    """The labels of one axis, each a tuple of its levels' names."""
    if _attribute(group, f"{name}_variety") == "regular":
        return tuple((text,) for text in _row_names(_array(group, name)))
    parts = []
    for i in range(int(_attribute(group, f"{name}_nlevels"))):
        level, codes = _texts(group, f"{name}_level{i}"), _array(group, f"{name}_label{i}")
        if codes.size and (codes.min() < 0 or codes.max() >= len(level)):
            raise ValueError(f"a name of {name} is missing")
        parts.append([level[code] for code in codes])
    return tuple(zip(*parts, strict=True))


def _array(group: h5py.Group, name: str) -> np.ndarray:
    """The content of a dataset of the group."""
    node = group[name]
    if not isinstance(node, h5py.Dataset):
        raise ValueError(f"{name} is no array")
    return np.asarray(node[:])


def _row_names(values: np.ndarray) -> list[str]:
    """Names of rows: texts, or, in a table of predictions, the numbers of frames."""
    if values.dtype.kind in "iu":
        return [str(value) for value in values]
    return _decoded(values, "the index")


def _texts(group: h5py.Group, name: str) -> list[str]:
    """The texts of a dataset of fixed-length byte strings; anything else would be pickled objects."""
    return _decoded(_array(group, name), name)


def _decoded(values: np.ndarray, name: str) -> list[str]:
    """Byte strings as texts."""
    if values.dtype.kind != "S":
        raise ValueError(f"{name} does not hold texts but {values.dtype}")
    return [value.decode("utf-8") for value in values]


def _attribute(node: Any, name: str) -> str:
    """An attribute as text, byte for byte: pandas writes texts as UTF-8, PyTables pickles as ASCII."""
    value = node.attrs[name]
    return value.decode("latin-1") if isinstance(value, bytes) else str(value)
