"""Identity through a video: which detection in each frame is which individual.

Two passes over the poses of all frames (never over the pixels):

1. Tracklets. Detections of neighbouring frames are matched by the Hungarian algorithm on box overlap
   and keypoint distance, each animal being expected where its velocity takes it; a tracklet survives gaps
   of `max_gap` frames. Where one animal hid another, and the detector saw one for both, the one that was
   seen need not be the one it was taken for: when both are apart again, positions and directions before
   and after decide who is who.
2. Individuals. Their number is given, or it is the largest number of animals that is seen together in
   at least `min_presence` of the frames that show any. In frames with more detections those of the
   weaker tracklets (less confidence in total) are dropped, and tracklets are strung together to
   individuals by the nearest position.

Gaps are bridged for identity only; no pose is made up. The result depends on nothing but the input.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple

import numpy as np
from scipy.optimize import linear_sum_assignment

from superset_vocab.errors import InputError, all_problems

_NEW = 0.4  # share of the newest displacement in the smoothed velocity
_INERTIA = 5  # frames over which an unseen animal is thought to keep its velocity
_TOUCHING = 1.0  # body lengths within which one animal may hide another
_CONVINCED = 0.15  # body lengths by which exchanged identities must fit better than kept ones
_UNUSED, _RESERVED = 1e4, 1e6  # costs of a slot: far above any distance in body lengths


class Animals(NamedTuple):
    """The animals of one frame.

    Attributes:
        keypoints: (N, K, 2) in pixels.
        confidence: (N, K) in [0, 1].
        bbox_xywh: (N, 4) in pixels.
        bbox_confidence: (N,) in [0, 1].
    """

    keypoints: np.ndarray
    confidence: np.ndarray
    bbox_xywh: np.ndarray
    bbox_confidence: np.ndarray

    def take(self, index: np.ndarray | Sequence[int]) -> Animals:
        """The animals at these places."""
        chosen = np.asarray(index, dtype=np.int64)
        return Animals(*(values[chosen] for values in self))


class AnimalFrames:
    """The animals of many frames in one block of memory; iterates over the frames.

    A few arrays for a whole video instead of a few for each frame: long videos need little more memory
    than short ones.
    """

    def __init__(self, animals: Animals, counts: Sequence[int]) -> None:
        """Split animals, which lie in the order of their frames, into `counts` for each frame."""
        self._animals = animals
        self._ends = np.concatenate([[0], np.cumsum(counts, dtype=np.int64)])

    def __len__(self) -> int:
        return len(self._ends) - 1

    def __getitem__(self, t: int) -> Animals:
        part = slice(*self._ends[range(len(self))[t] + np.arange(2)])
        return Animals(*(values[part] for values in self._animals))

    def __iter__(self) -> Iterator[Animals]:
        return (self[t] for t in range(len(self)))

    @property
    def counts(self) -> np.ndarray:
        """(T,) number of animals in each frame."""
        return np.diff(self._ends)


@dataclass(frozen=True)
class Tracking:
    """Parameters of `track`.

    Attributes:
        max_gap: Frames that a tracklet may be unseen.
        max_distance: Farthest that an animal moves between frames, in body lengths (root of the box area).
        min_presence: Share of the frames with animals in which one more animal must be seen to count.
    """

    max_gap: int = 15
    max_distance: float = 1.0
    min_presence: float = 0.1

    def __post_init__(self) -> None:
        problems = []
        if self.max_gap < 0:
            problems.append(f"max_gap is {self.max_gap}, want 0 or more frames")
        if not self.max_distance > 0:
            problems.append(f"max_distance is {self.max_distance}, want a positive number of body lengths")
        if not 0 <= self.min_presence <= 1:
            problems.append(f"min_presence is {self.min_presence}, want a share in [0, 1]")
        if problems:
            raise all_problems("tracking", problems)

    def parameters(self) -> dict[str, Any]:
        """For the provenance."""
        return asdict(self)


def track(
    frames: Sequence[Animals] | AnimalFrames,
    max_individuals: int | None = None,
    tracking: Tracking | None = None,
) -> list[np.ndarray]:
    """Give every detection its individual.

    Args:
        frames: Animals of each frame, in time order.
        max_individuals: Number of individuals, or None to take it from the data.
        tracking: Parameters; None takes the defaults.

    Returns:
        For each frame (n,) int: the animal at each of the n individuals' places, -1 where it is absent.
        n is `max_individuals`, or the number found, at least 1.
    """
    tracking = tracking or Tracking()
    if max_individuals is not None and max_individuals < 1:
        raise InputError(f"max_individuals is {max_individuals}, want 1 or more")
    tracklets = _tracklets(frames, tracking)
    n = max_individuals or count_individuals([len(f.bbox_xywh) for f in frames], tracking.min_presence)
    return _individuals(frames, tracklets, n)


def count_individuals(counts: Sequence[int], min_presence: float) -> int:
    """Largest number seen together in at least `min_presence` of the frames that show any; at least 1.

    Args:
        counts: Number of detections in each frame.
        min_presence: Share in [0, 1].
    """
    seen = np.sort(np.array([count for count in counts if count > 0]))[::-1]
    if not len(seen):
        return 1
    return int(seen[max(1, math.ceil(min_presence * len(seen))) - 1])


def distinct(animals: Animals, min_distance: float) -> np.ndarray:
    """Places of the animals that are not the same animal again, the most confident first.

    Two boxes around one animal give nearly the same pose. Of two poses less than `min_distance` body
    lengths apart the one with the lower box confidence is dropped.

    Returns:
        (M,) int, falling box confidence.
    """
    kept: list[int] = []
    for i in np.argsort(-animals.bbox_confidence, kind="stable"):
        if all(_distance(animals, int(i), animals, j) >= min_distance for j in kept):
            kept.append(int(i))
    return np.array(kept, dtype=np.int64)


@dataclass
class _Track:
    """A tracklet while it grows.

    Attributes:
        frame: The last frame in which it was seen.
        animals, place: All animals of that frame, and which of them it is.
        velocity: (2,) px per frame, smoothed.
    """

    frame: int
    animals: Animals
    place: int
    velocity: np.ndarray = field(default_factory=lambda: np.zeros(2))

    def go_on(self, t: int, animals: Animals, place: int) -> _Track:
        """The tracklet with its animal in a later frame."""
        moved = _centre(animals, place) - _centre(self.animals, self.place)
        velocity = (1 - _NEW) * self.velocity + _NEW * moved / (t - self.frame)
        return _Track(t, animals, place, velocity)

    def expected(self, t: int, inertia: int = _INERTIA) -> Animals:
        """The animal alone, where its velocity takes it until frame t: no farther than a few frames."""
        shift = (self.velocity * min(t - self.frame, inertia)).astype(np.float32)
        one = self.animals.take([self.place])
        bbox = one.bbox_xywh + np.concatenate([shift, np.zeros(2, np.float32)])
        return Animals(one.keypoints + shift, one.confidence, bbox, one.bbox_confidence)


def _tracklets(frames: Sequence[Animals] | AnimalFrames, tracking: Tracking) -> list[np.ndarray]:
    """For each frame (N,) int: number of the tracklet of each detection."""
    active: dict[int, _Track] = {}
    hidden: dict[int, dict[int, _Track]] = {}  # unseen tracklet -> those beside it when it was last seen
    count = 0
    result = []
    for t, animals in enumerate(frames):
        active = {k: a for k, a in active.items() if t - a.frame <= tracking.max_gap + 1}
        keys = list(active)
        labels = np.full(len(animals.bbox_xywh), -1)
        expected = [active[k].expected(t) for k in keys]
        found = {keys[r]: c for r, c in _match(expected, animals, tracking.max_distance)}
        hidden = {k: v for k, v in hidden.items() if k in active}
        for key in set(keys) - set(found) - set(hidden):
            hidden[key] = _beside(key, active)
        for key in sorted(set(found) & set(hidden)):
            _settle(key, hidden.pop(key), active[key], found, animals, t)
        for key, column in found.items():
            labels[column] = key
            active[key] = active[key].go_on(t, animals, column)
        for place in np.flatnonzero(labels < 0):
            labels[place] = count
            active[count] = _Track(t, animals, int(place))
            count += 1
        result.append(labels)
    return result


def _beside(key: int, active: dict[int, _Track]) -> dict[int, _Track]:
    """The tracklets that touch one which is not seen any more, as they were when it was."""
    lost = active[key]
    return {
        other: track
        for other, track in active.items()
        if other != key
        and track.frame == lost.frame
        and _gap(lost.animals, lost.place, track.animals, track.place) <= _TOUCHING
    }


def _settle(
    key: int, beside: dict[int, _Track], lost: _Track, found: dict[int, int], animals: Animals, t: int
) -> None:
    """Exchange an animal that is seen again with one that was beside it, if that fits both better.

    Args:
        key: The tracklet that is seen again.
        beside: Those beside it when it was last seen, as they were then.
        lost: The tracklet as it was then.
        found: Tracklet -> detection of this frame; changed in place.
        animals: The detections.
        t: This frame.
    """
    here = found[key]
    for other, before in beside.items():
        there = found.get(other)
        if there is None or _gap(animals, here, animals, there) > 2 * _TOUCHING:
            continue
        (a, b) = (track.expected(t, inertia=t - track.frame) for track in (lost, before))
        kept = _distance(a, 0, animals, here) + _distance(b, 0, animals, there)
        exchanged = _distance(a, 0, animals, there) + _distance(b, 0, animals, here)
        if exchanged + _CONVINCED < kept:
            found[key], found[other] = there, here
            return


def _gap(a: Animals, i: int, b: Animals, j: int) -> float:
    """Distance of two animals' centres in body lengths."""
    size = 0.5 * (math.sqrt(_area(a.bbox_xywh[i])) + math.sqrt(_area(b.bbox_xywh[j])))
    return float(np.linalg.norm(_centre(a, i) - _centre(b, j))) / max(size, 1.0)


def _match(tracks: list[Animals], animals: Animals, max_distance: float) -> list[tuple[int, int]]:
    """Pairs (track, detection) of least total cost, without those that are too far apart.

    Args:
        tracks: The one animal of each track, where it is expected.
        animals: The detections.
        max_distance: In body lengths.
    """
    n = len(animals.bbox_xywh)
    if not tracks or not n:
        return []
    overlap = np.array([[_iou(a.bbox_xywh[0], box) for box in animals.bbox_xywh] for a in tracks])
    distance = np.array([[_distance(a, 0, animals, j) for j in range(n)] for a in tracks])
    near = distance <= max_distance
    cost = np.where(near, 1 - overlap + distance / max_distance, _UNUSED)
    rows, columns = linear_sum_assignment(cost)
    return [(int(r), int(c)) for r, c in zip(rows, columns, strict=True) if near[r, c]]


def _individuals(
    frames: Sequence[Animals] | AnimalFrames, tracklets: list[np.ndarray], n: int
) -> list[np.ndarray]:
    """String tracklets together to n individuals; see `track` for the result."""
    count = 1 + max((int(labels.max()) for labels in tracklets if len(labels)), default=-1)
    weight, last = np.zeros(count), np.full(count, -1)
    for t, (animals, labels) in enumerate(zip(frames, tracklets, strict=True)):
        np.add.at(weight, labels, animals.bbox_confidence)
        last[labels] = t
    slots: list[_Track | None] = [None] * n
    owner = np.full(n, -1)
    result = []
    for t, (animals, labels) in enumerate(zip(frames, tracklets, strict=True)):
        kept = np.argsort(-weight[labels], kind="stable")[:n]
        places = np.full(n, -1)
        strangers = []
        for place in kept:
            held = np.flatnonzero(owner == labels[place])
            if len(held):
                places[held[0]] = place
            else:
                strangers.append(int(place))
        free = [s for s in range(n) if places[s] < 0]
        cost = np.array(
            [[_slot_cost(slots[s], owner[s], last, t, animals, p) for s in free] for p in strangers]
        )
        for row, column in zip(*linear_sum_assignment(cost.reshape(len(strangers), len(free))), strict=True):
            places[free[column]] = strangers[row]
        for s in np.flatnonzero(places >= 0):
            owner[s] = labels[places[s]]
            slots[s] = _Track(t, animals, int(places[s]))
        result.append(places)
    return result


def _slot_cost(
    slot: _Track | None, owner: int, last: np.ndarray, t: int, animals: Animals, place: int
) -> float:
    """Cost of continuing an individual by a detection of another tracklet, in body lengths.

    A used individual at its last place, before an unused one, before one whose tracklet comes back.
    """
    if slot is None:
        return _UNUSED
    reserved = _RESERVED if last[owner] >= t else 0.0
    return reserved + min(_distance(slot.animals, slot.place, animals, place), _UNUSED / 2)


def _distance(a: Animals, i: int, b: Animals, j: int) -> float:
    """Mean keypoint distance of two animals in body lengths, weighted by confidence; else that of boxes."""
    size = 0.5 * (math.sqrt(_area(a.bbox_xywh[i])) + math.sqrt(_area(b.bbox_xywh[j])))
    weight = np.nan_to_num(a.confidence[i]) * np.nan_to_num(b.confidence[j])
    gap = np.linalg.norm(a.keypoints[i] - b.keypoints[j], axis=-1)
    weight = np.where(np.isfinite(gap), weight, 0.0)
    if weight.sum() > 1e-6:
        mean = float((weight * np.nan_to_num(gap)).sum() / weight.sum())
    else:
        centres = [x[:2] + x[2:] / 2 for x in (a.bbox_xywh[i], b.bbox_xywh[j])]
        mean = float(np.linalg.norm(centres[0] - centres[1]))
    return mean / max(size, 1.0)


def _centre(animals: Animals, i: int) -> np.ndarray:
    """(2,) mean of an animal's keypoints weighted by confidence; else the middle of its box."""
    weight = np.nan_to_num(animals.confidence[i]) * np.isfinite(animals.keypoints[i]).all(-1)
    if weight.sum() <= 1e-6:
        return animals.bbox_xywh[i, :2] + animals.bbox_xywh[i, 2:] / 2
    return (np.nan_to_num(animals.keypoints[i]) * weight[:, None]).sum(0) / weight.sum()


def _area(box: np.ndarray) -> float:
    return float(max(box[2], 0.0) * max(box[3], 0.0))


def _iou(a: np.ndarray, b: np.ndarray) -> float:
    """Intersection over union of two xywh boxes."""
    overlap = np.minimum(a[:2] + a[2:], b[:2] + b[2:]) - np.maximum(a[:2], b[:2])
    shared = float(np.prod(np.clip(overlap, 0, None)))
    return shared / max(_area(a) + _area(b) - shared, 1e-9)
