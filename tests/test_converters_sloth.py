"""AlphaTracker's sloth JSON: the real set, coordinates, incomplete animals, broken files."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from data import need
from label_sets import write_image

from converters import read_labels
from converters.formats import sloth
from superset_vocab import InputError, Visibility

POINTS = [(4.0, 5.0), (6.0, 5.5), (4.0, 7.0), (20.0, 12.0)]


def face(x: float, y: float, w: float, h: float) -> dict:
    """A box."""
    return {"class": "Face", "x": x, "y": y, "width": w, "height": h}


def points(*xy: tuple[float, float]) -> list[dict]:
    """Points."""
    return [{"class": "point", "x": x, "y": y} for x, y in xy]


def make_file(folder: Path, *entries: tuple[str, list[dict]], images: bool = True) -> Path:
    """A sloth file with its images in images/."""
    folder.mkdir(exist_ok=True)
    for i, (name, _) in enumerate(entries):
        if images:
            write_image(folder / "images" / name, seed=i)
    content = [{"class": "image", "filename": name, "annotations": found} for name, found in entries]
    (folder / "labels.json").write_text(json.dumps(content))
    return folder / "labels.json"


def test_the_real_set():
    labels = read_labels(need("alphatracker_train9"), dataset="a")
    assert (len(labels), labels.keypoints) == (600, ("snout", "left_ear", "right_ear", "tail_base"))
    complete = sum(int((r.visibility == Visibility.VISIBLE).all(1).sum()) for r in labels.records)
    boxes_only = sum(int((r.visibility == Visibility.NOT_ANNOTATED).all(1).sum()) for r in labels.records)
    assert (complete, boxes_only, labels.n_instances) == (1193, 7, 1200)
    days = Counter(r.split_group for r in labels.records)
    assert days == {"2019-10-25": 150, "2019-11-04": 150, "2019-11-07": 300}
    assert {r.size_wh for r in labels.records} == {(640, 360)}
    assert all(np.isfinite(r.bbox_xywh).all() for r in labels.records)


def test_the_real_ears_are_on_their_sides():
    """Seen from above, with y down, the left ear has a negative cross product with tail -> snout."""
    sides = []
    for record in read_labels(need("alphatracker_train9"), dataset="a").records:
        for xy in record.keypoints[(record.visibility == Visibility.VISIBLE).all(1)]:
            (dx, dy), ears = xy[0] - xy[3], xy[1:3] - xy[3]
            left, right = dx * ears[:, 1] - dy * ears[:, 0]
            sides.append(1 if left < 0 < right else -1 if right < 0 < left else 0)
    assert Counter(sides)[1] > 900
    assert Counter(sides)[-1] < 10


def test_points_and_boxes_move_from_the_corner_to_the_centre(tmp_path):
    file = make_file(tmp_path / "s", ("a.png", [face(3, 4, 20, 10), *points(*POINTS)]))
    (record,) = sloth.read(file, dataset="s").records
    np.testing.assert_array_equal(record.keypoints[0], np.array(POINTS) - 0.5)
    np.testing.assert_array_equal(record.bbox_xywh, [[2.5, 3.5, 20, 10]])
    assert record.visibility.tolist() == [[2, 2, 2, 2]]
    assert (record.source_image, record.split_group) == ("a.png", "s")


def test_an_incomplete_animal_keeps_its_box_and_is_reported(tmp_path, caplog):
    file = make_file(
        tmp_path / "s",
        ("a.png", [face(3, 4, 20, 10), *points(*POINTS), face(8, 8, 9, 9), *points(*POINTS, (1, 1))]),
        ("b.png", [face(3, 4, 20, 10), *points(*POINTS[:3]), face(1, 1, 3, 4)]),
        ("c.png", []),
    )
    labels = sloth.read(file, dataset="s")
    assert [r.visibility.tolist() for r in labels.records] == [[[2] * 4, [0] * 4], [[0] * 4], []]
    np.testing.assert_array_equal(labels.records[0].bbox_xywh[1], [7.5, 7.5, 9, 9])
    for part in (
        "3 animals are not labelled completely",
        "a.png: an animal with 5 points, not 4; kept with its box only",
        "b.png: an animal with 3 points",
        "b.png: a box of 3x4 px without points, left out",
    ):
        assert part in caplog.text


@pytest.mark.parametrize(
    ("name", "day"),
    [
        ("2019-11-07femaframe750.jpg", "2019-11-07"),
        ("x/2019-11-07maleframe2.jpg", "2019-11-07"),
        ("f1.jpg", "all"),
    ],
)
def test_recording_day(name, day):
    assert sloth.recording_day(name, otherwise="all") == day


def test_all_problems_are_listed(tmp_path):
    good = [face(3, 4, 20, 10), *points(*POINTS)]
    file = make_file(
        tmp_path / "s", ("a.png", good), ("b.png", good), ("c.png", points((1, 1))), ("a.png", good)
    )
    (tmp_path / "s/images/b.png").write_bytes(b"")
    content = [*json.loads(file.read_text()), {"filename": "d.png"}, {"filename": "e.png", "annotations": []}]
    content[0]["annotations"][0]["x"] = float("nan")
    file.write_text(json.dumps(content))
    with pytest.raises(InputError) as error:
        sloth.read(file, dataset="s")
    for part in (
        "labels.json: 5 problems",
        "entry 1 cannot be understood: a coordinate is not finite",
        "entry 3 cannot be understood: a 'point' where a Face",
        "entry 5 cannot be understood: has no 'annotations'",
        "e.png: no such image",
        "b.png: the image is empty",
    ):
        assert part in str(error.value)


def test_an_image_listed_twice(tmp_path):
    good = [face(3, 4, 20, 10), *points(*POINTS)]
    with pytest.raises(InputError, match=r"a\.png has 2 entries"):
        sloth.read(make_file(tmp_path / "s", ("a.png", good), ("a.png", good)), dataset="s")


def test_a_folder_with_two_files_asks_for_one(tmp_path):
    file = make_file(tmp_path / "s", ("a.png", []))
    (tmp_path / "s/other.json").write_text(file.read_text())
    assert not sloth.detect(tmp_path / "s")
    with pytest.raises(InputError, match=r"has 2 \.json files"):
        read_labels(tmp_path / "s", format="sloth")


def test_a_file_without_a_labelled_animal(tmp_path):
    with pytest.raises(InputError, match="none of its 1 images"):
        read_labels(make_file(tmp_path / "s", ("a.png", [])))
