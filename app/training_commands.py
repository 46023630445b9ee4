"""`zoo train`."""

# ruff: noqa: T201 - printing is what a command line is for
from __future__ import annotations

import argparse
from pathlib import Path


def add_to(commands: argparse._SubParsersAction) -> None:
    """Add the subcommand to the parser."""
    train = commands.add_parser(
        "train",
        help="a network from superset datasets and a recipe",
        description="Writes weights.safetensors, run.json, recipe.toml and the log into the output folder. "
        "A run that was stopped goes on with --resume.",
    )
    train.add_argument("recipe", metavar="RECIPE", help="name of a recipe, or a .toml file")
    train.add_argument("--out", type=Path, required=True, help="folder of the run")
    train.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="TABLE.ENTRY=VALUE",
        dest="overrides",
        help="change the recipe, e.g. schedule.lr=1e-3; may be repeated",
    )
    train.add_argument("--resume", action="store_true", help="go on with the run in the output folder")
    train.set_defaults(run=run_train)


def run_train(arguments: argparse.Namespace) -> int:
    """Train from a recipe."""
    from training.from_recipe import train

    result = train(arguments.recipe, arguments.out, overrides=arguments.overrides, resume=arguments.resume)
    print(result.weights)
    return 0
