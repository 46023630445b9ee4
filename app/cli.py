"""The `zoo` command: one subcommand for each thing the package does; `zoo --help` lists them.

Exit codes: 0 all done; 1 some of several inputs failed, or the system refused (a full disk); 2 a
mistake in what was asked or given, told in one line; 130 interrupted. Each subcommand imports what it
needs when it runs.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from app import (
    benchmark_command,
    check_command,
    comparison_command,
    contribute_command,
    dataset_commands,
    demo_command,
    export_command,
    finetune_command,
    match_command,
    predict_command,
    publish_command,
    smoothing_commands,
    training_commands,
    web_command,
    weights_command,
)
from app.extras import what_to_install
from superset_vocab.errors import InputError


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        argv: Arguments without the program's name; None takes those of the process.

    Returns:
        The exit code.
    """
    # libav and OpenCV complain on stderr themselves; our messages name the file and the remedy.
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")
    arguments = build_parser().parse_args(argv)
    try:
        return arguments.run(arguments)
    except InputError as error:
        print(f"zoo: error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt as error:
        print(f"zoo: interrupted; {str(error) or 'nothing unfinished was left behind'}", file=sys.stderr)
        return 130
    except BrokenPipeError:  # `zoo models | head`: the reader has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:  # a full disk, a file that may not be read: nothing a traceback would help with
        print(f"zoo: error: {error.filename or 'file'}: {error.strerror or error}", file=sys.stderr)
        return 1
    except ModuleNotFoundError as error:
        remedy = what_to_install(error)
        if remedy is None:
            raise
        print(f"zoo: error: {remedy}", file=sys.stderr)
        return 2


def build_parser() -> argparse.ArgumentParser:
    """The parser of the whole command line; each subcommand sets `run`, a function of the arguments."""
    parser = argparse.ArgumentParser(prog="zoo", description="Pretrained pose models for animals.")
    parser.add_argument("--version", action=_Version, nargs=0, help="show the version and exit")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    predict_command.add_to(commands)
    demo_command.add_to(commands)
    web_command.add_to(commands)
    dataset_commands.add_to(commands)
    benchmark_command.add_to(commands)
    check_command.add_to(commands)
    comparison_command.add_to(commands)
    contribute_command.add_to(commands)
    export_command.add_to(commands)
    finetune_command.add_to(commands)
    match_command.add_to(commands)
    publish_command.add_to(commands)
    smoothing_commands.add_to(commands)
    training_commands.add_to(commands)
    weights_command.add_to(commands)
    return parser


class _Version(argparse.Action):
    """Prints the version; looks it up only when asked."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from superset_vocab.provenance import package_version

        print(f"superanimal-zoo {package_version()}")
        parser.exit()


if __name__ == "__main__":
    sys.exit(main())
