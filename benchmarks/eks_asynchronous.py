"""Held-out frames of an asynchronous camera, predicted: `python -m benchmarks.eks_asynchronous`.

The real ibl-paw recording: the left camera at 60 frames/s, the right one at 150, each by its own timestamps.
Runs of frames of one camera are hidden, every member of them, and predicted at their times: by the
asynchronous smoother, which still has the other camera, with the paper's three latent dimensions and with
four (the two views' coordinates are correlated then, but not tied to a plane); by the single-camera
smoother, which has only this camera's past and future; and by linear interpolation of the ensemble centre.
The truth is the centre of the hidden frames where the networks agree (ensemble variance at or below its
median). s, the space and its drift are learnt from what is not hidden.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from adaptation.eks import (
    Ensemble,
    SmoothingOptions,
    ensemble_statistics,
    smooth_asynchronous,
    smooth_singlecam,
)
from adaptation.eks.asynchronous import interpolated
from benchmarks.data import need
from benchmarks.eks_parity import read_paws

GAPS = (1, 3, 10, 30)
SHARE = 0.2


def hidden_runs(n_frames: int, length: int, rng: np.random.Generator) -> np.ndarray:
    """(T,) mask: runs of `length` frames, a share of SHARE in all, with as much shown between two."""
    hidden = np.zeros(n_frames, bool)
    starts = np.arange(length, n_frames - 2 * length, 2 * length)
    chosen = rng.choice(starts, max(1, round(SHARE * n_frames / length)), replace=False)
    for start in chosen:
        hidden[start : start + length] = True
    return hidden


def without(ensemble: Ensemble, hidden: np.ndarray) -> Ensemble:
    """The ensemble with frames taken away."""
    keypoints = ensemble.keypoints.copy()
    keypoints[:, hidden] = np.nan
    return replace(ensemble, keypoints=keypoints)


def errors(
    views: Sequence[Ensemble], times: Sequence[np.ndarray], view: int, length: int, seed: int
) -> dict[str, np.ndarray]:
    """Pixel errors on the hidden, confident frames of one camera by each method."""
    hidden = hidden_runs(views[view].n_frames, length, np.random.default_rng(seed))
    truth = ensemble_statistics(views[view])
    sure = truth.variance.max(2) <= np.median(truth.variance.max(2), axis=0)
    judged = hidden[:, None] & sure
    shown = [without(one, hidden) if v == view else one for v, one in enumerate(views)]
    line = interpolated(times[view][~hidden], truth.centre[~hidden], times[view])
    tracks = {
        f"asynchronous, {n}-D": smooth_asynchronous(shown, times, options=SmoothingOptions(n_latent=n))[view]
        for n in (3, 4)
    }
    tracks["single camera"] = smooth_singlecam(shown[view])
    guesses = {**{name: track.keypoints for name, track in tracks.items()}, "interpolation": line}
    return {name: np.linalg.norm(guess - truth.centre, axis=2)[judged] for name, guess in guesses.items()}


def main() -> None:
    """Print the table: mean, median and 95th percentile of the error in pixels."""
    views, times = read_paws(need("ensembles") / "ibl-paw")
    for view, one in enumerate(views):
        for length in GAPS:
            rounds = [errors(views, times, view, length, seed) for seed in range(3)]
            found = {name: np.concatenate([r[name] for r in rounds]) for name in rounds[0]}
            if (view, length) == (0, GAPS[0]):
                heads = "".join(f"{name + ' mean, med., 95 %':>36}" for name in found)
                print(f"{'hidden':8}{'gap, frames':>12}{'n':>7}{heads}")
            cells = "".join(
                f"{e.mean():22.2f}{np.median(e):7.2f}{np.percentile(e, 95):7.2f}" for e in found.values()
            )
            print(f"{one.view:8}{length:12}{len(next(iter(found.values()))):7}{cells}", flush=True)


if __name__ == "__main__":
    main()
