"""Keypoints to bins along each axis and back (SimCC; Li et al., ECCV 2022).

Bin i stands for the position i / split_ratio in pixels of the network's input, in whichever
coordinates the network was taught: here the centre of the top-left pixel is (0, 0).

Targets. RTMPose (arXiv:2303.07399) teaches Gaussians of height 1 around the nearest bin. The published
loss is the divergence between softmax(10 * target) and softmax(10 * logits), so that trained logits are
those Gaussians up to a constant. That is what decoding counts on: it scales the logits by sigma * beta,
and the softmax of a full-height Gaussian then has nearly all of its mass in one bin (confidence near 1),
that of a low one, an unsure network's, spreads over the bins (near 0). The centre is rounded to a bin
because two equal neighbours would halve the confidence.
"""

from __future__ import annotations

import numpy as np
import torch

SIGMA = 5.66
"""Standard deviation of the published targets, in bins (for an input of 256 x 256 pixels)."""

BETA = 150.0
"""Published sharpness of decoding; logits are scaled by SIGMA * BETA."""


def encode_simcc(
    keypoints: np.ndarray,
    visible: np.ndarray,
    size_wh: tuple[int, int],
    *,
    split_ratio: int = 2,
    sigma: float = SIGMA,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Gaussian targets of height 1 along both axes.

    Args:
        keypoints: (..., K, 2) in pixels of the network's input.
        visible: (..., K) bool; others leave no trace.
        size_wh: Size of the network's input.
        split_ratio: Bins of each axis per pixel (SimCC's splitting factor).
        sigma: Standard deviation of the Gaussian in bins.

    Returns:
        (..., K, W * split_ratio) and (..., K, H * split_ratio) float32 in [0, 1], and (..., K)
        float32: 1 where the keypoint has a target, 0 where it is not visible, NaN or nearest to no bin; both
        targets are all zero there, which is no distribution, so that a loss has to leave it out.
    """
    n_bins = np.array(size_wh) * split_ratio
    centres = np.rint(np.where(visible[..., None], keypoints, -1) * split_ratio)
    present = np.asarray(visible & ((centres >= 0) & (centres < n_bins)).all(-1))
    factor = -0.5 / sigma**2
    x, y = (
        np.where(present[..., None], np.exp(factor * (np.arange(n) - centres[..., axis, None]) ** 2), 0)
        for axis, n in enumerate(n_bins)
    )
    return x.astype(np.float32), y.astype(np.float32), present.astype(np.float32)


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
