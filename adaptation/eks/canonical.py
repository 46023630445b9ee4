"""Canonical correlation between two cameras after smoothing (Lightning Pose paper, "CCA").

Two views of a moving point share one direction each in which they must agree (orthogonal to the epipolar
lines). It is found on the smoothed track, where the agreement is perfect by construction; then the
predictions of the networks are projected onto it. Frames in which the two cameras' projections differ are
outliers in one of them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from adaptation.eks.ensemble import Smoothed
from superset_vocab.errors import InputError


@dataclass(frozen=True, eq=False)
class CanonicalCorrelation:
    """One keypoint in two views.

    Attributes:
        keypoint: Its name.
        directions: (2, 2) per view the weights of x and y; the projection of the smoothed track onto each
            has unit variance.
        correlation: Of the two projections of the smoothed track; 1 for a perfect fit.
        before: Correlation of the projections of the ensemble centres; how well the networks agree.
        smoothed: (T, 2) projections of the smoothed track, mean 0.
        observed: (T, 2) projections of the ensemble centres on the same scale; NaN where not observed.
        difference: (T,) of the two observed projections, in standard deviations of the smoothed one.
    """

    keypoint: str
    directions: np.ndarray
    correlation: float
    before: float
    smoothed: np.ndarray
    observed: np.ndarray
    difference: np.ndarray


def canonical_correlation(first: Smoothed, second: Smoothed) -> tuple[CanonicalCorrelation, ...]:
    """First canonical direction of every keypoint that both views have.

    Args:
        first: One view of a model of several views.
        second: Another view, the same frames.

    Returns:
        One per keypoint, in the first view's order; keypoints that were never observed are left out.

    Raises:
        InputError: If the frames do not match or no keypoint is common.
    """
    if first.n_frames != second.n_frames:
        raise InputError(
            f"canonical correlation: {first.view or 'view 1'} has {first.n_frames} frames, "
            f"{second.view or 'view 2'} {second.n_frames}; smooth them at the same times (at=...)"
        )
    names = [name for name in first.names if name in second.names]
    if not names:
        raise InputError("canonical correlation: the two views have no keypoint in common")
    found = []
    for name in names:
        a, b = first.names.index(name), second.names.index(name)
        tracks = np.stack([first.keypoints[:, a], second.keypoints[:, b]])
        centres = np.stack([first.statistics.centre[:, a], second.statistics.centre[:, b]])
        if np.isfinite(tracks).all():
            found.append(_correlate(name, tracks, centres))
    return tuple(found)


def _correlate(name: str, tracks: np.ndarray, centres: np.ndarray) -> CanonicalCorrelation:
    """Canonical directions of (2, T, 2) tracks, and projections of the (2, T, 2) ensemble centres."""
    means = tracks.mean(1)
    whitened, bases = [], []
    for view in range(2):
        left, singular, rows = np.linalg.svd(tracks[view] - means[view], full_matrices=False)
        kept = singular > 1e-9 * max(singular.max(), 1e-300)
        whitened.append(left[:, kept])
        bases.append(rows[kept].T / singular[kept] if kept.any() else np.zeros((2, 0)))
    n = tracks.shape[1]
    directions, correlation = np.zeros((2, 2)), 0.0
    if whitened[0].shape[1] and whitened[1].shape[1]:
        u, correlations, v = np.linalg.svd(whitened[0].T @ whitened[1])
        correlation = float(min(correlations[0], 1.0))
        directions = np.stack([bases[0] @ u[:, 0], bases[1] @ v[0]]) * np.sqrt(n)
    smoothed = np.stack([(tracks[i] - means[i]) @ directions[i] for i in range(2)], axis=1)
    observed = np.stack([(centres[i] - means[i]) @ directions[i] for i in range(2)], axis=1)
    both = np.isfinite(observed).all(1)
    before = np.nan
    if both.sum() > 1 and (observed[both].std(0) > 0).all():
        before = float(np.corrcoef(observed[both].T)[0, 1])
    return CanonicalCorrelation(
        name, directions, correlation, before, smoothed, observed, observed[:, 0] - observed[:, 1]
    )
