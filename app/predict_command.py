"""`zoo predict` and `zoo models`."""

# ruff: noqa: T201 - printing is what a command line is for
from __future__ import annotations

import argparse
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from app.shared_options import (
    DEFAULT_MODEL,
    add_model_options,
    add_preset,
    load_chosen,
    number_or_word,
    preset_options,
)
from superset_vocab.errors import InputError, all_problems

if TYPE_CHECKING:
    from zoo import Model, Predictions
    from zoo.drawing import Style


def add_to(commands: argparse._SubParsersAction) -> None:
    """Add the subcommands to the parser."""
    _add_predict(commands)
    models = commands.add_parser("models", help="list the published models")
    models.add_argument("--long", action="store_true", help="with licence, training data and evaluation")
    models.add_argument("--remote", action="store_true", help="those that others published to the Hub")
    models.set_defaults(run=list_models)


def _add_predict(commands: argparse._SubParsersAction) -> None:
    predict = commands.add_parser(
        "predict",
        help="poses, tables and a labelled video from images or videos",
        description="Writes <input>.<model>_<variant>.h5, .csv and .coco.json with their provenance, and "
        "for a video a labelled one, into the output folder.",
    )
    predict.add_argument(
        "inputs", nargs="+", type=Path, metavar="INPUT", help="video, image or folder of images"
    )
    predict.add_argument("--model", default=DEFAULT_MODEL, help="default: %(default)s; see `zoo models`")
    add_model_options(predict)
    predict.add_argument("--out", type=Path, required=True, help="folder for the results")
    predict.add_argument(
        "--format", default="h5,csv,coco", help="tables to write, of h5, csv, coco, nwb; default: %(default)s"
    )
    predict.add_argument("--no-video", action="store_true", help="draw no labelled video or images")
    predict.add_argument("--cutoff", type=float, help="confidence below which nothing is drawn; default: 0.3")
    predict.add_argument(
        "--max-individuals", type=int, help="number of animals; default: as many as are seen"
    )
    predict.add_argument("--bbox-threshold", type=float, help="confidence below which there is no animal")
    predict.add_argument(
        "--detect-every",
        metavar="N",
        help="frames from one detection to the next in a video, or 'auto'; default: the model's own",
    )
    add_preset(predict)
    predict.add_argument("--batch-size", type=int, default=16, help="frames at a time; default: %(default)s")
    predict.add_argument(
        "--allow-truncated", action="store_true", help="take a truncated video as far as it goes"
    )
    predict.add_argument("--overwrite", action="store_true", help="replace results that exist")
    predict.add_argument("--quiet", action="store_true", help="no progress bar")
    predict.set_defaults(run=run_predict)


def list_models(arguments: argparse.Namespace) -> int:
    """Print the catalogue, or what the Hub has with our tag."""
    import zoo

    if arguments.remote:
        return _list_remote(arguments.long)
    for spec in zoo.list_models():
        mark = " (default)" if spec.default else ""
        print(f"{spec.name}  {spec.variant}{mark}  {spec.summary}")
        if arguments.long:
            print(
                f"    vocabulary: {spec.vocabulary}\n    licence: {spec.licence}\n    cite: {spec.citation}"
            )
            print("".join(f"    trained on: {source}\n" for source in spec.training_data), end="")
            print("".join(f"    {key}: {value}\n" for key, value in spec.evaluation.items()), end="")
    return 0


def _list_remote(with_tags: bool) -> int:
    """Print the models on the Hub that were published with this package."""
    from zoo.hub import search
    from zoo.published import TAG, Address

    found = search(TAG)
    for one in found:
        print(f"{Address(one.repository)}  {one.updated}")
        if with_tags:
            print(f"    {', '.join(one.tags)}")
    if not found:
        print("none yet")
    return 0


def run_predict(arguments: argparse.Namespace) -> int:
    """Predict on each input; one that fails does not stop the others.

    Returns:
        0, or 1 if some of several inputs failed.

    Raises:
        InputError: If an option is wrong, or the only input failed.
    """
    from superset_vocab.files import make_folder
    from zoo.drawing import Style

    formats = [name.strip() for name in arguments.format.split(",") if name.strip()]
    if arguments.no_video and arguments.cutoff is not None:
        raise InputError("--cutoff has no effect with --no-video; leave one out")
    style = Style() if arguments.cutoff is None else Style(cutoff=arguments.cutoff)
    model = load_chosen(arguments)
    stems = {path: f"{_stem(path)}.{model.label}" for path in arguments.inputs}
    _check_targets(arguments, stems, formats)
    _check_boxes(model, arguments.inputs)
    make_folder(arguments.out)
    failures: list[InputError] = []
    for path in arguments.inputs:
        try:
            _predict_one(model, path, stems[path], formats, None if arguments.no_video else style, arguments)
        except InputError as error:
            if len(arguments.inputs) == 1:
                raise
            failures.append(error)
            print(f"zoo: error: {error}", file=sys.stderr)
    if failures:
        done = len(arguments.inputs) - len(failures)
        print(f"zoo: {done} of {len(arguments.inputs)} inputs done, {len(failures)} failed", file=sys.stderr)
        return 1
    return 0


def _predict_one(
    model: Model,
    path: Path,
    stem: str,
    formats: list[str],
    style: Style | None,
    arguments: argparse.Namespace,
) -> None:
    """Predict on one input, write its tables and, with a style, its labelled video; say where they are."""
    predictions = model.predict(
        path,
        max_individuals=arguments.max_individuals,
        bbox_threshold=arguments.bbox_threshold,
        detect_every=number_or_word(arguments.detect_every),
        batch_size=arguments.batch_size,
        allow_truncated=arguments.allow_truncated,
        progress=not arguments.quiet,
        **preset_options(arguments.preset),
    )
    written = predictions.save(arguments.out, stem, formats)
    if style is not None:
        written.append(_draw(predictions, path, stem, style, arguments))
    print(f"{path}: {predictions!r}")
    for file in written:
        print(f"  {file}")


def _draw(
    predictions: Predictions, path: Path, stem: str, style: Style, arguments: argparse.Namespace
) -> Path:
    """Write the labelled video, or the folder of labelled images."""
    from zoo.drawing import write_labelled_images, write_labelled_video

    target = _labelled_path(path, stem, arguments.out)
    if predictions.images:
        write_labelled_images(predictions, path, target, style)
    else:
        write_labelled_video(predictions, path, target, style, progress=not arguments.quiet)
    return target


def _check_targets(arguments: argparse.Namespace, stems: dict[Path, str], formats: list[str]) -> None:
    """Refuse, before anything is computed, to write two results to one name or over existing ones."""
    from zoo.exports import export_paths
    from zoo.nwb import NO_TIME

    problems = [
        f"{times} inputs are called {stem!r}, so their results would have one name; predict them into "
        "different folders"
        for stem, times in sorted(Counter(_stem(path) for path in arguments.inputs).items())
        if times > 1
    ]
    problems += [f"{p}: {NO_TIME}" for p in arguments.inputs if "nwb" in formats and not _is_video(p)]
    for path in arguments.inputs:
        targets = export_paths(arguments.out, stems[path], formats)
        if not arguments.no_video:
            targets.append(_labelled_path(path, stems[path], arguments.out))
        existing = [str(target) for target in targets if target.exists()]
        if existing and not arguments.overwrite and not problems:
            problems.append(f"{', '.join(existing)} exists; use --overwrite or another --out")
    if problems:
        raise all_problems("predict", problems)


def _check_boxes(model: Model, inputs: list[Path]) -> None:
    """Refuse to take the boxes of one video for those of another."""
    from zoo.given_boxes import CocoBoxes

    boxes = model.detector
    if isinstance(boxes, CocoBoxes) and not boxes.by_name and len(inputs) > 1:
        raise InputError(
            f"{boxes.what}: its boxes are of the frames of one input, and {len(inputs)} are given; "
            "predict on each with its own file"
        )


def _stem(path: Path) -> str:
    """Start of the names of an input's results."""
    return path.resolve().name if path.is_dir() else path.stem


def _labelled_path(path: Path, stem: str, out: Path) -> Path:
    """The labelled video of a video; the folder of labelled images of images."""
    return out / f"{stem}.labelled{'.mp4' if _is_video(path) else ''}"


def _is_video(path: Path) -> bool:
    """Whether an input is taken for a video."""
    from zoo.video import VIDEO_SUFFIXES

    return not path.is_dir() and path.suffix.lower() in VIDEO_SUFFIXES
