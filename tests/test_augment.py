"""Augmentation moves keypoints with their pixels, exchanges left and right, and repeats from its seed."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from superset_vocab import load_vocabulary
from training.augment import Augmentation, half_of, mirror
from training.recipe import AugmentOptions

ONLY_GEOMETRY = AugmentOptions(shift=0.05, light=0, blur=0, noise=0, occlude=0)


def dot_at(point: tuple[float, float]) -> np.ndarray:
    rows, columns = np.mgrid[:96, :96]
    distance = (columns - point[0]) ** 2 + (rows - point[1]) ** 2
    return (250 * np.exp(-distance / 18)).astype(np.uint8)


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 2**31))
def test_keypoints_move_with_their_pixels(seed):
    point = (40.0, 52.0)
    keypoints = np.array([[point, (np.nan, np.nan)]])
    image, moved, _ = Augmentation(ONLY_GEOMETRY, (64, 64), np.arange(2))(dot_at(point), keypoints, seed)
    assert image.shape == (64, 64)
    assert np.isnan(moved[0, 1]).all()
    if ((moved[0, 0] > 8) & (moved[0, 0] < 56)).all():
        rows, columns = np.mgrid[:64, :64]
        weight = image.astype(float)
        centre = np.array([(weight * columns).sum(), (weight * rows).sum()]) / weight.sum()
        np.testing.assert_allclose(centre, moved[0, 0], atol=0.1)


def test_same_seed_same_result():
    rng = np.random.default_rng(0)
    image = rng.integers(0, 255, (96, 96), dtype=np.uint8)
    keypoints = rng.uniform(20, 70, (1, 4, 2))
    augmentation = Augmentation(AugmentOptions(invert=0.5), (64, 64), np.array([1, 0, 2, 3]))
    first = [augmentation(image, keypoints, seed) for seed in range(12)]
    again = [augmentation(image, keypoints, seed) for seed in reversed(range(12))][::-1]
    for (a, p, f), (b, q, g) in zip(first, again, strict=True):
        assert np.array_equal(a, b)
        assert np.array_equal(p, q)
        assert f == g
    assert len({a.tobytes() for a, _, _ in first}) == 12


@pytest.mark.parametrize("name", ["superanimal_topviewmouse", "superanimal_quadruped", "superanimal_bird"])
def test_flip_twice(name):
    vocabulary = load_vocabulary(name)
    rng = np.random.default_rng(1)
    image = rng.integers(0, 255, (30, 41, 3), dtype=np.uint8)
    keypoints = rng.uniform(0, 30, (2, len(vocabulary), 2))
    once = mirror(image, keypoints, vocabulary.flip_index)
    twice = mirror(*once, vocabulary.flip_index)
    assert np.array_equal(twice[0], image)
    np.testing.assert_allclose(twice[1], keypoints)
    left = vocabulary.keypoints.index(next(k for k in vocabulary.keypoints if "left" in k))
    right = vocabulary.flip_index[left]
    np.testing.assert_allclose(once[1][:, right, 0], 40 - keypoints[:, left, 0])


def test_colour_images_too():
    image = cv2.cvtColor(dot_at((40, 40)), cv2.COLOR_GRAY2RGB)
    out, _, _ = Augmentation(AugmentOptions(), (64, 64), np.arange(1))(image, np.array([[(40.0, 40.0)]]), 3)
    assert out.shape == (64, 64, 3)


@given(st.integers(0, 2**31), st.floats(0, 2 * np.pi))
def test_half_of_an_animal_is_one_end_of_it(seed, angle):
    """Ten keypoints along a line at any angle: the half is the first or the last five, never a mixture."""
    rng = np.random.default_rng(seed)
    along = np.sort(rng.uniform(0, 100, 10))
    axis = np.array([np.cos(angle), np.sin(angle)])
    points = np.full((12, 2), np.nan)
    points[:10] = along[:, None] * axis + rng.uniform(-0.5, 0.5, (10, 1)) * axis[::-1] * [-1, 1]
    half = half_of(points, rng)
    assert half.sum() == 5
    assert not half[10:].any()
    assert half[:5].all() or half[5:10].all() or np.diff(along).min() < 1


def test_both_halves_come_up():
    points = np.stack([np.arange(8.0), np.zeros(8)], axis=1)
    ends = {bool(half_of(points, np.random.default_rng(seed))[0]) for seed in range(20)}
    assert ends == {True, False}
