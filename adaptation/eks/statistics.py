"""What the members of an ensemble say together: one observation and its variance per frame and keypoint.

Lightning Pose paper, "EKS": the centre of the members is the observation O_t, their variance its noise D_t.
Where it is silent:

- A member without a prediction (NaN) is left out; a frame without any is a missing observation.
- A mean confidence below `LEAST_CONFIDENCE` says that nobody believes in the prediction: missing as well.
- A single network has no spread. Its variance is 1/confidence px^2 ("confidence_weighted") or 1 px^2
  ("plain"), a guess: the automatic s takes what is beyond it for movement, so that noise of several pixels
  stays in the track and noise well below one pixel costs detail. `variance_floor` raises it to what is known.
- Where one member of several observed, its spread is 0, which is no certainty: the frame gets the variance
  of a single network, but no less than the keypoint's median variance over the frames in which several
  observed.
"""

from __future__ import annotations

import numpy as np

from adaptation.eks.ensemble import Ensemble, EnsembleStatistics, SmoothingOptions
from superset_vocab.errors import InputError

LEAST_CONFIDENCE = 1e-5


def ensemble_statistics(ensemble: Ensemble, options: SmoothingOptions | None = None) -> EnsembleStatistics:
    """Centre, variance and confidence of an ensemble; see the module for missing members.

    Args:
        ensemble: Predictions of M networks.
        options: `centre`, `variance`, `divide_by_members` and `variance_floor` are used.

    Returns:
        Statistics of T frames and K keypoints.

    Raises:
        InputError: If every confidence of a keypoint is 0, so that a weighted variance means nothing.
    """
    from adaptation.eks.kernels import member_statistics

    options = options or SmoothingOptions()
    m, t, k, _ = ensemble.keypoints.shape
    centre, variance = np.empty((t, k, 2)), np.empty((t, k, 2))
    confidence, observers = np.empty((t, k)), np.empty((t, k), np.int64)
    member_statistics(
        ensemble.keypoints, ensemble.confidence, options.centre == "median",
        centre, variance, confidence, observers,
    )  # fmt: skip
    weight = np.ones((t, k))
    if options.variance == "confidence_weighted":
        weight = np.where(np.isnan(confidence), 1.0, confidence)
        _drop_disbelieved(ensemble, weight, observers, centre, variance, confidence)
    single = 1.0 / np.maximum(weight, LEAST_CONFIDENCE)
    if m == 1:
        variance[:] = np.where(observers > 0, single, np.nan)[..., None]
    else:
        variance *= single[..., None]
        _mistrust_lone_members(variance, single, observers)
    if options.divide_by_members:
        variance /= np.maximum(observers, 1)[..., None]
    np.maximum(variance, options.variance_floor, out=variance)
    return EnsembleStatistics(centre, variance, confidence)


def _drop_disbelieved(ensemble, weight, observers, centre, variance, confidence) -> None:
    """Make frames of no confidence missing, in place; refuse keypoints that have no other."""
    disbelieved = (weight < LEAST_CONFIDENCE) & (observers > 0)
    if not disbelieved.any():
        return
    seen = (observers > 0).any(0)
    lost = seen & ~((observers > 0) & ~disbelieved).any(0)
    if lost.any():
        names = ", ".join(name for name, is_lost in zip(ensemble.names, lost, strict=True) if is_lost)
        raise InputError(
            f"ensemble of {ensemble.view or 'one view'}: the confidence of {names} is 0 in every frame, so "
            'the variance cannot be weighted by it; use variance="plain"'
        )
    observers[disbelieved] = 0
    for array in (centre, variance, confidence):
        array[disbelieved] = np.nan


def _mistrust_lone_members(variance: np.ndarray, single: np.ndarray, observers: np.ndarray) -> None:
    """Where one member of several observed, put a variance that is no smaller than usual, in place."""
    for k in np.flatnonzero((observers == 1).any(0)):
        alone, several = observers[:, k] == 1, observers[:, k] > 1
        for c in range(2):
            usual = np.median(variance[several, k, c]) if several.any() else 0.0
            variance[alone, k, c] = np.maximum(single[alone, k], usual)
