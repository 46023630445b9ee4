"""Measuring a network while it is trained, on images that it is not trained on.

Poses are measured in the labels' own boxes, one animal at a time, which is fast and is how the paper
compares top-down networks; `training.evaluate` measures a whole model with its detector.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from training.batches import CropTruth, PoseDataset
from training.metrics import oks
from training.objectives import MapObjective, Objective
from training.processes import Processes
from training.recipe import Recipe
from zoo.codecs import decode_heatmaps

OKS_THRESHOLDS = np.arange(0.5, 1.0, 0.05)

_PROBABILITIES: dict[str, Callable[[Tensor], Tensor]] = {
    "mse": lambda maps: maps,
    "binary_cross_entropy": lambda maps: maps.sigmoid(),
    "cross_entropy": lambda maps: maps.softmax(1),
}


class Validator(Protocol):
    """Called in all processes alike; they share the work and all get the same figures."""

    def __call__(self, network: nn.Module) -> dict[str, float]:
        """Name -> figure, for a network in evaluation mode."""
        ...


def validator_of(
    recipe: Recipe, dataset: PoseDataset, objective: Objective, processes: Processes
) -> Validator:
    """What measures a network of this recipe.

    Args:
        recipe: Says the view.
        dataset: Of the validation images, without augmentation.
        objective: Of the training.
        processes: That share the work.
    """
    if recipe.batch.view == "boxes":
        from training.detector import BoxValidator  # imports mmdet

        return BoxValidator(recipe, dataset, processes)
    assert isinstance(objective, MapObjective)
    return MapValidator(recipe, dataset, objective, processes)


class MapValidator:
    """Loss, and for crops distances and recall by OKS.

    "rmse" is the mean distance of annotated keypoints in image pixels, all of them, whatever the
    confidence. "oks_recall" is the mean over the thresholds 0.50, 0.55, ..., 0.95 of the share of animals
    whose pose has at least that OKS: COCO's average recall when every animal's box is given.
    """

    def __init__(
        self, recipe: Recipe, dataset: PoseDataset, objective: MapObjective, processes: Processes
    ) -> None:
        self._recipe, self._dataset, self._objective = recipe, dataset, objective
        self._processes = processes
        self._sigmas = dataset.vocabulary.sigmas

    def __call__(self, network: nn.Module) -> dict[str, float]:
        """Measure."""
        names = ("loss", "samples", "distance", "keypoints", "recall", "animals")
        totals: dict[str, float] = dict.fromkeys(names, 0.0)
        device = next(network.parameters()).device
        with torch.inference_mode():
            for indices, batch in self._batches():
                batch = {name: tensor.to(device, non_blocking=True) for name, tensor in batch.items()}
                terms, output = self._objective.with_output(network, batch)
                totals["loss"] += float(sum(terms.values())) * len(indices)
                totals["samples"] += len(indices)
                if self._recipe.batch.view == "crop":
                    self._score(output["heatmaps"], [self._dataset.truth(i) for i in indices], totals)
        totals = dict(zip(totals, self._processes.sum(list(totals.values())), strict=True))
        return _means(totals, crops=self._recipe.batch.view == "crop")

    def _batches(self) -> Iterator[tuple[list[int], dict[str, Tensor]]]:
        """This process's share: indices, and their samples as a batch."""
        processes, recipe = self._processes, self._recipe
        indices = list(range(processes.rank, len(self._dataset), processes.count))
        size = max(1, recipe.schedule.batch_size // processes.count)
        chunks = [indices[start : start + size] for start in range(0, len(indices), size)]
        loader = DataLoader(
            _Unmoved(self._dataset),
            batch_sampler=chunks,
            num_workers=min(recipe.run.workers, len(chunks) // 4),  # few batches are not worth a process
            collate_fn=self._objective.collate,
        )
        return zip(chunks, loader, strict=True)

    def _score(self, heatmaps: Tensor, truths: list[CropTruth], totals: dict[str, float]) -> None:
        """Add distances and similarities of a batch."""
        probabilities = _PROBABILITIES[self._recipe.loss.heatmap](heatmaps.float())
        positions = decode_heatmaps(probabilities, self._recipe.batch.stride)[0].cpu().double().numpy()
        for found, truth in zip(positions, truths, strict=True):
            scale = truth.pixel_size
            distance = np.linalg.norm(found - truth.keypoints, axis=-1) * scale
            annotated = np.isfinite(distance)
            totals["distance"] += float(distance[annotated].sum())
            totals["keypoints"] += float(annotated.sum())
            poses = (found[None] * scale, truth.keypoints[None] * scale)
            similarity = oks(*poses, np.array([truth.area]), self._sigmas)[0, 0]
            totals["recall"] += float((similarity >= OKS_THRESHOLDS).mean())
            totals["animals"] += 1


class _Unmoved(Dataset[Any]):
    """A training dataset asked by index alone."""

    def __init__(self, dataset: PoseDataset) -> None:
        self._dataset = dataset

    def __len__(self) -> int:
        return len(self._dataset)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        return self._dataset[(index, 0)]


def _means(totals: Mapping[str, float], *, crops: bool) -> dict[str, float]:
    values = {"loss": totals["loss"] / max(totals["samples"], 1)}
    if crops:
        values["rmse"] = totals["distance"] / totals["keypoints"] if totals["keypoints"] else float("nan")
        values["oks_recall"] = totals["recall"] / max(totals["animals"], 1)
    return values
