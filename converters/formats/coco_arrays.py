"""The numbers of COCO annotations as arrays, all of a file at once.

One array for each annotation would take several times as long as reading the JSON. So everything is
converted together, and only if that fails are the annotations looked at one by one, to say which is wrong.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from superset_vocab import Visibility


def annotation_arrays(
    annotations: Sequence[dict[str, Any]], columns: dict[Any, np.ndarray], k: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Keypoints (A, K, 2) px, visibility (A, K) and boxes (A, 4) px of all annotations of a file.

    Raises:
        TypeError, ValueError: If any is malformed; `annotation_problem` says which.
    """
    count = len(annotations)
    keypoints, boxes = np.full((count, k, 2), np.nan), np.full((count, 4), np.nan)
    visibility = np.full((count, k), Visibility.UNDEFINED, dtype=np.int8)
    rows: dict[Any, list[int]] = {key: [] for key in columns}
    for row, annotation in enumerate(annotations):
        rows[annotation["category_id"]].append(row)
    for key, own_rows in rows.items():
        own = columns[key]
        visibility[np.array(own_rows, dtype=np.int64)[:, None], own] = Visibility.NOT_ANNOTATED
        labelled = [row for row in own_rows if annotations[row].get("keypoints")]
        if not labelled:
            continue
        points = np.array([annotations[row]["keypoints"] for row in labelled], dtype=np.float64)
        points = points.reshape(len(labelled), len(own), 3)
        flags = points[..., 2]
        annotated = flags >= Visibility.OCCLUDED
        points[~annotated, :2] = np.nan
        if not (_are_flags(flags) and np.array_equal(np.isfinite(points).all(-1), annotated)):
            raise ValueError("flags or coordinates are wrong")
        place = np.array(labelled)[:, None], own
        visibility[place] = flags
        keypoints[place] = points[..., :2]
    boxed = [row for row, annotation in enumerate(annotations) if _has_box(annotation)]
    if boxed:
        boxes[boxed] = np.array([annotations[row]["bbox"] for row in boxed], dtype=np.float64).reshape(-1, 4)
        if not np.isfinite(boxes[boxed]).all():
            raise ValueError("boxes are wrong")
    return keypoints, visibility, boxes


def _has_box(annotation: dict[str, Any]) -> bool:
    """Whether an annotation has a box that was labelled, not drawn around its keypoints by this package.

    Tools that know keypoints only write [0, 0, 0, 0], because COCO wants a box.
    """
    box = annotation.get("bbox")
    if "bbox_source" in annotation:
        return bool(box) and annotation["bbox_source"] == "labels"
    return bool(box) and box != [0, 0, 0, 0]


def _are_flags(flags: np.ndarray) -> bool:
    """Whether all numbers are states of a keypoint."""
    return np.array_equal(flags, np.clip(np.rint(flags), Visibility.UNDEFINED, Visibility.VISIBLE))


def annotation_problem(annotation: dict[str, Any], n_keypoints: int) -> str:
    """What is wrong with an annotation, or an empty text."""
    name = f"annotation {annotation.get('id', '')}".rstrip()
    try:
        values = _numbers(annotation.get("keypoints") or [])
        box = _numbers(annotation["bbox"]) if _has_box(annotation) else np.zeros(4)
    except (TypeError, ValueError):
        return f"{name}: its keypoints or its bbox are no list of numbers"
    if len(values) not in (0, 3 * n_keypoints):
        want = f"{3 * n_keypoints} (x, y and flag of {n_keypoints} keypoints)"
        return f"{name} has {len(values)} numbers, not {want}"
    flags, xy = values[2::3], values.reshape(-1, 3)[:, :2]
    if not _are_flags(flags):
        return f"{name} has a visibility other than -1, 0, 1, 2"
    if not np.isfinite(xy[flags >= Visibility.OCCLUDED]).all():
        return f"{name} has a coordinate that is not finite"
    if box.shape != (4,) or not np.isfinite(box).all():
        return f"{name} has the bbox {annotation['bbox']}, not x, y, width, height"
    return ""


def _numbers(values: Any) -> np.ndarray:
    """A flat list of numbers, or one of lists, as (n,) float64; null is NaN."""
    return np.asarray(values, dtype=np.float64).ravel()
