"""The clip that both packages see.

A part of a real video of a horse, 288 x 162 pixels, in which most of the animal is in sight. It is stored
without loss, so that no two decoders can differ about a pixel.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.data import need

_SOURCE = "horse10_BrownHorseinShadow/BrownHorseinShadow.mp4"
_FIRST, _LAST = 90, 230

MOST_FRAMES = _LAST - _FIRST


@dataclass(frozen=True)
class Clip:
    """A video file and what is in it.

    Attributes:
        path: The video.
        frames: (T, H, W, 3) uint8 RGB.
    """

    path: Path
    frames: np.ndarray

    @property
    def size_wh(self) -> tuple[int, int]:
        """Width and height of a frame in pixels."""
        return self.frames.shape[2], self.frames.shape[1]


def cut(folder: Path, n_frames: int) -> Clip:
    """Write `n_frames` of the video into a folder.

    Raises:
        SystemExit: If the video is not there, or has not so many frames.
    """
    if not 2 <= n_frames <= MOST_FRAMES:
        raise SystemExit(f"--frames is {n_frames}, want 2 to {MOST_FRAMES}")
    frames = read(need(_SOURCE), _FIRST + n_frames)[_FIRST:]
    path = folder / f"horse_{n_frames}.avi"
    _write(path, frames)
    return Clip(path, frames)


def read(path: Path, n_frames: int | None = None) -> np.ndarray:
    """(T, H, W, 3) uint8 RGB of a video's first frames, or of all."""
    import cv2

    reader = cv2.VideoCapture(str(path))
    frames = []
    while n_frames is None or len(frames) < n_frames:
        there, frame = reader.read()
        if not there:
            break
        frames.append(frame[..., ::-1])
    return np.stack(frames)


def _write(path: Path, frames: np.ndarray) -> None:
    """Store frames without loss, and make sure of it."""
    import cv2

    size_wh = (frames.shape[2], frames.shape[1])
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"FFV1"), 30.0, size_wh)
    for frame in frames:
        writer.write(np.ascontiguousarray(frame[..., ::-1]))
    writer.release()
    if not np.array_equal(read(path), frames):
        raise SystemExit(f"{path}: OpenCV here cannot store a video without loss")
