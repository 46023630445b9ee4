"""What is drawn, where, in which colour, and what is not."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest
from fakes import fake_model, moving_square, square_frame, write_video

from superset_vocab import InputError, load_vocabulary
from zoo.drawing import INDIVIDUAL_COLOURS, Style, draw_frame, write_labelled_images, write_labelled_video
from zoo.results import Predictions
from zoo.video import VideoReader

VOCABULARY = load_vocabulary("superanimal_topviewmouse")
GREY = np.full((120, 160, 3), 100, np.uint8)


def one_keypoint(k: int, *positions: tuple[float, float], confidence: float = 1.0, n: int = 1) -> Predictions:
    """Predictions with one keypoint only, one position for each frame, the same for n individuals."""
    t, count = len(positions), len(VOCABULARY)
    keypoints = np.full((t, n, count, 2), np.nan, np.float32)
    scores = np.full((t, n, count), np.nan, np.float32)
    for i in range(n):
        keypoints[:, i, k] = np.array(positions) + np.array([0, 40 * i])
        scores[:, i, k] = confidence
    boxes = np.concatenate([keypoints[:, :, k] - 10, np.full((t, n, 2), 20)], -1).astype(np.float32)
    return Predictions(
        keypoints=keypoints,
        confidence=scores,
        bbox_xywh=boxes,
        bbox_confidence=np.ones((t, n), np.float32),
        frame_index=np.arange(t),
        size_wh=np.tile((160, 120), (t, 1)),
        vocabulary=VOCABULARY,
        individuals=tuple(f"animal{i}" for i in range(n)),
        fps=Fraction(25),
    )


def changed(frame: np.ndarray) -> np.ndarray:
    """(H, W) bool: pixels that were drawn on."""
    return (frame != GREY).any(-1)


@pytest.mark.parametrize("k", [0, 5])
def test_keypoint_is_drawn_at_its_place_in_its_colour(k: int) -> None:
    frame = draw_frame(GREY, one_keypoint(k, (60.0, 40.0)), 0, Style(radius=4))
    np.testing.assert_array_equal(frame[40, 60], VOCABULARY.colours[k])
    rows, columns = np.nonzero(changed(frame))
    assert (rows.mean(), columns.mean()) == pytest.approx((40, 60), abs=0.1)
    assert np.hypot(rows - 40, columns - 60).max() < 6
    assert len(rows) > 40
    assert (GREY == 100).all()


def test_sub_pixel_positions_shift_the_disc() -> None:
    weights = []
    for x in (60.0, 60.5):
        drawn = np.abs(draw_frame(GREY, one_keypoint(0, (x, 40.0)), 0).astype(float) - 100).sum(-1)
        weights.append((drawn.sum(0) * np.arange(160)).sum() / drawn.sum())
    assert weights[1] - weights[0] == pytest.approx(0.5, abs=0.15)


def test_lower_confidence_is_smaller_and_fainter_and_none_below_the_cutoff() -> None:
    frames = [
        draw_frame(GREY, one_keypoint(0, (60.0, 40.0), confidence=c), 0, Style(radius=6)) for c in (1.0, 0.5)
    ]
    areas = [changed(frame).sum() for frame in frames]
    strength = [np.abs(frame[40, 60].astype(int) - 100).sum() for frame in frames]
    assert areas[0] > areas[1] > 0
    assert strength[0] > strength[1] > 0
    for cutoff, shown in ((0.3, False), (0.2, True)):
        faint = draw_frame(GREY, one_keypoint(0, (60.0, 40.0), confidence=0.25), 0, Style(cutoff=cutoff))
        assert changed(faint).any() == shown


def test_tails_show_the_way_and_fade() -> None:
    way = one_keypoint(0, *[(20.0 + 10 * t, 40.0) for t in range(10)])
    frame = draw_frame(GREY, way, 9, Style(tail_frames=5))
    strength = np.abs(frame[40].astype(int) - 100).sum(-1)
    assert not strength[:58].any()
    assert 0 < strength[65] < strength[85] < strength[110]
    assert not changed(draw_frame(GREY, way, 9, Style(tail_frames=0)))[:, :100].any()
    gap = replace(way, keypoints=np.where(way.frame_index[:, None, None, None] == 7, np.nan, way.keypoints))
    assert not changed(draw_frame(GREY, gap, 9))[:, 85:95].any()


def test_bones_have_the_colour_of_the_individual() -> None:
    a, b = VOCABULARY.bones[0]
    predictions = one_keypoint(int(a), (30.0, 20.0), n=2)
    predictions.keypoints[:, :, b] = predictions.keypoints[:, :, a] + (60, 0)
    predictions.confidence[:, :, b] = 1.0
    frame = draw_frame(GREY, predictions, 0, Style(names=False)).astype(int)
    for n, row in enumerate((20, 60)):
        direction = INDIVIDUAL_COLOURS[n].astype(int) - 100
        drawn = frame[row, 60] - 100
        assert drawn @ direction > 0.9 * np.linalg.norm(drawn) * np.linalg.norm(direction)
    named = draw_frame(GREY, predictions, 0).astype(int)
    rows = np.flatnonzero((named != frame).any((1, 2)))
    assert len(rows)
    assert rows.max() <= 50


def test_absent_animals_and_points_outside_leave_the_frame_alone() -> None:
    assert not changed(draw_frame(GREY, one_keypoint(0, (np.nan, np.nan)), 0)).any()
    assert not changed(draw_frame(GREY, one_keypoint(0, (1e9, -50.0)), 0)).any()


@pytest.mark.parametrize("size_wh", [(128, 96), (127, 95)])
def test_labelled_video_has_the_source_s_frames_size_and_rate(
    tmp_path: Path, size_wh: tuple[int, int]
) -> None:
    clip = np.stack([square_frame((2 * t, 40), size_wh=size_wh) for t in range(20)])
    predictions = replace(fake_model().predict(clip), fps=Fraction(10))
    path = tmp_path / "out" / "a.labelled.mp4"
    write_labelled_video(predictions, clip, path)
    reader = VideoReader(path)
    frames = [frame for batch in reader.batches(8) for frame in batch]
    assert len(frames) == 20
    assert reader.info.fps == 10
    assert reader.info.size_wh == (size_wh[0] + size_wh[0] % 2, size_wh[1] + size_wh[1] % 2)
    last = frames[-1].astype(int)
    x, y = predictions.keypoints[-1, 0, 13].astype(int)
    assert np.ptp(last[y - 2 : y + 3, x - 2 : x + 3], axis=-1).max() > 60  # coloured on a grey square
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_predictions_of_another_video_are_refused_and_nothing_is_left(tmp_path: Path) -> None:
    predictions = fake_model().predict(np.stack(moving_square(20)))
    for n, found in ((10, "10"), (30, "more")):
        source = write_video(tmp_path / f"{n}.mp4", moving_square(n))
        with pytest.raises(InputError, match=f"of 20 frames, the source has {found}"):
            write_labelled_video(predictions, source, tmp_path / "out" / "a.mp4")
    assert list((tmp_path / "out").iterdir()) == []
    with pytest.raises(InputError, match=r"ends in \.mp4"):
        write_labelled_video(predictions, tmp_path / "10.mp4", tmp_path / "a.avi")


def test_labelled_images(tmp_path: Path) -> None:
    for name, corner in (("a.png", (5, 5)), ("b.png", (50, 20))):
        cv2.imwrite(str(tmp_path / name), square_frame(corner))
    predictions = fake_model().predict(tmp_path)
    paths = write_labelled_images(predictions, tmp_path, tmp_path / "out")
    assert [path.name for path in paths] == ["a.labelled.png", "b.labelled.png"]
    for t, (path, name) in enumerate(zip(paths, ("a.png", "b.png"), strict=True)):
        before, after = cv2.imread(str(tmp_path / name)), cv2.imread(str(path))
        assert before is not None
        assert after is not None
        assert before.shape == after.shape
        rows, columns = np.nonzero((before != after).any(-1))
        box = predictions.bbox_xywh[t, 0]
        assert rows.mean() == pytest.approx(box[1] + box[3] / 2, abs=2)
        assert columns.mean() == pytest.approx(box[0] + box[2] / 2, abs=2)


def test_style_is_checked() -> None:
    with pytest.raises(InputError, match="3 problems"):
        Style(cutoff=2, radius=0, tail_frames=-1)
