"""Drawing poses on images and videos.

Keypoints have their vocabulary's colours and get smaller and fainter with falling confidence; below
the cutoff they are not drawn. Bones and names have the individual's colour. Keypoints leave tails,
fading, of their last positions. Frames keep their size; coordinates are pixel centres, drawn with
sub-pixel precision.

A labelled video reads its source a second time, because who is who, and how many there are, is
decided when the last frame has been seen.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from os import PathLike
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from superset_vocab.errors import InputError, all_problems
from superset_vocab.files import atomic_path, make_folder
from zoo.inputs import FrameSource, Source, open_source
from zoo.prefetch import prefetch
from zoo.results import Predictions
from zoo.video import VideoWriter

INDIVIDUAL_COLOURS = np.array(
    [
        (255, 150, 0),
        (0, 190, 255),
        (255, 70, 160),
        (90, 220, 60),
        (180, 140, 255),
        (240, 230, 70),
        (0, 230, 180),
        (255, 255, 255),
    ],
    dtype=np.uint8,
)
"""(8, 3) RGB; individuals beyond the eighth begin again."""

_SHIFT = 4  # OpenCV draws at 1/16 pixel
Fixed = tuple[int, int]  # a point in 1/16 pixel
Rgb = tuple[int, int, int]
_BATCH = 16


@dataclass(frozen=True)
class Style:
    """How poses are drawn.

    Attributes:
        cutoff: Keypoints below this confidence are not drawn, nor bones that end in one.
        radius: Of a keypoint of confidence 1, in pixels; None takes 1/120 of the shorter side.
        tail_frames: How many past positions a keypoint's tail has; 0 for none. For videos only.
        names: Write the individual's name beside it where there are several.
    """

    cutoff: float = 0.3
    radius: float | None = None
    tail_frames: int = 12
    names: bool = True

    def __post_init__(self) -> None:
        problems = []
        if not 0 <= self.cutoff <= 1:
            problems.append(f"cutoff is {self.cutoff}, want a confidence in [0, 1]")
        if self.radius is not None and not self.radius > 0:
            problems.append(f"radius is {self.radius}, want a positive number of pixels")
        if self.tail_frames < 0:
            problems.append(f"tail_frames is {self.tail_frames}, want 0 or more")
        if problems:
            raise all_problems("drawing style", problems)


class _Canvas:
    """Colour and opacity that are put on a frame in one go."""

    def __init__(self, frame: np.ndarray) -> None:
        self.frame = frame
        self.colour = np.zeros_like(frame)
        self.opacity = np.zeros(frame.shape[:2], np.uint8)

    def line(self, start: Fixed, end: Fixed, colour: Rgb, opacity: float, width: int) -> None:
        """A line between two points."""
        cv2.line(self.colour, start, end, colour, width + 2, cv2.LINE_8, _SHIFT)
        cv2.line(self.opacity, start, end, (round(255 * opacity),), width, cv2.LINE_AA, _SHIFT)

    def disc(self, centre: Fixed, radius: float, colour: Rgb, opacity: float) -> None:
        """A filled circle; radius in pixels."""
        size = max(1, round(radius * 2**_SHIFT))
        cv2.circle(self.colour, centre, size + 2 ** (_SHIFT + 1), colour, -1, cv2.LINE_8, _SHIFT)
        cv2.circle(self.opacity, centre, size, (round(255 * opacity),), -1, cv2.LINE_AA, _SHIFT)

    def text(self, at: np.ndarray, words: str, colour: Rgb, scale: float) -> None:
        """Words with their lower left corner at a point in pixels, with a dark rim."""
        place, font = (int(at[0]), int(at[1])), cv2.FONT_HERSHEY_SIMPLEX
        cv2.putText(self.colour, words, place, font, scale, (0, 0, 0), 5)
        cv2.putText(self.opacity, words, place, font, scale, (130,), 3, cv2.LINE_AA)
        cv2.putText(self.colour, words, place, font, scale, colour, 2)
        cv2.putText(self.opacity, words, place, font, scale, (255,), 1, cv2.LINE_AA)

    def blended(self) -> np.ndarray:
        """The frame with everything on it."""
        rows, columns = np.flatnonzero(self.opacity.any(1)), np.flatnonzero(self.opacity.any(0))
        out = self.frame.copy()
        if len(rows):
            part = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
            alpha = self.opacity[part][..., None].astype(np.float32) / 255
            mixed = out[part] * (1 - alpha) + self.colour[part] * alpha
            out[part] = np.rint(mixed).astype(np.uint8)
        return out


def draw_frame(
    frame: np.ndarray, predictions: Predictions, index: int, style: Style | None = None
) -> np.ndarray:
    """Draw the poses of one frame.

    Args:
        frame: (H, W, 3) RGB uint8; is not changed.
        predictions: Poses of the image or video.
        index: Which of its frames this is; tails go back from there.
        style: How to draw; None takes the defaults.

    Returns:
        (H, W, 3) RGB uint8.
    """
    style = style or Style()
    radius = style.radius or max(1.5, min(frame.shape[:2]) / 120)
    canvas = _Canvas(frame)
    in_time = not predictions.images
    first = max(0, index - style.tail_frames) if in_time else index
    colours = [_rgb(colour) for colour in predictions.vocabulary.colours]
    for n in range(predictions.n_individuals):
        points = predictions.keypoints[first : index + 1, n]
        confidence = predictions.confidence[first : index + 1, n]
        strength = np.where(np.isfinite(points).all(-1), np.nan_to_num(confidence), 0.0)
        strength[strength < style.cutoff] = 0.0
        fixed = _fixed(points)
        _draw_tails(canvas, fixed, strength, colours, max(1, round(radius / 3)))
        if strength[-1].any():
            own = _rgb(INDIVIDUAL_COLOURS[n % len(INDIVIDUAL_COLOURS)])
            for a, b in predictions.vocabulary.bones.tolist():
                weaker = float(min(strength[-1, a], strength[-1, b]))
                if weaker > 0:
                    width = max(1, round(radius / 2))
                    canvas.line(fixed[-1][a], fixed[-1][b], own, 0.25 + 0.5 * weaker, width)
            _draw_keypoints(canvas, fixed[-1], strength[-1], colours, radius)
            if style.names and predictions.n_individuals > 1:
                top = predictions.bbox_xywh[index, n, :2] - np.array([0, 2 * radius])
                top = np.clip(top, (0, 12), (frame.shape[1] - 10, frame.shape[0]))
                canvas.text(top, predictions.individuals[n], own, 0.15 * radius)
    return canvas.blended()


def _draw_tails(
    canvas: _Canvas, points: list[list[Fixed]], strength: np.ndarray, colours: list[Rgb], width: int
) -> None:
    """Past positions (T, K) of each keypoint as lines that fade with age."""
    steps = len(points) - 1
    weaker = np.minimum(strength[:-1], strength[1:]) * (0.6 * np.arange(1, steps + 1) / (steps + 1))[:, None]
    for t, k in np.argwhere(weaker > 0).tolist():
        canvas.line(points[t][k], points[t + 1][k], colours[k], float(weaker[t, k]), width)


def _draw_keypoints(
    canvas: _Canvas, points: list[Fixed], strength: np.ndarray, colours: list[Rgb], radius: float
) -> None:
    """The keypoints of one animal: strength (K,) is 0 where not to be drawn."""
    for k in np.flatnonzero(strength > 0).tolist():
        value = float(strength[k])
        canvas.disc(points[k], radius * (0.5 + 0.5 * value), colours[k], 0.3 + 0.7 * value)


def write_labelled_video(
    predictions: Predictions,
    source: str | PathLike[str] | np.ndarray,
    path: Path,
    style: Style | None = None,
    progress: bool = False,
) -> None:
    """Draw predictions on their video, frame by frame, into a video of the same size, rate and length.

    Args:
        predictions: From this video (or clip).
        source: The video, or the (T, H, W, 3) array, that was predicted on.
        path: The .mp4, or for a browser the .webm, to write, atomically.
        style: How to draw; None takes the defaults.
        progress: Show a progress bar on stderr.

    Raises:
        InputError: If source and predictions have different lengths, or the file cannot be written.
    """
    stream = open_source(source)
    if not stream.in_time or path.suffix.lower() not in (".mp4", ".webm"):
        raise InputError(
            f"{path}: a labelled video is made from a video or a clip, and ends in .mp4 or .webm"
        )
    make_folder(path.parent)
    fps = predictions.fps or 25
    with atomic_path(path) as temporary, VideoWriter(temporary, predictions.size_wh[0], fps) as writer:
        for frame in _labelled(predictions, stream, style, progress):
            writer.write(frame)


def write_labelled_images(
    predictions: Predictions, source: Source, folder: Path, style: Style | None = None
) -> list[Path]:
    """Draw predictions on their images, into `<folder>/<image's stem>.labelled.png`.

    Args:
        predictions: From these images.
        source: The image, images or folder that were predicted on.
        folder: Created if it does not exist.
        style: How to draw; None takes the defaults.

    Returns:
        The files, in the order of the images.

    Raises:
        InputError: If source and predictions do not belong together, or the folder cannot be written.
    """
    stream = open_source(source)
    if stream.in_time:
        raise InputError(
            f"{folder}: labelled images are made from images; for a video write a labelled video"
        )
    make_folder(folder)
    paths = [folder / f"{stem}.labelled.png" for stem in _stems(predictions)]
    for path, frame in zip(paths, _labelled(predictions, stream, style, False), strict=True):
        with atomic_path(path) as temporary:
            temporary.write_bytes(cv2.imencode(".png", cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))[1].tobytes())
    return paths


def _labelled(
    predictions: Predictions, stream: FrameSource, style: Style | None, progress: bool
) -> Iterator[np.ndarray]:
    """The frames of a source with their poses on them."""
    index = 0
    with tqdm(total=len(predictions), unit="frame", desc="drawing", disable=not progress) as bar:
        for frames in prefetch(stream.batches(_BATCH)):
            for frame in frames:
                if index >= len(predictions):
                    raise _length_error(predictions, "more")
                yield draw_frame(frame, predictions, index, style)
                index += 1
            bar.update(len(frames))
    if index < len(predictions):
        raise _length_error(predictions, str(index))


def _length_error(predictions: Predictions, found: str) -> InputError:
    return InputError(
        f"drawing: the predictions are of {len(predictions)} frames, the source has {found}; "
        "give the source that they were made from"
    )


def _stems(predictions: Predictions) -> list[str]:
    """One file stem for each image; numbered where two images have the same or none has a name."""
    if not predictions.images:
        return [f"image{t}" for t in range(len(predictions))]
    stems = [Path(name).stem for name in predictions.images]
    if len(set(stems)) == len(stems):
        return stems
    return [f"{t}_{stem}" for t, stem in enumerate(stems)]


def _fixed(points: np.ndarray) -> list[list[Fixed]]:
    """(T, K, 2) points in OpenCV's fixed-point integers; missing ones, never drawn, are put anywhere."""
    inside = np.nan_to_num(np.clip(points.astype(np.float64), -1e5, 1e5))
    return [[(x, y) for x, y in row] for row in np.rint(inside * 2**_SHIFT).astype(np.int64).tolist()]


def _rgb(colour: np.ndarray) -> Rgb:
    r, g, b = (int(v) for v in colour)
    return r, g, b
