"""Recipes: everything that decides what a training run does, in one small TOML file.

    [network]  name = "unet"      options = {keypoints = 27}
    [data]     sources = [{path = "$POSE_DATA/alphatracker_superset", held_out = ["day3"]}]

Every table but these two may be left out; every entry has the default below. An entry that is not
listed here is an error, and all errors are reported at once. The resolved recipe, overrides included,
is written beside the weights (`Recipe.to_toml`), so that a run can be made again from its own folder.

Paths in [data] may start with an environment variable, as in "$POSE_DATA/name"; a relative path is
relative to the current folder. Nothing else is searched.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, asdict, dataclass, field, fields
from datetime import date, time
from importlib import resources
from pathlib import Path
from typing import Any, get_args, get_type_hints

from superset_vocab.errors import InputError, all_problems
from superset_vocab.toml_text import toml_table
from training.recipe_tables import (
    AugmentOptions,
    Batch,
    Data,
    DataSource,
    Loss,
    Network,
    Run,
    Schedule,
    Validation,
)

__all__ = [
    "AugmentOptions",
    "Batch",
    "Data",
    "DataSource",
    "Loss",
    "Network",
    "Recipe",
    "Run",
    "Schedule",
    "Validation",
    "list_recipes",
    "load_recipe",
    "parse_recipe",
]

_METRICS_OF_VIEW = {
    "crop": ("loss", "rmse", "oks_recall"),
    "frame": ("loss",),
    "detector": ("loss",),
    "boxes": ("map",),
}
_FOLDER = resources.files("training") / "recipes"


@dataclass(frozen=True)
class Network:
    """Which network: `zoo.networks.build(name, **options)`.

    Attributes:
        name: One of `zoo.networks.NETWORKS`.
        options: Its constructor's arguments.
        init: weights.safetensors of an earlier run to start from (strictly the same network), or "" for
            random weights.
    """

    name: str
    options: dict[str, Any] = field(default_factory=dict)
    init: str = ""

    def problems(self) -> list[str]:
        """What is wrong with the values."""
        return []


@dataclass(frozen=True)
class DataSource:
    """One superset label set on disk.

    Attributes:
        path: Folder of a superset COCO dataset, as written by `zoo convert`.
        weight: Factor of its share of the samples.
        leave_out: Datasets of a merged set left out, e.g. the one to test on (`converters.leave_out`).
        split_groups: Use only these split groups; empty for all.
        held_out: Split groups left out.
        held_out_fraction: Share of the groups left out, chosen by the hash of their names
            (`training.splits.hold_out`); for sets of too many groups to name.
    """

    path: str
    weight: float = 1.0
    leave_out: tuple[str, ...] = ()
    split_groups: tuple[str, ...] = ()
    held_out: tuple[str, ...] = ()
    held_out_fraction: float = 0.0

    def problems(self) -> list[str]:
        """What is wrong with the values."""
        found = [f"weight {self.weight:g} is not above 0"] if not self.weight > 0 else []
        if not 0 <= self.held_out_fraction < 1:
            found.append(f"held_out_fraction {self.held_out_fraction:g} is not at least 0 and below 1")
        return found

    def folder(self) -> Path:
        """The path with its environment variables filled in.

        Raises:
            InputError: If a variable is not set.
        """
        expanded = os.path.expandvars(self.path)
        if "$" in expanded:
            raise InputError(f"{self.path}: the environment variable in this data path is not set; export it")
        return Path(expanded).expanduser()


@dataclass(frozen=True)
class Data:
    """What to learn from; `balance` is alpha of `training.sampling`."""

    sources: tuple[DataSource, ...]
    balance: float = 1.0

    def problems(self) -> list[str]:
        """What is wrong with the values."""
        found = [] if self.sources else ["sources is empty"]
        return found + ([] if 0 <= self.balance <= 1 else [f"balance {self.balance:g} is not within 0 and 1"])


@dataclass(frozen=True)
class Batch:
    """How an image becomes input and targets.

    Attributes:
        view: "crop" around each instance, the whole "frame", or "detector" (frame, centre and size).
        input_size: Width and height of the network's input in pixels.
        stride: Input pixels per heatmap cell.
        sigma: Standard deviation of the Gaussian target in input pixels.
        context: Side of a crop as a multiple of the instance's larger extent.
        grey: Whether colours are removed.
    """

    view: str = "crop"
    input_size: tuple[int, ...] = (256, 256)
    stride: int = 4
    sigma: float = 4.0
    context: float = 1.5
    grey: bool = False

    def problems(self) -> list[str]:
        """What is wrong with the values."""
        found = _choice("view", self.view, ("crop", "frame", "detector"))
        found += _positive(self, "stride", "sigma", "context")
        if len(self.input_size) != 2 or min(self.input_size, default=0) < 1:
            found.append(f"input_size {list(self.input_size)} is not [width, height] in pixels")
        elif self.stride > 0 and any(side % self.stride for side in self.input_size):
            found.append(f"input_size {list(self.input_size)} is not a multiple of stride {self.stride}")
        return found


@dataclass(frozen=True)
class AugmentOptions:
    """The [augmentation] table of a recipe; probabilities are per image.

    Attributes:
        rotate: Largest rotation in degrees, either way; 180 for top views.
        scale: Smallest and largest factor on the animal's size.
        shift: Largest shift as a fraction of the input.
        flip: Probability of mirroring left and right.
        light: Probability of changing brightness, contrast and gamma.
        invert: Probability of the negative image.
        blur: Probability of defocus or motion blur.
        noise: Probability of sensor noise, compression or lost resolution.
        occlude: Probability of covering parts with blank boxes.
    """

    rotate: float = 180.0
    scale: tuple[float, ...] = (0.75, 1.3)
    shift: float = 0.08
    flip: float = 0.5
    light: float = 0.8
    invert: float = 0.0
    blur: float = 0.3
    noise: float = 0.5
    occlude: float = 0.3

    def problems(self) -> list[str]:
        """What is wrong with the values."""
        names = ("flip", "light", "invert", "blur", "noise", "occlude")
        found = [f"{n} {v:g} is no probability" for n in names if not 0 <= (v := getattr(self, n)) <= 1]
        if len(self.scale) != 2 or not 0 < self.scale[0] <= self.scale[1]:
            found.append(f"scale {list(self.scale)} is not [smallest, largest]")
        return found + [f"{n} {v:g} is negative" for n in ("rotate", "shift") if (v := getattr(self, n)) < 0]


@dataclass(frozen=True)
class Loss:
    """Terms of the loss and their factors (`training.losses`); "none" leaves a term out."""

    heatmap: str = "mse"
    heatmap_weight: float = 1.0
    spatial_weight: float = 0.0
    locref: str = "none"
    locref_weight: float = 0.05
    size: str = "none"
    size_weight: float = 0.1

    def problems(self) -> list[str]:
        """What is wrong with the values."""
        found = _choice("heatmap", self.heatmap, ("mse", "cross_entropy", "binary_cross_entropy"))
        found += _choice("locref", self.locref, ("none", "l1", "huber"))
        found += _choice("size", self.size, ("none", "l1", "huber"))
        if self.spatial_weight < 0:
            found.append(f"spatial_weight {self.spatial_weight:g} is negative")
        return found + _positive(self, "heatmap_weight", "locref_weight", "size_weight")


@dataclass(frozen=True)
class Schedule:
    """The optimisation.

    Attributes:
        optimiser: "adam", "adamw" or "sgd" (momentum 0.9, Nesterov).
        lr: Peak learning rate.
        weight_decay: Not applied to biases and normalisation layers.
        iterations: Optimiser steps.
        warmup: Steps over which the learning rate rises linearly from 0.
        decay: "constant", "cosine" (to final_factor * lr), "multistep" (times gamma at each milestone),
            or "onecycle" (cosine from lr / 25 up over the first 30 %, then down to final_factor * lr).
        milestones: Steps, for "multistep".
        gamma: Factor at a milestone.
        final_factor: Last learning rate as a part of lr, for "cosine" and "onecycle".
        batch_size: Samples per forward pass, over all processes together.
        accumulate: Forward passes per optimiser step.
        clip_norm: Largest norm of the gradient; 0 for no limit.
        amp: "none", "float16" (needs a GPU) or "bfloat16" mixed precision.
        ema: Decay per step of the averaged weights that are published; 0 for none.
    """

    optimiser: str = "adamw"
    lr: float = 1e-3
    weight_decay: float = 0.0
    iterations: int = 10_000
    warmup: int = 0
    decay: str = "cosine"
    milestones: tuple[int, ...] = ()
    gamma: float = 0.1
    final_factor: float = 0.01
    batch_size: int = 16
    accumulate: int = 1
    clip_norm: float = 0.0
    amp: str = "none"
    ema: float = 0.0

    def problems(self) -> list[str]:
        """What is wrong with the values."""
        found = _choice("optimiser", self.optimiser, ("adam", "adamw", "sgd"))
        found += _choice("decay", self.decay, ("constant", "cosine", "multistep", "onecycle"))
        found += _choice("amp", self.amp, ("none", "float16", "bfloat16"))
        found += _positive(self, "lr", "iterations", "batch_size", "accumulate", "gamma")
        for name in ("weight_decay", "warmup", "clip_norm", "final_factor"):
            if getattr(self, name) < 0:
                found.append(f"{name} {getattr(self, name):g} is negative")
        if not 0 <= self.ema < 1:
            found.append(f"ema {self.ema:g} is not at least 0 and below 1")
        if self.decay == "onecycle" and self.warmup:
            found.append("onecycle warms up by itself; leave warmup at 0")
        if (self.decay == "multistep") != bool(self.milestones):
            found.append("milestones and decay = 'multistep' go together")
        return found

    def learning_rate(self, step: int) -> float:
        """Learning rate of optimiser step 0, 1, ...; a pure function, so that resuming needs no state."""
        if step < self.warmup:
            return self.lr * (step + 1) / self.warmup
        done = (step - self.warmup) / max(1, self.iterations - self.warmup)
        final = self.final_factor * self.lr
        if self.decay == "cosine":
            return _cosine(self.lr, final, done)
        if self.decay == "multistep":
            return self.lr * self.gamma ** sum(step >= milestone for milestone in self.milestones)
        if self.decay == "onecycle":
            rising = 0.3
            if done < rising:
                return _cosine(self.lr / 25, self.lr, done / rising)
            return _cosine(self.lr, final, (done - rising) / (1 - rising))
        return self.lr


@dataclass(frozen=True)
class Run:
    """The run around the optimisation.

    Attributes:
        seed: Of initial weights, samples and augmentation.
        checkpoint_every: Optimiser steps between checkpoints.
        log_every: Optimiser steps between lines of the log.
        workers: Processes that load samples; 0 for none beside the training itself.
        masking: False trains without keypoint gradient masking (`training.losses.keypoint_weight`).
    """

    seed: int = 0
    checkpoint_every: int = 1000
    log_every: int = 50
    workers: int = 2
    masking: bool = True

    def problems(self) -> list[str]:
        """What is wrong with the values."""
        found = _positive(self, "checkpoint_every", "log_every")
        return found + [f"{n} {v} is negative" for n in ("seed", "workers") if (v := getattr(self, n)) < 0]


@dataclass(frozen=True)
class Recipe:
    """A resolved recipe."""

    network: Network
    data: Data
    batch: Batch = field(default_factory=Batch)
    augmentation: AugmentOptions = field(default_factory=AugmentOptions)
    loss: Loss = field(default_factory=Loss)
    schedule: Schedule = field(default_factory=Schedule)
    validation: Validation = field(default_factory=Validation)
    run: Run = field(default_factory=Run)

    def problems(self) -> list[str]:
        """What is wrong with the values taken together."""
        view, metric = self.batch.view, self.validation.metric
        known = _METRICS_OF_VIEW.get(view, ())
        if self.validation.asked and known and metric not in known:
            return [f"[validation] metric {metric!r} is not of the view {view!r}; use {' or '.join(known)}"]
        return []

    def to_dict(self) -> dict[str, Any]:
        """Plain dicts, lists, numbers and strings, every default written out."""
        return json.loads(json.dumps(asdict(self)))

    def to_toml(self, notes: Sequence[str] = ()) -> str:
        """TOML that `parse_recipe` reads back to an equal recipe, with notes as comments at its head."""
        head = "".join(f"# {line}\n" for note in notes for line in note.splitlines())
        return head + "\n".join(toml_table(name, table) for name, table in self.to_dict().items())


def list_recipes() -> list[str]:
    """Names of the recipes that come with the package, sorted."""
    return sorted(f.name.removesuffix(".toml") for f in _FOLDER.iterdir() if f.name.endswith(".toml"))


def load_recipe(name: str | Path, overrides: Sequence[str] = ()) -> Recipe:
    """Load a recipe by name, or from the path of a .toml file.

    Args:
        name: Name of a recipe of the package, or a path that ends in .toml.
        overrides: Changes like "schedule.lr=1e-3"; the value is TOML, or a bare word or path for a string.

    Raises:
        InputError: If there is none of that name, or it has problems (all are listed).
    """
    name = str(name)
    file = Path(name) if name.endswith(".toml") else _FOLDER / f"{name}.toml"
    if not file.is_file():
        raise InputError(f"{name}: no such recipe; give a .toml file or one of: {', '.join(list_recipes())}")
    return parse_recipe(file.read_text(encoding="utf-8"), what=name, overrides=overrides)


def parse_recipe(text: str, *, what: str = "recipe", overrides: Sequence[str] = ()) -> Recipe:
    """Build a recipe from TOML text; arguments and errors as in `load_recipe`."""
    return parse_tables(Recipe, text, what=what, overrides=overrides)


def parse_tables(kind: type, text: str, *, what: str, overrides: Sequence[str] = ()) -> Any:
    """An instance of a dataclass from TOML text, checked as a recipe is, e.g. a benchmark's spec.

    Args:
        kind: Dataclass whose entries are tables or values, and which has `problems()`, as its tables do.
        text: TOML.
        what: What is being read, for the message.
        overrides: As in `load_recipe`.

    Raises:
        InputError: Lists all problems.
    """
    try:
        content = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"{what}: not a TOML file: {error}") from error
    problems = [problem for override in overrides for problem in _override(content, override)]
    built = _build(kind, content, "", problems)
    if problems or built is None:
        raise all_problems(what, problems)
    return built


def recipe_from(content: Mapping[str, Any], *, what: str, problems: Sequence[str] = ()) -> Recipe:
    """A recipe from its tables, as `Recipe.to_dict` gives them; entries that are left out have defaults.

    Args:
        content: Name of the table -> its entries.
        what: What is being read, for the message.
        problems: What is already known to be wrong.

    Raises:
        InputError: Lists all problems.
    """
    found = list(problems)
    recipe = _build(Recipe, content, "", found)
    if found or recipe is None:
        raise all_problems(what, found)
    return recipe


_BARE_WORD = re.compile(r"[A-Za-z_~./$][\w~./$@+-]*")  # a word, or a path


def _override(content: dict[str, Any], override: str) -> list[str]:
    """Apply one "table.entry=value" to the parsed file; returns what is wrong with it."""
    path, equals, text = override.partition("=")
    keys = path.strip().split(".")
    if not equals or not all(keys) or len(keys) < 2:
        return [f"override {override!r} is not of the form table.entry=value"]
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        if not _BARE_WORD.fullmatch(text.strip()):
            return [f"override {override!r}: {text!r} is no TOML value"]
        value = text.strip()
    table = content
    for key in keys[:-1]:
        table = table.setdefault(key, {})
        if not isinstance(table, dict):
            return [f"override {override!r}: {key!r} is not a table"]
    table[keys[-1]] = value
    return []


def _build(kind: type, content: Any, where: str, problems: list[str]) -> Any:
    """An instance of the dataclass from a TOML table, or None; every problem is added to the list."""
    label = f"[{where}]" if where else f"the {kind.__name__.lower()}"
    if not isinstance(content, Mapping):
        problems.append(f"{label} is not a table")
        return None
    hints, before, values = get_type_hints(kind), len(problems), {}
    names = {f.name for f in fields(kind)}
    for name in sorted(set(content) - names):
        problems.append(f"{label} has the unknown entry {name!r}; it knows {', '.join(sorted(names))}")
    for entry in fields(kind):
        path = f"{where}.{entry.name}" if where else entry.name
        if entry.name in content:
            values[entry.name] = _convert(hints[entry.name], content[entry.name], path, problems)
        elif entry.default is MISSING and entry.default_factory is MISSING:
            problems.append(f"{label} lacks the entry {entry.name!r}")
    if len(problems) > before:
        return None
    built = kind(**values)
    problems += [f"{label}: {problem}" for problem in built.problems()]
    return built


def _convert(hint: Any, value: Any, path: str, problems: list[str]) -> Any:
    """A TOML value as the type of a recipe's entry."""
    if isinstance(hint, type) and hasattr(hint, "__dataclass_fields__"):
        return _build(hint, value, path, problems)
    if getattr(hint, "__origin__", hint) is tuple:
        if not isinstance(value, list):
            problems.append(f"{path} = {value!r} is not a list")
            return ()
        return tuple(_convert(get_args(hint)[0], v, f"{path}.{i}", problems) for i, v in enumerate(value))
    kind = getattr(hint, "__origin__", hint)
    if kind is float and type(value) is int:
        return float(value)
    if type(value) is not kind:
        words = {
            dict: "a table",
            str: "a string",
            int: "a whole number",
            float: "a number",
            bool: "true or false",
        }
        problems.append(f"{path} = {value!r} is not {words[kind]}")
    elif kind is dict and _has_date(value):
        problems.append(f"{path} holds a date, which means nothing here; put it in quotes")
    return value


def _has_date(value: Any) -> bool:
    """Whether a TOML date or time hides in a free table."""
    if isinstance(value, Mapping):
        return any(map(_has_date, value.values()))
    if isinstance(value, list):
        return any(map(_has_date, value))
    return isinstance(value, date | time)
