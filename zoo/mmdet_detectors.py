"""Detectors of mmdetection: RTMDet-tiny, and Faster R-CNN with ResNet-50 and FPN as in the paper.

Ye et al. (Nature Communications 2024, Methods, "Object detectors") find animals with a Faster R-CNN
(arXiv:1506.01497) on a ResNet-50 with a feature pyramid (arXiv:1612.03144); RTMDet-tiny
(arXiv:2212.07784) is the fast alternative. Both are built here for one class, "animal", from
descriptions of our own; they are for detectors that we train, the official weights are torchvision's.
`network.loss` with `training_sample` is what trains them.

mmdet is an extra (`superanimal-zoo[mmdet]`) and imported by the first call that needs it. The forks that
install with today's torch (onedl-mmcv, onedl-mmdetection) come without mmcv's compiled module `_ext`. Of
it these two networks need non-maximum suppression only, and torchvision has that: `load_mmdet` puts a
small module of this name in its place, in which everything else raises NotImplementedError as soon as it
is *called*. RoIAlign is told to use torchvision's. A compiled `_ext`, where there is one, is used instead.

Frames go in as RGB uint8; the network's own `data_preprocessor` normalises them, in training and
prediction alike. Boxes are scaled with the frame, from pixel edge to pixel edge, and are handed on without
any half pixel added, as in zoo.torchvision_detectors.
"""

from __future__ import annotations

import importlib
import importlib.machinery
import importlib.util
import logging
import sys
import types
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import torch
import torchvision
from torch import nn

from superset_vocab.errors import InputError
from zoo.detectors import Detections
from zoo.torchvision_detectors import as_detections, default_frames_per_pass, equal_sized

LOWEST_SCORE = 0.001
"""Boxes of this confidence or less are not even looked at by the networks."""

MOST_BOXES = 300
"""Boxes in a frame that the networks give out at most."""

_EXTENSION = "mmcv._ext"
_RGB_MEAN, _RGB_STD = [123.675, 116.28, 103.53], [58.395, 57.12, 57.375]  # ImageNet's, in grey levels


def load_mmdet() -> Any:
    """Import mmdet with its networks, after putting a module in the place of mmcv's compiled one.

    Returns:
        The package `mmdet`.

    Raises:
        InputError: If it is not installed.
    """
    try:
        if _EXTENSION not in sys.modules and importlib.util.find_spec(_EXTENSION) is None:
            sys.modules[_EXTENSION] = _operations()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # mmcv's, about a class that it moved
            importlib.import_module("mmdet.models")
            # torch says once in a process that meshgrid wants an indexing; mmdet's anchors give it none.
            torch.meshgrid(torch.zeros(1), torch.zeros(1))
            return importlib.import_module("mmdet")
    except ImportError as error:
        raise InputError(
            f"this detector needs mmdet, which cannot be imported here ({error}); "
            "install it with: pip install 'superanimal-zoo[mmdet]'"
        ) from error


def _operations() -> types.ModuleType:
    """A module in the place of `mmcv._ext`: `nms` works, anything else raises when it is called."""
    module = types.ModuleType(_EXTENSION, "Stands in for mmcv's compiled operations (zoo.mmdet_detectors).")
    module.__spec__ = importlib.machinery.ModuleSpec(_EXTENSION, None)  # mmengine looks for one

    def missing(name: str) -> Callable[..., Any]:
        if name.startswith("__"):
            raise AttributeError(name)

        def operation(*_: Any, **__: Any) -> Any:
            raise NotImplementedError(
                f"mmcv's compiled operation {name!r} is not in the pure Python mmcv; of mmdet this package "
                f"runs {', '.join(sorted(MMDET_DETECTORS))}, which do without"
            )

        return operation

    module.__dict__.update(nms=_nms, __getattr__=missing)
    return module


def _nms(bboxes: torch.Tensor, scores: torch.Tensor, iou_threshold: float, offset: int = 0) -> torch.Tensor:
    """Non-maximum suppression by mmcv's arguments: (N, 4) xyxy and (N,) -> places kept, best first.

    With offset 1 a box's last pixel belongs to it: its width is x2 - x1 + 1.
    """
    ends = torch.tensor([0, 0, offset, offset], dtype=bboxes.dtype, device=bboxes.device)
    return torchvision.ops.nms(bboxes + ends, scores, float(iou_threshold))


@dataclass(frozen=True)
class FrameFit:
    """How a frame is brought to the size at which a network sees it, aspect ratio kept.

    Attributes:
        short_side, long_side: The frame is scaled until its shorter or its longer side is so many pixels.
        square: Fill up to long_side x long_side with grey, to the right and below.
    """

    short_side: int
    long_side: int
    square: bool

    def __post_init__(self) -> None:
        if not 32 <= self.short_side <= self.long_side:
            raise InputError(
                f"short_side {self.short_side}, long_side {self.long_side}: "
                "want 32 <= short_side <= long_side"
            )

    def __call__(self, frame: np.ndarray) -> tuple[np.ndarray, tuple[float, float]]:
        """Fit a frame.

        Args:
            frame: (H, W, 3) uint8.

        Returns:
            (h, w, 3) uint8, and the scale of x and of y: pixels of the result over pixels of the frame.
        """
        height, width = frame.shape[:2]
        scale = min(self.short_side / min(height, width), self.long_side / max(height, width))
        w, h = max(1, round(width * scale)), max(1, round(height * scale))
        image = cv2.resize(frame, (w, h), interpolation=cv2.INTER_LINEAR)
        if self.square:
            below, right = self.long_side - h, self.long_side - w
            image = cv2.copyMakeBorder(image, 0, below, 0, right, cv2.BORDER_CONSTANT, value=(114, 114, 114))
        return image, (w / width, h / height)


FITS = {
    "rtmdet_tiny": FrameFit(short_side=640, long_side=640, square=True),
    "faster_rcnn_r50_fpn": FrameFit(short_side=800, long_side=1333, square=False),
}
"""The size at which each detector was designed to see a frame."""


def build_mmdet_detector(name: str, **options: Any) -> nn.Module:
    """Build one of mmdet's detectors with random weights, for one class. Downloads nothing.

    Args:
        name: One of `MMDET_DETECTORS`.
        **options: For "faster_rcnn_r50_fpn" `frozen_stages` (-1, none; 1 keeps the stem and the first
            stage of a pretrained ResNet) and `norm_eval` (False; True keeps the statistics of its batch
            normalisation, as small batches need). RTMDet takes none.

    Returns:
        mmdet's network: `.loss(inputs, samples)` for training, `.predict(inputs, samples)`.

    Raises:
        InputError: If there is no such detector, it does not take these options, or mmdet is missing.
    """
    if name not in MMDET_DETECTORS:
        raise InputError(f"{name!r} is no mmdet detector; there are: {', '.join(sorted(MMDET_DETECTORS))}")
    try:
        description = MMDET_DETECTORS[name](**options)
    except TypeError as error:
        raise InputError(f"detector {name!r}: {error}") from error
    load_mmdet()
    from mmdet.registry import MODELS
    from mmdet.utils.typing_utils import ConfigDict

    # Its scope is named, so that it is built the same in the middle of another mmengine program.
    network = MODELS.build(ConfigDict(_scope_="mmdet", **description))
    enabled = logging.root.manager.disable
    logging.disable(logging.INFO)  # init_weights logs a paragraph on each of some hundred tensors
    try:
        network.init_weights()
    finally:
        logging.disable(enabled)
    return network


def _rtmdet_tiny() -> dict[str, Any]:
    """RTMDet's smallest: a CSPNeXt of 1/6 the depth and 3/8 the width. It wants blue, green, red."""
    norm, activation = {"type": "BN"}, {"type": "SiLU", "inplace": True}
    layers = {"norm_cfg": norm, "act_cfg": activation}
    channels = [96, 192, 384]
    head = {
        "type": "RTMDetSepBNHead",
        "num_classes": 1,
        "in_channels": channels[0],
        "feat_channels": channels[0],
        "stacked_convs": 2,
        "share_conv": True,
        "pred_kernel_size": 1,
        "exp_on_reg": False,
        "with_objectness": False,
        "anchor_generator": {"type": "MlvlPointGenerator", "offset": 0, "strides": [8, 16, 32]},
        "bbox_coder": {"type": "DistancePointBBoxCoder"},
        "loss_cls": {"type": "QualityFocalLoss", "use_sigmoid": True, "beta": 2.0, "loss_weight": 1.0},
        "loss_bbox": {"type": "GIoULoss", "loss_weight": 2.0},
        **layers,
    }
    size = {"deepen_factor": 0.167, "widen_factor": 0.375, "expand_ratio": 0.5, "channel_attention": True}
    return {
        "type": "RTMDet",
        "data_preprocessor": {**_normalisation(_RGB_MEAN[::-1], _RGB_STD[::-1]), "rgb_to_bgr": True},
        "backbone": {"type": "CSPNeXt", "arch": "P5", **size, **layers},
        "neck": {
            "type": "CSPNeXtPAFPN",
            "in_channels": channels,
            "out_channels": channels[0],
            "num_csp_blocks": 1,
            "expand_ratio": 0.5,
            **layers,
        },
        "bbox_head": head,
        "train_cfg": {
            "assigner": {"type": "DynamicSoftLabelAssigner", "topk": 13},
            "allowed_border": -1,
            "pos_weight": -1,
            "debug": False,
        },
        # 1000 candidates of each level instead of 30000: one class needs no more, and suppression is faster
        "test_cfg": {"nms_pre": 1000, "min_bbox_size": 0, **_final_boxes(0.65)},
    }


def _faster_rcnn_r50_fpn(frozen_stages: int = -1, norm_eval: bool = False) -> dict[str, Any]:
    """The paper's detector: ResNet-50, a pyramid of five levels, and a head of two linear layers."""
    n_channels, strides = 256, [4, 8, 16, 32, 64]
    return {
        "type": "FasterRCNN",
        "data_preprocessor": {**_normalisation(_RGB_MEAN, _RGB_STD), "pad_size_divisor": 32},
        "backbone": {
            "type": "ResNet",
            "depth": 50,
            "num_stages": 4,
            "out_indices": (0, 1, 2, 3),
            "style": "pytorch",
            "norm_cfg": {"type": "BN", "requires_grad": True},
            "norm_eval": norm_eval,
            "frozen_stages": frozen_stages,
        },
        "neck": {
            "type": "FPN",
            "in_channels": [256, 512, 1024, 2048],
            "out_channels": n_channels,
            "num_outs": len(strides),
        },
        "rpn_head": {
            "type": "RPNHead",
            "in_channels": n_channels,
            "feat_channels": n_channels,
            "anchor_generator": {
                "type": "AnchorGenerator",
                "scales": [8],
                "ratios": [0.5, 1.0, 2.0],
                "strides": strides,
            },
            "bbox_coder": _box_coder([1.0, 1.0, 1.0, 1.0]),
            "loss_cls": {"type": "CrossEntropyLoss", "use_sigmoid": True, "loss_weight": 1.0},
            "loss_bbox": {"type": "L1Loss", "loss_weight": 1.0},
        },
        "roi_head": _roi_head(n_channels, strides[:4]),
        "train_cfg": {
            "rpn": _matching(0.7, 0.3, n_samples=256, positive=0.5, weak=True),
            "rpn_proposal": _proposals(2000),
            "rcnn": _matching(0.5, 0.5, n_samples=512, positive=0.25, weak=False),
        },
        "test_cfg": {"rpn": _proposals(1000), "rcnn": _final_boxes(0.5)},
    }


def _roi_head(n_channels: int, strides: list[int]) -> dict[str, Any]:
    """The second stage: features of each proposal, 7 x 7, to a class and a better box."""
    align = {"type": "RoIAlign", "output_size": 7, "sampling_ratio": 0, "use_torchvision": True}
    return {
        "type": "StandardRoIHead",
        "bbox_roi_extractor": {
            "type": "SingleRoIExtractor",
            "roi_layer": align,
            "out_channels": n_channels,
            "featmap_strides": strides,
        },
        "bbox_head": {
            "type": "Shared2FCBBoxHead",
            "in_channels": n_channels,
            "fc_out_channels": 1024,
            "roi_feat_size": 7,
            "num_classes": 1,
            "reg_class_agnostic": False,
            "bbox_coder": _box_coder([0.1, 0.1, 0.2, 0.2]),
            "loss_cls": {"type": "CrossEntropyLoss", "use_sigmoid": False, "loss_weight": 1.0},
            "loss_bbox": {"type": "L1Loss", "loss_weight": 1.0},
        },
    }


def _normalisation(mean: list[float], std: list[float]) -> dict[str, Any]:
    return {"type": "DetDataPreprocessor", "mean": mean, "std": std}


def _box_coder(stds: list[float]) -> dict[str, Any]:
    """Boxes as shifts and logarithmic sizes relative to an anchor or a proposal."""
    return {"type": "DeltaXYWHBBoxCoder", "target_means": [0.0] * 4, "target_stds": stds}


def _proposals(n_before: int) -> dict[str, Any]:
    """Which proposals of the first stage go on to the second."""
    suppression = {"type": "nms", "iou_threshold": 0.7}
    return {"nms_pre": n_before, "max_per_img": 1000, "nms": suppression, "min_bbox_size": 0}


def _final_boxes(overlap: float) -> dict[str, Any]:
    """Which boxes are given out."""
    suppression = {"type": "nms", "iou_threshold": overlap}
    return {"score_thr": LOWEST_SCORE, "nms": suppression, "max_per_img": MOST_BOXES}


def _matching(
    animal: float, background: float, *, n_samples: int, positive: float, weak: bool
) -> dict[str, Any]:
    """How boxes of a stage are matched to labelled ones, by overlap, and sampled for its loss.

    Args:
        animal: Overlap from which a box is the animal's.
        background: Overlap below which it is background.
        n_samples: Boxes of an image that count in the loss.
        positive: Share of animals among them, at most.
        weak: Whether the best box of each animal is its own even below `animal`. In the first stage; in
            the second the labelled boxes themselves are among the samples instead.
    """
    return {
        "assigner": {
            "type": "MaxIoUAssigner",
            "pos_iou_thr": animal,
            "neg_iou_thr": background,
            "min_pos_iou": background,
            "match_low_quality": weak,
            "ignore_iof_thr": -1,
        },
        "sampler": {
            "type": "RandomSampler",
            "num": n_samples,
            "pos_fraction": positive,
            "neg_pos_ub": -1,
            "add_gt_as_proposals": not weak,
        },
        "allowed_border": -1,
        "pos_weight": -1,
        "debug": False,
    }


MMDET_DETECTORS: dict[str, Callable[..., dict[str, Any]]] = {
    "faster_rcnn_r50_fpn": _faster_rcnn_r50_fpn,
    "rtmdet_tiny": _rtmdet_tiny,
}
"""Name -> function that describes the network in mmdet's terms."""


def training_sample(
    bbox_xywh: np.ndarray, size_wh: Sequence[int], scale: Sequence[float] = (1.0, 1.0)
) -> Any:
    """Labelled boxes of an image as mmdet's `loss` wants them.

    Args:
        bbox_xywh: (N, 4) boxes in pixels of the frame; rows with NaN are left out.
        size_wh: Width and height of the image that the network sees, without any filling.
        scale: Of x and y, from the frame to that image, as `FrameFit` gives it.

    Returns:
        A `DetDataSample`. `network.data_preprocessor({"inputs": [(3, h, w) RGB uint8], "data_samples":
        [sample]}, True)` makes the two arguments of `network.loss` from a batch.
    """
    load_mmdet()
    from mmdet.structures import DetDataSample
    from mmdet.utils.typing_utils import InstanceData

    boxes = np.asarray(bbox_xywh, np.float32).reshape(-1, 4)
    boxes = boxes[np.isfinite(boxes).all(1)] * np.tile(np.asarray(scale, np.float32), 2)
    boxes = torch.from_numpy(np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1))
    sample = DetDataSample(metainfo=_about(size_wh, scale))
    sample.gt_instances = InstanceData(bboxes=boxes, labels=torch.zeros(len(boxes), dtype=torch.long))
    return sample


def _about(size_wh: Sequence[int], scale: Sequence[float]) -> dict[str, Any]:
    """What mmdet has to know of an image: boxes are cut off at `img_shape`, which is without filling."""
    shape = (int(size_wh[1]), int(size_wh[0]))
    return {"img_shape": shape, "ori_shape": shape, "scale_factor": (float(scale[0]), float(scale[1]))}


class MMDetDetector:
    """Boxes from one of mmdet's detectors.

    Args:
        network: As `build_mmdet_detector` makes one, in evaluation mode.
        short_side, long_side, square: How it sees frames: the attributes of `FrameFit`; `FITS` has them.
        score_threshold: Boxes of this confidence or less are no animals, in [0.001, 1).
        max_detections: Most animals in a frame, 1 to 300.
        device: Where the network runs.
        frames_per_pass: Frames of one size that go through the network together; None chooses by device.

    Raises:
        InputError: If an argument is out of its range.
    """

    def __init__(
        self,
        network: nn.Module,
        *,
        short_side: int,
        long_side: int,
        square: bool,
        score_threshold: float = 0.3,
        max_detections: int = 100,
        device: torch.device | str = "cpu",
        frames_per_pass: int | None = None,
    ) -> None:
        if not LOWEST_SCORE <= score_threshold < 1:
            raise InputError(f"score_threshold is {score_threshold}, want a number in [{LOWEST_SCORE}, 1)")
        if not 1 <= max_detections <= MOST_BOXES:
            raise InputError(f"max_detections is {max_detections}, want 1 to {MOST_BOXES}")
        self.network, self.device = network, torch.device(device)
        self.fit = FrameFit(short_side, long_side, square)
        self.score_threshold, self.max_detections = score_threshold, max_detections
        self.frames_per_pass = frames_per_pass or default_frames_per_pass(self.device)

    def __call__(self, frames: Sequence[np.ndarray]) -> list[Detections]:
        """(H, W, 3) RGB uint8 frames -> the animals in each, by falling confidence."""
        found: dict[int, Detections] = {}
        for places in equal_sized(frames, self.frames_per_pass):
            outputs = self._predict([frames[i] for i in places])
            found.update((i, self._detections(output)) for i, output in zip(places, outputs, strict=True))
        return [found[i] for i in range(len(frames))]

    def _predict(self, frames: list[np.ndarray]) -> list[Any]:
        """What mmdet predicts on frames of one size: boxes in pixels of the frame."""
        from mmdet.structures import DetDataSample

        images, samples = [], []
        for frame in frames:
            image, scale = self.fit(frame)
            size_wh = [round(s * side) for s, side in zip(scale, frame.shape[1::-1], strict=True)]
            images.append(torch.from_numpy(image).permute(2, 0, 1).contiguous())
            samples.append(DetDataSample(metainfo=_about(size_wh, scale)))
        network: Any = self.network
        with torch.inference_mode():
            data = network.data_preprocessor({"inputs": images, "data_samples": samples}, False)
            return network.predict(data["inputs"], data["data_samples"], rescale=True)

    def _detections(self, output: Any) -> Detections:
        """The boxes of one frame, which mmdet has sorted, that are animals."""
        boxes = output.pred_instances
        animals = (boxes.scores > self.score_threshold).nonzero()[: self.max_detections, 0]
        return as_detections(boxes.bboxes[animals], boxes.scores[animals])
