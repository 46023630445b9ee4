"""Animal-Pose's own JSON: dogs, cats, sheep, horses and cows, twenty keypoints each.

Cao J. et al., Cross-Domain Adaptation for Animal Pose Estimation, ICCV 2019. The format's conventions:
- "images" is an object, id -> file name; the files lie in `images/` beside the JSON, or beside it.
- "categories" carry the keypoint names; all categories share them. Their own names, the species, stay.
- "annotations" hold image_id, category_id, bbox as x1, y1, x2, y2 and keypoints as lists [x, y, visible].
- visible is 1 where the keypoint is labelled and 0 where it is not; there is no flag for an occluded
  one. Unlabelled keypoints are mostly (0, 0, 0). The published file also has 299 with visible 0 at
  another place: withdrawn labels, many of them on a neighbouring animal. They are not annotated here.
- num_keypoints says 20 everywhere, whatever is labelled, and is ignored.

Keypoints are whole numbers from 0 to width - 1 in the original images, so they are indices of pixels
and are copied: the centre of the top-left pixel is (0, 0). Boxes are copied too; those of the PASCAL
VOC images count pixels from 1, a difference that no box here resolves. A box need not hold its
keypoints (0.5 % lie outside, some by far), so it is not corrected by them.

A labelled keypoint outside of the image (by a pixel or more) is a mistake of the file; it becomes not
annotated and is reported. Animals without any labelled keypoint stay in with their box, because they
are in the picture.

The images are independent photographs, so each is a split group of its own. Some, however, are in the
set under two or three names (and were labelled each time): images with the same bytes share a group,
which is called after the first of their names.
"""

from __future__ import annotations

import logging
from collections import Counter
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from converters.formats.json_file import json_file, json_shape
from converters.formats.malformed import reason
from converters.images import SizeReader
from superset_vocab import InputError, LabelRecord, LabelSet, Source, Visibility
from superset_vocab.errors import all_problems
from superset_vocab.files import read_json, sha256_of

_LOG = logging.getLogger(__name__)
_FILE = "keypoints.json"


def detect(path: Path) -> bool:
    """An Animal-Pose .json (its "images" are an object), or the folder with keypoints.json."""
    kinds = json_shape(path, _FILE).kinds
    return [kinds.get(part) for part in ("images", "annotations", "categories")] == [dict, list, list]


def read(source: Path, *, dataset: str) -> LabelSet:
    """Read an Animal-Pose JSON file, or the folder that holds its keypoints.json.

    Args:
        source: The .json, or the folder.
        dataset: Dataset name of the records.

    Returns:
        One record for each image in the order of the file, also where nothing is annotated.

    Raises:
        InputError: If the file or its images are broken; all problems are listed.
    """
    file = json_file(source, _FILE)
    content = read_json(file)
    if not _is_animal_pose(content):
        raise InputError(
            f"{file}: is no Animal-Pose file, which has an object of images (id -> file name), "
            "annotations and categories"
        )
    names = Counter(str(name) for name in content["images"].values())
    problems = [f"image {name} is listed {times} times" for name, times in names.items() if times > 1]
    keypoints, categories = _keypoint_names(content["categories"], problems)
    if problems:
        raise all_problems(f"{file}", problems)
    by_image = _by_image(content, categories, problems)
    found = Source(dataset, keypoints, format="animal-pose", location=str(source))
    records = _records(file, by_image, found, problems)
    ids = {str(name): key for key, name in content["images"].items()}
    names = [tuple(str(categories[a["category_id"]]) for a in by_image[r.source_image]) for r in records]
    records = [
        replace(record, source_id=ids[record.source_image], categories=of_image)
        for record, of_image in zip(records, names, strict=True)
    ]
    return LabelSet(keypoints, _with_groups(records), (found,))


def _records(
    file: Path, by_image: dict[str, list[dict[str, Any]]], source: Source, problems: list[str]
) -> list[LabelRecord]:
    """The records of all images, by file name; each is its own split group.

    Raises:
        InputError: With `problems` and all that are found here.
    """
    sizes, outside, records = SizeReader(), [], []
    for name, animals in by_image.items():
        try:
            path, arrays = _find_image(file, name), _instances(animals, len(source.keypoints))
        except (KeyError, TypeError, ValueError) as error:
            problems.append(f"image {name}: {reason(error)}")
            continue
        if (size := sizes(path)) is not None:
            outside += [f"{name}: {source.keypoints[k]}" for k in _leave_out_outside(arrays, size)]
            records.append(LabelRecord(path, size, source.dataset, name, *arrays, source_image=name))
    if problems or sizes.problems:
        raise all_problems(f"{file}", problems + sizes.problems)
    if outside:
        text = "%s: %d keypoints lie outside of their image and are left out:\n  %s"
        _LOG.warning(text, file, len(outside), "\n  ".join(outside))
    return records


def _is_animal_pose(content: Any) -> bool:
    """Whether parsed JSON has the three parts; "images" as an object sets it apart from COCO."""
    return (
        isinstance(content, dict)
        and isinstance(content.get("images"), dict)
        and isinstance(content.get("annotations"), list)
        and isinstance(content.get("categories"), list)
    )


def _keypoint_names(categories: list[Any], problems: list[str]) -> tuple[tuple[str, ...], dict[Any, str]]:
    """The one list of keypoint names, and the names of the categories by id."""
    try:
        lists = {tuple(str(name) for name in category["keypoints"]) for category in categories}
        ids = {category["id"]: str(category.get("name", category["id"])) for category in categories}
    except (KeyError, TypeError) as error:
        problems.append(f"its categories cannot be understood: {reason(error)}")
        return (), {}
    if len(lists) != 1 or () in lists:
        problems.append(f"its categories have {len(lists)} different lists of keypoints, not one with names")
    names = next(iter(lists), ())
    problems += [f"keypoint {name!r} is listed {n} times" for name, n in Counter(names).items() if n > 1]
    return names, ids


def _by_image(
    content: dict[str, Any], categories: dict[Any, str], problems: list[str]
) -> dict[str, list[dict[str, Any]]]:
    """The annotations of each image, by its file name, in the order of the images."""
    names = {key: str(name) for key, name in content["images"].items()}  # JSON's object keys are text
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in names.values()}
    for place, annotation in enumerate(content["annotations"], start=1):
        try:
            image, category = str(annotation["image_id"]), annotation["category_id"]
            known = category in categories
        except (KeyError, TypeError) as error:
            problems.append(f"annotation {place} cannot be understood: {reason(error)}")
            continue
        if image not in names:
            problems.append(f"annotation {place} is of image {image}, which is not there")
        elif not known:
            problems.append(f"annotation {place} is of category {category}, which is not there")
        else:
            found[names[image]].append(annotation)
    return found


def _find_image(file: Path, name: str) -> Path:
    """Where an image lies: in images/ beside the file, or beside the file."""
    parts = PurePosixPath(name.replace("\\", "/"))
    if parts.is_absolute() or ".." in parts.parts:
        raise ValueError("its name leads out of the dataset's folder")
    places = [file.parent / "images" / parts, file.parent / parts]
    return next((place for place in places if place.is_file()), places[0])


def _instances(annotations: list[dict[str, Any]], k: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Keypoints (N, K, 2) px, visibility (N, K) and boxes (N, 4) px, x, y, width, height, of an image.

    Raises ValueError, KeyError or TypeError on malformed entries.
    """
    count = len(annotations)
    keypoints, boxes = np.full((count, k, 2), np.nan), np.full((count, 4), np.nan)
    visibility = np.full((count, k), Visibility.NOT_ANNOTATED, dtype=np.int8)
    for n, annotation in enumerate(annotations):
        values = np.asarray(annotation["keypoints"], dtype=np.float64)
        corners = np.asarray(annotation["bbox"], dtype=np.float64)
        if values.shape != (k, 3):
            raise ValueError(f"instance {n + 1} has keypoints of shape {values.shape}, not ({k}, 3)")
        if not np.isin(values[:, 2], (0, 1)).all():
            raise ValueError(f"instance {n + 1} has a keypoint whose visible is neither 0 nor 1")
        if corners.shape != (4,) or not (corners[2:] >= corners[:2]).all():
            raise ValueError(f"instance {n + 1} has the box {annotation['bbox']}, which is no x1, y1, x2, y2")
        labelled = values[:, 2] == 1
        if not (np.isfinite(values[labelled]).all() and np.isfinite(corners).all()):
            raise ValueError(f"instance {n + 1} has a coordinate that is not finite")
        keypoints[n, labelled] = values[labelled, :2]
        visibility[n, labelled] = Visibility.VISIBLE
        boxes[n] = *corners[:2], *(corners[2:] - corners[:2])
    return keypoints, visibility, boxes


def _leave_out_outside(
    arrays: tuple[np.ndarray, np.ndarray, np.ndarray], size_wh: tuple[int, int]
) -> list[int]:
    """Make labelled keypoints outside of the image not annotated, in place; their keypoint indices."""
    keypoints, visibility, _ = arrays
    # A pixel of tolerance: a resized copy's edge may be rounded to either side of its labels.
    beyond = (keypoints < -1) | (keypoints > np.array(size_wh))
    out = beyond.any(-1)
    keypoints[out] = np.nan
    visibility[out] = Visibility.NOT_ANNOTATED
    return np.nonzero(out)[1].tolist()


def _with_groups(records: list[LabelRecord]) -> tuple[LabelRecord, ...]:
    """The records, those of images with the same bytes in the group of the first of their names."""
    hashes = [sha256_of(record.image) for record in records]
    first: dict[str, str] = {}
    for name, key in sorted((record.source_image, key) for record, key in zip(records, hashes, strict=True)):
        first.setdefault(key, name)
    return tuple(replace(record, split_group=first[key]) for record, key in zip(records, hashes, strict=True))
