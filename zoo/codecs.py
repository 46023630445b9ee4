"""Keypoints to heatmaps and back.

A heatmap cell (row i, column j) of stride s covers s x s input pixels; its centre lies at
(s * j + (s - 1) / 2, s * i + (s - 1) / 2) in pixels of the input.
"""

from __future__ import annotations

import numpy as np
import torch


def encode_heatmaps(
    keypoints: np.ndarray, visible: np.ndarray, size_wh: tuple[int, int], stride: int, sigma: float
) -> np.ndarray:
    """Gaussian targets; several instances of a keypoint take the maximum.

    Args:
        keypoints: (N, K, 2) in pixels of the network's input.
        visible: (N, K) bool; others leave no trace.
        size_wh: Size of the network's input.
        stride: Input pixels per heatmap cell.
        sigma: Standard deviation of the Gaussian in input pixels.

    Returns:
        (K, H / stride, W / stride) float32 in [0, 1].
    """
    w, h = size_wh[0] // stride, size_wh[1] // stride
    offset = (stride - 1) / 2
    dx = (np.arange(w) * stride + offset)[None, None] - np.where(visible, keypoints[..., 0], np.inf)[
        ..., None
    ]
    dy = (np.arange(h) * stride + offset)[None, None] - np.where(visible, keypoints[..., 1], np.inf)[
        ..., None
    ]
    factor = -0.5 / sigma**2
    maps = np.exp(factor * dy**2)[..., :, None] * np.exp(factor * dx**2)[..., None, :]
    if not len(maps):
        return np.zeros((keypoints.shape[1], h, w), np.float32)
    return maps.max(0).astype(np.float32)


def decode_heatmaps(heatmaps: torch.Tensor, stride: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Most likely position of each keypoint, refined below the cell.

    The refinement fits a parabola through the logarithm of the maximum and its two neighbours on each
    axis, which is exact for a Gaussian.

    Args:
        heatmaps: (B, K, h, w), trained towards Gaussians of height 1.
        stride: Input pixels per cell.

    Returns:
        (B, K, 2) positions in input pixels, and (B, K) confidence: the maximum, clipped to [0, 1].
    """
    h, w = heatmaps.shape[2:]
    flat = heatmaps.flatten(2)
    value, index = flat.max(dim=2)
    row, column = index // w, index % w
    logs = flat.clamp_min(1e-4).log()

    def shift(offset: torch.Tensor, inside: torch.Tensor) -> torch.Tensor:
        step = torch.where(inside, offset, torch.zeros_like(offset))
        before = logs.gather(2, (index - step)[..., None])[..., 0]
        after = logs.gather(2, (index + step)[..., None])[..., 0]
        centre = logs.gather(2, index[..., None])[..., 0]
        curvature = (2 * centre - before - after).clamp_min(1e-6)
        return torch.where(
            inside, ((after - before) / (2 * curvature)).clamp(-0.5, 0.5), torch.zeros_like(centre)
        )

    one = torch.ones_like(index)
    x = column + shift(one, (column > 0) & (column < w - 1))
    y = row + shift(one * w, (row > 0) & (row < h - 1))
    positions = torch.stack([x, y], dim=-1) * stride + (stride - 1) / 2
    return positions, value.clamp(0, 1)


def encode_locref(
    keypoints: np.ndarray, visible: np.ndarray, size_wh: tuple[int, int], stride: int, radius: float
) -> tuple[np.ndarray, np.ndarray]:
    """Location refinement targets: the offset from each cell near a keypoint to the keypoint.

    Where several instances are near a cell, the nearest one counts.

    Args:
        keypoints: (N, K, 2) in pixels of the network's input.
        visible: (N, K) bool; others leave no trace.
        size_wh: Size of the network's input.
        stride: Input pixels per heatmap cell.
        radius: How near, in input pixels.

    Returns:
        (2K, h, w) offsets x0, y0, x1, y1, ... in strides, and (K, h, w) float32 mask of the cells near.
    """
    k, w, h = keypoints.shape[1], size_wh[0] // stride, size_wh[1] // stride
    offset = (stride - 1) / 2
    offsets = np.zeros((k, 2, h, w), np.float32)
    nearest = np.full((k, h, w), np.inf)
    xs, ys = np.arange(w) * stride + offset, np.arange(h) * stride + offset
    for n, i in zip(*np.nonzero(visible), strict=True):
        dx, dy = np.meshgrid(keypoints[n, i, 0] - xs, keypoints[n, i, 1] - ys)
        distance = np.hypot(dx, dy)
        closer = (distance <= radius) & (distance < nearest[i])
        offsets[i, 0][closer], offsets[i, 1][closer] = dx[closer] / stride, dy[closer] / stride
        nearest[i][closer] = distance[closer]
    return offsets.reshape(2 * k, h, w), np.isfinite(nearest).astype(np.float32)
