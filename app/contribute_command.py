"""`zoo contribute`: a laboratory's labels into the superset, with the keypoints matched for them."""

# ruff: noqa: T201 - printing is what a command line is for
from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from app.shared_options import (
    add_matching_options,
    add_model_options,
    add_option_argument,
    load_unless_names_only,
    parse_options,
)

if TYPE_CHECKING:
    from app.contribution import Prompts


def add_to(commands: argparse._SubParsersAction) -> None:
    """Add the subcommand to the parser."""
    contribute = commands.add_parser(
        "contribute",
        help="labels of another program, matched, checked and documented, as a superset dataset",
        description="Inspects the labels, proposes what each keypoint is in the vocabulary, shows it "
        "(index.html), and on a yes converts, validates and writes the dataset card. Exit code 2 where "
        "something is wrong or undecided; the proposal is there then too.",
    )
    contribute.add_argument("source", type=Path, metavar="SOURCE", help="label file or project folder")
    contribute.add_argument("--vocabulary", required=True, help="the superset, e.g. superanimal_topviewmouse")
    contribute.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for everything")
    contribute.add_argument(
        "--map", help="follow this keypoint map (a name or .toml) instead of the proposal"
    )
    contribute.add_argument("--yes", action="store_true", help="ask nothing; convert with the proposal")
    contribute.add_argument("--dataset", default="", help="name of the dataset; default: the source's")
    contribute.add_argument("--format", help="format of the source; default: detected")
    add_option_argument(contribute, "of the source's format, e.g. video=FOLDER for SLEAP")
    contribute.add_argument("--contact", default="", help="who answers questions; default: found, or asked")
    contribute.add_argument("--licence", default="", help="of images and labels; default: found, or asked")
    contribute.add_argument("--citation", default="", help="how to cite the dataset; default: found")
    contribute.add_argument("--summary", default="", help="what is to be seen; default: counted")
    contribute.add_argument("--species", action="append", default=[], help="may be repeated")
    contribute.add_argument(
        "--on-problem",
        default="refuse",
        choices=("refuse", "drop"),
        help="with images that have errors: refuse all, or leave these out; default: %(default)s",
    )
    contribute.add_argument("--model", help="whose poses help to match; default: the vocabulary's")
    add_matching_options(contribute)
    add_model_options(contribute)
    contribute.set_defaults(run=run)


def run(arguments: argparse.Namespace, prompts: Prompts | None = None) -> int:
    """Run the whole way.

    Args:
        arguments: Of the command line.
        prompts: Who answers; None asks on the terminal, if there is one.

    Returns:
        0: converted, or stopped by the person who was asked.
    """
    from app.contribution import Prompts, Request, contribute
    from superset_vocab.errors import InputError

    if arguments.names_only and arguments.model:
        raise InputError("--model has no effect with --names-only; leave one out")
    prompts = prompts or Prompts.of_terminal(yes=arguments.yes)
    request = Request(
        source=arguments.source,
        out=arguments.out,
        dataset=arguments.dataset,
        format=arguments.format,
        options=parse_options(arguments.option),
        map_name=arguments.map,
        contact=arguments.contact,
        licence=arguments.licence,
        citation=arguments.citation,
        summary=arguments.summary,
        species=tuple(arguments.species),
        on_problem=arguments.on_problem,
        yes=arguments.yes,
        min_confidence=arguments.min_confidence,
        max_images=arguments.max_images,
        progress=not arguments.quiet,
    )
    print(f"{arguments.source}:")
    arguments.model = arguments.model or arguments.vocabulary
    model = load_unless_names_only(arguments)
    outcome = contribute(request, model, arguments.vocabulary, prompts)
    if outcome.dataset is None:
        print(f"not converted; the proposal is in {arguments.out}, to be looked at: {outcome.page}")
    else:
        print(f"{outcome.dataset}: converted; all of it on one page: {outcome.page}")
    return 0
