"""`zoo export-labels`: label sets as files of other programs."""

# ruff: noqa: T201 - printing is what a command line is for
from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from app.shared_options import add_option_argument, parse_options
from superset_vocab.errors import InputError

if TYPE_CHECKING:
    from superset_vocab import LabelRecord, LabelSet


def add_to(commands: argparse._SubParsersAction) -> None:
    """Add the subcommand to the parser."""
    export = commands.add_parser(
        "export-labels",
        help="a dataset as a DeepLabCut project, a YOLO-pose folder or COCO",
        description="Writes labels and copies of their images in another program's format. docs/formats.md "
        "says what each format keeps and loses.",
    )
    export.add_argument("source", type=Path, metavar="DATASET", help="superset dataset, or any label source")
    export.add_argument("--format", required=True, help="coco, deeplabcut or yolo-pose")
    export.add_argument("--out", type=Path, required=True, help="new folder")
    export.add_argument(
        "--validation",
        type=float,
        metavar="FRACTION",
        help="about this fraction of the split groups becomes the part val, the others train; the source's "
        "test part stays; default: the source's parts",
    )
    add_option_argument(export, "of the format written, e.g. scorer=Ann")
    export.add_argument("--source-format", help="format of DATASET; default: detected")
    export.set_defaults(run=run_export)


def run_export(arguments: argparse.Namespace) -> int:
    """Export one dataset."""
    from converters import reading, write_labels

    options = parse_options(arguments.option)
    with reading(arguments.source, arguments.out, format=arguments.source_format) as labels:
        if arguments.validation is not None:
            labels = with_validation(labels, arguments.validation)
        write_labels(labels, arguments.out, format=arguments.format, options=options)
    print(f"{arguments.out}: {len(labels)} images, {labels.n_instances} instances, {arguments.format}")
    return 0


def with_validation(labels: LabelSet, fraction: float) -> LabelSet:
    """The labels with whole split groups in the parts val and train.

    What the source keeps to test on stays apart, with all images of the groups that it is from.

    Raises:
        InputError: If the fraction is none, or leaves a part empty.
    """
    from converters.views import subset
    from superset_vocab.provenance import operation
    from training.splits import hold_out

    if not 0 < fraction < 1:
        raise InputError(f"--validation is {fraction:g}, want a fraction between 0 and 1")
    kept = {_group(record) for record in labels.records if record.source_split == "test"}
    rest = subset(labels, lambda record: _group(record) not in kept)
    if not rest.records:
        raise InputError("--validation: all images are of the source's test part; leave it out")
    _, held_out = hold_out(rest, fraction)
    if not held_out.records:
        groups = len({_group(record) for record in rest.records})
        raise InputError(
            f"--validation {fraction:g} of {groups} split groups is none of them, and a group is never cut; "
            "give a larger fraction, or data of more sessions"
        )
    parts = dict.fromkeys(map(_group, held_out.records), "val") | dict.fromkeys(kept, "test")
    records = tuple(replace(r, source_split=parts.get(_group(r), "train")) for r in labels.records)
    done = operation("split", method="hold_out", validation=fraction)
    return replace(labels, records=records, operations=(*labels.operations, done))


def _group(record: LabelRecord) -> tuple[str, str]:
    """What a split never cuts through; two datasets may have groups of one name."""
    return record.dataset, record.split_group
