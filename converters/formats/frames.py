"""Pictures without labels, for pseudo-labels: a video, or a folder of images.

A record is a frame without instances: not "there is no animal" but "nobody has looked yet". So such a set
is for prediction and adaptation, never for training as it is. The vocabulary has to be named, because
pictures have no keypoints.

Of a video `count` frames are taken, spread evenly from the first to the last, and written as PNG into the
folder given for frames; decoding is sequential, so the numbers in their names are exact. Of a folder all
images directly in it are taken as they are, or `count` of them in the order of their names. The split
group is the video, or the folder.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from converters.formats.image_lookup import IMAGE_SUFFIXES
from converters.images import SizeReader
from superset_vocab import InputError, LabelRecord, LabelSet, Source, load_vocabulary
from superset_vocab.errors import all_problems
from superset_vocab.files import make_folder

VIDEO_SUFFIXES = (".mp4", ".avi", ".mov", ".mkv", ".m4v", ".webm", ".mpg", ".mpeg", ".wmv")
DEFAULT_COUNT = 200


def detect(path: Path) -> bool:
    """A video, or a folder with images and no other files."""
    if not path.is_dir():
        return path.suffix.lower() in VIDEO_SUFFIXES
    files = [file for file in path.iterdir() if not file.name.startswith(".")]
    return bool(files) and all(file.is_file() and file.suffix.lower() in IMAGE_SUFFIXES for file in files)


def read(
    source: Path,
    *,
    dataset: str,
    frames: Path | None = None,
    vocabulary: str | None = None,
    count: int | None = None,
) -> LabelSet:
    """Frames of a video, or the images of a folder, as records without instances.

    Args:
        source: The video or the folder.
        dataset: Dataset name of the records.
        frames: Folder for the frames of a video; not needed for images.
        vocabulary: The superset vocabulary that the records are for.
        count: Number of frames, spread evenly; None takes 200 of a video, and all images.

    Raises:
        InputError: If there is no vocabulary, no picture, or a picture is broken.
    """
    if vocabulary is None:
        raise InputError(
            f"{source}: are pictures without labels; for pseudo-labels name the vocabulary "
            "(--option vocabulary=superanimal_topviewmouse), for labels give their file"
        )
    if count is not None and count < 1:
        raise InputError(f"count is {count}, want 1 or more frames")
    keypoints = load_vocabulary(vocabulary).keypoints
    if source.is_dir():
        images = sorted(p for p in source.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES)
        images = [images[i] for i in _spread(len(images), count)]
        named: list[tuple[Path, int | None]] = [(path, None) for path in images]
    else:
        if frames is None:
            raise InputError(f"{source}: say where its frames may be written (frames=FOLDER)")
        indices = _spread(count_frames(source), count or DEFAULT_COUNT)
        named = [(path, index) for index, path in extract_frames(source, indices, frames).items()]
    if not named:
        raise InputError(f"{source}: has no images ({', '.join(IMAGE_SUFFIXES)})")
    sizes, records = SizeReader(), []
    k = len(keypoints)
    for path, index in named:
        if (size := sizes(path)) is not None:
            nobody = (np.empty((0, k, 2)), np.empty((0, k), dtype=np.int8), np.empty((0, 4)))
            name = f"{source.stem if index is not None else source.name}/{path.name}"
            records.append(LabelRecord(path, size, dataset, source.stem, *nobody, name, source_id=index))
    if sizes.problems:
        raise all_problems(f"{source}", sizes.problems)
    found = Source(dataset, (), format="frames", location=str(source))
    return LabelSet(keypoints, tuple(records), (found,), vocabulary)


def count_frames(video: Path) -> int:
    """Number of frames that decode, counted: what containers say is often wrong.

    Raises:
        InputError: If it is no video.
    """
    return sum(1 for _ in _grabbed(video))


def extract_frames(video: Path, indices: Sequence[int], folder: Path) -> dict[int, Path]:
    """Write frames of a video as `<folder>/<video>/img<index>.png`.

    Args:
        video: The video.
        indices: Which frames, from 0.
        folder: Created if it does not exist; frames of another video of the same name are not overwritten.

    Returns:
        The path of each frame, in the order of the video.

    Raises:
        InputError: If it is no video, or ends before a frame.
    """
    place = folder / video.stem
    wanted = set(indices)
    if place.exists():
        place = folder / f"{video.stem}__{sum(1 for p in folder.iterdir() if p.name.startswith(video.stem))}"
    make_folder(place)
    found: dict[int, Path] = {}
    last = max(wanted, default=-1)
    for index, capture in tqdm(_grabbed(video), desc=video.name, total=last + 1, unit="frame", disable=None):
        if index in wanted:
            ok, image = capture.retrieve()
            path = place / f"img{index:06d}.png"
            if not ok or not cv2.imwrite(str(path), image):
                raise InputError(f"{video}: frame {index} cannot be decoded, or written to {place}")
            found[index] = path
        if index >= last:
            break
    missing = sorted(wanted - found.keys())
    if missing:
        raise InputError(
            f"{video}: has no frame {missing[0]}"
            + (f" and {len(missing) - 1} more that are labelled" if len(missing) > 1 else "")
            + "; is it the video that was labelled, and complete?"
        )
    return found


def _grabbed(video: Path) -> Iterable[tuple[int, cv2.VideoCapture]]:
    """Each frame's number and the capture that stands at it."""
    if not video.is_file():
        raise InputError(f"{video}: no such video")
    # Absolute: FFmpeg takes what is before the first colon of "10:30:05.mp4" for a protocol.
    capture = cv2.VideoCapture(str(video.absolute()), cv2.CAP_FFMPEG)
    try:
        index = 0
        while capture.grab():
            yield index, capture
            index += 1
        if index == 0:
            raise InputError(f"{video}: is not a video that OpenCV can decode; copy or record it again")
    finally:
        capture.release()


def _spread(total: int, count: int | None) -> list[int]:
    """`count` of `total` places, evenly from the first to the last; all of them where there are fewer."""
    if count is None or count >= total:
        return list(range(total))
    return sorted(set(np.linspace(0, total - 1, count).round().astype(int).tolist()))
