"""Make the embedded quadruped model: `python -m benchmarks.make_quadruped --out runs`.

Converts animal_pose, horses_roboflow_v5 and tiger_pose, trains the pose network in three stages and the
detector in two, packs both into zoo/weights, and writes the run record beside them. It goes on where it was
stopped. A tenth of the images of animal_pose and of the horses is held out (by the hash of the image's
group); BrownHorseinShadow is not touched here.
"""

from __future__ import annotations

from pathlib import Path

from safetensors.torch import load_file, save_file

from benchmarks.data import need
from benchmarks.embedded import arguments, pack, train_stages
from superset_vocab.files import atomic_path

NAME = "superanimal_quadruped.compact"
FIRST = ("quadruped_pose_128", "quadruped_pose_160", "quadruped_detector_1")
LAST = ("quadruped_pose", "quadruped_detector")
NARROWED, WIDTH = "quadruped_pose_240.safetensors", 240  # the third stage starts from this; 8 MB is the limit
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


def narrow(source: Path, target: Path, width: int) -> None:
    """Keep the strongest channels of a compact U-Net's coarsest level, so that less has to be stored.

    Args:
        source: Weights of a network with five levels.
        target: Weights of the same with `width` channels at the coarsest level; written atomically.
        width: Channels to keep: those whose batch normalisations scale the most.
    """
    tensors = load_file(source)
    level = "down.4"
    scale = tensors[f"{level}.0.1.weight"].abs() + tensors[f"{level}.1.second.1.weight"].abs()
    kept = scale.topk(width).indices.sort().values
    for name, tensor in tensors.items():
        if name.startswith(f"{level}.") and tensor.ndim:
            tensor = tensor[kept]
            if name.startswith(f"{level}.1.") and tensor.ndim == 4:  # a residual block's input is its output
                tensor = tensor[:, kept]
            tensors[name] = tensor.contiguous()
        elif name == "lateral.2.weight":
            tensors[name] = tensor[:, kept].contiguous()
    with atomic_path(target) as temporary:
        save_file(tensors, temporary)


def main() -> None:
    """Run all steps."""
    out = arguments(__doc__).out
    make_data(out / "data")
    train_stages(out, {name: name for name in FIRST})
    if not (out / NARROWED).exists():
        narrow(out / "quadruped_pose_160" / "weights.safetensors", out / NARROWED, WIDTH)
    train_stages(out, {name: name for name in LAST})
    parts = {"pose": "quadruped_pose", "detector": "quadruped_detector"}
    print(pack(out, NAME, parts, (*FIRST, *LAST), "make quadruped"))


if __name__ == "__main__":
    main()
