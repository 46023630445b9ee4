"""What a recipe leaves to the data, settled: channels, steps, and the rule for small sets.

A recipe of a paper speaks of epochs and of "the keypoints"; a run needs numbers. The result is an ordinary
recipe that says the numbers and resolves to itself, so that recipe.toml in the folder of a run makes
the run again. What was settled, and why, is said beside it in words (`Resolved.notes`).
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from superset_vocab import InputError, Vocabulary
from training.recipe import Recipe, Schedule

_CHANNELS = re.compile(r"(\d*)([KE])")


@dataclass(frozen=True)
class Resolved:
    """A recipe without open ends.

    Attributes:
        recipe: With numbers.
        notes: One sentence for everything that was settled.
    """

    recipe: Recipe
    notes: tuple[str, ...] = ()


def resolve_network(recipe: Recipe, vocabulary: Vocabulary) -> Resolved:
    """Put numbers of channels in the place of "K" (keypoints) and "E" (limbs) in the network's outputs.

    Raises:
        InputError: If an output is a text of another form.
    """
    outputs = recipe.network.options.get("outputs")
    if not isinstance(outputs, Mapping) or not any(isinstance(n, str) for n in outputs.values()):
        return Resolved(recipe)
    sizes = {"K": len(vocabulary), "E": len(vocabulary.bones)}
    settled: dict[str, Any] = {}
    for name, channels in outputs.items():
        if isinstance(channels, str):
            match = _CHANNELS.fullmatch(channels)
            if match is None:
                raise InputError(
                    f"network.options.outputs.{name} = {channels!r} is neither a number nor one of "
                    '"K" (keypoints), "2K" and "2E" (limbs)'
                )
            channels = int(match[1] or 1) * sizes[match[2]]
        settled[name] = channels
    network = replace(recipe.network, options={**recipe.network.options, "outputs": settled})
    said = ", ".join(f"{name} = {n}" for name, n in settled.items())
    note = f"{vocabulary.name} has {sizes['K']} keypoints and {sizes['E']} limbs: outputs {said}"
    return Resolved(replace(recipe, network=network), (note,))


def resolve_schedule(recipe: Recipe, *, n_samples: int, n_images: int) -> Resolved:
    """Put steps in the place of epochs, and apply the rule for small sets.

    Args:
        recipe: To resolve.
        n_samples: Of the training set; as many draws are an epoch.
        n_images: Different images among them; the paper's rule counts these.
    """
    notes: list[str] = []
    schedule = recipe.schedule
    if schedule.epochs:
        schedule = _in_steps(schedule, n_samples)
        note = (
            f"{recipe.schedule.epochs:g} epochs of {n_samples} samples are {schedule.iterations} iterations"
        )
        if schedule.milestones:
            note += f"; milestones at {', '.join(map(str, schedule.milestones))}"
        notes.append(note)
    if n_images < schedule.small_set_images:
        limit, lr = schedule.small_set_images, schedule.small_set_lr
        schedule = replace(schedule, batch_norm="fixed", lr=lr, small_set_images=0)
        notes.append(
            f"{n_images} images are fewer than {limit}: the statistics of batch normalisation are fixed "
            f"and lr is {lr:g}"
        )
    return Resolved(replace(recipe, schedule=schedule), tuple(notes))


def _in_steps(schedule: Schedule, n_samples: int) -> Schedule:
    """The schedule with iterations and milestones in steps; at least one step."""
    steps = n_samples / (schedule.batch_size * schedule.accumulate)
    return replace(
        schedule,
        iterations=max(1, math.ceil(schedule.epochs * steps)),
        milestones=tuple(max(1, round(epoch * steps)) for epoch in schedule.milestone_epochs),
        epochs=0.0,
        milestone_epochs=(),
    )
