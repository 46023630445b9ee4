"""What a user may give to `Model.predict`, as one stream of frames.

An image file; a (H, W, 3) RGB or (H, W) grey uint8 array; a (T, H, W, 3) array, which is taken for a
clip in time order; a list of such images or image files; a folder of images, in natural order
(img2 before img10); a video file. Frames come out as (H, W, 3) RGB uint8, with EXIF and container
rotation applied, in batches, and only as many in memory as are being worked on.
"""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from os import PathLike, fspath
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from superset_vocab.errors import InputError, all_problems
from zoo.video import VIDEO_SUFFIXES, VideoReader

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp")
_OTHER_IMAGES = (".avif", ".dng", ".gif", ".heic", ".heif", ".jp2")  # not read, or only in part

_LOG = logging.getLogger(__name__)
Image = np.ndarray | str | PathLike[str]
Source = Image | Sequence[Image]


@dataclass(frozen=True)
class FrameSource:
    """A stream of frames, to be read once.

    Attributes:
        batches: Batch size -> iterator over lists of (H, W, 3) RGB uint8 frames, in order.
        in_time: True for clips and videos, where an individual keeps its identity between frames.
        n_frames: Number of frames; for a video the number its container promises, 0 if none.
        fps: Frames per second of a video, else None.
        images: Names of the image files, empty for arrays and videos.
        path: Video, image or folder; None for arrays and lists.
        provenance: What to write down about the input.
        reader: The reader of a video, which knows at the end whether it was complete.
    """

    batches: Callable[[int], Iterator[list[np.ndarray]]]
    in_time: bool
    n_frames: int
    fps: Fraction | None = None
    images: tuple[str, ...] = ()
    path: Path | None = None
    provenance: dict[str, Any] = field(default_factory=dict)
    reader: VideoReader | None = None


def open_source(source: Source) -> FrameSource:
    """Look at an input and open it.

    Raises:
        InputError: If it does not exist, is of a kind that cannot be read, or is empty. Image files
            are decoded as they are streamed, so a damaged one is reported when it is reached.
    """
    if isinstance(source, np.ndarray):
        return _from_array(source)
    if isinstance(source, str | PathLike):
        return _from_path(Path(fspath(source)))
    if not isinstance(source, Sequence):
        raise InputError(
            f"cannot predict on a {type(source).__name__}; give a path, an array or a list of images"
        )
    return _from_list(source)


def _from_array(array: np.ndarray) -> FrameSource:
    if array.ndim == 4:
        if len(array) == 0:
            raise InputError(f"array of shape {array.shape} has no frames")
        rgb_frame(array[0], f"frame of an array of shape {array.shape}")
        frames = list(array)  # views, no copies
    else:
        frames = [rgb_frame(array, "array")]
    return FrameSource(
        batches=lambda size: _batched(frames, size, lambda frame: np.ascontiguousarray(frame)),
        in_time=array.ndim == 4,
        n_frames=len(frames),
        provenance={"kind": "array", "shape": list(array.shape)},
    )


def _from_path(path: Path) -> FrameSource:
    if not path.exists():
        raise InputError(f"{path}: no such file or folder")
    if path.is_dir():
        return _from_folder(path)
    suffix = path.suffix.lower()
    if suffix in VIDEO_SUFFIXES:
        return _from_video(path)
    if suffix not in IMAGE_SUFFIXES:
        raise InputError(
            f"{path}: {suffix or 'a file without an ending'} is neither an image "
            f"({' '.join(IMAGE_SUFFIXES)}) nor a video ({' '.join(VIDEO_SUFFIXES)})"
        )
    about = {"kind": "image", "name": path.name, "bytes": path.stat().st_size}
    return _from_files([path], (path.name,), path, about)


def _from_folder(folder: Path) -> FrameSource:
    entries = [entry for entry in folder.iterdir() if entry.is_file() and not entry.name.startswith(".")]
    files = sorted(
        (f for f in entries if f.suffix.lower() in IMAGE_SUFFIXES), key=lambda f: natural_key(f.name)
    )
    if not files:
        videos = sum(entry.suffix.lower() in VIDEO_SUFFIXES for entry in entries)
        found = f"it has {videos} videos: give them one by one" if videos else f"it has {len(entries)} files"
        raise InputError(f"{folder}: no images ({' '.join(IMAGE_SUFFIXES)}) in this folder; {found}")
    left_out = Counter(
        e.suffix.lower() for e in entries if e.suffix.lower() in (*VIDEO_SUFFIXES, *_OTHER_IMAGES)
    )
    if left_out:
        found = ", ".join(f"{number} {suffix}" for suffix, number in sorted(left_out.items()))
        _LOG.warning(
            "%s: of this folder only its %d images are taken, not %s; "
            "give videos one by one, save images as PNG",
            folder,
            len(files),
            found,
        )
    about = {"kind": "folder", "name": folder.resolve().name, "images": len(files)}
    return _from_files(files, tuple(f.name for f in files), folder, about)


def _from_list(items: Sequence[Image]) -> FrameSource:
    if not items:
        raise InputError("the list of images is empty")
    if all(isinstance(item, np.ndarray) for item in items):
        arrays = [rgb_frame(item, f"image {i} of the list") for i, item in enumerate(items)]  # type: ignore[arg-type]
        return FrameSource(
            batches=lambda size: _batched(arrays, size, lambda frame: frame),
            in_time=False,
            n_frames=len(arrays),
            provenance={"kind": "list of arrays", "images": len(arrays)},
        )
    problems = []
    for i, item in enumerate(items):
        if not isinstance(item, str | PathLike):
            problems.append(f"item {i} is a {type(item).__name__}; give all as paths or all as arrays")
        elif not Path(fspath(item)).is_file():
            problems.append(f"{fspath(item)}: no such file")
        elif Path(fspath(item)).suffix.lower() not in IMAGE_SUFFIXES:
            problems.append(f"{fspath(item)}: not an image; give videos and folders one by one")
    if problems:
        raise all_problems("list of images", problems)
    files = [Path(fspath(item)) for item in items]  # type: ignore[arg-type]
    names = tuple(f.as_posix() for f in files)
    return _from_files(files, names, None, {"kind": "list of images", "images": len(files)})


def _from_files(
    files: list[Path], names: tuple[str, ...], path: Path | None, about: dict[str, Any]
) -> FrameSource:
    return FrameSource(
        batches=lambda size: _batched(files, size, read_image),
        in_time=False,
        n_frames=len(files),
        images=names,
        path=path,
        provenance=about,
    )


def _from_video(path: Path) -> FrameSource:
    reader = VideoReader(path)
    return FrameSource(
        batches=reader.batches,
        in_time=True,
        n_frames=reader.info.n_frames_promised,
        fps=reader.info.fps,
        path=path,
        provenance={"kind": "video", "name": path.name, "bytes": path.stat().st_size},
        reader=reader,
    )


def _batched(
    items: Sequence[Any], size: int, read: Callable[[Any], np.ndarray]
) -> Iterator[list[np.ndarray]]:
    for start in range(0, len(items), size):
        yield [read(item) for item in items[start : start + size]]


def read_image(path: Path) -> np.ndarray:
    """Read an image file as (H, W, 3) RGB uint8, upright by its EXIF orientation.

    Raises:
        InputError: If it is missing, empty or damaged, or a stack of several pages.
    """
    try:
        content = np.frombuffer(path.read_bytes(), np.uint8)
    except OSError as error:
        raise InputError(f"{path}: cannot read the image ({error.strerror or error})") from error
    if not content.size:
        raise InputError(f"{path}: the image is empty (0 bytes); copy it again or take it out")
    try:
        frame = cv2.imdecode(content, cv2.IMREAD_COLOR)
    except cv2.error:  # larger than OpenCV's limit
        frame = None
    if frame is None:
        raise InputError(
            f"{path}: not an image that can be decoded (damaged, huge, or of more than 16 bits?); copy it "
            "again, save it as PNG, or take it out"
        )
    if _is_stack(content, frame):
        raise InputError(
            f"{path}: is a TIFF of several pages, of which only the first would be seen; save it as a video, "
            "or its pages as images in a folder"
        )
    return cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)


def _is_stack(content: np.ndarray, first: np.ndarray) -> bool:
    """Whether a file's bytes are a TIFF with a second page of the same size; a smaller one is a preview."""
    if content[:4].tobytes() not in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        return False
    found, pages = cv2.imdecodemulti(content, cv2.IMREAD_COLOR, range=(1, 2))
    return bool(found) and pages[0].shape == first.shape


def rgb_frame(array: np.ndarray, what: str) -> np.ndarray:
    """Check an array and give it three channels.

    Args:
        array: (H, W, 3) RGB or (H, W) grey, uint8.
        what: Its name in messages.

    Returns:
        (H, W, 3) uint8.

    Raises:
        InputError: If dtype or shape is another; with a hint.
    """
    shape = array.shape
    if array.dtype != np.uint8:
        hint = "multiply by 255 and convert" if array.dtype.kind == "f" else "scale to 0-255 and convert"
        raise InputError(
            f"{what}: dtype {array.dtype}, want uint8 in 0-255; {hint} with .astype(numpy.uint8)"
        )
    if array.ndim == 2 and array.size:
        return cv2.cvtColor(np.ascontiguousarray(array), cv2.COLOR_GRAY2RGB)
    if array.ndim == 3 and shape[-1] == 3 and array.size:
        return np.ascontiguousarray(array)
    hint = ""
    if array.ndim == 3 and shape[0] == 3:
        hint = "; channels come last: use .transpose(1, 2, 0)"
    elif array.ndim == 3 and shape[-1] in (1, 4):
        hint = "; use [..., :3]" if shape[-1] == 4 else "; use [..., 0]"
    elif array.ndim == 3:
        hint = "; give a stack of grey frames as a list of its frames"
    raise InputError(f"{what}: shape {shape}, want (H, W, 3) RGB or (H, W) grey, not empty{hint}")


def natural_key(name: str) -> list[tuple[int, int, str]]:
    """Sort key that orders numbers in names by value: img2 before img10."""
    parts = re.split(r"(\d+)", name)
    return [(0, int(part), part) if part.isdecimal() else (1, 0, part.lower()) for part in parts]
