"""What gradient masking is for, on real labels: `python -m benchmarks.masking` (about 15 minutes on 2 cores).

alphatracker_train9 defines nose, both ears and tail base; the first 70 frames of openfield-Pranav are given
with nose and tail base only. The same recipe is trained on both together, with and without masking, three
seeds each, and tested on the last 40 openfield frames: on the ears, which that source does not define, and
on the two keypoints that it does. Crops come from label-made boxes; no confidence cut.

The six frames between are left out. Both parts are one video: this compares two losses, it is no benchmark
of generalisation. The ear figures contain the distance between the two datasets' ear points (about 9 px).
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np

from benchmarks.data import need

OUT = Path("runs/masking")
MAPS = Path(__file__).parent / "maps"
SEEDS = (0, 1, 2)
N_TRAIN, N_TEST = 70, 40
GROUPS = {
    "ears (undefined in openfield)": ("left_ear", "right_ear"),
    "nose, tail base": ("nose", "tail_base"),
}


def make_data() -> tuple:
    """The two training sets on disk; the test records with all four keypoints."""
    from converters import convert, load_superset, write_superset
    from superset_vocab import LabelSet

    project = need("openfield-Pranav-2018-10-30")
    if not (OUT / "openfield_train").exists():
        OUT.mkdir(parents=True, exist_ok=True)
        convert(need("alphatracker_train9"), str(MAPS / "alphatracker_four.toml"), OUT / "alphatracker")
        two = convert(project, str(MAPS / "openfield_two.toml"), OUT / "openfield_two")
        first = sorted(two.records, key=lambda r: r.image.name)[:N_TRAIN]
        write_superset(
            LabelSet(two.keypoints, tuple(first), two.sources, two.vocabulary), OUT / "openfield_train"
        )
    if not (OUT / "openfield_four").exists():
        convert(project, "dlc-openfield", OUT / "openfield_four")
    four = load_superset(OUT / "openfield_four")
    return tuple(sorted(four.records, key=lambda r: r.image.name)[-N_TEST:])


def errors(weights: Path, recipe, records: tuple) -> dict[str, float]:
    """Mean distance in pixels on each group of keypoints."""
    from safetensors.torch import load_file

    from superset_vocab import load_vocabulary
    from training.batches import keypoint_box
    from zoo.networks import build
    from zoo.pose import PoseInput, TopDownPose

    network = build(recipe.network.name, **recipe.network.options)
    network.load_state_dict(load_file(weights))
    batch = recipe.batch
    vocabulary = load_vocabulary("superanimal_topviewmouse")
    pose = TopDownPose(
        network.eval(),
        PoseInput(batch.input_size[0], batch.stride, batch.context, grey=batch.grey),
        flip_index=vocabulary.flip_index,
    )
    index = vocabulary.index
    everything = np.ones(len(index), bool)
    frames = [cv2.cvtColor(cv2.imread(str(r.image)), cv2.COLOR_BGR2RGB) for r in records]  # pyright: ignore
    found = pose(frames, [keypoint_box(record.keypoints, everything) for record in records])
    distance = np.stack(
        [np.linalg.norm(k[0] - r.keypoints[0], axis=-1) for (k, _), r in zip(found, records, strict=True)]
    )
    return {name: float(distance[:, [index[k] for k in names]].mean()) for name, names in GROUPS.items()}


def main() -> None:
    """Train what is not there yet, print and write the table."""
    from training.from_recipe import train
    from training.recipe import load_recipe

    records = make_data()
    recipe = load_recipe("masking_experiment")
    results: dict[str, dict[str, list[float]]] = {}
    for masking in (True, False):
        rows = results.setdefault("with masking" if masking else "without", {name: [] for name in GROUPS})
        for seed in SEEDS:
            folder = OUT / f"{'masked' if masking else 'unmasked'}_{seed}"
            changed = replace(recipe, run=replace(recipe.run, seed=seed, masking=masking))
            if not (folder / "run.json").exists():
                train(changed, folder, resume=(folder / "checkpoint.pt").exists())
            for name, value in errors(folder / "weights.safetensors", changed, records).items():
                rows[name].append(value)
    (OUT / "masking.json").write_text(json.dumps(results, indent=1) + "\n")
    print(f"{'':<14}" + "".join(f"{name:>36}" for name in GROUPS))
    for way, rows in results.items():
        cells = [
            f"{np.mean(v):6.2f} +- {np.std(v, ddof=1):5.2f} px ({', '.join(f'{x:.1f}' for x in v)})"
            for v in rows.values()
        ]
        print(f"{way:<14}" + "".join(f"{cell:>36}" for cell in cells))


if __name__ == "__main__":
    main()
