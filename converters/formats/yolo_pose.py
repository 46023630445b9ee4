"""YOLO-pose folders, as Ultralytics defines them and Roboflow exports them.

The format's conventions:
- `data.yaml` says kpt_shape, [K, 2] or [K, 3]. A folder without it is read if its
  `keypoint_names_inferred.json` gives the names; the lines then tell whether there are flags.
- Parts are folders train, valid, val and test with images/ and labels/ in each, or images/train and
  labels/train. They are found by name: the paths in data.yaml are often wrong (Roboflow writes
  "../train/images" beside train/). All parts are read; the part stays in `source_split` ("valid" as "val").
- `labels/x.txt` belongs to `images/x.jpg`. A line is an animal: class, box centre x, y, width, height,
  then x, y (and with [K, 3] a flag) of each keypoint. An image with an empty label file, or without
  one, is a picture without animals: it stays in, with no instance.
- Numbers are fractions of the image's full width and height, 0 at the left edge of the first pixel
  and 1 at the right edge of the last. So x_px = x * width - 0.5, which makes the centre of the
  top-left pixel (0, 0) as everywhere here; boxes move likewise.
- Flags: 0 not annotated (its coordinates, which Roboflow keeps, mean nothing), 1 occluded, 2 visible.
  With [K, 2] a keypoint at exactly (0, 0) is not annotated and every other one is visible.
- Keypoints have no names in the format proper: `kpt_names` of data.yaml is taken (Ultralytics writes it
  for each class), else keypoint_names_inferred.json, else keypoint_0, keypoint_1, ...

Classes are species or the like, and all have the same keypoints: their names become the categories.

The split group comes from the image's name, across the parts:
- Roboflow writes every augmented copy of x.jpg as `x_jpg.rf.<hash>.jpg`; the group is x.
- A frame of a film is in the film's group: `x_mp4-12` (Roboflow's name for one) is in x, and a name
  that ends in "frame" and a number is in what stands before the number, so that Frame_1 ... Frame_263
  are one group, "Frame". A number alone does not make a film: horse-28 and horse-29 are two photographs.
  Where films are named otherwise, give one group for all records (`--split-group`).
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from converters.images import SizeReader
from superset_vocab import InputError, LabelRecord, LabelSet, Source, Visibility
from superset_vocab.errors import all_problems
from superset_vocab.files import read_json, read_text

PARTS = ("train", "valid", "val", "test")
CONFIG = "data.yaml"
_NAMES = "keypoint_names_inferred.json"
_IMAGES = frozenset([".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"])
_NO_LABELS = frozenset({"classes.txt"})  # a list of classes that labelling tools put beside the labels
CORNER_TO_CENTRE = 0.5  # px
_ROUNDING = 1e-4  # of the image, by which a number may lie outside of 0 to 1: "1.0000001"
_BOX = 5  # numbers of a line before the keypoints: class and box

_ROBOFLOW = re.compile(r"(?P<name>.+?)(?:_(?:jpe?g|png|bmp|webp|tiff?))*\.rf\.[0-9A-Za-z]+", re.IGNORECASE)
_FILM = re.compile(
    r"(?:(?P<film>.+)_(?:mp4|mov|avi|mkv|webm|m4v)-|(?P<frame>.*frames?)[ _-]*)\d+", re.IGNORECASE
)


@dataclass(frozen=True)
class _Config:
    """What the reader needs of a folder.

    Attributes:
        keypoints: (K,) names.
        numbers: Numbers for each keypoint, 2 or 3; None where only the lines tell.
        classes: Names of the classes by number; empty where unknown.
    """

    keypoints: tuple[str, ...]
    numbers: int | None
    classes: tuple[str, ...]


def detect(path: Path) -> bool:
    """A folder with train, valid, val or test, and a data.yaml with kpt_shape or a file of names."""
    folder = _folder(path)
    if not folder.is_dir() or not _part_folders(folder):
        return False
    if not (folder / CONFIG).is_file():
        return (folder / _NAMES).is_file()
    try:
        return "kpt_shape" in _read_yaml(folder / CONFIG)
    except InputError:
        return False


def split_group(file_name: str) -> str:
    """The source picture, or the film, that an image is of, by its name; see the module's text."""
    stem = Path(file_name).stem
    if exported := _ROBOFLOW.fullmatch(stem):
        stem = exported["name"]
    if frame := _FILM.fullmatch(stem):
        return frame["film"] or frame["frame"]
    return stem


def read(source: Path, *, dataset: str) -> LabelSet:
    """Read a YOLO-pose folder with all its parts.

    Args:
        source: The folder, or its data.yaml.
        dataset: Dataset name of the records.

    Returns:
        One record for each image, sorted by part and name, also where there is no animal.

    Raises:
        InputError: If anything is broken; all problems are listed, bad lines with file and number.
    """
    folder = _folder(source)
    if not folder.is_dir():
        raise InputError(f"{source}: is no YOLO-pose folder, nor its {CONFIG}")
    config = _read_config(folder)
    parts = _part_folders(folder)
    if not parts:
        raise InputError(
            f"{folder}: has none of the folders {', '.join(PARTS)} with images and labels in them"
        )
    problems: list[str] = []
    pairs = [pair for images, labels in parts for pair in _pairs(images, labels, problems)]
    lines = {image: _lines(label) for image, label in pairs if label is not None}
    numbers = config.numbers or _numbers(config, [line for found in lines.values() for line in found])
    sizes, records = SizeReader(), []
    for image, label in pairs:
        values, wrong = _parse(lines.get(image, []), config, numbers)
        problems += [f"{label}, {problem}" for problem in wrong]
        if (size := sizes(image)) is not None and not wrong:
            name = image.relative_to(folder).as_posix()
            arrays = _arrays(values, len(config.keypoints), numbers, size)
            classes = tuple(config.classes[int(row[0])] for row in values) if config.classes else ()
            records.append(
                LabelRecord(
                    image,
                    size,
                    dataset,
                    split_group(name),
                    *arrays,
                    name,
                    source_split=_part(name),
                    categories=classes,
                )
            )
    if problems or sizes.problems:
        raise all_problems(f"{folder}", problems + sizes.problems)
    found = Source(dataset, config.keypoints, format="yolo-pose", location=str(source))
    return LabelSet(config.keypoints, tuple(records), (found,))


def _folder(path: Path) -> Path:
    """The folder itself, or that of a data.yaml."""
    return path.parent if path.name == CONFIG else path


def _part_folders(folder: Path) -> list[tuple[Path, Path]]:
    """The images and labels folders of each part that is there."""
    places = [(folder / part / "images", folder / part / "labels") for part in PARTS]
    places += [(folder / "images" / part, folder / "labels" / part) for part in PARTS]
    return [(images, labels) for images, labels in places if images.is_dir() and labels.is_dir()]


def _read_yaml(path: Path) -> dict[str, Any]:
    """The content of a data.yaml.

    Raises:
        InputError: If it is no YAML mapping.
    """
    try:
        content: Any = yaml.safe_load(read_text(path))
    except yaml.YAMLError as error:
        raise InputError(f"{path}: is not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(content, dict):
        raise InputError(f"{path}: is not a YOLO configuration")
    return content


def _read_config(folder: Path) -> _Config:
    """Keypoint names and the shape of a line."""
    file = folder / CONFIG
    inferred = _inferred_names(folder / _NAMES)
    if not file.is_file():
        if inferred is None:
            raise InputError(
                f"{folder}: has no {CONFIG}, which says how many keypoints there are (kpt_shape); "
                f"add it, or {_NAMES} with the names"
            )
        return _Config(inferred, None, ())
    content = _read_yaml(file)
    shape = content.get("kpt_shape")
    if not (
        isinstance(shape, list)
        and len(shape) == 2
        and all(type(number) is int for number in shape)
        and shape[0] > 0
        and shape[1] in (2, 3)
    ):
        raise InputError(f"{file}: its kpt_shape is {shape!r}, not [K, 2] or [K, 3] (is it a pose dataset?)")
    names = _yaml_names(file, content.get("kpt_names")) or inferred
    names = names or tuple(f"keypoint_{k}" for k in range(shape[0]))
    if len(names) != shape[0]:
        raise InputError(f"{file}: kpt_shape says {shape[0]} keypoints, but {len(names)} have names")
    return _Config(names, shape[1], _class_names(content.get("names")))


def _class_names(found: Any) -> tuple[str, ...]:
    """The names of the classes: a list, or an object by number from 0; empty for anything else."""
    if isinstance(found, dict) and sorted(found) == list(range(len(found))):
        found = [found[number] for number in range(len(found))]
    return tuple(map(str, found)) if isinstance(found, list) else ()


def _part(name: str) -> str:
    """The part that an image is in, by its name in the folder."""
    part = next(part for part in name.split("/") if part in PARTS)
    return "val" if part == "valid" else part


def _inferred_names(path: Path) -> tuple[str, ...] | None:
    """The names in keypoint_names_inferred.json, or None without that file."""
    if not path.is_file():
        return None
    content = read_json(path)
    return _check_names(path, content.get("inferred_keypoint_names") if isinstance(content, dict) else None)


def _yaml_names(file: Path, found: Any) -> tuple[str, ...] | None:
    """The names in data.yaml's kpt_names: a list, or one list for each class, which must be the same."""
    if not found:
        return None
    if not isinstance(found, dict):
        return _check_names(file, found)
    lists = [_check_names(file, names) for names in found.values()]
    if len(set(lists)) > 1:
        raise InputError(f"{file}: its classes have different kpt_names; convert them one by one")
    return lists[0]


def _check_names(file: Path, names: Any) -> tuple[str, ...]:
    """A list of different names."""
    if not isinstance(names, list) or not names or not all(isinstance(name, str) for name in names):
        raise InputError(f"{file}: its keypoint names are not a list of names")
    twice = sorted(name for name, times in Counter(names).items() if times > 1)
    if twice:
        raise InputError(f"{file}: the keypoints {', '.join(twice)} are listed more than once")
    return tuple(names)


def _pairs(images: Path, labels: Path, problems: list[str]) -> list[tuple[Path, Path | None]]:
    """Each image of a part with its label file, or None; labels without an image are problems."""
    files = sorted(path for path in images.rglob("*") if path.suffix.lower() in _IMAGES)
    texts = {
        path.relative_to(labels).with_suffix(""): path
        for path in sorted(labels.rglob("*.txt"))
        if path.name not in _NO_LABELS
    }
    names = [path.relative_to(images).with_suffix("") for path in files]
    for name, times in Counter(names).items():
        if times > 1:
            problems.append(f"{images}: {times} images are called {name} and would share one label file")
    problems += [
        f"{texts[name]}: has no image in {images}; remove the labels, or put it there"
        for name in sorted(texts.keys() - set(names))
    ]
    return [(path, texts.get(name)) for path, name in zip(files, names, strict=True)]


def _lines(label: Path) -> list[tuple[int, list[str]]]:
    """The lines of a label file that are not empty: number from 1, columns."""
    numbered = enumerate(read_text(label).splitlines(), start=1)
    return [(number, line.split()) for number, line in numbered if line.strip()]


def _numbers(config: _Config, lines: list[tuple[int, list[str]]]) -> int:
    """Numbers for each keypoint, by the most frequent length of a line; others are problems later."""
    lengths = Counter(len(columns) for _, columns in lines).most_common(1)
    k = len(config.keypoints)
    return 3 if lengths and lengths[0][0] == _BOX + 3 * k else 2


def _parse(
    lines: list[tuple[int, list[str]]], config: _Config, numbers: int
) -> tuple[list[np.ndarray], list[str]]:
    """The numbers of each line, and what is wrong."""
    want = _BOX + numbers * len(config.keypoints)
    values, problems = [], []
    for number, columns in lines:
        if len(columns) != want:
            problems.append(
                f"line {number}: has {len(columns)} columns, not {want} "
                f"(class, box, {len(config.keypoints)} keypoints of {numbers} numbers)"
            )
            continue
        try:
            row = np.array([float(column) for column in columns])
        except ValueError as error:
            problems.append(f"line {number}: {error}")
            continue
        wrong = _row_problem(row, numbers, len(config.classes))
        if wrong:
            problems.append(f"line {number}: {wrong}")
        else:
            values.append(row)
    return values, problems


def _row_problem(row: np.ndarray, numbers: int, n_classes: int) -> str:
    """What is wrong with the numbers of a line, or an empty text."""
    if not (row[0] >= 0 and row[0].is_integer()):
        return f"its class is {row[0]:g}, not a whole number from 0"
    if n_classes and row[0] >= n_classes:
        return f"its class is {row[0]:g}, but {CONFIG} names only {n_classes}, counted from 0"
    points = row[_BOX:].reshape(-1, numbers)
    if numbers == 3:
        if not np.isin(points[:, 2], (0, 1, 2)).all():
            return "a keypoint's flag is not 0, 1 or 2"
        points = points[points[:, 2] > 0]
    used = np.concatenate([row[1:_BOX], points[:, :2].ravel()])
    bad = used[~((used >= -_ROUNDING) & (used <= 1 + _ROUNDING))]  # so that NaN is bad, too
    return f"{bad[0]:g} is not between 0 and 1 (coordinates are fractions of the image)" if bad.size else ""


def _arrays(
    values: list[np.ndarray], k: int, numbers: int, size_wh: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Keypoints (N, K, 2) px, visibility (N, K) and boxes (N, 4) px of an image's animals."""
    rows = np.array(values, dtype=np.float64).reshape(len(values), _BOX + numbers * k)[:, 1:]
    size = np.array(size_wh, dtype=np.float64)
    points = rows[:, _BOX - 1 :].reshape(len(rows), k, numbers)
    if numbers == 3:
        visibility = points[..., 2].astype(np.int8)  # the flags are `Visibility`'s
    else:
        visibility = np.where((points == 0).all(-1), Visibility.NOT_ANNOTATED, Visibility.VISIBLE)
    keypoints = points[..., :2] * size - CORNER_TO_CENTRE
    keypoints[visibility < Visibility.OCCLUDED] = np.nan
    wh = rows[:, 2:4] * size
    boxes = np.concatenate([rows[:, :2] * size - wh / 2 - CORNER_TO_CENTRE, wh], axis=1)
    return keypoints, visibility.astype(np.int8), boxes
