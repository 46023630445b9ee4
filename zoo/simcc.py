"""Bins along each axis to keypoints (SimCC; Li et al., ECCV 2022).

Bin i stands for the position i / split_ratio in pixels of the network's input, in whichever
coordinates the network was taught: here the centre of the top-left pixel is (0, 0).

RTMPose (arXiv:2303.07399) was taught Gaussians of height 1 around the nearest bin. The published
loss is the divergence between softmax(10 * target) and softmax(10 * logits), so that trained logits are
those Gaussians up to a constant. That is what decoding counts on: it scales the logits by sigma * beta,
and the softmax of a full-height Gaussian then has nearly all of its mass in one bin (confidence near 1),
that of a low one, an unsure network's, spreads over the bins (near 0).
"""

from __future__ import annotations

import torch

SIGMA = 5.66
"""Standard deviation of the published targets, in bins (for an input of 256 x 256 pixels)."""

BETA = 150.0
"""Published sharpness of decoding; logits are scaled by SIGMA * BETA."""


def decode_simcc(
    x: torch.Tensor, y: torch.Tensor, *, split_ratio: float = 2, scale: float = SIGMA * BETA
) -> tuple[torch.Tensor, torch.Tensor]:
    """Most likely position of each keypoint, as published: the bin of the largest logit on each axis.

    Args:
        x: (..., K, W * split_ratio) logits.
        y: (..., K, H * split_ratio) logits.
        split_ratio: Bins of each axis per pixel (SimCC's splitting factor).
        scale: Factor on the logits before the softmax.

    Returns:
        (..., K, 2) float32 positions in pixels of the network's input, and (..., K) float32 confidence in
        (0, 1]: the smaller of the two axes' largest softmax values.
    """
    # In single precision also under autocast: logits times 849 overflow the range of half precision.
    axes = [(scale * logits.float()).softmax(-1).max(-1).values for logits in (x, y)]
    bins = torch.stack([x.argmax(-1), y.argmax(-1)], dim=-1)
    return bins.float() / split_ratio, torch.minimum(axes[0], axes[1])
