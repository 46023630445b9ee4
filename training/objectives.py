"""What a training step computes: a batch from samples, and the terms of the loss from network and batch.

Pose networks and our own detectors give maps, and the recipe says their loss; mmdet's detectors bring
their loss along (`training.detector`). The loop (`training.fit`) is the same for all.
"""

from __future__ import annotations

from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.utils.data import default_collate

from training.losses import RecipeLoss
from training.recipe import Recipe

Batch = dict[str, Any]


class Objective(Protocol):
    """What is optimised."""

    def collate(self, samples: list[dict[str, Tensor]]) -> Batch:
        """Samples of the dataset -> batch, by name."""
        ...

    def __call__(self, network: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """The named terms of the loss, to be summed."""
        ...


class MapObjective:
    """The recipe's loss on a network's maps (`training.losses.RecipeLoss`)."""

    def __init__(self, recipe: Recipe) -> None:
        self._loss = RecipeLoss(recipe.loss)
        self._in_bfloat16 = recipe.schedule.amp == "bfloat16"
        self._layout = torch.channels_last if recipe.run.channels_last else torch.contiguous_format

    def collate(self, samples: list[dict[str, Tensor]]) -> Batch:
        """All of one shape, stacked."""
        return default_collate(samples)

    def __call__(self, network: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """The named terms of the loss."""
        return self.with_output(network, batch)[0]

    def with_output(self, network: nn.Module, batch: Batch) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """The named terms of the loss, and the network's maps."""
        images = batch["image"].contiguous(memory_format=self._layout)
        with torch.autocast(images.device.type, torch.bfloat16, enabled=self._in_bfloat16):
            output = network(images)
        return self._loss(output, batch), output


def objective_of(recipe: Recipe) -> Objective:
    """The objective that a recipe asks for."""
    if recipe.batch.view == "boxes":
        from training.detector import BoxObjective  # imports mmdet

        return BoxObjective(recipe)
    return MapObjective(recipe)
