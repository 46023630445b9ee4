"""Images of label sets: are they there, do they decode, how large are they, are two the same.

An image counts as readable when it decodes completely: a zero-byte or text file with an image's name
must stop a conversion, not a training run hours later.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

import cv2
import numpy as np

from superset_vocab import InputError, LabelRecord


def image_size(path: Path) -> tuple[int, int]:
    """Width and height in pixels of an image as it decodes (EXIF orientation applied).

    Raises:
        InputError: If the file is missing, empty or no image.
    """
    try:
        content = np.fromfile(path, dtype=np.uint8)
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such image") from error
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from error
    if content.size == 0:
        raise InputError(f"{path}: the image is empty (0 bytes)")
    try:
        image = cv2.imdecode(content, cv2.IMREAD_COLOR)
    except cv2.error:  # e.g. an image larger than OpenCV's limit
        image = None
    if image is None:
        raise InputError(f"{path}: is not an image that OpenCV can decode")
    return image.shape[1], image.shape[0]


class SizeReader:
    """Reads image sizes one by one and collects what is wrong, so that one error can list it all.

    Attributes:
        problems: One sentence for each image that could not be read.
    """

    def __init__(self) -> None:
        self.problems: list[str] = []

    def __call__(self, path: Path) -> tuple[int, int] | None:
        """Size of an image, or None with the reason added to `problems`."""
        try:
            return image_size(path)
        except InputError as error:
            self.problems.append(str(error))
            return None


def image_problems(records: Iterable[LabelRecord]) -> list[str]:
    """One sentence for each image that does not decode or has another size than its record says."""
    read, problems = SizeReader(), []
    for record in records:
        size = read(record.image)
        if size is not None and size != record.size_wh:
            problems.append(
                f"{record.image}: is {size[0]}x{size[1]} pixels, "
                f"the labels say {record.size_wh[0]}x{record.size_wh[1]}"
            )
    return sorted(read.problems + problems)


def content_hash(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
