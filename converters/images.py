"""Images of label sets: are they there, do they decode, how large are they, are two the same.

An image counts as readable when it decodes completely: a zero-byte or text file with an image's name
must stop a conversion, not a training run hours later.

A reader of a label format raises an error for the images it cannot use. Within `looking()` it does not: it
goes on without them, and what was seen of every image is kept, so that a validation can list the bad ones
beside all its other findings and need not decode the good ones again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np

from superset_vocab import InputError, LabelRecord


class ImageError(InputError):
    """An image that is not there or does not decode.

    Attributes:
        path: Of the image.
        missing: Whether there is no such file.
        reason: What is wrong, without the path.
    """

    def __init__(self, path: Path, reason: str, *, missing: bool = False) -> None:
        super().__init__(f"{path}: {reason}")
        self.path, self.reason, self.missing = path, reason, missing


@dataclass(frozen=True, eq=False)
class ImageFacts:
    """What is known of an image that decodes.

    Attributes:
        size_wh: Width and height in pixels as it decodes (EXIF orientation applied).
        sha256: Of the file's bytes, hexadecimal.
        blocks: (16, 16) uint8, mean brightness of the blocks of a 16 x 16 grid.
        hash: Perceptual hash, 64 bits (`perceptual_hash`).
    """

    size_wh: tuple[int, int]
    sha256: str
    blocks: np.ndarray
    hash: int


@dataclass
class Looked:
    """What was seen of images within `looking()`.

    Attributes:
        facts: Of each image that decodes.
        errors: Of each image that is missing or does not decode.
    """

    facts: dict[Path, ImageFacts] = field(default_factory=dict)
    errors: dict[Path, ImageError] = field(default_factory=dict)

    def at(self, path: Path) -> ImageFacts | None:
        """Facts of an image, looked at if that was not done yet; None with the reason in `errors`."""
        if path not in self.facts and path not in self.errors:
            try:
                self.facts[path] = look(path)
            except ImageError as error:
                self.errors[path] = error
        return self.facts.get(path)


_looking: ContextVar[Looked | None] = ContextVar("looking", default=None)


@contextmanager
def looking() -> Iterator[Looked]:
    """Within the block readers leave bad images out instead of refusing; yields what was seen of all."""
    looked = Looked()
    token = _looking.set(looked)
    try:
        yield looked
    finally:
        _looking.reset(token)


def _decode(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Bytes of a file, and the image (H, W, 3) uint8 BGR in them."""
    try:
        content = np.fromfile(path, dtype=np.uint8)
    except FileNotFoundError as error:
        raise ImageError(path, "no such image", missing=True) from error
    except OSError as error:
        raise ImageError(path, f"cannot be read ({error.strerror or error})") from error
    except ValueError as error:  # a name that no file system takes
        raise ImageError(path, f"is no file name ({error})", missing=True) from error
    if content.size == 0:
        raise ImageError(path, "the image is empty (0 bytes)")
    try:
        image = cv2.imdecode(content, cv2.IMREAD_COLOR)
    except cv2.error:  # e.g. an image larger than OpenCV's limit
        image = None
    if image is None:
        raise ImageError(path, "is not an image that OpenCV can decode")
    return content, image


def read_image(path: Path) -> np.ndarray:
    """An image, (H, W, 3) uint8 BGR (EXIF orientation applied).

    Raises:
        ImageError: If the file is missing, empty or no image.
    """
    return _decode(path)[1]


def image_size(path: Path) -> tuple[int, int]:
    """Width and height in pixels of an image as it decodes (EXIF orientation applied).

    Raises:
        ImageError: If the file is missing, empty or no image.
    """
    image = read_image(path)
    return image.shape[1], image.shape[0]


def look(path: Path) -> ImageFacts:
    """All facts of an image, read and decoded once.

    Raises:
        ImageError: If the file is missing, empty or no image.
    """
    content, image = _decode(path)
    grey = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
    blocks = cv2.resize(grey, (16, 16), interpolation=cv2.INTER_AREA)
    sha256 = hashlib.sha256(content.data).hexdigest()
    return ImageFacts((image.shape[1], image.shape[0]), sha256, blocks, perceptual_hash(grey))


def perceptual_hash(grey: np.ndarray) -> int:
    """64 bits that change little when a picture is recompressed, resized or brightened.

    The lowest 8 x 8 coefficients of the cosine transform of the 32 x 32 picture, each above or below their
    median (the constant one left out of the median): what the package imagehash calls phash. These few
    lines on OpenCV, which has decoded the picture already, spare its dependencies Pillow and PyWavelets.

    Args:
        grey: (H, W) uint8.
    """
    small = cv2.resize(grey, (32, 32), interpolation=cv2.INTER_AREA).astype(np.float32)
    low = np.asarray(cv2.dct(small)[:8, :8], dtype=np.float32).ravel()
    return int.from_bytes(np.packbits(low > np.median(low[1:])).tobytes(), "big")


class SizeReader:
    """Reads image sizes one by one and collects what is wrong, so that one error can list it all.

    Attributes:
        problems: One sentence for each image that could not be read; stays empty within `looking()`.
    """

    def __init__(self) -> None:
        self.problems: list[str] = []

    def __call__(self, path: Path) -> tuple[int, int] | None:
        """Size of an image, or None with the reason added to `problems` (or to what `looking()` yields)."""
        looked = _looking.get()
        if looked is not None:
            facts = looked.at(path)
            return None if facts is None else facts.size_wh
        try:
            return image_size(path)
        except ImageError as error:
            self.problems.append(str(error))
            return None


def missing_images(records: Iterable[LabelRecord]) -> list[str]:
    """One sentence for each image that is not there; none within `looking()`, where validation says it."""
    if _looking.get() is not None:
        return []
    return [f"{record.image}: no such image" for record in records if not record.image.is_file()]


def image_problems(records: Iterable[LabelRecord]) -> list[str]:
    """One sentence for each image that does not decode or has another size than its record says.

    None within `looking()`, where validation says it.
    """
    if _looking.get() is not None:
        return []
    read, problems = SizeReader(), []
    for record in records:
        size = read(record.image)
        if size is not None and size != record.size_wh:
            problems.append(f"{record.image}: {size_sentence(record, size)}")
    return sorted(read.problems + problems)


def size_sentence(record: LabelRecord, size_wh: tuple[int, int]) -> str:
    """That an image has another size than its record says."""
    (width, height), (said_width, said_height) = size_wh, record.size_wh
    return f"is {width}x{height} pixels, the labels say {said_width}x{said_height}"
