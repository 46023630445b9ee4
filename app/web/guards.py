"""Looks at uploads before any work starts, so that a hostile or broken one costs nothing.

Every function raises `InputError` with a sentence for the visitor: the file's own name (never the path on
the server), what was found, and what would be taken. Names are shown with everything that could be markup
or a control character replaced.
"""

from __future__ import annotations

import re
import shutil
import stat
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import cv2
from PIL import Image, UnidentifiedImageError

from app.web.settings import MIB, Settings
from superset_vocab.errors import InputError
from zoo.video import VIDEO_SUFFIXES, VideoReader

if TYPE_CHECKING:
    from superset_vocab import LabelSet

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp")
_LONGEST_NAME = 80
_BLOCK = MIB
_MOST_KEYPOINTS = 500
_UNZIP_ERRORS = (
    zipfile.BadZipFile,
    zlib.error,
    EOFError,
    IndexError,  # an entry without a name
    NotImplementedError,
    OSError,
    RuntimeError,
    ValueError,
)


def shown_name(path: Path | str) -> str:
    """A file's name as it may be shown: no folders, no markup, no control characters, not too long."""
    name = PurePosixPath(str(path).replace("\\", "/")).name
    clean = re.sub(r"[^\w .()+,=@-]", "_", name).strip() or "file"
    return clean if len(clean) <= _LONGEST_NAME else f"{clean[: _LONGEST_NAME - 12]}...{clean[-9:]}"


def check_uploads(paths: Sequence[Path], settings: Settings) -> str:
    """Check what is to be predicted on: one video, or some images.

    Returns:
        "video" or "images".

    Raises:
        InputError: For the first upload that is not taken.
    """
    if not paths:
        raise InputError("nothing was uploaded; choose images or a video first")
    videos = [path for path in paths if path.suffix.lower() in VIDEO_SUFFIXES]
    if videos and len(paths) > 1:
        raise InputError("one video at a time, or some images; upload either")
    if len(paths) > settings.max_files:
        raise InputError(
            f"{len(paths)} images are too many at a time; at most {settings.max_files} are taken"
        )
    if videos:
        check_video(videos[0], settings)
        return "video"
    for path in paths:
        check_image(path, settings)
    return "images"


def check_size(path: Path, settings: Settings) -> None:
    """Check that a file is there, with something in it, and not too much."""
    if not path.is_file():
        raise InputError(f"{shown_name(path)} is not here any more; upload it again")
    size = path.stat().st_size
    if size == 0:
        raise InputError(f"{shown_name(path)} is empty (0 bytes); upload it again")
    if size > settings.max_upload_mib * MIB:
        raise InputError(
            f"{shown_name(path)} has {size / MIB:.0f} MiB; at most {settings.max_upload_mib} are taken"
        )


def check_image(path: Path, settings: Settings) -> None:
    """Check an image by its header; it is decoded only when that promises a size that can be taken."""
    name = shown_name(path)
    if path.suffix.lower() not in IMAGE_SUFFIXES:
        raise InputError(
            f"{name} is none of the files that can be read: images ({' '.join(IMAGE_SUFFIXES)}) "
            f"and videos ({' '.join(VIDEO_SUFFIXES)})"
        )
    check_size(path, settings)
    try:
        with Image.open(path) as image:
            size_wh, has_more = image.size, _has_more(image)
    except Image.DecompressionBombError as error:
        raise InputError(f"{name} is too large to be decoded safely; make it smaller") from error
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError) as error:
        raise InputError(
            f"{name} is no image, whatever its name says; save it again as PNG or JPEG"
        ) from error
    _check_pixels(name, size_wh, settings)
    if has_more:
        raise InputError(f"{name} holds several pictures; upload them as single images or as a video")


def _has_more(image: Image.Image) -> bool:
    """Whether a second picture is in the file. Not how many: counting those of a TIFF takes their square."""
    try:
        image.seek(1)
    except EOFError:
        return False
    return True


def check_video(path: Path, settings: Settings) -> None:
    """Check a video by what its container says. A container can lie: `predict` is bounded by frames too."""
    name = shown_name(path)
    check_size(path, settings)
    try:
        reader = VideoReader(path)
    except (InputError, cv2.error) as error:
        raise InputError(f"{name} is no video that can be decoded; convert it to mp4 (H.264)") from error
    info = reader.info
    reader.close()
    _check_pixels(name, info.size_wh, settings)
    if info.n_frames_promised > settings.max_frames:
        raise InputError(
            f"{name} has {info.n_frames_promised} frames; at most {settings.max_frames} are taken here. "
            "Cut it, or run `zoo predict` on your own machine"
        )
    seconds = info.n_frames_promised / float(info.fps) if info.fps else 0.0
    if seconds > settings.max_seconds:
        raise InputError(
            f"{name} is {seconds:.0f} s long; at most {settings.max_seconds:.0f} s are taken here. "
            "Cut it, or run `zoo predict` on your own machine"
        )


def _check_pixels(name: str, size_wh: tuple[int, int], settings: Settings) -> None:
    width, height = size_wh
    if max(size_wh) > settings.max_side or width * height > settings.max_pixels:
        raise InputError(
            f"{name} is {width} x {height} pixels; at most {settings.max_side} along a side and "
            f"{settings.max_pixels / 1e6:.0f} million in all are taken. Make it smaller"
        )


def unzip(path: Path, target: Path, settings: Settings) -> Path:
    """Unpack an uploaded zip file into a new folder, or refuse it before the first byte is written.

    Refused are entries that would leave the folder, links, encrypted entries, too many of them, and such
    as unpack to more than they may. What an entry really unpacks to is counted while it is written.

    Args:
        path: The zip file.
        target: Folder to make.
        settings: The limits.

    Returns:
        The folder; where the zip has a single folder at its top, that one.

    Raises:
        InputError: If it is refused.
    """
    name = shown_name(path)
    check_size(path, settings)
    if not zipfile.is_zipfile(path):
        raise InputError(f"{name} is no zip file; pack the project folder as .zip")
    try:
        with zipfile.ZipFile(path) as archive:
            entries = [entry for entry in archive.infolist() if not _ignored(entry.filename)]
            _check_entries(name, entries, settings)
            target.mkdir(parents=True)
            for entry in entries:
                _extract(archive, entry, target, settings, name)
    except _UNZIP_ERRORS as error:
        shutil.rmtree(target, ignore_errors=True)
        if isinstance(error, InputError):
            raise
        raise InputError(
            f"{name} cannot be unpacked; it is damaged or of an unusual kind. Pack it again"
        ) from error
    inside = list(target.iterdir())
    return inside[0] if len(inside) == 1 and inside[0].is_dir() else target


def unzip_labels(path: Path, target: Path, settings: Settings) -> Path:
    """Unpack a zip file of labelled images, and check every picture in it by its header.

    Args:
        path: The zip file.
        target: Folder in which one named after the zip file is made; its name becomes the dataset's.
        settings: The limits.

    Returns:
        The folder, as `unzip` gives it.

    Raises:
        InputError: If the zip file or a picture in it is refused.
    """
    stem = re.sub(r"[^\w.+-]", "_", Path(shown_name(path)).stem).strip(".") or "labels"
    folder = unzip(path, target / stem, settings)
    try:
        for picture in sorted(folder.rglob("*")):
            if picture.is_file() and picture.suffix.lower() in IMAGE_SUFFIXES:
                check_image(picture, settings)
    except InputError:
        shutil.rmtree(target / stem, ignore_errors=True)
        raise
    return folder


def label_source(folder: Path) -> Path:
    """What a reader of labels is given: the unpacked folder, or the one label file at its top."""
    from converters.registry import detect_format

    if not folder.is_dir():
        raise InputError("the dataset is not here any more; upload it again")
    try:
        detect_format(folder)
    except InputError:
        files = [path for path in folder.iterdir() if path.suffix.lower() in (".json", ".csv", ".slp", ".h5")]
        if len(files) == 1:
            return files[0]
    return folder


def check_inside(labels: LabelSet, folder: Path) -> None:
    """Check that labels name no picture outside of what was uploaded: it could be another visitor's.

    Raises:
        InputError: If one does, or there are more keypoints than any animal has.
    """
    if len(labels.keypoints) > _MOST_KEYPOINTS:
        raise InputError(
            f"the labels have {len(labels.keypoints)} keypoints; at most {_MOST_KEYPOINTS} are taken here"
        )
    root = folder.resolve()
    for record in labels.records:
        if not record.image.resolve().is_relative_to(root):
            raise InputError(
                f"the labels name {shown_name(record.image)}, which is not in the zip file; pack the images "
                "with the labels"
            )


def _ignored(filename: str) -> bool:
    """What archivers add for themselves."""
    return filename.startswith("__MACOSX/") or filename.rsplit("/", 1)[-1] in (".DS_Store", "Thumbs.db")


def _check_entries(name: str, entries: list[zipfile.ZipInfo], settings: Settings) -> None:
    """Refuse an archive by its directory."""
    if not entries:
        raise InputError(f"{name} is an empty zip file")
    if len(entries) > settings.max_zip_files:
        raise InputError(f"{name} has {len(entries)} entries; at most {settings.max_zip_files} are taken")
    seen: set[str] = set()
    total = 0
    for entry in entries:
        inner = PurePosixPath(entry.filename.replace("\\", "/"))
        where = shown_name(entry.filename)
        if inner.is_absolute() or ".." in inner.parts or re.match(r"^[A-Za-z]:", entry.filename):
            raise InputError(f"{name}: the entry {where} would be written outside of its folder; refused")
        mode = entry.external_attr >> 16
        if mode and not (stat.S_ISREG(mode) or stat.S_ISDIR(mode) or stat.S_IFMT(mode) == 0):
            raise InputError(f"{name}: the entry {where} is a link or no ordinary file; refused")
        if entry.flag_bits & 1:
            raise InputError(f"{name} is encrypted; pack it without a password")
        if str(inner).casefold() in seen:
            raise InputError(f"{name} has the entry {where} twice; pack it again")
        seen.add(str(inner).casefold())
        total += entry.file_size
        if entry.file_size > MIB and entry.file_size > settings.max_zip_ratio * max(entry.compress_size, 1):
            raise InputError(f"{name}: the entry {where} is packed suspiciously small; refused as a zip bomb")
    if total > settings.max_unzipped_mib * MIB:
        raise InputError(
            f"{name} unpacks to {total / MIB:.0f} MiB; at most {settings.max_unzipped_mib} are taken"
        )


def _extract(
    archive: zipfile.ZipFile, entry: zipfile.ZipInfo, target: Path, settings: Settings, name: str
) -> None:
    """Write one entry, and not a byte more than its directory entry promised."""
    place = target / PurePosixPath(entry.filename.replace("\\", "/"))
    if entry.is_dir():
        place.mkdir(parents=True, exist_ok=True)
        return
    place.parent.mkdir(parents=True, exist_ok=True)
    left = min(entry.file_size, settings.max_unzipped_mib * MIB)
    with archive.open(entry) as source, place.open("xb") as file:
        while block := source.read(_BLOCK):
            left -= len(block)
            if left < 0:
                raise InputError(f"{name} unpacks to more than it says; refused")
            file.write(block)
