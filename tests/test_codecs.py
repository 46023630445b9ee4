"""Keypoints to heatmaps and back."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from zoo.codecs import decode_heatmaps, encode_heatmaps, encode_locref

INSIDE = st.floats(4, 59)


@given(INSIDE, INSIDE, st.sampled_from([1, 2, 4]))
def test_encode_and_decode(x, y, stride):
    points = np.array([[[x, y]]])
    maps = encode_heatmaps(points, np.ones((1, 1), bool), (64, 64), stride, sigma=1.5 * stride)
    positions, confidence = decode_heatmaps(torch.from_numpy(maps)[None], stride)
    np.testing.assert_allclose(positions[0, 0].numpy(), [x, y], atol=0.02)
    assert 0.75 < confidence[0, 0] <= 1


def test_what_is_not_visible_leaves_no_trace():
    points = np.array([[[10.0, 10.0], [np.nan, np.nan], [30.0, 30.0]]])
    maps = encode_heatmaps(points, np.array([[True, False, False]]), (64, 48), 2, 2.0)
    assert maps.shape == (3, 24, 32)
    assert maps[0].max() > 0.8
    assert (maps[1:] == 0).all()


def test_two_animals_share_a_map():
    points = np.array([[[10.0, 10.0]], [[50.0, 40.0]]])
    maps = encode_heatmaps(points, np.ones((2, 1), bool), (64, 64), 2, 2.0)
    assert maps[0, 5, 5] > 0.8
    assert maps[0, 20, 25] > 0.8
    assert maps.max() <= 1


def test_no_animal_is_an_empty_map():
    maps = encode_heatmaps(np.zeros((0, 3, 2)), np.zeros((0, 3), bool), (32, 32), 2, 2.0)
    assert maps.shape == (3, 16, 16)
    assert (maps == 0).all()


def test_a_peak_at_the_border_stays_in_the_map():
    heat = torch.zeros(1, 1, 8, 8)
    heat[0, 0, 0, 7] = 0.9
    positions, confidence = decode_heatmaps(heat, 4)
    np.testing.assert_allclose(positions[0, 0].numpy(), [7 * 4 + 1.5, 1.5])
    assert confidence.item() == pytest.approx(0.9)


@given(INSIDE, INSIDE)
def test_location_refinement_points_at_the_keypoint(x, y):
    offsets, near = encode_locref(np.array([[[x, y]]]), np.ones((1, 1), bool), (64, 64), 4, radius=6.0)
    rows, columns = np.nonzero(near[0])
    assert len(rows) > 0
    found = np.stack(
        [columns * 4 + 1.5 + 4 * offsets[0][near[0] > 0], rows * 4 + 1.5 + 4 * offsets[1][near[0] > 0]]
    )
    np.testing.assert_allclose(found, np.array([[x], [y]]).repeat(len(rows), 1), atol=1e-3)
    assert (offsets[:, near[0] == 0] == 0).all()
