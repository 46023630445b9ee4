"""The report of a benchmark: tables, statistics, the data-efficiency figure; from the runs that are done."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np

from adaptation.benchmark_protocol import PLAN, ZERO_SHOT, RunResult, by_run
from adaptation.benchmark_spec import METRICS, Benchmark
from adaptation.benchmark_statistics import Efficiency, Statistics, analyse, efficiency
from superset_vocab.errors import InputError
from superset_vocab.files import atomic_path, read_json, write_json

_LABELS = {"rmse": "RMSE (mean distance), px", "normalised": "normalised error", "map": "mAP"}
_COLOURS = {"scratch": "#7f7f7f", "transfer": "#1f77b4", "naive": "#ff7f0e", "replay": "#d62728"}
_FILES = ("benchmark.md", "results.csv", "statistics.json", "data_efficiency.png")


def write_report(benchmark: Benchmark, results: Sequence[RunResult], out: Path) -> list[Path]:
    """Write benchmark.md, results.csv, statistics.json and data_efficiency.png into a folder.

    Args:
        benchmark: What was run.
        results: Of the runs that are done.
        out: The benchmark's folder; files of these names are replaced.

    Returns:
        The files written.

    Raises:
        InputError: If no run is done.
    """
    if not results:
        raise InputError(f"{out}: no run of {benchmark.name} is done yet, so there is nothing to report")
    metric = benchmark.protocol.metric
    statistics = analyse(results, metric)
    few = efficiency(results, metric, images=benchmark.protocol.reference_frames)
    contents = {
        "benchmark.md": markdown(benchmark, results, statistics, few, _planned(out)),
        "results.csv": _table(results),
    }
    for name, text in contents.items():
        with atomic_path(out / name) as temporary:
            temporary.write_text(text, encoding="utf-8")
    write_json(
        out / "statistics.json",
        {
            "statistics": None if statistics is None else statistics.to_dict(),
            "efficiency": None if few is None else asdict(few),
        },
    )
    draw(benchmark, results, out / "data_efficiency.png")
    return [out / name for name in _FILES]


def markdown(
    benchmark: Benchmark,
    results: Sequence[RunResult],
    statistics: Statistics | None,
    few: Efficiency | None,
    planned: int | None = None,
) -> str:
    """The report as Markdown: means over shuffles with each shuffle's value, contrasts, efficiency.

    Args:
        benchmark: What was run.
        results: Of the runs that are done.
        statistics: Of them, if there are enough.
        few: Data efficiency, if it can be told.
        planned: Runs that there are to do; None takes one for each fraction of the spec.
    """
    metric, protocol = benchmark.protocol.metric, benchmark.protocol
    planned = planned or protocol.shuffles * (1 + len(protocol.ways) * len(protocol.fractions))
    runs = by_run(results, metric)
    sizes = sorted({n for way, n in runs if way != ZERO_SHOT})
    lines = [f"# {benchmark.name}", "", benchmark.summary, ""]
    lines += [f"{_LABELS[metric]}; {len(results)} of {planned} runs are done.", ""]
    zero = runs.get((ZERO_SHOT, 0))
    if zero:
        lines += [f"Zero-shot: {_cell(zero)}; tested on {_counts(results)} images.", ""]
    if sizes:
        lines += ["| images | " + " | ".join(protocol.ways) + " |", "|---" * (len(protocol.ways) + 1) + "|"]
    for n in sizes:
        cells = [_cell(runs[way, n]) if (way, n) in runs else "not run" for way in protocol.ways]
        lines.append(f"| {n} | " + " | ".join(cells) + " |")
    if few is not None:
        lines += ["", *_efficiency_lines(few)]
    if statistics is not None:
        lines += ["", *_statistics_lines(statistics)]
    missing = sum(result.n_missing for result in results)
    if missing:
        lines += ["", f"{missing} annotated keypoints of all runs together were not predicted (results.csv)."]
    if benchmark.published:
        lines += [
            "",
            "The paper:",
            "",
            *(f"- {name}: {value}" for name, value in benchmark.published.items()),
        ]
    return "\n".join(lines) + "\n"


def _planned(out: Path) -> int | None:
    """Runs that there are to do; fewer than the spec has fractions where some come to the same number."""
    return read_json(out / PLAN)["n_runs"] if (out / PLAN).is_file() else None


def draw(benchmark: Benchmark, results: Sequence[RunResult], path: Path) -> None:
    """The figure: metric over images; a line of means per way, a dot per shuffle, the zero-shot band.

    Args:
        benchmark: For titles and the order of ways.
        results: Of the runs that are done.
        path: A .png or .svg, written atomically.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import FormatStrFormatter

    metric = benchmark.protocol.metric
    runs = by_run(results, metric)
    figure = Figure(figsize=(6.4, 4.4), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    zero = runs.get((ZERO_SHOT, 0))
    if zero:
        axes.axhspan(min(zero), max(zero), color="#9ecae1", alpha=0.5, lw=0)
        axes.axhline(float(np.mean(zero)), color="#3182bd", ls="--", label="zero-shot")
    for way in benchmark.protocol.ways:
        curve = sorted((n, values) for (w, n), values in runs.items() if w == way)
        if not curve:
            continue
        colour = _COLOURS[way]
        axes.plot([n for n, _ in curve], [np.mean(v) for _, v in curve], "o-", color=colour, label=way)
        for n, values in curve:
            axes.plot([n] * len(values), values, "o", color=colour, ms=3, alpha=0.6)
    sizes = sorted({n for way, n in runs if way != ZERO_SHOT})
    if sizes:
        axes.set_xscale("log")
        axes.set_xticks(sizes, [str(n) for n in sizes])
        axes.minorticks_off()
    if not METRICS[metric] and any(value > 0 for values in runs.values() for value in values):
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter(FormatStrFormatter("%g"))
        axes.yaxis.set_minor_formatter(FormatStrFormatter("%g"))
    axes.set_xlabel("labelled training images")
    axes.set_ylabel(_LABELS[metric])
    axes.set_title(benchmark.name)
    axes.legend(frameon=False)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=150)


def _cell(values: Sequence[float]) -> str:
    """Mean and every shuffle's value."""
    each = ", ".join(f"{value:.2f}" for value in values)
    return f"{np.mean(values):.2f} ({each})" if len(values) > 1 else each


def _counts(results: Sequence[RunResult]) -> str:
    counts = sorted({result.n_test for result in results})
    return " to ".join(str(n) for n in dict.fromkeys([counts[0], counts[-1]]))


def _efficiency_lines(few: Efficiency) -> list[str]:
    lines = [
        f"{few.reference} has {few.reference_value:.2f} with {few.reference_images} images. As good are:"
    ]
    for way, n in few.needed.items():
        lines.append(f"- {way}: {'never, with the images there are' if n is None else f'{n:.0f} images'}")
    return [lines[0], "", *lines[1:]]


def _statistics_lines(s: Statistics) -> list[str]:
    aic = ", ".join(f"{name} {value:.1f}" for name, value in s.aic.items())
    lines = [
        f"Mixed-effects model of {s.n_runs} runs (random intercept of the shuffle, sd {s.shuffle_sd:.2f}, "
        f"residual sd {s.residual_sd:.2f}); AIC: {aic}. Likelihood ratio: way p = {s.p_way:.2g}, interaction "
        f"with the number of images p = {s.p_interaction:.2g}. {'; '.join(s.notes)}.",
        "",
        "| images | contrast | difference (95 %) | p (Holm) | d (95 %) |",
        "|---|---|---|---|---|",
    ]
    lines += [
        f"| {c.n_images} | {c.first} - {c.second} | {c.difference:.2f} ({c.low:.2f} to {c.high:.2f}) | "
        f"{c.p:.2g} | {c.d:.2f} ({c.d_low:.2f} to {c.d_high:.2f}) |"
        for c in s.contrasts
    ]
    return lines


def _table(results: Sequence[RunResult]) -> str:
    """All runs as csv."""
    metrics = sorted({name for result in results for name in result.values})
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    head = ("way", "fraction", "n_images", "shuffle", "n_test", "n_missing", "seconds")
    writer.writerow([*head, *metrics])
    for result in results:
        values = [result.values.get(name, np.nan) for name in metrics]
        writer.writerow([*(getattr(result, name) for name in head), *(f"{value:.6g}" for value in values)])
    return file.getvalue()
