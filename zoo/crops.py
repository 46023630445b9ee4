"""How a box becomes a network's input: which pixels it shows, and what is done to their values.

A crop function returns the pixels and the affine matrix from image coordinates to the coordinates that
the network's output is in. The two need not agree to the half pixel: the published networks were
trained with crops whose coordinates ignore the half pixel that resizing shifts the picture by, so that
their output is right only under the same convention (shared facts: "Top-down preprocessing").
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

from zoo.transforms import crop_matrix, square_around, standardise, warp

CropFunction = Callable[[np.ndarray, np.ndarray, int, float], tuple[np.ndarray, np.ndarray]]

_IMAGENET_MEAN = np.array([0.485, 0.456, 0.406], np.float32)[:, None, None]
_IMAGENET_STD = np.array([0.229, 0.224, 0.225], np.float32)[:, None, None]
_LARGEST_CROP = 1 << 14  # pixels a side; larger ones are resampled straight into the result


def square_crop(
    image: np.ndarray, bbox_xywh: np.ndarray, size: int, context: float
) -> tuple[np.ndarray, np.ndarray]:
    """The square around a box, to subpixels; outside of the image is black.

    Args:
        image: (H, W) or (H, W, 3) uint8.
        bbox_xywh: (4,) in pixels.
        size: Side of the crop in pixels.
        context: Side of the square over the longer side of the box.

    Returns:
        (size, size[, 3]) uint8, and the (2, 3) matrix from image pixels to crop pixels.
    """
    matrix = crop_matrix(square_around(bbox_xywh, context), size)
    return warp(image, matrix, (size, size)), matrix


def published_crop(
    image: np.ndarray, bbox_xywh: np.ndarray, size: int, context: float
) -> tuple[np.ndarray, np.ndarray]:
    """The square around a box in whole pixels, as the published runtime cuts it.

    The shorter side grows to the longer one; the corners are rounded half to even; pixels outside of the
    image are black and lie where they belong; the square is resized bilinearly. Arguments and result as
    in `square_crop`; the matrix is that of the published coordinates, x' = (x - x1) * size / (x2 - x1).
    """
    x, y, w, h = (float(value) for value in bbox_xywh)
    cx, cy, half = x + w / 2, y + h / 2, max(w, h) * context / 2
    x1, y1 = round(cx - half), round(cy - half)
    x2, y2 = max(round(cx + half), x1 + 1), max(round(cy + half), y1 + 1)
    scale_x, scale_y = size / (x2 - x1), size / (y2 - y1)
    matrix = np.array([[scale_x, 0, -x1 * scale_x], [0, scale_y, -y1 * scale_y]])
    if max(x2 - x1, y2 - y1) > _LARGEST_CROP:
        shift = np.array([[0, 0, 0.5 * scale_x - 0.5], [0, 0, 0.5 * scale_y - 0.5]])
        return warp(image, matrix + shift, (size, size)), matrix
    height, width = image.shape[:2]
    pixels = np.zeros((y2 - y1, x2 - x1, *image.shape[2:]), np.uint8)
    left, right, top, bottom = max(x1, 0), min(x2, width), max(y1, 0), min(y2, height)
    if left < right and top < bottom:
        pixels[top - y1 : bottom - y1, left - x1 : right - x1] = image[top:bottom, left:right]
    return cv2.resize(pixels, (size, size), interpolation=cv2.INTER_LINEAR), matrix


def imagenet(images: np.ndarray) -> np.ndarray:
    """(B, 3, H, W) RGB uint8 -> float32 with the mean and deviation of ImageNet's channels taken out."""
    return (images.astype(np.float32) / 255 - _IMAGENET_MEAN) / _IMAGENET_STD


CROPS: dict[str, CropFunction] = {"square": square_crop, "published": published_crop}
NORMALISATIONS: dict[str, Callable[[np.ndarray], np.ndarray]] = {"image": standardise, "imagenet": imagenet}
