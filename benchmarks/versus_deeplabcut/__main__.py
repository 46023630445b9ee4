"""Both packages on one clip, in turn: `python -m benchmarks.versus_deeplabcut [--frames N] [--workdir DIR]`.

Every measurement is a process of its own; the sides take turns, round by round, so that the ratios hold on
a machine whose speed changes. Both use the same checkpoints, in the published layout, and the same number
of threads. With --weights and --detector-weights these are published files of yours; otherwise they are
made: mostly random, with one animal a frame (see their_weights.py).
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.data import VIDEO, need
from benchmarks.versus_deeplabcut.clip import MOST_FRAMES, Clip, cut, read
from benchmarks.versus_deeplabcut.compare import Difference, similarity
from benchmarks.versus_deeplabcut.environment import (
    VERSION,
    import_seconds,
    measure,
    their_environment,
    their_python,
)

_MODEL, _NET, _DETECTOR = "superanimal_quadruped", "hrnet_w32", "fasterrcnn_resnet50_fpn_v2"
_SEEN = 3  # frames that made weights have their normalisation from
_SIDES = {"theirs": "DeepLabCut", "dense": "ours, detect_every=1", "sparse": 'ours, detect_every="auto"'}
_WORKDIR = Path("runs/versus_deeplabcut")
_MADE = "random, but for one box a frame (their_weights.py)"
_EMBEDDED = "compact"  # variant with trained weights that come with the package
_MICE = 300  # frames of the mouse video for it
_DRAWN = 0.3  # confidence from which `zoo predict` draws a keypoint


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.versus_deeplabcut", description=__doc__)
    parser.add_argument("--frames", type=int, default=48, help=f"length of the clip, up to {MOST_FRAMES}")
    parser.add_argument("--rounds", type=int, default=3, help="times that each side is measured")
    parser.add_argument("--workdir", type=Path, default=_WORKDIR, help="kept from run to run")
    parser.add_argument("--their-python", type=Path, help=f"Python that has deeplabcut {VERSION} already")
    parser.add_argument("--their-batch", type=int, default=1, help="their batch_size; 1 is their default")
    parser.add_argument("--weights", type=Path, help=f"published {_MODEL}_{_NET}.pt")
    parser.add_argument("--detector-weights", type=Path, help=f"published {_MODEL}_{_DETECTOR}.pt")
    parsed = parser.parse_args()
    if (parsed.weights is None) != (parsed.detector_weights is None):
        parser.error("give both --weights and --detector-weights, or neither")
    if parsed.rounds < 1:
        parser.error("--rounds must be 1 or more")
    return parsed


@dataclass
class Bench:
    """One comparison: where things are, and what was measured so far.

    Attributes:
        workdir: Folder for everything that is written.
        python: Python that has DeepLabCut.
        variables: Its environment variables.
        clip: What is analysed.
        weights: "pose_file" and "detector_file".
        their_batch: Its batch size.
        measured: For each side, what each round measured.
    """

    workdir: Path
    python: Path
    variables: dict[str, str]
    clip: Clip
    weights: dict[str, str]
    their_batch: int
    measured: dict[str, list[dict[str, Any]]] = field(default_factory=dict)

    def job(self, name: str, **entries: Any) -> Path:
        """Write what a process has to do."""
        path = self.workdir / f"{name}.job.json"
        common = {
            "model": _MODEL,
            "net": _NET,
            "detector": _DETECTOR,
            "video": str(self.clip.path),
            "folder": str(self.workdir),
            "result": str(self.workdir / f"{name}.npz"),
            "answer": str(self.workdir / f"{name}.json"),
        }
        path.write_text(json.dumps({**common, **self.weights, **entries}))
        return path

    def make_weights(self) -> None:
        """Write checkpoints whose normalisation suits some frames of the clip."""
        chosen = np.unique(np.linspace(0, len(self.clip.frames) - 1, _SEEN).astype(int))
        frames = self.workdir / "frames.npy"
        np.save(frames, self.clip.frames[chosen])
        measure(self.python, "their_side", ["make"], self.job("make", frames=str(frames)), self.variables)

    def theirs(self) -> None:
        """One round of DeepLabCut."""
        job = self.job("theirs", batch_size=self.their_batch)
        self._keep("theirs", measure(self.python, "their_side", ["run"], job, self.variables))

    def ours(self, side: str, detect_every: int | str, bare: bool = False, boxes: str = "") -> None:
        """One round of ours."""
        job = self.job(side, detect_every=detect_every, bare=bare, boxes=boxes)
        self._keep(side, measure(sys.executable, "our_side", [], job))

    def _keep(self, side: str, measured: dict[str, Any]) -> None:
        self.measured.setdefault(side, []).append(measured)

    def result(self, side: str) -> dict[str, np.ndarray]:
        """Arrays of a side's last round."""
        with np.load(self.workdir / f"{side}.npz") as arrays:
            return dict(arrays)

    def seconds(self, side: str, what: str) -> list[float]:
        """What each round of a side took, sorted."""
        return sorted(float(one[what]) for one in self.measured[side])


def main() -> None:
    """Measure and print."""
    asked = arguments()
    workdir = asked.workdir.absolute()
    workdir.mkdir(parents=True, exist_ok=True)
    clip = cut(workdir, asked.frames)
    python = their_python(workdir, asked.their_python)
    files = [asked.weights, asked.detector_weights]
    made = asked.weights is None
    if made:
        files = [workdir / f"{_MODEL}_{name}.pt" for name in (_NET, _DETECTOR)]
    weights = {"pose_file": str(files[0].absolute()), "detector_file": str(files[1].absolute())}
    bench = Bench(workdir, python, their_environment(workdir, python), clip, weights, asked.their_batch)
    if made:
        bench.make_weights()
    for number in range(asked.rounds):
        bench.theirs()
        bench.ours("dense", 1, bare=True)
        bench.ours("sparse", "auto")
        print(f"round {number + 1} of {asked.rounds} done", flush=True)
    bench.ours("given", 1, boxes=str(workdir / "theirs.npz"))
    print_setting(bench, made)
    print_speed(bench)
    print_costs(bench)
    print_results(bench, made)


def print_setting(bench: Bench, made: bool) -> None:
    """What was run."""
    import torch

    w, h = bench.clip.size_wh
    print(f"\n{_MODEL}, {_NET} with {_DETECTOR}; weights {_MADE if made else 'published'}")
    print(
        f"clip of {len(bench.clip.frames)} frames, {w} x {h}; {torch.get_num_threads()} threads; "
        f"{len(bench.measured['theirs'])} rounds; deeplabcut {VERSION}, its batch_size {bench.their_batch}"
    )


def print_speed(bench: Bench) -> None:
    """Frames per second of each, by the bare networks and by DeepLabCut."""
    n = len(bench.clip.frames)
    theirs = statistics.median(bench.seconds("theirs", "predict_s"))
    bare = statistics.median(bench.seconds("dense", "bare_s"))
    print("\nframes per second from the opened video to keypoints (median, range), networks loaded and warm")
    for side, name in _SIDES.items():
        seconds = bench.seconds(side, "predict_s")
        middle = statistics.median(seconds)
        # The ratios are of each round to the other side's same round, which was measured next to it.
        pairs = list(zip(bench.measured["theirs"], bench.measured[side], strict=True))
        ratio = statistics.median(their["predict_s"] / our["predict_s"] for their, our in pairs)
        work = statistics.median(their["predict_cpu_s"] / our["predict_cpu_s"] for their, our in pairs)
        print(
            f"{name:<28} {n / middle:7.3f} ({n / seconds[-1]:.3f} to {n / seconds[0]:.3f})"
            f"  {ratio:6.2f} x DeepLabCut ({work:.2f} by CPU time)  {bare / middle:6.2f} x bare networks"
        )
    print(f"{'bare networks':<28} {n / bare:7.3f}                   {theirs / bare:6.2f} x DeepLabCut")
    rounds = bench.measured["dense"]
    work = statistics.median(one["bare_cpu_s"] / one["predict_cpu_s"] for one in rounds)
    print(
        f"(by processor time, which other processes disturb less, ours dense is {work:.3f} x bare networks)"
    )
    print("(bare networks: detector and pose network alone, on tensors that are ready, one animal a frame)")
    looked = bench.measured["sparse"][-1]["n_detections"]
    print(f'(detect_every="auto" looked with the detector at {looked} of {n} frames)')


def print_costs(bench: Bench) -> None:
    """Memory and the time before and after the prediction."""
    print("\nmedian of each process      peak memory   load networks   write the table")
    for side, name in _SIDES.items():
        values = [statistics.median(bench.seconds(side, what)) for what in ("peak_mib", "load_s", "save_s")]
        print(f"{name:<28} {values[0]:6.0f} MiB {values[1]:13.2f} s {values[2]:15.3f} s")
    theirs = import_seconds(bench.python, "import deeplabcut")
    ours = import_seconds(sys.executable, "import zoo")
    print(
        f"import deeplabcut {statistics.median(theirs):.2f} s, import zoo {statistics.median(ours):.3f} s "
        "(torch is imported later, its time is in 'load networks')"
    )


def print_results(bench: Bench, made: bool) -> None:
    """How far the results are apart."""
    theirs, dense, sparse = (bench.result(side) for side in _SIDES)
    n, got = len(bench.clip.frames), len(theirs["bbox_xywh"])
    if got < n:
        print(f"\nDeepLabCut returned {got} of {n} frames")
    print(f"\nours, detect_every=1, against DeepLabCut: {Difference.of(dense, theirs)}")
    print(f"ours, given its boxes, against DeepLabCut: {Difference.of(bench.result('given'), theirs)}")
    if made:
        print('OKS of detect_every="auto" with detect_every=1: poses of random weights have none that counts')
    else:
        _print_similarity("with the published weights", sparse, dense, dense["sigmas"])
    print_embedded(bench)


def print_embedded(bench: Bench) -> None:
    """Sparse against dense detection with trained weights, those that come with the package."""
    import zoo

    clips = {_MODEL: lambda: bench.clip.frames, "superanimal_topviewmouse": lambda: read(need(VIDEO), _MICE)}
    for spec in zoo.list_models():
        if spec.variant != _EMBEDDED or spec.name not in clips:
            continue
        frames = clips[spec.name]()
        model = zoo.load(spec.name, variant=_EMBEDDED, device="cpu")
        both = []
        for every in (1, "auto"):
            found = model.predict(frames, max_individuals=1, detect_every=every)
            arrays = {name: getattr(found, name)[:, 0] for name in ("keypoints", "confidence", "bbox_xywh")}
            both.append(arrays)
        _print_similarity(f"with the trained {spec.full_name}", both[1], both[0], model.vocabulary.sigmas)


def _print_similarity(
    what: str, sparse: dict[str, np.ndarray], dense: dict[str, np.ndarray], sigmas: np.ndarray
) -> None:
    """Mean and low end of OKS over frames, of the keypoints that are drawn, and of all."""
    print(f"{what}, sparse against dense detection:")
    for sure, which in ((_DRAWN, f"keypoints of confidence {_DRAWN:g} or more"), (0.0, "all keypoints")):
        values = similarity(sparse, dense, sigmas, sure)
        there = values[np.isfinite(values)]
        if not len(there):
            print(f"  {which}: none")
            continue
        print(
            f"  {which}: OKS mean {there.mean():.3f}, tenth percentile {np.quantile(there, 0.1):.3f}, "
            f"{(there >= 0.9).mean():.0%} of {len(there)} frames at 0.9 or more"
        )


if __name__ == "__main__":
    main()
