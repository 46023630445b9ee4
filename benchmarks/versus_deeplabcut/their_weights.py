"""Checkpoints in the published layout, for where no published weights are at hand.

Runs in DeepLabCut's environment: the networks are built by its own builders, so names and shapes of the
tensors are as published. The weights are random, but not all of them, so that both packages have the work
that they have with published ones: one animal a frame.

- The statistics of the normalisation layers are those of frames of the clip, so that values neither fade
  nor explode from layer to layer.
- Heatmaps are scaled so that confidences are spread over [0, 1].
- The detector proposes regions by random weights, as many as with trained ones, and looks at each of them;
  but then every region is grown to the whole frame, and so one animal is found, with the frame as its box.
  Purely random detectors find an animal in every corner, or nowhere.

Poses from such weights mean nothing. That two runtimes give the same ones does.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

_GROWTH = math.log(1000 / 16)  # the most that torchvision lets a region grow in one step
_PROPOSED = math.log(4)  # so that no region is too small to grow to the frame
_CONFIDENCE = 2.5  # logit of the one detection


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
def make_pose(network: Any, crops: torch.Tensor) -> None:
    """Give a heatmap network of one last layer distinct maxima.

    Args:
        network: DeepLabCut's pose model.
        crops: (N, 3, S, S) what goes into it.
    """
    network.eval()
    settle_norms(network, lambda: network(crops))
    layer = network.heads["bodypart"].heatmap_head.deconv_layers[0]
    nn.init.normal_(layer.weight)
    nn.init.zeros_(layer.bias)
    heatmaps = network(crops)["bodypart"]["heatmap"]
    mean, best = heatmaps.mean((0, 2, 3)), heatmaps.amax((2, 3)).mean(0)
    scale = torch.linspace(0.2, 0.9, len(mean)) / (best - mean)
    layer.weight.mul_(scale[None, :, None, None])
    layer.bias.copy_(-mean * scale)


@torch.no_grad()
def make_detector(network: Any, images: list[torch.Tensor]) -> None:
    """Let torchvision's Faster R-CNN find one animal as large as the frame.

    Args:
        network: The detector with two classes.
        images: (3, H, W) what goes into it.
    """
    network.eval()
    settle_norms(network, lambda: network(images))
    proposal, predictor = network.rpn.head, network.roi_heads.box_predictor
    nn.init.normal_(proposal.cls_logits.weight, std=0.1)
    for layer, growth in ((proposal.bbox_pred, _PROPOSED), (predictor.bbox_pred, _GROWTH)):
        nn.init.zeros_(layer.weight)
        shift = torch.zeros(len(layer.bias) // 4, 4)
        # The order is x, y, width, height; the classifier's stage counts sizes in fifths.
        shift[:, 2:] = growth * (1 if layer is proposal.bbox_pred else 5)
        layer.bias.copy_(shift.flatten())
    nn.init.zeros_(predictor.cls_score.weight)
    predictor.cls_score.bias.copy_(torch.tensor([0.0, _CONFIDENCE]))
