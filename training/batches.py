"""Label records to training samples: crops around animals, whole frames, and the detector's frames.

A sample is a dict of tensors (shapes without the batch axis):
    image            (1 or 3, H, W) float32, standardised over the image
    heatmaps         (K, h, w) float32, Gaussians; all zero where a keypoint is not annotated
    keypoint_weight  (K,) float32, exactly 0 where the dataset does not define the keypoint
    locref           (2K, h, w), locref_weight (K, h, w): offsets to the keypoint, cells near it only
    pafs             (2E, h, w), pafs_weight (E,): part affinity fields, where the loss wants them
    size             (2, h, w), size_weight (1, h, w): only in the view "detector", where K is 1
    boxes            (N, 4) xywh pixels, with `image` (3, H, W) uint8 of any size and `shown_wh` (2,), its
                     part that is not filling: only in the view "boxes", and nothing else there
A keypoint that augmentation or cropping has moved out of the input counts as not annotated: the
network is taught that it is not to be seen.

Which box is an animal's: the extent of its annotated keypoints, without those behind the tail base
(`OUTSIDE_BOX`), grown by `BOX_MARGIN` of the longer side. Datasets draw their own boxes in too many
ways to learn from, and this one can be made anew after any rotation. The dataset's box serves only
animals with fewer than two such keypoints.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch.utils.data import Dataset

from superset_vocab import InputError, LabelRecord, LabelSet, Vocabulary, load_vocabulary
from training.augment import Augmentation, half_of
from training.images import ImageStore
from training.losses import keypoint_weight
from training.recipe import AugmentOptions, Batch, Recipe
from zoo.codecs import encode_heatmaps, encode_locref
from zoo.crops import NORMALISATIONS
from zoo.grouping import encode_pafs, limb_weight
from zoo.mmdet_detectors import FrameFit
from zoo.transforms import apply_matrix, crop_matrix, resize_matrix, square_around, warp

OUTSIDE_BOX = frozenset({"tail1", "tail2", "tail3", "tail4", "tail5", "tail_end"})
BOX_MARGIN = 0.1
_MARGIN_OF_CROP = 1.5  # what is cut out before augmentation, over what is left after it


def keypoint_box(keypoints: np.ndarray, in_box: np.ndarray, margin: float = BOX_MARGIN) -> np.ndarray:
    """Boxes around annotated keypoints.

    Args:
        keypoints: (N, K, 2) pixels; NaN where not annotated.
        in_box: (K,) bool, keypoints that count.
        margin: Growth on every side, as a fraction of the longer side.

    Returns:
        (N, 4) xywh; NaN for animals with fewer than two such keypoints.
    """
    boxes = np.full((len(keypoints), 4), np.nan)
    for n, points in enumerate(keypoints[:, in_box]):
        points = points[np.isfinite(points).all(-1)]
        if len(points) >= 2:
            low, high = points.min(0), points.max(0)
            grow = margin * max((high - low).max(), 1.0)
            boxes[n] = np.concatenate([low - grow, high - low + 2 * grow])
    return boxes


@dataclass(frozen=True)
class Options:
    """What a dataset needs of a recipe."""

    batch: Batch
    augmentation: AugmentOptions
    masking: bool
    seed: int
    locref_radius: float = 0.0
    paf_radius: float = 0.0


@dataclass(frozen=True)
class CropTruth:
    """What a crop's keypoints are measured against.

    Attributes:
        keypoints: (K, 2) pixels of the crop; NaN where not annotated.
        pixel_size: Image pixels per pixel of the crop.
        area: Of the animal's box, image pixels squared (OKS).
    """

    keypoints: np.ndarray
    pixel_size: float
    area: float


class PoseDataset(Dataset[dict[str, torch.Tensor]]):
    """Samples of a label set in one of the views.

    Args:
        labels: In a vocabulary.
        options: What a sample is.
        images: Reads and keeps the images.
        skipped: One sentence for each image that was left out of the labels.

    Attributes:
        groups: Dataset name of every sample, for balanced sampling.
        n_images: Different images among them.
    """

    def __init__(
        self,
        labels: LabelSet,
        options: Options,
        images: ImageStore | None = None,
        skipped: tuple[str, ...] = (),
        boxes: Mapping[Path, np.ndarray] | None = None,
    ) -> None:
        if labels.vocabulary is None:
            raise InputError("training needs labels projected into a vocabulary; run `zoo convert` first")
        self.vocabulary: Vocabulary = load_vocabulary(labels.vocabulary)
        self.options = options
        self.records = labels.records
        self.in_box = np.array([name not in OUTSIDE_BOX for name in self.vocabulary.keypoints])
        self.boxes = [self._boxes(r) if boxes is None else boxes[r.image] for r in labels.records]
        self.items = self._items()
        self.groups = tuple(self.records[r].dataset for r, _ in self.items)
        self.n_images = len({self.records[r].image for r, _ in self.items})
        if not self.items:
            raise InputError("the labels have no animal to train on")
        size, flip = options.batch.input_size, self.vocabulary.flip_index
        self._augmentations: dict[tuple[int, int], Augmentation] = {}
        self.augmentation = Augmentation(options.augmentation, (size[0], size[1]), flip)
        self.labels, self.skipped = labels, skipped
        self._image = images or ImageStore(grey=options.batch.grey, cache_mb=0)
        self._normalise = NORMALISATIONS[options.batch.normalisation]

    def __len__(self) -> int:
        return len(self.items)

    def _boxes(self, record: LabelRecord) -> np.ndarray:
        boxes = keypoint_box(record.keypoints, self.in_box)
        return np.where(np.isfinite(boxes).all(-1, keepdims=True), boxes, record.bbox_xywh)

    def _items(self) -> list[tuple[int, int]]:
        """(record, instance) of every sample; instance -1 is the whole frame."""
        if self.options.batch.view != "crop":
            return [(r, -1) for r in range(len(self.records))]
        return [
            (r, n)
            for r, boxes in enumerate(self.boxes)
            for n in range(len(boxes))
            if np.isfinite(boxes[n]).all() and self.records[r].annotated[n].any()
        ]

    def __getitem__(self, key: tuple[int, int]) -> dict[str, torch.Tensor]:
        """The sample of (index, position in the run); augmentation depends on (seed, position) only."""
        index, position = key
        seed = int(np.random.default_rng([self.options.seed, position]).integers(2**31))
        r, n = self.items[index]
        record, image = self.records[r], self._image(self.records[r].image)
        chosen = slice(n, n + 1) if n >= 0 else slice(None)
        if self.options.batch.view == "detector":
            return self._detector_sample(image, record, self.boxes[r], seed)
        if self.options.batch.view == "boxes":
            return self._boxes_sample(image, record, self.boxes[r], seed)
        box = self._crop_box(record, self.boxes[r][n], n, seed) if n >= 0 else None
        matrix, size_wh = self._region(record, box)
        region = warp(image, matrix, size_wh)
        points = apply_matrix(record.keypoints[chosen], matrix)
        region, points, flipped = self.augmentation(region, points, seed)
        if box is not None:
            points = points - self._published_shift(box)
        visibility = record.visibility[chosen]
        if flipped:
            visibility = visibility[:, self.vocabulary.flip_index]
        return self._sample(region, points, visibility)

    def frame(self, record: int) -> np.ndarray:
        """(H, W, 3) RGB uint8: the whole image of a record, as it is."""
        image = self._image(self.records[record].image)
        return image if image.ndim == 3 else image[..., None].repeat(3, axis=2)

    def truth(self, index: int) -> CropTruth:
        """What is annotated in a sample of the view "crop" that has not been augmented."""
        r, n = self.items[index]
        record, batch = self.records[r], self.options.batch
        square = square_around(self.boxes[r][n], batch.context)
        size = batch.input_size[0]
        points = apply_matrix(record.keypoints[n], crop_matrix(square, size))
        points = points - self._published_shift(self.boxes[r][n])
        w, h = record.bbox_xywh[n, 2:]
        if not (np.isfinite(w * h) and w * h > 0):
            w, h = np.maximum(np.nanmax(record.keypoints[n], 0) - np.nanmin(record.keypoints[n], 0), 1.0)
        return CropTruth(points, float(square[2]) / size, float(w * h))

    def _crop_box(self, record: LabelRecord, box: np.ndarray, n: int, seed: int) -> np.ndarray:
        """The box around an animal, or at times around one half of it."""
        options = self.options.augmentation
        if not options.half_body:
            return box
        rng = np.random.default_rng([seed, 1])  # not the stream of the other augmentations
        points = record.keypoints[n]
        annotated = np.isfinite(points).all(-1) & self.in_box
        if rng.random() >= options.half_body or annotated.sum() < options.half_body_keypoints:
            return box
        half = half_of(np.where(annotated[:, None], points, np.nan), rng)
        return keypoint_box(points[None], half)[0]

    def _published_shift(self, box: np.ndarray) -> float:
        """Half an image pixel, in pixels of the crop, where targets are as for the published networks.

        `zoo.crops.published_crop` says that a pixel x of the image is at (x - x1) * s of the crop, and
        `zoo.decoders.argmax` that cell j is at (j + 0.5) * stride there; here the same pixel is at
        (x - x1 + 0.5) * s - 0.5, and cell j at (j + 0.5) * stride - 0.5. What is left is s / 2.
        """
        if self.options.batch.crop == "square":
            return 0.0
        side = float(square_around(box, self.options.batch.context)[2])
        return 0.5 * self.options.batch.input_size[0] / side

    def _region(self, record: LabelRecord, box: np.ndarray | None) -> tuple[np.ndarray, tuple[int, int]]:
        """Matrix and size of what is cut out: larger than the input, so that rotation finds pixels."""
        w, h = self.options.batch.input_size
        if box is None:
            matrix, _ = resize_matrix(record.size_wh, (w, h))
            return matrix, (w, h)
        large = round(w * _MARGIN_OF_CROP)
        square = square_around(box, self.options.batch.context * _MARGIN_OF_CROP)
        return crop_matrix(square, large), (large, large)

    def _sample(
        self, image: np.ndarray, points: np.ndarray, visibility: np.ndarray
    ) -> dict[str, torch.Tensor]:
        """Tensors of an augmented input."""
        batch = self.options.batch
        size = np.array(batch.input_size)
        inside = np.isfinite(points).all(-1) & (points > -0.5).all(-1) & (points < size - 0.5).all(-1)
        visible = np.asarray(inside & (visibility >= 1))
        # A frame's keypoint is defined or not for all its animals alike: they share a dataset.
        weight = keypoint_weight(visibility, masking=self.options.masking)
        weight = weight.min(0) if len(weight) else np.zeros(len(self.vocabulary), np.float32)
        sample: dict[str, Any] = {
            "image": self._to_input(image),
            "heatmaps": encode_heatmaps(points, visible, (size[0], size[1]), batch.stride, batch.sigma),
            "keypoint_weight": weight,
        }
        if self.options.locref_radius > 0:
            locref, near = encode_locref(
                points, visible, (size[0], size[1]), batch.stride, self.options.locref_radius
            )
            sample["locref"], sample["locref_weight"] = locref, near * weight[:, None, None]
        if self.options.paf_radius > 0:
            bones, radius = self.vocabulary.bones, self.options.paf_radius
            sample["pafs"] = encode_pafs(points, visible, bones, (size[0], size[1]), batch.stride, radius)
            sample["pafs_weight"] = limb_weight(weight, bones)
        return {name: torch.from_numpy(np.ascontiguousarray(value)) for name, value in sample.items()}

    def _detector_sample(
        self, image: np.ndarray, record: LabelRecord, boxes: np.ndarray, seed: int
    ) -> dict[str, torch.Tensor]:
        """Centres and sizes of all animals of a frame; boxes are made anew after the augmentation."""
        w, h = self.options.batch.input_size
        matrix, _ = resize_matrix(record.size_wh, (w, h))
        fitted = warp(image, matrix, (w, h))
        region, new = self._augment_boxes(fitted, record.keypoints, boxes, matrix, seed)
        centres = (new[:, :2] + new[:, 2:] / 2)[:, None]
        inside = np.asarray(((centres > -0.5) & (centres < np.array([w, h]) - 0.5)).all(-1))
        stride, sigma = self.options.batch.stride, self.options.batch.sigma
        heat = encode_heatmaps(centres, inside, (w, h), stride, sigma)
        size, near = _size_maps(centres[:, 0], new[:, 2:], inside[:, 0], (w, h), stride)
        sample = {
            "image": self._to_input(region),
            "heatmaps": heat,
            "keypoint_weight": np.ones(1, np.float32),
            "size": size,
            "size_weight": near,
        }
        return {name: torch.from_numpy(value) for name, value in sample.items()}

    def _boxes_sample(
        self, image: np.ndarray, record: LabelRecord, boxes: np.ndarray, seed: int
    ) -> dict[str, torch.Tensor]:
        """A frame as mmdet's detectors see it (`zoo.mmdet_detectors.FrameFit`), and the boxes in it."""
        longest, shortest = self.options.batch.input_size
        fit = FrameFit(shortest, longest, square=longest == shortest)
        colour = image if image.ndim == 3 else image[..., None].repeat(3, axis=2)
        fitted, scale = replace(fit, square=False)(np.ascontiguousarray(colour))
        matrix = np.diag([*scale, 1.0])[:2]  # from pixel edge to pixel edge; see that module
        region, new = self._augment_boxes(fitted, record.keypoints, boxes, matrix, seed)
        h, w = region.shape[:2]
        low, high = np.clip(new[:, :2], 0, [w, h]), np.clip(new[:, :2] + new[:, 2:], 0, [w, h])
        new = np.concatenate([low, high - low], axis=1)
        new = new[(new[:, 2:] > 1).all(-1)]
        if fit.square:
            padding = (0, longest - h, 0, longest - w)
            region = cv2.copyMakeBorder(region, *padding, cv2.BORDER_CONSTANT, value=(114, 114, 114))
        return {
            "image": torch.from_numpy(np.ascontiguousarray(region.transpose(2, 0, 1))),
            "boxes": torch.from_numpy(new.astype(np.float32)),
            "shown_wh": torch.tensor([w, h]),
        }

    def _augment_boxes(
        self, image: np.ndarray, keypoints: np.ndarray, boxes: np.ndarray, matrix: np.ndarray, seed: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Augment a fitted frame; boxes are made anew from the keypoints where these suffice.

        Args:
            image: The fitted frame.
            keypoints: (N, K, 2) pixels of the frame before fitting.
            boxes: (N, 4) xywh likewise.
            matrix: (2, 3), from there to the fitted frame.
            seed: Of the augmentation.

        Returns:
            The image, and (M, 4) xywh boxes in it.
        """
        points = apply_matrix(keypoints, matrix)
        corners = apply_matrix(_corners(boxes), matrix)
        everything = np.concatenate([points, corners], axis=1)
        h, w = image.shape[:2]
        region, moved, _ = self._boxes_augmentation((w, h))(image, everything, seed)
        points, corners = moved[:, : points.shape[1]], moved[:, points.shape[1] :]
        new = keypoint_box(points, self.in_box)
        fallback = keypoint_box(corners, np.ones(4, bool), margin=0.0)
        new = np.where(np.isfinite(new).all(-1, keepdims=True), new, fallback)
        return region, new[np.isfinite(new).all(-1)]

    def _boxes_augmentation(self, size_wh: tuple[int, int]) -> Augmentation:
        """Boxes have no left and right, and the four box corners ride along as further points."""
        if size_wh not in self._augmentations:
            flip = np.concatenate([self.vocabulary.flip_index, len(self.vocabulary) + np.arange(4)])
            self._augmentations[size_wh] = Augmentation(self.options.augmentation, size_wh, flip)
        return self._augmentations[size_wh]

    def _to_input(self, image: np.ndarray) -> np.ndarray:
        """uint8 (H, W) or (H, W, 3) -> normalised float32 (C, H, W)."""
        channels = image[None] if image.ndim == 2 else image.transpose(2, 0, 1)
        return self._normalise(channels[None])[0]


def _corners(boxes: np.ndarray) -> np.ndarray:
    """(N, 4) xywh -> (N, 4, 2) corners."""
    x, y, w, h = boxes.reshape(-1, 4).T
    return np.stack(
        [np.stack([x, y], 1), np.stack([x + w, y], 1), np.stack([x + w, y + h], 1), np.stack([x, y + h], 1)],
        1,
    )


def _size_maps(
    centres: np.ndarray, sizes: np.ndarray, inside: np.ndarray, input_wh: tuple[int, int], stride: int
) -> tuple[np.ndarray, np.ndarray]:
    """Logarithm of box width and height over the input width, in the 3 x 3 cells around each centre."""
    w, h = input_wh[0] // stride, input_wh[1] // stride
    size, near = np.zeros((2, h, w), np.float32), np.zeros((1, h, w), np.float32)
    for centre, wh in zip(centres[inside], sizes[inside], strict=True):
        column, row = np.clip(np.round((centre - (stride - 1) / 2) / stride).astype(int), 0, [w - 1, h - 1])
        cells = np.s_[:, max(row - 1, 0) : row + 2, max(column - 1, 0) : column + 2]
        size[cells] = np.log(np.maximum(wh, 1.0) / input_wh[0])[:, None, None]
        near[cells] = 1
    return size, near


def build_dataset(
    recipe: Recipe, labels: LabelSet, *, seed: int, boxes: Mapping[Path, np.ndarray] | None = None
) -> PoseDataset:
    """The dataset that a recipe asks for; every image is decoded once to see that it is one.

    Args:
        recipe: What to make of the labels.
        labels: In a superset vocabulary.
        seed: Of the augmentation.
        boxes: Image -> (N, 4) xywh px of its animals, in place of those made from the keypoints.

    Raises:
        InputError: If the labels are in no vocabulary or have no animal, or there are damaged images and the
            recipe refuses them.
    """
    if labels.vocabulary is None:
        raise InputError("training needs labels projected into a vocabulary; run `zoo convert` first")
    images = ImageStore(grey=recipe.batch.grey, cache_mb=recipe.run.cache_mb)
    labels, skipped = images.check(labels, on_bad=recipe.data.bad_images)
    options = Options(
        recipe.batch,
        recipe.augmentation,
        recipe.run.masking,
        seed,
        locref_radius=0.0 if recipe.loss.locref == "none" else 2.0 * recipe.batch.sigma,
        paf_radius=0.0 if recipe.loss.pafs == "none" else 1.0 * recipe.batch.sigma,
    )
    return PoseDataset(labels, options, images, skipped, boxes)


def without_augmentation(recipe: Recipe) -> Recipe:
    """The recipe for measuring: its samples as they are."""
    still = AugmentOptions(
        rotate=0.0, scale=(1.0, 1.0), shift=0.0, flip=0.0, light=0.0, blur=0.0, noise=0.0, occlude=0.0
    )
    return replace(recipe, augmentation=still)
