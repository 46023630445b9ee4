"""Detecting sparsely: the crops in between follow the poses, and the detector is asked when it matters."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from fakes import SIDE, K, SquareDetector, fake_model, square_frame
from hypothesis import given
from hypothesis import strategies as st

from superset_vocab import InputError
from zoo.crops import published_crop, square_crop
from zoo.decoders import argmax, mirror_outputs
from zoo.finders import DenseTopDown, SparseTopDown, boxes_per_frame
from zoo.model import Model
from zoo.transforms import apply_matrix


class Snap:
    """Keypoints lie on the bright square nearest to the box's centre, if there is one in the box at all."""

    def __init__(self) -> None:
        self.boxes: list[np.ndarray] = []

    def __call__(self, frames, bboxes):
        results = []
        for frame, boxes in zip(frames, bboxes, strict=True):
            self.boxes.append(np.array(boxes))
            results.append(self._poses(SquareDetector()._one(frame).bbox_xywh, np.asarray(boxes)))
        return results

    def _poses(self, squares, boxes):
        keypoints = np.zeros((len(boxes), K, 2), np.float32)
        confidence = np.full((len(boxes), K), 0.05, np.float32)
        share = np.linspace(0, 1, K, dtype=np.float32)[:, None]
        for n, box in enumerate(boxes):
            centre = box[:2] + box[2:] / 2
            keypoints[n] = centre
            if len(squares):
                gap = np.abs(squares[:, :2] + squares[:, 2:] / 2 - centre).max(1)
                i = int(gap.argmin())
                if gap[i] <= box[2:].max():
                    keypoints[n] = squares[i, :2] + share * squares[i, 2:]
                    confidence[n] = 0.9
        return keypoints, confidence


def model() -> Model:
    return replace(fake_model(), pose=Snap())


def moving(n: int, step: float = 2.0) -> np.ndarray:
    return np.stack([square_frame((10 + step * t, 40)) for t in range(n)])


def calls(one: Model) -> int:
    assert isinstance(one.detector, SquareDetector)
    return sum(one.detector.calls)


@pytest.mark.parametrize(("every", "expected"), [(1, 40), (5, 8), ("auto", 2), (7, 6)])
def test_the_detector_is_asked_as_often_as_said(every: int | str, expected: int) -> None:
    clip, sparse = moving(40), model()
    found = sparse.predict(clip, detect_every=every)
    assert calls(sparse) == expected
    dense = model().predict(clip, detect_every=1)
    np.testing.assert_allclose(found.keypoints, dense.keypoints, atol=1e-3)
    done = found.provenance["operations"][0]
    assert (done["name"], done["detect_every"]) == ("detect", every)
    assert done.get("n_detections", 40) == expected


def test_batches_do_not_change_what_is_followed() -> None:
    clip = moving(33, step=2.5)
    one, many = (model().predict(clip, detect_every="auto", batch_size=size) for size in (1, 16))
    np.testing.assert_array_equal(one.keypoints, many.keypoints)


def test_boxes_in_between_are_those_the_detector_would_draw() -> None:
    followed = model()
    found = followed.predict(moving(12), detect_every=12)
    np.testing.assert_allclose(found.bbox_xywh[:, 0, 2:], SIDE, atol=0.05)
    # The box of a frame is where the animal was in the frame before.
    np.testing.assert_allclose(found.bbox_xywh[1:, 0, 0], 10 + 2 * np.arange(11), atol=0.05)


def test_auto_looks_again_when_the_animal_is_lost() -> None:
    frames = [square_frame((10, 40))] * 6 + [square_frame((100, 70))] * 6
    jump = model()
    found = jump.predict(np.stack(frames), detect_every="auto")
    assert calls(jump) == 2
    np.testing.assert_allclose(found.keypoints[5:7, 0, 0], [(10, 40), (100, 70)])
    fixed = model().predict(np.stack(frames), detect_every=12)
    assert (fixed.confidence[6:] < 0.1).all()  # a fixed rhythm does not look before its time, and says so


def test_auto_waits_for_an_animal_to_come_in() -> None:
    frames = [square_frame()] * 7 + [square_frame((20, 40))] * 13
    waiting = model()
    found = waiting.predict(np.stack(frames), detect_every="auto")
    assert np.flatnonzero(np.isfinite(found.bbox_confidence[:, 0]))[0] == 10  # the next fifth frame
    assert calls(waiting) == 3


def test_auto_looks_again_when_two_poses_fall_together() -> None:
    apart = [square_frame((10 + t, 40), (90 - t, 40)) for t in range(20)]
    merged = [*apart, square_frame((50, 40)), *apart[::-1]]
    two = model()
    two.predict(np.stack(merged), detect_every="auto")
    assert calls(two) > 2


def test_new_animals_come_with_the_next_detection() -> None:
    frames = [square_frame((10, 10))] * 3 + [square_frame((10, 10), (80, 60))] * 10
    found = model().predict(np.stack(frames), detect_every=4)
    assert np.isfinite(found.bbox_confidence).sum(1).tolist() == [1, 1, 1, 1] + [2] * 9


def test_max_individuals_limits_the_boxes_that_are_looked_at() -> None:
    corners = [(x, y) for x in (5, 35, 65, 95) for y in (5, 35, 65)]
    dense = DenseTopDown(SquareDetector(), Snap(), 0.5, 0.0, max_individuals=2)
    dense([square_frame(*corners)])
    assert isinstance(dense.pose, Snap)
    assert len(dense.pose.boxes[0]) == 6
    everything = DenseTopDown(SquareDetector(), Snap(), 0.5, 0.0)
    assert len(everything([square_frame(*corners)])[0].bbox_xywh) == 12
    assert SparseTopDown(everything, 3).operations()[0]["n_frames"] == 0


def test_boxes_of_one_image_need_no_list() -> None:
    boxes = np.array([[20.0, 20, 16, 16], [60.0, 40, 16, 16]])
    frame = square_frame((20, 20), (60, 40))
    plain = fake_model().predict(frame, bboxes_xywh=boxes)
    listed = fake_model().predict(frame, bboxes_xywh=[boxes])
    nested = fake_model().predict(frame, bboxes_xywh=boxes.tolist())
    assert plain.n_individuals == 2
    np.testing.assert_array_equal(plain.keypoints[0, :, 0], boxes[:, :2])
    np.testing.assert_array_equal(plain.keypoints, listed.keypoints)
    np.testing.assert_array_equal(plain.keypoints, nested.keypoints)
    assert [len(b) for b in boxes_per_frame([boxes, boxes[:1]])] == [2, 1]
    with pytest.raises(InputError, match="frame 0 have shape"):
        fake_model().predict(frame, bboxes_xywh=boxes[:, :3])


box_values = st.tuples(
    st.floats(-80, 200), st.floats(-80, 200), st.floats(1.0, 300), st.floats(1.0, 300)
).map(np.array)


@given(box_values, st.sampled_from([1.0, 1.25]))
def test_published_crop_shows_what_its_coordinates_say(box: np.ndarray, context: float) -> None:
    """A ramp image: the value under a crop pixel is its position in the image."""
    image = np.tile(np.arange(160, dtype=np.uint8), (120, 1))
    pixels, matrix = published_crop(image, box, 64, context)
    side = 64 / matrix[0, 0]
    assert abs(side - max(box[2:]) * context) <= 1.0 + 1e-6
    assert matrix[0, 0] == pytest.approx(matrix[1, 1], rel=1.01 / side)
    x1, y1 = -matrix[0, 2] / matrix[0, 0], -matrix[1, 2] / matrix[1, 1]
    np.testing.assert_allclose([x1, y1], np.round([x1, y1]), atol=1e-6)  # whole pixels
    column, row = 31, 31
    x, y = x1 + (column + 0.5) / matrix[0, 0] - 0.5, y1 + (row + 0.5) / matrix[1, 1] - 0.5
    if 1 <= x <= 158 and 1 <= y <= 118:
        assert abs(float(pixels[row, column]) - x) <= 1.0
    if x < -1 or x > 160 or y < -1 or y > 120:
        assert pixels[row, column] == 0


def test_the_two_crops_show_the_same_square() -> None:
    rng = np.random.default_rng(0)
    image = np.kron(rng.integers(0, 255, (12, 16)), np.ones((10, 10))).astype(np.uint8)
    box = np.array([40.0, 30.0, 64.0, 64.0])
    (ours, a), (theirs, b) = square_crop(image, box, 128, 1.0), published_crop(image, box, 128, 1.0)
    # Published coordinates leave out the half pixels on both sides: 0.5 * scale - 0.5 px of the crop.
    point = np.array([[70.0, 60.0]])
    np.testing.assert_allclose(apply_matrix(point, a), apply_matrix(point, b) + 0.5 * 2 - 0.5, atol=1e-6)
    assert np.abs(ours.astype(int) - theirs).mean() < 1


def test_huge_boxes_need_no_huge_crops() -> None:
    pixels, matrix = published_crop(
        np.full((50, 50, 3), 200, np.uint8), np.array([-9e6, 0, 2e7, 9.0]), 32, 1.0
    )
    assert pixels.shape == (32, 32, 3)
    assert np.isfinite(matrix).all()


@given(st.integers(0, 2**31 - 1))
def test_mirrored_outputs_say_the_same(seed: int) -> None:
    """Outputs for a mirrored crop, mirrored back, decode to the mirror image of where they pointed."""
    import torch

    generator = torch.Generator().manual_seed(seed)
    flip = torch.tensor([1, 0, 2])
    outputs = {
        "heatmaps": torch.rand(2, 3, 9, 9, generator=generator),
        "locref": torch.randn(2, 6, 9, 9, generator=generator),
    }
    there, confidence = argmax(outputs, 8)
    back, again = argmax(mirror_outputs(outputs, flip, 64, 8), 8)
    torch.testing.assert_close(back[..., 0], 64 - there[:, flip, 0], atol=1e-3, rtol=0)
    torch.testing.assert_close(back[..., 1], there[:, flip, 1], atol=1e-3, rtol=0)
    torch.testing.assert_close(again, confidence[:, flip])
    twice = mirror_outputs(mirror_outputs(outputs, flip, 64, 8), flip, 64, 8)
    for name, value in outputs.items():
        torch.testing.assert_close(twice[name], value, atol=1e-5, rtol=0)
    with pytest.raises(ValueError, match="how to mirror the output 'pafs'"):
        mirror_outputs({"pafs": outputs["locref"]}, flip, 64, 8)
