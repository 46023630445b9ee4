"""Both packages on the same files, in turn: `python -m benchmarks.versus_eks [--only PART] [--rounds N]`.

Parts: imports (of both packages), examples (every shipped example as a whole command, fixed and automatic s),
long (a long recording in one process, fixed and automatic s), long-command (the same from csv), growth (ours
alone at a tenth of the length, the length and ten times it). Every measurement is a process of its own; the
sides take turns, round by round, so that ratios hold on a machine whose speed changes; processor seconds (of
all threads) hold on one that others use too. Their functions are compiled in every process; ours come from
numba's cache, but for the run marked "first", whose cache is empty.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from benchmarks.versus_eks.environment import VERSION, Cost, import_seconds, job, run, their_python
from benchmarks.versus_eks.examples import EXAMPLES, FIXED, Example, long_recording, long_tables

_WORKDIR = Path("runs/versus_eks")
_PARTS = ("imports", "examples", "long", "long-command", "growth")
_SHAPE = "20 keypoints, 5 members"


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.versus_eks", description=__doc__)
    parser.add_argument("--only", nargs="+", choices=_PARTS, default=list(_PARTS), help="default: all")
    parser.add_argument("--rounds", type=int, default=3, help="times that each side runs an example")
    parser.add_argument("--long-rounds", type=int, default=1, help="likewise for the long recording")
    parser.add_argument("--frames", type=int, default=100_000, help="of the long recording")
    parser.add_argument("--workdir", type=Path, default=_WORKDIR, help="kept from run to run")
    parser.add_argument("--their-python", type=Path, help=f"Python that has version {VERSION} already")
    parsed = parser.parse_args()
    if min(parsed.rounds, parsed.long_rounds, parsed.frames) < 1:
        parser.error("--rounds, --long-rounds and --frames must be 1 or more")
    return parsed


def main() -> None:
    """Measure and print."""
    asked = arguments()
    workdir = asked.workdir.absolute()
    workdir.mkdir(parents=True, exist_ok=True)
    python = their_python(workdir, asked.their_python)
    load = os.getloadavg()[0]
    print(f"ensemble-kalman-smoother {VERSION}; {os.cpu_count()} cores, load {load:.1f} before the start")
    parts: dict[str, Callable[[], None]] = {
        "imports": lambda: imports(python),
        "examples": lambda: examples(python, asked.rounds, workdir),
        "long": lambda: long(python, asked.frames, asked.long_rounds, workdir),
        "long-command": lambda: long_command(python, asked.frames, asked.long_rounds, workdir),
        "growth": lambda: growth(asked.frames, workdir),
    }
    for name in asked.only:
        parts[name]()


def imports(python: Path) -> None:
    """What an import takes, and that ours loads nothing heavy."""
    print("\nimport, median of 5 processes")
    for what in ("adaptation", "adaptation.eks", "adaptation.smoothing"):
        code = f"import {what}, sys; assert not {{'torch', 'pandas'}} & set(sys.modules)"
        print(
            f"  ours    {what:<22} {import_seconds(sys.executable, code):6.3f} s (without torch and pandas)"
        )
    print(f"  theirs  {'eks':<22} {import_seconds(python, 'import eks'):6.3f} s")


def examples(python: Path, rounds: int, workdir: Path) -> None:
    """Every shipped example as a whole command."""
    print(f"\nwhole commands on the shipped examples: median of {rounds} rounds (range)")
    _print_head()
    program, first = python.parent / "eks", True
    for example in EXAMPLES:
        for fixed in (True, False):
            if first:
                _print_first(example)
                first = False
            costs: dict[str, list[Cost]] = {"theirs": [], "ours": []}
            for _ in range(rounds):
                out = workdir / "out"
                costs["theirs"].append(run(example.their_command(program, fixed, out / "theirs")))
                costs["ours"].append(run(example.our_command(sys.executable, fixed, out / "ours")))
            _print_costs(example.name, "fixed" if fixed else "automatic", costs)


def _print_first(example: Example) -> None:
    """The very first command after installing, when nothing is compiled yet."""
    with tempfile.TemporaryDirectory() as cache:
        os.environ["NUMBA_CACHE_DIR"] = cache
        cost = run(example.our_command(sys.executable, False, Path(cache) / "out"))
        del os.environ["NUMBA_CACHE_DIR"]
    print(f"{example.name:<32}ours, first, compiling: {cost.seconds:.1f} s")
    with tempfile.TemporaryDirectory() as out:  # and the cache of this checkout is filled
        run(example.our_command(sys.executable, False, Path(out)))


def _print_head() -> None:
    print(
        f"{'':<32}{'s':<11}{'theirs':>20}{'ours':>20}{'ratio':>8}"
        f"{'processor: theirs':>19}{'ours':>8}{'ratio':>8}{'peak MiB':>13}"
    )


def _print_costs(name: str, what: str, costs: dict[str, list[Cost]]) -> None:
    """One row: seconds and processor seconds of both, their ratios round by round, peak memory."""
    words, processor = [], []
    for side in ("theirs", "ours"):
        seconds = sorted(one.seconds for one in costs[side])
        spread = f" ({seconds[0]:.2f}-{seconds[-1]:.2f})" if len(seconds) > 1 else ""
        words.append(f"{statistics.median(seconds):.2f} s{spread}")
        processor.append(statistics.median(one.processor for one in costs[side]))
    pairs = list(zip(costs["theirs"], costs["ours"], strict=True))
    ratio = statistics.median(theirs.seconds / ours.seconds for theirs, ours in pairs)
    work = statistics.median(theirs.processor / ours.processor for theirs, ours in pairs)
    peaks = [max(one.peak_mib for one in costs[side]) for side in ("theirs", "ours")]
    print(
        f"{name:<32}{what:<11}{words[0]:>20}{words[1]:>20}{ratio:>7.1f}x"
        f"{processor[0]:>17.2f} s{processor[1]:>6.2f} s{work:>7.1f}x{peaks[0]:>7.0f},{peaks[1]:>5.0f}",
        flush=True,
    )


def long(python: Path, n_frames: int, rounds: int, workdir: Path) -> None:
    """The long recording in one process of each side, without reading and writing files."""
    recording = long_recording(workdir / f"long-{n_frames}.npz", n_frames)
    print(f"\nin process, singlecam, {n_frames} frames, {_SHAPE}: the call alone; peak memory of the process")
    _print_head()
    for s in (FIXED, None):
        costs: dict[str, list[Cost]] = {"theirs": [], "ours": []}
        results = {side: workdir / f"long-{side}.npz" for side in costs}
        warm: list[float] = []
        for _ in range(rounds):
            entries = {"recording": str(recording), "s": s}
            theirs = job(python, "their_side", workdir, calls=1, result=str(results["theirs"]), **entries)
            ours = job(sys.executable, "our_side", workdir, calls=2, result=str(results["ours"]), **entries)
            warm.append(ours["seconds"][1])
            for side, one in (("theirs", theirs), ("ours", ours)):
                costs[side].append(Cost(one["seconds"][0], one["processor"][0], one["peak_mib"]))
        what = "automatic" if s is None else "fixed"
        _print_costs("first call of each", what, costs)
        second = statistics.median(warm)
        print(f"{'':<32}{what:<11}{'':>20}{f'second call {second:.2f} s':>20}")
        print(f"{'':<32}{_difference(*(dict(np.load(path)) for path in results.values()))}", flush=True)


def _difference(theirs: dict[str, np.ndarray], ours: dict[str, np.ndarray]) -> str:
    """How far the results are apart."""
    apart = np.abs(ours["keypoints"] - theirs["keypoints"])
    variance = np.abs(ours["variance"] / theirs["variance"] - 1)
    s = np.abs(ours["s"] / theirs["s"] - 1).max()
    return (
        f"apart: at most {apart.max():.2g} px, RMS {np.sqrt(np.mean(apart**2)):.2g} px; variance: "
        f"{np.quantile(variance, 0.999):.2g} in 99.9 %, at most {variance.max():.2g}; s at most {s:.2g}"
    )


def long_command(python: Path, n_frames: int, rounds: int, workdir: Path) -> None:
    """The long recording from csv to csv."""
    recording = long_recording(workdir / f"long-{n_frames}.npz", n_frames)
    tables = long_tables(recording, workdir / f"long-{n_frames}")
    example = Example(
        f"long, {n_frames} frames", str(tables), ("singlecam",), ("--model", "singlecam"), "net*.csv"
    )
    print(f"\nwhole command from csv to csv, {n_frames} frames, {_SHAPE}")
    _print_head()
    (tables / "complete").unlink()  # they read every file of a folder
    try:
        for fixed in (True, False):
            costs: dict[str, list[Cost]] = {"theirs": [], "ours": []}
            for _ in range(rounds):
                program, out = python.parent / "eks", workdir / "out"
                costs["theirs"].append(run(example.their_command(program, fixed, out / "theirs")))
                costs["ours"].append(run(example.our_command(sys.executable, fixed, out / "ours")))
            _print_costs(example.name, "fixed" if fixed else "automatic", costs)
    finally:
        (tables / "complete").touch()


def growth(n_frames: int, workdir: Path) -> None:
    """Ours at three lengths."""
    print(f"\nours in process at three lengths, automatic s, {_SHAPE}: second call, and peak memory")
    for frames in (n_frames // 10, n_frames, n_frames * 10):
        recording = long_recording(workdir / f"long-{frames}.npz", frames)
        measured = job(sys.executable, "our_side", workdir, recording=str(recording), s=None, calls=2)
        seconds = measured["seconds"][1]
        print(
            f"  {frames:>9} frames  {seconds:7.3f} s  {1e6 * seconds / frames:6.2f} us a frame  "
            f"{measured['peak_mib']:6.0f} MiB",
            flush=True,
        )


if __name__ == "__main__":
    main()
