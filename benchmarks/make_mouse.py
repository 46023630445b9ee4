"""Make the embedded mouse model: `python -m benchmarks.make_mouse --out runs`.

Converts alphatracker_train9, renders the synthetic labs, trains the pose network in three stages and
the detector, packs both into zoo/weights, and writes the run record beside them. Every step that is
already in the output folder is skipped, a training that was stopped goes on: start it again after a
kill. Openfield-Pranav is not touched here.
"""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path

from benchmarks.data import need

ROOT = Path(__file__).parents[1]
NAME = "superanimal_topviewmouse.compact"
STAGES = {
    "pose_64": "topviewmouse_pose_64",
    "pose_96": "topviewmouse_pose_96",
    "pose": "topviewmouse_pose",
    "detector_1": "topviewmouse_detector_1",
    "detector": "topviewmouse_detector",
}
# lab -> number of frames, seed
SYNTHETIC = {"wild": (5000, 1), "lowered": (1500, 2)}


def make_data(folder: Path) -> None:
    """The label sets of the recipes, unless they are there."""
    from converters import convert, convert_labels
    from converters.synthetic import LABS, synthesize

    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "alphatracker").exists():
        convert(need("alphatracker_train9"), "alphatracker_train9", folder / "alphatracker")
    for name, (n_frames, seed) in SYNTHETIC.items():
        target = folder / LABS[name].dataset
        if not target.exists():
            raw = synthesize(LABS[name], n_frames, folder / f"raw_{name}", seed=seed, workers=2)
            convert_labels(raw, LABS[name].dataset, target)


def train_stages(out: Path) -> None:
    """The trainings, one after the other, each resumed where it stopped."""
    from training.from_recipe import train

    for run, recipe in STAGES.items():
        folder = out / run
        if not (folder / "run.json").exists():
            train(recipe, folder, resume=(folder / "checkpoint.pt").exists())


def pack(out: Path) -> str:
    """Both networks into the embedded weights file; its hash into the model's spec; the run record."""
    from safetensors.torch import load_file

    from zoo.networks import build
    from zoo.weight_files import save_weights

    parts, record = {}, {}
    for part, run in (("pose", "pose"), ("detector", "detector")):
        description = json.loads((out / run / "run.json").read_text())
        network = description["recipe"]["network"]
        parts[part] = build(network["name"], **network["options"])
        parts[part].load_state_dict(load_file(out / run / "weights.safetensors"))
    for run in STAGES:
        record[run] = json.loads((out / run / "run.json").read_text())
    sha256 = save_weights(ROOT / "zoo" / "weights" / f"{NAME}.safetensors", parts)
    spec = ROOT / "zoo" / "models" / f"{NAME}.toml"
    spec.write_text(re.sub(r'sha256 = "[0-9a-f]*"', f'sha256 = "{sha256}"', spec.read_text()))
    (ROOT / "zoo" / "weights" / f"{NAME}.json").write_text(
        json.dumps({"sha256": sha256, "made_by": "make mouse", "runs": record}, indent=1) + "\n"
    )
    return sha256


def main() -> None:
    """Run all steps."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("runs"), help="folder for data and runs")
    arguments = parser.parse_args()
    if arguments.out != Path("runs"):
        parser.error(
            "the recipes name runs/data and runs/pose_64; run from the project folder with --out runs"
        )
    make_data(arguments.out / "data")
    train_stages(arguments.out)
    print(pack(arguments.out))


if __name__ == "__main__":
    main()
