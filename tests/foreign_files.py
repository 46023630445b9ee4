"""Small label files of other programs, with their images."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import numpy as np
from label_sets import write_image

COCO_NAMES = ("a", "b", "c")
COCO_FILE = {
    "images": [
        {"id": 7, "file_name": "x.png", "width": 32, "height": 24},
        {"id": 3, "file_name": "y.png", "width": 32, "height": 24},
    ],
    "annotations": [
        {"id": 1, "image_id": 7, "category_id": 2, "keypoints": [1, 2, 2, 0, 0, 0, 5.5, 6, 1],
         "bbox": [0, 1, 8, 7], "num_keypoints": 2},
        {"id": 2, "image_id": 7, "category_id": 2, "bbox": [2, 2, 3, 3]},
    ],
    "categories": [
        {"id": 1, "name": "car"},
        {"id": 2, "name": "mouse", "keypoints": list(COCO_NAMES), "skeleton": [[1, 2]]},
    ],
}  # fmt: skip
AP10K = [
    "left_eye", "right_eye", "nose", "neck", "root_of_tail", "left_shoulder", "left_elbow", "left_front_paw",
    "right_shoulder", "right_elbow", "right_front_paw", "left_hip", "left_knee", "left_back_paw", "right_hip",
    "right_knee", "right_back_paw",
]  # fmt: skip
BODYPARTS = ("snout", "leftear", "tail base")


def make_coco(folder: Path, document: dict | None = None) -> Path:
    """A COCO file of two images, one with two mice, with its images in images/."""
    for i, name in enumerate(("x.png", "y.png")):
        write_image(folder / "images" / name, seed=i)
    (folder / "labels.json").write_text(json.dumps(document or COCO_FILE))
    return folder / "labels.json"


def broken_coco(change) -> dict:
    """The document of `make_coco` after a change in place."""
    document = copy.deepcopy(COCO_FILE)
    change(document)
    return document


def make_project(
    folder: Path, *, levels: int = 3, videos: tuple[str, ...] = ("v1", "v2"), n_frames: int = 3
) -> Path:
    """A project of csv files: bodypart b of frame f at (10 b + f, 0.25 f), no leftear in frame 1."""
    project = folder / "project"
    for v, video in enumerate(videos):
        lead = [""] * (levels - 1)
        rows = [
            ["scorer", *lead, *["Ann"] * 6],
            ["bodyparts", *lead, *[name for name in BODYPARTS for _ in "xy"]],
            ["coords", *lead, *["x", "y"] * 3],
        ]
        for f in range(n_frames):
            write_image(project / "labeled-data" / video / f"img{f}.png", seed=10 * v + f)
            names = ["labeled-data", video, f"img{f}.png"]
            cells = [str(value) for b in range(3) for value in (10 * b + f, 0.25 * f)]
            if f == 1:
                cells[2:4] = ["", ""]
            rows.append([*(names if levels == 3 else ["/".join(names)]), *cells])
        table = project / "labeled-data" / video / "CollectedData_Ann.csv"
        table.write_text("\n".join(",".join(row) for row in rows) + "\n")
    listed = "".join(f"- {name}\n" for name in BODYPARTS)
    (project / "config.yaml").write_text(f"scorer: Ann\nmultianimalproject: false\nbodyparts:\n{listed}")
    return project


def edit(path: Path, old: str, new: str) -> None:
    """Replace a text that must be there."""
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def make_ap10k(folder: Path) -> Path:
    """Two splits of four images: two species, ids with gaps, a licence, files for train, val and test."""
    numbers = (102, 7, 55, 9001)
    for i in numbers:
        write_image(folder / "data" / f"{i:012d}.jpg", seed=i)
    for split, parts in (
        (1, (numbers[:2], numbers[2:3], numbers[3:])),
        (2, (numbers[2:], numbers[:1], numbers[1:2])),
    ):
        for part, ids in zip(("train", "val", "test"), parts, strict=True):
            images = [
                {
                    "license": 1,
                    "id": i,
                    "file_name": f"{i:012d}.jpg",
                    "width": 32,
                    "height": 24,
                    "background": 5,
                }
                for i in ids
            ]
            annotations = [
                {"id": i + 3, "image_id": i, "category_id": 1 + i % 2, "bbox": [0, 0, 20, 24], "area": 480,
                 "iscrowd": 0, "num_keypoints": 17,
                 "keypoints": [v for k in range(17) for v in (k, i % 24, 2)]}
                for i in ids
            ]  # fmt: skip
            categories = [
                {"id": i, "name": name, "supercategory": "x", "keypoints": AP10K, "skeleton": [[1, 2]]}
                for i, name in ((1, "antelope"), (2, "dog"))
            ]
            path = folder / "annotations" / f"ap10k-{part}-split{split}.json"
            path.parent.mkdir(exist_ok=True)
            document = {"info": {}, "licenses": [{"id": 1, "name": "The MIT License"}], "images": images}
            path.write_text(json.dumps({**document, "annotations": annotations, "categories": categories}))
    (folder / "annotations" / "ap10k-train-split1-dog.json").write_text("{}")
    return folder


def make_stanford(folder: Path) -> Path:
    """Two photographs; the lists of texts that some copies of the file have; official parts."""
    dogs = []
    for i, name in enumerate(("n02085620-Chihuahua/n1.jpg", "n02085782-Japanese_spaniel/n2.jpg")):
        write_image(folder / "Images" / name, seed=i)
        joints = [[k + 0.5, i, float(k % 3 > 0)] for k in range(24)]
        entry = {
            "img_path": name,
            "img_width": 32,
            "img_height": 24,
            "img_bbox": [0, 0, 24, 10],
            "seg": {"counts": ""},
        }
        dogs.append({**entry, "joints": json.dumps(joints) if i else joints, "is_multiple_dogs": False})
    (folder / "StanfordExtra_v12.json").write_text(json.dumps(dogs))
    np.save(folder / "train_stanford_StanfordExtra_v12.npy", np.array([1]))
    np.save(folder / "test_stanford_StanfordExtra_v12.npy", np.array([0]))
    return folder


def make_lightning_pose(folder: Path, views: tuple[str, ...]) -> Path:
    """A project with a csv for each view, "" for the only one; two sessions of two frames."""
    for v, view in enumerate(views):
        end = f"_{view}" if view else ""
        rows = ["scorer,rick,rick,rick,rick", "bodyparts,paw,paw,nose,nose", "coords,x,y,x,y"]
        for s in range(2):
            for f in range(2):
                name = f"labeled-data/session{s}{end}/img{f}.png"
                write_image(folder / name, seed=100 * v + 10 * s + f)
                rows.append(f"{name},{f}.5,{s},,")
        (folder / f"CollectedData{end}.csv").write_text("\n".join(rows))
    return folder
