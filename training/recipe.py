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
import math
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, asdict, dataclass, field, fields
from datetime import date, time
from importlib import resources
from pathlib import Path
from typing import Any, get_args, get_type_hints

from superset_vocab.errors import InputError, all_problems
from superset_vocab.files import read_text
from superset_vocab.toml_text import parse_toml, toml_names, toml_table
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
    return toml_names(_FOLDER)


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
    text = read_text(file) if isinstance(file, Path) else file.read_text(encoding="utf-8")
    return parse_recipe(text, what=name, overrides=overrides)


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
    content = parse_toml(text, what)
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
    elif kind is float and not math.isfinite(value):
        problems.append(f"{path} = {value!r} is not a finite number")
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
