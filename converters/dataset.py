"""A superset dataset on disk: a folder with annotations.json (COCO) and images/.

The images are copies under names that begin with their dataset, so that datasets can be merged
without a collision, and so that a dataset stays whole when its sources are moved or changed.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from converters.formats import coco
from superset_vocab import InputError, LabelRecord, LabelSet, load_vocabulary
from superset_vocab.errors import all_problems
from superset_vocab.files import atomic_folder, write_json

_LONGEST_NAME = 180  # characters of an image name, well below the 255 bytes of most file systems


def write_superset(labels: LabelSet, out: Path) -> LabelSet:
    """Write labels and copies of their images as a superset dataset; all of it or nothing.

    Args:
        labels: The label set.
        out: A new or empty folder.

    Returns:
        The same labels, whose records name the copies.

    Raises:
        InputError: If `out` is not empty or cannot be written, or images are missing.
    """
    missing = [f"{record.image}: no such image" for record in labels.records if not record.image.is_file()]
    if missing:
        raise all_problems(f"{out} is not written", missing)
    names = _file_names(labels.records)
    with atomic_folder(out) as folder:
        (folder / "images").mkdir()
        for record, name in zip(labels.records, names, strict=True):
            shutil.copyfile(record.image, folder / name)
        write_json(folder / coco.ANNOTATIONS, coco.to_document(labels, names), indent=None)
    records = tuple(
        replace(record, image=out / name) for record, name in zip(labels.records, names, strict=True)
    )
    return replace(labels, records=records)


def load_superset(path: Path) -> LabelSet:
    """Load a dataset that `write_superset` wrote. Images are looked for, not decoded.

    Args:
        path: The folder, or its annotations.json.

    Raises:
        InputError: If it is no superset dataset of a known vocabulary, or is broken.
    """
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
        stem = re.sub(r"[^\w.-]", "_", "__".join(parts).removesuffix(original.suffix))[-_LONGEST_NAME:]
        suffix = record.image.suffix.lower()
        name, n = f"images/{stem}{suffix}", 1
        while name.casefold() in taken:
            n += 1
            name = f"images/{stem}__{n}{suffix}"
        taken.add(name.casefold())
        names.append(name)
    return names
