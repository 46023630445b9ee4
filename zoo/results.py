"""Predictions: the one result type of every model, image or video.

Coordinates are image pixels, x right, y down, the centre of the top-left pixel is (0, 0). A missing
individual or keypoint is NaN, never 0 or -1. Frames without an animal stay in.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from superset_vocab import Vocabulary


@dataclass(frozen=True, eq=False)
class Predictions:
    """Poses of T frames (or images), up to N individuals in each, K keypoints.

    Attributes:
        keypoints: (T, N, K, 2) float32 x, y in pixels; NaN where an individual is absent.
        confidence: (T, N, K) float32 in [0, 1]; NaN where an individual is absent.
        bbox_xywh: (T, N, 4) float32 in pixels; NaN where absent.
        bbox_confidence: (T, N) float32 in [0, 1]; NaN where absent.
        frame_index: (T,) int64, position in the video or in the list of images.
        size_wh: (T, 2) int64, width and height of each frame in pixels.
        vocabulary: Names of the K axis.
        individuals: (N,) names, e.g. "animal0"; an individual keeps its place through a video.
        images: (T,) file names when the input was images, else empty.
        fps: Frames per second as a fraction, or None for images.
        provenance: Model, weights hash, package version and every operation with its parameters.
    """

    keypoints: np.ndarray
    confidence: np.ndarray
    bbox_xywh: np.ndarray
    bbox_confidence: np.ndarray
    frame_index: np.ndarray
    size_wh: np.ndarray
    vocabulary: Vocabulary
    individuals: tuple[str, ...]
    images: tuple[str, ...] = ()
    fps: Fraction | None = None
    provenance: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        t, n, k = len(self.frame_index), len(self.individuals), len(self.vocabulary)
        wanted = {
            "keypoints": (t, n, k, 2),
            "confidence": (t, n, k),
            "bbox_xywh": (t, n, 4),
            "bbox_confidence": (t, n),
            "size_wh": (t, 2),
        }
        for name, shape in wanted.items():
            if getattr(self, name).shape != shape:
                raise ValueError(f"{name} has shape {getattr(self, name).shape}, want {shape}")
        if self.images and len(self.images) != t:
            raise ValueError(f"{len(self.images)} image names for {t} frames")
        if len(set(self.individuals)) != n:
            raise ValueError("individuals have duplicate names")

    def __len__(self) -> int:
        return len(self.frame_index)

    @property
    def n_individuals(self) -> int:
        """Number of individuals, present in any frame."""
        return len(self.individuals)

    def with_operation(self, name: str, **parameters: Any) -> Predictions:
        """A copy whose provenance names one more operation; for functions that change poses."""
        operations = [*self.provenance.get("operations", []), {"name": name, **parameters}]
        return replace(self, provenance={**self.provenance, "operations": operations})

    def save(
        self, folder: str | PathLike[str], stem: str, formats: Sequence[str] = ("h5", "csv", "coco")
    ) -> list[Path]:
        """Write the tables `<folder>/<stem>.*` and their provenance; see `zoo.exports`.

        Args:
            folder: Created if it does not exist; files of the same name are replaced.
            stem: Start of the file names.
            formats: Any of "h5" and "csv" (DeepLabCut's tables), "coco" (COCO results), and "nwb" (Neurodata
                Without Borders, of videos; needs the extra nwb).

        Returns:
            The files written.

        Raises:
            InputError: If a format is unknown or cannot be had, or the folder cannot be written.
        """
        from zoo.exports import export

        return export(self, Path(folder), stem, formats)

    def __repr__(self) -> str:
        rate = f" at {float(self.fps):g} frames/s" if self.fps else ""
        present = np.isfinite(self.bbox_confidence).any(1).sum() if len(self) else 0
        return (
            f"Predictions({len(self)} frames{rate}, {present} with an animal, "
            f"{self.n_individuals} individuals, {len(self.vocabulary)} keypoints of {self.vocabulary.name})"
        )
