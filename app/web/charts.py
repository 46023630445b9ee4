"""Charts of the demo, as PNG files; matplotlib is imported when one is drawn."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from superset_vocab.files import atomic_path

if TYPE_CHECKING:
    from zoo import Predictions


def confidence_plot(found: Predictions, path: Path, cutoff: float) -> Path:
    """Confidence of every keypoint: over time for a video, as bars for images.

    Args:
        found: The predictions.
        path: The .png file.
        cutoff: Confidence from which a keypoint is drawn; a line.

    Returns:
        `path`.
    """
    from matplotlib.figure import Figure

    names = found.vocabulary.keypoints
    figure = Figure(figsize=(9, 0.22 * len(names) + 1.6), layout="constrained")
    axes = figure.subplots()
    with np.errstate(all="ignore"):
        best = np.where(np.isfinite(found.confidence), found.confidence, 0.0).max(1, initial=0.0)  # (T, K)
    if found.fps is not None and len(found) > 1:
        seconds = len(found) / float(found.fps)
        shown = axes.imshow(
            best.T,
            aspect="auto",
            vmin=0,
            vmax=1,
            cmap="viridis",
            interpolation="nearest",
            extent=(0, seconds, len(names) - 0.5, -0.5),
        )
        axes.set_xlabel("time (s)")
        figure.colorbar(shown, ax=axes, label="confidence")
    else:
        axes.barh(np.arange(len(names)), best.mean(0) if len(best) else np.zeros(len(names)), color="#4477aa")
        axes.axvline(cutoff, color="#cc3311", linestyle="--", linewidth=1)
        axes.set(xlim=(0, 1), ylim=(len(names) - 0.5, -0.5), xlabel="confidence (mean over images)")
    axes.set_yticks(np.arange(len(names)), names, fontsize=8)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=110)
    return path
