"""Pose PCA: the whole pose in a space of few dimensions, for diagnosis (paper, equations 24, 25).

    q_t = q_(t-1) + e_t,  e_t ~ N(0, s E)        O_t = B q_t + n_t,  n_t ~ N(0, D_t)

O_t holds all keypoints of one view, q_t the R scores of the components that explain most of the variance of
confident poses. What this smoother returns lies in that space, and rare but real poses do not: look at the
distance to it, use another smoother for the track.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from adaptation.eks.ensemble import Ensemble, EnsembleStatistics, Smoothed, SmoothingOptions
from adaptation.eks.multicam import project_linear, walk_in
from adaptation.eks.smoothing_parameter import choose
from adaptation.eks.statistics import ensemble_statistics
from adaptation.eks.views import Subspace, learn_subspace
from superset_vocab.errors import InputError
from superset_vocab.provenance import operation


@dataclass(frozen=True, eq=False)
class PosePCA:
    """The pose in its subspace, and how far the observations lie from it.

    Attributes:
        smoothed: The track within the subspace; keypoints that were left out are NaN.
        distance: (T, K) pixels between the ensemble centre and that track; large where a keypoint does not
            fit the pose, NaN where it was not observed.
        latent: (T, R) smoothed scores, pixels.
        components: (R, K, 2) unit poses that the scores multiply; 0 for keypoints left out.
        explained: (R,) share of the variance of confident poses.
        used: (K,) whether the keypoint took part; those observed too rarely do not.
    """

    smoothed: Smoothed
    distance: np.ndarray
    latent: np.ndarray
    components: np.ndarray
    explained: np.ndarray
    used: np.ndarray


def pose_pca(
    ensemble: Ensemble,
    *,
    explained: float = 0.99,
    least_observed: float = 0.5,
    s: float | None = None,
    options: SmoothingOptions | None = None,
) -> PosePCA:
    """Smooth all keypoints of one view within the space of usual poses.

    Args:
        ensemble: Predictions of M networks.
        explained: Share of the variance of confident poses that the space must explain.
        least_observed: Keypoints observed in a smaller share of the frames are left out.
        s: Smoothing parameter of the pose, in place of `options.s`.
        options: What is not said otherwise; there is one s, so `blocks` are refused, as is a mapping.

    Raises:
        InputError: If an option is out of range, or too few frames have the whole pose.
    """
    options = (options or SmoothingOptions()).with_s(s)
    if not 0 < explained <= 1 or not 0 <= least_observed <= 1:
        raise InputError(
            f"pose_pca: explained is {explained}, least_observed {least_observed}; want shares up to 1"
        )
    if options.blocks or not isinstance(options.s, float | int | None):
        raise InputError("pose_pca: the pose has one s for all keypoints; give one number and no blocks")
    statistics = ensemble_statistics(ensemble, options)
    seen = np.isfinite(statistics.centre).all(2).mean(0)
    used = (seen > 0) & (seen >= least_observed)
    if not used.any():
        raise InputError(f"pose_pca: no keypoint is observed in a share {least_observed:g} of the frames")
    t = ensemble.n_frames
    centre, variance = (a[:, used].reshape(t, -1) for a in (statistics.centre, statistics.variance))
    space = _space(centre, variance, explained, options.good_frames)
    model = walk_in(space, centre, variance, np.ones(t))
    chosen_on = model.chosen_on(options)
    name = ", ".join(n for n, u in zip(ensemble.names, used, strict=True) if u)
    values, choices = choose((name,), options, lambda _, scales: chosen_on.log_likelihoods(scales))
    means, covariances = model.smooth(values[0])
    pixels, spread = project_linear(space, means, covariances)
    keypoints, posterior = _scattered(pixels, used), _scattered(spread, used)
    done = operation("pose_pca", members=ensemble.n_members, s=values[0], n_latent=len(space.basis))
    smoothed = Smoothed(keypoints, posterior, statistics, ensemble.names, ensemble.view, choices, (done,))
    return PosePCA(
        smoothed=smoothed,
        distance=_distance(statistics, keypoints),
        latent=means,
        components=np.nan_to_num(_scattered(space.basis, used)),
        explained=space.explained,
        used=used,
    )


def _space(centre: np.ndarray, variance: np.ndarray, explained: float, good_frames: float) -> Subspace:
    """The smallest space that explains enough."""
    complete = int(np.isfinite(centre).all(1).sum())
    most = min(centre.shape[1], complete - 1)
    if most < 1:
        raise InputError(f"pose_pca: {complete} frames have the whole pose; at least two are needed")
    full = learn_subspace(centre, variance, most, good_frames, "pose_pca")
    enough = np.cumsum(full.explained) >= explained - 1e-12
    size = int(np.argmax(enough)) + 1 if enough.any() else most
    return learn_subspace(centre, variance, size, good_frames, "pose_pca")


def _scattered(values: np.ndarray, used: np.ndarray) -> np.ndarray:
    """(N, 2 x number used) values as (N, K, 2), NaN for keypoints left out."""
    result = np.full((len(values), len(used), 2), np.nan)
    result[:, used] = values.reshape(len(values), -1, 2)
    return result


def _distance(statistics: EnsembleStatistics, keypoints: np.ndarray) -> np.ndarray:
    """Pixels between observation and track."""
    return np.linalg.norm(statistics.centre - keypoints, axis=2)
