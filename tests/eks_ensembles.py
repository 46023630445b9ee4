"""Ensembles of invented networks, in one view, in several, of a pupil, and seen by calibrated cameras."""

from __future__ import annotations

import cv2
import numpy as np

from adaptation.eks import Camera, Ensemble

SIDES = ("pupil_top", "pupil_right", "pupil_bottom", "pupil_left")


def an_ensemble(track, rng, names=None, view="", members=4, missing=0.15):
    """Members scatter about a (T, K, 2) track; some predictions are missing, some frames entirely."""
    t, k, _ = track.shape
    spread = rng.gamma(2.0, 0.5, (t, k, 1))
    keypoints = track + spread * rng.normal(size=(members, t, k, 2))
    keypoints[rng.random((members, t, k)) < missing] = np.nan
    keypoints[:, rng.random((t, k)) < missing] = np.nan
    names = names or tuple(f"point{i}" for i in range(k))
    return Ensemble(keypoints, rng.uniform(0.3, 1, (members, t, k)), names, view)


def a_track(n_frames, n_keypoints=2, members=3, seed=0):
    rng = np.random.default_rng(seed)
    track = np.cumsum(rng.normal(size=(n_frames, n_keypoints, 2)), axis=0) + 100
    return an_ensemble(track, rng, members=members, missing=0)


def a_pupil(n_frames, seed=0):
    rng = np.random.default_rng(seed)
    d = 20 + np.cumsum(rng.normal(size=n_frames)) * 0.3
    x, y = 60 + rng.normal(size=n_frames), 40 + rng.normal(size=n_frames)
    corners = np.stack([[x, y - d / 2], [x + d / 2, y], [x, y + d / 2], [x - d / 2, y]]).transpose(2, 0, 1)
    return an_ensemble(corners, rng, SIDES, missing=0)


def some_views(rng, n_views=3, n_frames=25, n_keypoints=2):
    """Affine views of a wandering 3-D point."""
    track = np.cumsum(rng.normal(size=(n_frames, n_keypoints, 3)), axis=0) * 3
    maps = rng.normal(size=(n_views, 3, 2))
    return [an_ensemble(track @ m + 50, rng, view=f"cam{v}") for v, m in enumerate(maps)]


def synchronous_views(n_frames, seed=0, n_views=2):
    rng = np.random.default_rng(seed)
    track = np.cumsum(rng.normal(size=(n_frames, 2, 3)), axis=0) * 3
    return [
        an_ensemble(track @ rng.normal(size=(3, 2)) + 50, rng, view=f"cam{v}", missing=0)
        for v in range(n_views)
    ]


def mirrored(views):
    return Ensemble(
        np.concatenate([view.keypoints for view in views], 2),
        np.concatenate([view.confidence for view in views], 2),
        tuple(f"{name}_{view.view}" for view in views for name in view.names),
    )


def three_cameras():
    """Cameras around the origin, every distortion coefficient at work."""
    distortions = (
        [-0.2, 0.05, 1e-3, -2e-3, 0.01],
        [0.1, 0.02, 0, 1e-3, 0, 0.03, 0.01, 0.002],
        [-0.1, 0, 0, 0],
    )
    cameras = []
    for i, d in enumerate(distortions):
        turn = np.array([0.1 * i, 0.9 * (i - 1), 0.05])
        matrix = np.array([[900.0 + 50 * i, 0, 320], [0, 880.0, 240], [0, 0, 1]])
        cameras.append(Camera(f"cam{i}", matrix, np.array(d), turn, np.array([0.1 * i, -0.2, 12.0])))
    return cameras


def calibrated_views(rng, n_frames=20, missing=0.04):
    cameras = three_cameras()
    track = np.cumsum(rng.normal(size=(n_frames, 1, 3)), axis=0) * 0.15
    views = []
    for camera in cameras:
        pixels = cv2.projectPoints(
            track.reshape(-1, 3), camera.rotation, camera.translation, camera.matrix, camera.distortions
        )[0].reshape(n_frames, 1, 2)
        views.append(an_ensemble(pixels, rng, view=camera.name, members=3, missing=missing))
    return cameras, views, track
