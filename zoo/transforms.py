"""Geometry between image and crop, and what is done to pixels before a network sees them.

All coordinates follow the project's convention: pixels, the centre of the top-left pixel is (0, 0).
A crop of S x S pixels that shows the square (x, y, side) therefore maps an image point p to
(p - (x - 0.5)) * S / side - 0.5 on each axis: pixel *edges* map to pixel edges.
"""

from __future__ import annotations

import cv2
import numpy as np


def square_around(bbox_xywh: np.ndarray, context: float) -> np.ndarray:
    """Squares that show boxes with some context.

    Args:
        bbox_xywh: (..., 4) boxes in pixels.
        context: Side of the square over the longer side of the box.

    Returns:
        (..., 3): x, y of the top-left corner and the side, in pixels.
    """
    centre = bbox_xywh[..., :2] + bbox_xywh[..., 2:] / 2
    side = np.maximum(bbox_xywh[..., 2:].max(-1) * context, 1.0)
    return np.concatenate([centre - side[..., None] / 2, side[..., None]], axis=-1)


def crop_matrix(square: np.ndarray, size: int) -> np.ndarray:
    """(2, 3) affine matrix from image pixels to the pixels of a `size` x `size` crop of a square."""
    x, y, side = (float(v) for v in square)
    scale = size / side
    return np.array([[scale, 0, (0.5 - x) * scale - 0.5], [0, scale, (0.5 - y) * scale - 0.5]])


def resize_matrix(size_wh: tuple[int, int], target_wh: tuple[int, int]) -> tuple[np.ndarray, float]:
    """Affine matrix that fits an image into a target size, centred, aspect ratio kept.

    Returns:
        The (2, 3) matrix from image pixels to target pixels, and its scale.
    """
    scale = min(target_wh[0] / size_wh[0], target_wh[1] / size_wh[1])
    offset = (np.array(target_wh) - np.array(size_wh) * scale) / 2
    shift = 0.5 * scale - 0.5 + offset
    return np.array([[scale, 0, shift[0]], [0, scale, shift[1]]]), scale


def apply_matrix(points: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Transform (..., 2) points by a (2, 3) matrix; NaN stays NaN."""
    return points @ matrix[:, :2].T + matrix[:, 2]


def invert_matrix(matrix: np.ndarray) -> np.ndarray:
    """The (2, 3) matrix of the inverse transform."""
    inverse = np.linalg.inv(matrix[:, :2])
    return np.concatenate([inverse, -inverse @ matrix[:, 2:]], axis=1)


def warp(image: np.ndarray, matrix: np.ndarray, size_wh: tuple[int, int]) -> np.ndarray:
    """Resample an image under a (2, 3) matrix image -> target; outside of the image is black.

    Where the target is less than half the size, the image is first shrunk by pixel averaging:
    bilinear sampling alone would skip pixels and alias thin tails away.
    """
    scale = float(np.sqrt(abs(np.linalg.det(matrix[:, :2]))))
    factor = int(1 / scale) if scale < 0.5 else 1
    if factor > 1:
        h, w = image.shape[0] // factor * factor, image.shape[1] // factor * factor
        if h and w:
            image = cv2.resize(image[:h, :w], (w // factor, h // factor), interpolation=cv2.INTER_AREA)
            up = np.array([[factor, 0, (factor - 1) / 2], [0, factor, (factor - 1) / 2]])
            matrix = np.concatenate(
                [matrix[:, :2] @ up[:, :2], matrix[:, :2] @ up[:, 2:] + matrix[:, 2:]], axis=1
            )
    return cv2.warpAffine(image, matrix, size_wh, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)


def to_grey(frame: np.ndarray) -> np.ndarray:
    """(H, W) uint8 luminance of an (H, W, 3) RGB uint8 frame."""
    return cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)


def standardise(images: np.ndarray) -> np.ndarray:
    """Each image to mean 0 and standard deviation 1, over all its pixels and channels.

    Exposure and contrast differ more between laboratories than anything else in a picture; this takes
    them out before the network has to learn to ignore them.

    Args:
        images: (B, H, W) or (B, C, H, W), any dtype.

    Returns:
        float32 of the same shape.
    """
    x = images.astype(np.float32)
    axes = tuple(range(1, x.ndim))
    mean = x.mean(axis=axes, keepdims=True)
    std = x.std(axis=axes, keepdims=True)
    return (x - mean) / np.maximum(std, 1.0)  # 1 grey level: an empty crop stays empty
