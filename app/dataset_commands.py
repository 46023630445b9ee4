"""`zoo convert`, `zoo merge`, `zoo fetch-data` and `zoo synthesize`: where superset datasets come from."""

# ruff: noqa: T201 - printing is what a command line is for
from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from app.shared_options import add_option_argument, parse_options
from superset_vocab.errors import all_problems

if TYPE_CHECKING:
    from converters.synthetic import Lab
    from superset_vocab import LabelSet


def add_to(commands: argparse._SubParsersAction) -> None:
    """Add the subcommands to the parser."""
    _add_convert(commands)
    _add_merge(commands)
    _add_fetch(commands)
    _add_synthesize(commands)


def _add_convert(commands: argparse._SubParsersAction) -> None:
    convert = commands.add_parser(
        "convert",
        help="labels of another program to a superset dataset",
        description="Projects a label source into a superset vocabulary and writes a COCO dataset.",
    )
    convert.add_argument("source", type=Path, metavar="SOURCE", help="label file or project folder")
    convert.add_argument(
        "--map",
        help="keypoint map: its name or a .toml file; needed unless SOURCE is in a vocabulary already",
    )
    convert.add_argument("--out", type=Path, required=True, help="new folder for the dataset")
    convert.add_argument("--format", help="format of the source; default: detected")
    convert.add_argument("--dataset", help="name of the dataset; default: the map's")
    convert.add_argument("--split-group", help="one animal or session for all images; default: the source's")
    convert.add_argument(
        "--on-problem",
        default="refuse",
        choices=("refuse", "drop", "keep"),
        help="with images that have errors: refuse all, leave these out, or keep them; default: %(default)s",
    )
    convert.add_argument(
        "--report", type=Path, metavar="DIR", help="folder for the validation's JSON and page"
    )
    add_option_argument(convert, "of the source's format, e.g. categories=dog,cat")
    convert.set_defaults(run=run_convert)


def _add_merge(commands: argparse._SubParsersAction) -> None:
    merge = commands.add_parser(
        "merge", help="several superset datasets as one", description="Merges what `zoo convert` wrote."
    )
    merge.add_argument(
        "sources",
        nargs="+",
        metavar="SOURCE",
        help="folder of a superset dataset, or hf://OWNER/NAME of a dataset or shared repository on the Hub",
    )
    merge.add_argument("--out", type=Path, required=True, help="new folder for the dataset")
    merge.add_argument(
        "--twins",
        default="refuse",
        choices=("refuse", "first"),
        help="what to do with an image that occurs twice; default: %(default)s",
    )
    merge.add_argument(
        "--images",
        default="copy",
        choices=("copy", "link"),
        help="copy the images, or hard-link them: no second copy on the disk; default: %(default)s",
    )
    merge.add_argument("--quiet", action="store_true", help="no progress bar")
    merge.set_defaults(run=run_merge)


def _add_fetch(commands: argparse._SubParsersAction) -> None:
    fetch = commands.add_parser(
        "fetch-data",
        help="the official training data: topviewmouse-5k, quadruped-80k",
        description="Downloads an official dataset from Zenodo (resumable, verified), extracts it "
        "and writes a superset dataset. ZOO_ZENODO names another host.",
    )
    fetch.add_argument("name", metavar="NAME", help="topviewmouse-5k or quadruped-80k")
    fetch.add_argument("--out", type=Path, required=True, help="folder for the archive and the dataset")
    fetch.add_argument("--archive", type=Path, metavar="FILE", help="the archive, if you have it already")
    fetch.add_argument(
        "--images",
        default="link",
        choices=("copy", "link"),
        help="hard-link the extracted images, or copy them; default: %(default)s",
    )
    fetch.add_argument("--quiet", action="store_true", help="no progress bar")
    fetch.set_defaults(run=run_fetch)


def _add_synthesize(commands: argparse._SubParsersAction) -> None:
    synthesize = commands.add_parser(
        "synthesize",
        help="labelled images, or videos, of rendered mice",
        description="Writes a dataset synthetic_<lab> for each lab; with --video, synthetic_<lab>.mp4.",
    )
    synthesize.add_argument("--out", type=Path, required=True, help="folder for the datasets or videos")
    synthesize.add_argument("--labs", required=True, help="labs, separated by commas, e.g. openfield,spine")
    synthesize.add_argument(
        "--frames", type=int, required=True, help="images, or frames of video, for each lab"
    )
    synthesize.add_argument("--seed", type=int, default=0, help="default: %(default)s")
    synthesize.add_argument("--workers", type=int, default=1, help="processes that render images; default: 1")
    synthesize.add_argument("--video", action="store_true", help="a video for each lab instead of a dataset")
    synthesize.set_defaults(run=run_synthesize)


def run_convert(arguments: argparse.Namespace) -> int:
    """Convert one label source."""
    from converters import convert

    labels = convert(
        arguments.source,
        arguments.map,
        arguments.out,
        format=arguments.format,
        dataset=arguments.dataset,
        split_group=arguments.split_group,
        on_problem=arguments.on_problem,
        report=arguments.report,
        options=parse_options(arguments.option),
    )
    _report(labels, arguments.out)
    return 0


def run_merge(arguments: argparse.Namespace) -> int:
    """Merge superset datasets and print what is in the result."""
    from converters import merge_to
    from converters.statistics import CSV, JSON

    merged = merge_to(
        arguments.out,
        _published_or_folders(arguments.sources),
        twins=arguments.twins,
        images=arguments.images,
        progress=not arguments.quiet,
    )
    print(f"{arguments.out}: {len(merged)} images, {merged.n_instances} instances, {merged.vocabulary}")
    _print_counts(merged)
    print(f"by keypoint: {arguments.out / CSV} and {JSON}")
    return 0


def _published_or_folders(sources: Sequence[str]) -> list[LabelSet | Path]:
    """Folders as they are; datasets on the Hub read, each of a shared repository by itself."""
    from zoo.published import SCHEME

    found: list[LabelSet | Path] = []
    for source in sources:
        if source.startswith(SCHEME):
            from hub_cards import load_contributions

            found += load_contributions(source)
        else:
            found.append(Path(source))
    return found


def run_fetch(arguments: argparse.Namespace) -> int:
    """Fetch a dataset and print what is in it."""
    from converters.bundles import fetch

    labels = fetch(
        arguments.name,
        arguments.out,
        archive=arguments.archive,
        images=arguments.images,
        progress=not arguments.quiet,
    )
    print(f"{arguments.out / 'superset'}: {len(labels)} images, {labels.n_instances} instances")
    _print_counts(labels)
    print("look at the labels with `zoo check`; train on them by their path in a recipe")
    return 0


def run_synthesize(arguments: argparse.Namespace) -> int:
    """Render datasets or videos of synthetic labs."""
    from converters.synthetic import lab_named
    from superset_vocab.files import make_folder

    labs = [lab_named(name.strip()) for name in arguments.labs.split(",")]
    problems = [
        f"{name} is {value}, want {least} or more"
        for name, value, least in (
            ("--frames", arguments.frames, 1),
            ("--seed", arguments.seed, 0),
            ("--workers", arguments.workers, 1),
        )
        if value < least
    ]
    if arguments.video and arguments.workers != 1:
        problems.append("--workers has no effect with --video; leave one out")
    targets = [arguments.out / f"{lab.dataset}{'.mp4' if arguments.video else ''}" for lab in labs]
    problems += [
        f"{target} exists; remove it or choose another --out" for target in targets if target.exists()
    ]
    if len(set(targets)) < len(targets):
        problems.append("--labs names a lab twice")
    if problems:
        raise all_problems("synthesize", problems)
    make_folder(arguments.out)
    for lab, target in zip(labs, targets, strict=True):
        if arguments.video:
            _render_video(lab, arguments.frames, arguments.seed, target)
        else:
            _render_dataset(lab, arguments, target)
    return 0


def _render_dataset(lab: Lab, arguments: argparse.Namespace, target: Path) -> None:
    """Render a lab's images with their labels, through the same converter as real ones."""
    from converters import convert_labels
    from converters.synthetic import synthesize

    with tempfile.TemporaryDirectory(dir=arguments.out, prefix=".rendering.") as folder:
        labels = synthesize(
            lab, arguments.frames, Path(folder), seed=arguments.seed, workers=arguments.workers
        )
        _report(convert_labels(labels, lab.dataset, target), target)


def _render_video(lab: Lab, n_frames: int, seed: int, target: Path) -> None:
    """Render a lab's video at 30 frames/s."""
    import numpy as np

    from converters.synthetic import render_video
    from superset_vocab.files import atomic_path
    from zoo.video import VideoWriter

    with atomic_path(target) as temporary, VideoWriter(temporary, lab.size_wh, 30) as writer:
        for frame in render_video(lab, n_frames, np.random.default_rng(seed)):
            writer.write(frame.image)
    print(f"{target}: {n_frames} frames")


def _print_counts(labels: LabelSet) -> None:
    """A row for each dataset, and their sum."""
    from converters import dataset_statistics
    from converters.statistics import table

    for line in table(dataset_statistics(labels)):
        print(f"  {line}")


def _report(labels: LabelSet, out: Path) -> None:
    """Say what was written."""
    print(f"{out}: {len(labels)} images, {labels.n_instances} instances, {labels.vocabulary}")
    for source in labels.sources:
        count = sum(record.dataset == source.dataset for record in labels.records)
        print(
            f"  {source.dataset}: {count} images, {len(source.keypoints)} keypoints, licence {source.licence}"
        )
