"""The decoded images of a training set: checked once, and kept while there is memory for them.

Checking and keeping are one pass, made before the loader's processes are forked: they share what was
kept, instead of decoding everything once more each. What does not fit is decoded whenever it is
needed; keeping the first images that fit is as good as anything cleverer, because all are drawn alike.

An image is damaged if it does not decode, if its file ends too early (OpenCV decodes the upper part of a
truncated JPEG or PNG and fills the rest with grey, without a word), or if its size is not the one
that its labels were made for.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from superset_vocab import InputError, LabelRecord, LabelSet
from superset_vocab.errors import all_problems

_log = logging.getLogger(__name__)
_THREADS = 4  # decoding releases the interpreter's lock
_WORTH_A_BAR = 200  # images


class ImageStore:
    """Reads images, and keeps them until `cache_mb` megabytes are full.

    Args:
        grey: Decode to luminance, else to RGB.
        cache_mb: Megabytes of decoded images to keep.
    """

    def __init__(self, *, grey: bool, cache_mb: int) -> None:
        self.grey = grey
        self._free = cache_mb * 1_000_000
        self._kept: dict[Path, np.ndarray] = {}

    def __call__(self, path: Path) -> np.ndarray:
        """The decoded image: (H, W) or (H, W, 3) RGB uint8. It must not be changed.

        Raises:
            InputError: If it cannot be decoded, or its file is cut short.
        """
        image = self._kept.get(path)
        if image is None:
            image = read_image(path, grey=self.grey)
            self._keep(path, image)
        return image

    def _keep(self, path: Path, image: np.ndarray) -> None:
        if path not in self._kept and image.nbytes <= self._free:
            self._kept[path] = image
            self._free -= image.nbytes

    def check(self, labels: LabelSet, *, on_bad: str) -> tuple[LabelSet, tuple[str, ...]]:
        """Decode every image of a label set once.

        Args:
            labels: Records with their images.
            on_bad: "refuse" or "skip".

        Returns:
            The labels without those of bad images, and one sentence for each of these.

        Raises:
            InputError: If there are bad images and they are to be refused (all are named), or if none is
                left.
        """
        bad = self._bad(labels.records)
        if not bad:
            return labels, ()
        problems = sorted(bad.values())
        if on_bad == "refuse":
            raise all_problems('training images (data.bad_images = "skip" leaves them out)', problems)
        for problem in problems:
            _log.warning("left out: %s", problem)
        records = tuple(record for record in labels.records if record.image not in bad)
        if not records:
            raise all_problems("training images: none is left", problems)
        return replace(labels, records=records), tuple(problems)

    def _bad(self, records: Iterable[LabelRecord]) -> dict[Path, str]:
        """Path -> what is wrong with it; keeps the good images."""
        sizes = {record.image: record.size_wh for record in records}
        bar = tqdm(total=len(sizes), desc="images", disable=None if len(sizes) > _WORTH_A_BAR else True)
        bad: dict[Path, str] = {}

        def look(path: Path) -> tuple[Path, np.ndarray | str]:
            try:
                return path, self(path)
            except InputError as error:
                return path, str(error)

        with bar, ThreadPoolExecutor(_THREADS) as pool:
            for path, found in pool.map(look, sizes):
                bar.update()
                if isinstance(found, str):
                    bad[path] = found
                elif found.shape[1::-1] != sizes[path]:
                    width, height = found.shape[1::-1]
                    bad[path] = f"{path}: is {width}x{height} pixels, its labels are for {_size(sizes[path])}"
        return bad


def read_image(path: Path, *, grey: bool) -> np.ndarray:
    """Decode an image: (H, W) or (H, W, 3) RGB uint8.

    Raises:
        InputError: If it cannot be decoded, or its file is cut short.
    """
    try:
        content = np.fromfile(path, np.uint8)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from error
    if _cut_short(content.tobytes()):
        raise InputError(f"{path}: the image file is cut short ({len(content)} bytes); copy it again")
    try:
        image = cv2.imdecode(content, cv2.IMREAD_GRAYSCALE if grey else cv2.IMREAD_COLOR)
    except cv2.error:  # an empty file, or an image larger than OpenCV's limit
        image = None
    if image is None:
        raise InputError(f"{path}: cannot be read as an image; run `zoo convert` again")
    return image if grey else image[..., ::-1]


def _cut_short(content: bytes) -> bool:
    """Whether the end marker of a JPEG or PNG is missing."""
    if content.startswith(b"\xff\xd8"):  # in coded data 0xff is followed by 0, so these are markers
        return content.rfind(b"\xff\xd9") < content.rfind(b"\xff\xda")
    return content.startswith(b"\x89PNG") and b"IEND" not in content


def _size(size_wh: tuple[int, int]) -> str:
    return f"{size_wh[0]}x{size_wh[1]}"
