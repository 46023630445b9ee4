"""Reading and writing videos with OpenCV: streamed, in constant memory, frame by frame in file order.

Frames are (H, W, 3) RGB uint8; a container's rotation is applied. A video is complete when it decodes
to the end that its container promises. What is promised depends on the container:

- mp4, mov, m4v and avi store the number of frames. Missing are the frames that did not decode.
- Others (mkv, webm, mpg, ...) store a duration, and a count made from it is wrong where the frame rate
  varies. Missing is the time between the last frame and the promised end, which may be that of the sound.

A few frames at the end of good files do not decode (reordered or empty ones), so a video is truncated
if more than 2 frames and more than 1 % are missing; from 3 on `Model.predict` warns, because a gap may be in
the middle as well (a damaged avi goes on after it). An mp4 that was trimmed by an edit list without
re-encoding looks the same; hence `allow_truncated`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import TracebackType

import cv2
import numpy as np

from superset_vocab.errors import InputError

VIDEO_SUFFIXES = (".mp4", ".avi", ".mov", ".mkv", ".m4v", ".webm", ".mpg", ".mpeg", ".wmv")
_COUNTED_SUFFIXES = (".mp4", ".avi", ".mov", ".m4v")
EXPECTED_MISSING = 2
"""Frames that do not decode in many a good file."""

_CODECS = {".mp4": "mp4v", ".webm": "VP80"}
_CHUNK_BYTES = 256 * 2**20
_FPS_DENOMINATOR = 100_000
_MPEG4_TICKS = 65_535  # of a second, at most; OpenCV makes 66.667 frames/s 66667 in 1000 seconds
_REMEDY = "copy or record it again, or repair it with `ffmpeg -i {name} -c:v libx264 repaired.mp4`"


@dataclass(frozen=True)
class VideoInfo:
    """What a container says of its video.

    Attributes:
        path: The file.
        size_wh: Width and height in pixels, after rotation.
        fps: Frames per second. Containers keep a ratio of integers, of which OpenCV gives the
            quotient; the nearest ratio with a denominator up to 100,000 gets it back (30000/1001).
        n_frames_promised: Number of frames that the container promises; 0 if it does not say.
    """

    path: Path
    size_wh: tuple[int, int]
    fps: Fraction
    n_frames_promised: int


class VideoReader:
    """Streams one video, once.

    Attributes:
        info: What the container says.
        n_frames: Frames decoded so far; after `batches` is exhausted, the number in the file.
        n_missing: Frames that the container promised and that did not decode; 0 until the end.
    """

    def __init__(self, path: Path) -> None:
        """Open a video.

        Raises:
            InputError: If it is missing, empty or no video that OpenCV can decode.
        """
        if not path.is_file():
            raise InputError(f"{path}: no such video file")
        if path.stat().st_size == 0:
            raise InputError(f"{path}: the file is empty (0 bytes); copy or record it again")
        # Absolute: FFmpeg takes what is before the first colon of "10:30:05.mp4" for a protocol.
        self._capture = cv2.VideoCapture(str(path.absolute()), cv2.CAP_FFMPEG)
        ok, self._first = self._capture.read() if self._capture.isOpened() else (False, None)
        if not ok or self._first is None:
            self._capture.release()
            raise InputError(
                f"{path}: not a video that can be decoded (damaged, cut off before its index, or another "
                f"kind of file with this ending); {_REMEDY.format(name=path.name)}"
            )
        height, width = self._first.shape[:2]
        fps = self._capture.get(cv2.CAP_PROP_FPS)
        if not fps > 0:
            self._capture.release()
            raise InputError(f"{path}: the video has no frame rate; {_REMEDY.format(name=path.name)}")
        promised = max(0, round(self._capture.get(cv2.CAP_PROP_FRAME_COUNT)))
        rate = Fraction(fps).limit_denominator(_FPS_DENOMINATOR)
        self.info = VideoInfo(path, (width, height), rate, promised)
        self.n_frames = 0
        self.n_missing = 0

    def batches(self, batch_size: int) -> Iterator[list[np.ndarray]]:
        """Yield all frames in order, `batch_size` at a time, fewer where frames are huge; only once.

        Raises:
            InputError: If it was iterated before.
        """
        frame, self._first = self._first, None
        if frame is None:
            raise InputError(f"{self.info.path}: this reader has been read; open the video again")
        size = max(1, min(batch_size, _CHUNK_BYTES // max(frame.nbytes, 1)))
        batch: list[np.ndarray] = []
        last_ms = 0.0
        ok = True
        try:
            while ok:
                batch.append(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB))
                last_ms = self._capture.get(cv2.CAP_PROP_POS_MSEC)
                self.n_frames += 1
                ok, frame = self._capture.read()
                if len(batch) == size or not ok:
                    yield batch
                    batch = []
            self.n_missing = self._missing(last_ms)
        finally:
            self._capture.release()

    def _missing(self, last_ms: float) -> int:
        """Number of frames between the last one decoded and the promised end."""
        promised = self.info.n_frames_promised
        if self.counted:
            return max(0, promised - self.n_frames)
        return max(0, promised - 1 - round(last_ms / 1000 * float(self.info.fps)))

    @property
    def counted(self) -> bool:
        """Whether the container stores the number of frames; else what seems missing may be only sound."""
        return self.info.path.suffix.lower() in _COUNTED_SUFFIXES

    @property
    def truncated(self) -> bool:
        """True if the end of the video is missing; known when `batches` is exhausted."""
        return self.n_missing > max(EXPECTED_MISSING, 0.01 * self.info.n_frames_promised)

    def truncation_error(self) -> InputError:
        """The error that says how much of the video is missing."""
        sound = "" if self.counted else " (or its sound goes on after the last frame)"
        return InputError(
            f"{self.info.path}: the video is truncated: {self.n_frames} frames decode of "
            f"{self.n_frames + self.n_missing} that it promises{sound}; "
            f"{_REMEDY.format(name=self.info.path.name)}, or take what is there with --allow-truncated "
            "(allow_truncated=True)"
        )

    def close(self) -> None:
        """Release the file."""
        self._capture.release()


class VideoWriter:
    """Writes an mp4 (MPEG-4 part 2) or a webm (VP8, which browsers play); a context manager.

    OpenCV can always encode these two; H.264, which would do for both ends, it cannot. The codecs want
    even sizes: an odd one gets its last column or row twice, so that no pixel is lost and coordinates stay.
    MPEG-4 counts time in 65,535 ticks a second at most, so rates above 65.5 are kept to two decimals, above
    655 to one. The caller gives a temporary path where the file must appear complete.
    """

    def __init__(self, path: Path, size_wh: Sequence[int], fps: Fraction | float) -> None:
        """Open the file.

        Args:
            path: Ends in .mp4 or .webm.
            size_wh: Width and height of the frames in pixels.
            fps: Frames per second.

        Raises:
            InputError: If it cannot be written.
        """
        self.path, self.size_wh = path, (int(size_wh[0]), int(size_wh[1]))
        self._pad = (self.size_wh[1] % 2, self.size_wh[0] % 2)
        coded = (self.size_wh[0] + self._pad[1], self.size_wh[1] + self._pad[0])
        fourcc = cv2.VideoWriter.fourcc(*_CODECS[path.suffix.lower()])
        self.n_frames = 0
        self._writer = cv2.VideoWriter(
            str(path.absolute()), cv2.CAP_FFMPEG, fourcc, _codable(float(fps)), coded
        )
        if not self._writer.isOpened():
            raise InputError(
                f"{path}: cannot write a video of {coded[0]}x{coded[1]} at {float(fps)} frames/s"
            )

    def write(self, frame: np.ndarray) -> None:
        """Append one (H, W, 3) RGB uint8 frame.

        Raises:
            InputError: If it has another size than the video.
        """
        if frame.shape[1::-1] != self.size_wh:
            raise InputError(f"{self.path}: frame of {frame.shape[1::-1]} in a video of {self.size_wh}")
        frame = cv2.cvtColor(frame, cv2.COLOR_RGB2BGR)
        if any(self._pad):
            bottom, right = self._pad
            frame = cv2.copyMakeBorder(frame, 0, bottom, 0, right, cv2.BORDER_REPLICATE)
        self._writer.write(frame)
        self.n_frames += 1

    def __enter__(self) -> VideoWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._writer.release()
        if kind is None:
            self._check()

    def _check(self) -> None:
        """OpenCV does not tell when a disk is full: count what has arrived."""
        arrived = cv2.VideoCapture(str(self.path.absolute()), cv2.CAP_FFMPEG)
        n_frames = round(arrived.get(cv2.CAP_PROP_FRAME_COUNT)) if arrived.isOpened() else 0
        arrived.release()
        # A webm stores a duration, of which OpenCV makes a count that can be one off.
        if abs(n_frames - self.n_frames) > (self.path.suffix.lower() == ".webm"):
            raise InputError(
                f"{self.path.parent}: only {n_frames} of {self.n_frames} frames of the video could be "
                "written; is the disk full?"
            )


def _codable(fps: float) -> float:
    """The rate to as many decimals as MPEG-4 has ticks for; OpenCV itself keeps three at most."""
    decimals = next((d for d in (3, 2, 1) if round(fps * 10**d) <= _MPEG4_TICKS), 0)
    return round(fps, decimals)
