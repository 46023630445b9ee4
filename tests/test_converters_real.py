"""Every folder of real labels converts, and holds what plain pandas, json and h5py count in it."""

from __future__ import annotations

import json
import shutil
import tomllib
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import cv2
import h5py
import numpy as np
import pandas as pd
import pytest
import yaml
from data import need
from PIL import Image

from converters import load_superset, read_labels, write_superset
from converters.formats.frames import extract_frames
from superset_vocab import LabelSet, Visibility, load_map, project

Count = tuple[int, int, Counter]  # images, instances, annotated keypoints by source name
SLP = "trajectories/deepof_tests/tests/test_examples/test_single_topview/Tables/SLEAP/testDLC_sleap.slp"


def count_sloth(folder: Path) -> Count:
    """Plain json: four points after a Face make an animal; tiny boxes without points are slips."""
    names, found, instances = ("snout", "left_ear", "right_ear", "tail_base"), Counter(), 0
    entries = json.loads(next(folder.glob("*.json")).read_text())
    for entry in entries:
        kinds = "".join("F" if a["class"] == "Face" else "p" for a in entry["annotations"])
        faces = [a for a in entry["annotations"] if a["class"] == "Face"]
        points = [len(part) for part in kinds.split("F")[1:]]
        assert len(faces) == len(points)
        for face, n in zip(faces, points, strict=True):
            instances += bool(n) or max(face["width"], face["height"]) >= 8
            found.update(names if n == 4 else ())
    return len(entries), instances, found


def count_animal_pose(folder: Path) -> Count:
    """Plain json; a label outside of its image (here they are all far out) does not count."""
    content = json.loads((folder / "keypoints.json").read_text())
    names = content["categories"][0]["keypoints"]
    sizes, found = {}, Counter()
    for annotation in content["annotations"]:
        for name, (x, y, visible) in zip(names, annotation["keypoints"], strict=True):
            if visible != 1:
                continue
            key = str(annotation["image_id"])
            near_an_edge = min(x, y) < 0 or max(x, y) > 200
            if near_an_edge and key not in sizes:
                with Image.open(folder / "images" / content["images"][key]) as image:
                    sizes[key] = image.size
            if near_an_edge and not (-1 <= x <= sizes[key][0] and -1 <= y <= sizes[key][1]):
                continue
            found[name] += 1
    return len(content["images"]), len(content["annotations"]), found


def count_yolo(folder: Path) -> Count:
    """Plain text."""
    names = json.loads((folder / "keypoint_names_inferred.json").read_text())["inferred_keypoint_names"]
    config = folder / "data.yaml"
    numbers = yaml.safe_load(config.read_text())["kpt_shape"][1] if config.exists() else 2
    found, instances = Counter(), 0
    for text in folder.rglob("labels/*.txt"):
        for line in text.read_text().splitlines():
            points = np.array(line.split()[5:], dtype=float).reshape(-1, numbers)
            instances += 1
            labelled = points[:, 2] > 0 if numbers == 3 else points.any(1)
            found.update(name for name, is_labelled in zip(names, labelled, strict=True) if is_labelled)
    images = [p for p in folder.rglob("images/*") if p.suffix in (".jpg", ".png")]
    return len(images), instances, found


def count_frame(frame: pd.DataFrame, *, multi: bool = False) -> Count:
    """Plain pandas: columns (scorer, [individuals,] bodyparts, coords)."""
    x = frame.xs("x", axis=1, level=-1).notna()
    found = Counter(
        {name: int(x.xs(name, axis=1, level=-1).to_numpy().sum()) for name in x.columns.unique(-1)}
    )
    present = x.T.groupby(level=1, sort=False).any().to_numpy().sum() if multi else len(frame)
    return len(frame), int(present), found


def count_csv(folder: Path) -> Count:
    """All csv files of a folder together."""
    frames = []
    for path in sorted(folder.glob("**/CollectedData*.csv")):
        lines = path.read_text().splitlines()
        depth = next(i for i, line in enumerate(lines) if line.startswith("coords")) + 1
        columns = len(lines[0]) - len(lines[0].removeprefix("scorer").lstrip(",")) - len("scorer")
        frames.append(pd.read_csv(path, header=list(range(depth)), index_col=list(range(columns))))
    multi = frames[0].columns.nlevels == 4
    counts = [count_frame(frame, multi=multi) for frame in frames]
    total = sum((c[2] for c in counts), Counter())
    return sum(c[0] for c in counts), sum(c[1] for c in counts), total


def count_h5(folder: Path) -> Count:
    """The horse's table."""
    return count_frame(pd.read_hdf(folder / "BrownHorseinShadow_gt.h5"))


def count_slp(file: Path) -> Count:
    """Plain h5py: predicted points of the frames; a SLEAP file has its node names in JSON."""
    with h5py.File(file) as content:
        nodes = [n["name"] for n in json.loads(content["metadata"].attrs["json"])["nodes"]]
        instances, points = content["instances"][:], content["pred_points"][:]
        order = [n["id"] for n in json.loads(content["metadata"].attrs["json"])["skeletons"][0]["nodes"]]
        n_frames = len(content["frames"])
    found = Counter()
    for instance in instances:
        own = points[instance["point_id_start"] : instance["point_id_end"]]
        seen = own["visible"] & np.isfinite(own["x"])
        found.update(nodes[node] for node, is_seen in zip(order, seen, strict=True) if is_seen)
    return n_frames, len(instances), found


def horse_project(folder: Path, tmp_path: Path) -> Path:
    """The horse's h5 as a project: its images are the frames of the video, named 0050 and on."""
    place = tmp_path / "horse" / "labeled-data" / "BrownHorseinShadow"
    place.mkdir(parents=True)
    shutil.copy(folder / "BrownHorseinShadow_gt.h5", place / "CollectedData_gt.h5")
    for index, path in extract_frames(folder / "BrownHorseinShadow.mp4", range(308), tmp_path / "f").items():
        path.rename(place / f"{index + 50:04d}.png")
    return tmp_path / "horse"


def slp_project(file: Path, tmp_path: Path) -> Path:
    """The .slp beside a film of its name and length: the real one is not at hand."""
    shutil.copy(file, tmp_path / "testDLC_sleap.slp")
    film = tmp_path / "test2DLC_video_circular_arena.mp4"
    writer = cv2.VideoWriter(str(film), cv2.VideoWriter.fourcc(*"mp4v"), 25, (640, 480))
    for i in range(101):
        writer.write(np.full((480, 640, 3), i, dtype=np.uint8))
    writer.release()
    return tmp_path / "testDLC_sleap.slp"


def as_it_is(source: Path, _tmp_path: Path) -> Path:
    return source


@pytest.mark.parametrize(
    ("name", "map_name", "count", "prepare", "totals"),
    [
        ("alphatracker_train9", "", count_sloth, as_it_is, (600, 1200, 4772)),
        ("animal_pose", "animalpose", count_animal_pose, as_it_is, (4608, 6117, 71265)),
        ("horses_roboflow_v5", "", count_yolo, as_it_is, (474, 476, 5806)),
        ("tiger_pose", "", count_yolo, as_it_is, (263, 263, 3156)),
        ("openfield-Pranav-2018-10-30", "dlc-openfield", count_csv, as_it_is, (116, 116, 464)),
        ("horse10_BrownHorseinShadow", "", count_h5, horse_project, (308, 308, 4642)),
        ("mirror-mouse-example", "", count_csv, as_it_is, (90, 90, 1396)),
        ("dlulab_bottomview", "", count_csv, as_it_is, (39, 39, 458)),
        ("inscopix_bottomview", "", count_csv, as_it_is, (20, 20, 60)),
        (SLP, "deepof", count_slp, slp_project, (101, 101, 1414)),
    ],
)
def test_a_real_folder_converts_with_the_counts_of_plain_code(
    tmp_path,
    name: str,
    map_name: str,
    count: Callable[[Path], Count],
    prepare: Callable[[Path, Path], Path],
    totals: tuple[int, int, int],
):
    folder = need(name)
    images, instances, annotated = count(folder)
    assert (images, instances, annotated.total()) == totals
    options = {"instances": "predicted"} if name == SLP else None
    labels = read_labels(prepare(folder, tmp_path), frames=tmp_path / "frames", options=options)
    assert (len(labels), labels.n_instances) == (images, instances)
    assert _per_keypoint(labels) == annotated
    keypoint_map = load_map(map_name or name)
    written = project(labels, keypoint_map)
    if len(labels) < 1000:  # the copies of Animal-Pose's images take their time
        write_superset(written, tmp_path / "out")
        written = load_superset(tmp_path / "out")
    assert (len(written), written.n_instances) == (images, instances)
    toml = tomllib.loads((Path("superset_vocab/data/maps") / f"{map_name or name}.toml").read_text())
    assert _per_keypoint(written) == Counter({target: annotated[s] for s, target in toml["map"].items()})
    sources = [labels.keypoints.index(name) for name in toml["map"]]
    targets = [written.keypoints.index(name) for name in toml["map"].values()]
    for before, after in zip(labels.records, written.records, strict=True):
        np.testing.assert_allclose(after.keypoints[:, targets], before.keypoints[:, sources], atol=1e-9)


def _per_keypoint(labels: LabelSet) -> Counter:
    """How often each keypoint is annotated."""
    counts = sum(
        ((r.visibility >= Visibility.OCCLUDED).sum(0) for r in labels.records),
        np.zeros(len(labels.keypoints), int),
    )
    return Counter({name: int(n) for name, n in zip(labels.keypoints, counts, strict=True) if n})
