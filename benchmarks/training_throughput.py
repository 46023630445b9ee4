"""The training loop against the bare step: `python -m benchmarks.training_throughput [RECIPE] [--steps N]`.

The bare step is forward, loss, backward and optimiser on one batch that lies in memory: what the machine can
do. The loop has to make every batch (decode, crop, augment, targets), and keeps average, logs and
checkpoints. Both run in turn, in processes of their own, several rounds; the ratio is of medians, and of
the ratios within rounds, because the machine is not still. The aim is 0.9.

With `--set run.workers=0` the training process makes the samples itself: what the loader's processes hide.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROUNDS = 5


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("recipe", nargs="?", default="topviewmouse_pose")
    parser.add_argument("--steps", type=int, default=30, help="optimiser steps measured in each round")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--threads", type=int, default=2, help="of the network")
    parser.add_argument("--set", action="append", default=[], dest="overrides", metavar="TABLE.ENTRY=VALUE")
    parser.add_argument("--part", choices=("bare", "loop"), help=argparse.SUPPRESS)
    parser.add_argument("--data", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.part:
        print(json.dumps(measure(arguments)))
        return
    with tempfile.TemporaryDirectory() as scratch:
        make_data(Path(scratch))
        rounds = [
            {part: in_process(part, Path(scratch)) for part in ("bare", "loop")}
            for _ in range(arguments.rounds)
        ]
    report(rounds, arguments)


def make_data(folder: Path) -> None:
    """Rendered mice, the same for both."""
    from converters import convert_labels
    from converters.synthetic import LABS, synthesize

    labels = synthesize(LABS["homecage"], 120, folder / "raw", seed=0)
    convert_labels(labels, "synthetic_homecage", folder / "mice")


def in_process(part: str, data: Path) -> float:
    """Samples per second of a part, measured in a fresh process."""
    command = [sys.executable, "-m", "benchmarks.training_throughput", *sys.argv[1:]]
    command += ["--part", part, "--data", str(data)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return float(json.loads(done.stdout.splitlines()[-1]))


def measure(arguments: argparse.Namespace) -> float:
    """Samples per second of the bare step or of the loop."""
    import torch

    from training.recipe import load_recipe

    torch.set_num_threads(arguments.threads)
    recipe = load_recipe(
        arguments.recipe,
        [
            f"data.sources=[{{path='{arguments.data / 'mice'}'}}]",
            "network.init=''",
            "run.log_every=1",
            f"schedule.iterations={arguments.steps + 10}",
            *arguments.overrides,
        ],
    )
    return (bare if arguments.part == "bare" else loop)(recipe, arguments.steps)


def bare(recipe, steps: int) -> float:
    """Forward, loss, backward and step on one batch."""
    import torch

    from training.batches import build_dataset
    from training.fit import _optimiser
    from training.from_recipe import build_network, load_sources
    from training.objectives import objective_of

    dataset = build_dataset(recipe, load_sources(recipe)[0], seed=0)
    size = recipe.schedule.batch_size
    objective = objective_of(recipe)
    batch = objective.collate([dataset[(i % len(dataset), i)] for i in range(size)])
    network = build_network(recipe).train().to(memory_format=torch.channels_last)
    optimiser = _optimiser(network, recipe.schedule, torch.device("cpu"))
    start = 0.0
    for step in range(10 + steps):
        if step == 10:
            start = time.perf_counter()
        optimiser.update_params(torch.stack(list(objective(network, batch).values())).sum())
    return steps * size / (time.perf_counter() - start)


def loop(recipe, steps: int) -> float:
    """`training.from_recipe.train`, from its own log: the last steps, when the loader has started."""
    from training.checkpoints import read_log
    from training.from_recipe import train

    with tempfile.TemporaryDirectory() as out:
        train(recipe, Path(out) / "run")
        rows = read_log(Path(out) / "run" / "log.csv")
    seconds = rows[-1]["seconds"] - rows[-1 - steps]["seconds"]
    return steps * recipe.schedule.batch_size / seconds


def report(rounds: list[dict[str, float]], arguments: argparse.Namespace) -> None:
    """Print samples per second and the ratio."""
    ratios = sorted(r["loop"] / r["bare"] for r in rounds)
    median = {part: statistics.median(r[part] for r in rounds) for part in ("bare", "loop")}
    print(
        f"{arguments.recipe} {' '.join(arguments.overrides)}: {len(rounds)} rounds of {arguments.steps} steps"
    )
    for part, value in median.items():
        values = [r[part] for r in rounds]
        print(f"{part:<5} {value:8.1f} samples/s ({min(values):.1f} to {max(values):.1f})")
    print(f"ratio {median['loop'] / median['bare']:.3f}, within rounds {ratios[0]:.3f} to {ratios[-1]:.3f}")


if __name__ == "__main__":
    main()
