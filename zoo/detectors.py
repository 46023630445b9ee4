"""Detectors: frames in, boxes and confidences out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from zoo.transforms import resize_matrix, standardise, to_grey, warp


class Detections(NamedTuple):
    """Animals found in one frame, by falling confidence.

    Attributes:
        bbox_xywh: (N, 4) float32 in image pixels.
        confidence: (N,) float32 in [0, 1].
    """

    bbox_xywh: np.ndarray
    confidence: np.ndarray


class Detector(Protocol):
    """Finds animals."""

    def __call__(self, frames: Sequence[np.ndarray]) -> list[Detections]:
        """(H, W, 3) RGB uint8 frames -> the animals in each."""
        ...


class HeatmapDetector:
    """Boxes from a heatmap of animal centres and a map of box sizes (as in CenterNet, arXiv:1904.07850).

    The frame is fitted whole into the network's input, so one small pass sees all animals.

    Args:
        network: Standardised images (B, 1 or 3, H, W) -> {"heatmaps": (B, 1, h, w) logits,
            "size": (B, 2, h, w)}, sizes as the logarithm of width and height over the input's width.
        size_wh: Width and height of the network's input.
        stride: Input pixels per cell.
        grey: Whether the network takes one channel of luminance instead of RGB.
        max_detections: Most animals in a frame.
        device: Where the network runs.
    """

    def __init__(
        self,
        network: nn.Module,
        *,
        size_wh: Sequence[int],
        stride: int,
        grey: bool = False,
        max_detections: int = 10,
        device: torch.device | str = "cpu",
    ) -> None:
        self.network, self.device, self.grey = network, torch.device(device), grey
        self.size_wh, self.stride, self.max_detections = (
            (int(size_wh[0]), int(size_wh[1])),
            stride,
            max_detections,
        )

    def __call__(self, frames: Sequence[np.ndarray]) -> list[Detections]:
        """(H, W, 3) RGB uint8 frames -> the animals in each, by falling confidence."""
        if not len(frames):
            return []
        matrices = [resize_matrix((f.shape[1], f.shape[0]), self.size_wh) for f in frames]
        seen = [to_grey(frame) if self.grey else frame for frame in frames]
        small = np.stack([warp(f, m, self.size_wh) for f, (m, _) in zip(seen, matrices, strict=True)])
        channels_first = small[:, None] if small.ndim == 3 else small.transpose(0, 3, 1, 2)
        images = torch.from_numpy(standardise(channels_first)).to(self.device)
        with torch.inference_mode():
            output = self.network(images.contiguous(memory_format=torch.channels_last))
            heat = output["heatmaps"].float().sigmoid()
            peaks = heat * (heat == F.max_pool2d(heat, 5, stride=1, padding=2))
            confidence, index = peaks.flatten(1).topk(min(self.max_detections, peaks[0].numel()), dim=1)
            size = output["size"].float().flatten(2).gather(2, index[:, None].expand(-1, 2, -1)).exp()
        columns = index % heat.shape[3]
        rows = index // heat.shape[3]
        centres = torch.stack([columns, rows], dim=-1) * self.stride + (self.stride - 1) / 2
        boxes = zip(
            centres.cpu().numpy(), size.transpose(1, 2).cpu().numpy(), confidence.cpu().numpy(), strict=True
        )
        return [
            _to_image(centre, wh * self.size_wh[0], conf, matrix, scale)
            for (centre, wh, conf), (matrix, scale) in zip(boxes, matrices, strict=True)
        ]


def _to_image(
    centre: np.ndarray, size: np.ndarray, confidence: np.ndarray, matrix: np.ndarray, scale: float
) -> Detections:
    """Detections in input pixels -> in image pixels; cells without any confidence are left out."""
    there = confidence > 1e-3
    wh = size[there] / scale
    middle = (centre[there] - matrix[:, 2]) / scale
    return Detections(
        np.concatenate([middle - wh / 2, wh], axis=1).astype(np.float32), confidence[there].astype(np.float32)
    )
