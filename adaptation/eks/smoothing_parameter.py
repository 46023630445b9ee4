"""Choosing the smoothing parameter: exact maximum marginal likelihood by a bounded search.

The paper ("EKS") names maximum likelihood; the filter gives the likelihood of any s exactly, so a search over
log s needs no gradient, no learning rate and no stopping rule. A coarse grid over the whole range finds the
highest mode, grids within its neighbours narrow it down, a parabola through the last three gives the value.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import numpy as np

from adaptation.eks.ensemble import LikelihoodCurve, SmoothingChoice, SmoothingOptions
from superset_vocab.errors import InputError, all_problems

# (keypoint, values of s) -> log likelihoods of that keypoint's observations
Evaluate = Callable[[int, np.ndarray], np.ndarray]

_COARSE = 16
_CLOSE = 0.05  # in log s: a parabola through points this close is exact to a thousandth of it
_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


def choose(
    names: Sequence[str],
    options: SmoothingOptions,
    evaluate: Evaluate,
    *,
    fine: int = 6,
    observed: np.ndarray | None = None,
) -> tuple[np.ndarray, tuple[SmoothingChoice, ...]]:
    """The smoothing parameter of every keypoint.

    Args:
        names: (K,) keypoint names.
        options: `s`, `blocks` and `s_bounds` are used.
        evaluate: Log likelihoods of one keypoint at several s; on the frames that the choice is made on.
        fine: Values per refining grid.
        observed: (K,) bool, keypoints that are observed in any frame; None for all.

    Returns:
        (K,) values, and what was chosen for which keypoints.

    Raises:
        InputError: If `s` or `blocks` name other keypoints than there are; or if `frame_ranges` show nothing
            of a keypoint that is observed elsewhere; all problems are listed.
    """
    _check_names(names, options)
    groups = keypoint_groups(names, options.blocks)

    def decide(group: tuple[int, ...]) -> SmoothingChoice:
        def total(values: np.ndarray) -> np.ndarray:
            return np.sum([evaluate(k, values) for k in group], axis=0)

        members = tuple(names[k] for k in group)
        if options.s is not None:
            value = _fixed(options.s, members[0])
            likelihood = float(total(np.array([value]))[0])
            return SmoothingChoice(members, {"s": value}, likelihood, _no_curve(), "fixed")
        value, likelihood, curve, at_bound = most_likely(total, options.s_bounds, fine)
        return SmoothingChoice(members, {"s": value}, likelihood, curve, "likelihood", at_bound)

    choices = tuple(in_parallel(decide, groups))
    if options.frame_ranges:
        _refuse_blind(names, groups, choices, observed)
    values = np.empty(len(names))
    for group, choice in zip(groups, choices, strict=True):
        values[list(group)] = choice.value
    return values, choices


def _refuse_blind(
    names: Sequence[str],
    groups: Sequence[tuple[int, ...]],
    choices: Sequence[SmoothingChoice],
    observed: np.ndarray | None,
) -> None:
    """Refuse frame ranges that say nothing about a keypoint: every s is as likely there."""
    blind = [
        names[k]
        for group, choice in zip(groups, choices, strict=True)
        if choice.chosen == "likelihood" and np.ptp(choice.curve.log_likelihoods) == 0
        for k in group
        if observed is None or observed[k]
    ]
    if blind:
        raise InputError(
            f"frame ranges: {', '.join(blind)} is observed in no frame of them; choose others, or give s"
        )


def most_likely(
    evaluate: Callable[[np.ndarray], np.ndarray], bounds: tuple[float, float], fine: int = 6
) -> tuple[float, float, LikelihoodCurve, bool]:
    """The positive value of highest log likelihood within bounds.

    Args:
        evaluate: Log likelihoods of several values at once.
        bounds: Lowest and highest value.
        fine: Values per refining grid.

    Returns:
        The value, its log likelihood, all that was evaluated, and whether the value lies at a bound.
    """
    grid = np.linspace(np.log(bounds[0]), np.log(bounds[1]), _COARSE)
    logs, heights = grid, evaluate(np.exp(grid))
    while True:
        best = int(np.argmax(heights))
        low, high = logs[max(best - 1, 0)], logs[min(best + 1, len(logs) - 1)]
        if high - low <= 2 * _CLOSE:
            break
        grid = np.linspace(low, high, fine + 2)[1:-1]
        logs, heights = _merged(logs, heights, grid, evaluate(np.exp(grid)))
    if 0 < best < len(logs) - 1:
        peak = np.array([_vertex(logs[best - 1 : best + 2], heights[best - 1 : best + 2])])
        logs, heights = _merged(logs, heights, peak, evaluate(np.exp(peak)))
        best = int(np.argmax(heights))
    curve = LikelihoodCurve(np.exp(logs), heights)
    return float(np.exp(logs[best])), float(heights[best]), curve, best in (0, len(logs) - 1)


def keypoint_groups(names: Sequence[str], blocks: Sequence[Sequence[str]]) -> list[tuple[int, ...]]:
    """Index tuples of keypoints that share one parameter: the blocks, then each other keypoint alone."""
    index = {name: k for k, name in enumerate(names)}
    groups = [tuple(index[name] for name in block) for block in blocks]
    taken = {k for group in groups for k in group}
    return groups + [(k,) for k in range(len(names)) if k not in taken]


def in_parallel(function: Callable[[_Item], _Result], items: Sequence[_Item]) -> list[_Result]:
    """`function` of every item, in order; the compiled recursions let threads run side by side."""
    workers = min(len(items), os.cpu_count() or 1)
    if workers <= 1:
        return [function(item) for item in items]
    with ThreadPoolExecutor(workers) as pool:
        return list(pool.map(function, items))


def _check_names(names: Sequence[str], options: SmoothingOptions) -> None:
    """Refuse options about keypoints that are not there, and a mapping that leaves some out."""
    known = ", ".join(names)
    problems = [
        f"blocks name {name!r}, which is no keypoint; there are {known}"
        for block in options.blocks
        for name in block
        if name not in names
    ]
    if isinstance(options.s, Mapping):
        problems += [f"s names {name!r}, which is no keypoint" for name in options.s if name not in names]
        problems += [f"s has no value for keypoint {name!r}" for name in names if name not in options.s]
        problems += [
            f"the keypoints of block {', '.join(block)} have different s"
            for block in options.blocks
            if len({options.s.get(name) for name in block}) > 1
        ]
    if problems:
        raise all_problems("smoothing options", problems)


def _fixed(s: float | Mapping[str, float], name: str) -> float:
    """The fixed value of a keypoint."""
    return float(s[name] if isinstance(s, Mapping) else s)


def _no_curve() -> LikelihoodCurve:
    """The curve of a fixed value."""
    return LikelihoodCurve(np.empty(0), np.empty(0))


def _merged(logs, heights, more_logs, more_heights) -> tuple[np.ndarray, np.ndarray]:
    """Two sets of points as one, sorted by value."""
    logs, heights = np.concatenate([logs, more_logs]), np.concatenate([heights, more_heights])
    order = np.argsort(logs, kind="stable")
    return logs[order], heights[order]


def _vertex(x: np.ndarray, y: np.ndarray) -> float:
    """Position of the maximum of the parabola through three points; the middle one is the highest."""
    left, right = x[1] - x[0], x[2] - x[1]
    rise, fall = (y[1] - y[0]) / left, (y[2] - y[1]) / right
    curvature = rise - fall
    if not curvature > 0:
        return float(x[1])
    return float(np.clip(x[1] + 0.5 * (rise * right + fall * left) / curvature, x[0], x[2]))
