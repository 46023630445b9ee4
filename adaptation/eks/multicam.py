"""Several synchronous views without calibration (Lightning Pose paper, equations 18, 19).

    q_t = q_(t-1) + e_t,  e_t ~ N(0, s E)        O_t = B q_t + n_t,  n_t ~ N(0, D_t)

O_t holds the V views of one keypoint, q_t its position in a space of three dimensions that is learnt from
confident frames: B by principal components, E by the covariance of the differences of their scores. q_t is
the 3-D position up to an unknown affine map, so only what the cameras see of it is returned.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from adaptation.eks.ensemble import Ensemble, EnsembleStatistics, Smoothed, SmoothingChoice, SmoothingOptions
from adaptation.eks.inflation import inflated
from adaptation.eks.smoothing_parameter import choose, in_parallel
from adaptation.eks.state_space import StateSpace
from adaptation.eks.statistics import ensemble_statistics
from adaptation.eks.views import Subspace, aligned, learn_subspace, reordered, stacked
from superset_vocab.errors import all_problems
from superset_vocab.provenance import operation


def smooth_multicam(
    ensembles: Sequence[Ensemble],
    *,
    s: float | Mapping[str, float] | None = None,
    options: SmoothingOptions | None = None,
) -> list[Smoothed]:
    """Smooth each keypoint in all views at once.

    Args:
        ensembles: One per view, the same frames and keypoints.
        s: Smoothing parameter, in place of `options.s`.
        options: What is not said otherwise.

    Returns:
        One track per view, in the same order. Its statistics hold the variances that were used, inflated ones
        if that was asked for.

    Raises:
        InputError: If the views do not fit each other or the options, or too few frames are complete.
    """
    options = (options or SmoothingOptions()).with_s(s)
    views = aligned(ensembles)
    plain = [ensemble_statistics(view, options) for view in views]
    statistics = inflated_statistics(plain, options)
    names = views[0].names
    observed = seen_somewhere(statistics)
    models: dict[int, StateSpace] = {}
    spaces: dict[int, Subspace] = {}
    for k in map(int, np.flatnonzero(observed)):
        # Which frames to learn from is asked of the members alone, before views are compared.
        spaces[k] = learn_subspace(*stacked(plain, k), options.n_latent, options.good_frames, names[k])
        models[k] = walk_in(spaces[k], *stacked(statistics, k), np.ones(views[0].n_frames))
    values, choices = choose_s(names, models, options)
    tracks = [np.full(statistics[0].centre.shape, np.nan) for _ in range(2 * len(views))]

    def run(k: int) -> None:
        means, covariances = models[k].smooth(values[k])
        write_views(tracks, k, *project_linear(spaces[k], means, covariances))

    in_parallel(run, list(models))
    done = operation(
        "smooth_multicam",
        views=[view.view for view in views],
        members=[view.n_members for view in views],
        s=dict(zip(names, values, strict=True)),
        n_latent=options.n_latent,
        good_frames=options.good_frames,
        inflate=options.inflate,
    )
    return finish_views(views, statistics, tracks, choices, options, done)


def smooth_mirrored(
    ensemble: Ensemble,
    views: Sequence[str],
    *,
    parts: Sequence[str] | None = None,
    s: float | Mapping[str, float] | None = None,
    options: SmoothingOptions | None = None,
) -> list[Smoothed]:
    """Smooth views that lie in one image, their keypoints called `<part>_<view>`.

    Args:
        ensemble: Predictions of all views together.
        views: View names, the ends of the keypoint names, e.g. ("top", "bot").
        parts: Parts to smooth; all if None.
        s: Smoothing parameter, in place of `options.s`; a mapping names parts.
        options: What is not said otherwise; `blocks` name parts.

    Returns:
        One track per view whose keypoints are the parts; `joined` puts them together again.

    Raises:
        InputError: As `smooth_multicam`, and if a keypoint's name does not end in a view or a part lacks a
            view.
    """
    return smooth_multicam(split_views(ensemble, views, parts), s=s, options=options)


def split_views(
    ensemble: Ensemble, views: Sequence[str], parts: Sequence[str] | None = None
) -> list[Ensemble]:
    """One ensemble per view from keypoints called `<part>_<view>`.

    Raises:
        InputError: If a name does not end in a view, or a part is not there in all of them; all are listed.
    """
    problems = []
    if parts is None:
        parts, strangers = [], []
        for name in ensemble.names:
            part = next((name[: -len(v) - 1] for v in views if name.endswith(f"_{v}")), "")
            (parts if part else strangers).append(part or name)
        parts = list(dict.fromkeys(parts))
        problems += [f"{name!r} does not end in any of _{', _'.join(views)}" for name in strangers]
    for part in parts:
        lacking = [f"{part}_{v}" for v in views if f"{part}_{v}" not in ensemble.names]
        if lacking:
            problems.append(f"part {part!r} has no {', '.join(lacking)}")
    if problems:
        problems.append("say which parts all views see (parts=...), smooth the others with smooth_singlecam")
        raise all_problems("mirrored views", problems)
    split = []
    for view in views:
        one = reordered(ensemble, tuple(f"{part}_{view}" for part in parts))
        split.append(replace(one, names=tuple(parts), view=view))
    return split


def joined(views: Sequence[Smoothed]) -> Smoothed:
    """Mirrored views as one track again, keypoints called `<part>_<view>`, view after view."""
    statistics = EnsembleStatistics(
        *(np.concatenate([getattr(v.statistics, name) for v in views], axis=1)
          for name in ("centre", "variance", "confidence"))
    )  # fmt: skip
    return Smoothed(
        keypoints=np.concatenate([view.keypoints for view in views], axis=1),
        variance=np.concatenate([view.variance for view in views], axis=1),
        statistics=statistics,
        names=tuple(f"{name}_{view.view}" for view in views for name in view.names),
        choices=views[0].choices,
        operations=views[0].operations,
    )


def inflated_statistics(
    statistics: list[EnsembleStatistics], options: SmoothingOptions
) -> list[EnsembleStatistics]:
    """Statistics with the variances of disagreeing views raised, if the options ask for it."""
    if not options.inflate:
        return statistics
    variances = [s.variance.copy() for s in statistics]

    def run(k: int) -> None:
        centre, variance = stacked(statistics, k)
        raised = inflated(centre, variance, options.n_latent)
        for v, target in enumerate(variances):
            target[:, k] = raised[:, 2 * v : 2 * v + 2]

    in_parallel(run, [int(k) for k in np.flatnonzero(seen_somewhere(statistics))])
    return [replace(s, variance=variance) for s, variance in zip(statistics, variances, strict=True)]


def seen_somewhere(statistics: Sequence[EnsembleStatistics]) -> np.ndarray:
    """(K,) whether any view ever observed the keypoint."""
    return np.any([np.isfinite(s.centre).any((0, 2)) for s in statistics], axis=0)


def walk_in(space: Subspace, centre: np.ndarray, variance: np.ndarray, steps: np.ndarray) -> StateSpace:
    """A random walk in a learnt space; its observations are centred."""
    n = len(space.basis)
    floor = np.nanmedian(variance)
    # Observations that never change say nothing about the spread of the state.
    spread = space.spread if space.spread.max() > 0 else np.full(n, floor)
    return StateSpace(
        observations=centre - space.mean,
        noise=variance,
        steps=steps,
        design=space.basis.T,
        persistence=np.ones(n),
        drift=space.drift,
        stationary=np.zeros(n),
        mean=np.zeros(n),
        covariance=np.diag(spread),
    )


def choose_s(
    names: Sequence[str], models: Mapping[int, StateSpace], options: SmoothingOptions
) -> tuple[np.ndarray, tuple[SmoothingChoice, ...]]:
    """Smoothing parameters of one model per observed keypoint; see `smoothing_parameter.choose`."""
    chosen_on = {k: model.chosen_on(options) for k, model in models.items()}

    def evaluate(k: int, values: np.ndarray) -> np.ndarray:
        return chosen_on[k].log_likelihoods(values) if k in chosen_on else np.zeros(len(values))

    observed = np.isin(np.arange(len(names)), list(models))
    return choose(names, options, evaluate, observed=observed)


def project_linear(space: Subspace, means: np.ndarray, covariances: np.ndarray):
    """What the views see of the state: pixels (T, 2V) and their variances."""
    return means @ space.basis + space.mean, seen_variance(covariances, space.basis.T)


def seen_variance(covariances: np.ndarray, design: np.ndarray) -> np.ndarray:
    """Variances (T, P) of observations: the diagonal of B V B', which rounding must not make negative.

    Args:
        covariances: (T, N, N) of the states.
        design: (P, N).
    """
    return np.maximum(np.einsum("pa,tab,pb->tp", design, covariances, design, optimize=True), 0.0)


def write_views(tracks: Sequence[np.ndarray], k: int, pixels: np.ndarray, variance: np.ndarray) -> None:
    """Put one keypoint into the tracks: V arrays of positions, then V of variances."""
    n_views = len(tracks) // 2
    for v in range(n_views):
        tracks[v][:, k] = pixels[:, 2 * v : 2 * v + 2]
        tracks[n_views + v][:, k] = variance[:, 2 * v : 2 * v + 2]


def finish_views(views, statistics, tracks, choices, options, done) -> list[Smoothed]:
    """Results of all views; with `variance_of="observation"` the frames' own noise is added."""
    smoothed = []
    for v, view in enumerate(views):
        variance = tracks[len(views) + v]
        if options.variance_of == "observation":
            variance = variance + np.nan_to_num(statistics[v].variance)
        smoothed.append(
            Smoothed(tracks[v], variance, statistics[v], views[0].names, view.view, choices, (done,))
        )
    return smoothed
