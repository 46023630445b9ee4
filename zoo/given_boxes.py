"""Boxes that come from elsewhere: another detector's COCO results, or the whole frame.

COCO's convention: a list of results, or an object with "annotations" or "results" that is one; each has
`image_id`, `bbox` x, y, width, height in pixels, and mostly `score` and `category_id`. Here `image_id` is
the frame's place in the input, counted from 0, as in the results that this package writes. Boxes are
taken as they are; detectors draw them by pixel edges.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from superset_vocab.errors import InputError, all_problems
from superset_vocab.files import read_json
from zoo.detectors import Detections

_MOST_PROBLEMS = 20


class WholeFrame:
    """The whole frame is the box of the one animal in it, with confidence 1."""

    def __call__(self, frames: Sequence[np.ndarray]) -> list[Detections]:
        """(H, W, 3) frames -> one box each."""
        one = np.ones(1, np.float32)
        return [Detections(np.array([[0, 0, *f.shape[1::-1]]], np.float32), one) for f in frames]


class CocoBoxes:
    """Boxes of a COCO results file, handed out frame by frame.

    It counts the frames that it is shown, so it serves one input, from its first frame on; `restart` makes
    it ready for the next.

    Args:
        boxes: Frame -> its boxes, by falling confidence.
        what: Name of the file, for messages.
    """

    def __init__(self, boxes: Mapping[int, Detections], what: str) -> None:
        self.boxes, self.what = dict(boxes), what
        self._next = 0

    @classmethod
    def from_file(cls, path: Path) -> CocoBoxes:
        """Read a COCO results file.

        Raises:
            InputError: If it is none; lists what is wrong with its entries.
        """
        content = read_json(path)
        if isinstance(content, dict):
            content = content.get("annotations", content.get("results"))
        if not isinstance(content, list):
            raise InputError(
                f"{path}: no COCO results, which are a list of boxes, each with image_id, bbox and score"
            )
        rows: dict[int, list[tuple[float, list[float]]]] = defaultdict(list)
        problems = []
        for place, entry in enumerate(content):
            problem = _problem(entry)
            if problem:
                problems.append(f"entry {place}: {problem}")
            else:
                rows[entry["image_id"]].append((float(entry.get("score", 1.0)), entry["bbox"]))
        if problems:
            more = len(problems) - _MOST_PROBLEMS
            raise all_problems(
                f"{path}", problems[:_MOST_PROBLEMS] + ([f"and {more} more"] if more > 0 else [])
            )
        return cls({frame: _detections(found) for frame, found in rows.items()}, str(path))

    def restart(self, n_frames: int | None = None) -> None:
        """Begin with frame 0 again.

        Args:
            n_frames: Of the next input, where it is known.

        Raises:
            InputError: If there are boxes for a frame beyond the input.
        """
        self._next = 0
        last = max(self.boxes, default=-1)
        if n_frames is not None and last >= n_frames:
            raise InputError(
                f"{self.what}: has boxes for frame {last}, and the input has {n_frames} frames (0 to "
                f"{n_frames - 1}); is it of another video?"
            )

    def __call__(self, frames: Sequence[np.ndarray]) -> list[Detections]:
        """The boxes of the next frames; none where the file has none."""
        start, self._next = self._next, self._next + len(frames)
        nothing = Detections(np.zeros((0, 4), np.float32), np.zeros(0, np.float32))
        return [self.boxes.get(t, nothing) for t in range(start, self._next)]


def _problem(entry: Any) -> str:
    """What is wrong with one result, "" if nothing is."""
    if not isinstance(entry, dict):
        return f"is a {type(entry).__name__}, not a result"
    frame, box, score = entry.get("image_id"), entry.get("bbox"), entry.get("score", 1.0)
    if not isinstance(frame, int) or isinstance(frame, bool) or frame < 0:
        return f"image_id is {frame!r}, want the frame's number, from 0"
    if not isinstance(box, list) or len(box) != 4 or not all(_is_number(value) for value in box):
        return f"bbox is {box!r}, want [x, y, width, height]"
    if not (box[2] > 0 and box[3] > 0):
        return f"bbox is {box!r}: width and height must be positive"
    if not _is_number(score) or not 0 <= score <= 1:
        return f"score is {score!r}, want a confidence in [0, 1]"
    return ""


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and bool(np.isfinite(value))


def _detections(found: list[tuple[float, list[float]]]) -> Detections:
    found = sorted(found, key=lambda row: -row[0])
    boxes = np.array([box for _, box in found], np.float32)
    return Detections(boxes, np.array([score for score, _ in found], np.float32))
