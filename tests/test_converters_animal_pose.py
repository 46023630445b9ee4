"""Animal-Pose's own JSON: the real set, states, boxes, groups of doubled images, broken files."""

from __future__ import annotations

import hashlib
import json
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import pytest
from data import need
from label_sets import write_image

from converters.formats import animal_pose, coco, sloth
from superset_vocab import InputError, Visibility, load_map, project

NAMES = ["nose", "tail", "paw"]
GOOD = {
    "image_id": 1,
    "category_id": 1,
    "bbox": [2.0, 3.0, 22.0, 13.0],
    "keypoints": [[4.0, 5.0, 1], [0.0, 0.0, 0], [6.5, 7.0, 0]],
    "num_keypoints": 20,
}


@pytest.fixture(scope="module")
def real():
    """The real set, read once."""
    return animal_pose.read(need("animal_pose"), dataset="animalpose")


def make(folder: Path, annotations: list[dict], n: int = 2, **other) -> Path:
    """A folder with images 1.jpg ... n.jpg of different content and the annotations."""
    for i in range(1, n + 1):
        write_image(folder / "images" / f"{i}.png", seed=i)
    content = {
        "images": {str(i): f"{i}.png" for i in range(1, n + 1)},
        "annotations": annotations,
        "categories": [{"id": i, "name": f"c{i}", "keypoints": NAMES, "skeleton": []} for i in (1, 2)],
    }
    (folder / "keypoints.json").write_text(json.dumps(content | other))
    return folder


def test_the_real_set_has_the_counts_of_its_json(real):
    content = json.loads((need("animal_pose") / "keypoints.json").read_text())
    sizes = {record.source_image: record.size_wh for record in real.records}
    labelled, instances = Counter(), Counter()
    for annotation in content["annotations"]:
        name = content["images"][str(annotation["image_id"])]
        instances[name] += 1
        width, height = sizes[name]
        for k, (x, y, visible) in enumerate(annotation["keypoints"]):
            if visible and 0 <= x <= width and 0 <= y <= height:
                labelled[k] += 1
    assert [r.source_image for r in real.records] == list(content["images"].values())
    assert {r.source_image: len(r) for r in real.records} == instances
    assert (len(real), real.n_instances, labelled.total()) == (4608, 6117, 71265)
    states = np.concatenate([record.visibility for record in real.records])
    assert (states == Visibility.VISIBLE).sum(0).tolist() == [labelled[k] for k in range(20)]
    assert set(np.unique(states)) == {Visibility.NOT_ANNOTATED, Visibility.VISIBLE}


def test_a_real_instance_is_copied(real):
    record = real.records[0]
    assert record.source_image == "2007_000063.jpg"
    at = real.keypoints.index("left_eye")
    np.testing.assert_array_equal(record.keypoints[0, at], [148.22, 165.89])
    np.testing.assert_allclose(record.bbox_xywh[0], [94.46, 88.32, 291.07 - 94.46, 211.2 - 88.32])


def test_the_real_groups_hold_the_images_with_the_same_bytes(real):
    by_content = defaultdict(set)
    for path in sorted((need("animal_pose") / "images").iterdir()):
        by_content[hashlib.md5(path.read_bytes()).hexdigest()].add(path.name)
    groups = defaultdict(set)
    for record in real.records:
        groups[record.split_group].add(record.source_image)
    assert sorted(map(sorted, groups.values())) == sorted(map(sorted, by_content.values()))
    assert groups["ca67.jpg"] == {"ca67.jpg", "ca74.jpg", "ca77.jpg"}
    assert Counter(map(len, groups.values())) == {1: 4581, 2: 12, 3: 1}


def test_the_real_set_fits_its_map(real):
    projected = project(real, load_map("animalpose"))
    count = sum(int((r.visibility == Visibility.VISIBLE).sum()) for r in projected.records)
    assert count == 71265  # nothing is dropped


def test_detect(tmp_path):
    folder = make(tmp_path / "a", [GOOD])
    assert animal_pose.detect(folder)
    assert animal_pose.detect(folder / "keypoints.json")
    assert not coco.detect(folder / "keypoints.json")
    assert not sloth.detect(folder)
    assert not animal_pose.detect(folder / "images")
    assert not animal_pose.detect(folder / "images/1.png")
    (folder / "keypoints.json").write_text('{"images": [], "annotations": [], "categories": []}')
    assert not animal_pose.detect(folder)
    with pytest.raises(InputError, match="is no Animal-Pose file"):
        animal_pose.read(folder, dataset="a")


def test_states_boxes_and_images_without_animals(tmp_path):
    second = GOOD | {"category_id": 2, "keypoints": [[0, 0, 0]] * 3}
    folder = make(tmp_path, [GOOD, second])
    labels = animal_pose.read(folder, dataset="a")
    assert labels.keypoints == ("nose", "tail", "paw")
    first, empty = labels.records
    assert first.visibility.tolist() == [[2, 0, 0], [0, 0, 0]]
    np.testing.assert_array_equal(first.keypoints[0], [[4, 5], [np.nan] * 2, [np.nan] * 2])
    np.testing.assert_array_equal(first.bbox_xywh, [[2, 3, 20, 10]] * 2)
    assert (len(empty), empty.split_group, empty.image) == (0, "2.png", folder / "images/2.png")


def test_a_keypoint_outside_of_the_image_is_left_out_and_reported(tmp_path, caplog):
    points = [[32.0, 24.0, 1], [33.0, 5.0, 1], [5.0, -1.5, 1]]  # the image is 32 x 24
    (record, _) = animal_pose.read(make(tmp_path, [GOOD | {"keypoints": points}]), dataset="a").records
    assert record.visibility.tolist() == [[2, 0, 0]]
    assert np.isnan(record.keypoints[0, 1:]).all()
    assert "2 keypoints lie outside of their image" in caplog.text
    assert "1.png: tail\n  1.png: paw" in caplog.text


def test_images_with_the_same_bytes_share_a_group(tmp_path):
    folder = make(tmp_path, [GOOD], n=4)
    (folder / "images/2.png").write_bytes((folder / "images/4.png").read_bytes())
    groups = [record.split_group for record in animal_pose.read(folder, dataset="a").records]
    assert groups == ["1.png", "2.png", "3.png", "2.png"]


def test_images_may_lie_beside_the_file(tmp_path):
    folder = make(tmp_path, [GOOD])
    (folder / "images/1.png").rename(folder / "1.png")
    assert animal_pose.read(folder, dataset="a").records[0].image == folder / "1.png"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image_id": 9}, "annotation 1 is of image 9, which is not there"),
        ({"category_id": 9}, "annotation 1 is of category 9, which is not there"),
        ({"keypoints": GOOD["keypoints"][:2]}, r"image 1\.png: .* shape \(2, 3\), not \(3, 3\)"),
        ({"keypoints": [[1, 1, 2]] * 3}, "whose visible is neither 0 nor 1"),
        ({"keypoints": [[float("nan"), 1, 1]] * 3}, "not finite"),
        ({"bbox": [9, 9, 5, 12]}, r"the box \[9, 9, 5, 12\], which is no x1, y1, x2, y2"),
        ({"bbox": [9, 9, 5]}, "which is no x1, y1, x2, y2"),
        ({"bbox": [0, 0, 5, float("inf")]}, "not finite"),
    ],
)
def test_a_bad_annotation(tmp_path, change, message):
    with pytest.raises(InputError, match=message):
        animal_pose.read(make(tmp_path, [GOOD | change]), dataset="a")


def test_a_name_that_no_file_system_takes(tmp_path):
    folder = make(tmp_path, [GOOD])
    document = json.loads((folder / "keypoints.json").read_text())
    document["images"] = dict.fromkeys(list(document["images"])[:1], "a\x00.png")
    document["annotations"] = []
    (folder / "keypoints.json").write_text(json.dumps(document))
    with pytest.raises(InputError, match="is no file name"):
        animal_pose.read(folder, dataset="a")


def test_all_problems_are_listed(tmp_path):
    folder = make(tmp_path, [GOOD, GOOD | {"image_id": 2, "bbox": "x"}, {"image_id": 1}], n=4)
    (folder / "images/3.png").write_bytes(b"")
    (folder / "images/4.png").unlink()
    with pytest.raises(InputError) as error:
        animal_pose.read(folder, dataset="a")
    for part in (
        "keypoints.json: 4 problems",
        "annotation 3 cannot be understood: has no 'category_id'",
        "image 2.png: could not convert string to float: 'x'",
        "3.png: the image is empty",
        "4.png: no such image",
    ):
        assert part in str(error.value)


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"images": {"1": "1.png", "2": "1.png"}}, r"image 1\.png is listed 2 times"),
        ({"images": {"1": "../1.png"}}, "leads out of the dataset's folder"),
        ({"categories": [{"id": 1, "keypoints": ["a"]}, {"id": 2, "keypoints": ["b"]}]}, "2 different lists"),
        ({"categories": [{"id": 1, "keypoints": ["a", "a", "b"]}]}, "keypoint 'a' is listed 2 times"),
        ({"categories": [{"id": 1}]}, r"cannot be understood: has no 'keypoints'"),
    ],
)
def test_a_bad_file(tmp_path, other, message):
    with pytest.raises(InputError, match=message):
        animal_pose.read(make(tmp_path, [GOOD], **other), dataset="a")
