"""Geometry: crop and back, resize and back, pixel centres, standardisation."""

from __future__ import annotations

import cv2
import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from zoo.transforms import (
    apply_matrix,
    crop_matrix,
    invert_matrix,
    resize_matrix,
    square_around,
    standardise,
    warp,
)

NUMBER = st.floats(-500, 500)


@given(NUMBER, NUMBER, st.floats(1, 400), st.integers(8, 256), NUMBER, NUMBER)
def test_crop_and_back(x, y, side, size, px, py):
    matrix = crop_matrix(np.array([x, y, side]), size)
    point = np.array([px, py])
    np.testing.assert_allclose(
        apply_matrix(apply_matrix(point, matrix), invert_matrix(matrix)), point, atol=1e-6
    )


@given(st.integers(10, 800), st.integers(10, 800), NUMBER, NUMBER)
def test_resize_and_back(w, h, px, py):
    matrix, scale = resize_matrix((w, h), (256, 192))
    point = np.array([px, py])
    np.testing.assert_allclose(
        apply_matrix(apply_matrix(point, matrix), invert_matrix(matrix)), point, atol=1e-6
    )
    np.testing.assert_allclose(matrix[0, 0], scale)
    low, high = apply_matrix(np.array([[-0.5, -0.5], [w - 0.5, h - 0.5]]), matrix)
    assert (low > -0.5 - 1e-6).all()
    assert (high < np.array([256, 192]) - 0.5 + 1e-6).all()


def test_edges_map_to_edges():
    matrix = crop_matrix(np.array([10.0, 20.0, 50.0]), 100)
    np.testing.assert_allclose(apply_matrix(np.array([9.5, 19.5]), matrix), [-0.5, -0.5])
    np.testing.assert_allclose(apply_matrix(np.array([59.5, 69.5]), matrix), [99.5, 99.5])


def test_square_holds_the_box_with_its_context():
    square = square_around(np.array([[10.0, 20.0, 40.0, 80.0]]), 1.5)
    np.testing.assert_allclose(square, [[30 - 60, 60 - 60, 120]])


def test_warp_moves_pixels_where_the_matrix_says():
    for size in (400, 60, 24):  # enlarged, shrunk, shrunk so much that pixels are averaged first
        image = np.zeros((200, 200), np.float32)
        cv2.circle(image, (120, 90), 8, 255.0, -1)
        matrix = crop_matrix(np.array([20.0, 10.0, 160.0]), size)
        crop = warp(image, matrix, (size, size))
        rows, columns = np.mgrid[:size, :size]
        centre = np.array([(crop * columns).sum(), (crop * rows).sum()]) / crop.sum()
        np.testing.assert_allclose(centre, apply_matrix(np.array([120.0, 90.0]), matrix), atol=0.05)


def test_outside_of_the_image_is_black():
    crop = warp(np.full((20, 20), 200, np.uint8), crop_matrix(np.array([10.0, 10.0, 20.0]), 20), (20, 20))
    assert (crop[:10, :10] == 200).all()
    assert (crop[11:] == 0).all()


@given(st.integers(0, 2**32 - 1), st.floats(0.2, 1), st.integers(0, 50))
def test_exposure_does_not_matter(seed, gain, offset):
    image = np.random.default_rng(seed).uniform(20, 200, (1, 16, 16))
    np.testing.assert_allclose(standardise(image * gain + offset), standardise(image), atol=1e-3)


def test_an_empty_crop_stays_empty():
    assert (standardise(np.zeros((2, 8, 8), np.uint8)) == 0).all()
