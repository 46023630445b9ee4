"""`zoo convert` and `zoo merge`: foreign labels to superset datasets."""

# ruff: noqa: T201 - printing is what a command line is for
from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from superset_vocab import LabelSet


def add_to(commands: argparse._SubParsersAction) -> None:
    """Add the subcommands to the parser."""
    convert = commands.add_parser(
        "convert",
        help="labels of another program to a superset dataset",
        description="Projects a label source into a superset vocabulary and writes a COCO dataset.",
    )
    convert.add_argument("source", type=Path, metavar="SOURCE", help="label file or project folder")
    convert.add_argument("--map", required=True, help="keypoint map: its name or a .toml file")
    convert.add_argument("--out", type=Path, required=True, help="new folder for the dataset")
    convert.add_argument("--format", help="format of the source; default: detected")
    convert.add_argument("--dataset", help="name of the dataset; default: the map's")
    convert.add_argument("--split-group", help="one animal or session for all images; default: the source's")
    convert.set_defaults(run=run_convert)

    merge = commands.add_parser(
        "merge", help="several superset datasets as one", description="Merges what `zoo convert` wrote."
    )
    merge.add_argument("sources", nargs="+", type=Path, metavar="SOURCE", help="folder of a superset dataset")
    merge.add_argument("--out", type=Path, required=True, help="new folder for the dataset")
    merge.set_defaults(run=run_merge)


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
    )
    _report(labels, arguments.out)
    return 0


def run_merge(arguments: argparse.Namespace) -> int:
    """Merge superset datasets."""
    from converters import merge_to

    _report(merge_to(arguments.out, arguments.sources), arguments.out)
    return 0


def _report(labels: LabelSet, out: Path) -> None:
    """Say what was written."""
    print(f"{out}: {len(labels)} images, {labels.n_instances} instances, {labels.vocabulary}")
    for source in labels.sources:
        count = sum(record.dataset == source.dataset for record in labels.records)
        print(
            f"  {source.dataset}: {count} images, {len(source.keypoints)} keypoints, licence {source.licence}"
        )
