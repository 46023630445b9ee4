"""Datasets to batches, masked losses, the one optimisation loop, recipes and evaluation.

The names below are loaded when they are first used: `import training` alone stays light.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from superset_vocab.lazy import lazy_names

if TYPE_CHECKING:
    from training.comparison import Forgetting, comparison_table, forgetting
    from training.ensemble import train_ensemble
    from training.evaluate import Report, evaluate_model, evaluate_predictions
    from training.from_recipe import train
    from training.recipe import Recipe, list_recipes, load_recipe
    from training.splits import split_by_fraction, split_by_group

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

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "training.comparison": ["Forgetting", "comparison_table", "forgetting"],
        "training.ensemble": ["train_ensemble"],
        "training.evaluate": ["Report", "evaluate_model", "evaluate_predictions"],
        "training.from_recipe": ["train"],
        "training.recipe": ["Recipe", "list_recipes", "load_recipe"],
        "training.splits": ["split_by_fraction", "split_by_group"],
    },
)
