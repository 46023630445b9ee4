"""Cameras that take their frames at times of their own (Lightning Pose paper, equations 22, 23).

    q_i = q_(i-1) + e_i,  e_i ~ N(0, s E (t_i - t_(i-1)))        O_i = B_(v_i) q_i + n_i

The frames of all cameras are put in order of time; at each time the state is seen by the camera, or cameras,
that took a frame then. B and E need what is seen at once: they are learnt after interpolating the other
cameras to the times of the slowest one, which is the only thing that interpolation is used for. One unit of
time is the median frame interval of that camera, so s compares with that of synchronous cameras.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from adaptation.eks.ensemble import Ensemble, EnsembleStatistics, Smoothed, SmoothingOptions
from adaptation.eks.multicam import (
    choose_s,
    inflated_statistics,
    project_linear,
    seen_somewhere,
    walk_in,
    write_views,
)
from adaptation.eks.smoothing_parameter import in_parallel
from adaptation.eks.state_space import StateSpace
from adaptation.eks.statistics import ensemble_statistics
from adaptation.eks.views import Subspace, aligned, learn_subspace, stacked
from superset_vocab.errors import InputError, all_problems
from superset_vocab.provenance import operation


def smooth_asynchronous(
    ensembles: Sequence[Ensemble],
    times: Sequence[np.ndarray],
    *,
    at: Sequence[np.ndarray] | None = None,
    s: float | Mapping[str, float] | None = None,
    options: SmoothingOptions | None = None,
) -> list[Smoothed]:
    """Smooth each keypoint in all views at once, each view at its own frame times.

    Args:
        ensembles: One per view; the numbers of frames may differ.
        times: (T_v,) increasing times of each view's frames, in any unit, all by one clock.
        at: Times at which each view is wanted instead of its frames; the model predicts what lies between.
        s: Smoothing parameter, in place of `options.s`.
        options: What is not said otherwise; `frame_ranges` count the frames of the slowest camera.

    Returns:
        One track per view at its own times (or `at`); its statistics are NaN at times that are no frame of
        it.

    Raises:
        InputError: If the views, times or options do not fit, or too few frames are complete.
    """
    options = (options or SmoothingOptions()).with_s(s)
    views = aligned(ensembles, same_frames=False)
    times = checked_times(views, times)
    wanted = times if at is None else [np.asarray(t, float) for t in at]
    if len(wanted) != len(views) or not all(t.ndim == 1 and np.isfinite(t).all() for t in wanted):
        raise InputError(f"at: want one list of finite times per view, {len(views)} in all")
    slowest = slowest_camera(times)
    unit = np.median(np.diff(times[slowest])) if len(times[slowest]) > 1 else 1.0
    clock = np.unique(np.concatenate([*times, *wanted]))
    statistics, together = _statistics(views, times, clock, slowest, options)
    names = views[0].names
    observed = seen_somewhere(statistics)
    spaces: dict[int, Subspace] = {}
    models: dict[int, StateSpace] = {}
    steps = np.diff(clock, prepend=clock[0]) / unit
    for k in map(int, np.flatnonzero(observed)):
        spaces[k] = learn_subspace(*stacked(together, k), options.n_latent, options.good_frames, names[k])
        models[k] = walk_in(spaces[k], *stacked(statistics, k), steps)
    ranges = _ranges_on(clock, times[slowest], options.frame_ranges)
    values, choices = choose_s(names, models, replace(options, frame_ranges=ranges))
    tracks = [np.full((len(clock), len(names), 2), np.nan) for _ in range(2 * len(views))]

    def run(k: int) -> None:
        write_views(tracks, k, *project_linear(spaces[k], *models[k].smooth(values[k])))

    in_parallel(run, list(models))
    done = operation(
        "smooth_asynchronous",
        views=[view.view for view in views],
        members=[view.n_members for view in views],
        s=dict(zip(names, values, strict=True)),
        unit_of_time=unit,
        n_latent=options.n_latent,
        good_frames=options.good_frames,
        inflate=options.inflate,
    )
    smoothed = []
    for v, view in enumerate(views):
        rows = np.searchsorted(clock, wanted[v])
        own = EnsembleStatistics(*(getattr(statistics[v], part)[rows] for part in _PARTS))
        variance = tracks[len(views) + v][rows]
        if options.variance_of == "observation":
            variance = variance + np.nan_to_num(own.variance)
        smoothed.append(Smoothed(tracks[v][rows], variance, own, names, view.view, choices, (done,)))
    return smoothed


def synchronised(
    ensembles: Sequence[Ensemble], times: Sequence[np.ndarray], reference: int | None = None
) -> tuple[list[Ensemble], np.ndarray]:
    """All views at the frame times of one of them, by linear interpolation of every member.

    What the public code does with asynchronous cameras before it smooths them as synchronous ones; kept to
    compare with. Times outside any camera's recording are left out.

    Args:
        ensembles: One per view.
        times: (T_v,) increasing times of each view's frames.
        reference: The view whose times are kept; the slowest if None.

    Returns:
        The views, and the (T,) times of their frames.

    Raises:
        InputError: If views and times do not fit, or the recordings do not overlap.
    """
    views = aligned(ensembles, same_frames=False)
    times = checked_times(views, times)
    reference = slowest_camera(times) if reference is None else reference
    start, stop = max(t[0] for t in times), min(t[-1] for t in times)
    kept = (times[reference] >= start) & (times[reference] <= stop)
    if not kept.any():
        raise InputError("times: the cameras' recordings do not overlap; are they by one clock?")
    common = times[reference][kept]
    result = []
    for v, view in enumerate(views):
        if v == reference:
            keypoints, confidence = view.keypoints[:, kept], view.confidence[:, kept]
        else:
            keypoints = interpolated(times[v], np.moveaxis(view.keypoints, 1, 0), common)
            confidence = interpolated(times[v], np.moveaxis(view.confidence, 1, 0), common)
            keypoints, confidence = np.moveaxis(keypoints, 0, 1), np.moveaxis(confidence, 0, 1)
        result.append(replace(view, keypoints=keypoints, confidence=confidence))
    return result, common


def interpolated(times: np.ndarray, values: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Linear interpolation along the first axis; NaN outside, and where a neighbour is NaN.

    Args:
        times: (T,) increasing.
        values: (T, ...).
        at: (N,) times.
    """
    right = np.clip(np.searchsorted(times, at), 1, max(len(times) - 1, 1))
    if len(times) == 1:
        exact = (at == times[0]).reshape(-1, *[1] * (values.ndim - 1))
        return np.where(exact, values[:1], np.nan)
    left = right - 1
    share = ((at - times[left]) / (times[right] - times[left])).reshape(-1, *[1] * (values.ndim - 1))
    # An exact hit takes its own value even where the neighbour is missing.
    result = np.where(share <= 0, values[left], np.where(share >= 1, values[right], 0.0))
    between = (share > 0) & (share < 1)
    result = np.where(between, values[left] * (1 - share) + values[right] * share, result)
    outside = (at < times[0]) | (at > times[-1])
    result[outside] = np.nan
    return result


def checked_times(views: Sequence[Ensemble], times: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Frame times as float64.

    Raises:
        InputError: If their number or a view's number of frames does not fit, or times do not increase.
    """
    times = [np.asarray(t, np.float64) for t in times]
    if len(times) != len(views):
        raise InputError(f"times: {len(times)} lists of frame times for {len(views)} views")
    problems = []
    for number, (view, t) in enumerate(zip(views, times, strict=True), 1):
        name = view.view or f"view {number}"
        if t.shape != (view.n_frames,):
            problems.append(f"{name} has {view.n_frames} frames and times of shape {t.shape}")
        elif not np.isfinite(t).all():
            problems.append(
                f"{name} has a time that is not finite, at frame {np.flatnonzero(~np.isfinite(t))[0]}"
            )
        elif (np.diff(t) <= 0).any():
            frame = np.flatnonzero(np.diff(t) <= 0)[0]
            problems.append(f"{name}: the time does not increase from frame {frame} ({t[frame]}) to the next")
    if problems:
        raise all_problems("times", problems)
    return times


def slowest_camera(times: Sequence[np.ndarray]) -> int:
    """Index of the camera with the largest median frame interval."""
    intervals = [float(np.median(np.diff(t))) if len(t) > 1 else 0.0 for t in times]
    return intervals.index(max(intervals))


_PARTS = ("centre", "variance", "confidence")


def _statistics(views, times, clock, slowest, options):
    """Statistics of every view on the common clock, and of all views at the slowest camera's times."""
    own = [ensemble_statistics(view, options) for view in views]
    spread = []
    for t, statistics in zip(times, own, strict=True):
        rows = np.searchsorted(clock, t)
        parts = []
        for part in _PARTS:
            values = getattr(statistics, part)
            parts.append(np.full((len(clock), *values.shape[1:]), np.nan))
            parts[-1][rows] = values
        spread.append(EnsembleStatistics(*parts))
    together = [
        EnsembleStatistics(*(interpolated(t, getattr(statistics, part), times[slowest]) for part in _PARTS))
        for t, statistics in zip(times, own, strict=True)
    ]
    if options.inflate:
        raised = inflated_statistics(together, options)
        spread = [
            replace(on_clock, variance=on_clock.variance * _factor_at(clock, times[slowest], before, after))
            for on_clock, before, after in zip(spread, together, raised, strict=True)
        ]
    return spread, together


def _factor_at(clock, times, before: EnsembleStatistics, after: EnsembleStatistics) -> np.ndarray:
    """How much the variance was raised at the nearest of some times, for every time of the clock."""
    right = np.clip(np.searchsorted(times, clock), 1, max(len(times) - 1, 1))
    right = np.minimum(right, len(times) - 1)
    left = np.maximum(right - 1, 0)
    nearest = np.where(clock - times[left] <= times[right] - clock, left, right)
    return np.nan_to_num(after.variance / before.variance, nan=1.0)[nearest]


def _ranges_on(clock: np.ndarray, times: np.ndarray, ranges) -> tuple[tuple[int, int], ...]:
    """Frame ranges of one camera as ranges of the common clock."""
    for start, stop in ranges:
        if stop > len(times):
            raise InputError(f"frame range {start}:{stop} reaches beyond the last of {len(times)} frames")
    ends = np.append(times, np.inf)
    return tuple(
        (int(np.searchsorted(clock, times[start])), int(np.searchsorted(clock, ends[stop])))
        for start, stop in ranges
    )
