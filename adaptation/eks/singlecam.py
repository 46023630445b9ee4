"""One camera: every coordinate of every keypoint is a random walk (Lightning Pose paper, equations 16, 17).

    q_t = q_(t-1) + e_t,  e_t ~ N(0, s)        O_t = q_t + n_t,  n_t ~ N(0, D_t)

The prior of the first frame is the mean and the variance of the observations. Coordinates do not interact, so
the model is 2K scalar chains that share an s per keypoint.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from adaptation.eks.ensemble import Ensemble, EnsembleStatistics, Smoothed, SmoothingOptions
from adaptation.eks.smoothing_parameter import Evaluate, choose, in_parallel
from adaptation.eks.state_space import frames_within, noise_for
from adaptation.eks.statistics import ensemble_statistics
from superset_vocab.provenance import operation


def smooth_singlecam(
    ensemble: Ensemble,
    *,
    s: float | Mapping[str, float] | None = None,
    options: SmoothingOptions | None = None,
) -> Smoothed:
    """Smooth the keypoints of one camera, each on its own.

    Args:
        ensemble: Predictions of M networks; one is enough (see `adaptation.eks.statistics`).
        s: Smoothing parameter, in place of `options.s`.
        options: What is not said otherwise.

    Returns:
        The track with its posterior variance. Frames without observation are bridged; a keypoint that no
        member ever observed is NaN.

    Raises:
        InputError: If the options do not fit the ensemble.
    """
    options = (options or SmoothingOptions()).with_s(s)
    statistics = ensemble_statistics(ensemble, options)
    n_frames, n_keypoints, _ = statistics.centre.shape
    lost = np.asarray(np.isnan(statistics.centre).all((0, 2)))
    values, choices = choose(
        ensemble.names, options, _likelihoods(statistics, options), fine=16, observed=~lost
    )
    keypoints, variance = np.empty((n_frames, n_keypoints, 2)), np.empty((n_frames, n_keypoints, 2))

    def run(k: int) -> None:
        from adaptation.eks.kernels import walk_smooth

        for c in range(2):
            observations, noise, start = _chain(statistics, k, c)
            walk_smooth(
                observations,
                noise,
                np.ones(n_frames),
                start,
                values[k],
                keypoints[:, k, c],
                variance[:, k, c],
            )

    in_parallel(run, range(n_keypoints))
    keypoints[:, lost] = variance[:, lost] = np.nan
    done = operation(
        "smooth_singlecam", members=ensemble.n_members, s=dict(zip(ensemble.names, values, strict=True))
    )
    return Smoothed(keypoints, variance, statistics, ensemble.names, ensemble.view, choices, (done,))


def _likelihoods(statistics: EnsembleStatistics, options: SmoothingOptions) -> Evaluate:
    """Log likelihoods of one keypoint at several s, on the frames that the choice is made on."""
    from adaptation.eks.kernels import walk_log_likelihoods

    n_frames = len(statistics.confidence)
    automatic = options.s is None
    frames = frames_within(options.frame_ranges, n_frames) if automatic else slice(None)
    times = np.arange(n_frames, dtype=float)[frames]
    steps = np.diff(times, prepend=times[0])

    def evaluate(k: int, values: np.ndarray) -> np.ndarray:
        total = np.zeros(len(values))
        for c in range(2):
            observations, noise, start = _chain(statistics, k, c)
            observations, noise = observations[frames], noise[frames]
            if automatic:
                noise = noise_for(options, observations[:, None], noise[:, None])[:, 0]
            total += walk_log_likelihoods(observations, np.ascontiguousarray(noise), steps, start, values)
        return total

    return evaluate


def _chain(statistics: EnsembleStatistics, k: int, c: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Observations, noise, and mean and variance of the first state of one coordinate."""
    observations = np.ascontiguousarray(statistics.centre[:, k, c])
    noise = np.ascontiguousarray(statistics.variance[:, k, c])
    seen = np.isfinite(observations)
    if not seen.any():
        return observations, noise, np.array([0.0, 1.0])
    spread = np.var(observations[seen])
    # Observations that never change (or a single one) say nothing about the spread of the state.
    start = np.array([np.mean(observations[seen]), spread if spread > 0 else np.median(noise[seen])])
    return observations, noise, start
