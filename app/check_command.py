"""`zoo check`: what is wrong with labels, without converting them."""

# ruff: noqa: T201 - printing is what a command line is for
from __future__ import annotations

import argparse
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from app.shared_options import add_option_argument, parse_options

if TYPE_CHECKING:
    from converters import ValidationReport

_LISTED = 5


def add_to(commands: argparse._SubParsersAction) -> None:
    """Add the subcommand to the parser."""
    check = commands.add_parser(
        "check",
        help="what is wrong with labels: images, keypoints, boxes, sides, copies",
        description="Validates a label source. Exit code 2 if `zoo convert` would refuse it.",
    )
    check.add_argument("source", type=Path, metavar="SOURCE", help="label file, project or superset dataset")
    check.add_argument(
        "--map", help="keypoint map, its name or a .toml file; default: the source's own names"
    )
    check.add_argument(
        "--out", type=Path, metavar="DIR", help="folder for validation.json and validation.html"
    )
    check.add_argument("--format", help="format of the source; default: detected")
    add_option_argument(check, "of the source's format, e.g. categories=dog,cat")
    check.add_argument("--quiet", action="store_true", help="no progress bar")
    check.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Validate a label source and print what was found."""
    from converters.conversion import reading
    from converters.validation import tolerant_reading, validate
    from superset_vocab import load_map, project

    keypoint_map = load_map(arguments.map) if arguments.map is not None else None
    dataset = keypoint_map.dataset if keypoint_map is not None else None
    with ExitStack() as stack:
        looked = stack.enter_context(tolerant_reading(arguments.source))
        # Images inside videos and packages are written beside the report, and removed.
        out = arguments.out or Path(stack.enter_context(tempfile.TemporaryDirectory())) / "check"
        labels = stack.enter_context(
            reading(
                arguments.source,
                out,
                format=arguments.format,
                dataset=dataset,
                options=parse_options(arguments.option),
            )
        )
        if keypoint_map is not None:
            labels = project(labels, keypoint_map)
        report = validate(labels, looked=looked, progress=not arguments.quiet)
        return _tell(arguments, report)


def _tell(arguments: argparse.Namespace, report: ValidationReport) -> int:
    """Print and write what was found; the exit code."""
    from converters.conversion import write_report

    labels = report.labels
    print(f"{arguments.source}: {len(labels)} images, {labels.n_instances} instances")
    for check in report.checks:
        print(f"  {check.name}: {check.result}")
    for kind in report.counts():
        found = [finding for finding in report.findings if finding.kind is kind]
        print(f"{len(found)} {kind.value.replace('_', ' ')} ({found[0].severity.value})")
        for finding in found[:_LISTED]:
            print(f"  {finding.source_image}: {finding.sentence}")
        if len(found) > _LISTED:
            print(f"  and {len(found) - _LISTED} more")
    print(report.summary())
    if arguments.out is not None:
        for path in write_report(report, arguments.out):
            print(path)
    return 2 if report.errors else 0
