"""Cameras: OpenCV's model with every coefficient, anipose's file, triangulation, and the 3-D track."""

from __future__ import annotations

import re

import cv2
import numpy as np
import pytest
from data import need
from eks_ensembles import calibrated_views, three_cameras
from hypothesis import given, settings
from hypothesis import strategies as st

from adaptation.eks import Camera, read_calibration, smooth_calibrated, triangulate
from superset_vocab import InputError

CAMERA = """
[cam_0]
name = "top"
size = [640, 480]
matrix = [[900.0, 0.0, 320.0], [0.0, 900.0, 240.0], [0.0, 0.0, 1.0]]
distortions = [0.1, 0.0, 0.0, 0.0, 0.0]
rotation = [0.0, 0.1, 0.0]
translation = [0.0, 0.0, 10.0]
"""


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from([4, 5, 8, 12, 14]),
    st.lists(st.floats(-0.05, 0.05), min_size=14, max_size=14),
    st.lists(st.floats(-0.8, 0.8), min_size=3, max_size=3),
)
def test_projection_is_opencvs_and_its_derivative_is_right(n, coefficients, turn):
    matrix = np.array([[800.0, 0, 310], [0, 820.0, 235], [0, 0, 1]])
    camera = Camera("c", matrix, np.array(coefficients[:n]), np.array(turn), np.array([0.1, -0.2, 9.0]))
    points = np.random.default_rng(0).normal(size=(7, 3))
    expected = cv2.projectPoints(points, camera.rotation, camera.translation, matrix, camera.distortions)[0]
    pixels, jacobian = camera.project_with_jacobian(points)
    np.testing.assert_allclose(pixels, expected[:, 0], rtol=0, atol=1e-8)
    for j in range(3):
        step = np.zeros(3)
        step[j] = 1e-5
        numeric = (camera.project(points + step) - camera.project(points - step)) / 2e-5
        np.testing.assert_allclose(jacobian[..., j], numeric, rtol=1e-5, atol=1e-4)


def test_undistorting_undoes_the_projection():
    for camera in three_cameras():
        points = np.random.default_rng(1).normal(size=(4, 6, 3))
        rotated = points @ cv2.Rodrigues(camera.rotation)[0].T + camera.translation
        pixels = camera.project(points)
        pixels[1, 2] = np.nan
        rays = camera.undistorted(pixels)
        assert np.isnan(rays[1, 2]).all()
        expected = rotated[..., :2] / rotated[..., 2:]
        known = np.isfinite(rays)
        np.testing.assert_allclose(rays[known], expected[known], atol=1e-7)


def test_triangulation_finds_the_points_and_forgives_one_bad_view():
    cameras = three_cameras()
    points = np.random.default_rng(2).normal(size=(20, 2, 3))
    pixels = np.stack([camera.project(points) for camera in cameras])
    np.testing.assert_allclose(triangulate(cameras, pixels), points, atol=1e-6)
    pixels[0, 3] = np.nan
    np.testing.assert_allclose(triangulate(cameras, pixels), points, atol=1e-6)
    pixels[1, 3] = np.nan
    assert np.isnan(triangulate(cameras, pixels)[3]).all()


def test_the_track_comes_closer_to_the_truth_than_triangulation():
    cameras, views, track = calibrated_views(np.random.default_rng(3), 300)
    smoothed = smooth_calibrated(views, cameras)
    guess = triangulate(cameras, np.stack([view.statistics.centre for view in smoothed.views]))
    known = np.isfinite(guess).all(2)
    error = np.linalg.norm(smoothed.points - track, axis=2)
    assert error[known].mean() < 0.9 * np.linalg.norm(guess - track, axis=2)[known].mean()
    # Squared errors over the covariance: 3 on average for known variances; those of three members are rough.
    deviation = (smoothed.points - track)[:, 0]
    score = np.einsum("ta,tab,tb->t", deviation, np.linalg.inv(smoothed.covariance[:, 0]), deviation)
    assert 1 < np.median(score) < 9
    assert [view.view for view in smoothed.views] == ["cam0", "cam1", "cam2"]


def test_reads_aniposes_file(tmp_path):
    path = tmp_path / "calibration.toml"
    path.write_text(CAMERA + "\n[metadata]\nerror = 0.5\n")
    (camera,) = read_calibration(path)
    assert camera.name == "top"
    np.testing.assert_array_equal(camera.distortions, [0.1] + [0] * 13)
    np.testing.assert_array_equal(camera.translation, [0, 0, 10])
    cameras = read_calibration(need("ensembles") / "fly" / "calibration.toml")
    assert [c.name for c in cameras] == ["Cam-A", "Cam-B", "Cam-C"]


@pytest.mark.parametrize(
    ("text", "messages"),
    [
        ("not toml", ["not a TOML file"]),
        ("[metadata]\nerror = 1\n", ["it has no camera; anipose writes tables cam_0"]),
        (CAMERA.replace("rotation = [0.0, 0.1, 0.0]", ""), ["cam_0 lacks rotation"]),
        (CAMERA + "fisheye = true\n", ["cam_0 is a fisheye camera"]),
        (CAMERA + CAMERA.replace("cam_0", "cam_1"), ["two cameras are called 'top'"]),
        (
            CAMERA.replace("[0.1, 0.0, 0.0, 0.0, 0.0]", "[0.1, 0.0, 0.0]"),
            ["3 distortions; OpenCV's model has 4, 5"],
        ),
        (CAMERA.replace("[0.0, 0.0, 10.0]", "[0.0, nan, 10.0]"), ["a number is not finite"]),
        (CAMERA.replace("[0.0, 0.0, 10.0]", "[0.0, 10.0]"), ["translation has shape (2,), want (3,)"]),
        (CAMERA.replace("[0.0, 0.1, 0.0]", '["a", 0.1, 0.0]'), ["cam_0: "]),
        ("cam_0 = 3\n", ["cam_0 is no table"]),
    ],
)
def test_a_broken_calibration_is_refused(tmp_path, text, messages):
    path = tmp_path / "calibration.toml"
    path.write_text(text)
    for message in messages:
        with pytest.raises(InputError, match=f"(?s)calibration.toml.*{re.escape(message)}"):
            read_calibration(path)


def test_a_missing_calibration_is_named(tmp_path):
    with pytest.raises(InputError, match=r"none.toml: cannot be read \(No such file"):
        read_calibration(tmp_path / "none.toml")
