"""Fitting the constants of `adaptation.keypoint_choice` on laboratories with known counterparts.

`python -m benchmarks.matching --fit` does it with the laboratories of `benchmarks.matching_labs` and writes
`data/matching_weights.toml`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.optimize import minimize

from adaptation.keypoint_choice import FEATURES, REFUSALS, Problem, Weights


def fit(
    problems: Sequence[Problem],
    truths: Sequence[Sequence[int | None]],
    features: Sequence[str],
    refusals: Sequence[str],
    *,
    penalty: float = 0.5,
) -> Weights:
    """Maximum likelihood with a quadratic penalty on the weights.

    Args:
        problems: Labs.
        truths: For each lab and unit the index of the right candidate, -1 for none, None to leave it out.
        features: Which of `FEATURES` may have a weight.
        refusals: Which of `REFUSALS` may have a weight.
        penalty: Of the squared weights, in units of log likelihood.
    """
    use_f = [FEATURES.index(name) for name in features]
    use_g = [REFUSALS.index(name) for name in refusals]
    samples = [
        (problem.features[u][:, use_f], problem.refusal[u, use_g], truth)
        for problem, answers in zip(problems, truths, strict=True)
        for u, truth in enumerate(answers)
        if truth is not None
    ]

    def loss(parameters: np.ndarray) -> tuple[float, np.ndarray]:
        w, v = parameters[: len(use_f)], parameters[len(use_f) :]
        value, gradient = penalty * parameters @ parameters, 2 * penalty * parameters
        for f, g, truth in samples:
            scores = np.append(f @ w, g @ v)
            scores -= scores.max()
            p = np.exp(scores)
            p /= p.sum()
            value -= np.log(max(p[truth], 1e-300))
            residual = p.copy()
            residual[truth] -= 1
            gradient[: len(use_f)] += f.T @ residual[:-1]
            gradient[len(use_f) :] += g * residual[-1]
        return float(value), gradient

    start = np.zeros(len(use_f) + len(use_g))
    solved = minimize(loss, start, jac=True, method="L-BFGS-B")
    values = [float(x) for x in solved.x]
    return Weights(
        dict(zip(features, values[: len(use_f)], strict=True)),
        dict(zip(refusals, values[len(use_f) :], strict=True)),
    )


def platt(probability: np.ndarray, right: np.ndarray) -> tuple[float, float]:
    """Slope and intercept that turn the log odds of proposals into calibrated ones (Platt 1999)."""
    inside = np.clip(probability, 1e-6, 1 - 1e-6)
    odds = np.log(inside / (1 - inside))
    # Platt's targets, a little inside 0 and 1, keep a perfect record from claiming certainty.
    n_right, n_wrong = right.sum(), (~right).sum()
    goal = np.where(right, (n_right + 1) / (n_right + 2), 1 / (n_wrong + 2))

    def loss(parameters: np.ndarray) -> float:
        z = parameters[0] * odds + parameters[1]
        return float(np.sum(np.logaddexp(0, z) - goal * z))

    slope, intercept = minimize(loss, np.array([1.0, 0.0])).x
    return float(slope), float(intercept)
