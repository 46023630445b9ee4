"""Make the embedded quadruped model: `python -m benchmarks.make_quadruped --out runs`.

Converts animal_pose, horses_roboflow_v5 and tiger_pose, trains the pose network in two stages and the
detector, packs both into zoo/weights, and writes the run record beside them. It goes on where it was
stopped. A tenth of the images of animal_pose and of the horses is held out (by the hash of the image's
group); BrownHorseinShadow is not touched here.
"""

from __future__ import annotations

from pathlib import Path

from benchmarks.data import need
from benchmarks.embedded import arguments, pack, train_stages

NAME = "superanimal_quadruped.compact"
STAGES = {
    "quadruped_pose_128": "quadruped_pose_128",
    "quadruped_pose": "quadruped_pose",
    "quadruped_detector": "quadruped_detector",
}
# folder of the label set -> folder in shared/data, keypoint map
SOURCES = {
    "animal_pose": ("animal_pose", "animalpose"),
    "horses": ("horses_roboflow_v5", "horses_roboflow_v5"),
    "tiger": ("tiger_pose", "tiger_pose"),
}


def make_data(folder: Path) -> None:
    """The label sets of the recipes, unless they are there."""
    from converters import convert

    folder.mkdir(parents=True, exist_ok=True)
    for name, (source, keypoint_map) in SOURCES.items():
        if not (folder / name).exists():
            # The published weights were made with all records, four boxes without their keypoints included.
            convert(need(source), keypoint_map, folder / name, on_problem="keep")


def main() -> None:
    """Run all steps."""
    out = arguments(__doc__).out
    make_data(out / "data")
    train_stages(out, STAGES)
    parts = {"pose": "quadruped_pose", "detector": "quadruped_detector"}
    print(pack(out, NAME, parts, STAGES, "make quadruped"))


if __name__ == "__main__":
    main()
