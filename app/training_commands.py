"""`zoo train` and `zoo evaluate`."""

# ruff: noqa: T201 - printing is what a command line is for
from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from app.shared_options import add_model_options, add_overrides, add_preset, load_chosen, preset_options

if TYPE_CHECKING:
    from zoo.model import Model


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
    add_overrides(train, "recipe, e.g. schedule.lr=1e-3")
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

    _add_evaluate(commands)


def _add_evaluate(commands: argparse._SubParsersAction) -> None:
    evaluate = commands.add_parser(
        "evaluate",
        help="how far a model is from the labels of a dataset",
        description="Prints distances in pixels with a bootstrap interval, mAP by OKS, PCK and keypoint "
        "dropping, for each keypoint and dataset, and writes them as evaluation.json. With --against it "
        "also shows the model that this one was fine-tuned from, and what was forgotten.",
    )
    evaluate.add_argument("model", metavar="MODEL", help="a published model's name, or a model's folder")
    evaluate.add_argument("dataset", type=Path, metavar="DATASET", help="folder that `zoo convert` wrote")
    add_model_options(evaluate)
    evaluate.add_argument("--out", type=Path, required=True, help="folder for evaluation.json")
    evaluate.add_argument(
        "--boxes", default="model", choices=("model", "labels"), help="who finds the animals"
    )
    evaluate.add_argument("--keypoints", help="score only these, separated by commas; default: all annotated")
    evaluate.add_argument(
        "--normalise-by",
        metavar="A,B",
        help="two keypoints whose labelled distance is the unit of the normalised error, e.g. right_eye,nose",
    )
    add_preset(evaluate)
    evaluate.add_argument(
        "--against",
        metavar="MODEL",
        help="score this model too, a name (name/variant for one of its networks) or a folder",
    )
    evaluate.add_argument(
        "--target",
        type=Path,
        metavar="DATASET",
        help="with --against: what MODEL was fine-tuned on; forgetting is shown for what it does not define",
    )
    evaluate.add_argument(
        "--split",
        help="what part of the data this is, for the report; default: the folder. --keypoints and --preset "
        "are added to it",
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
    """Score a model on a dataset, alone or against another one."""
    from adaptation.fine_tuning import image_key, trained_images
    from converters import load_superset
    from superset_vocab.errors import InputError
    from superset_vocab.files import make_folder, write_json
    from training.comparison import comparison_table, forgetting, target_keypoints
    from training.evaluate import evaluate_model

    if arguments.target is not None and arguments.against is None:
        raise InputError("--target has no effect without --against; name the model before fine-tuning")
    target = make_folder(arguments.out) / "evaluation.json"
    if target.exists() and not arguments.overwrite:
        raise InputError(f"{target} exists; use --overwrite or another --out")
    labels = load_superset(arguments.dataset)
    defined = None if arguments.target is None else target_keypoints(load_superset(arguments.target))
    names, unit = _words(arguments.keypoints), _words(arguments.normalise_by)
    # A card takes figures by this name: of few keypoints or of training images they are something else.
    split = arguments.split or arguments.dataset.resolve().name
    split += "" if names is None else f", {' and '.join(names)} only"
    split += ", as the paper (context 1.25, flip test)" if arguments.preset == "paper" else ""
    if unit is not None and len(unit) != 2:
        raise InputError(f"--normalise-by {arguments.normalise_by}: want two keypoints, separated by a comma")
    models = {arguments.model: load_chosen(arguments)}
    known = trained_images(models[arguments.model])
    n_known = sum(image_key(record.image) in known for record in labels.records) if known else 0
    split += f", {n_known} of its {len(labels)} images trained on" if n_known else ""
    # The same name may stand for two models: this one with --weights or --variant, and the published one.
    other = f"{arguments.against} (against)" if arguments.against == arguments.model else arguments.against
    if other is not None:
        models[other] = _load_other(arguments.against, arguments.device)
    options = preset_options(arguments.preset)
    reports = {
        name: evaluate_model(
            model,
            labels,
            split=split,
            bboxes=arguments.boxes,
            keypoints=names,
            normalise_by=None if unit is None else (unit[0], unit[1]),
            **options,
        )
        for name, model in models.items()
    }
    content = reports[arguments.model].to_dict()
    print(reports[arguments.model].table())
    if other is not None:
        content["against"] = {"model": arguments.against, **reports[other].to_dict()}
        print("", comparison_table(reports), sep="\n")
    if defined is not None:
        lost = forgetting(models[other], models[arguments.model], labels, defined, split=split)
        content["forgetting"] = lost.to_dict()
        print("", lost.table(), sep="\n")
    write_json(target, content)
    print(target)
    return 0


def _words(text: str | None) -> list[str] | None:
    """The words of an option that are separated by commas."""
    return None if text is None else [word.strip() for word in text.split(",")]


def _load_other(name: str, device: str) -> Model:
    """A second model: a folder, a name, or name/variant."""
    import zoo
    from zoo.model_folder import SPEC_FILE

    model, slash, variant = name.rpartition("/")
    published = {spec.name for spec in zoo.list_models()}
    if slash and model in published and not (Path(name) / SPEC_FILE).is_file():
        return zoo.load(model, variant, device)
    return zoo.load(name, device=device)
