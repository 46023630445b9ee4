"""What is lost by detecting only when it must be: `python -m benchmarks.sparse_detection`.

The embedded models on a real video each, with a detection in every frame (dense) and with
`detect_every="auto"` (sparse), in one run. The dense poses count as the truth: OKS over the keypoints that
are drawn (dense confidence 0.3 or more) and over all, the area being that of the dense pose's box.
"""

from __future__ import annotations

import sys
import time
from itertools import islice
from pathlib import Path

import numpy as np

from benchmarks.data import VIDEO, need

DRAWN = 0.3
CASES = (
    ("superanimal_topviewmouse", VIDEO, 300, 1),
    ("superanimal_quadruped", "horse10_BrownHorseinShadow/BrownHorseinShadow.mp4", 308, 1),
)


def first_frames(video: Path, n_frames: int) -> np.ndarray:
    """(T, H, W, 3) RGB uint8."""
    from zoo.video import VideoReader

    reader = VideoReader(video)
    frames = list(islice((frame for batch in reader.batches(16) for frame in batch), n_frames))
    reader.close()
    return np.stack(frames)


def agreement(
    dense: np.ndarray, sparse: np.ndarray, shown: np.ndarray, areas: np.ndarray, sigmas: np.ndarray
) -> np.ndarray:
    """OKS of one individual in every frame in which the dense run has it with a keypoint that is shown.

    Args:
        dense: (T, K, 2) px.
        sparse: (T, K, 2) px; where it is missing the OKS is 0.
        shown: (T, K) the keypoints that count.
        areas: (T,) px ** 2.
        sigmas: (K,) the vocabulary's.
    """
    from training.metrics import oks

    truth = np.where(shown[..., None], dense, np.nan)
    frames = np.flatnonzero(np.isfinite(truth).all(-1).any(-1))
    at = [slice(t, t + 1) for t in frames]
    return np.array([oks(sparse[t], truth[t], areas[t], sigmas)[0, 0] for t in at])


def measure(model: str, video: Path, n_frames: int, individuals: int) -> None:
    """Predict twice and print a line for each set of keypoints."""
    import zoo

    loaded = zoo.load(model, "compact")
    frames = first_frames(video, n_frames)
    runs, seconds = {}, {}
    for name, every in (("dense", 1), ("sparse", "auto")):
        start = time.perf_counter()
        runs[name] = loaded.predict(frames, max_individuals=individuals, detect_every=every)
        seconds[name] = time.perf_counter() - start
    dense, sparse = runs["dense"], runs["sparse"]
    sigmas = np.asarray(dense.vocabulary.sigmas)
    areas = np.prod(dense.bbox_xywh[:, 0, 2:], axis=-1)
    print(f"{model}: {len(frames)} frames of {video.name}")
    for what, least in (("drawn", DRAWN), ("all", 0.0)):
        shown = dense.confidence[:, 0] >= least
        found = agreement(dense.keypoints[:, 0], sparse.keypoints[:, 0], shown, areas, sigmas)
        low = np.quantile(found, 0.05)
        print(f"  {what:5} OKS mean {found.mean():.3f}, 5th percentile {low:.3f}, {len(found)} frames")
    ratio = seconds["dense"] / seconds["sparse"]
    print(f"  dense {seconds['dense']:.1f} s, sparse {seconds['sparse']:.1f} s: {ratio:.1f} times")


def main() -> None:
    """Every case, or those whose model is named."""
    for model, video, n_frames, individuals in CASES:
        if not sys.argv[1:] or model in sys.argv[1:]:
            measure(model, need(video), n_frames, individuals)


if __name__ == "__main__":
    main()
