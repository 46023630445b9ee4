"""`zoo finetune`: a published model on the labels of one's own project, ten frames being enough to begin."""

# ruff: noqa: T201 - printing is what a command line is for
from __future__ import annotations

import argparse
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from app.shared_options import (
    DEFAULT_MODEL,
    add_model_options,
    add_option_argument,
    add_overrides,
    load_chosen,
    parse_options,
)

if TYPE_CHECKING:
    from adaptation.memory_replay import Replay
    from superset_vocab import LabelSet
    from zoo.model import Model


def add_to(commands: argparse._SubParsersAction) -> None:
    """Add the subcommand to the parser."""
    parser = commands.add_parser(
        "finetune",
        help="a model on your own labels, without it forgetting the other keypoints",
        description="Fine-tunes a model on a labelled project and writes it as a folder that --model and "
        "zoo.load take. A run that was stopped goes on with --resume. Where more frames are labelled than "
        "were used, the model is tested on the others.",
    )
    parser.add_argument(
        "project", type=Path, metavar="PROJECT", help="labels of a known format, or what `zoo convert` wrote"
    )
    parser.add_argument("--model", default=DEFAULT_MODEL, help="default: %(default)s; or a model's folder")
    add_model_options(parser)
    parser.add_argument("--out", type=Path, required=True, help="new folder for the model")
    parser.add_argument("--frames", type=int, help="labelled frames to use, drawn at random; default: all")
    parser.add_argument(
        "--method",
        default="replay",
        choices=("replay", "naive", "transfer", "scratch"),
        help="replay: the model's own predictions stand in for keypoints that you did not label; naive: your "
        "labels alone; transfer: with a new decoder; scratch: nothing taken over. Default: %(default)s",
    )
    parser.add_argument(
        "--threshold",
        type=float,
        help="confidence above which a prediction is replayed; default: the model's",
    )
    parser.add_argument(
        "--boxes",
        default="labels",
        choices=("labels", "model"),
        help="who finds the animals for replay and test; default: %(default)s",
    )
    parser.add_argument(
        "--map", help="keypoint map: its name or a .toml; default: the dataset's, or proposed"
    )
    parser.add_argument(
        "--accept-map", action="store_true", help="go on with a proposed keypoint map without a look at it"
    )
    parser.add_argument("--format", help="format of the project; default: detected")
    add_option_argument(parser, "of the project's format, e.g. video=FOLDER for SLEAP")
    parser.add_argument("--dataset", help="name of the dataset; default: the map's, or the project's")
    parser.add_argument("--seed", type=int, default=0, help="of frames, samples and weights; default: 0")
    add_overrides(parser, "recipe, e.g. schedule.iterations=600")
    parser.add_argument("--resume", action="store_true", help="go on with the run in the output folder")
    parser.set_defaults(run=run_finetune)


def run_finetune(arguments: argparse.Namespace) -> int:
    """Fine-tune a model on a project, and test it on the frames that were left over."""
    from adaptation.memory_replay import Replay
    from app.fine_tuning_project import Project, is_superset, project_labels
    from superset_vocab.errors import InputError

    if arguments.seed < 0:
        raise InputError(f"--seed is {arguments.seed}, want 0 or more")
    if arguments.threshold is not None and arguments.method != "replay":
        raise InputError("--threshold has no effect without --method replay; leave one out")
    if is_superset(arguments.project) and (arguments.format or arguments.dataset or arguments.option):
        raise InputError(
            f"{arguments.project}: is in a superset vocabulary already, --format and --dataset have no effect"
            " (nor has --option)"
        )
    replay = None
    if arguments.method == "replay":
        replay = Replay(arguments.threshold, arguments.boxes)
    model = load_chosen(arguments)
    project = Project(
        arguments.project,
        arguments.map,
        arguments.dataset or "",
        arguments.format,
        parse_options(arguments.option),
        arguments.accept_map,
    )
    with ExitStack() as images:
        labels = project_labels(project, model, arguments.out, images, print)
        _tune_and_test(model, labels, replay, arguments)
    return 0


def _tune_and_test(
    model: Model, labels: LabelSet, replay: Replay | None, arguments: argparse.Namespace
) -> None:
    """Fine-tune, say what was written, and test on what was left over."""
    from adaptation.fine_tuning import choose_frames, fine_tune

    rest = None
    if arguments.frames is not None:
        labels, rest = choose_frames(labels, arguments.frames, seed=arguments.seed)
    tuned = fine_tune(
        model,
        labels,
        arguments.out,
        method=arguments.method,
        replay=replay,
        overrides=[f"run.seed={arguments.seed}", *arguments.overrides],
        resume=arguments.resume,
        progress=True,
    )
    print(f"{arguments.out}: {tuned.spec.full_name}, fine-tuned on {len(labels)} frames")
    if rest is not None:
        _test(model, tuned, labels, rest, arguments)


def _test(model: Model, tuned: Model, used: LabelSet, rest: LabelSet, arguments: argparse.Namespace) -> None:
    """Both models on the labelled frames that were not used, and what was forgotten; evaluation.json."""
    from app.fine_tuning_project import compare_on_rest
    from superset_vocab.files import write_json
    from training.comparison import comparison_table

    found = compare_on_rest(model, tuned, used, rest, method=arguments.method, boxes=arguments.boxes)
    if found is None:
        print("no labelled frame is left to test on")
        return
    n_frames = found.reports["zero-shot"].n_images
    print(f"\n{n_frames} labelled frames that were not used; frames of the same recordings are much alike")
    if found.n_known:
        print(
            f"{found.n_known} others are left out: the model's parent was fine-tuned on them, or copies were"
        )
    print(comparison_table(found.reports))
    if found.lost is not None:
        print(found.lost.table())
    write_json(arguments.out / "evaluation.json", found.to_dict())
    print(arguments.out / "evaluation.json")
