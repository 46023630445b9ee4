"""`zoo fetch-data`: the official training data by name."""

# ruff: noqa: T201 - printing is what a command line is for
from __future__ import annotations

import argparse
from pathlib import Path


def add_to(commands: argparse._SubParsersAction) -> None:
    """Add the subcommand to the parser."""
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
    fetch.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Fetch a dataset and print what is in it."""
    from converters import dataset_statistics
    from converters.bundles import fetch
    from converters.statistics import table

    labels = fetch(
        arguments.name,
        arguments.out,
        archive=arguments.archive,
        images=arguments.images,
        progress=not arguments.quiet,
    )
    print(f"{arguments.out / 'superset'}: {len(labels)} images, {labels.n_instances} instances")
    for line in table(dataset_statistics(labels)):
        print(f"  {line}")
    print("look at the labels with `zoo check`; train on them by their path in a recipe")
    return 0
