"""AlphaTracker's sloth JSON: top-view mice, four keypoints each.

The format's conventions: a list with one entry for each image, whose "annotations" are a flat list.
A "Face" is the box of an animal (x, y, width, height); the "point" entries after it, up to the next
"Face", are its keypoints. They carry no names: their order is snout, left ear, right ear, tail base.
There are no flags. Images lie beside the file, or in `images/` there. Coordinates are those of a Qt
scene, where the top-left CORNER of the image is (0, 0); half a pixel is subtracted, so that here the
centre of the top-left pixel is.

An animal with more or fewer than four points cannot be assigned. It stays in as an instance with its
box and all keypoints not annotated, because the animal is in the picture, and is reported. A "Face"
without points and smaller than 8 px is a slip of the mouse and is left out, reported too.

The split group is the recording day, the date at the beginning of the image's name: the two films of
2019-11-07 share a cage, a camera and a light. Without a date all images are one group.
"""

from __future__ import annotations

import logging
import re
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from converters.formats.json_file import json_file, json_shape
from converters.formats.malformed import reason
from converters.images import SizeReader
from superset_vocab import InputError, LabelRecord, LabelSet, Source, Visibility
from superset_vocab.errors import all_problems
from superset_vocab.files import read_json

_LOG = logging.getLogger(__name__)
_FILE = "*.json"
KEYPOINTS = ("snout", "left_ear", "right_ear", "tail_base")
_CORNER_TO_CENTRE = 0.5  # px
_SMALLEST_BOX = 8.0  # px


def detect(path: Path) -> bool:
    """A sloth .json, or a folder with exactly one .json, which is one."""
    return json_shape(path, _FILE).shared >= {"filename", "annotations"}


def recording_day(file_name: str, otherwise: str) -> str:
    """The date (YYYY-MM-DD) that an image's name begins with, or `otherwise`."""
    found = re.match(r"\d{4}-\d{2}-\d{2}", Path(file_name).name)
    return found.group() if found else otherwise


def read(source: Path, *, dataset: str) -> LabelSet:
    """Read a sloth JSON file, or the folder that holds one.

    Returns:
        One record for each image, in the order of the file.

    Raises:
        InputError: If the file is broken or images are; all problems are listed.
    """
    file = json_file(source, _FILE)
    content = read_json(file)
    if not isinstance(content, list):
        raise InputError(f"{file}: is no sloth file, which is a list of images")
    sizes, problems, notes, records = SizeReader(), [], [], []
    for place, entry in enumerate(content):
        try:
            name, animals = str(entry["filename"]), _group(entry["annotations"])
            animals = [animal for animal in animals if not _is_slip(animal, name, notes)]
            arrays = _instances(animals, name, notes)
        except (KeyError, TypeError, ValueError) as error:
            problems.append(f"entry {place + 1} cannot be understood: {reason(error)}")
            continue
        path = next((p for p in (file.parent / name, file.parent / "images" / name) if p.is_file()), None)
        if path is None:
            problems.append(f"{name}: no such image beside the file or in {file.parent / 'images'}")
        elif (size := sizes(path)) is not None:
            group = recording_day(name, otherwise=dataset)
            records.append(LabelRecord(path, size, dataset, group, *arrays, source_image=name))
    for name, times in Counter(record.source_image for record in records).items():
        if times > 1:
            problems.append(f"{name} has {times} entries")
    if problems or sizes.problems:
        raise all_problems(f"{file}", problems + sizes.problems)
    if notes:
        _LOG.warning(
            "%s: %d animals are not labelled completely:\n  %s", file, len(notes), "\n  ".join(notes)
        )
    found = Source(dataset, KEYPOINTS, format="sloth", location=str(source))
    return LabelSet(KEYPOINTS, tuple(records), (found,))


def _group(annotations: list[dict[str, Any]]) -> list[tuple[dict[str, Any], list[tuple[float, float]]]]:
    """Each "Face" with the points that follow it."""
    animals: list[tuple[dict[str, Any], list[tuple[float, float]]]] = []
    for annotation in annotations:
        kind = annotation["class"]
        if kind == "Face":
            animals.append((annotation, []))
        elif kind == "point" and animals:
            animals[-1][1].append((float(annotation["x"]), float(annotation["y"])))
        else:
            raise ValueError(f"a {kind!r} where a Face or one of its points belongs")
    return animals


def _is_slip(animal: tuple[dict[str, Any], list[tuple[float, float]]], name: str, notes: list[str]) -> bool:
    """Whether a box is too small to be an animal and has no points; noted."""
    box, points = animal
    slip = not points and max(float(box["width"]), float(box["height"])) < _SMALLEST_BOX
    if slip:
        notes.append(f"{name}: a box of {box['width']:.0f}x{box['height']:.0f} px without points, left out")
    return slip


def _instances(
    animals: list[tuple[dict[str, Any], list[tuple[float, float]]]], name: str, notes: list[str]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Keypoints (N, 4, 2), visibility (N, 4) and boxes (N, 4) of an image's animals."""
    keypoints = np.full((len(animals), len(KEYPOINTS), 2), np.nan)
    visibility = np.full((len(animals), len(KEYPOINTS)), Visibility.NOT_ANNOTATED, dtype=np.int8)
    boxes = np.array(
        [[float(box[side]) for side in ("x", "y", "width", "height")] for box, _ in animals], dtype=np.float64
    ).reshape(-1, 4)
    boxes[:, :2] -= _CORNER_TO_CENTRE
    for n, (_, points) in enumerate(animals):
        if len(points) == len(KEYPOINTS):
            keypoints[n] = np.array(points) - _CORNER_TO_CENTRE
            visibility[n] = Visibility.VISIBLE
        else:
            notes.append(f"{name}: an animal with {len(points)} points, not 4; kept with its box only")
    if not (np.isfinite(boxes).all() and np.isfinite(keypoints[visibility == Visibility.VISIBLE]).all()):
        raise ValueError("a coordinate is not finite")
    return keypoints, visibility, boxes
