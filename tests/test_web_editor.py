"""The editor's labels: to the page and back, and whatever a page could send."""

from __future__ import annotations

import base64
import copy
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from label_sets import write_image

from app.web.editor import checked_individuals, for_the_page, only_keypoints, picture_labels, to_record
from superset_vocab import InputError, Visibility, load_vocabulary

MOUSE = load_vocabulary("superanimal_topviewmouse")
K = len(MOUSE)
PICTURE: dict[str, Any] = {"size": [40, 30], "names": ["a", "b"], "individuals": [[None, None]]}


def labels_of(*places: dict[int, tuple[float, float]]) -> np.ndarray:
    found = np.full((len(places), K, 2), np.nan)
    for n, points in enumerate(places):
        for k, point in points.items():
            found[n, k] = point
    return found


def test_labels_go_to_the_page_and_come_back(tmp_path: Path) -> None:
    path = write_image(tmp_path / "mouse.png", (40, 30))
    keypoints = labels_of({0: (3.25, 4.5), 5: (10.0, 20.0)}, {}, {26: (39.0, 0.0)})
    confidence = np.full((3, K), 0.6)
    confidence[0, 5] = 0.1
    picture = picture_labels(path, MOUSE, keypoints, confidence)
    assert len(picture["individuals"]) == 2  # nobody without a keypoint
    sent = checked_individuals(copy.deepcopy(picture["individuals"]), picture)
    record = to_record({**picture, "individuals": sent}, "set", "day1", cutoff=0.3)
    want = labels_of({0: (3.25, 4.5)}, {26: (39.0, 0.0)})
    np.testing.assert_array_equal(record.keypoints, want)
    assert (record.visibility[np.isfinite(want).all(-1)] == Visibility.VISIBLE).all()
    assert (record.image, record.size_wh, record.split_group) == (path, (40, 30), "day1")
    np.testing.assert_array_equal(record.bbox_xywh[0], [3.25, 4.5, 1, 1])


def test_the_page_gets_the_picture_and_no_path(tmp_path: Path) -> None:
    path = write_image(tmp_path / "mouse.png", (40, 30))
    shown = for_the_page(picture_labels(path, MOUSE, labels_of()))
    assert str(tmp_path) not in str(shown)
    assert shown["individuals"] == [[None] * K]  # one to begin with
    head, data = shown["image"].split(",")
    assert head == "data:image/jpeg;base64"
    image = cv2.imdecode(np.frombuffer(base64.b64decode(data), np.uint8), cv2.IMREAD_COLOR)
    assert image.shape == (30, 40, 3)


def test_a_large_picture_is_made_smaller_and_its_coordinates_are_not(tmp_path: Path) -> None:
    path = tmp_path / "large.png"
    cv2.imwrite(str(path), np.zeros((100, 3200, 3), np.uint8))
    shown = for_the_page(picture_labels(path, MOUSE, labels_of({0: (3000.0, 50.0)})))
    image = cv2.imdecode(np.frombuffer(base64.b64decode(shown["image"].split(",")[1]), np.uint8), 1)
    assert image.shape == (50, 1600, 3)
    assert shown["size"] == [3200, 100]
    assert shown["individuals"][0][0][:2] == [3000.0, 50.0]


def test_some_of_the_keypoints_keep_their_names_and_bones(tmp_path: Path) -> None:
    picture = picture_labels(write_image(tmp_path / "a.png"), MOUSE, labels_of({0: (1, 2), 26: (3, 4)}))
    some = only_keypoints(picture, ("left_ear", "nose"))
    assert some["names"] == ["nose", "left_ear"]
    assert some["individuals"] == [[[1, 2, 1], None]]
    assert some["colours"] == [picture["colours"][0], picture["colours"][1]]
    bones = {frozenset((some["names"][a], some["names"][b])) for a, b in some["bones"]}
    assert bones == {frozenset(bone) for bone in MOUSE.skeleton if set(bone) <= {"nose", "left_ear"}}
    tail, nose = picture["individuals"][0][26], picture["individuals"][0][0]
    two = {**picture, "individuals": [[None] * 26 + [tail], [nose] + [None] * 26]}
    assert only_keypoints(two, ("nose",))["individuals"] == [[nose]]  # no animal without a keypoint
    assert only_keypoints(two, ("left_hip",))["individuals"] == [[None]]  # but one, to be labelled


@pytest.mark.parametrize(
    "sent",
    [
        None,
        "individuals",
        {},
        [],
        [[None]],
        [[None, None, None]],
        [[[1, 2], None]],
        [[[1, 2, 3, 4], None]],
        [[["1", 2, 1], None]],
        [[[True, 2, 1], None]],
        [[[float("nan"), 2, 1], None]],
        [[[1, float("inf"), 1], None]],
        [[[40, 2, 1], None]],
        [[[-0.6, 2, 1], None]],
        [[[1, 29.6, 1], None]],
        [[[1, 2, float("nan")], None]],
        [[None, None]] * 101,
    ],
)
def test_what_does_not_fit_the_picture_is_refused(sent: object) -> None:
    with pytest.raises(InputError, match="labels that do not fit the picture; reload the page"):
        checked_individuals(sent, PICTURE)


@given(st.recursive(st.none() | st.booleans() | st.floats() | st.text(max_size=3), st.lists, max_leaves=20))
def test_whatever_is_sent_is_labels_or_refused(sent: object) -> None:
    try:
        rows = checked_individuals(sent, PICTURE)
    except InputError:
        return
    for row in rows:
        assert len(row) == 2
        for point in filter(None, row):
            assert -0.5 <= point[0] <= 39.5
            assert -0.5 <= point[1] <= 29.5
            assert 0 <= point[2] <= 1


def test_a_confidence_out_of_range_is_cut() -> None:
    assert checked_individuals([[[1, 2, 7], [3, 4, -1]]], PICTURE) == [[[1, 2, 1], [3, 4, 0]]]
