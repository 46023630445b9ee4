"""`zoo import-weights`."""

# ruff: noqa: T201 - printing is what a command line is for
from __future__ import annotations

import argparse
from pathlib import Path


def add_to(commands: argparse._SubParsersAction) -> None:
    """Add the subcommand to the parser."""
    importing = commands.add_parser(
        "import-weights",
        help="a published SuperAnimal checkpoint as safetensors",
        description="Converts a .pt checkpoint as SuperAnimal's authors publish them, of a pose network or "
        "of a detector, into a .safetensors file with the same numbers. Nothing in it is run.",
    )
    importing.add_argument("source", type=Path, metavar="SOURCE.pt", help="the checkpoint as published")
    importing.add_argument(
        "--out", type=Path, required=True, metavar="FILE.safetensors", help="the file to write"
    )
    importing.add_argument("--overwrite", action="store_true", help="replace a file that exists")
    importing.set_defaults(run=run_import)


def run_import(arguments: argparse.Namespace) -> int:
    """Convert one checkpoint."""
    from zoo.official_weights import import_weights

    imported = import_weights(arguments.source, arguments.out, overwrite=arguments.overwrite)
    print(f"{imported.path}  {imported.part}, {imported.n_tensors} tensors, sha256 {imported.sha256}")
    return 0
