"""`zoo finetune`: a published model on the labels of one's own project, ten frames being enough to begin."""

# ruff: noqa: T201 - printing is what a command line is for
from __future__ import annotations

import argparse
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

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
    from superset_vocab import KeypointMap, LabelSet
    from training.comparison import Forgetting
    from training.evaluate import Report
    from zoo.model import Model

_MATCHING = "keypoint_map"


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
    from superset_vocab.errors import InputError

    if arguments.seed < 0:
        raise InputError(f"--seed is {arguments.seed}, want 0 or more")
    if arguments.threshold is not None and arguments.method != "replay":
        raise InputError("--threshold has no effect without --method replay; leave one out")
    if _is_superset(arguments.project) and (arguments.format or arguments.dataset or arguments.option):
        raise InputError(
            f"{arguments.project}: is in a superset vocabulary already, --format and --dataset have no effect"
            " (nor has --option)"
        )
    replay = None
    if arguments.method == "replay":
        replay = Replay(arguments.threshold, arguments.boxes)
    model = load_chosen(arguments)
    with ExitStack() as images:
        labels = project_labels(arguments, model, images)
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


def project_labels(arguments: argparse.Namespace, model: Model, images: ExitStack | None = None) -> LabelSet:
    """The project's labels in the model's vocabulary.

    The map is the one that was given; else that of the dataset, by its name; else a proposed one, which
    has to be looked at or accepted first. Superset datasets need none. Images that are inside videos or
    packages (SLEAP) are at hand as long as `images` is open; without it such projects are refused.

    Raises:
        InputError: If there is no map yet, or anything about the project is wrong.
    """
    from converters import load_superset, read_labels, reading
    from superset_vocab import load_map, project
    from superset_vocab.errors import InputError

    path: Path = arguments.project
    if _is_superset(path):
        if arguments.map is not None:
            raise InputError(f"{path}: is in a superset vocabulary already, --map has no effect")
        return load_superset(path)
    given = None if arguments.map is None else load_map(arguments.map)
    name = arguments.dataset or (given.dataset if given else path.resolve().stem)
    if images is None:
        labels = read_labels(path, format=arguments.format, dataset=name)
    else:
        options = parse_options(arguments.option)
        found = reading(path, arguments.out, format=arguments.format, dataset=name, options=options)
        labels = images.enter_context(found)
    keypoint_map = given or _shipped(labels, name, model) or _proposed(labels, model, arguments)
    if keypoint_map.vocabulary.name != model.vocabulary.name:
        raise InputError(
            f"the keypoint map {keypoint_map.dataset} is into {keypoint_map.vocabulary.name}, "
            f"{model.spec.full_name} predicts {model.vocabulary.name}; choose another map or model"
        )
    return project(labels, keypoint_map)


def _is_superset(path: Path) -> bool:
    """Whether `zoo convert` wrote it; anything that cannot be read is left to the readers, who say why."""
    import json

    file = path / "annotations.json" if path.is_dir() else path
    if file.suffix != ".json" or not file.is_file():
        return False
    try:
        content = json.loads(file.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError):
        return False
    info = content.get("info") if isinstance(content, dict) else None
    return isinstance(info, dict) and bool(info.get("vocabulary"))


def _shipped(labels: LabelSet, name: str, model: Model) -> KeypointMap | None:
    """The package's map of a dataset of this name; a map speaks for its own dataset only."""
    from superset_vocab import list_maps, load_map

    if name not in list_maps():
        return None
    found = load_map(name)
    fits = set(found.targets) == set(labels.keypoints) and found.vocabulary.name == model.vocabulary.name
    return found if fits else None


def _proposed(labels: LabelSet, model: Model, arguments: argparse.Namespace) -> KeypointMap:
    """A map proposed from names and images, if it may be used unseen; else it is written and the run ends.

    Raises:
        InputError: If it has to be looked at first.
    """
    from adaptation.keypoint_files import write_matching
    from adaptation.keypoint_matching import match_keypoints
    from superset_vocab.errors import InputError
    from superset_vocab.files import make_folder

    matching = match_keypoints(labels, model, progress=True)
    folder = make_folder(arguments.out) / _MATCHING
    written = write_matching(matching, labels, folder)
    pairs = [f"{source} -> {target or 'none'}" for source, target in matching.targets.items()]
    if arguments.accept_map:
        print(f"{written[0]}: proposed and accepted: {', '.join(pairs)}")
        return matching.keypoint_map()
    raise InputError(
        f"{arguments.project}: has no keypoint map. One is proposed in {written[0]}: {', '.join(pairs)}. "
        f"Look at the pictures beside it, correct it, and run again with --map {written[0]}; or --accept-map"
    )


def _test(model: Model, tuned: Model, used: LabelSet, rest: LabelSet, arguments: argparse.Namespace) -> None:
    """Both models on the labelled frames that were not used, and what was forgotten; evaluation.json."""
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


@dataclass(frozen=True)
class HeldOut:
    """Two models on labelled frames that neither was fine-tuned on.

    Attributes:
        reports: "zero-shot" and the name of the method -> figures.
        lost: What was forgotten; None for methods that start with a new decoder.
        n_known: Frames left out because one of them, or what it was made from, was fine-tuned on them.
    """

    reports: dict[str, Report]
    lost: Forgetting | None
    n_known: int = 0

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        content = {name: report.to_dict() for name, report in self.reports.items()}
        return content if self.lost is None else {**content, "forgetting": self.lost.to_dict()}


def compare_on_rest(
    model: Model, tuned: Model, used: LabelSet, rest: LabelSet, *, method: str, boxes: str
) -> HeldOut | None:
    """Test a model before and after fine-tuning.

    Args:
        model: Before.
        tuned: After.
        used: What it was fine-tuned on.
        rest: To test on; images without an annotated keypoint are left out, and those (or copies of those)
            that the models were fine-tuned on.
        method: One of `adaptation.fine_tuning.METHODS`.
        boxes: "labels" or "model", as in `training.evaluate.evaluate_model`.

    Returns:
        The figures; None if nothing is left to test on.
    """
    from adaptation.fine_tuning import image_key, trained_images
    from training.comparison import forgetting, target_keypoints
    from training.evaluate import evaluate_model

    annotated = [r for r in rest.records if r.annotated.any()]
    known = trained_images(tuned)
    fresh = [r for r in annotated if image_key(r.image) not in known]
    if not fresh:
        return None
    rest = replace(rest, records=tuple(fresh))
    reports = {
        name: evaluate_model(which, rest, split="labelled frames not used", bboxes=boxes)
        for name, which in (("zero-shot", model), (method, tuned))
    }
    lost = None
    if method in ("replay", "naive"):
        lost = forgetting(model, tuned, rest, target_keypoints(used), split="the same frames")
    return HeldOut(reports, lost, len(annotated) - len(fresh))
