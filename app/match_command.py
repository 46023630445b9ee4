"""`zoo match`: which keypoint of a labelled dataset is which of a superset vocabulary."""

# ruff: noqa: T201 - printing is what a command line is for
from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from app.shared_options import (
    DEFAULT_MODEL,
    add_matching_options,
    add_model_options,
    add_option_argument,
    load_unless_names_only,
    parse_options,
)

if TYPE_CHECKING:
    from superset_vocab import LabelSet, Vocabulary


def add_to(commands: argparse._SubParsersAction) -> None:
    """Add the subcommand to the parser."""
    match = commands.add_parser(
        "match",
        help="propose a keypoint map for a labelled dataset, with evidence and pictures",
        description="Compares a model's zero-shot poses with the labels, and the names with those of the "
        "vocabulary. Writes keypoint_map.toml (to edit, then `zoo convert --map`), affinity.png, "
        "previews/ and matching.json.",
    )
    match.add_argument("source", type=Path, metavar="SOURCE", help="label file or project folder")
    match.add_argument("--model", default=DEFAULT_MODEL, help="default: %(default)s; or a model's folder")
    match.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for map and pictures")
    match.add_argument("--dataset", help="name of the dataset; default: the source's")
    match.add_argument("--format", help="format of the source; default: detected")
    add_option_argument(match, "of the source's format, e.g. video=FOLDER for SLEAP")
    match.add_argument("--overwrite", action="store_true", help="replace a map that is there")
    add_matching_options(match)
    add_model_options(match)
    match.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Match, write and print the proposals."""
    from adaptation.keypoint_files import MAP
    from converters import reading
    from superset_vocab import load_vocabulary
    from superset_vocab.errors import InputError
    from zoo.catalogue import find_model
    from zoo.published import spec_outside

    if (arguments.out / MAP).exists() and not arguments.overwrite:
        raise InputError(f"{arguments.out / MAP} exists, perhaps edited; use --overwrite or another --out")
    spec = spec_outside(arguments.model) or find_model(arguments.model, arguments.variant)
    vocabulary = load_vocabulary(spec.vocabulary)
    options = parse_options(arguments.option)
    with reading(
        arguments.source,
        arguments.out,
        format=arguments.format,
        dataset=arguments.dataset,
        options=options,
    ) as labels:
        _match(labels, vocabulary, arguments)
    return 0


def _match(labels: LabelSet, vocabulary: Vocabulary, arguments: argparse.Namespace) -> None:
    """Match labels whose images are at hand."""
    from adaptation.keypoint_files import write_matching
    from adaptation.keypoint_matching import match_keypoints

    matching = match_keypoints(
        labels,
        load_unless_names_only(arguments),
        vocabulary=vocabulary,
        min_confidence=arguments.min_confidence,
        max_images=arguments.max_images,
        progress=not arguments.quiet,
    )
    for proposal in matching.proposals:
        print(f"{proposal.source} -> {proposal.target or 'none: ' + proposal.reason}")
        print(f"    {proposal.evidence}")
    if matching.mirrored:
        same, other = matching.evidence.side_votes
        print(f"left and right are exchanged against the model in {other} of {same + other} animals")
    for path in write_matching(matching, labels, arguments.out):
        print(path)
