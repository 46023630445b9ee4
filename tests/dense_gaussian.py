"""The textbook answer: condition one big Gaussian on its observations. Slow, independent of any filter."""

from __future__ import annotations

import numpy as np


def walk_prior(mean, start, drift, times):
    """Joint mean (T N,) and covariance (T N, T N) of a random walk at increasing times."""
    elapsed = np.asarray(times) - times[0]
    shared = np.minimum.outer(elapsed, elapsed)
    ones = np.ones_like(shared)
    return np.tile(mean, len(times)), np.kron(ones, start) + np.kron(shared, drift)


def decaying_prior(mean, persistence, stationary, times):
    """Joint mean and covariance of stationary AR(1) processes about zero, the first state at `mean`."""
    elapsed = np.asarray(times) - times[0]
    lag = np.abs(np.subtract.outer(elapsed, elapsed))
    n = len(mean)
    joint = np.zeros((len(times), n, len(times), n))
    for i in range(n):
        joint[:, i, :, i] = stationary[i] * persistence[i] ** lag
    path = np.array([[m * a**t for m, a in zip(mean, persistence, strict=True)] for t in elapsed])
    return path.ravel(), joint.reshape(len(times) * n, -1)


def condition(mean, covariance, design, observations, noise):
    """Posterior mean, covariance and log density of observations O = design x + n; NaN is missing."""
    seen = np.isfinite(observations)
    design, observations, noise = design[seen], observations[seen], noise[seen]
    total = design @ covariance @ design.T + np.diag(noise)
    gain = np.linalg.solve(total, design @ covariance).T
    error = observations - design @ mean
    log_density = -0.5 * (
        len(error) * np.log(2 * np.pi) + np.linalg.slogdet(total)[1] + error @ np.linalg.solve(total, error)
    )
    return mean + gain @ error, covariance - gain @ total @ gain.T, log_density


def smooth(prior, design, observations, noise):
    """Posterior means (T, N), covariances (T, N, N), log density; `design` (P, N) is every frame's."""
    t, n = len(observations), design.shape[1]
    big = np.kron(np.eye(t), design)
    mean, covariance, log_density = condition(*prior, big, observations.ravel(), noise.ravel())
    blocks = covariance.reshape(t, n, t, n)
    return mean.reshape(t, n), np.stack([blocks[i, :, i] for i in range(t)]), log_density
