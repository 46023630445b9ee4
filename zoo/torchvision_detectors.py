"""The three torchvision detectors of the official SuperAnimal weights.

Published beside the pose networks (Ye et al., SuperAnimal pretrained pose estimation models, Nature
Communications 2024; the paper's own detector is a Faster R-CNN with a ResNet-50 and a feature pyramid)
are Faster R-CNN with ResNet-50 (v2) or MobileNetV3 and SSDLite with MobileNetV3, all torchvision's, with
two classes: background and animal. The networks built here have exactly the tensors of the published
files, less their prefix "model.", and building one never downloads anything.

What it takes to find the same boxes as the published runtime:

- Frames are normalised by ImageNet's mean and standard deviation, and then *again* by torchvision's own
  transform, which is part of the network. Looks like a mistake, but the weights were trained that way.
- Faster R-CNN sees the frame with its shorter side at 800 pixels, the longer at 1333 at most; it
  suppresses boxes that overlap by more than 0.5 and keeps 100. SSDLite sees 320 x 320 and uses 0.55.
- Boxes count from a confidence of 0.6. The published runtime names this threshold for SSDLite too, but
  torchvision's SSD calls it otherwise and takes no notice, so that every box from 0.001 on comes
  through there. *Here it is applied to SSDLite as well*; `score_threshold=0.001` gives its 100 best.

Coordinates. torchvision resizes frames and boxes by pixel edges: a box from 0 to the width is the whole
frame. Boxes mean the same to our crops (zoo.transforms: x is the first pixel's column and the width the
number of columns), and the published crop rounds them as they are. So they are handed on without any
half pixel added. That they come to be drawn around keypoints, whose (0, 0) is the centre of a pixel,
was so in the training data too; the network has learnt it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn
from torchvision.models import detection
from torchvision.ops import FrozenBatchNorm2d

from superset_vocab.errors import InputError
from zoo.detectors import Detections

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of ImageNet's red, green and blue, in [0, 1]."""

MOST_BOXES = 100
"""Boxes in a frame that Faster R-CNN gives out at most."""

_N_CLASSES = 2  # background and animal


def _faster_rcnn(build: Callable[..., nn.Module], short_side: int = 800, long_side: int = 1333) -> nn.Module:
    """Faster R-CNN that gives out boxes of every confidence: `TorchvisionDetector` has the threshold."""
    if not 32 <= short_side <= long_side:
        raise InputError(
            f"short_side {short_side}, long_side {long_side}: want 32 <= short_side <= long_side"
        )
    return build(
        weights=None,
        weights_backbone=None,
        num_classes=_N_CLASSES,
        min_size=short_side,
        max_size=long_side,
        box_score_thresh=0.0,
        box_nms_thresh=0.5,
        box_detections_per_img=MOST_BOXES,
    )


def _resnet50_v2(**options: Any) -> nn.Module:
    return _faster_rcnn(detection.fasterrcnn_resnet50_fpn_v2, **options)


def _mobilenet_v3(**options: Any) -> nn.Module:
    """With the constant normalisation that torchvision gives backbones pretrained on ImageNet."""
    network = _faster_rcnn(detection.fasterrcnn_mobilenet_v3_large_fpn, **options)
    _freeze_batch_norm(network)
    return network


def _ssdlite() -> nn.Module:
    return detection.ssdlite320_mobilenet_v3_large(
        weights=None, weights_backbone=None, num_classes=_N_CLASSES, score_thresh=0.0
    )


def _freeze_batch_norm(module: nn.Module) -> None:
    """Replace every BatchNorm2d by a constant one: the same tensors, less the count of batches."""
    for name, child in module.named_children():
        if isinstance(child, nn.BatchNorm2d):
            # torchvision's own frozen layers have its default epsilon, not that of MobileNetV3.
            setattr(module, name, FrozenBatchNorm2d(child.num_features))
        else:
            _freeze_batch_norm(child)


TORCHVISION_DETECTORS: dict[str, Callable[..., nn.Module]] = {
    "fasterrcnn_resnet50_fpn_v2": _resnet50_v2,
    "fasterrcnn_mobilenet_v3_large_fpn": _mobilenet_v3,
    "ssdlite320_mobilenet_v3_large": _ssdlite,
}
"""Detectors of the official weights; the last is published under the name "ssdlite"."""


def build_torchvision_detector(name: str, **options: Any) -> nn.Module:
    """Build a detector with random weights, for one class besides the background.

    Args:
        name: One of `TORCHVISION_DETECTORS`.
        **options: For Faster R-CNN `short_side` and `long_side` (800 and 1333 pixels): the size at which
            it sees frames. SSDLite takes none: its size is fixed.

    Returns:
        torchvision's network. In evaluation it maps a list of (3, H, W) images to one dict of "boxes"
        (N, 4) xyxy px, "scores" (N,) and "labels" for each; in training it gives losses.

    Raises:
        InputError: If there is no such detector, or it does not take these options.
    """
    if name not in TORCHVISION_DETECTORS:
        known = ", ".join(sorted(TORCHVISION_DETECTORS))
        raise InputError(f"{name!r} is no torchvision detector; there are: {known}")
    try:
        return TORCHVISION_DETECTORS[name](**options)
    except TypeError as error:
        raise InputError(f"detector {name!r}: {error}") from error


class TorchvisionDetector:
    """Boxes from a torchvision detector, as the published runtime finds them (see the module's text).

    Args:
        network: As `build_torchvision_detector` makes one, in evaluation mode.
        score_threshold: Boxes of this confidence or less are no animals, in [0, 1). It is applied to
            every network, SSDLite included, where the published runtime by mistake does not.
        max_detections: Most animals in a frame, 1 to 100.
        device: Where the network runs.
        frames_per_pass: Frames of one size that go through the network together; None takes 1 on a
            processor, which gains nothing from more but needs half a gigabyte for each, and 8 elsewhere.

    Raises:
        InputError: If an argument is out of its range.
    """

    def __init__(
        self,
        network: nn.Module,
        *,
        score_threshold: float = 0.6,
        max_detections: int = MOST_BOXES,
        device: torch.device | str = "cpu",
        frames_per_pass: int | None = None,
    ) -> None:
        if not 0 <= score_threshold < 1:
            raise InputError(f"score_threshold is {score_threshold}, want a number in [0, 1)")
        if not 1 <= max_detections <= MOST_BOXES:
            raise InputError(f"max_detections is {max_detections}, want 1 to {MOST_BOXES}")
        self.network, self.device = network, torch.device(device)
        self.score_threshold, self.max_detections = score_threshold, max_detections
        self.frames_per_pass = frames_per_pass or default_frames_per_pass(self.device)
        # In grey levels, and multiplied by the reciprocal: these are the roundings of the published runtime,
        # with which its boxes come out to the last bit.
        self._mean = torch.tensor(MEAN, device=self.device)[:, None, None] * 255
        self._factor = 1 / (torch.tensor(STD, device=self.device)[:, None, None] * 255)

    def __call__(self, frames: Sequence[np.ndarray]) -> list[Detections]:
        """(H, W, 3) RGB uint8 frames -> the animals in each, by falling confidence."""
        found: dict[int, Detections] = {}
        for places in equal_sized(frames, self.frames_per_pass):
            images = torch.from_numpy(np.stack([frames[i] for i in places])).to(self.device)
            images = (images.permute(0, 3, 1, 2).float() - self._mean) * self._factor
            with torch.inference_mode():
                outputs = self.network(list(images))
            found.update((i, self._detections(output)) for i, output in zip(places, outputs, strict=True))
        return [found[i] for i in range(len(frames))]

    def _detections(self, output: dict[str, torch.Tensor]) -> Detections:
        """The boxes of one frame, which torchvision has sorted, that are animals."""
        animals = (output["scores"] > self.score_threshold).nonzero()[: self.max_detections, 0]
        return as_detections(output["boxes"][animals], output["scores"][animals])


def default_frames_per_pass(device: torch.device) -> int:
    """Frames that a large detector best sees together on a device."""
    return 1 if device.type == "cpu" else 8


def equal_sized(frames: Sequence[np.ndarray], most: int) -> Iterator[list[int]]:
    """Places of frames that go through a network together: of one size, and not more than `most`.

    Frames of different sizes would be padded to a common one, and their boxes depend on the company.
    """
    groups: dict[tuple[int, ...], list[int]] = {}
    for i, frame in enumerate(frames):
        groups.setdefault(frame.shape, []).append(i)
    for places in groups.values():
        for start in range(0, len(places), most):
            yield places[start : start + most]


def as_detections(bbox_xyxy: torch.Tensor, confidence: torch.Tensor) -> Detections:
    """(N, 4) boxes xyxy px and (N,) confidence, sorted -> detections."""
    boxes = bbox_xyxy.float().cpu().numpy().reshape(-1, 4)
    return Detections(
        np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1).astype(np.float32),
        confidence.float().cpu().numpy().astype(np.float32),
    )
