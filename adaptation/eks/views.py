"""Several views of the same keypoints: checking that they fit, stacking them, learning their common space."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from adaptation.eks.ensemble import Ensemble, EnsembleStatistics
from superset_vocab.errors import InputError, all_problems


def aligned(ensembles: Sequence[Ensemble], *, same_frames: bool = True) -> list[Ensemble]:
    """The views with their keypoints in the first one's order.

    Args:
        ensembles: One per view.
        same_frames: Whether all must have the same number of frames.

    Raises:
        InputError: If there is one view only, or names or numbers of frames differ; all problems are listed.
    """
    ensembles = list(ensembles)
    if len(ensembles) < 2:
        raise InputError(f"{len(ensembles)} view given; a model of several views needs at least two")
    first, problems = ensembles[0], []
    for number, other in enumerate(ensembles[1:], 2):
        name = other.view or f"view {number}"
        missing = [n for n in first.names if n not in other.names]
        extra = [n for n in other.names if n not in first.names]
        if missing or extra:
            problems.append(
                f"{name} has other keypoints than {first.view or 'view 1'}: "
                + "; ".join(
                    f"{what} {', '.join(n)}" for what, n in (("lacks", missing), ("adds", extra)) if n
                )
            )
        if same_frames and other.n_frames != first.n_frames:
            problems.append(
                f"{name} has {other.n_frames} frames, {first.view or 'view 1'} {first.n_frames}; cameras "
                "that are not synchronous need their frame times (smooth_asynchronous)"
            )
    if problems:
        raise all_problems("views", problems)
    return [first, *(reordered(other, first.names) for other in ensembles[1:])]


def reordered(ensemble: Ensemble, names: tuple[str, ...]) -> Ensemble:
    """An ensemble with some of its keypoints, in the order of `names`."""
    if names == ensemble.names:
        return ensemble
    index = [ensemble.names.index(name) for name in names]
    return replace(
        ensemble,
        keypoints=ensemble.keypoints[:, :, index],
        confidence=ensemble.confidence[:, :, index],
        names=names,
    )


def stacked(statistics: Sequence[EnsembleStatistics], k: int) -> tuple[np.ndarray, np.ndarray]:
    """Centre and variance (T, 2V) of one keypoint, the views side by side as x, y, x, y..."""
    centre = np.concatenate([s.centre[:, k] for s in statistics], axis=1)
    variance = np.concatenate([s.variance[:, k] for s in statistics], axis=1)
    return centre, variance


@dataclass(frozen=True, eq=False)
class Subspace:
    """What confident frames say about a keypoint: a low-dimensional space, and how fast it moves in it.

    Attributes:
        mean: (P,) of the observations.
        basis: (N, P) orthonormal rows; equation 19's B is the transpose.
        spread: (N,) variances of the coordinates.
        drift: (N, N) covariance of their differences from one frame to the next, divided by its largest
            entry.
        explained: (N,) share of the variance that each row explains.
    """

    mean: np.ndarray
    basis: np.ndarray
    spread: np.ndarray
    drift: np.ndarray
    explained: np.ndarray


def learn_subspace(
    centre: np.ndarray, variance: np.ndarray, n_latent: int, good_frames: float, what: str
) -> Subspace:
    """Principal components of the frames of smallest variance (paper, below equation 19).

    Args:
        centre: (T, P) observations, NaN missing.
        variance: (T, P) their variances.
        n_latent: Number of components, N.
        good_frames: Percentage of the complete frames to use.
        what: For messages: the keypoint.

    Raises:
        InputError: If there are too few complete frames or observations for so many components.
    """
    complete = np.flatnonzero(np.isfinite(centre).all(1))
    if n_latent > centre.shape[1]:
        raise InputError(
            f"{what}: {n_latent} latent dimensions for {centre.shape[1]} coordinates; take fewer"
        )
    if len(complete) <= n_latent:
        raise InputError(
            f"{what}: {len(complete)} of {len(centre)} frames have all coordinates observed; {n_latent} "
            f"latent dimensions need at least {n_latent + 1}"
        )
    worst = variance[complete].max(1)
    good = complete[worst <= np.percentile(worst, good_frames)]
    if len(good) <= n_latent:
        good = complete
    mean = centre[good].mean(0)
    deviation = centre[good] - mean
    # The mean of equal numbers is not quite equal to them; what is left of it must not become a movement.
    deviation[np.abs(deviation) < 1e-12 * np.abs(mean)] = 0.0
    _, singular, rows = np.linalg.svd(deviation, full_matrices=False)
    basis = rows[:n_latent]
    scores = deviation @ basis.T
    drift = np.atleast_2d(np.cov(np.diff(scores, axis=0).T))
    largest = np.abs(drift).max()
    # Frames that never move say nothing about how they move: equally in all directions then.
    drift = drift / largest if largest > 0 else np.eye(n_latent)
    power = np.maximum((singular**2).sum(), np.finfo(float).tiny)
    return Subspace(mean, basis, scores.var(0), drift, singular[:n_latent] ** 2 / power)
