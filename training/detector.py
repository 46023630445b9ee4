"""Training mmdet's detectors: their loss, and mean average precision of their boxes.

The paper (Ye et al. 2024, Methods, "Object detectors") trains a Faster R-CNN with ResNet-50 and feature
pyramid on one animal category: "top-view mouse" or "quadruped", whatever the species, so that the detector
learns what an animal is. So here: all boxes of a label set are of one class. Networks and their sizes are in
`zoo.mmdet_detectors`, the samples in `training.batches` (view "boxes"), and the loop is that of all
trainings (`training.fit`): data-parallel, resumable, one recipe.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from superset_vocab import InputError
from training.batches import PoseDataset
from training.processes import Processes
from training.recipe import Recipe
from zoo.detectors import Detections
from zoo.mmdet_detectors import (
    LOWEST_SCORE,
    MMDET_DETECTORS,
    MMDetDetector,
    build_mmdet_detector,
    training_sample,
)

_IMAGENET = "resnet50.tv_in1k"  # timm's name of torchvision's weights, whose tensors are named as mmdet's


def build_detector_network(recipe: Recipe) -> nn.Module:
    """The detector that a recipe names.

    `network.options` are those of `zoo.mmdet_detectors.build_mmdet_detector`, and `pretrained = true`: the
    ResNet starts from ImageNet if timm can download its weights, and says so if it cannot.

    Raises:
        InputError: If it is none of mmdet's, or cannot be trained in this way.
    """
    name, options = recipe.network.name, dict(recipe.network.options)
    if name not in MMDET_DETECTORS:
        raise InputError(
            f'the view "boxes" trains {" and ".join(sorted(MMDET_DETECTORS))}, not {name!r}; for a heatmap '
            'network as a detector use batch.view = "detector"'
        )
    if recipe.schedule.amp == "bfloat16":
        raise InputError(f'{name}: suppression of boxes knows no bfloat16; use schedule.amp = "none"')
    if recipe.run.compile != "none":
        raise InputError(f'{name}: its loss is not compiled; use run.compile = "none"')
    pretrained = options.pop("pretrained", False)
    if pretrained and name != "faster_rcnn_r50_fpn":
        raise InputError(f"{name}: there are no pretrained weights for its backbone; leave pretrained out")
    network: Any = build_mmdet_detector(name, **options)
    if pretrained:
        from zoo.networks.timm_heatmap import create_backbone

        source = create_backbone(_IMAGENET, True).state_dict()
        network.backbone.load_state_dict({n: t for n, t in source.items() if not n.startswith("fc.")})
    return network


class BoxObjective:
    """mmdet's own loss on frames with their boxes."""

    def __init__(self, recipe: Recipe) -> None:
        self._name = recipe.network.name

    def collate(self, samples: list[dict[str, Tensor]]) -> dict[str, Any]:
        """Frames of several sizes; the network's preprocessor fills them up to one."""
        return {
            "images": [sample["image"] for sample in samples],
            "samples": [
                training_sample(sample["boxes"].numpy(), sample["shown_wh"].tolist()) for sample in samples
            ],
        }

    def __call__(self, network: nn.Module, batch: dict[str, Any]) -> dict[str, Tensor]:
        """The named terms of the loss, e.g. "rpn_cls", "rpn_bbox", "cls" and "bbox"."""
        detector: Any = network
        data = {"inputs": batch["images"], "data_samples": batch["samples"]}
        data = detector.data_preprocessor(data, True)
        losses = detector.loss(data["inputs"], data["data_samples"])
        terms = {}
        for name, value in losses.items():
            if "loss" in name:  # the others are accuracies
                parts = value if isinstance(value, list) else [value]
                terms[name.removeprefix("loss_")] = torch.stack([part.mean() for part in parts]).sum()
        return terms


class BoxValidator:
    """Average precision of the boxes that a detector finds in the labelled frames, as COCO counts it.

    The boxes to find are those of the training: made from the keypoints where these suffice
    (`training.batches`), cut off at the frame.
    """

    def __init__(self, recipe: Recipe, dataset: PoseDataset, processes: Processes) -> None:
        self._dataset, self._processes = dataset, processes
        self._longest, self._shortest = recipe.batch.input_size

    def __call__(self, network: nn.Module) -> dict[str, float]:
        """Measure."""
        detector = MMDetDetector(
            network,
            short_side=self._shortest,
            long_side=self._longest,
            square=self._longest == self._shortest,
            score_threshold=LOWEST_SCORE,
            device=next(network.parameters()).device,
        )
        dataset = self._dataset
        own = range(self._processes.rank, len(dataset.records), self._processes.count)
        pairs = [(self._truth(index), detector([dataset.frame(index)])[0]) for index in own]
        shared = [pair for part in self._processes.gather(pairs) for pair in _pairs(part)]
        return box_precision([truth for truth, _ in shared], [found for _, found in shared])

    def _truth(self, index: int) -> np.ndarray:
        """(N, 4) xywh of the animals of a frame, within it."""
        record, boxes = self._dataset.records[index], self._dataset.boxes[index]
        boxes = boxes[np.isfinite(boxes).all(1)]
        low = np.clip(boxes[:, :2], 0, record.size_wh)
        high = np.clip(boxes[:, :2] + boxes[:, 2:], 0, record.size_wh)
        inside = (high - low > 1).all(1)
        return np.concatenate([low, high - low], axis=1)[inside]


def box_precision(truth: Sequence[np.ndarray], found: Sequence[Detections]) -> dict[str, float]:
    """COCO's average precision of boxes: "map" over IoU 0.50 to 0.95, and "ap_50".

    Args:
        truth: (N, 4) xywh of each image.
        found: Of each image.

    Returns:
        Both in [0, 1]; NaN if there is no box to find.
    """
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    if not sum(map(len, truth)):
        return {"map": float("nan"), "ap_50": float("nan")}
    results = [
        {"image_id": i, "category_id": 1, "bbox": box.tolist(), "score": float(score)}
        for i, boxes in enumerate(found)
        for box, score in zip(boxes.bbox_xywh, boxes.confidence, strict=True)
    ]
    if not results:
        return {"map": 0.0, "ap_50": 0.0}
    labels = [
        {"image_id": i, "category_id": 1, "bbox": box.tolist(), "area": float(box[2] * box[3]), "iscrowd": 0}
        for i, boxes in enumerate(truth)
        for box in boxes
    ]
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints its progress
        coco: Any = COCO()
        coco.dataset = {
            "images": [{"id": i} for i in range(len(truth))],
            "annotations": [{"id": i + 1, **label} for i, label in enumerate(labels)],
            "categories": [{"id": 1, "name": "animal"}],
        }
        coco.createIndex()
        evaluation = COCOeval(coco, coco.loadRes(results), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return {"map": float(evaluation.stats[0]), "ap_50": float(evaluation.stats[1])}


def _pairs(part: object) -> list[tuple[np.ndarray, Detections]]:
    assert isinstance(part, list)
    return part
