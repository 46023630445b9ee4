"""A network and a dataset that train in no time, for the tests of the optimisation loop."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.utils.data import Dataset

from training.fit import fit
from training.recipe import Recipe, parse_recipe


class TinyNetwork(nn.Module):
    """Convolution, normalisation, dropout, head: everything that has a state or draws random numbers."""

    def __init__(self, keypoints: int = 3) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 8, 3, padding=1)
        self.norm = nn.BatchNorm2d(8)
        self.drop = nn.Dropout2d(0.3)
        self.head = nn.Conv2d(8, keypoints, 3, padding=1)

    def forward(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"heatmaps": self.head(self.drop(torch.relu(self.norm(self.stem(images)))))}


class TinyDataset(Dataset):
    """A bright blob per image; dataset "b" does not define keypoint 2. The position moves the blob."""

    def __init__(self, seed: int = 0, pause: float = 0.0) -> None:
        self.groups = ["a"] * 9 + ["b"] * 3
        self.seed, self.pause = seed, pause

    def __len__(self) -> int:
        return len(self.groups)

    def __getitem__(self, key: tuple[int, int]) -> dict[str, torch.Tensor]:
        index, position = key
        time.sleep(self.pause)
        rng = np.random.default_rng([self.seed, position])
        x, y = rng.uniform(3, 12, 2)
        grid = np.mgrid[:16, :16]
        blob = np.exp(-((grid[1] - x) ** 2 + (grid[0] - y) ** 2) / 8).astype(np.float32)
        weight = np.array([1, 1, self.groups[index] == "a"], np.float32)
        heatmaps = np.stack([blob, 1 - blob, np.where(weight[2], blob**2, np.nan)]).astype(np.float32)
        return {
            "image": torch.from_numpy(blob[None]),
            "heatmaps": torch.from_numpy(heatmaps),
            "keypoint_weight": torch.from_numpy(weight),
        }


def tiny_recipe(*overrides: str) -> Recipe:
    """Twelve steps with everything on that has a state."""
    text = """
        network = {name = "tiny"}
        data = {sources = [{path = "nowhere"}]}
        run = {seed = 5, checkpoint_every = 7, log_every = 2, workers = 0}
        [schedule]
        iterations = 12
        batch_size = 4
        accumulate = 2
        lr = 0.02
        warmup = 3
        clip_norm = 1.0
        ema = 0.9
    """
    return parse_recipe(text, overrides=overrides)


def tiny_network() -> TinyNetwork:
    """Always with the same weights."""
    torch.manual_seed(0)
    return TinyNetwork()


def main(out: str, pause: str, *overrides: str) -> None:
    """Entry for the tests that kill a run, or start it twice under torchrun."""
    torch.set_num_threads(1)
    fit(tiny_network(), TinyDataset(pause=float(pause)), tiny_recipe(*overrides), Path(out), resume=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
