"""From a recipe to weights: read its label sets, build dataset and network, fit."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from converters import leave_out, load_superset, merge
from superset_vocab import InputError, LabelSet
from training.batches import build_dataset
from training.checkpoints import label_sha256
from training.fit import FitResult, fit
from training.recipe import Recipe, load_recipe
from training.splits import hold_out, select_groups
from zoo.networks import build


def train(
    recipe: str | Path | Recipe, out: Path, *, overrides: Sequence[str] = (), resume: bool = False
) -> FitResult:
    """Train from a recipe.

    Args:
        recipe: Name of a shipped recipe, path of a .toml file, or a recipe.
        out: Folder of the run; see `training.fit`.
        overrides: Changes to a recipe that is given by name, like "schedule.lr=1e-3".
        resume: Go on where the run in `out` stopped.

    Raises:
        InputError: If anything about the recipe, its data or the folder is wrong.
    """
    if not isinstance(recipe, Recipe):
        recipe = load_recipe(recipe, overrides)
    elif overrides:
        raise ValueError("overrides change a recipe file; this recipe is resolved already")
    labels, weights = load_sources(recipe)
    dataset = build_dataset(recipe, labels, seed=recipe.run.seed)
    torch.manual_seed(recipe.run.seed)
    network = build(recipe.network.name, **recipe.network.options)
    if recipe.network.init:
        start_from(network, Path(recipe.network.init))
    return fit(
        network,
        dataset,
        recipe,
        out,
        resume=resume,
        dataset_weights=weights,
        data_sha256=label_sha256(labels),
    )


def start_from(network: nn.Module, weights: Path) -> None:
    """Fill a network with the weights of an earlier run.

    Raises:
        InputError: If the file is missing, damaged, or of another network.
    """
    try:
        network.load_state_dict(load_file(weights), strict=True)
    except (OSError, SafetensorError, RuntimeError) as error:
        raise InputError(
            f"{weights}: cannot start from these weights ({str(error).splitlines()[0]}); "
            "network.init wants the weights.safetensors of a run of the same network"
        ) from error


def load_sources(recipe: Recipe) -> tuple[LabelSet, dict[str, float]]:
    """The recipe's label sets as one, and the sampling weight of every dataset in it.

    Raises:
        InputError: If a folder cannot be read, a split group is unknown, or the sets do not go together.
    """
    loaded: list[LabelSet] = []
    weights: dict[str, float] = {}
    for source in recipe.data.sources:
        labels = leave_out(load_superset(source.folder()), *source.leave_out)
        labels = select_groups(labels, source.split_groups, source.held_out)
        labels, _ = hold_out(labels, source.held_out_fraction)
        weights.update({dataset.dataset: source.weight for dataset in labels.sources})
        loaded.append(labels)
    return merge(loaded, twins="first"), weights
