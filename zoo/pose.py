"""Top-down pose: boxes to crops, crops to heatmaps, heatmaps back to image pixels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import nn

from zoo.codecs import decode_heatmaps
from zoo.transforms import apply_matrix, crop_matrix, invert_matrix, square_around, standardise, to_grey, warp

_CROPS_PER_PASS = 16  # more does not run faster on a CPU, and activations of 16 stay in its cache


class TopDownPose:
    """Finds the keypoints of the animals whose boxes are given; batches over all crops of all frames.

    Args:
        network: Grey crops (B, 1, S, S) -> {"heatmaps": (B, K, S / stride, S / stride) logits}.
        size: S, side of a crop in pixels.
        stride: Crop pixels per heatmap cell.
        context: Side of the square that a crop shows, as a multiple of the box's longer side.
        device: Where the network runs.
    """

    def __init__(
        self,
        network: nn.Module,
        *,
        size: int,
        stride: int,
        context: float,
        device: torch.device | str = "cpu",
    ) -> None:
        self.network, self.device = network, torch.device(device)
        self.size, self.stride, self.context = size, stride, context

    def __call__(
        self, frames: Sequence[np.ndarray], bboxes: Sequence[np.ndarray]
    ) -> list[tuple[np.ndarray, np.ndarray]]:
        """Predict the keypoints in every box.

        Args:
            frames: (H, W, 3) RGB uint8 each.
            bboxes: (N, 4) xywh in pixels for each frame; rows with NaN give NaN.

        Returns:
            For each frame keypoints (N, K, 2) in image pixels and confidence (N, K) in [0, 1], float32.
        """
        crops, matrices, owners = [], [], []
        for t, (frame, boxes) in enumerate(zip(frames, bboxes, strict=True)):
            grey = to_grey(frame) if len(boxes) else frame
            for n, square in enumerate(
                square_around(np.asarray(boxes, np.float64).reshape(-1, 4), self.context)
            ):
                if np.isfinite(square).all():
                    matrix = crop_matrix(square, self.size)
                    crops.append(warp(grey, matrix, (self.size, self.size)))
                    matrices.append(matrix)
                    owners.append((t, n))
        k = self._n_keypoints
        results = [
            (np.full((len(b), k, 2), np.nan, np.float32), np.full((len(b), k), np.nan, np.float32))
            for b in bboxes
        ]
        for start in range(0, len(crops), _CROPS_PER_PASS):
            part = slice(start, start + _CROPS_PER_PASS)
            positions, confidence = self._decode(np.stack(crops[part]))
            for i, (t, n) in enumerate(owners[part]):
                results[t][0][n] = apply_matrix(positions[i], invert_matrix(matrices[start + i]))
                results[t][1][n] = confidence[i]
        return results

    @property
    def _n_keypoints(self) -> int:
        return int(self.network.heads["heatmaps"].out_channels)  # pyright: ignore

    def _decode(self, crops: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(B, S, S) uint8 crops -> positions (B, K, 2) in crop pixels and confidence (B, K)."""
        images = torch.from_numpy(standardise(crops))[:, None].to(self.device)
        with torch.inference_mode():
            logits = self.network(images.contiguous(memory_format=torch.channels_last))["heatmaps"]
            positions, confidence = decode_heatmaps(logits.float().sigmoid(), self.stride)
        return positions.cpu().numpy().astype(np.float64), confidence.cpu().numpy()
