"""The clip that both packages see, and its labels.

The clip is a part of a real video of a horse, 288 x 162 pixels, with 22 labelled keypoints a frame. It is
stored without loss, so that no two decoders can differ about a pixel.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.data import need

_FOLDER = "horse10_BrownHorseinShadow"
_FIRST, _LAST = 90, 230  # frames in which most keypoints are labelled
_MARGIN = 10  # px that an animal reaches beyond its keypoints

MOST_FRAMES = _LAST - _FIRST


@dataclass(frozen=True)
class Clip:
    """A video file and labels of all its frames.

    Attributes:
        path: The video.
        frames: (T, H, W, 3) uint8 RGB, as they were written.
        keypoints: (T, J, 2) px, NaN where not labelled.
        bbox_xywh: (T, 4) px around the labelled keypoints.
    """

    path: Path
    frames: np.ndarray
    keypoints: np.ndarray
    bbox_xywh: np.ndarray

    @property
    def size_wh(self) -> tuple[int, int]:
        """Width and height of a frame in pixels."""
        return self.frames.shape[2], self.frames.shape[1]


def cut(folder: Path, n_frames: int) -> Clip:
    """Write the first `n_frames` of the labelled part of the video into a folder.

    Raises:
        SystemExit: If the data are not there, or have not so many frames.
    """
    import pandas as pd

    if not 2 <= n_frames <= MOST_FRAMES:
        raise SystemExit(f"--frames is {n_frames}, want 2 to {MOST_FRAMES}")
    source = need(_FOLDER)
    part = slice(_FIRST, _FIRST + n_frames)
    frames = _read(source / "BrownHorseinShadow.mp4")[part]
    labels = np.asarray(pd.read_hdf(source / "BrownHorseinShadow_gt.h5"), dtype=np.float64)
    keypoints = labels.reshape(len(labels), -1, 2)[part]
    low, high = np.nanmin(keypoints, 1) - _MARGIN, np.nanmax(keypoints, 1) + _MARGIN
    path = folder / f"horse_{n_frames}.avi"
    _write(path, frames)
    return Clip(path, frames, keypoints, np.concatenate([low, high - low], axis=1))


def _read(path: Path) -> np.ndarray:
    """(T, H, W, 3) uint8 RGB of a whole video."""
    import cv2

    reader = cv2.VideoCapture(str(path))
    frames = []
    while True:
        there, frame = reader.read()
        if not there:
            return np.stack(frames)
        frames.append(frame[..., ::-1])


def _write(path: Path, frames: np.ndarray) -> None:
    """Store frames without loss, and make sure of it."""
    import cv2

    size_wh = (frames.shape[2], frames.shape[1])
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"FFV1"), 30.0, size_wh)
    for frame in frames:
        writer.write(np.ascontiguousarray(frame[..., ::-1]))
    writer.release()
    if not np.array_equal(_read(path), frames):
        raise SystemExit(f"{path}: OpenCV here cannot store a video without loss")
