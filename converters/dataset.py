"""A superset dataset on disk: a folder with annotations.json (COCO) and images/.

The images are copies under names that begin with their dataset, so that datasets can be merged
without a collision, and so that a dataset stays whole when its sources are moved or changed. With
images="link" they are hard links: no second copy on the disk, and still there when the source is deleted;
but an image that is changed in place changes in both, and both must be on one file system.

annotations.json is written one entry at a time: at the paper's scale (85,000 images) the whole document as
Python objects takes more memory than the labels themselves.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, TextIO

from tqdm import tqdm

from converters.formats import coco
from converters.statistics import write_statistics
from superset_vocab import InputError, LabelRecord, LabelSet, load_vocabulary
from superset_vocab.errors import all_problems
from superset_vocab.files import atomic_folder, atomic_path

Images = Literal["copy", "link"]
_LONGEST_NAME = 180  # bytes of an image name, well below the 255 of most file systems


def write_superset(
    labels: LabelSet,
    out: Path,
    *,
    images: Images = "copy",
    statistics: bool = False,
    progress: bool = False,
) -> LabelSet:
    """Write labels and their images as a superset dataset; all of it or nothing.

    Args:
        labels: The label set.
        out: A new or empty folder.
        images: "copy" the image files, or "link" them (hard links, see above).
        statistics: Also write statistics.json and statistics.csv (`converters.statistics`).
        progress: Show a progress bar.

    Returns:
        The same labels, whose records name the written images.

    Raises:
        InputError: If `out` is not empty or cannot be written, or images are missing or cannot be linked.
    """
    if images not in ("copy", "link"):
        raise InputError(f"images {images!r} is none of copy, link")
    missing = [f"{record.image}: no such image" for record in labels.records if not record.image.is_file()]
    if missing:
        raise all_problems(f"{out} is not written", missing)
    names = _file_names(labels.records)
    with atomic_folder(out) as folder:
        (folder / "images").mkdir()
        pairs = zip(labels.records, names, strict=True)
        for record, name in tqdm(
            pairs, "images", len(names), leave=False, unit="image", disable=not progress
        ):
            _place(record.image, folder / name, images)
        with (
            atomic_path(folder / coco.ANNOTATIONS) as temporary,
            temporary.open("w", encoding="utf-8") as file,
        ):
            _write_annotations(file, labels, names)
        if statistics:
            write_statistics(labels, folder)
    records = tuple(
        replace(record, image=out / name) for record, name in zip(labels.records, names, strict=True)
    )
    return replace(labels, records=records)


def _place(image: Path, target: Path, images: Images) -> None:
    """Copy or link an image."""
    if images == "copy":
        shutil.copyfile(image, target)
        return
    try:
        os.link(image.resolve(), target)  # the file itself: a link to a relative link would lead nowhere
    except OSError as error:
        raise InputError(
            f"{image}: cannot be linked into {target.parent} ({error.strerror or error}); "
            "links need one file system that has them; use --images copy"
        ) from error


def _write_annotations(file: TextIO, labels: LabelSet, names: Sequence[str]) -> None:
    """Write `coco.to_document` without ever holding it."""
    file.write(_json(coco.document_head(labels))[:-1])
    for key, entries in (
        ("images", coco.image_entries(labels, names)),
        ("annotations", coco.annotation_entries(labels)),
    ):
        file.write(f', "{key}": [')
        _write_items(file, entries)
        file.write("]")
    file.write("}\n")


def _write_items(file: TextIO, items: Iterable[dict[str, Any]]) -> None:
    """Write the items of a JSON list."""
    for i, item in enumerate(items):
        file.write(("," if i else "") + "\n" + _json(item))


def _json(content: Any) -> str:
    """JSON text. NaN is refused: it is not JSON."""
    return json.dumps(content, allow_nan=False, ensure_ascii=False)


def load_superset(path: Path) -> LabelSet:
    """Load a dataset that `write_superset` wrote. Images are looked for, not decoded.

    Args:
        path: The folder, or its annotations.json.

    Raises:
        InputError: If it is no superset dataset of a known vocabulary, or is broken.
    """
    if not path.exists():
        raise InputError(f"{path}: no such file or folder")
    labels = coco.read_document(path, dataset=path.resolve().stem)
    if labels.vocabulary is None:
        raise InputError(f"{path}: is not in a superset vocabulary; run `zoo convert` on it first")
    vocabulary = load_vocabulary(labels.vocabulary)
    if labels.keypoints != vocabulary.keypoints:
        raise InputError(
            f"{path}: its keypoints are not those of {vocabulary.name} in their order; "
            "convert the source again with this version"
        )
    return labels


def _file_names(records: Sequence[LabelRecord]) -> list[str]:
    """A file name below the dataset's folder for each record, all different on any file system."""
    names, taken = [], set()
    for record in records:
        original = Path(record.source_image or record.image.name)
        parts = [record.dataset, *(p for p in original.parts if p not in ("labeled-data", "images", "/"))]
        stem = re.sub(r"[^\w.-]", "_", "__".join(parts).removesuffix(original.suffix))
        stem = stem.encode()[-_LONGEST_NAME:].decode(errors="ignore")  # a letter cut in two is left out
        suffix = record.image.suffix.lower()
        name, n = f"images/{stem}{suffix}", 1
        while name.casefold() in taken:
            n += 1
            name = f"images/{stem}__{n}{suffix}"
        taken.add(name.casefold())
        names.append(name)
    return names
