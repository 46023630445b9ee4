"""`zoo train` and `zoo evaluate`."""

# ruff: noqa: T201 - printing is what a command line is for
from __future__ import annotations

import argparse
from pathlib import Path

from app.predict_command import add_model_options, load_chosen


def add_to(commands: argparse._SubParsersAction) -> None:
    """Add the subcommands to the parser."""
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
    train.add_argument(
        "--members",
        type=int,
        metavar="N",
        help="train an ensemble of N networks, one after the other, into member_0, member_1, ...",
    )
    train.add_argument(
        "--vary",
        choices=("seed", "heads", "order", "subset"),
        help="in what the members differ: all that is drawn (seed, the default), initial weights (heads), "
        "order of the samples, or each its own 80 %% of the images (subset)",
    )
    train.set_defaults(run=run_train)

    evaluate = commands.add_parser(
        "evaluate",
        help="how far a model is from the labels of a dataset",
        description="Prints distances in pixels and mAP by OKS, and writes them as evaluation.json.",
    )
    evaluate.add_argument("model", metavar="MODEL", help="name of a published model")
    evaluate.add_argument("dataset", type=Path, metavar="DATASET", help="folder that `zoo convert` wrote")
    add_model_options(evaluate)
    evaluate.add_argument("--out", type=Path, required=True, help="folder for evaluation.json")
    evaluate.add_argument(
        "--boxes", default="model", choices=("model", "labels"), help="who finds the animals"
    )
    evaluate.add_argument("--keypoints", help="score only these, separated by commas; default: all annotated")
    evaluate.add_argument(
        "--split", help="what part of the data this is, for the report; default: the folder"
    )
    evaluate.add_argument("--overwrite", action="store_true", help="replace a report that exists")
    evaluate.set_defaults(run=run_evaluate)


def run_train(arguments: argparse.Namespace) -> int:
    """Train from a recipe: one network, or an ensemble."""
    from superset_vocab.errors import InputError
    from training.ensemble import train_ensemble
    from training.from_recipe import train

    options = {"overrides": arguments.overrides, "resume": arguments.resume}
    if arguments.members is None:
        if arguments.vary is not None:
            raise InputError("--vary goes with --members; one network has nothing to differ from")
        print(train(arguments.recipe, arguments.out, **options).weights)
        return 0
    members = train_ensemble(
        arguments.recipe,
        arguments.out,
        members=arguments.members,
        vary=arguments.vary or "seed",
        **options,
    )
    for member in members:
        print(member.weights)
    return 0


def run_evaluate(arguments: argparse.Namespace) -> int:
    """Score a model on a dataset."""
    from converters import load_superset
    from superset_vocab.errors import InputError
    from superset_vocab.files import make_folder
    from training.evaluate import evaluate_model

    target = make_folder(arguments.out) / "evaluation.json"
    if target.exists() and not arguments.overwrite:
        raise InputError(f"{target} exists; use --overwrite or another --out")
    labels = load_superset(arguments.dataset)
    names = None if arguments.keypoints is None else [n.strip() for n in arguments.keypoints.split(",")]
    report = evaluate_model(
        load_chosen(arguments),
        labels,
        split=arguments.split or arguments.dataset.resolve().name,
        bboxes=arguments.boxes,
        keypoints=names,
    )
    report.write(target)
    print(report.table())
    print(target)
    return 0
