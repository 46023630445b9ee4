"""Checkpoints in the published layout, for networks of which no published weights are at hand.

Runs in DeepLabCut's environment: the networks are built by its own builders, so names and shapes of the
tensors are as published. What is in them:

- Convolutions are random. The statistics of the normalisation layers are those of the clip's crops or
  frames, so that values neither fade nor explode from layer to layer.
- The last linear layers are fitted to labels of the clip by ridge regression, on those random features:
  the detector's region proposals, its classifier and its box regression, and the pose network's heatmaps.

Networks with random last layers too would see an animal in every corner, or nowhere; both packages would
then spend their time in ways that no user ever sees, and following an animal would mean nothing. Fitted
ones find one animal in most frames, at the cost of a minute. They are no good on any other video.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torchvision.ops import box_iou

_RIDGE = 1e-3  # relative to the mean square of the features
_JITTERED = 96  # boxes around the animal that the classifier is fitted to, in each frame


class Ridge:
    """Linear least squares with a bias, fed in parts: only the normal equations are kept."""

    def __init__(self, n_features: int, n_targets: int) -> None:
        self.xx = torch.zeros(n_features + 1, n_features + 1, dtype=torch.float64)
        self.xy = torch.zeros(n_features + 1, n_targets, dtype=torch.float64)

    def add(self, features: torch.Tensor, targets: torch.Tensor, weights: torch.Tensor) -> None:
        """Samples (N, F), what they should give (N, T), and how much each counts (N,)."""
        x = torch.cat([features.double(), torch.ones(len(features), 1, dtype=torch.float64)], dim=1)
        weighted = x * weights.double()[:, None]
        self.xx += weighted.T @ x
        self.xy += weighted.T @ targets.double()

    def solve(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Weights (F, T) and biases (T,)."""
        penalty = _RIDGE * self.xx.diagonal()[:-1].mean() * torch.eye(len(self.xx), dtype=torch.float64)
        penalty[-1, -1] = 0
        solution = torch.linalg.solve(self.xx + penalty, self.xy)
        return solution[:-1].float(), solution[-1].float()


def settle_norms(network: nn.Module, forward: Callable[[], object]) -> None:
    """Give every batch normalisation the statistics of what comes into it, from the first to the last."""
    done: set[nn.Module] = set()

    def settle(layer: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        if layer not in done:
            done.add(layer)
            x = inputs[0]
            axes = [axis for axis in range(x.ndim) if axis != 1]
            layer.running_mean.copy_(x.mean(axes))  # type: ignore[union-attr, operator]
            layer.running_var.copy_(x.var(axes))  # type: ignore[union-attr, operator]

    layers = [m for m in network.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    hooks = [layer.register_forward_pre_hook(settle) for layer in layers]
    forward()
    for hook in hooks:
        hook.remove()


def save(path: Path, network: nn.Module) -> None:
    """Write a checkpoint as the published ones are."""
    metadata = {"epoch": 0, "metrics": {}, "losses": {}}
    torch.save({"metadata": metadata, "model": network.state_dict()}, path)


@torch.no_grad()
def fit_pose(network: Any, crops: torch.Tensor, keypoints: torch.Tensor) -> None:
    """Fit a heatmap network's last layer.

    Args:
        network: DeepLabCut's pose model with a heatmap head of one 1x1 layer.
        crops: (N, 3, S, S) what goes into it.
        keypoints: (N, K, 2) px in the crops, NaN where not labelled.
    """
    network.eval()
    settle_norms(network, lambda: network(crops))
    layer = network.heads["bodypart"].heatmap_head.deconv_layers[0]
    features = torch.cat([network.backbone(crop[None]) for crop in crops])
    stride = crops.shape[-1] / features.shape[-1]
    targets = _gaussians((keypoints / stride), features.shape[-1])
    ridge = Ridge(features.shape[1], targets.shape[1])
    for x, y in zip(features, targets, strict=True):
        # The few cells near a keypoint count as much as the many others.
        y = y.flatten(1).T
        ridge.add(x.flatten(1).T, y, 1 + 50 * y.amax(1))
    weight, bias = ridge.solve()
    heatmaps = torch.einsum("nfhw,fk->nkhw", features, weight) + bias[None, :, None, None]
    best = heatmaps.amax((2, 3)).mean(0).clamp(min=1e-3)
    layer.weight.copy_((weight * 0.8 / best)[..., None, None])
    layer.bias.copy_(bias * 0.8 / best)


def _gaussians(centres: torch.Tensor, size: int, sigma: float = 2.0) -> torch.Tensor:
    """(N, K, size, size) heatmaps of keypoints (N, K, 2) in cells; all zero where NaN."""
    cells = torch.arange(size) + 0.5
    x = torch.exp(-((cells - centres[..., :1]) ** 2) / (2 * sigma**2))
    y = torch.exp(-((cells - centres[..., 1:]) ** 2) / (2 * sigma**2))
    return torch.nan_to_num(y[..., :, None] * x[..., None, :])


@torch.no_grad()
def fit_detector(network: Any, images: Sequence[torch.Tensor], bbox_xyxy: torch.Tensor) -> None:
    """Fit the last layers of torchvision's Faster R-CNN to one box in each image.

    Args:
        network: The detector with two classes.
        images: (3, H, W) what goes into it.
        bbox_xyxy: (N, 4) px.
    """
    network.eval()
    settle_norms(network, lambda: network(list(images[:3])))
    generator = torch.Generator().manual_seed(0)
    _fit_proposals(network, images, bbox_xyxy)
    head, coder = network.roi_heads, network.roi_heads.box_coder
    layer = head.box_predictor
    n_features = layer.cls_score.in_features
    classes, boxes = Ridge(n_features, 1), Ridge(n_features, 4)
    for image, truth in zip(images, bbox_xyxy, strict=True):
        seen, features, box = _features(network, image, truth)
        proposals, _ = network.rpn(seen, features)
        tried = torch.cat([proposals[0], _jittered(box, generator)])
        x = head.box_head(head.box_roi_pool(features, [tried], seen.image_sizes))
        overlap = box_iou(tried, box[None])[:, 0]
        near = overlap > 0.3
        classes.add(x, (overlap[:, None] > 0.6).double(), _balanced(overlap > 0.6))
        deltas = coder.encode_single(box.expand(int(near.sum()), 4), tried[near])
        boxes.add(x[near], deltas, torch.ones(len(deltas)))
    weight, bias = classes.solve()
    layer.cls_score.weight.zero_()[1] = 10 * weight[:, 0]
    layer.cls_score.bias.zero_()[1] = 10 * (bias[0] - 0.5)
    weight, bias = boxes.solve()
    layer.bbox_pred.weight.zero_()[4:] = weight.T
    layer.bbox_pred.bias.zero_()[4:] = bias


def _fit_proposals(network: Any, images: Sequence[torch.Tensor], bbox_xyxy: torch.Tensor) -> None:
    """Fit how much each anchor looks like the animal; anchors are proposed as they are."""
    head = network.rpn.head
    n_anchors, n_features = head.cls_logits.weight.shape[:2]
    fits = [Ridge(n_features, 1) for _ in range(n_anchors)]
    for image, truth in zip(images, bbox_xyxy, strict=True):
        seen, features, box = _features(network, image, truth)
        levels = list(features.values())
        anchors = network.rpn.anchor_generator(seen, levels)[0]
        overlaps = box_iou(anchors, box[None])[:, 0]
        for level in levels:
            x = head.conv(level)[0].flatten(1).T
            here, overlaps = overlaps[: len(x) * n_anchors], overlaps[len(x) * n_anchors :]
            for fit, overlap in zip(fits, here.view(-1, n_anchors).T, strict=True):
                fit.add(x, overlap[:, None], 1 + 100 * (overlap > 0.3))
    for n, fit in enumerate(fits):
        weight, bias = fit.solve()
        head.cls_logits.weight[n] = 10 * weight[:, 0, None, None]
        head.cls_logits.bias[n] = 10 * (bias[0] - 0.5)
    head.bbox_pred.weight.zero_()
    head.bbox_pred.bias.zero_()


def _features(network: Any, image: torch.Tensor, truth: torch.Tensor) -> tuple[Any, Any, torch.Tensor]:
    """The image as the detector sees it, the pyramid's levels, and the box in that image."""
    seen, targets = network.transform([image], [{"boxes": truth[None].float()}])
    return seen, network.backbone(seen.tensors), targets[0]["boxes"][0]


def _jittered(box: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """(n, 4) boxes around a box."""
    low, high = box[:2], box[2:]
    size = high - low
    shift = size * (0.6 * torch.rand(_JITTERED, 2, generator=generator) - 0.3)
    half = size / 2 * torch.exp(0.8 * torch.rand(_JITTERED, 2, generator=generator) - 0.4)
    centre = (low + high) / 2 + shift
    return torch.cat([centre - half, centre + half], dim=1)


def _balanced(positive: torch.Tensor) -> torch.Tensor:
    """Weights that make positive and negative samples count the same."""
    n = max(int(positive.sum()), 1)
    return torch.where(positive, (len(positive) - n) / n, 1.0)
