"""From frames to the animals in them: every way in which a model finds animals, one class each.

A finder is made for one run over one input. It is called with batches of consecutive frames, in order,
and may remember what it saw. `operations` says afterwards what was done, for the provenance.

`DenseTopDown`   the detector looks at every frame, then the pose network at every box.
`SparseTopDown`  the detector looks at some frames only; in between the next crop comes from the last pose.
`GivenBoxes`     the caller knows the boxes.
`BottomUp`       one network finds the keypoints of all animals at once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from superset_vocab.errors import InputError
from zoo.detectors import Detections, Detector
from zoo.tracking import Animals, distinct

SAME_ANIMAL = 0.08
"""Two poses nearer than this share of the body length are one animal found twice."""

_LONGEST = 30  # frames that "auto" goes without looking for new animals
_LOST = 0.5  # share of the confidence at detection below which "auto" looks again
_EMPTY = 5  # frames that "auto" waits for an animal to come in
_SURE = 0.2  # share of a pose's best confidence that makes a keypoint count for the next box


class PoseEstimator(Protocol):
    """Finds the keypoints of the animals whose boxes are given."""

    def __call__(
        self, frames: Sequence[np.ndarray], bboxes: Sequence[np.ndarray]
    ) -> list[tuple[np.ndarray, np.ndarray]]:
        """Frames (H, W, 3) RGB uint8, boxes (N, 4) xywh px -> (N, K, 2) px and (N, K) confidence each."""
        ...


class Finder(Protocol):
    """Finds the animals of frames."""

    def __call__(self, frames: Sequence[np.ndarray]) -> list[Animals]:
        """The next frames (H, W, 3) RGB uint8 -> the animals in each."""
        ...

    def operations(self) -> list[dict[str, Any]]:
        """What was done to the frames so far, for the provenance."""
        ...


@dataclass
class DenseTopDown:
    """Detector on every frame, pose network on every box.

    Attributes:
        detector, pose: The networks.
        bbox_threshold: Detections below it are no animals.
        score_threshold: Least box confidence times mean keypoint confidence of an animal. The keypoints
            see an animal at several times the detector's resolution, so their confidence tells a weak
            detection of a mouse from a strong one of a water bottle (docs/experiments.md).
        max_individuals: Only so many boxes of each frame go on to the pose network, the most confident
            ones first; None for all.
    """

    detector: Detector
    pose: PoseEstimator
    bbox_threshold: float
    score_threshold: float
    max_individuals: int | None = None

    def __call__(self, frames: Sequence[np.ndarray]) -> list[Animals]:
        """See `Finder`."""
        found = [self.accepted(detections) for detections in self.detector(frames)]
        poses = self.pose(frames, [detections.bbox_xywh for detections in found])
        return [self.likely(*args) for args in zip(found, poses, strict=True)]

    def accepted(self, detections: Detections) -> Detections:
        """The detections of a frame that are animals."""
        good = np.flatnonzero(detections.confidence >= self.bbox_threshold)[: self.limit]
        return Detections(*(values[good] for values in detections))

    @property
    def limit(self) -> int | None:
        """Boxes that are looked at: some more than individuals, since some boxes show one animal twice."""
        return None if self.max_individuals is None else 2 * self.max_individuals + 2

    def likely(self, detections: Detections, pose: tuple[np.ndarray, np.ndarray]) -> Animals:
        """The animals of a frame's boxes: only the likely ones, each once."""
        animals = Animals(*pose, detections.bbox_xywh, detections.confidence)
        score = animals.bbox_confidence * _mean_confidence(animals)
        animals = animals.take(np.flatnonzero(score >= self.score_threshold))
        return animals.take(distinct(animals, SAME_ANIMAL))

    def operations(self) -> list[dict[str, Any]]:
        """See `Finder`."""
        return [
            {"name": "detect", "bbox_threshold": self.bbox_threshold, "detect_every": 1},
            *self.selection(),
        ]

    def selection(self) -> list[dict[str, Any]]:
        """The operations after the detection."""
        best = [] if self.limit is None else [{"name": "take_best_boxes", "most": self.limit}]
        return [
            *best,
            {"name": "drop_unlikely", "score_threshold": self.score_threshold},
            {"name": "drop_duplicates", "min_distance": SAME_ANIMAL},
        ]


class SparseTopDown:
    """Detector on some frames of a video; in between every crop follows the animal's last pose.

    A detector costs up to ten times the pose network. An animal that was found once is found again in the
    next frame near its last pose: its box there is the extent of the confident keypoints, moved and
    scaled as it was inside the box when the detector last saw it. New animals are seen at the next
    detection, so at most `detect_every` frames late.

    Args:
        dense: The networks and thresholds; used as they are on the frames with a detection.
        detect_every: Frames from one detection to the next. "auto": up to 30 frames as long as every
            animal keeps half of the mean keypoint confidence that it had at its detection and stays
            apart from the others; a frame in which one does not is looked at by the detector as well.
            While no animal is in sight, every fifth frame.
    """

    def __init__(self, dense: DenseTopDown, detect_every: int | str) -> None:
        self.dense, self.detect_every = dense, detect_every
        self._frame, self._last_detection = 0, -1
        self._detections = 0
        self._followed: list[_Followed] = []

    def __call__(self, frames: Sequence[np.ndarray]) -> list[Animals]:
        """See `Finder`."""
        return [self._one(frame) for frame in frames]

    def _one(self, frame: np.ndarray) -> Animals:
        animals = None if self._detection_is_due() else self._follow(frame)
        if animals is None:
            (animals,) = self.dense([frame])
            self._last_detection = self._frame
            self._detections += 1
            self._followed = [_Followed.start(animals, n) for n in range(len(animals.bbox_xywh))]
        self._frame += 1
        return animals

    def _detection_is_due(self) -> bool:
        if self._last_detection < 0:
            return True
        longest = self.detect_every
        if isinstance(longest, str):
            longest = _LONGEST if self._followed else _EMPTY
        return self._frame - self._last_detection >= longest

    def _follow(self, frame: np.ndarray) -> Animals | None:
        """The animals near their last poses; None if the detector has to look at this frame too."""
        auto = self.detect_every == "auto"
        boxes = np.array([one.next_box() for one in self._followed], np.float32).reshape(-1, 4)
        confidence = np.array([one.bbox_confidence for one in self._followed], np.float32)
        ((keypoints, conf),) = self.dense.pose([frame], [boxes])
        animals = Animals(keypoints, conf, boxes, confidence)
        means = _mean_confidence(animals)
        kept = [n for n, one in enumerate(self._followed) if means[n] >= _LOST * one.confidence]
        apart = distinct(animals, SAME_ANIMAL)
        if auto and (len(kept) < len(self._followed) or len(apart) < len(self._followed)):
            return None
        score = confidence * means
        good = [int(n) for n in apart if score[n] >= self.dense.score_threshold]
        self._followed = [self._followed[n].moved(animals, n) for n in good]
        return animals.take(good)

    def operations(self) -> list[dict[str, Any]]:
        """See `Finder`."""
        detect = {
            "name": "detect",
            "bbox_threshold": self.dense.bbox_threshold,
            "detect_every": self.detect_every,
            "n_detections": self._detections,
            "n_frames": self._frame,
        }
        if self.detect_every == "auto":
            detect |= {"longest": _LONGEST, "lost_below": _LOST, "when_empty": _EMPTY}
        return [detect, *self.dense.selection()]


@dataclass(frozen=True)
class _Followed:
    """An animal between two detections.

    Attributes:
        keypoints: (K, 2) px of the last pose.
        weights: (K,) bool, the keypoints that were sure at the detection.
        relative: (4,) the detector's box in units of the extent of the keypoints at the detection:
            centre offset over the extent's size, and size over size.
        confidence, bbox_confidence: Mean keypoint and box confidence at the detection.
        box: (4,) the box of the last frame.
    """

    keypoints: np.ndarray
    weights: np.ndarray
    relative: np.ndarray
    confidence: float
    bbox_confidence: float
    box: np.ndarray

    @classmethod
    def start(cls, animals: Animals, n: int) -> _Followed:
        """Follow animal n from a frame with a detection on."""
        weights = _sure(animals.confidence[n])
        box = animals.bbox_xywh[n].astype(np.float64)
        centre, size = _extent(animals.keypoints[n], weights, box)
        relative = np.concatenate([(box[:2] + box[2:] / 2 - centre) / size, box[2:] / size])
        mean = float(_mean_confidence(animals)[n])
        return cls(animals.keypoints[n], weights, relative, mean, float(animals.bbox_confidence[n]), box)

    def moved(self, animals: Animals, n: int) -> _Followed:
        """Follow on from the pose of the next frame."""
        box = animals.bbox_xywh[n].astype(np.float64)
        keypoints = animals.keypoints[n]
        return _Followed(keypoints, self.weights, self.relative, self.confidence, self.bbox_confidence, box)

    def next_box(self) -> np.ndarray:
        """(4,) box of the next frame: where the keypoints are now, as the detector would draw it."""
        centre, size = _extent(self.keypoints, self.weights, self.box)
        # The same keypoints count as at the detection, so that a box neither creeps nor jumps with them.
        wh = np.clip(self.relative[2:] * size, 0.8 * self.box[2:], 1.25 * self.box[2:])
        middle = centre + self.relative[:2] * size
        return np.concatenate([middle - wh / 2, wh])


def _mean_confidence(animals: Animals) -> np.ndarray:
    """(N,) mean over the keypoints that have a position: untrained ones say nothing about an animal."""
    there = np.isfinite(animals.keypoints).all(-1)
    total = np.where(there, animals.confidence, 0.0).sum(1)
    return total / np.maximum(there.sum(1), 1)


def _sure(confidence: np.ndarray) -> np.ndarray:
    """(K,) bool: keypoints that are surely on the animal, by a pose's own standard."""
    return confidence >= _SURE * max(float(confidence.max(initial=0.0)), 1e-6)


def _extent(keypoints: np.ndarray, chosen: np.ndarray, box: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Centre and size of the chosen keypoints' extent, neither side less than a tenth of the box."""
    points = keypoints[chosen & np.isfinite(keypoints).all(-1)].astype(np.float64)
    if not len(points):
        return box[:2] + box[2:] / 2, box[2:]
    low, high = points.min(0), points.max(0)
    return (low + high) / 2, np.maximum(high - low, 0.1 * box[2:].max())


class GivenBoxes:
    """Boxes that the caller has: row n of a frame's boxes is individual n, NaN where it is absent.

    Args:
        pose: The pose network.
        bboxes_xywh: (N, 4) px for each frame.
    """

    def __init__(self, pose: PoseEstimator, bboxes_xywh: Sequence[np.ndarray]) -> None:
        self.pose = pose
        self.boxes = [_checked(box, t) for t, box in enumerate(bboxes_xywh)]
        self._next = 0

    def __call__(self, frames: Sequence[np.ndarray]) -> list[Animals]:
        """See `Finder`.

        Raises:
            InputError: If there are more frames than boxes.
        """
        part = self.boxes[self._next : self._next + len(frames)]
        if len(part) < len(frames):
            raise InputError(f"bboxes_xywh is for {len(self.boxes)} frames, the input has more")
        self._next += len(frames)
        chosen = [box[np.isfinite(box).all(1)] for box in part]
        poses = self.pose(frames, chosen)
        return [
            Animals(*pose, box, np.ones(len(box), np.float32))
            for pose, box in zip(poses, chosen, strict=True)
        ]

    def places(self, *, cut_off: bool = False) -> list[np.ndarray]:
        """For each frame (n,) int: which of its animals is individual n, -1 where it is absent.

        Args:
            cut_off: Whether the input is known to be truncated: boxes beyond its end are no mistake then.

        Raises:
            InputError: If there were fewer frames than boxes.
        """
        if self._next != len(self.boxes) and not cut_off:
            raise InputError(f"bboxes_xywh is for {len(self.boxes)} frames, the input has {self._next}")
        n = max([len(box) for box in self.boxes] + [1])
        return [self._places_of(box, n) for box in self.boxes[: self._next]]

    @staticmethod
    def _places_of(box: np.ndarray, n: int) -> np.ndarray:
        there = np.flatnonzero(np.isfinite(box).all(1))
        place = np.full(n, -1)
        place[there] = np.arange(len(there))
        return place

    def operations(self) -> list[dict[str, Any]]:
        """See `Finder`."""
        return [{"name": "detect", "boxes": "given"}]


class BottomUpEstimator(Protocol):
    """Finds the keypoints of all animals in whole frames."""

    def __call__(self, frames: Sequence[np.ndarray]) -> list[Animals]:
        """(H, W, 3) RGB uint8 frames -> the animals of each, by falling confidence."""
        ...


@dataclass
class BottomUp:
    """One network finds the keypoints of all animals at once; there is no detector.

    Attributes:
        pose: The network with its grouping.
        score_threshold: Least confidence of an animal.
    """

    pose: BottomUpEstimator
    score_threshold: float

    def __call__(self, frames: Sequence[np.ndarray]) -> list[Animals]:
        """See `Finder`."""
        found = self.pose(frames)
        return [a.take(np.flatnonzero(a.bbox_confidence >= self.score_threshold)) for a in found]

    def operations(self) -> list[dict[str, Any]]:
        """See `Finder`."""
        return [{"name": "drop_unlikely", "score_threshold": self.score_threshold}]


def _checked(box: np.ndarray, t: int) -> np.ndarray:
    """(N, 4) float32 boxes of one frame."""
    box = np.asarray(box, dtype=np.float32)
    if box.ndim != 2 or box.shape[1] != 4:
        raise InputError(f"bboxes_xywh of frame {t} have shape {box.shape}, want (N, 4)")
    size = box[np.isfinite(box).all(1), 2:]
    if not (size > 0).all():
        raise InputError(f"bboxes_xywh of frame {t}: width and height must be positive")
    return box


def boxes_per_frame(bboxes_xywh: Any) -> Iterator[np.ndarray]:
    """Boxes as the user gave them: one (N, 4) array for a single image, or one for each frame."""
    if isinstance(bboxes_xywh, np.ndarray) and bboxes_xywh.ndim == 2:
        return iter([bboxes_xywh])
    rows = list(bboxes_xywh)
    if rows and all(np.ndim(row) == 1 and len(row) == 4 for row in rows):
        return iter([np.asarray(rows, dtype=np.float32)])  # [[x, y, w, h], ...] of one image
    return iter(rows)
