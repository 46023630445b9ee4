"""Frames per second of `zoo predict`, end to end: `python -m benchmarks.speed [VIDEO]`.

Decoding alone, decoding with prediction, and prediction with tables and labelled video are measured in
the same run, alternating, so that the ratios hold on a noisy machine; median of three rounds.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.data import VIDEO, need

ROUNDS = 3


def seconds(work: Callable[[], object]) -> float:
    """Wall time of one call."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def main() -> None:
    """Measure and print."""
    import cv2
    import torch

    import zoo
    from app.cli import main as command

    video = Path(sys.argv[1]) if len(sys.argv) > 1 else need(VIDEO)
    model = zoo.load("superanimal_topviewmouse", "compact")
    n_frames = len(model.predict(video))  # also warms up

    def decode() -> None:
        reader = cv2.VideoCapture(str(video))
        while reader.read()[0]:
            pass

    def everything(options: list[str]) -> None:
        with tempfile.TemporaryDirectory() as out:
            code = command(["predict", str(video), "--out", out, "--quiet", "--variant", "compact", *options])
            if code:
                raise SystemExit(code)

    works: dict[str, Callable[[], object]] = {
        "decode only (OpenCV)": decode,
        "model.predict": lambda: model.predict(video),
        "zoo predict, tables": lambda: everything(["--no-video"]),
        "zoo predict, tables and labelled video": lambda: everything([]),
    }
    times: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(ROUNDS):
        for name, work in works.items():
            times[name].append(seconds(work))
    print(f"{video.name}: {n_frames} frames, {torch.get_num_threads()} threads, median of {ROUNDS} rounds")
    reference = statistics.median(times["decode only (OpenCV)"])
    for name, values in times.items():
        t = statistics.median(values)
        spread = f"{n_frames / max(values):.0f} to {n_frames / min(values):.0f}"
        print(f"{name:<40} {n_frames / t:7.1f} frames/s ({spread}), {t / reference:5.1f} x decoding")


if __name__ == "__main__":
    main()
