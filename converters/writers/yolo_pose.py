"""YOLO-pose folders for Ultralytics: data.yaml, images and labels for each part.

`converters.formats.yolo_pose` has the format's conventions. Parts are those of the records
(`source_split`), "train" where there is none; a record's part is not chosen here, because that needs the
split groups (`zoo export-labels --validation` does it). All keypoints of the set are written in their order:
a superset keeps its channels. `flip_idx` is the vocabulary's; without a vocabulary it is left out, and
Ultralytics then trains without mirroring. Categories become classes.

What the format cannot keep, and is lost (reported with counts):
- undefined: becomes not annotated, flag 0. So Ultralytics will learn that these keypoints are absent;
- a keypoint outside of the image: becomes not annotated, since coordinates are fractions from 0 to 1;
- a box is cut off at the edge of the image; where there is none, one is drawn around the keypoints. An
  instance with neither is left out: YOLO has no instance without a box;
- individuals, image ids, split groups, the name of the dataset; and other parts than train, val and test.
"""

from __future__ import annotations

import logging
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from converters.formats.yolo_pose import CONFIG, CORNER_TO_CENTRE
from converters.writers.common import check_images, free_name, image_name, write_provenance
from superset_vocab import LabelRecord, LabelSet, load_vocabulary
from superset_vocab.files import atomic_folder

_LOG = logging.getLogger(__name__)
_PARTS = ("train", "val", "test")
_ANIMAL = "animal"  # the class of instances whose source has none
_SMALLEST_BOX = 1.0  # px; around a single keypoint


def write(labels: LabelSet, out: Path) -> None:
    """Write labels and copies of their images as a YOLO-pose folder; all of it or nothing.

    Args:
        labels: The set.
        out: A new or empty folder.

    Raises:
        InputError: If images are missing, or `out` cannot be written.
    """
    check_images(labels.records, out)
    classes = list(dict.fromkeys(name for record in labels.records for name in _classes(record))) or [_ANIMAL]
    lost: Counter[str] = Counter()
    taken: set[str] = set()
    with atomic_folder(out) as folder:
        parts = [
            record.source_split if record.source_split in _PARTS else "train" for record in labels.records
        ]
        for part in dict.fromkeys(parts):
            (folder / part / "images").mkdir(parents=True)
            (folder / part / "labels").mkdir()
        for record, part in zip(labels.records, parts, strict=True):
            # Two images whose names differ in the ending only would share a label file.
            stem = free_name(f"{part}/{Path(image_name(record)).stem}", taken).partition("/")[2]
            shutil.copyfile(record.image, folder / part / "images" / f"{stem}{record.image.suffix.lower()}")
            lines = "".join(f"{line}\n" for line in _lines(record, classes, lost))
            (folder / part / "labels" / f"{stem}.txt").write_text(lines, "utf-8")
        content = yaml.safe_dump(_config(labels, parts, classes), sort_keys=False, allow_unicode=True)
        (folder / CONFIG).write_text(content, "utf-8")
        write_provenance(labels, folder, "yolo-pose")
    for what, count in lost.items():
        _LOG.warning("%s: %d %s", out, count, what)
    if "val" not in parts:
        _LOG.warning(
            "%s: no image is in the part val, which Ultralytics wants; export with --validation 0.1", out
        )


def _classes(record: LabelRecord) -> tuple[str, ...]:
    """(N,) the class of each instance."""
    return record.categories or (_ANIMAL,) * len(record)


def _config(labels: LabelSet, parts: list[str], classes: list[str]) -> dict[str, Any]:
    """What data.yaml says."""
    # No "path": Ultralytics then takes the folder of data.yaml, wherever that is moved.
    config: dict[str, Any] = {part: f"{part}/images" for part in _PARTS if part in parts}
    config["kpt_shape"] = [len(labels.keypoints), 3]
    if labels.vocabulary is not None:
        config["flip_idx"] = load_vocabulary(labels.vocabulary).flip_index.tolist()
    config["names"] = dict(enumerate(classes))
    config["kpt_names"] = {number: list(labels.keypoints) for number in range(len(classes))}
    config["license"] = "; ".join(f"{source.dataset}: {source.licence}" for source in labels.sources)
    return config


def _lines(record: LabelRecord, classes: list[str], lost: Counter[str]) -> list[str]:
    """A line for each instance of an image; what is lost is counted."""
    size = np.array(record.size_wh, dtype=np.float64)
    lines = []
    for n, category in enumerate(_classes(record)):
        xy = (record.keypoints[n] + CORNER_TO_CENTRE) / size
        annotated = record.annotated[n]
        inside = annotated & (xy >= 0).all(1) & (xy <= 1).all(1)
        box = _box(record.bbox_xywh[n], record.keypoints[n][inside], size)
        if box is None:
            lost["instances have neither a box nor a keypoint in the image and are left out"] += 1
            continue
        if outside := int((annotated & ~inside).sum()):
            lost["keypoints lie outside of their image and become not annotated"] += outside
        flags = np.where(inside, record.visibility[n], 0)
        points = np.where(inside[:, None], xy, 0.0)
        numbers = np.concatenate([box, np.concatenate([points, flags[:, None]], axis=1).ravel()])
        lines.append(" ".join([str(classes.index(category)), *(f"{value:.9g}" for value in numbers)]))
    return lines


def _box(bbox_xywh: np.ndarray, points: np.ndarray, size: np.ndarray) -> np.ndarray | None:
    """Box centre and size as fractions of the image, or None if there is nothing to draw one around."""
    low, high = bbox_xywh[:2], bbox_xywh[:2] + bbox_xywh[2:]
    edges = np.array([low, high]) + CORNER_TO_CENTRE
    edges = np.clip(edges, 0, size)
    if not (np.isfinite(edges).all() and (edges[1] > edges[0]).all()):
        if not len(points):
            return None
        low, high = points.min(0) + CORNER_TO_CENTRE, points.max(0) + CORNER_TO_CENTRE
        grow = np.maximum(_SMALLEST_BOX - (high - low), 0) / 2
        edges = np.clip(np.array([low - grow, high + grow]), 0, size)
    return np.concatenate([edges.mean(0), edges[1] - edges[0]]) / np.tile(size, 2)
