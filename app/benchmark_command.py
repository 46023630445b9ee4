"""`zoo benchmark`: the papers' protocol on their benchmarks, or on data of one's own."""

# ruff: noqa: T201 - printing is what a command line is for
from __future__ import annotations

import argparse
from pathlib import Path

from app.shared_options import add_overrides


def add_to(commands: argparse._SubParsersAction) -> None:
    """Add the subcommand to the parser."""
    parser = commands.add_parser(
        "benchmark",
        help="how many labels fine-tuning saves: the paper's protocol from one spec",
        description="Fine-tunes from scratch, by transfer, naively and with memory replay on 1, 5, 10, 50 "
        "and 100 % of the training images, three times, and writes tables, statistics and the "
        "data-efficiency figure. One that was stopped goes on where it was; what is done is in the report.",
    )
    parser.add_argument(
        "spec", nargs="?", metavar="SPEC", help="a .toml file, or the name of a benchmark; see --list"
    )
    parser.add_argument("--out", type=Path, help="folder of the benchmark")
    parser.add_argument("--list", action="store_true", help="show the benchmarks that come with the package")
    add_overrides(parser, "spec, e.g. protocol.shuffles=1 or data.source=PATH")
    parser.add_argument(
        "--minutes", type=float, help="begin no further run after this time; default: no limit"
    )
    parser.add_argument("--report-only", action="store_true", help="only write the report of what is done")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N; default: %(default)s")
    parser.set_defaults(run=run_benchmark_command)


def run_benchmark_command(arguments: argparse.Namespace) -> int:
    """Run a benchmark, or what is left of it, and write its report."""
    from adaptation.benchmark_protocol import results_of, run_benchmark
    from adaptation.benchmark_report import write_report
    from adaptation.benchmark_spec import list_benchmarks, load_benchmark
    from superset_vocab.errors import InputError

    if arguments.list:
        for name in list_benchmarks():
            print(f"{name}  {load_benchmark(name).summary}")
        return 0
    if arguments.spec is None or arguments.out is None:
        raise InputError("benchmark needs a spec and --out, or --list")
    if arguments.minutes is not None and not arguments.minutes > 0:
        raise InputError(f"--minutes is {arguments.minutes:g}, want more than 0")
    if arguments.report_only and arguments.minutes is not None:
        raise InputError("--minutes has no effect with --report-only; leave one out")
    benchmark = load_benchmark(arguments.spec, arguments.overrides)
    if arguments.report_only:
        results = results_of(arguments.out)
    else:
        results = run_benchmark(benchmark, arguments.out, minutes=arguments.minutes, device=arguments.device)
    written = write_report(benchmark, results, arguments.out)
    print((arguments.out / "benchmark.md").read_text(encoding="utf-8"))
    print(*written, sep="\n")
    return 0
