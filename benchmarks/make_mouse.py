"""Make the embedded mouse model: `python -m benchmarks.make_mouse --out runs`.

Converts alphatracker_train9, renders the synthetic labs, trains the pose network in three stages and
the detector in two, packs both into zoo/weights, and writes the run record beside them. It goes on
where it was stopped. Openfield-Pranav is not touched here.
"""

from __future__ import annotations

from pathlib import Path

from benchmarks.data import need
from benchmarks.embedded import arguments, pack, train_stages

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


def main() -> None:
    """Run all steps."""
    out = arguments(__doc__).out
    make_data(out / "data")
    train_stages(out, STAGES)
    print(pack(out, NAME, {"pose": "pose", "detector": "detector"}, STAGES, "make mouse"))


if __name__ == "__main__":
    main()
