"""Calibrated cameras: OpenCV's pinhole model with its full distortion, read from anipose's calibration.toml.

A point X of the calibration's world is R X + t in the camera, x = X/Z and y = Y/Z are distorted by
k1 k2 p1 p2 k3 k4 k5 k6 s1 s2 s3 s4 tx ty (rational radial, tangential, thin prism, tilted sensor; 4, 5, 8,
12 or 14 of them), and the camera matrix makes pixels of them. As everywhere here, the centre of the top-left
pixel is (0, 0).
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from superset_vocab.errors import InputError, all_problems
from superset_vocab.files import read_text
from superset_vocab.toml_text import parse_toml

_N_DISTORTIONS = (0, 1, 2, 4, 5, 8, 12, 14)


@dataclass(frozen=True, eq=False)
class Camera:
    """One camera.

    Attributes:
        name: As in the calibration file; matches `Ensemble.view`.
        matrix: (3, 3) camera matrix in pixels.
        distortions: (4, 5, 8, 12 or 14,) in OpenCV's order; missing ones are 0.
        rotation: (3,) Rodrigues vector, world to camera.
        translation: (3,) in the world's unit.
    """

    name: str
    matrix: np.ndarray
    distortions: np.ndarray
    rotation: np.ndarray
    translation: np.ndarray

    def __post_init__(self) -> None:
        problems = []
        for part, shape in (("matrix", (3, 3)), ("rotation", (3,)), ("translation", (3,))):
            object.__setattr__(self, part, np.asarray(getattr(self, part), np.float64))
            if getattr(self, part).shape != shape:
                problems.append(f"{part} has shape {getattr(self, part).shape}, want {shape}")
        given = np.asarray(self.distortions, np.float64).ravel()
        if len(given) not in _N_DISTORTIONS:
            problems.append(f"{len(given)} distortions; OpenCV's model has 4, 5, 8, 12 or 14")
        object.__setattr__(self, "distortions", np.pad(given, (0, max(0, 14 - len(given)))))
        if not problems and not all(
            np.isfinite(a).all() for a in (self.matrix, given, self.rotation, self.translation)
        ):
            problems.append("a number is not finite")
        if problems:
            raise all_problems(f"camera {self.name}", problems)

    def packed(self) -> np.ndarray:
        """(38,) numbers as `kernels.project` wants them."""
        import cv2

        m, d = self.matrix, self.distortions
        rotation = cv2.Rodrigues(self.rotation)[0]
        return np.concatenate(
            [
                rotation.ravel(),
                self.translation,
                [m[0, 0], m[1, 1], m[0, 2], m[1, 2], m[0, 1]],
                d[:12],
                _tilt(d[12], d[13]).ravel(),
            ]
        )

    def project(self, points: np.ndarray) -> np.ndarray:
        """Pixels (..., 2) of points (..., 3)."""
        return self.project_with_jacobian(points)[0]

    def project_with_jacobian(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Pixels (..., 2) of points (..., 3), and their derivatives (..., 2, 3)."""
        from adaptation.eks.kernels import project_all

        points = np.asarray(points, np.float64)
        flat = np.ascontiguousarray(points.reshape(-1, 3))
        pixels, jacobians = np.empty((len(flat), 2)), np.empty((len(flat), 2, 3))
        project_all(self.packed(), flat, pixels, jacobians)
        return pixels.reshape(*points.shape[:-1], 2), jacobians.reshape(*points.shape[:-1], 2, 3)

    def undistorted(self, pixels: np.ndarray) -> np.ndarray:
        """Normalised camera coordinates x/z, y/z (..., 2) of pixels (..., 2); NaN stays NaN."""
        import cv2

        flat = np.ascontiguousarray(np.asarray(pixels, np.float64).reshape(-1, 1, 2))
        result = np.full(flat.shape, np.nan)
        seen = np.isfinite(flat).all((1, 2))
        if seen.any():
            criteria = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 100, 1e-12)
            result[seen] = cv2.undistortPointsIter(
                flat[seen], self.matrix, self.distortions, np.eye(3), np.eye(3), criteria
            )
        return result.reshape(np.shape(pixels))


def read_calibration(path: str | PathLike[str]) -> tuple[Camera, ...]:
    """Cameras of an anipose calibration.toml (tables cam_0, cam_1, ...).

    Raises:
        InputError: If the file cannot be read, has no camera, or a camera is incomplete or of a fisheye; all
            problems are listed.
    """
    path = Path(path)
    tables = parse_toml(read_text(path), str(path))
    cameras, problems = [], []
    for key, table in tables.items():
        if not key.startswith("cam"):
            continue
        try:
            cameras.append(_camera(key, table))
        except InputError as error:
            problems.append(str(error))
    if not cameras and not problems:
        problems.append("it has no camera; anipose writes tables cam_0, cam_1, ...")
    names = [camera.name for camera in cameras]
    problems += [f"two cameras are called {n!r}" for n in sorted(set(names)) if names.count(n) > 1]
    if problems:
        raise all_problems(str(path), problems)
    return tuple(cameras)


def _camera(key: str, table: Any) -> Camera:
    """One table of the file."""
    if not isinstance(table, Mapping):
        raise InputError(f"{key} is no table")
    missing = [n for n in ("matrix", "distortions", "rotation", "translation") if n not in table]
    if missing:
        raise InputError(f"{key} lacks {', '.join(missing)}")
    if table.get("fisheye"):
        raise InputError(f"{key} is a fisheye camera; only OpenCV's pinhole model is supported")
    try:
        return Camera(
            str(table.get("name", key)),
            table["matrix"],
            table["distortions"],
            table["rotation"],
            table["translation"],
        )
    except (ValueError, TypeError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{key}: {error}") from error


def triangulate(cameras: Sequence[Camera], pixels: np.ndarray) -> np.ndarray:
    """3-D points from their images: the median over all pairs of cameras of the linear solution.

    The median makes one bad view harmless where there are three or more. Good for starting values; the
    smoother weighs the views by their variances.

    Args:
        cameras: V cameras.
        pixels: (V, ..., 2); NaN where a camera does not see the point.

    Returns:
        (..., 3); NaN where fewer than two cameras see the point.
    """
    rays = [camera.undistorted(p).reshape(-1, 2) for camera, p in zip(cameras, pixels, strict=True)]
    import cv2

    poses = [np.column_stack([cv2.Rodrigues(c.rotation)[0], c.translation]) for c in cameras]
    solutions = np.full((len(cameras) * (len(cameras) - 1) // 2, len(rays[0]), 3), np.nan)
    for row, (a, b) in enumerate(itertools.combinations(range(len(cameras)), 2)):
        seen = np.isfinite(rays[a]).all(1) & np.isfinite(rays[b]).all(1)
        if seen.any():
            points = cv2.triangulatePoints(poses[a], poses[b], rays[a][seen].T, rays[b][seen].T)
            solutions[row, seen] = (points[:3] / points[3]).T
    result = np.full((len(rays[0]), 3), np.nan)
    some = np.isfinite(solutions).all(2).any(0)
    result[some] = np.nanmedian(solutions[:, some], axis=0)
    return result.reshape(*np.shape(pixels)[1:-1], 3)


def _tilt(tx: float, ty: float) -> np.ndarray:
    """Homography of a tilted sensor (Scheimpflug), from OpenCV's two angles."""
    about_x = np.array([[1, 0, 0], [0, np.cos(tx), np.sin(tx)], [0, -np.sin(tx), np.cos(tx)]])
    about_y = np.array([[np.cos(ty), 0, -np.sin(ty)], [0, 1, 0], [np.sin(ty), 0, np.cos(ty)]])
    r = about_y @ about_x
    return np.array([[r[2, 2], 0, -r[0, 2]], [0, r[2, 2], -r[1, 2]], [0, 0, 1]]) @ r
