"""The pupil: four keypoints that follow from a diameter and a centre (paper, equations 20, 21).

    top    = (x, y - d/2)     right = (x + d/2, y)
    bottom = (x, y + d/2)     left  = (x - d/2, y)

d, x and y are stationary AR(1) processes about their means, with the variances that crude estimates of them
have; what is left to choose is how fast each forgets: a for the diameter, another one for the centre. The
nearer to 1, the smoother.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy.optimize import minimize

from adaptation.eks.ensemble import (
    Ensemble,
    EnsembleStatistics,
    LikelihoodCurve,
    PupilSmoothed,
    SmoothingChoice,
    SmoothingOptions,
)
from adaptation.eks.multicam import seen_variance
from adaptation.eks.state_space import StateSpace, frames_within
from adaptation.eks.statistics import ensemble_statistics
from adaptation.eks.views import reordered
from superset_vocab.errors import InputError, all_problems
from superset_vocab.provenance import operation

SIDES = ("top", "bottom", "right", "left")
A_BOUNDS = (1e-3, 1 - 1e-6)
_DESIGN = np.array(
    [
        [0, 1, 0], [-0.5, 0, 1],
        [0, 1, 0], [0.5, 0, 1],
        [0.5, 1, 0], [0, 0, 1],
        [-0.5, 1, 0], [0, 0, 1],
    ]
)  # fmt: skip


def smooth_pupil(
    ensemble: Ensemble,
    *,
    a_diameter: float | None = None,
    a_centre: float | None = None,
    about_mean: bool = True,
    options: SmoothingOptions | None = None,
) -> PupilSmoothed:
    """Smooth the four keypoints of a pupil as one circle.

    Args:
        ensemble: Exactly one keypoint's name contains each of "top", "bottom", "right" and "left".
        a_diameter: AR(1) coefficient of the diameter per frame, between 0 and 1; None takes the most likely.
        a_centre: That of the centre.
        about_mean: The diameter returns to its mean where nothing is seen, as in the paper; False: to 0, as
            in the public code.
        options: `s`, `blocks` and the options of several views have no meaning here and are refused.

    Returns:
        The four keypoints in the ensemble's order, diameter and centre, with variances.

    Raises:
        InputError: If the names do not fit, an option has no meaning, a coefficient is out of range, or the
            pupil was never seen.
    """
    options = options or SmoothingOptions()
    _check_options(options, a_diameter, a_centre)
    names = _names_of_sides(ensemble)
    statistics = ensemble_statistics(reordered(ensemble, names), options)
    diameter, centre = crude_circle(statistics.centre)
    if not (np.isfinite(diameter).any() and np.isfinite(centre).all(1).any()):
        raise InputError(f"pupil of {ensemble.view or 'one view'}: no frame shows enough of it for a circle")
    model, origin = _model(statistics, diameter, centre, about_mean)
    frames = frames_within(options.frame_ranges, ensemble.n_frames)
    free = a_diameter is None or a_centre is None
    choice = _choose(names, model.at(frames) if free else model, a_diameter, a_centre)
    a_diameter, a_centre = choice.values["a_diameter"], choice.values["a_centre"]
    means, covariances = _with_memory(model, a_diameter, a_centre).smooth(1.0)
    pixels = (means @ _DESIGN.T + _DESIGN @ origin).reshape(-1, 4, 2)
    variance = seen_variance(covariances, _DESIGN).reshape(-1, 4, 2)
    order = [names.index(name) for name in ensemble.names]
    done = operation("smooth_pupil", members=ensemble.n_members, about_mean=about_mean, **choice.values)
    return PupilSmoothed(
        keypoints=pixels[:, order],
        variance=variance[:, order],
        statistics=EnsembleStatistics(
            statistics.centre[:, order], statistics.variance[:, order], statistics.confidence[:, order]
        ),
        names=ensemble.names,
        view=ensemble.view,
        choices=(choice,),
        operations=(done,),
        diameter=means[:, 0] + origin[0],
        diameter_variance=covariances[:, 0, 0],
        centre=means[:, 1:] + origin[1:],
        centre_variance=np.stack([covariances[:, 1, 1], covariances[:, 2, 2]], axis=1),
    )


def crude_circle(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Diameter (T,) and centre (T, 2) straight from the keypoints.

    Args:
        points: (T, 4, 2) top, bottom, right, left; NaN missing.

    Returns:
        Median of the six distances between the keypoints, neighbours' times the square root of two, as a
        circle has it. Median of the two axes' midpoints: of the vertical axis one end is enough for x and
        both are needed for y, the other way round for the horizontal one. NaN where nothing can be told.
    """
    top, bottom, right, left = np.moveaxis(points, 1, 0)
    across = [np.linalg.norm(a - b, axis=1) for a, b in ((top, bottom), (left, right))]
    beside = [np.linalg.norm(a - b, axis=1) * 2**0.5 for a in (top, bottom) for b in (left, right)]
    x = _median([_median([top[:, 0], bottom[:, 0]]), 0.5 * (right[:, 0] + left[:, 0])])
    y = _median([0.5 * (top[:, 1] + bottom[:, 1]), _median([right[:, 1], left[:, 1]])])
    return _median(across + beside), np.stack([x, y], axis=1)


def _median(arrays: list[np.ndarray]) -> np.ndarray:
    """Median over the arrays without NaN; NaN where there is nothing else."""
    stack = np.stack(arrays)
    result = np.full(stack.shape[1], np.nan)
    some = np.isfinite(stack).any(0)
    result[some] = np.nanmedian(stack[:, some], axis=0)
    return result


def _model(
    statistics: EnsembleStatistics, diameter: np.ndarray, centre: np.ndarray, about_mean: bool
) -> tuple[StateSpace, np.ndarray]:
    """The model without its coefficients, and the state that its zero stands for."""
    means = np.array([np.nanmean(diameter), *np.nanmean(centre, axis=0)])
    spread = np.array([np.nanvar(diameter), *np.nanvar(centre, axis=0)])
    # A pupil that never changes says nothing about its spread.
    spread = np.where(spread > 0, spread, np.nanmedian(statistics.variance))
    origin = means if about_mean else means * [0, 1, 1]
    t = len(diameter)
    model = StateSpace(
        observations=statistics.centre.reshape(t, 8) - _DESIGN @ origin,
        noise=statistics.variance.reshape(t, 8),
        steps=np.ones(t),
        design=_DESIGN,
        persistence=np.ones(3),
        drift=np.zeros((3, 3)),
        stationary=spread,
        mean=means - origin,
        covariance=np.diag(spread),
    )
    return model, origin


def _with_memory(model: StateSpace, a_diameter: float, a_centre: float) -> StateSpace:
    """The model with its AR(1) coefficients."""
    return replace(model, persistence=np.array([a_diameter, a_centre, a_centre]))


def _choose(names, model: StateSpace, a_diameter: float | None, a_centre: float | None) -> SmoothingChoice:
    """The AR(1) coefficients: those given, the most likely ones for the others."""
    fixed = [a_diameter, a_centre]
    tried: dict[tuple[float, ...], float] = {}

    def height(logs: np.ndarray) -> float:
        """Log likelihood at log(1 - a) of the free coefficients."""
        rest = iter(logs)
        pair = tuple(float(1 - np.exp(next(rest))) if a is None else a for a in fixed)
        if pair not in tried:
            tried[pair] = _with_memory(model, *pair).log_likelihood(1.0)
        return tried[pair]

    n_free = fixed.count(None)
    bounds = (np.log(1 - A_BOUNDS[1]), np.log(1 - A_BOUNDS[0]))
    if n_free:
        grid = np.linspace(*bounds, 8)
        points = np.stack(np.meshgrid(*[grid] * n_free), axis=-1).reshape(-1, n_free)
        start = max(points, key=height)
        minimize(
            lambda logs: -height(logs), start, method="Nelder-Mead", bounds=[bounds] * n_free,
            options={"xatol": 1e-4, "fatol": 1e-6, "initial_simplex": _simplex(start, bounds)},
        )  # fmt: skip
    else:
        height(np.empty(0))
    pair = max(tried, key=tried.__getitem__)
    edges = [
        a is None and not A_BOUNDS[0] * 1.001 < b < 1 - 1.001e-6 for a, b in zip(fixed, pair, strict=True)
    ]
    curve = LikelihoodCurve(np.array(sorted(tried)), np.array([tried[key] for key in sorted(tried)]))
    return SmoothingChoice(
        keypoints=names,
        values={"a_diameter": pair[0], "a_centre": pair[1]},
        log_likelihood=tried[pair],
        curve=curve if n_free else LikelihoodCurve(np.empty((0, 2)), np.empty(0)),
        chosen="likelihood" if n_free else "fixed",
        at_bound=any(edges),
    )


def _simplex(start: np.ndarray, bounds: tuple[float, float]) -> np.ndarray:
    """A first simplex as wide as the grid, inside the bounds."""
    step = (bounds[1] - bounds[0]) / 7
    corners = [start]
    for i in range(len(start)):
        corner = start.copy()
        corner[i] += -step if corner[i] + step > bounds[1] else step
        corners.append(corner)
    return np.array(corners)


def _names_of_sides(ensemble: Ensemble) -> tuple[str, ...]:
    """The keypoints' names in the order of `SIDES`."""
    found = {side: [name for name in ensemble.names if side in name.lower()] for side in SIDES}
    problems = [
        f"{len(names)} keypoint names contain {side!r}" + (f": {', '.join(names)}" if names else "")
        for side, names in found.items()
        if len(names) != 1
    ]
    if len(ensemble.names) != 4 or problems:
        problems.append(f"the pupil has four keypoints, this ensemble has {', '.join(ensemble.names)}")
        raise all_problems("pupil", problems)
    return tuple(names[0] for names in found.values())


def _check_options(options: SmoothingOptions, *coefficients: float | None) -> None:
    """Refuse what has no meaning for a pupil."""
    default = SmoothingOptions()
    unused = ("s", "blocks", "s_bounds", "likelihood", "variance_of", "n_latent", "good_frames", "inflate")
    problems = [
        f"{name} has no meaning for the pupil, which has a_diameter and a_centre"
        for name in unused
        if getattr(options, name) != getattr(default, name)
    ]
    problems += [
        f"{name} is {a}; an AR(1) coefficient lies above 0 and below 1"
        for name, a in zip(("a_diameter", "a_centre"), coefficients, strict=True)
        if a is not None and not 0 < a < 1
    ]
    if problems:
        raise all_problems("pupil", problems)
