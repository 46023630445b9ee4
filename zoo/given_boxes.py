"""Boxes without a detector of ours: from a file that any other detector wrote, or the whole frame.

COCO's detection results are what most detectors can write (MMDetection, Detectron2, Ultralytics,
torchvision's references): a JSON list with, for each box,

    {"image_id": 12, "category_id": 1, "bbox": [x, y, width, height], "score": 0.93}

`bbox` is in pixels of the frame, 0 being the left and upper edge of the image, as with every box here
(zoo.transforms). `image_id` says which frame, in one of these ways:

- a number is the frame's index, from 0 on (in a list or folder of images the image's place, in order);
- a text is the image's file name, or its name without the ending, as Ultralytics writes it;
- with an `images` list ({"id": 7, "file_name": "img7.png"}) it is an id of that list, and the file names
  count. The list stands in the same file, which then is an object with "images" and "annotations" as
  COCO's labels have it (a label has no score; it counts as 1), or in a file of its own.

Nothing is detected then, but everything else stays as it is: several boxes for one animal are thinned
out, and videos are tracked. `CocoBoxes` is the content of a file; `CocoBoxes.run` gives a detector for one
pass over one input.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from superset_vocab.errors import InputError, all_problems
from superset_vocab.files import read_json
from zoo.detectors import Detections

_MOST_PROBLEMS = 20  # of a file; a wrong file has one in each of its thousands of boxes


class WholeFrame:
    """Takes the whole frame for the box of one animal, with confidence 1. For frames cropped to it."""

    def __call__(self, frames: Sequence[np.ndarray]) -> list[Detections]:
        """(H, W, 3) RGB uint8 frames -> one box of each frame's size."""
        return [
            Detections(np.array([[0, 0, *frame.shape[1::-1]]], np.float32), np.ones(1, np.float32))
            for frame in frames
        ]


@dataclass(frozen=True, eq=False)
class CocoBoxes:
    """Boxes of many frames, as a file gives them. `CocoBoxes.from_file` makes one.

    Attributes:
        what: Name of the file, for messages.
        frames: Index of the frame, or file name -> its boxes by falling confidence. All keys are of one
            kind. Only frames with boxes are in it.
    """

    what: str
    frames: Mapping[int, Detections] | Mapping[str, Detections]

    @classmethod
    def from_file(
        cls,
        path: Path,
        *,
        images: Path | None = None,
        category: int | str | None = None,
        score_threshold: float = 0.0,
    ) -> CocoBoxes:
        """Read detection results; see the module's text.

        Args:
            path: A JSON list of results, or an object with "images" and "annotations".
            images: A COCO file whose `images` list says which file an image_id is.
            category: Only boxes of this category_id, or of this name in the `categories` of the file
                with the `images` list; None takes the boxes of every category.
            score_threshold: Boxes of less confidence are left out, in [0, 1].

        Raises:
            InputError: If the file cannot be read or is no such list; lists what is wrong with its boxes.
        """
        if not 0 <= score_threshold <= 1:
            raise InputError(f"score_threshold is {score_threshold}, want a confidence in [0, 1]")
        content = read_json(path)
        labels = isinstance(content, dict) and isinstance(content.get("annotations"), list)
        if labels and images is not None:
            raise InputError(f"{path}: has its own list of images; leave out images={str(images)!r}")
        index = content if labels else None if images is None else _object(images)
        results = content["annotations"] if labels else content
        if not isinstance(results, list):
            raise InputError(
                f"{path}: is not a list of detection results "
                f'[{{"image_id": 0, "category_id": 1, "bbox": [x, y, width, height], "score": 0.9}}, ...] '
                f"but {_kind(content)}"
            )
        rows = _rows(results, labels, str(path))
        if category is not None:
            wanted = _category_id(category, index, path)
            rows = [row for row in rows if row.category == wanted]
        if index is not None:
            rows = _by_file_name(rows, index, str(images or path))
        _check_ids(rows, str(path))
        return cls(str(path), _grouped([row for row in rows if row.score >= score_threshold]))

    @property
    def by_name(self) -> bool:
        """Whether frames are file names, which have to be found among the input's images."""
        return isinstance(next(iter(self.frames), 0), str)

    def for_frames(self, start: int, n_frames: int) -> list[Detections]:
        """Boxes of frames start ... start + n_frames - 1; none where the file has none.

        Raises:
            InputError: If the file names images instead of frames: `in_order_of` puts them in order.
        """
        if self.by_name:
            raise InputError(
                f"{self.what}: its boxes are of named images ({next(iter(self.frames))!r}, ...), which a "
                "video or an array has not; its image_id must be the index of the frame, from 0 on"
            )
        return [self.frames.get(t, _NOTHING) for t in range(start, start + n_frames)]  # type: ignore[call-overload]

    def in_order_of(self, images: Sequence[str]) -> CocoBoxes:
        """The same boxes by the place of their image in a list of images.

        Args:
            images: Names or paths of the input's images; no effect on boxes by index of the frame.

        Raises:
            InputError: If a name is none of the images, or could be several of them.
        """
        if not self.by_name or not images:
            return self
        places = _places_of_names(images)
        found, problems = {}, []
        for name, boxes in self.frames.items():
            path = _path(str(name))
            here = places.get(str(path)) or places.get(path.name) or []
            if len(here) == 1 and here[0] not in found:
                found[here[0]] = boxes
            elif len(here) == 1:
                problems.append(f"image {name!r} is image {images[here[0]]!r}, which has boxes already")
            elif here:
                problems.append(f"image {name!r} could be {len(here)} images of the input; give its path")
            else:
                problems.append(f"image {name!r} is not among the {len(images)} images of the input")
        if problems:
            raise _some_problems(self.what, problems)
        return CocoBoxes(self.what, found)

    def check_n_frames(self, n_frames: int) -> None:
        """Check that no box is beyond the end of the input.

        Raises:
            InputError: If one is.
        """
        beyond = [t for t in self.frames if isinstance(t, int) and t >= n_frames]
        if not beyond:
            return
        hint = "; frames count from 0" if beyond == [n_frames] and 0 not in self.frames else ""
        raise InputError(
            f"{self.what}: has boxes for {len(beyond)} frames from {min(beyond)} to {max(beyond)}, but the "
            f"input has {n_frames} frames (0 to {n_frames - 1}); is it of this input?{hint}"
        )

    def run(self, images: Sequence[str] = ()) -> BoxRun:
        """A detector for one pass over one input.

        Args:
            images: Names of the input's images, as `FrameSource.images` has them.

        Raises:
            InputError: If the boxes are of named images that the input has not.
        """
        return BoxRun(self.in_order_of(images))


class BoxRun:
    """Hands frame t its boxes: a detector to be called on *all* frames of one input, in order.

    Args:
        boxes: What the file has, by index of the frame.
    """

    def __init__(self, boxes: CocoBoxes) -> None:
        self._boxes, self._next = boxes, 0

    def __call__(self, frames: Sequence[np.ndarray]) -> list[Detections]:
        """The next frames (H, W, 3) -> the file's boxes of each.

        Raises:
            InputError: If a box lies outside of its frame: then it was found in another input.
        """
        found = self._boxes.for_frames(self._next, len(frames))
        for t, (frame, detections) in enumerate(zip(frames, found, strict=True), self._next):
            x, y, w, h = detections.bbox_xywh.T
            outside = (x + w <= 0) | (y + h <= 0) | (x >= frame.shape[1]) | (y >= frame.shape[0])
            if outside.any():
                box = [round(float(v), 1) for v in detections.bbox_xywh[outside][0]]
                raise InputError(
                    f"{self._boxes.what}: box {box} lies outside of frame {t}, which has "
                    f"{frame.shape[1]} x {frame.shape[0]} pixels; is it of this input, at this size?"
                )
        self._next += len(frames)
        return found

    def finish(self) -> None:
        """To be called after the last frame.

        Raises:
            InputError: If the file has boxes for frames beyond it.
        """
        self._boxes.check_n_frames(self._next)


_NOTHING = Detections(np.zeros((0, 4), np.float32), np.zeros(0, np.float32))


@dataclass(frozen=True)
class _Row:
    """One box of a file: its place there, its image, category, confidence and (x, y, w, h) in pixels."""

    place: int
    image: int | str
    category: int | None
    score: float
    bbox: tuple[float, ...]


def _rows(results: list[Any], labels: bool, what: str) -> list[_Row]:
    """The entries of a file, checked."""
    rows, problems = [], []
    for i, entry in enumerate(results):
        problem = _problem(entry, labels)
        if problem:
            problems.append(f"entry {i}: {problem}")
            continue
        score = float(entry.get("score", 1.0))
        bbox = tuple(float(v) for v in entry["bbox"])
        rows.append(_Row(i, entry["image_id"], entry.get("category_id"), score, bbox))
    if problems:
        raise _some_problems(what, problems)
    return rows


def _problem(entry: Any, labels: bool) -> str:
    """What is wrong with an entry of a file, or nothing."""
    if not isinstance(entry, dict):
        return f"is {_kind(entry)}, not an object"
    missing = [name for name in ("image_id", "bbox") if name not in entry]
    if not labels and "score" not in entry:
        missing.append("score")
    if missing:
        return f"lacks {' and '.join(missing)}"
    image, bbox, score = entry["image_id"], entry["bbox"], entry.get("score", 1.0)
    if isinstance(image, bool) or not isinstance(image, int | str):
        return f"image_id is {image!r}, want the index of a frame or the name of an image"
    if not isinstance(bbox, list) or len(bbox) != 4 or not all(_is_number(v) for v in bbox):
        return f"bbox is {bbox!r}, want four numbers [x, y, width, height]"
    if min(bbox[2:]) <= 0:
        return f"bbox {bbox} has no area; it is [x, y, width, height], not two corners"
    if not _is_number(score) or not 0 <= score <= 1:
        return f"score is {score!r}, want a confidence in [0, 1]"
    return ""


def _is_number(value: Any) -> bool:
    """Whether a JSON value is a finite number; NaN and Infinity get through Python's reader."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _check_ids(rows: list[_Row], what: str) -> None:
    """Frames are all numbers, from 0 on, or all names."""
    numbers = [row for row in rows if isinstance(row.image, int)]
    if numbers and len(numbers) < len(rows):
        raise InputError(f"{what}: some image_id are numbers and some are names; want all of one kind")
    negative = [f"entry {r.place}: image_id {r.image} is no index of a frame" for r in numbers if r.image < 0]  # type: ignore[operator]
    if negative:
        raise _some_problems(what, negative)


def _grouped(rows: list[_Row]) -> dict[Any, Detections]:
    """Frame -> its boxes by falling confidence; equal ones stay in the file's order."""
    groups: dict[int | str, list[_Row]] = {}
    for row in sorted(rows, key=lambda row: -row.score):
        groups.setdefault(row.image, []).append(row)
    return {
        image: Detections(
            np.array([row.bbox for row in group], np.float32),
            np.array([row.score for row in group], np.float32),
        )
        for image, group in groups.items()
    }


def _object(path: Path) -> dict[str, Any]:
    """A COCO file with an `images` list."""
    content = read_json(path)
    if not isinstance(content, dict):
        raise InputError(f'{path}: is {_kind(content)}, not a COCO file with a list "images"')
    return content


def _by_file_name(rows: list[_Row], index: Mapping[str, Any], what: str) -> list[_Row]:
    """The same boxes with the file names of their images in the place of ids."""
    images = index.get("images")
    entries = images if isinstance(images, list) else []
    good = [e for e in entries if isinstance(e, dict) and isinstance(e.get("file_name"), str)]
    names = {e["id"]: e["file_name"] for e in good if isinstance(e.get("id"), int | str)}
    if not names or len(names) != len(entries):
        raise InputError(
            f'{what}: wants a list "images" of {{"id": 7, "file_name": "img7.png"}}, every id once; '
            f"{len(names)} of its {len(entries)} entries are so"
        )
    unknown = sorted({str(row.image) for row in rows if row.image not in names})
    if unknown:
        raise InputError(
            f"{what}: has no image with the id {', '.join(unknown[:5])}, of which there are boxes"
        )
    return [_Row(row.place, names[row.image], row.category, row.score, row.bbox) for row in rows]


def _category_id(category: int | str, index: Mapping[str, Any] | None, path: Path) -> int:
    """The number of a category; a name is looked up."""
    if isinstance(category, int):
        return category
    listed = (index or {}).get("categories")
    entries = [c for c in listed if isinstance(c, dict)] if isinstance(listed, list) else []
    known = {c.get("name"): c["id"] for c in entries if isinstance(c.get("id"), int)}
    if category not in known:
        there = ", ".join(sorted(map(repr, known)))
        found = f"there are: {there}" if there else "the file has no names of categories; give its number"
        raise InputError(f"{path}: no category {category!r}; {found}")
    return known[category]


def _places_of_names(images: Sequence[str]) -> dict[str, list[int]]:
    """Path, file name and file name without its ending of the input's images -> their places there.

    A path goes before the name of an image in another folder, and a name before one without its ending.
    """
    paths = [_path(image) for image in images]
    places: dict[str, list[int]] = {}
    for ways in ([str(p) for p in paths], [p.name for p in paths], [p.stem for p in paths]):
        new: dict[str, list[int]] = {}
        for i, way in enumerate(ways):
            new.setdefault(way, []).append(i)
        places = new | places
    return places


def _path(image: str) -> PurePosixPath:
    return PurePosixPath(image.replace("\\", "/"))


def _some_problems(what: str, problems: list[str]) -> InputError:
    """All problems, or the first ones of very many."""
    if len(problems) > _MOST_PROBLEMS:
        more = len(problems) - _MOST_PROBLEMS
        problems = [*problems[:_MOST_PROBLEMS], f"and so on: {more} more"]
    return all_problems(what, problems)


def _kind(value: Any) -> str:
    """What a JSON value is, in words."""
    if isinstance(value, dict):
        return f"an object with {', '.join(map(repr, list(value)[:5])) or 'nothing in it'}"
    names = {list: "a list", str: "a text", bool: "true or false", type(None): "null"}
    return names.get(type(value), "a number")
