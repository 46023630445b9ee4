"""Pictures without labels: records that nobody has looked at yet."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest
from data import need
from label_sets import make_video, write_image

from converters import convert, detect_format, load_superset, read_labels
from converters.formats.frames import count_frames, extract_frames
from superset_vocab import InputError

MOUSE = {"vocabulary": "superanimal_topviewmouse"}


def test_a_video_becomes_evenly_spread_frames(tmp_path):
    video = make_video(tmp_path / "v.mp4")
    assert detect_format(video).name == "frames"
    labels = read_labels(video, frames=tmp_path / "frames", options={**MOUSE, "count": "4"})
    assert [r.source_id for r in labels.records] == [0, 4, 7, 11]
    assert (labels.vocabulary, labels.n_instances) == ("superanimal_topviewmouse", 0)
    assert {(r.split_group, r.size_wh) for r in labels.records} == {("v", (64, 48))}
    for record in labels.records:
        assert abs(cv2.imread(str(record.image)).mean() - 20 * record.source_id) < 4
    assert len(read_labels(video, frames=tmp_path / "all", options=MOUSE)) == 12


def test_frames_of_a_real_video_are_exact(tmp_path):
    video = need("horse10_BrownHorseinShadow") / "BrownHorseinShadow.mp4"
    assert count_frames(video) == 308
    found = extract_frames(video, [307, 100], tmp_path)
    capture, frames = cv2.VideoCapture(str(video)), []
    while (read := capture.read())[0]:
        frames.append(read[1])
    for index, path in found.items():
        np.testing.assert_array_equal(cv2.imread(str(path)), frames[index])


def test_a_folder_of_images(tmp_path):
    for i in range(3):
        write_image(tmp_path / "day1" / f"{i}.png", seed=i)
    labels = read_labels(tmp_path / "day1", options=MOUSE)
    assert [r.source_image for r in labels.records] == ["day1/0.png", "day1/1.png", "day1/2.png"]
    assert [r.image for r in labels.records] == sorted((tmp_path / "day1").iterdir())
    some = read_labels(tmp_path / "day1", options={**MOUSE, "count": 2})
    assert [r.image.name for r in some.records] == ["0.png", "2.png"]


def test_they_convert_without_a_map(tmp_path):
    video = make_video(tmp_path / "v.mp4")
    convert(video, None, tmp_path / "out", options={**MOUSE, "count": "2"})
    back = load_superset(tmp_path / "out")
    assert [len(r) for r in back.records] == [0, 0]
    assert [r.source_id for r in back.records] == [0, 11]
    assert back.operations[0]["options"] == {**MOUSE, "count": "2"}
    assert json.loads((tmp_path / "out/annotations.json").read_text())["annotations"] == []
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out", "v.mp4"]


def test_what_is_refused(tmp_path):
    video = make_video(tmp_path / "v.mp4")
    with pytest.raises(InputError, match=r"v\.mp4: are pictures without labels; .* vocabulary"):
        read_labels(video, frames=tmp_path)
    with pytest.raises(InputError, match="count is 0, want 1 or more"):
        read_labels(video, frames=tmp_path, options={**MOUSE, "count": 0})
    with pytest.raises(InputError, match="format frames: option count cannot be 'ten'"):
        read_labels(video, frames=tmp_path, options={**MOUSE, "count": "ten"})
    with pytest.raises(InputError, match=r"say where its frames may be written"):
        read_labels(video, options=MOUSE)
    (tmp_path / "b.mp4").write_text("no video")
    with pytest.raises(InputError, match=r"b\.mp4: is not a video that OpenCV can decode"):
        read_labels(tmp_path / "b.mp4", frames=tmp_path, options=MOUSE)
    with pytest.raises(InputError, match=r"v\.mp4: has no frame 12 and 1 more that are labelled"):
        extract_frames(video, [3, 12, 40], tmp_path / "x")


def test_two_videos_of_one_name_do_not_mix(tmp_path):
    first = extract_frames(make_video(tmp_path / "a" / "v.mp4"), [1], tmp_path / "f")
    second = extract_frames(make_video(tmp_path / "b" / "v.mp4"), [1], tmp_path / "f")
    assert first[1] != second[1]
    assert first[1].is_file()
    assert second[1].is_file()
