"""Augmentation of crops and frames with their keypoints, on albumentations.

Geometry comes first (any rotation for top views, scale, shift), then the left-right flip, then light,
focus, noise and occlusion. The flip is ours, because it must exchange left and right keypoints, which
the library does not know of. Albumentations' keypoint coordinates are, like ours, pixel centres.
"""

from __future__ import annotations

import albumentations as A
import cv2
import numpy as np

from training.recipe import AugmentOptions


class Augmentation:
    """Random changes of one image and its keypoints, reproducible from a seed.

    Args:
        options: What to do and how often.
        size_wh: Size of the result; the input may be larger, the centre is taken.
        flip_index: (K,) what each keypoint becomes in a mirrored image.
    """

    def __init__(self, options: AugmentOptions, size_wh: tuple[int, int], flip_index: np.ndarray) -> None:
        self.options, self.size_wh, self.flip_index = options, size_wh, flip_index
        params = A.KeypointParams(format="xy", remove_invisible=False)
        self.pipeline = A.Compose(
            [*_geometry(options, size_wh), *_photometry(options)], keypoint_params=params
        )

    def __call__(
        self, image: np.ndarray, keypoints: np.ndarray, seed: int
    ) -> tuple[np.ndarray, np.ndarray, bool]:
        """Change an image and its keypoints.

        Args:
            image: (H, W) or (H, W, 3) uint8.
            keypoints: (N, K, 2) pixels of the image; NaN stays NaN.
            seed: The result is a function of the arguments and this.

        Returns:
            The image, the keypoints with left and right exchanged if mirrored, and whether mirrored.
        """
        rng = np.random.default_rng(seed)
        self.pipeline.set_random_seed(int(rng.integers(2**31)))
        known = np.isfinite(keypoints).all(-1)
        result = self.pipeline(image=image, keypoints=keypoints[known].reshape(-1, 2))
        moved = np.full(keypoints.shape, np.nan)
        moved[known] = np.asarray(result["keypoints"], dtype=np.float64).reshape(-1, 2)
        image, flipped = result["image"], bool(rng.random() < self.options.flip)
        if flipped:
            image, moved = mirror(image, moved, self.flip_index)
        return np.ascontiguousarray(image), moved, flipped


def half_of(keypoints: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """One half of an animal's keypoints: those on one side of their median along its longer axis.

    HRNet's half-body transformation (Sun et al., CVPR 2019; the paper follows AP-10K's protocol) takes the
    upper or lower body by keypoint names. The longer axis of an animal runs from nose to tail, or
    from head to feet, in any vocabulary.

    Args:
        keypoints: (K, 2) pixels; NaN where not annotated.
        rng: Decides which half.

    Returns:
        (K,) bool; half of the annotated keypoints.
    """
    known = np.isfinite(keypoints).all(-1)
    centred = keypoints[known] - keypoints[known].mean(0)
    axis = np.linalg.svd(centred, full_matrices=False)[2][0]
    order = np.argsort(centred @ axis, kind="stable")
    front = order[: len(order) // 2] if rng.random() < 0.5 else order[len(order) // 2 :]
    half = np.zeros(len(keypoints), bool)
    half[np.flatnonzero(known)[front]] = True
    return half


def mirror(image: np.ndarray, keypoints: np.ndarray, flip_index: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mirror left and right: twice gives the same image and keypoints back.

    Args:
        image: (H, W) or (H, W, C).
        keypoints: (..., K, 2) pixels.
        flip_index: (K,) what each keypoint becomes.
    """
    mirrored = keypoints[..., flip_index, :].copy()
    mirrored[..., 0] = image.shape[1] - 1 - mirrored[..., 0]
    return image[:, ::-1], mirrored


def _geometry(options: AugmentOptions, size_wh: tuple[int, int]) -> list[A.BasicTransform]:
    return [
        A.Affine(
            rotate=(-options.rotate, options.rotate),
            scale=(options.scale[0], options.scale[1]),
            keep_ratio=True,
            translate_percent=(-options.shift, options.shift),
            interpolation=cv2.INTER_LINEAR,
            border_mode=cv2.BORDER_CONSTANT,
            p=1.0,
        ),
        A.CenterCrop(height=size_wh[1], width=size_wh[0]),
    ]


def _photometry(options: AugmentOptions) -> list[A.BasicTransform | A.BaseCompose]:
    return [
        A.OneOf(
            [
                A.RandomBrightnessContrast(brightness_limit=0.35, contrast_limit=0.5),
                A.RandomGamma(gamma_limit=(45, 200)),
                A.CLAHE(clip_limit=(1, 4)),
                A.Illumination(intensity_range=(0.05, 0.2)),
            ],
            p=options.light,
        ),
        A.InvertImg(p=options.invert),
        A.OneOf(
            [A.GaussianBlur(blur_limit=(3, 7)), A.MotionBlur(blur_limit=(3, 9)), A.Sharpen(alpha=(0.1, 0.4))],
            p=options.blur,
        ),
        A.OneOf(
            [
                A.GaussNoise(std_range=(0.01, 0.08)),
                A.ImageCompression(quality_range=(25, 80)),
                A.Downscale(scale_range=(0.4, 0.8)),
                A.MultiplicativeNoise(multiplier=(0.85, 1.15), elementwise=True),
            ],
            p=options.noise,
        ),
        A.CoarseDropout(
            num_holes_range=(1, 4),
            hole_height_range=(0.05, 0.22),
            hole_width_range=(0.05, 0.22),
            fill="random_uniform",
            p=options.occlude,
        ),
    ]
