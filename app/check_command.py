"""`zoo check`: what is wrong with labels, without converting them."""

# ruff: noqa: T201 - printing is what a command line is for
from __future__ import annotations

import argparse
from pathlib import Path

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
    check.add_argument("--quiet", action="store_true", help="no progress bar")
    check.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Validate a label source and print what was found."""
    from converters import read_for_validation, validate
    from converters.conversion import write_report
    from superset_vocab import load_map, project

    keypoint_map = load_map(arguments.map) if arguments.map is not None else None
    labels, looked = read_for_validation(
        arguments.source,
        format=arguments.format,
        dataset=keypoint_map.dataset if keypoint_map is not None else None,
    )
    if keypoint_map is not None:
        labels = project(labels, keypoint_map)
    report = validate(labels, looked=looked, progress=not arguments.quiet)
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
