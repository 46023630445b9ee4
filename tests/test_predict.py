"""From frames to predictions, with a model that finds bright squares exactly."""

from __future__ import annotations

import json
import re
import tracemalloc
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest
from fakes import SIDE, SquareDetector, fake_model, moving_square, square_frame, write_video

from superset_vocab import InputError
from zoo import Tracking
from zoo.given_boxes import CocoBoxes


def test_video_gives_every_frame_the_pose_that_is_there(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", moving_square(45))
    predictions = fake_model().predict(path, batch_size=7)
    assert predictions.keypoints.shape == (45, 1, 27, 2)
    assert predictions.frame_index.tolist() == list(range(45))
    assert predictions.fps == Fraction(25)
    assert predictions.individuals == ("animal0",)
    assert (predictions.size_wh == (128, 96)).all()
    assert predictions.images == ()
    truth = np.stack([2 * np.arange(45), np.full(45, 40)], -1)
    assert np.abs(predictions.keypoints[:, 0, 0] - truth).max() <= 1.5
    assert np.abs(predictions.bbox_xywh[:, 0, 2:] - SIDE).max() <= 3
    assert (predictions.confidence == np.float32(0.9)).all()


def test_clip_and_batch_size_do_not_change_the_result() -> None:
    clip = np.stack(moving_square(20))
    whole, single = (fake_model().predict(clip, batch_size=size) for size in (16, 1))
    np.testing.assert_array_equal(whole.keypoints, single.keypoints)
    np.testing.assert_array_equal(whole.keypoints[:, 0, 0], [(2 * t, 40) for t in range(20)])


def test_frames_without_an_animal_stay_as_nan() -> None:
    frames = moving_square(12)
    frames[3] = frames[4] = square_frame()
    predictions = fake_model().predict(np.stack(frames))
    assert len(predictions) == 12
    absent = np.isnan(predictions.keypoints).all((1, 2, 3))
    assert np.flatnonzero(absent).tolist() == [3, 4]
    assert np.isnan(predictions.confidence[3]).all()
    assert np.isnan(predictions.bbox_xywh[3]).all()
    nothing = fake_model().predict(np.stack([square_frame()] * 3))
    assert nothing.keypoints.shape == (3, 1, 27, 2)
    assert np.isnan(nothing.keypoints).all()


def test_several_animals_keep_their_places() -> None:
    clip = np.stack([square_frame((2 * t, 10), (100 - 2 * t, 60)) for t in range(40)])
    predictions = fake_model().predict(clip)
    corners = predictions.keypoints[:, :, 0]
    top = int(corners[0, 1, 1] < corners[0, 0, 1])
    np.testing.assert_array_equal(corners[:, top], [(2 * t, 10) for t in range(40)])
    np.testing.assert_array_equal(corners[:, 1 - top], [(100 - 2 * t, 60) for t in range(40)])


def test_max_individuals_and_threshold_act() -> None:
    frame = square_frame((10, 10), (60, 60))
    frame[60 : 60 + SIDE, 60 : 60 + SIDE] = 180
    model = fake_model()
    assert model.predict(frame).n_individuals == 2
    assert model.predict(frame, bbox_threshold=0.8).n_individuals == 1
    three = model.predict(frame, max_individuals=3)
    np.testing.assert_array_equal(three.keypoints[0, :, 0], [(10, 10), (60, 60), (np.nan, np.nan)])
    one = model.predict(frame, max_individuals=1)
    np.testing.assert_array_equal(one.keypoints[0, :, 0], [(10, 10)])


def test_images_of_several_sizes(tmp_path: Path) -> None:
    for name, corner, size in (("b2.png", (5, 6), (64, 48)), ("b10.png", (50, 20), (128, 96))):
        cv2.imwrite(str(tmp_path / name), square_frame(corner, size_wh=size))
    predictions = fake_model().predict(tmp_path)
    assert predictions.images == ("b2.png", "b10.png")
    assert predictions.fps is None
    assert predictions.size_wh.tolist() == [[64, 48], [128, 96]]
    np.testing.assert_array_equal(predictions.keypoints[:, 0, 0], [(5, 6), (50, 20)])
    listed = fake_model().predict([tmp_path / "b10.png", tmp_path / "b2.png"])
    np.testing.assert_array_equal(listed.keypoints[:, 0, 0], [(50, 20), (5, 6)])


def test_given_boxes_replace_detection_and_tracking() -> None:
    clip = np.stack([square_frame()] * 3)
    nan = np.full(4, np.nan)
    boxes = [np.array([[1, 2, 27, 27], nan]), np.array([nan, [5, 6, 27, 27]]), np.empty((0, 4))]
    model = fake_model()
    predictions = model.predict(clip, bboxes_xywh=boxes, batch_size=2)
    assert isinstance(model.detector, SquareDetector)
    assert model.detector.calls == []
    np.testing.assert_array_equal(predictions.keypoints[0, 0, 3], (4, 5))
    assert np.isnan(predictions.keypoints[0, 1]).all()
    assert np.isnan(predictions.keypoints[2]).all()
    np.testing.assert_array_equal(predictions.keypoints[1, 1, 0], (5, 6))
    assert [done["name"] for done in predictions.provenance["operations"]] == ["detect", "pose"]


@pytest.mark.parametrize(
    ("boxes", "words"),
    [
        ([np.ones((1, 4))] * 2, "2 frames, the input has more"),
        ([np.ones((1, 4))] * 4, "4 frames, the input has 3"),
        ([np.ones((1, 3))] * 3, r"frame 0 have shape \(1, 3\)"),
        ([np.array([[1, 1, 0, 5]])] * 3, "must be positive"),
    ],
)
def test_wrong_boxes(boxes: list[np.ndarray], words: str) -> None:
    with pytest.raises(InputError, match=words):
        fake_model().predict(np.stack([square_frame()] * 3), bboxes_xywh=boxes)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"batch_size": 0}, "batch_size is 0"),
        ({"max_individuals": 0}, "max_individuals is 0"),
        ({"bbox_threshold": 1.5}, "bbox_threshold is 1.5"),
        ({"tracking": Tracking()}, "tracking is for videos"),
        ({"detect_every": 2}, "detect_every is for videos"),
        ({"detect_every": 0}, "detect_every is 0, want 'auto'"),
        ({"detect_every": "often"}, "detect_every is 'often'"),
        ({"flip_test": True}, "context and flip_test are for top-down models"),
        ({"bboxes_xywh": [np.ones((1, 4))], "detect_every": 2}, "detect_every has no effect where"),
        ({"bboxes_xywh": [np.ones((1, 4))], "max_individuals": 2}, "max_individuals has no effect"),
    ],
)
def test_options_without_meaning_are_refused(options: dict, words: str) -> None:
    with pytest.raises(InputError, match=words):
        fake_model().predict(square_frame(), **options)


def test_truncated_video(tmp_path: Path) -> None:
    content = write_video(tmp_path / "whole.avi", moving_square(100), codec="MJPG").read_bytes()
    cut = tmp_path / "cut.avi"
    cut.write_bytes(content[: len(content) // 2])
    with pytest.raises(InputError, match=r"cut\.avi: the video is truncated: \d\d frames decode of 100"):
        fake_model().predict(cut)
    predictions = fake_model().predict(cut, allow_truncated=True)
    noted = predictions.provenance["operations"][0]
    assert noted == {
        "name": "allow_truncated",
        "n_frames": len(predictions),
        "n_missing": 100 - len(predictions),
    }


def test_given_boxes_beyond_a_truncated_end_are_no_mistake(tmp_path: Path) -> None:
    content = write_video(tmp_path / "whole.avi", moving_square(100), codec="MJPG").read_bytes()
    cut = tmp_path / "cut.avi"
    cut.write_bytes(content[: len(content) // 2])
    boxes = [np.array([[4.0, 4, 20, 20]])] * 100
    predictions = fake_model().predict(cut, bboxes_xywh=boxes, allow_truncated=True)
    assert 30 < len(predictions) < 70
    assert np.isfinite(predictions.keypoints).all()
    with pytest.raises(InputError, match="bboxes_xywh is for 100 frames, the input has 5"):
        fake_model().predict(np.stack(moving_square(5)), bboxes_xywh=boxes, allow_truncated=True)


def test_a_gap_in_the_middle_of_a_video_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Less than 1 % is no truncation, but every later row is that many frames early."""
    content = bytearray(write_video(tmp_path / "whole.avi", moving_square(600), codec="MJPG").read_bytes())
    chunks = [m.start() for m in re.finditer(b"00dc\xff|00dc..\x00\x00\xff\xd8", bytes(content), re.DOTALL)]
    start, end = chunks[300], chunks[304]
    content[start:end] = bytes(end - start)
    (tmp_path / "gap.avi").write_bytes(content)
    with caplog.at_level("WARNING"):
        predictions = fake_model().predict(tmp_path / "gap.avi")
    assert len(predictions) == 596
    assert {"name": "missing_frames", "n_frames": 596, "n_missing": 4} in predictions.provenance["operations"]
    assert "gap.avi: 4 of the 600 frames that it promises do not decode" in caplog.text
    caplog.clear()
    whole = fake_model().predict(tmp_path / "whole.avi")
    assert not caplog.text
    assert "missing_frames" not in {done["name"] for done in whole.provenance["operations"]}


def test_a_damaged_image_stops_the_run(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), square_frame((5, 5)))
    (tmp_path / "b.png").write_bytes(b"")
    with pytest.raises(InputError, match=r"b\.png: the image is empty"):
        fake_model().predict(tmp_path)


def test_provenance_says_what_was_done(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", moving_square(5))
    about = fake_model().predict(path).provenance
    json.dumps(about, allow_nan=False)
    assert (about["model"], about["variant"], about["detector"]) == ("fake", "squares", "squares")
    assert about["weights"] == {"pose": {"file": "none.safetensors", "sha256": "0" * 64}}
    assert about["input"] == {"kind": "video", "name": "a.mp4", "bytes": path.stat().st_size}
    names = [done["name"] for done in about["operations"]]
    assert names == ["detect", "drop_unlikely", "drop_duplicates", "pose", "track"]
    assert about["operations"][0]["bbox_threshold"] == 0.5
    assert about["operations"][4]["min_presence"] == Tracking().min_presence


def test_pixels_are_not_kept(tmp_path: Path) -> None:
    """Python's own memory after 40 and 400 frames: frames are NumPy arrays, which tracemalloc sees."""
    peaks = []
    for n in (40, 400):
        path = write_video(tmp_path / f"{n}.mp4", moving_square(n))
        model = replace(fake_model())
        tracemalloc.start()
        model.predict(path, batch_size=4)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    frame = 128 * 96 * 3
    assert peaks[1] - peaks[0] < 60 * frame  # 360 frames more; their results take a few kB each


def test_a_detection_whose_keypoints_are_unsure_is_no_animal():
    model = fake_model()
    frame = square_frame((20, 20), (80, 50))
    assert model.predict(frame).n_individuals == 2
    strict = replace(model, spec=replace(model.spec, score_threshold=0.999))
    found = strict.predict(frame)
    assert np.isnan(found.keypoints).all()
    named = {operation["name"]: operation for operation in found.provenance["operations"]}
    assert named["drop_unlikely"]["score_threshold"] == 0.999
    given = strict.predict(frame, bboxes_xywh=[np.array([[20.0, 20, 16, 16]])])
    assert given.n_individuals == 1  # a box that the caller gives is not doubted


def test_boxes_of_a_file_stand_in_for_the_detector(tmp_path: Path) -> None:
    boxes = [
        {"image_id": t, "bbox": [2.0 * t, 40, SIDE, SIDE], "score": 0.9, "category_id": 1} for t in range(12)
    ]
    path = tmp_path / "boxes.json"
    path.write_text(json.dumps(boxes))
    model = replace(fake_model(), detector=CocoBoxes.from_file(path), detector_name="given_boxes")
    clip = np.stack(moving_square(12))
    for _ in range(2):  # a file serves several inputs
        found = model.predict(clip, batch_size=5)
        np.testing.assert_array_equal(found.keypoints[:, 0, 0], [(2 * t, 40) for t in range(12)])
    with pytest.raises(InputError, match="has boxes for 4 frames from 8 to 11, but the input has 8"):
        model.predict(clip[:8])
    with pytest.raises(InputError, match="detect_every has no effect on boxes from a file"):
        model.predict(clip, detect_every=3)
    given = model.predict(clip[:2], bboxes_xywh=[np.array([[1.0, 2, 16, 16]])] * 2)
    np.testing.assert_array_equal(given.keypoints[:, 0, 0], [(1, 2)] * 2)


def test_boxes_of_a_file_and_a_truncated_video(tmp_path: Path) -> None:
    content = write_video(tmp_path / "whole.avi", moving_square(100), codec="MJPG").read_bytes()
    cut = tmp_path / "cut.avi"
    cut.write_bytes(content[: len(content) // 2])
    path = tmp_path / "boxes.json"
    path.write_text(json.dumps([{"image_id": t, "bbox": [1, 40, 9, 9], "score": 0.9} for t in range(100)]))
    model = replace(fake_model(), detector=CocoBoxes.from_file(path))
    with pytest.raises(InputError, match="the video is truncated"):
        model.predict(cut)
    assert len(model.predict(cut, allow_truncated=True)) < 70
