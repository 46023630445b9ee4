"""What images say about which keypoint is which: a model's poses beside a laboratory's labels.

The first half of the paper's "Automatic keypoint matching" (Ye et al. 2024, Methods): zero-shot poses on
the labelled images, the Hungarian algorithm in every image on the distances between labelled and
predicted keypoints, and the average of the resulting 0/1 matrices. Only annotated keypoints count, and
only channels that the network was trained on; distances are in animal lengths.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from scipy.optimize import linear_sum_assignment
from scipy.stats import binom

from adaptation.keypoint_names import Meaning, understand
from superset_vocab import LabelRecord, LabelSet, Vocabulary
from training.metrics import FAR

if TYPE_CHECKING:
    from zoo.model import Model
    from zoo.results import Predictions

_MARGIN = 0.1  # of the longer side, around the labelled keypoints, as in training
_FEWEST_VOTES = 8


@dataclass(frozen=True, eq=False)
class Observations:
    """Labelled animals with the poses that a model predicted for them.

    Attributes:
        truth: (N, S, 2) labelled keypoints in pixels; NaN where not annotated.
        predicted: (N, K, 2) in pixels; NaN where there is none.
        length: (N,) of the animal in pixels: the longer side of its box.
        record: (N,) index of the image in the label set.
        n_images: Images that were looked at.
        n_missed: Labelled animals that the model did not find; they are not among the N.
        boxes: How many of the animals have their box from "labels" and how many from the "model".
    """

    truth: np.ndarray
    predicted: np.ndarray
    length: np.ndarray
    record: np.ndarray
    n_images: int
    n_missed: int = 0
    boxes: tuple[tuple[str, int], ...] = ()

    def __post_init__(self) -> None:
        n = len(self.length)
        if self.truth.shape[0] != n or self.predicted.shape[0] != n or self.record.shape != (n,):
            raise ValueError(f"truth, predicted and record are not of {n} animals")

    def take(self, index: np.ndarray, keypoints: np.ndarray | None = None) -> Observations:
        """Some of the animals, with some of the labelled keypoints."""
        truth = self.truth[index] if keypoints is None else self.truth[index][:, keypoints]
        n_images = len(np.unique(self.record[index]))
        return Observations(truth, self.predicted[index], self.length[index], self.record[index], n_images)


@dataclass(frozen=True, eq=False)
class ImageEvidence:
    """What the images say of S labelled and K predicted keypoints.

    Attributes:
        counts: (S, K) animals in which the Hungarian algorithm paired the two.
        annotated: (S,) animals in which the labelled keypoint is annotated (and a pose was predicted).
        distance: (S, K) median distance in animal lengths; NaN without any.
        known: (K,) bool, channels that the model was trained on.
        n_images, n_animals: How many were looked at.
        side_votes: Animals whose labelled left and right lie as predicted, and the other way round.
    """

    counts: np.ndarray
    annotated: np.ndarray
    distance: np.ndarray
    known: np.ndarray
    n_images: int
    n_animals: int
    side_votes: tuple[int, int] = (0, 0)

    @cached_property
    def affinity(self) -> np.ndarray:
        """(S, K) in [0, 1]: the paper's averaged matching matrix; each row over its annotated animals."""
        return self.counts / np.maximum(self.annotated, 1)[:, None]

    @property
    def mirrored(self) -> bool:
        """Whether left and right are exchanged against the model's, beyond chance (p < 0.001).

        So it is when an animal was filmed from below or in a mirror, images were flipped, or the lab means
        the viewer's left.
        """
        same, other = self.side_votes
        n = same + other
        return n >= _FEWEST_VOTES and other > 2 * same and float(binom.cdf(same, n, 0.5)) < 1e-3


def no_images(n_source: int, vocabulary: Vocabulary) -> ImageEvidence:
    """The evidence of no image at all."""
    shape = (n_source, len(vocabulary))
    return ImageEvidence(
        counts=np.zeros(shape),
        annotated=np.zeros(n_source, dtype=np.int64),
        distance=np.full(shape, np.nan),
        known=np.zeros(len(vocabulary), dtype=bool),
        n_images=0,
        n_animals=0,
    )


def weigh(
    observations: Observations, vocabulary: Vocabulary, pairs: Sequence[tuple[int, int]] = ()
) -> ImageEvidence:
    """Match every animal (Hungarian, Euclidean distance) and average.

    Args:
        observations: Labels and predictions.
        vocabulary: Of the predictions.
        pairs: (left, right) labelled keypoints, by their names; they vote on mirrored labels.
    """
    s, k = observations.truth.shape[1], len(vocabulary)
    counts, annotated = np.zeros((s, k)), np.zeros(s, dtype=np.int64)
    difference = observations.truth[:, :, None] - observations.predicted[:, None]
    distances = np.linalg.norm(difference, axis=-1) / observations.length[:, None, None]  # (N, S, K)
    usable = np.isfinite(distances)
    for distance, use in zip(distances, usable, strict=True):
        rows, columns = np.flatnonzero(use.any(1)), np.flatnonzero(use.any(0))
        cost = np.where(use, distance, FAR)[np.ix_(rows, columns)]
        i, j = linear_sum_assignment(cost)
        counts[rows[i], columns[j]] += 1
        annotated[rows] += 1
    known = np.asarray(np.isfinite(observations.predicted).all(-1).any(0))
    median = np.full((s, k), np.nan)
    seen = usable.any(0)
    median[seen] = np.nanmedian(np.where(usable, distances, np.nan)[:, seen], axis=0)
    return ImageEvidence(
        counts=counts,
        annotated=annotated,
        distance=median,
        known=known,
        n_images=observations.n_images,
        n_animals=len(observations.length),
        side_votes=_side_votes(observations, vocabulary, pairs),
    )


def _side_votes(
    observations: Observations, vocabulary: Vocabulary, pairs: Sequence[tuple[int, int]]
) -> tuple[int, int]:
    """Animals whose labelled right-to-left direction agrees with the predicted one, and does not.

    No keypoint needs to be matched for this: of labels and predictions only the mean direction from right
    keypoints to left ones counts, and that of an animal filmed from below is turned round.
    """
    left = np.array([meaning.side == "left" for meaning in understand(vocabulary.keypoints)])
    left &= vocabulary.flip_index != np.arange(len(vocabulary))
    if not pairs or not left.any():
        return 0, 0
    across = observations.predicted[:, left] - observations.predicted[:, vocabulary.flip_index[left]]
    labelled = np.stack([observations.truth[:, a] - observations.truth[:, b] for a, b in pairs], axis=1)
    product = (_mean(across) * _mean(labelled)).sum(-1)
    return int((product > 0).sum()), int((product < 0).sum())


def _mean(vectors: np.ndarray) -> np.ndarray:
    """(N, P, 2) -> (N, 2) mean over the finite ones; NaN where there is none."""
    finite = np.isfinite(vectors).all(-1, keepdims=True)
    count = finite.sum(1)
    total = np.where(finite, vectors, 0.0).sum(1)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def observe(
    model: Model,
    labels: LabelSet,
    meanings: Sequence[Meaning],
    *,
    max_images: int = 200,
    batch_size: int = 16,
    progress: bool = False,
) -> Observations:
    """Predict the poses of labelled animals, zero-shot.

    An animal's box is the label's own where the label has one. Elsewhere both the extent of its keypoints
    and what the model finds are tried, and the pose in which the network is surer counts: the extent of a
    lab's keypoints may be a head only, and a detector may miss the animal.

    Args:
        model: From `zoo.load`.
        labels: In the laboratory's own keypoints.
        meanings: Of these keypoints; a tail lies outside the box that the networks were trained with.
        max_images: More are thinned out evenly.
        batch_size: Frames in one pass of the networks.
        progress: Show progress bars on stderr.
    """
    chosen = _evenly([i for i, record in enumerate(labels.records) if len(record)], max_images)
    records = [labels.records[i] for i in chosen]
    images = [str(record.image) for record in records]
    options = {"batch_size": batch_size, "progress": progress}
    in_box = np.array([not ("tail" in m.parts and "base" not in m.places) for m in meanings])
    own = [np.asarray(np.isfinite(record.bbox_xywh).all(-1)) for record in records]
    given = free = None
    if model.detector is not None and records:
        boxes = [_boxes(record, in_box) for record in records]
        given = model.predict(images, bboxes_xywh=boxes, **options)
    if records and not all(o.all() for o in own):
        free = model.predict(images, **options)
    poses: list[_Pose] = []
    truth, record_of, n_missed = [], [], 0
    for t, record in enumerate(records):
        mine = _candidates(record, own[t], given, free, t)
        for n in range(len(record)):
            if not np.isfinite(record.keypoints[n]).any():
                continue
            pose = mine[n]
            if pose is None:
                n_missed += 1
                continue
            poses.append(pose)
            truth.append(record.keypoints[n])
            record_of.append(chosen[t])
    s, k = len(labels.keypoints), len(model.vocabulary)
    sources = [pose.origin for pose in poses]
    return Observations(
        truth=np.array(truth, dtype=np.float64).reshape(-1, s, 2),
        predicted=np.array([pose.keypoints for pose in poses], dtype=np.float64).reshape(-1, k, 2),
        length=np.array([pose.length for pose in poses], dtype=np.float64),
        record=np.array(record_of, dtype=np.int64),
        n_images=len(records),
        n_missed=n_missed,
        boxes=tuple((name, sources.count(name)) for name in ("labels", "model")),
    )


@dataclass(frozen=True, eq=False)
class _Pose:
    keypoints: np.ndarray
    confidence: float
    length: float
    origin: str


def _candidates(
    record: LabelRecord, own: np.ndarray, given: Predictions | None, free: Predictions | None, t: int
) -> list[_Pose | None]:
    """The pose of each labelled animal of image t, or None.

    Args:
        record: The labels.
        own: (N,) bool, animals whose box the label has.
        given: Poses in the labels' boxes.
        free: Poses of the animals that the model found.
        t: Which frame of them.
    """
    found: list[_Pose | None] = [None] * len(record)
    if given is not None:
        found = [_pose(given, t, n, "labels") for n in range(len(record))]
    if free is None or own.all():
        return found
    others = [pose for n in range(free.n_individuals) if (pose := _pose(free, t, n, "model")) is not None]
    wanted = np.flatnonzero(~own & np.isfinite(record.keypoints).all(-1).any(-1))
    if not others or not len(wanted):
        return found
    cost = np.array([[_misfit(record.keypoints[n], pose) for pose in others] for n in wanted])
    for i, j in zip(*linear_sum_assignment(cost), strict=True):
        now = found[wanted[i]]
        if cost[i, j] < FAR and (now is None or others[j].confidence >= now.confidence):
            found[wanted[i]] = others[j]
    return found


def _misfit(truth: np.ndarray, pose: _Pose) -> float:
    """Median distance of labelled keypoints from the nearest predicted one; FAR for another animal's.

    The median, because labs also label corners of the arena.
    """
    distance = np.linalg.norm(truth[:, None] - pose.keypoints[None], axis=-1)
    distance = distance[np.isfinite(distance).any(1)]
    typical = float(np.median(np.nanmin(distance, axis=1))) if len(distance) else FAR
    return typical if typical < pose.length else FAR


def _pose(predictions: Predictions, t: int, n: int, origin: str) -> _Pose | None:
    """One predicted animal, or None where there is none."""
    points, confidence = predictions.keypoints[t, n], predictions.confidence[t, n]
    known = np.isfinite(points).all(-1)
    if not known.any():
        return None
    length = float(predictions.bbox_xywh[t, n, 2:].max())
    return _Pose(points, float(confidence[known].mean()), max(length, 1.0), origin)


def _boxes(record: LabelRecord, in_box: np.ndarray) -> np.ndarray:
    """(N, 4) xywh: the label's own boxes, else around its keypoints; NaN where neither is to be had."""
    boxes = record.bbox_xywh.astype(np.float64).copy()
    for n in np.flatnonzero(~np.isfinite(boxes).all(-1)):
        points = record.keypoints[n]
        inside = points[in_box & np.isfinite(points).all(-1)]
        if len(inside) < 3:
            inside = points[np.isfinite(points).all(-1)]
        if len(inside) >= 2:
            low, high = inside.min(0), inside.max(0)
            grow = _MARGIN * max(float((high - low).max()), 1.0)
            boxes[n] = (*(low - grow), *(high - low + 2 * grow))
    return boxes


def _evenly(indices: list[int], most: int) -> list[int]:
    """At most so many of them, evenly spread."""
    if len(indices) <= most:
        return indices
    return [indices[round(i)] for i in np.linspace(0, len(indices) - 1, most)]
