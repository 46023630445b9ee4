"""Time and memory of ensemble smoothing with the length of the recording: `python -m benchmarks.eks_scaling`.

Every figure comes from a process of its own: wall and processor seconds of the call (best of --rounds, after
one short call that loads the compiled code), and the process's peak memory with inputs. --only recursions
compares the compiled recursion with scipy's banded solvers instead.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time

import numpy as np
from scipy.linalg import cho_solve_banded, cholesky_banded

from adaptation.eks import Ensemble, smooth_multicam, smooth_singlecam

LENGTHS = (10_000, 100_000, 1_000_000)
MEMBERS = 5


def made_ensemble(n_frames: int, n_keypoints: int, view: str = "", seed: int = 0) -> Ensemble:
    """Members scatter about random walks, more in some frames than in others."""
    rng = np.random.default_rng(seed)
    keypoints = np.empty((MEMBERS, n_frames, n_keypoints, 2))
    track = np.cumsum(rng.normal(size=(n_frames, n_keypoints, 2)), axis=0)
    spread = rng.gamma(2.0, 0.5, (n_frames, n_keypoints, 1))
    for member in keypoints:
        member[:] = track + spread * rng.normal(size=track.shape)
    confidence = rng.uniform(0.5, 1, (MEMBERS, n_frames, n_keypoints))
    return Ensemble(keypoints, confidence, tuple(f"point{k}" for k in range(n_keypoints)), view)


def two_views(n_frames: int, n_keypoints: int) -> list[Ensemble]:
    """Two affine views of the same random walks."""
    rng = np.random.default_rng(1)
    track = np.cumsum(rng.normal(size=(n_frames, n_keypoints, 3)), axis=0)
    views = []
    for v in range(2):
        ensemble = made_ensemble(n_frames, n_keypoints, f"cam{v}", v)
        noise = ensemble.keypoints - ensemble.keypoints.mean(0)
        views.append(
            Ensemble(noise + track @ rng.normal(size=(3, 2)), ensemble.confidence, ensemble.names, f"cam{v}")
        )
    return views


def call(model: str, n_frames: int, n_keypoints: int, s: float | None):
    """A function that smooths, and one that smooths ten frames."""
    if model == "singlecam":
        ensemble, short = made_ensemble(n_frames, n_keypoints), made_ensemble(10, n_keypoints)
        return lambda: smooth_singlecam(ensemble, s=s), lambda: smooth_singlecam(short, s=s)
    views, brief = two_views(n_frames, n_keypoints), two_views(20, n_keypoints)
    return lambda: smooth_multicam(views, s=s), lambda: smooth_multicam(brief, s=s)


def measure(model: str, n_frames: int, n_keypoints: int, s: float | None, rounds: int) -> dict[str, float]:
    """Seconds and gigabytes, in this process."""
    run, warm = call(model, n_frames, n_keypoints, s)
    warm()
    wall, processor = [], []
    for _ in range(rounds):
        wall.append(-time.perf_counter())
        processor.append(-time.process_time())
        run()
        wall[-1] += time.perf_counter()
        processor[-1] += time.process_time()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    return {"wall": min(wall), "processor": min(processor), "peak_gb": peak}


def apart(*job) -> dict[str, float]:
    """`measure` in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.eks_scaling", "--job", json.dumps(job)]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def growth(rounds: int) -> None:
    """Time at 10k, 100k and 1M frames."""
    heads = f"{'frames':>10}{'keypoints':>10}{'s':>10}{'wall s':>9}{'proc. s':>9}{'us/frame/kp':>12}"
    print(f"{'model':12}{heads}{'peak GB':>9}")
    for model, k in (("singlecam", 4), ("multicam", 4)):
        for n in LENGTHS:
            show(model, n, k, None, apart(model, n, k, None, rounds))


def large(rounds: int) -> None:
    """100,000 frames x 20 keypoints x 5 members."""
    for s in (None, 10.0):
        show("singlecam", 100_000, 20, s, apart("singlecam", 100_000, 20, s, rounds))


def show(model: str, n: int, k: int, s: float | None, found: dict[str, float]) -> None:
    """One line of the table."""
    each = 1e6 * found["processor"] / (n * k)
    label = "automatic" if s is None else f"{s:g}"
    print(
        f"{model:12}{n:10}{k:10}{label:>10}{found['wall']:9.3f}{found['processor']:9.3f}{each:12.3f}"
        f"{found['peak_gb']:9.3f}",
        flush=True,
    )


def banded_likelihood(y: np.ndarray, r: np.ndarray, start: np.ndarray, s: float):
    """Log likelihood of a scalar walk from a Cholesky factor of the posterior precision, and that factor."""
    precision = np.empty((2, len(y)))
    precision[0] = 1 / r + 2 / s
    precision[0, 0] += 1 / start[1] - 1 / s
    precision[0, -1] -= 1 / s
    precision[1] = -1 / s
    factor = cholesky_banded(precision, lower=True, check_finite=False)
    weighted = y / r
    weighted[0] += start[0] / start[1]
    mean = cho_solve_banded((factor, True), weighted, check_finite=False)
    quadratic = (y**2 / r).sum() + start[0] ** 2 / start[1] - weighted @ mean
    logs = (
        np.log(2 * np.pi * r).sum()
        + np.log(start[1])
        + (len(y) - 1) * np.log(s)
        + 2 * np.log(factor[0]).sum()
    )
    return -0.5 * (logs + quadratic), factor, mean


def banded_variances(factors: np.ndarray) -> np.ndarray:
    """Diagonals of the inverses of N tridiagonal matrices from their factors (N, 2, T), frame by frame."""
    diagonal = np.empty((factors.shape[0], factors.shape[2]))
    diagonal[:, -1] = 1 / factors[:, 0, -1] ** 2
    for t in range(factors.shape[2] - 2, -1, -1):
        ratio = factors[:, 1, t] / factors[:, 0, t]
        diagonal[:, t] = 1 / factors[:, 0, t] ** 2 + ratio**2 * diagonal[:, t + 1]
    return diagonal


def recursions(n_chains: int = 40, n_frames: int = 100_000) -> None:
    """The compiled recursion against scipy's banded solvers: one likelihood, and the smoothed track."""
    from adaptation.eks.kernels import walk_log_likelihoods, walk_smooth

    rng = np.random.default_rng(0)
    y = np.cumsum(rng.normal(size=(n_chains, n_frames)), 1) + rng.normal(size=(n_chains, n_frames))
    r = rng.gamma(2, 0.5, y.shape) + 1e-2
    steps, start, scales = np.ones(n_frames), np.array([0.0, 100.0]), np.logspace(-4, 4, 16)
    means, variances = np.empty_like(y), np.empty_like(y)

    def timed(name: str, function) -> None:
        function()
        best = np.inf
        for _ in range(3):
            begin = time.process_time()
            function()
            best = min(best, time.process_time() - begin)
        print(f"{name:58}{best:9.3f} s", flush=True)

    print(f"{n_chains} chains of {n_frames} frames, processor seconds, one thread")
    chains = list(zip(y, r, strict=True))
    outputs = list(zip(means, variances, strict=True))
    one = scales[:1]
    timed(
        "likelihood of one s, compiled",
        lambda: [walk_log_likelihoods(*chain, steps, start, one) for chain in chains],
    )
    timed(
        "likelihoods of 16 values of s, compiled",
        lambda: [walk_log_likelihoods(*chain, steps, start, scales) for chain in chains],
    )
    timed("likelihood and means, scipy banded", lambda: [banded_likelihood(*c, start, 1.0) for c in chains])
    timed(
        "means and variances, compiled",
        lambda: [walk_smooth(*c, steps, start, 1.0, *o) for c, o in zip(chains, outputs, strict=True)],
    )
    results = [banded_likelihood(*chain, start, 1.0) for chain in chains]
    factors = np.stack([result[1] for result in results])
    begin = time.process_time()
    diagonal = banded_variances(factors)
    print(f"{'variances from its factors, numpy over the chains':58}{time.process_time() - begin:9.3f} s")
    height = walk_log_likelihoods(y[0], r[0], steps, start, np.array([1.0]))[0]
    gap = {
        "means px": np.abs(means[0] - results[0][2]).max(),
        "variances, relative": np.abs(variances / diagonal - 1).max(),
        "likelihood, relative": abs(height / results[0][0] - 1),
    }
    print("largest differences: " + ", ".join(f"{name} {value:.1e}" for name, value in gap.items()))


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", choices=("growth", "large", "recursions"))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--job", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.job:
        print(json.dumps(measure(*json.loads(arguments.job))))
        return
    parts = {"growth": growth, "large": large}
    for name, part in parts.items():
        if arguments.only in (None, name):
            part(arguments.rounds)
    if arguments.only in (None, "recursions"):
        recursions()


if __name__ == "__main__":
    main()
