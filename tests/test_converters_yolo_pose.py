"""YOLO-pose folders: the real sets, pixels, states, split groups, broken folders."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from data import need
from hypothesis import given
from hypothesis import strategies as st
from label_sets import write_image

from converters.formats import yolo_pose
from superset_vocab import InputError, LabelSet, Visibility, load_map

LINE = "0 0.5 0.5 0.25 0.5  0.25 0.5 2  0.1 0.1 0  1 1 1"  # in an image of 32 x 24
YAML = "kpt_shape: [3, 3]\nnames: ['horse']\n"


def make(folder: Path, labels: Mapping[str, str | None], config: str | None = YAML) -> Path:
    """A folder with images such as "train/a.png" and their label files (None: without one)."""
    for seed, (name, text) in enumerate(labels.items()):
        image = folder / Path(name).parent / "images" / Path(name).name
        write_image(image, seed=seed)
        (folder / Path(name).parent / "labels").mkdir(exist_ok=True)
        if text is not None:
            (folder / Path(name).parent / "labels" / f"{image.stem}.txt").write_text(text)
    if config is not None:
        (folder / "data.yaml").write_text(config)
    return folder


def counted(folder: Path, numbers: int) -> tuple[int, int, Counter]:
    """Images, animals and keypoints by flag (2 for one without), counted in the text of a real folder."""
    flags, animals = Counter(), 0
    for file in folder.glob("*/labels/*.txt"):
        for line in file.read_text().splitlines():
            words = line.split()[5:]
            animals += 1
            flags.update(int(word) for word in words[2::3]) if numbers == 3 else flags.update(
                {2: sum(pair != ("0", "0") for pair in zip(words[::2], words[1::2], strict=True))}
            )
    return len(list(folder.glob("*/images/*.jpg"))), animals, flags


def states(labels: LabelSet) -> Counter:
    """Keypoints by state."""
    return Counter(np.concatenate([record.visibility for record in labels.records]).ravel().tolist())


def test_the_real_horses():
    folder = need("horses_roboflow_v5")
    labels = yolo_pose.read(folder, dataset="h")
    images, animals, flags = counted(folder, 3)
    assert (len(labels), labels.n_instances, states(labels)) == (images, animals, flags)
    assert (images, animals, flags) == (474, 476, {0: 1810, 1: 594, 2: 5212})
    load_map("horses_roboflow_v5").check(labels.keypoints)
    groups = Counter(record.split_group for record in labels.records)
    sources = Counter(re.split(r"_jpg\.rf\.", path.name)[0] for path in folder.glob("*/images/*"))
    assert sorted(groups.values()) == sorted(sources.values())
    assert groups["Free-Brown-Horse-Stock-Photo"] == 3
    assert len(groups) == 466
    parts = Counter(record.source_image.split("/")[0] for record in labels.records)
    assert parts == {"train": 333, "valid": 93, "test": 48}


def test_the_real_tiger():
    folder = need("tiger_pose")
    labels = yolo_pose.read(folder, dataset="t")
    images, animals, flags = counted(folder, 2)
    assert (len(labels), labels.n_instances, states(labels)) == (images, animals, flags)
    assert (images, animals, flags) == (263, 263, {2: 12 * 263})
    assert {record.split_group for record in labels.records} == {"Frame"}
    load_map("tiger_pose").check(labels.keypoints)
    record = next(r for r in labels.records if r.source_image == "train/images/Frame_87.jpg")
    assert record.size_wh == (384, 216)
    nose = np.array([0.7546875 * 384, 0.5291666666666667 * 216]) - 0.5  # the 6th and 7th word of the line
    np.testing.assert_allclose(record.keypoints[0, labels.keypoints.index("nose")], nose)


@pytest.mark.parametrize("name", ["horses_roboflow_v5", "tiger_pose"])
def test_the_real_boxes_hold_their_keypoints(name):
    """A tenth of a pixel for rounding; a mistake of scale or of half a box would be far more."""
    held, every = 0, 0
    for record in yolo_pose.read(need(name), dataset="x").records:
        for xy, (x, y, w, h) in zip(record.keypoints, record.bbox_xywh, strict=True):
            xy = xy[np.isfinite(xy).all(1)]
            held += int(
                ((xy >= np.array([x, y]) - 0.1) & (xy <= np.array([x + w, y + h]) + 0.1)).all(1).sum()
            )
            every += len(xy)
    assert held > 0.97 * every


def test_fractions_become_pixels(tmp_path):
    labels = yolo_pose.read(make(tmp_path, {"train/a.png": LINE + "\n\n"}), dataset="y")
    (record,) = labels.records
    assert labels.keypoints == ("keypoint_0", "keypoint_1", "keypoint_2")
    assert record.visibility.tolist() == [[2, 0, 1]]
    np.testing.assert_array_equal(record.keypoints, [[[7.5, 11.5], [np.nan, np.nan], [31.5, 23.5]]])
    np.testing.assert_array_equal(record.bbox_xywh, [[11.5, 5.5, 8, 12]])
    assert (record.source_image, record.split_group) == ("train/images/a.png", "a")


def test_without_flags_only_the_origin_is_not_annotated(tmp_path):
    folder = make(
        tmp_path, {"val/a.png": "0 .5 .5 .5 .5 0 0 0 .5 .5 0"}, "kpt_shape: [3, 2]\nnames: {0: cat}"
    )
    (record,) = yolo_pose.read(folder, dataset="y").records
    assert record.visibility.tolist() == [[0, 2, 2]]
    np.testing.assert_array_equal(record.keypoints, [[[np.nan, np.nan], [-0.5, 11.5], [15.5, -0.5]]])


@given(
    st.lists(
        st.tuples(st.integers(0, 31), st.integers(0, 23), st.sampled_from([0, 1, 2])), min_size=3, max_size=3
    )
)
def test_pixels_survive_the_way_through_a_file(tmp_path_factory, points):
    folder = tmp_path_factory.mktemp("y")
    text = " ".join(f"{(x + 0.5) / 32!r} {(y + 0.5) / 24!r} {v}" for x, y, v in points)
    (record,) = yolo_pose.read(make(folder, {"test/a.png": f"0 .5 .5 1 1 {text}"}), dataset="y").records
    assert record.visibility.tolist() == [[v for *_, v in points]]
    want = [[x, y] if v else [np.nan, np.nan] for x, y, v in points]
    np.testing.assert_allclose(record.keypoints[0], want, atol=1e-9)
    np.testing.assert_array_equal(record.bbox_xywh, [[-0.5, -0.5, 32, 24]])


def test_images_without_animals_stay(tmp_path):
    folder = make(tmp_path, {"train/a.png": LINE, "train/b.png": None, "valid/c.png": "\n"})
    labels = yolo_pose.read(folder / "data.yaml", dataset="y")
    assert [len(record) for record in labels.records] == [1, 0, 0]
    assert labels.records[1].visibility.shape == (0, 3)


def test_the_other_order_of_folders_with_subfolders(tmp_path):
    write_image(tmp_path / "images/train/s/a.png")
    (tmp_path / "labels/train/s").mkdir(parents=True)
    (tmp_path / "labels/train/s/a.txt").write_text(LINE + "\n" + LINE)
    (tmp_path / "labels/train/classes.txt").write_text("horse\n")
    (tmp_path / "data.yaml").write_text(YAML)
    assert yolo_pose.detect(tmp_path)
    (record,) = yolo_pose.read(tmp_path, dataset="y").records
    assert (len(record), record.source_image) == (2, "images/train/s/a.png")


@pytest.mark.parametrize(
    ("name", "group"),
    [
        ("train/images/horse-28-_jpg.rf.97b8484ac23d788ba5b40ab260767c30.jpg", "horse-28-"),
        ("valid/images/horse-28-_jpg.rf.00b8484ac23d788ba5b40ab260767c31.jpg", "horse-28-"),
        ("horse-28-_JPG_jpg.rf.00b8.jpg", "horse-28-"),
        ("my.cat_png.rf.0a.jpg", "my.cat"),
        ("horse-29-.jpg", "horse-29-"),
        ("img_0012.jpg", "img_0012"),
        ("train/images/Frame_87.jpg", "Frame"),
        ("day2-frame 0012_jpg.rf.0a.jpg", "day2-frame"),
        ("cage_mp4-117_jpg.rf.0a.jpg", "cage"),
        ("A-black-horse.rf.jpg", "A-black-horse.rf"),
    ],
)
def test_split_group(name, group):
    assert yolo_pose.split_group(name) == group


def test_where_the_names_come_from(tmp_path):
    folder = make(tmp_path, {"train/a.png": LINE})
    (folder / "keypoint_names_inferred.json").write_text(json.dumps({"inferred_keypoint_names": list("abc")}))
    assert yolo_pose.read(folder, dataset="y").keypoints == ("a", "b", "c")
    for found in ("[x, y, z]", "{0: [x, y, z], 1: [x, y, z]}"):
        (folder / "data.yaml").write_text(YAML + f"kpt_names: {found}\n")
        assert yolo_pose.read(folder, dataset="y").keypoints == ("x", "y", "z")


def test_without_data_yaml_the_lines_tell_the_shape(tmp_path):
    folder = make(tmp_path, {"train/a.png": LINE}, config=None)
    assert not yolo_pose.detect(folder)
    with pytest.raises(InputError, match=r"has no data\.yaml, which says how many keypoints"):
        yolo_pose.read(folder, dataset="y")
    (folder / "keypoint_names_inferred.json").write_text(json.dumps({"inferred_keypoint_names": list("abc")}))
    assert yolo_pose.detect(folder)
    assert yolo_pose.read(folder, dataset="y").records[0].visibility.tolist() == [[2, 0, 1]]
    (folder / "train/labels/a.txt").write_text("0 .5 .5 .5 .5 0 0 0 .5 .5 0")
    assert yolo_pose.read(folder, dataset="y").records[0].visibility.tolist() == [[0, 2, 2]]


def test_detect(tmp_path):
    folder = make(tmp_path / "y", {"train/a.png": LINE})
    assert yolo_pose.detect(folder)
    assert yolo_pose.detect(folder / "data.yaml")
    assert not yolo_pose.detect(folder / "train")
    assert not yolo_pose.detect(folder / "train/images/a.png")
    for other in ("names: [horse]", "[kpt_shape]", "a: ["):  # detection, no YAML mapping, no YAML
        (folder / "data.yaml").write_text(other)
        assert not yolo_pose.detect(folder)


def test_what_rounding_puts_outside_of_the_image_is_on_its_edge(tmp_path):
    line = LINE.replace("0.25 0.5 2", "1.0000001 -0.00000012 2")
    (record,) = yolo_pose.read(make(tmp_path, {"train/a.png": line}), dataset="y").records
    np.testing.assert_allclose(record.keypoints[0, 0], [31.5, -0.5], atol=1e-4)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("0 .5 .5 .5 .5 0 0 0", r"has 8 columns, not 14 \(class, box, 3 keypoints of 3 numbers\)"),
        (LINE.replace("0.25 0.5 2", "1.25 0.5 2"), "1.25 is not between 0 and 1"),
        (LINE.replace("0.25 0.5 2", "0.25 -0.5 2"), "-0.5 is not between 0 and 1"),
        (LINE.replace("0.25 0.5 2", "nan 0.5 2"), "nan is not between 0 and 1"),
        (LINE.replace("0 0.5 0.5", "0 0.5 50"), "50 is not between 0 and 1"),
        (LINE.replace("0.25 0.5 2", "0.25 0.5 3"), "flag is not 0, 1 or 2"),
        (LINE.replace("0.25 0.5 2", "0.25 x 2"), "could not convert string to float: 'x'"),
        ("1" + LINE[1:], "its class is 1, but data.yaml names only 1"),
        ("-1" + LINE[1:], "its class is -1, not a whole number from 0"),
    ],
)
def test_a_bad_line_is_named(tmp_path, line, message):
    folder = make(tmp_path, {"train/a.png": f"{LINE}\n\n{line}\n"})
    with pytest.raises(InputError, match=r"train/labels/a\.txt, line 3: .*" + message):
        yolo_pose.read(folder, dataset="y")


def test_a_keypoint_that_is_not_annotated_may_be_anywhere(tmp_path):
    folder = make(tmp_path, {"train/a.png": LINE.replace("0.1 0.1 0", "-7 1.2 0")})
    (record,) = yolo_pose.read(folder, dataset="y").records
    assert record.visibility[0, 1] == Visibility.NOT_ANNOTATED


def test_all_problems_are_listed(tmp_path):
    labels = {f"train/{name}.png": LINE for name in "abcd"} | {"valid/a.png": "0 1\n0 2"}
    folder = make(tmp_path, labels)
    (folder / "train/images/b.png").unlink()
    (folder / "train/images/c.png").write_bytes(b"text")
    write_image(folder / "train/images/d.jpg")
    with pytest.raises(InputError) as error:
        yolo_pose.read(folder, dataset="y")
    for part in (
        "5 problems",
        "train/labels/b.txt: has no image in",
        "c.png: is not an image",
        "2 images are called d",
        "valid/labels/a.txt, line 1: has 2 columns",
        "valid/labels/a.txt, line 2: has 2 columns",
    ):
        assert part in str(error.value)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ("names: [a]", r"its kpt_shape is None, not \[K, 2\]"),
        ("kpt_shape: [3, 4]", r"its kpt_shape is \[3, 4\]"),
        ("kpt_shape: [3, 3]\nkpt_names: [a, b]", "says 3 keypoints, but 2 have names"),
        ("kpt_shape: [3, 3]\nkpt_names: [a, b, a]", "the keypoints a are listed more than once"),
        ("kpt_shape: [3, 3]\nkpt_names: {0: [a, b, c], 1: [a, b, d]}", "different kpt_names"),
        ("kpt_shape: [3, 3]\nkpt_names: abc", "not a list of names"),
        ("kpt_shape: [3", "is not YAML"),
        ("text", "is not a YOLO configuration"),
    ],
)
def test_a_bad_configuration(tmp_path, config, message):
    with pytest.raises(InputError, match=message):
        yolo_pose.read(make(tmp_path, {"train/a.png": LINE}, config), dataset="y")


def test_a_folder_without_parts(tmp_path):
    (tmp_path / "data.yaml").write_text(YAML)
    assert not yolo_pose.detect(tmp_path)
    with pytest.raises(InputError, match="none of the folders train, valid, val, test"):
        yolo_pose.read(tmp_path, dataset="y")
    with pytest.raises(InputError, match="is no YOLO-pose folder"):
        yolo_pose.read(tmp_path / "nothing", dataset="y")
