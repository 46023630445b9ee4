"""The figures of an evaluation: distances in pixels or in eye-to-nose distances, similarity (OKS), dropping.

Two figures are called RMSE in the literature. DeepLabCut's, and with it the SuperAnimal paper's, is the
mean Euclidean distance over all annotated keypoints pooled; here `mean_distance`. The root of the mean
square is `root_mean_square`. A keypoint that is annotated but not predicted has no distance; it is
counted in `n_missing`, and a figure is never shown without it.

OKS is eq. 4 of the paper as pycocotools computes it: k_i = 2 sigma_i, s ** 2 = width x height of the
label's box. An instance without a box gets the extent of its annotated keypoints.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import linear_sum_assignment

FAR = 1e6
"""Pixels; stands where a coordinate is needed for a keypoint that was not predicted."""

_FEWEST_GROUPS = 3
_MOST_DRAWN = 10**6  # numbers that a bootstrap draws at once


@dataclass(frozen=True)
class PixelErrors:
    """Distances between predicted and annotated keypoints, pooled over everything.

    Attributes:
        n: Annotated keypoints.
        n_missing: Those of them that were not predicted; all figures are over the other ones.
        mean_distance: In pixels; the "RMSE" of DeepLabCut and of the paper. NaN if there is none.
        root_mean_square: In pixels.
        median: In pixels.
    """

    n: int
    n_missing: int
    mean_distance: float
    root_mean_square: float
    median: float

    @classmethod
    def of(cls, predicted: np.ndarray, truth: np.ndarray) -> PixelErrors:
        """From (..., 2) pixels each; NaN in `truth` is not annotated, NaN in `predicted` is missing."""
        if predicted.shape != truth.shape or truth.shape[-1:] != (2,):
            raise ValueError(f"shapes {predicted.shape} and {truth.shape} are not (..., 2) and equal")
        annotated = np.isfinite(truth).all(-1)
        distance = np.linalg.norm(predicted[annotated] - truth[annotated], axis=-1)
        found = distance[np.isfinite(distance)]
        if not len(found):
            return cls(len(distance), len(distance), np.nan, np.nan, np.nan)
        return cls(
            n=len(distance),
            n_missing=len(distance) - len(found),
            mean_distance=float(found.mean()),
            root_mean_square=float(np.sqrt(np.mean(found**2))),
            median=float(np.median(found)),
        )


@dataclass(frozen=True)
class NormalisedError:
    """Distances over the size of the animal, as Horse-10 reports them (paper, "Normalized error").

    Attributes:
        reference: The two keypoints whose annotated distance is the unit, e.g. eye and nose.
        n: Keypoints counted: annotated, predicted, on an instance with a known unit.
        n_own, n_median: Instances whose own unit was annotated, and those that took the median of the others.
        mean: Mean distance in units; NaN if nothing was counted.
    """

    reference: tuple[str, str]
    n: int
    n_own: int
    n_median: int
    mean: float

    @classmethod
    def of(
        cls, predicted: np.ndarray, truth: np.ndarray, names: tuple[str, ...], reference: tuple[str, str]
    ) -> NormalisedError:
        """From (N, K, 2) pixels each, as in `PixelErrors.of`, and the names of the K keypoints."""
        first, second = (names.index(name) for name in reference)
        unit = np.linalg.norm(truth[:, first] - truth[:, second], axis=-1)
        own = np.isfinite(unit) & (unit > 0)
        present = np.isfinite(truth).all(-1).any(-1)
        if not own.any():
            return cls(reference, 0, 0, 0, np.nan)
        unit = np.where(own, unit, np.median(unit[own]))
        ratio = np.linalg.norm(predicted - truth, axis=-1) / unit[:, None]
        found = ratio[np.isfinite(ratio)]
        mean = float(found.mean()) if len(found) else np.nan
        return cls(reference, len(found), int((own & present).sum()), int((~own & present).sum()), mean)


@dataclass(frozen=True)
class AveragePrecision:
    """COCO's keypoint figures in [0, 1]; NaN where no instance has an annotated keypoint.

    Attributes:
        ap: Mean over the OKS thresholds 0.50, 0.55, ..., 0.95 ("mAP").
        ap_50, ap_75: At one threshold.
        ar: Average recall over the thresholds.
    """

    ap: float
    ap_50: float
    ap_75: float
    ar: float


def oks(predicted: np.ndarray, truth: np.ndarray, areas: np.ndarray, sigmas: np.ndarray) -> np.ndarray:
    """Object keypoint similarity (eq. 4, k = 2 sigma) of every individual with every instance.

    Args:
        predicted: (P, K, 2) px; a missing keypoint (NaN) counts as infinitely far.
        truth: (N, K, 2) px; NaN where not annotated.
        areas: (N,) px ** 2.
        sigmas: (K,).

    Returns:
        (P, N) in [0, 1]; 0 for an instance without an annotated keypoint.
    """
    squared = ((predicted[:, None] - truth[None]) ** 2).sum(-1)
    annotated = np.isfinite(truth).all(-1)
    exponent = squared / (2 * areas[None, :, None] * (2 * sigmas) ** 2)
    similarity = np.where(np.isfinite(exponent), np.exp(-np.nan_to_num(exponent)), 0.0)
    return similarity.sum(-1) / np.maximum(annotated.sum(-1), 1)


def match_individuals(
    predicted: np.ndarray, truth: np.ndarray, areas: np.ndarray, sigmas: np.ndarray
) -> np.ndarray:
    """Assign predicted individuals to labelled instances so that the sum of OKS is largest.

    Poses that are too far for any OKS still count as that instance's if no better one is left: an
    animal that was found but badly is an error in pixels, not a missing animal. Then the nearer one wins.

    Returns:
        (N,) int: index of each instance's individual, or -1 where there is none.
    """
    match = np.full(len(truth), -1)
    if len(predicted) and len(truth):
        distance = np.linalg.norm(predicted[:, None] - truth[None], axis=-1)
        count = np.isfinite(distance).sum(-1)
        mean = np.where(count, np.nansum(distance, -1) / np.maximum(count, 1), FAR)
        tie_break = 1e-6 / (1 + mean)  # far below any difference of OKS that matters
        rows, columns = linear_sum_assignment(-(oks(predicted, truth, areas, sigmas) + tie_break))
        match[columns] = rows
    return match


@dataclass(frozen=True)
class CorrectKeypoints:
    """PCK: the share of annotated keypoints that were found to within a fraction of the animal's size.

    Attributes:
        n: Annotated keypoints; one that was not predicted counts as wrong.
        share: Fraction of the longer side of the animal's box -> share of the keypoints, in [0, 1].
    """

    n: int
    share: dict[str, float]

    @classmethod
    def of(
        cls,
        predicted: np.ndarray,
        truth: np.ndarray,
        sizes: np.ndarray,
        fractions: Sequence[float] = (0.05, 0.1, 0.2),
    ) -> CorrectKeypoints:
        """From (N, K, 2) pixels each, as in `PixelErrors.of`, and (N,) longer sides of boxes in pixels."""
        annotated = np.isfinite(truth).all(-1)
        relative = (np.linalg.norm(predicted - truth, axis=-1) / sizes[:, None])[annotated]
        n = len(relative)
        share = {f"{f:g}": float((relative <= f).sum() / n) if n else np.nan for f in fractions}
        return cls(n, share)


@dataclass(frozen=True)
class Dropping:
    """Keypoint dropping: confidences below a cutoff (paper, eqs 7 and 8).

    Only says something where every keypoint can be seen, as from above in an open field.

    Attributes:
        cutoff: 0.1 for bottom-up models, 0.05 for top-down ones in the paper.
        n_animals: Animals counted; one that was not found has dropped all its keypoints.
        n_keypoints: Keypoints counted for each of them.
        mean_dropped: Dropped keypoints of an animal, on average.
        share: That over the number of keypoints, in [0, 1].
        per_keypoint: Keypoint -> share of the animals that dropped it.
    """

    cutoff: float
    n_animals: int
    n_keypoints: int
    mean_dropped: float
    share: float
    per_keypoint: dict[str, float]

    @classmethod
    def of(cls, confidence: np.ndarray, names: Sequence[str], cutoff: float) -> Dropping:
        """From (N, K) confidences in [0, 1], NaN where there is no prediction, and the K keypoints' names."""
        dropped = ~(confidence >= cutoff)  # NaN is below everything
        n, k = dropped.shape
        share = float(dropped.mean()) if dropped.size else np.nan
        per_keypoint = dict(zip(names, dropped.mean(0).tolist(), strict=True)) if n else {}
        return cls(cutoff, n, k, share * k, share, per_keypoint)


@dataclass(frozen=True)
class Interval:
    """A bootstrap confidence interval (percentiles) of a mean over keypoints.

    Attributes:
        low, high: Its ends; NaN where there is too little to draw from.
        level: For example 0.95.
        over: What was drawn with replacement: "groups" (animals, sessions, videos), or "images" where there
            are fewer than three groups. Images of one video are much alike: that interval is too narrow.
        n: How many of them there are.
    """

    low: float
    high: float
    level: float
    over: str
    n: int


def mean_interval(
    values: np.ndarray,
    groups: Sequence[Hashable],
    images: Sequence[Hashable],
    *,
    level: float = 0.95,
    n_resamples: int = 2000,
) -> Interval:
    """Confidence interval of the mean of pooled values, drawing whole groups.

    Args:
        values: (N, K), e.g. distances in pixels; NaN is left out.
        groups: (N,) the group of each row.
        images: (N,) the image of each row, for when there are fewer than three groups.
        level: Of the interval.
        n_resamples: How often to draw; from a fixed seed, so that a report says the same every time.
    """
    from scipy.stats import bootstrap  # slow to import

    over, units = ("groups", groups) if len(set(groups)) >= _FEWEST_GROUPS else ("images", images)
    place = {unit: i for i, unit in enumerate(dict.fromkeys(units))}
    index = np.array([place[unit] for unit in units], dtype=np.int64)
    there = np.isfinite(values)
    total = np.bincount(index, np.where(there, values, 0.0).sum(1), len(place))
    count = np.bincount(index, there.sum(1), len(place))
    total, count = total[count > 0], count[count > 0]
    if len(count) < 2:
        return Interval(np.nan, np.nan, level, over, len(count))
    found = bootstrap(
        (total, count),
        lambda total, count, axis: total.sum(axis) / count.sum(axis),
        paired=True,
        vectorized=True,
        confidence_level=level,
        n_resamples=n_resamples,
        batch=max(1, _MOST_DRAWN // len(count)),
        method="percentile",
        rng=np.random.default_rng(0),
    ).confidence_interval
    return Interval(float(found.low), float(found.high), level, over, len(count))
