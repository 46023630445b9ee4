"""Raising the variance of views that disagree with the others.

A confident mistake in one view (paper, "EKS": all members wrong in the same way) pulls the other views along.
Views of one point share a low-dimensional space: a factor analysis of the more certain half of the frames
learns it, every frame is explained in it with its own variances, and a view whose residual is too large,
measured in its own predictive variance (squared Mahalanobis distance), gets ten times the variance; with two
views nobody can say which is wrong, so both get it. This is repeated until none is too large.
"""

from __future__ import annotations

import numpy as np

THRESHOLD = 5.0
FACTOR = 10.0
GOOD_FRAMES = 50.0
_RIDGE = 1e-6
_MOST_ROUNDS = 100


def inflated(centre: np.ndarray, variance: np.ndarray, n_latent: int = 3) -> np.ndarray:
    """Variances after inflation.

    Args:
        centre: (T, 2V) observations of one keypoint, x and y of each view; NaN missing.
        variance: (T, 2V) px^2, positive where observed.
        n_latent: Size of the common space.

    Returns:
        (T, 2V) px^2; unchanged where too few frames are complete to learn the space, and in frames whose
        observed views do not overdetermine it.
    """
    variance = variance.copy()
    n_views = centre.shape[1] // 2
    for _ in range(_MOST_ROUNDS):
        distance = view_distances(centre, variance, n_latent)
        if distance is None:
            break
        with np.errstate(invalid="ignore"):
            wrong = distance > THRESHOLD
        if n_views == 2:
            wrong |= wrong.any(1, keepdims=True)
        if not wrong.any():
            break
        variance[np.repeat(wrong, 2, axis=1)] *= FACTOR
    return variance


def view_distances(centre: np.ndarray, variance: np.ndarray, n_latent: int) -> np.ndarray | None:
    """Squared Mahalanobis distance of each view's residual, (T, V); NaN where it cannot be told.

    Args:
        centre: (T, 2V) observations, NaN missing.
        variance: (T, 2V) px^2.
        n_latent: Size of the common space.

    Returns:
        None where too few frames are complete to learn the space.
    """
    observed = np.isfinite(centre).all(1)
    worst = np.where(observed, variance.max(1), np.inf)
    if observed.sum() <= 2 * centre.shape[1]:
        return None
    good = worst < np.percentile(worst[observed], GOOD_FRAMES)
    if good.sum() <= centre.shape[1]:
        return None
    mean, loadings = factor_analysis(centre[good], n_latent)
    loadings = loadings[:, np.abs(loadings).max(0) > 0]
    if not loadings.shape[1]:
        return None
    weight = np.where(np.isfinite(centre), 1 / (variance + _RIDGE), 0.0)
    deviation = np.where(np.isfinite(centre), centre - mean, 0.0)
    precision = np.einsum("pa,tp,pb->tab", loadings, weight, loadings)
    solvable = (weight > 0).sum(1) > loadings.shape[1]
    precision[~solvable] = np.eye(loadings.shape[1])
    posterior = np.linalg.inv(precision)
    latent = np.einsum("tab,pb,tp->ta", posterior, loadings, weight * deviation)
    residual = deviation - latent @ loadings.T
    distance = np.empty((len(centre), centre.shape[1] // 2))
    for view in range(distance.shape[1]):
        pair = slice(2 * view, 2 * view + 2)
        predicted = loadings[pair] @ posterior @ loadings[pair].T
        predicted[:, 0, 0] += np.where(solvable, variance[:, 2 * view], 1.0)
        predicted[:, 1, 1] += np.where(solvable, variance[:, 2 * view + 1], 1.0)
        predicted[np.isnan(predicted).any((1, 2))] = np.eye(2)
        r = residual[:, pair]
        distance[:, view] = (r * np.linalg.solve(predicted, r[..., None])[..., 0]).sum(1)
        distance[~(solvable & np.isfinite(centre[:, pair]).all(1)), view] = np.nan
    return distance


def factor_analysis(data: np.ndarray, n_factors: int, tolerance: float = 1e-2, most_steps: int = 1000):
    """Maximum-likelihood factor analysis (Barber, Bayesian Reasoning and Machine Learning, algorithm 21.1).

    Args:
        data: (N, P) complete observations.
        n_factors: Number of factors.
        tolerance: Stop when the log likelihood gains less.
        most_steps: Stop then in any case.

    Returns:
        Mean (P,) and loadings (P, n_factors). With as many factors as two views need the solution is not
        unique; started at unit noise variances and stopped early it is reproducible.
    """
    n, p = data.shape
    mean = data.mean(0)
    centred = data - mean
    total = centred.var(0)
    tiny = 1e-12
    noise = np.ones(p)
    loadings, last = np.zeros((p, n_factors)), -np.inf
    for _ in range(most_steps):
        root = np.sqrt(noise) + tiny
        singular, rows = np.linalg.svd(centred / (root * np.sqrt(n)), full_matrices=False)[1:]
        power = singular**2
        kept = power[:n_factors]
        loadings = (np.sqrt(np.maximum(kept - 1, 0))[:, None] * rows[:n_factors] * root).T
        height = -0.5 * n * (
            np.log(np.maximum(kept, tiny)).sum() + n_factors + power[n_factors:].sum()
            + np.log(noise).sum() + p * np.log(2 * np.pi)
        )  # fmt: skip
        if height - last < tolerance:
            break
        last = height
        noise = np.maximum(total - (loadings**2).sum(1), tiny)
    return mean, loadings
