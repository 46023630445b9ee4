"""Ensembles: several networks from one recipe that differ in their initial weights, their data, or both.

The smoother (EKS) takes the disagreement of such networks for their uncertainty, so they should differ by
chance and in nothing else. Lightning Pose (Biderman et al., Nature Methods 2024) trains them with different
random heads and orders of the data.

The folder of an ensemble: member_0, member_1, ... each the folder of a run as `training.fit` makes it, and
ensemble.json, which names them. A member is trained when its turn comes; one that is finished is not
trained again, one that was interrupted goes on.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from superset_vocab import InputError
from superset_vocab.errors import all_problems
from superset_vocab.files import make_folder, read_json, sha256_of, write_json
from training.recipe import Recipe, load_recipe

_log = logging.getLogger(__name__)
_RECORD = "ensemble.json"

VARIES = {
    "seed": "everything that is drawn: initial weights, order of the samples, augmentation",
    "heads": "the initial weights alone; with network.init these are what it does not fill, the heads",
    "order": "the order of the samples, their augmentation and dropout; the initial weights are the same",
    "subset": "the images: each member is trained on its own random share of them, else as with seed",
}
"""In what the members differ."""

SUBSET = 0.8
"""Share of the images that a member sees with "subset", where the recipe does not say data.subset."""


@dataclass(frozen=True)
class Member:
    """A trained member.

    Attributes:
        folder: Of its run.
        weights: Its weights.safetensors.
        weights_sha256: Hash of it.
    """

    folder: Path
    weights: Path
    weights_sha256: str


def member_recipes(recipe: Recipe, members: int, vary: str) -> list[Recipe]:
    """The recipes of the members: member i's seeds are those of the recipe plus i, where they vary.

    Args:
        recipe: Of every member.
        members: How many, at least 1.
        vary: One of `VARIES`.

    Raises:
        InputError: If there is no such way to vary, or nothing would differ.
    """
    problems = [] if members >= 1 else [f"members is {members}, want at least 1"]
    if vary not in VARIES:
        problems.append(f"vary is {vary!r}, none of {', '.join(VARIES)}")
    if vary == "heads" and recipe.network.init and recipe.network.init_parts == "all":
        problems.append(
            "all weights come from network.init, so there are no heads to vary; vary order or subset, or "
            'start from the encoder alone (network.init_parts = "encoder")'
        )
    if problems:
        raise all_problems("ensemble", problems)
    return [_member(recipe, i, vary) for i in range(members)]


def _member(recipe: Recipe, i: int, vary: str) -> Recipe:
    run, data = recipe.run, recipe.data
    weights, order = run.seed_of_weights, run.seed_of_order
    if vary == "heads":
        return replace(recipe, run=replace(run, weights_seed=weights + i, order_seed=order))
    if vary == "order":
        return replace(recipe, run=replace(run, weights_seed=weights, order_seed=order + i))
    if vary == "subset":
        share = data.subset if data.subset < 1 else SUBSET
        data = replace(data, subset=share, subset_seed=data.subset_seed + i)
    return replace(
        recipe, data=data, run=replace(run, seed=run.seed + i, weights_seed=weights + i, order_seed=order + i)
    )


def train_ensemble(
    recipe: str | Path | Recipe,
    out: Path,
    *,
    members: int,
    vary: str = "seed",
    overrides: Sequence[str] = (),
    resume: bool = False,
) -> list[Member]:
    """Train the members of an ensemble one after the other.

    Args:
        recipe: As for `training.from_recipe.train`.
        out: Folder of the ensemble.
        members: How many.
        vary: In what they differ, one of `VARIES`.
        overrides: Changes to a recipe that is given by name.
        resume: Go on with the ensemble in `out`: finished members are kept, an interrupted one goes on, and
            `members` may be larger than before.

    Raises:
        InputError: If `out` holds an ensemble that is not to be resumed, or another one.
    """
    from training import from_recipe

    if not isinstance(recipe, Recipe):
        recipe = load_recipe(recipe, overrides)
    recipes = member_recipes(recipe, members, vary)
    content: dict[str, Any] = {"vary": vary, "recipe": recipe.to_dict(), "members": []}
    first = int(os.environ.get("RANK", "0")) == 0  # of the processes of torchrun, which all come here
    if first:
        _open(out, content, resume=resume)
    trained = []
    for i, own in enumerate(recipes):
        folder = out / f"member_{i}"
        _log.info("member %d of %d", i + 1, members)
        member = _finished(folder) if resume else None
        if member is None:
            from_recipe.train(own, folder, resume=resume and folder.exists())
            member = _finished(folder)
        assert member is not None
        trained.append(member)
        content["members"] = [{"folder": m.folder.name, "weights_sha256": m.weights_sha256} for m in trained]
        if first:
            write_json(out / _RECORD, content)
    return trained


def _open(out: Path, content: dict[str, Any], *, resume: bool) -> None:
    """Start the folder of an ensemble, or check that it holds this one.

    Raises:
        InputError: See `train_ensemble`.
    """
    record = out / _RECORD
    if not record.is_file():
        if out.is_dir() and any(out.iterdir()):
            raise InputError(f"{out}: is not empty and holds no ensemble; choose another folder")
        make_folder(out)
        write_json(record, content)
        return
    if not resume:
        raise InputError(
            f"{out}: holds an ensemble already; go on with it (--resume) or choose another folder"
        )
    before = read_json(record)
    # Through JSON, as what was written: its lists are lists and not tuples.
    now = json.loads(json.dumps(content))
    if any(before.get(name) != now[name] for name in ("vary", "recipe")):
        raise InputError(
            f"{record}: is of another ensemble (vary = {before.get('vary')!r}, or another recipe); choose "
            "another folder"
        )


def _finished(folder: Path) -> Member | None:
    """The member in a folder, if its run is complete and its weights are those of the run."""
    record, weights = folder / "run.json", folder / "weights.safetensors"
    if not (record.is_file() and weights.is_file()):
        return None
    sha256 = sha256_of(weights)
    return Member(folder, weights, sha256) if read_json(record).get("weights_sha256") == sha256 else None
