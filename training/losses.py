"""Masked losses: what a superset network is and is not taught about keypoints (SuperAnimal paper, eqs 1-3).

A label set defines only some keypoints of the superset. Whether keypoint k of an image may be
penalised is its weight n_k, which every loss here requires: exactly 0 where the dataset does not
define k, 1 where it does. "Not annotated" keeps weight 1 with an all-zero target, because the
annotator's "it is not to be seen" is information; "undefined" is not (paper, "Keypoint gradient masking").

Normalisation. The paper's sums become: sum over keypoints, mean over the images of the batch, and for
each keypoint map the mean over its own pixels of weight above zero. The denominator never counts how
many keypoints are defined, hence
  - the gradient in a defined channel is bit for bit that of the unmasked loss, whatever else is masked,
  - a batch in which few keypoints are defined neither vanishes (each pulls with its full force) nor
    explodes (the one defined keypoint does not stand in for the rest),
  - widening a vocabulary by keypoints that no dataset defines changes neither loss nor gradient.

NaN is a legal target of an undefined keypoint (0 * NaN would be NaN), so masking selects with
`torch.where` and never multiplies.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from superset_vocab import InputError, Visibility
from training.recipe import Loss


def keypoint_weight(visibility: np.ndarray, *, masking: bool = True) -> np.ndarray:
    """The keypoint weight n_k of the loss from the annotator's visibility.

    Args:
        visibility: (..., K) int, values of `superset_vocab.Visibility`.
        masking: False is the ablation "without gradient masking": an undefined keypoint is then taken
            for one that is not annotated, and the network is taught that it is nowhere.

    Returns:
        (..., K) float32: 0 where undefined (if masking), else 1. Not annotated keypoints have 1; their
        target is all zero.
    """
    if not masking:
        return np.ones(visibility.shape, np.float32)
    return np.where(visibility == Visibility.UNDEFINED, 0, 1).astype(np.float32)


def masked_mse(prediction: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """Squared error of the defined keypoints (eq. 1 with z = 2).

    Args:
        prediction: (B, C, h, w).
        target: (B, C, h, w); may be NaN where the weight is 0.
        weight: (B, K) or (B, K, h, w), not negative; C = K, or C = m K with the m channels of a keypoint
            next to each other (x0, y0, x1, y1, ...).

    Returns:
        Scalar, normalised as the module says. Where the weight is 0 the gradient is exactly 0.
    """
    difference, weight = _masked_difference(prediction, target, weight)
    return _reduce(difference.square(), weight)


def masked_l1(prediction: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """Absolute error of the defined keypoints (eq. 1 with z = 1); arguments as in `masked_mse`."""
    difference, weight = _masked_difference(prediction, target, weight)
    return _reduce(difference.abs(), weight)


def masked_huber(prediction: Tensor, target: Tensor, weight: Tensor, *, delta: float = 1.0) -> Tensor:
    """Squared error up to `delta`, absolute beyond; arguments as in `masked_mse`."""
    difference, weight = _masked_difference(prediction, target, weight)
    size = difference.abs()
    error = torch.where(size <= delta, 0.5 * difference.square(), delta * (size - 0.5 * delta))
    return _reduce(error, weight)


def masked_cross_entropy(logits: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """Cross-entropy with a softmax over ALL keypoints at every pixel, masked ones included (eqs 2 and 3).

    With S(i, j) the sum of n_k t_k(i, j) over the keypoints, the gradient is p_k S - n_k t_k. So
      - an undefined keypoint has no term of its own; only its share of the denominator is felt, at the
        pixels that belong to a defined keypoint (there it is one more wrong answer),
      - where no defined keypoint has a target, S = 0 and nothing is learned at all: eq. 2 teaches WHICH
        keypoint a labelled pixel is, not where there is none, and the background stays unconstrained.
        To localise without a prior on the region use the mean square error, or the sigmoid form below.
    NaN targets of undefined keypoints are ignored; a NaN logit of theirs is not, being in the denominator.

    Args:
        logits: (B, M, h, w).
        target: (B, M, h, w) in [0, 1]; {0, 1} in the paper, but a Gaussian is as good.
        weight: (B, M) or (B, M, h, w).
    """
    weight = _expand(weight, logits)
    target = torch.where(weight > 0, target, torch.zeros_like(target))
    return _reduce(-target * torch.log_softmax(logits, dim=1), weight)


def masked_binary_cross_entropy(logits: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """Cross-entropy of each keypoint map on its own, p_k = sigmoid(l_k); arguments as in `masked_mse`.

    Not an equation of the paper: the form of cross-entropy that also penalises the background. An
    undefined keypoint has exactly zero gradient.
    """
    weight = _expand(weight, logits)
    zero = torch.zeros_like(logits)
    logits = torch.where(weight > 0, logits, zero)
    target = torch.where(weight > 0, target, zero)
    return _reduce(functional.binary_cross_entropy_with_logits(logits, target, reduction="none"), weight)


def masked_spatial_cross_entropy(logits: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """Cross-entropy of where a keypoint is, with a softmax over the pixels of its own map.

    Not an equation of the paper. It says nothing about whether the keypoint is there at all, so it goes
    with a sigmoid form on the same logits, and learns positions several times faster than that alone
    (docs/experiments.md). Keypoints that are undefined or have an empty target have exactly zero gradient.

    Args:
        logits: (B, K, h, w).
        target: (B, K, h, w), not negative; normalised here to sum to 1 over each map.
        weight: (B, K).

    Returns:
        Scalar: sum over keypoints, mean over images; the cross-entropy over log(h w), so 1 is a guess.
    """
    flat = target.flatten(2)
    flat = torch.where(weight[..., None] > 0, flat, torch.zeros_like(flat))
    mass = flat.sum(2)
    # a map whose keypoint lies just outside keeps only the flank of its Gaussian, which points nowhere
    there = ((weight > 0) & (flat.amax(2) > 0.5))[..., None]
    zero = torch.zeros_like(flat)
    log_p = torch.log_softmax(torch.where(there, logits.flatten(2), zero), dim=2)
    log_p = torch.where(there, log_p, zero)
    entropy = -(flat * log_p).sum(2) / mass.clamp_min(1e-6)
    return (entropy * weight).sum() / (len(logits) * math.log(flat.shape[2]))


_MaskedLoss = Callable[[Tensor, Tensor, Tensor], Tensor]

HEATMAP_LOSSES: dict[str, _MaskedLoss] = {
    "mse": masked_mse,
    "cross_entropy": masked_cross_entropy,
    "binary_cross_entropy": masked_binary_cross_entropy,
}
REGRESSION_LOSSES: dict[str, _MaskedLoss] = {"l1": masked_l1, "huber": masked_huber}


class RecipeLoss(nn.Module):
    """The loss that a recipe asks for: output of a network and a batch -> named, weighted terms.

    Terms: "heatmaps" always; "spatial" on the same maps where it has a weight; "locref" (offsets within the
    heatmap cell), "size" (width and height of a detector's boxes) and "pafs" (part affinity fields) where
    the recipe does not say "none". Where a network gives the maps of earlier stages too ("heatmaps_stages",
    "pafs_stages"), "stages" is the sum of their terms.
    """

    def __init__(self, loss: Loss) -> None:
        super().__init__()
        self.loss = loss

    def forward(self, output: Mapping[str, Tensor], batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Evaluate every term.

        Args:
            output: The network's maps, "heatmaps" (B, K, h, w), "locref" (B, 2K, h, w), "size" (B, 2, h, w),
                "pafs" (B, 2E, h, w); of S earlier stages (B, S, n, h, w).
            batch: "heatmaps" and "keypoint_weight" (B, K); "locref", "locref_weight" (B, K, h, w); "size",
                "size_weight" (B, 1, h, w); "pafs", "pafs_weight" (B, E).

        Raises:
            InputError: If the network or the dataset lacks what the recipe's loss needs, or they differ
                in the shape of a map.
        """
        heatmap_loss = HEATMAP_LOSSES[self.loss.heatmap]
        prediction, target = _pair("heatmaps", output, batch)
        weight = _entry("keypoint_weight", batch, "the dataset's samples")
        terms = {"heatmaps": self.loss.heatmap_weight * heatmap_loss(prediction, target, weight)}
        if self.loss.spatial_weight:
            spatial = masked_spatial_cross_entropy(prediction, target, weight)
            terms["spatial"] = self.loss.spatial_weight * spatial
        choices = {
            "locref": (self.loss.locref, self.loss.locref_weight),
            "size": (self.loss.size, self.loss.size_weight),
            "pafs": (self.loss.pafs, self.loss.pafs_weight),
        }
        for name, (kind, factor) in choices.items():
            if kind != "none":
                prediction, target = _pair(name, output, batch)
                weight = _entry(f"{name}_weight", batch, "the dataset's samples")
                terms[name] = factor * REGRESSION_LOSSES[kind](prediction, target, weight)
        return terms | self._earlier_stages(output, batch)

    def _earlier_stages(self, output: Mapping[str, Tensor], batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The term "stages", if the network has earlier stages and the recipe wants them to learn."""
        kinds: dict[str, tuple[_MaskedLoss, float, str]] = {
            "heatmaps": (HEATMAP_LOSSES[self.loss.heatmap], self.loss.heatmap_weight, "keypoint_weight")
        }
        if self.loss.pafs != "none":
            kinds["pafs"] = (REGRESSION_LOSSES[self.loss.pafs], self.loss.pafs_weight, "pafs_weight")
        terms = []
        for name, (loss, factor, weight) in kinds.items():
            stages = output.get(f"{name}_stages")
            if stages is not None and self.loss.stages_weight:
                target, mask = batch[name], _entry(weight, batch, "the dataset's samples")
                for stage in stages.float().unbind(1):
                    terms.append(self.loss.stages_weight * factor * loss(stage, target, mask))
        return {"stages": torch.stack(terms).sum()} if terms else {}


def _pair(name: str, output: Mapping[str, Tensor], batch: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
    """The predicted and the wanted map of one name, in single precision and of one shape."""
    prediction = _entry(name, output, "the network's output").float()
    target = _entry(name, batch, "the dataset's samples")
    if prediction.shape != target.shape:
        raise InputError(
            f"the network's {name} have shape {tuple(prediction.shape)}, the targets {tuple(target.shape)}; "
            "make the recipe's [network] options agree with the vocabulary and with batch.input_size and "
            "batch.stride"
        )
    return prediction, target


def _entry(name: str, tensors: Mapping[str, Tensor], what: str) -> Tensor:
    """A named tensor, or an error that says what the recipe would need."""
    if name not in tensors:
        raise InputError(
            f"the recipe's [loss] needs {name!r} in {what}, which have only {sorted(tensors)}; set the term "
            'to "none" or choose a network and a batch view that have it'
        )
    return tensors[name]


def _expand(weight: Tensor, maps: Tensor) -> Tensor:
    """(B, K) or (B, K, h, w) keypoint weights as (B, C, h, w), repeated for the channels of a keypoint."""
    if weight.ndim == 2:
        weight = weight[:, :, None, None]
    batch, channels, height, width = maps.shape
    if weight.ndim != 4 or weight.shape[0] != batch or channels % weight.shape[1]:
        raise ValueError(f"weight of shape {tuple(weight.shape)} does not fit maps of {tuple(maps.shape)}")
    if channels != weight.shape[1]:
        weight = weight.repeat_interleave(channels // weight.shape[1], dim=1)
    return weight.expand(batch, channels, height, width)


def _masked_difference(prediction: Tensor, target: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """The difference, exactly 0 with zero gradient where the weight is 0, and the expanded weight."""
    weight = _expand(weight, prediction)
    difference = torch.where(weight > 0, prediction - target, torch.zeros_like(prediction))
    return difference, weight


def _reduce(error: Tensor, weight: Tensor) -> Tensor:
    """Mean over each map's weighted pixels, sum over keypoints, mean over images."""
    pixels = (weight > 0).sum(dim=(2, 3)).clamp_min(1)
    return ((error * weight).sum(dim=(2, 3)) / pixels).sum() / len(error)
