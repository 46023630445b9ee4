"""Bottom-up pose: whole frames through one network, its maps grouped into animals (`zoo.grouping`)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from superset_vocab.errors import InputError
from zoo.crops import NORMALISATIONS
from zoo.grouping import GroupingOptions, Individuals, group, with_second_neighbours
from zoo.tracking import Animals
from zoo.transforms import apply_matrix, invert_matrix, resize_matrix, warp

_BOX_MARGIN = 0.1  # of the longer side: a box around an animal is larger than its keypoints' extent


class BottomUpPose:
    """Finds the keypoints of all animals of a frame at once.

    Args:
        network: Frames (B, 3, H, W) -> {"heatmaps": (B, K, h, w) logits, "locref" (B, 2K, h, w) in strides,
            "pafs" (B, 2E, h, w)}; the last two may be absent.
        skeleton: (E, 2) int, the limbs of the vocabulary.
        size_wh: Width and height that a frame is fitted into, as the network needs them.
        stride: Input pixels per cell.
        normalisation: What is done to pixel values, one of `zoo.crops.NORMALISATIONS`.
        second_neighbours: Whether the network's limbs include those that jump over one keypoint.
        grouping: Entries of `GroupingOptions`.
        device: Where the network runs.

    Raises:
        InputError: If an option makes no sense.
    """

    def __init__(
        self,
        network: nn.Module,
        *,
        skeleton: np.ndarray,
        size_wh: Sequence[int],
        stride: int,
        normalisation: str = "imagenet",
        second_neighbours: bool = False,
        grouping: dict[str, Any] | None = None,
        device: torch.device | str = "cpu",
    ) -> None:
        if normalisation not in NORMALISATIONS:
            raise InputError(f"normalisation {normalisation!r} is none of {', '.join(NORMALISATIONS)}")
        self.network, self.device = network, torch.device(device)
        self.bones = with_second_neighbours(skeleton) if second_neighbours else skeleton
        self.size_wh, self.stride = (int(size_wh[0]), int(size_wh[1])), stride
        self._normalise = NORMALISATIONS[normalisation]
        try:
            self.options = GroupingOptions(**(grouping or {}))
        except TypeError as error:
            raise InputError(f"grouping: {error}") from error

    def __call__(self, frames: Sequence[np.ndarray]) -> list[Animals]:
        """Find the animals of frames.

        Args:
            frames: (H, W, 3) RGB uint8 each.

        Returns:
            For each frame its animals by falling confidence; a missing keypoint is NaN with confidence 0.
        """
        if not len(frames):
            return []
        matrices = [resize_matrix((f.shape[1], f.shape[0]), self.size_wh)[0] for f in frames]
        fitted = np.stack([warp(f, m, self.size_wh) for f, m in zip(frames, matrices, strict=True)])
        images = torch.from_numpy(self._normalise(fitted.transpose(0, 3, 1, 2))).to(self.device)
        with torch.inference_mode():
            outputs = self.network(images.contiguous(memory_format=torch.channels_last))
            maps = {name: value.float() for name, value in outputs.items()}
            found = group(
                maps["heatmaps"].sigmoid(),
                maps.get("locref"),
                maps.get("pafs"),
                self.bones,
                self.stride,
                self.options,
            )
        return [_to_image(animals, matrix) for animals, matrix in zip(found, matrices, strict=True)]


def _to_image(found: Individuals, matrix: np.ndarray) -> Animals:
    """Animals of a fitted frame in pixels of the frame itself, with boxes around their keypoints."""
    keypoints = apply_matrix(found.keypoints.astype(np.float64), invert_matrix(matrix)).astype(np.float32)
    boxes = np.zeros((len(found), 4), np.float32)
    for n, points in enumerate(keypoints):
        low, size = np.nanmin(points, axis=0), np.nanmax(points, axis=0) - np.nanmin(points, axis=0)
        grow = _BOX_MARGIN * max(float(np.max(size)), 1.0)
        boxes[n] = np.concatenate([low - grow, size + 2 * grow])
    return Animals(keypoints, found.confidence, boxes, found.individual_confidence)
