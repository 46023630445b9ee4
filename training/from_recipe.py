"""From a recipe to weights: read its label sets, build dataset and network, fit."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import nn

from converters import leave_out, load_superset, merge
from converters.merging import without_copies
from converters.views import subset
from superset_vocab import InputError, LabelSet, load_vocabulary
from training.batches import build_dataset, without_augmentation
from training.checkpoints import label_sha256
from training.fit import FitResult, fit
from training.initial_weights import start_from
from training.recipe import DataSource, Recipe, load_recipe
from training.resolve import resolve_network
from training.splits import hold_out, random_subset, select_groups
from zoo.networks import build


def train(
    recipe: str | Path | Recipe,
    out: Path,
    *,
    overrides: Sequence[str] = (),
    resume: bool = False,
    device: torch.device | None = None,
) -> FitResult:
    """Train from a recipe.

    Args:
        recipe: Name of a shipped recipe, path of a .toml file, or a recipe.
        out: Folder of the run; see `training.fit`.
        overrides: Changes to a recipe that is given by name, like "schedule.lr=1e-3".
        resume: Go on where the run in `out` stopped.
        device: As in `training.fit.fit`.

    Raises:
        InputError: If anything about the recipe, its data or the folder is wrong.
    """
    if not isinstance(recipe, Recipe):
        recipe = load_recipe(recipe, overrides)
    elif overrides:
        raise ValueError("overrides change a recipe file; this recipe is resolved already")
    labels, weights = load_sources(recipe)
    resolved = resolve_network(recipe, load_vocabulary(labels.vocabulary or ""))
    recipe = resolved.recipe
    dataset = build_dataset(recipe, labels, seed=recipe.run.seed_of_order)
    measured = validation_labels(recipe)
    validation = None if measured is None else build_dataset(without_augmentation(recipe), measured, seed=0)
    torch.manual_seed(recipe.run.seed_of_weights)
    network = build_network(recipe)
    if recipe.network.init:
        start_from(network, Path(recipe.network.init), parts=recipe.network.init_parts)
    if recipe.batch.view != "boxes":
        check_takes(network, recipe)
    return fit(
        network,
        dataset,
        recipe,
        out,
        resume=resume,
        dataset_weights=weights,
        data_sha256=label_sha256(dataset.labels),
        notes=resolved.notes,
        validation=validation,
        command="zoo train recipe.toml --out NEW_FOLDER",
        device=device,
    )


def check_takes(network: nn.Module, recipe: Recipe) -> None:
    """Refuse a network that cannot take the recipe's input, e.g. a side that it cannot halve often enough.

    Raises:
        InputError: If a forward pass fails.
    """
    width, height = recipe.batch.input_size
    channels = 1 if recipe.batch.grey else 3
    try:
        with torch.inference_mode():
            network.eval()(torch.zeros(1, channels, height, width))
    except RuntimeError as error:
        raise InputError(
            f"the network {recipe.network.name} does not take input of {width} x {height} pixels with "
            f"{channels} channel{'s' * (channels > 1)} ({str(error).splitlines()[0]}); change "
            "batch.input_size, batch.grey or the network's options"
        ) from error
    finally:
        network.train()


def build_network(recipe: Recipe) -> nn.Module:
    """The network of a resolved recipe, with random weights or those that its options ask for.

    Raises:
        InputError: If there is none of that name, it does not take these options, or its library is missing.
    """
    if recipe.batch.view == "boxes":
        from training.detector import build_detector_network  # imports mmdet

        return build_detector_network(recipe)
    return build(recipe.network.name, **recipe.network.options)


def load_sources(recipe: Recipe) -> tuple[LabelSet, dict[str, float]]:
    """The recipe's label sets as one, and the sampling weight of every dataset in it.

    An image that any source holds out, or that the validation measures on, is not trained on, under whatever
    name another source has it.

    Raises:
        InputError: If a folder cannot be read, a split group is unknown, the sets do not go together, or
            nothing is left to train on.
    """
    loaded: list[LabelSet] = []
    weights: dict[str, float] = {}
    data = recipe.data
    parts = [_parts(source) for source in data.sources]
    held_out = [record for _, held in parts for record in held.records]
    held_out += [record for source in recipe.validation.sources for record in _parts(source)[0].records]
    for source, (trained, _) in zip(data.sources, parts, strict=True):
        labels = without_copies(trained, held_out)
        labels = random_subset(labels, data.subset, seed=data.subset_seed)
        weights.update({dataset.dataset: source.weight for dataset in labels.sources})
        loaded.append(labels)
    merged = merge(loaded, twins="first")
    there = {record.dataset for record in merged.records}
    if not there:
        raise InputError(
            "every training image is held out or measured on; hold less out, or name other validation.sources"
        )
    return merged, {dataset: weight for dataset, weight in weights.items() if dataset in there}


def _parts(source: DataSource) -> tuple[LabelSet, LabelSet]:
    """What a source gives to training, and what it holds out of it."""
    labels = leave_out(load_superset(source.folder()), *source.leave_out)
    selected = select_groups(labels, source.split_groups, source.held_out)
    trained, by_hash = hold_out(selected, source.held_out_fraction)
    named, images = frozenset(source.held_out), {record.image for record in by_hash.records}
    return trained, subset(labels, lambda r: r.split_group in named or r.image in images)


def validation_labels(recipe: Recipe) -> LabelSet | None:
    """What the recipe's validation measures on, or None if it asks for none.

    Raises:
        InputError: As `load_sources`; or if the training sources hold nothing out.
    """
    options = recipe.validation
    if not options.asked:
        return None
    loaded: list[LabelSet] = []
    for source in recipe.data.sources if options.held_out else ():
        _, held = _parts(source)
        loaded += [held] if held.records else []
    if options.held_out and not loaded:
        raise InputError(
            "validation.held_out: the [data] sources hold nothing out; give them held_out groups or a "
            "held_out_fraction, or name validation.sources"
        )
    for source in options.sources:
        loaded.append(_parts(source)[0])
    return merge(loaded, twins="first")
