"""Calibrated cameras: the state is the 3-D position of a keypoint, a random walk seen in perspective.

    q_t = q_(t-1) + e_t,  e_t ~ N(0, s E)        O_t = h(q_t) + n_t,  n_t ~ N(0, D_t)

h stacks the cameras' projections. The filter is the extended one: h is linearised about the prediction; a
second pass may linearise it about the smoothed track. The members' triangulations give the prior of the
first frame and E, diagonal, from robust differences between frames.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from adaptation.eks.calibration import Camera, triangulate
from adaptation.eks.ensemble import CalibratedSmoothed, Ensemble, EnsembleStatistics, SmoothingOptions
from adaptation.eks.multicam import choose_s, finish_views, inflated_statistics, seen_somewhere
from adaptation.eks.smoothing_parameter import in_parallel
from adaptation.eks.state_space import StateSpace
from adaptation.eks.statistics import ensemble_statistics
from adaptation.eks.views import aligned, stacked
from superset_vocab.errors import InputError, all_problems
from superset_vocab.provenance import operation

_FIRST_FRAMES = 10
_SPREAD_FLOOR = 1e-4
_DRIFT_FLOOR = 1e-8
_MAD_TO_DEVIATION = 1.4826


def smooth_calibrated(
    ensembles: Sequence[Ensemble],
    calibration: Sequence[Camera],
    *,
    s: float | Mapping[str, float] | None = None,
    options: SmoothingOptions | None = None,
    relinearise: int = 0,
) -> CalibratedSmoothed:
    """Track keypoints in 3-D from calibrated, synchronous cameras.

    Args:
        ensembles: One per view, the same frames and keypoints; `view` names the camera.
        calibration: The cameras, see `calibration.read_calibration`; in any order, more than are used is
            fine.
        s: Smoothing parameter, in place of `options.s`.
        options: What is not said otherwise; `n_latent` only matters to `inflate`, `good_frames` not at all.
        relinearise: Further passes, each linearised about the track of the one before; they converge to the
            most probable track.

    Returns:
        The 3-D track, its covariance, and what every camera sees of it.

    Raises:
        InputError: If views, cameras or options do not fit, or a keypoint is never seen by two cameras at
            once.
    """
    options = (options or SmoothingOptions()).with_s(s)
    if relinearise < 0:
        raise InputError(f"relinearise is {relinearise}; want 0 or more passes")
    views = aligned(ensembles)
    cameras = _cameras_of(views, calibration)
    statistics = inflated_statistics([ensemble_statistics(view, options) for view in views], options)
    names, observed = views[0].names, seen_somewhere(statistics)
    start = _triangulated(views, cameras, statistics)
    _refuse_unseen(names, observed, start)
    packed = np.stack([camera.packed() for camera in cameras])
    models = {int(k): _model(statistics, int(k), start[:, k], packed) for k in np.flatnonzero(observed)}
    values, choices = choose_s(names, models, options)
    shape = start.shape
    points, covariance = np.full(shape, np.nan), np.full((*shape, 3), np.nan)

    def run(k: int) -> None:
        model = models[k]
        means, spread = model.smooth(values[k])
        for _ in range(relinearise):
            means, spread = model.smooth(values[k], points=means)
        points[:, k], covariance[:, k] = means, spread

    in_parallel(run, list(models))
    done = operation(
        "smooth_calibrated",
        views=[view.view for view in views],
        members=[view.n_members for view in views],
        s=dict(zip(names, values, strict=True)),
        inflate=options.inflate,
        relinearise=relinearise,
    )
    tracks, variances = [], []
    for camera in cameras:
        pixels, jacobian = camera.project_with_jacobian(points)
        tracks.append(pixels)
        variances.append(
            np.maximum(np.einsum("tkpa,tkab,tkpb->tkp", jacobian, covariance, jacobian, optimize=True), 0.0)
        )
    smoothed = finish_views(views, statistics, [*tracks, *variances], choices, options, done)
    return CalibratedSmoothed(tuple(smoothed), points, covariance, names)


def _model(
    statistics: Sequence[EnsembleStatistics], k: int, start: np.ndarray, cameras: np.ndarray
) -> StateSpace:
    """The model of one keypoint.

    Args:
        statistics: One per view.
        k: The keypoint.
        start: (T, 3) triangulated, NaN where that was impossible.
        cameras: (V, 38) packed.
    """
    observations, noise = stacked(statistics, k)
    known = np.asarray(np.isfinite(start).all(1))
    first = start[:_FIRST_FRAMES][known[:_FIRST_FRAMES]]
    if not len(first):
        first = start[known][:_FIRST_FRAMES]
    return StateSpace(
        observations=observations,
        noise=noise,
        steps=np.ones(len(observations)),
        design=np.zeros((observations.shape[1], 3)),
        persistence=np.ones(3),
        drift=np.diag(_robust_variance(start)),
        stationary=np.zeros(3),
        mean=first.mean(0),
        covariance=np.diag(start[known].var(0) + _SPREAD_FLOOR),
        cameras=cameras,
    )


def _robust_variance(track: np.ndarray) -> np.ndarray:
    """Variance (3,) of the differences between frames, from their median absolute deviation."""
    differences = np.diff(track, axis=0)
    differences = differences[np.isfinite(differences).all(1)]
    if not len(differences):
        return np.full(3, _DRIFT_FLOOR)
    deviation = np.median(np.abs(differences - np.median(differences, axis=0)), axis=0)
    return np.maximum((_MAD_TO_DEVIATION * deviation) ** 2, _DRIFT_FLOOR)


def _triangulated(
    views: Sequence[Ensemble], cameras: Sequence[Camera], statistics: Sequence[EnsembleStatistics]
) -> np.ndarray:
    """Mean over members of their triangulations, (T, K, 3); of the centres where members differ in number."""
    if len({view.n_members for view in views}) > 1:
        return triangulate(cameras, np.stack([s.centre for s in statistics]))
    members = triangulate(cameras, np.stack([view.keypoints for view in views]))
    known = np.isfinite(members).all(-1, keepdims=True)
    count = known.sum(0)
    total = np.where(known, members, 0).sum(0)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def _cameras_of(views: Sequence[Ensemble], calibration: Sequence[Camera]) -> list[Camera]:
    """The camera of every view, by name."""
    by_name = {camera.name: camera for camera in calibration}
    known = ", ".join(by_name)
    problems = [
        f"view {view.view!r} has no camera in the calibration; there are {known}"
        for view in views
        if view.view not in by_name
    ]
    twice = {view.view for view in views if sum(other.view == view.view for other in views) > 1}
    problems += [f"two views are called {name!r}" for name in sorted(twice)]
    if problems:
        raise all_problems("calibration", problems)
    return [by_name[view.view] for view in views]


def _refuse_unseen(names: Sequence[str], observed: np.ndarray, start: np.ndarray) -> None:
    """A keypoint that no two cameras see at once cannot be placed."""
    placed = np.asarray(np.isfinite(start).all(2).any(0))
    lost = [name for name, seen, known in zip(names, observed, placed, strict=True) if seen and not known]
    if lost:
        raise InputError(
            f"calibrated cameras: no two of them see {', '.join(lost)} in the same frame; smooth it with "
            "smooth_singlecam, or leave it out"
        )
