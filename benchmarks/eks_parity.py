"""Our smoothers against ensemble-kalman-smoother 4.6.2, real ensembles: `python -m benchmarks.eks_parity`.

Makes an environment for it (--venv keeps or reuses one), runs every case there twice, as it comes (float32)
and with JAX in float64, runs ours, and prints for fixed s the largest difference of x and y in pixels and of
the variances, relative; for automatic s both log likelihoods (exact ones, by our filter) and how far the
tracks differ.

Three of its faults are undone before comparing: the pupil's bottom and right columns are swapped and its
posterior variances are those of the wrong rows; calibrated variances of every camera contain the first
camera's noise.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from adaptation.eks import (
    Ensemble,
    Smoothed,
    SmoothingOptions,
    read_calibration,
    smooth_calibrated,
    smooth_mirrored,
    smooth_multicam,
    smooth_pupil,
    smooth_singlecam,
    synchronised,
)
from benchmarks.data import need

PEER = "ensemble-kalman-smoother==4.6.2"
X, Y, CENTRE, X_VAR, Y_VAR, X_POST, Y_POST = range(7)


@dataclass(frozen=True)
class Case:
    """One smoother on one recording.

    Attributes:
        views: Ensembles as the smoother takes them.
        smooth: (s, inflate) -> one track per view; s is a number, a mapping, or None.
        flip_x: Views whose x their output has as width - x.
    """

    views: list[Ensemble]
    smooth: Callable[..., Sequence[Smoothed]]
    flip_x: dict[int, float]


def read_members(paths: Sequence[Path], view: str = "", rename: dict[str, str] | None = None) -> Ensemble:
    """An ensemble of DeepLabCut or Lightning Pose csv files."""
    tables = [pd.read_csv(path, header=[0, 1, 2], index_col=0) for path in sorted(paths)]
    names = list(dict.fromkeys(tables[0].columns.get_level_values(1)))
    values = np.stack([t.to_numpy(float).reshape(len(t), len(names), 3) for t in tables])
    order = sorted(range(len(names)), key=lambda k: (rename or {}).get(names[k], "")) if rename else None
    if order:
        values, names = values[:, :, order], sorted((rename or {})[name] for name in names)
    return Ensemble(values[..., :2], values[..., 2], tuple(names), view)


def cases(likelihood: str = "exact") -> dict[str, Case]:
    """Every recording with its smoother, as their command line would run it."""
    data = need("ensembles")
    both = {"variance_of": "observation", "good_frames": 95.0, "likelihood": likelihood}

    def options(s, inflate=False, **more) -> SmoothingOptions:
        return SmoothingOptions(s=s, inflate=inflate, **{**both, **more})

    found: dict[str, Case] = {}
    for name in ("ibl-pupil", "mirror-mouse"):
        one = read_members(list((data / name).glob("*.csv")))
        found[f"singlecam {name}"] = Case(
            [one], lambda s, _, one=one: [smooth_singlecam(one, options=options(s))], {}
        )
    pupil = read_members(list((data / "ibl-pupil").glob("*.csv")))
    found["pupil ibl-pupil"] = Case([pupil], lambda s, _: [_pupil(pupil, s)], {})
    for name, cameras in (("mirror-mouse-separate", ("top", "bot")), ("fly", ("Cam-A", "Cam-B", "Cam-C"))):
        views = [read_members(list((data / name).glob(f"*{c}*.csv")), c) for c in cameras]
        found[f"multicam {name}"] = Case(
            views, lambda s, i, views=views: smooth_multicam(views, options=options(s, i)), {}
        )
    cameras = read_calibration(data / "fly" / "calibration.toml")
    found["calibrated fly"] = Case(
        views,
        lambda s, i: _calibrated(
            smooth_calibrated(views, cameras, options=options(s, i, variance_of="track"))
        ),
        {},
    )
    mouse = read_members(list((data / "mirror-mouse").glob("*.csv")))
    found["mirrored mirror-mouse"] = Case(
        [mouse], lambda s, i: smooth_mirrored(mouse, ("top", "bot"), options=options(s, i)), {}
    )
    paws, times = read_paws(data / "ibl-paw")
    same = synchronised(paws, times, reference=0)[0]
    found["paw ibl-paw"] = Case(
        same, lambda s, i: smooth_multicam(same, options=options(s, i, variance="plain")), {1: 128.0}
    )
    return found


def read_paws(folder: Path) -> tuple[list[Ensemble], list[np.ndarray]]:
    """The two cameras face each other: the left one's left paw is the right one's right paw."""
    swap = {"paw_l": "paw_r", "paw_r": "paw_l"}
    views = [read_members(list(folder.glob("*.left.rng*.csv")), "left")]
    views.append(read_members(list(folder.glob("*.right.rng*.csv")), "right", swap))
    return views, [np.load(next(folder.glob(f"*timestamps.{view}.npy"))) for view in ("left", "right")]


def _pupil(pupil: Ensemble, s) -> Smoothed:
    """The pupil about 0, as theirs; s is None, a number for "fixed", or a pair."""
    pair = {} if s is None else {"a_diameter": 0.99, "a_centre": 0.98}
    if isinstance(s, dict):
        pair = s
    return smooth_pupil(pupil, about_mean=False, **pair)


def _calibrated(result) -> list[Smoothed]:
    """Views with the first camera's noise added to every camera's variance, as theirs."""
    noise = result.views[0].statistics.variance
    return [replace(view, variance=view.variance + noise) for view in result.views]


def theirs(arrays, name: str, view: int, keypoint: str, case: Case) -> np.ndarray:
    """Their columns (T, 7) of a keypoint, faults undone."""
    if name.startswith("pupil"):
        swap = {"pupil_bottom_r": "pupil_right_r", "pupil_right_r": "pupil_bottom_r"}
        columns = arrays[f"{name}|{view}|{swap.get(keypoint, keypoint)}"].copy()
        # Row i of the state's four keypoints got the variances of observations i and i + 1 of eight.
        order = ("pupil_top_r", "pupil_bottom_r", "pupil_right_r", "pupil_left_r")
        diagonal = np.full((len(columns), 8), np.nan)
        for i, label in enumerate(order):
            pair = arrays[f"{name}|{view}|{label}"]
            diagonal[:, i], diagonal[:, i + 1] = pair[:, X_POST], pair[:, Y_POST]
        at = 2 * order.index(keypoint)
        columns[:, X_POST], columns[:, Y_POST] = diagonal[:, at], diagonal[:, at + 1]
        return columns
    if name.startswith("mirrored"):
        return arrays[f"{name}|0|{keypoint}_{('top', 'bot')[view]}"]
    columns = arrays[f"{name}|{view}|{keypoint}"].copy()
    if view in case.flip_x:
        columns[:, X] = case.flip_x[view] - columns[:, X]
    return columns


def compare(arrays, name: str, case: Case, tracks: Sequence[Smoothed]) -> tuple[float, float, float, float]:
    """Largest difference of x, y, of ensemble and posterior variance (relative), and RMS of x, y."""
    pixels, ensemble, posterior = [], [], []
    for view, track in enumerate(tracks):
        for k, keypoint in enumerate(track.names):
            other = theirs(arrays, name, view, keypoint, case)
            pixels.append(np.abs(track.keypoints[:, k] - other[:, [X, Y]]))
            ours = track.statistics.variance[:, k]
            if not name.startswith("calibrated"):  # theirs reports the variances before inflation there
                ensemble.append(np.abs(ours - other[:, [X_VAR, Y_VAR]]) / np.maximum(ours, 1e-12))
            ours = track.variance[:, k]
            both = np.abs(ours - other[:, [X_POST, Y_POST]]) / np.maximum(ours, 1e-12)
            posterior.append(both[:, ~np.isnan(both).all(0)])
    flat = np.concatenate([p.ravel() for p in pixels])
    largest = [
        max((p.max() for p in parts if p.size), default=0.0) for parts in (pixels, ensemble, posterior)
    ]
    return (*largest, float(np.sqrt(np.mean(flat**2))))


def fixed_table(found: dict[str, Case], sides: dict[str, dict]) -> None:
    """Differences at s = 10 (pupil: 0.99, 0.98)."""
    heads = "".join(f"{side:>14}{'ens. var':>11}{'post. var':>11}" for side in sides)
    print(f"\nfixed s\n{'case':44}{heads}")
    for name, case in found.items():
        for inflate in (False, True):
            label = f"{name}/fixed/{'inflated' if inflate else 'plain'}"
            if f"{label}|s" not in next(iter(sides.values())):
                continue
            tracks = case.smooth(10.0, inflate)
            cells = []
            for arrays in sides.values():
                pixels, ensemble, posterior, _ = compare(arrays, label, case, tracks)
                cells.append(f"{pixels:11.6f} px{ensemble:11.1e}{posterior:11.1e}")
            print(f"{label:44}" + "".join(cells), flush=True)


def automatic_table(found: dict[str, Case], arrays: dict) -> None:
    """Exact log likelihoods at both choices, and how far the tracks differ.

    Their s maximises another function, the likelihood with each coordinate's median noise in every frame; the
    second number says how much of the difference that is: it compares with our search of their function.
    """
    same = cases("constant_noise")
    heads = f"{'ours - theirs: log likelihood':>32}{'RMS px':>9}{'max px':>9}{'RMS, alike':>12}"
    print(f"\nautomatic s\n{'case':44}{heads}  s ours|theirs")
    for name, case in found.items():
        for inflate in (False, True):
            label = f"{name}/automatic/{'inflated' if inflate else 'plain'}"
            if f"{label}|s" not in arrays:
                continue
            tracks = case.smooth(None, inflate)
            values = arrays[f"{label}|s"]
            if name.startswith("pupil"):
                other = {"a_diameter": values[0], "a_centre": values[1]}
                ours = list(tracks[0].choices[0].values.values())
            else:
                other = dict(zip(_order(arrays, label), values, strict=True))
                ours = [choice.value for choice in tracks[0].choices]
            again = case.smooth(other, inflate)
            gains = [
                mine.log_likelihood - theirs_.log_likelihood
                for mine, theirs_ in zip(tracks[0].choices, again[0].choices, strict=True)
            ]
            largest, _, _, rms = compare(arrays, label, case, tracks)
            alike = compare(arrays, label, case, same[name].smooth(None, inflate))[3]
            show = " ".join(f"{a:.4g}|{b:.4g}" for a, b in list(zip(ours, values, strict=True))[:4])
            gain = f"{min(gains):+16.3f}..{max(gains):+14.3f}"
            print(f"{label:44}{gain}{rms:9.4f}{largest:9.4f}{alike:12.4f}  {show}", flush=True)


def _order(arrays, label: str) -> list[str]:
    """Their keypoints in the order of their parameters."""
    names = [key.split("|")[2] for key in arrays if key.startswith(f"{label}|0|")]
    if label.startswith("mirrored"):
        return [name.removesuffix("_top") for name in names if name.endswith("_top")]
    return names


def make_environment(venv: Path) -> Path:
    """A Python that has the peer; made if it is not there."""
    python = venv / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", str(venv)], check=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", PEER], check=True)
    return python


def run_theirs(python: Path, out: Path, double: bool) -> dict[str, np.ndarray]:
    """Run every case in their environment, unless `out` is there already."""
    if not out.exists():
        environment = {**os.environ, "JAX_ENABLE_X64": "1" if double else "0"}
        side = Path(__file__).with_name("eks_peer.py")
        subprocess.run(
            [python, side, need("ensembles"), out], check=True, env=environment, cwd=out.parent,
            stdout=subprocess.DEVNULL,
        )  # fmt: skip
    with np.load(out) as arrays:
        return dict(arrays)


def main() -> None:
    """Run both sides and print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--venv", type=Path, help="environment with the peer; made if missing, kept if named")
    parser.add_argument("--keep", type=Path, help="folder for its results, reused if they are there")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        python = make_environment(arguments.venv or Path(scratch) / "venv")
        keep = arguments.keep or Path(scratch)
        single = run_theirs(python, keep / "eks_peer32.npz", double=False)
        double = run_theirs(python, keep / "eks_peer64.npz", double=True)
    found = cases()
    fixed_table(found, {"as it comes": single, "in float64": double})
    automatic_table(found, single)


if __name__ == "__main__":
    main()
