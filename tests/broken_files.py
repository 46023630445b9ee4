"""Label files broken in every way: each function makes one in a folder, or makes such functions."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
from foreign_files import (
    broken_coco,
    edit,
    make_ap10k,
    make_coco,
    make_lightning_pose,
    make_project,
    make_stanford,
)
from label_sets import make_video, write_image

Case = Callable[[Path], Path | tuple[Path, dict[str, Any]]]
CSV = "labeled-data/v1/CollectedData_Ann.csv"
MULTI = (
    "scorer,,,A,A,A,A\nindividuals,,,m1,m1,{second},{second}\nbodyparts,,,nose,nose,{part},{part}\n"
    "coords,,,x,y,x,y\nlabeled-data,v1,img0.png,1,2,3,4\n"
)


def coco_with(change: Callable[[dict], object]) -> Case:
    """A foreign COCO file after a change of its document."""
    return lambda folder: make_coco(folder, broken_coco(change))


def dlc_with(old: str, new: str, file: str = CSV) -> Case:
    """A project of one video with another text in one of its files."""

    def make(folder: Path) -> Path:
        project = make_project(folder, videos=("v1",))
        edit(project / file, old, new)
        return project

    return make


def dlc_without(name: str, content: bytes | None = None) -> Case:
    """A project with a broken file, or without it."""

    def make(folder: Path) -> Path:
        project = make_project(folder, videos=("v1",))
        (project / name).unlink()
        if content is not None:
            (project / name).write_bytes(content)
        return project

    return make


def multi(config: str, **parts: str) -> Case:
    """A multi-animal project of one frame."""

    def make(folder: Path) -> Path:
        write_image(folder / "p/labeled-data/v1/img0.png")
        (folder / "p/labeled-data/v1/CollectedData_A.csv").write_text(MULTI.format(**parts))
        (folder / "p/config.yaml").write_text(f"scorer: A\nmultianimalproject: true\n{config}")
        return folder / "p"

    return make


def two_scorers(folder: Path) -> Path:
    project = make_project(folder, videos=("v1",))
    table = project / CSV
    for name in ("Bob", "Eve"):
        (table.parent / f"CollectedData_{name}.csv").write_text(table.read_text())
    table.unlink()
    return project


def foreign_h5(folder: Path) -> Path:
    columns = pd.MultiIndex.from_product(
        [["A"], ["nose"], ["x", "y"]], names=["scorer", "bodyparts", "coords"]
    )
    frame = pd.DataFrame([[1.0, 2.0]], index=["a.png"], columns=columns)
    frame.to_hdf(folder / "CollectedData_A.h5", key="a", mode="w")
    frame.to_hdf(folder / "CollectedData_A.h5", key="b")
    return folder / "CollectedData_A.h5"


def yolo(line: str, config: str = "kpt_shape: [2, 3]\nnames: [mouse]\n", label: str = "a.txt") -> Case:
    """A YOLO-pose folder of one image."""

    def make(folder: Path) -> Path:
        write_image(folder / "y/train/images/a.png")
        (folder / "y/train/labels").mkdir()
        (folder / "y/train/labels" / label).write_text(line)
        (folder / "y/data.yaml").write_text(config)
        return folder / "y"

    return make


def sloth(annotations: Any, file_name: str = "a.png") -> Case:
    """A sloth file of one image."""

    def make(folder: Path) -> Path:
        write_image(folder / "a.png")
        (folder / "s.json").write_text(json.dumps([{"filename": file_name, "annotations": annotations}]))
        return folder / "s.json"

    return make


def animal_pose(**change: Any) -> Case:
    """An Animal-Pose file of one animal, some of whose entries are others."""

    def make(folder: Path) -> Path:
        write_image(folder / "images" / "a.png")
        animal = {"image_id": 1, "category_id": 1, "bbox": [1, 2, 9, 8], "keypoints": [[1, 2, 1]]} | change
        categories = [{"id": 1, "name": "dog", "keypoints": ["nose"]}]
        content = {"images": {"1": "a.png"}, "annotations": [animal], "categories": categories}
        (folder / "keypoints.json").write_text(json.dumps(content))
        return folder / "keypoints.json"

    return make


def stanford_with(**change: Any) -> Case:
    """A StanfordExtra file whose first dog is changed."""

    def make(folder: Path) -> Path:
        file = make_stanford(folder / "se") / "StanfordExtra_v12.json"
        dogs = json.loads(file.read_text())
        dogs[0] |= change
        file.write_text(json.dumps(dogs))
        return file

    return make


def part_with_other_keypoints(folder: Path) -> Path:
    path = make_ap10k(folder / "ap10k") / "annotations" / "ap10k-val-split1.json"
    path.write_text(path.read_text().replace('"left_eye", "right_eye"', '"right_eye", "left_eye"'))
    return folder / "ap10k"


def text(name: str, content: str, **more: Any) -> Case:
    """One file with some text."""

    def make(folder: Path) -> tuple[Path, dict[str, Any]]:
        (folder / name).write_text(content)
        return folder / name, more

    return make


def short_video(folder: Path) -> tuple[Path, dict[str, Any]]:
    (folder / "v.mp4").write_bytes(make_video(folder / "w.mp4").read_bytes()[:200])
    (folder / "w.mp4").unlink()
    return folder / "v.mp4", {"options": {"vocabulary": "superanimal_topviewmouse"}}


def no_metadata(folder: Path) -> Path:
    with h5py.File(folder / "p.slp", "w") as file:
        file["frames"] = np.zeros(3)
    return folder / "p.slp"


def moved_lightning_pose(folder: Path) -> Path:
    project = make_lightning_pose(folder / "lp", ("",))
    (project / "labeled-data/session1/img1.png").unlink()
    return project


def latin1(folder: Path) -> tuple[Path, dict[str, Any]]:
    (folder / "x.json").write_bytes('{"images": "Müsli"}'.encode("latin-1"))
    return folder / "x.json", {"format": "coco"}


def part_twice(folder: Path) -> Path:
    annotations = make_ap10k(folder / "ap10k") / "annotations"
    (annotations / "ap10k-test-split1.json").write_text((annotations / "ap10k-val-split1.json").read_text())
    return folder / "ap10k"


def three_images(folder: Path) -> Path:
    frames = make_project(folder) / "labeled-data"
    (frames / "v1/img0.png").unlink()
    (frames / "v1/img2.png").write_bytes(b"")
    (frames / "v2/img1.png").write_text("not an image")
    return folder / "project"


def individuals_in_single(folder: Path) -> Path:
    project = multi("bodyparts: [nose]\n", second="m2", part="nose")(folder)
    edit(project / "config.yaml", "multianimalproject: true", "multianimalproject: false")
    return project
