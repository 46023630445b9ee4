"""Datasets to batches, masked losses, the one optimisation loop, recipes and evaluation.

The names below are loaded when they are first used: `import training` alone stays light.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from training.comparison import Forgetting, comparison_table, forgetting
    from training.ensemble import train_ensemble
    from training.evaluate import Report, evaluate_model, evaluate_predictions
    from training.from_recipe import train
    from training.recipe import Recipe, list_recipes, load_recipe
    from training.splits import split_by_fraction, split_by_group

_HOMES = {
    "Forgetting": "training.comparison",
    "Recipe": "training.recipe",
    "Report": "training.evaluate",
    "comparison_table": "training.comparison",
    "evaluate_model": "training.evaluate",
    "evaluate_predictions": "training.evaluate",
    "forgetting": "training.comparison",
    "list_recipes": "training.recipe",
    "load_recipe": "training.recipe",
    "split_by_fraction": "training.splits",
    "split_by_group": "training.splits",
    "train": "training.from_recipe",
    "train_ensemble": "training.ensemble",
}

__all__ = [
    "Forgetting",
    "Recipe",
    "Report",
    "comparison_table",
    "evaluate_model",
    "evaluate_predictions",
    "forgetting",
    "list_recipes",
    "load_recipe",
    "split_by_fraction",
    "split_by_group",
    "train",
    "train_ensemble",
]


def __getattr__(name: str) -> Any:
    """Load a public name from its module."""
    if name not in _HOMES:
        raise AttributeError(f"module 'training' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return __all__
