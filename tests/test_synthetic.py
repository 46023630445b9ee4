"""The synthetic laboratories: their truth, their names, their reproducibility."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from converters import convert_labels, load_superset
from converters.synthetic import LABS, lab_named, render_frame, render_video, synthesize
from converters.synthetic.anatomy import build, random_posture
from superset_vocab import InputError, Visibility, load_map, load_vocabulary

VOCABULARY = load_vocabulary("superanimal_topviewmouse")


@pytest.mark.parametrize("seed", range(10))
def test_left_is_the_animals_left(seed):
    points = build(random_posture(np.random.default_rng(seed))).keypoints
    assert set(points) == set(VOCABULARY.keypoints)
    for part in ("ear", "eye", "shoulder", "hip"):
        forward = (
            points["nose"] - points["neck"]
            if part in ("ear", "eye")
            else points["neck"] - points["tail_base"]
        )
        across = points[f"right_{part}"] - points[f"left_{part}"]
        # y points down: with the nose up, from the left to the right is +x, so the cross product is positive
        assert forward[0] * across[1] - forward[1] * across[0] > 0, part


def test_the_mouse_is_drawn_where_the_keypoints_say():
    lab = LABS["openfield"]
    dark = []
    for seed in range(8):
        frame = render_frame(lab, np.random.default_rng([9, seed]))
        grey = cv2.cvtColor(frame.image, cv2.COLOR_RGB2GRAY).astype(float)
        nose, tail = frame.keypoints[0, 0], frame.keypoints[0, 3]
        if not np.isfinite([nose, tail]).all():  # an end lies outside the picture
            continue
        x, y = np.round((nose + 2 * tail) / 3).astype(int)
        dark.append(grey[y - 2 : y + 3, x - 2 : x + 3].mean() < np.median(grey) - 15)
    assert len(dark) >= 5
    assert sum(dark) >= len(dark) - 1  # a tight bend may put the point beside the body


@pytest.mark.parametrize("name", sorted(LABS))
def test_every_lab_goes_through_its_map(tmp_path, name):
    lab = lab_named(name)
    labels = synthesize(lab, 3, tmp_path / "raw", seed=5)
    superset = convert_labels(labels, lab.dataset, tmp_path / "out")
    again = load_superset(tmp_path / "out")
    assert again.vocabulary == "superanimal_topviewmouse"
    keypoint_map = load_map(lab.dataset)
    for raw, record, read in zip(labels.records, superset.records, again.records, strict=True):
        for s, source in enumerate(labels.keypoints):
            k = VOCABULARY.index[keypoint_map.targets[source]]
            np.testing.assert_allclose(record.keypoints[:, k], raw.keypoints[:, s])
            np.testing.assert_allclose(read.keypoints[:, k], raw.keypoints[:, s])
            assert np.array_equal(read.visibility[:, k], raw.visibility[:, s])
        undefined = [k for n, k in VOCABULARY.index.items() if n not in keypoint_map.targets.values()]
        assert (record.visibility[:, undefined] == Visibility.UNDEFINED).all()
        assert not (record.visibility == Visibility.UNDEFINED).all()


def test_a_frame_depends_on_seed_and_number_only(tmp_path):
    long = synthesize(LABS["openfield"], 4, tmp_path / "a", seed=1)
    short = synthesize(LABS["openfield"], 2, tmp_path / "b", seed=1)
    parallel = synthesize(LABS["openfield"], 2, tmp_path / "c", seed=1, workers=2)
    for one, two, three in zip(long.records[:2], short.records, parallel.records, strict=True):
        assert one.image.read_bytes() == two.image.read_bytes() == three.image.read_bytes()
        np.testing.assert_array_equal(one.keypoints, two.keypoints)
        np.testing.assert_array_equal(one.keypoints, three.keypoints)


def test_keypoints_outside_the_image_are_not_annotated():
    states = [render_frame(LABS["wild"], np.random.default_rng([2, i])) for i in range(12)]
    outside = [(f.visibility == Visibility.NOT_ANNOTATED) for f in states]
    assert any(o.any() for o in outside)
    for frame, o in zip(states, outside, strict=True):
        assert np.isnan(frame.keypoints[o]).all()
        assert np.isfinite(frame.keypoints[~o]).all()


def test_a_video_moves_a_little_at_a_time():
    frames = list(render_video(LABS["openfield"], 20, np.random.default_rng(0)))
    track = np.stack([f.keypoints[0] for f in frames])
    step = np.linalg.norm(np.diff(track, axis=0), axis=-1)
    assert np.nanmax(step) < 25
    assert np.nansum(step) > 20


def test_unknown_lab():
    with pytest.raises(InputError, match=r"no synthetic lab; there are:.*openfield"):
        lab_named("nowhere")
