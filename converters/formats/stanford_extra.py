"""StanfordExtra: one dog in each of some 12,000 photographs of the Stanford Dogs dataset.

Biggs B. et al., Who left the dogs out?, ECCV 2020. The format's conventions:
- The .json is a list with one entry for each labelled dog: img_path (`<breed folder>/<image>.jpg`),
  img_width, img_height, img_bbox (x, y, width, height) and joints, 24 rows of x, y, visible.
- The joints carry no names. Their order is in keypoint_definitions.csv beside the file in its repository;
  the names here are those of the `stanforddogs` keypoint map.
- visible is 1 where a joint is labelled and 0 where it is not (then x = y = 0); there is no flag for an
  occluded one. Versions in which visible is the share of annotators who set the joint have numbers
  between: everything above 0 is labelled.
- The eyes, withers and throat were never labelled in some versions, only kept in the list: such a joint
  is not annotated, since the file does not tell.
- `is_multiple_dogs` says that there are dogs without labels in the picture. They are not in the records.
- `seg`, a mask, is not read. The official parts are lists of row numbers in .npy files beside the
  .json (`train_stanford_StanfordExtra_v12.npy`); where they are, `source_split` has the part.

Images lie in `Images/` (as Stanford Dogs unpacks them), `images/`, or beside the file. Each is a photograph
and a split group of its own. The breed, from the folder's name, is the category.
"""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np

from converters.formats.image_lookup import ImageFinder, places_of_images, posix_name
from converters.formats.json_file import json_file, json_shape
from converters.images import image_problems
from superset_vocab import InputError, LabelRecord, LabelSet, Source, Visibility
from superset_vocab.errors import all_problems
from superset_vocab.files import read_json

KEYPOINTS = (
    "L_F_Paw", "L_F_Knee", "L_F_Elbow", "L_B_Paw", "L_B_Knee", "L_B_Elbow",
    "R_F_Paw", "R_F_Knee", "R_F_Elbow", "R_B_Paw", "R_B_Knee", "R_B_Elbow",
    "TailBase", "TailEnd", "L_EarBase", "R_EarBase", "Nose", "Chin",
    "L_EarTip", "R_EarTip", "L_Eye", "R_Eye", "Withers", "Throat",
)  # fmt: skip
_FILE = "StanfordExtra*.json"
_PARTS = ("train", "val", "test")
_NEEDED = {"img_path", "img_width", "img_height", "joints"}


def detect(path: Path) -> bool:
    """A .json with a list of dogs, or a folder with one StanfordExtra*.json."""
    return json_shape(path, _FILE).shared >= _NEEDED


def read(source: Path, *, dataset: str) -> LabelSet:
    """Read a StanfordExtra .json, or the folder with it.

    Args:
        source: The .json, or the folder.
        dataset: Dataset name of the records.

    Returns:
        One record for each image, in the order of the file.

    Raises:
        InputError: If the file or its images are broken; all problems are listed.
    """
    file = json_file(source, _FILE)
    content = read_json(file)
    if not isinstance(content, list):
        raise InputError(f"{file}: is no StanfordExtra file, which is a list of dogs")
    problems: list[str] = []
    parts = _parts(file, len(content), problems)
    by_image: dict[str, list[tuple[int, dict[str, Any]]]] = defaultdict(list)
    for row, entry in enumerate(content):
        if not isinstance(entry, dict) or not entry.keys() >= _NEEDED:
            problems.append(f"entry {row + 1} has not all of {', '.join(sorted(_NEEDED))}")
        else:
            by_image[str(entry["img_path"])].append((row, entry))
    here = places_of_images(file)
    find = ImageFinder([*here, *(folder / "Images" for folder in (file.parent, file.parent.parent))])
    records = []
    for name, dogs in by_image.items():
        try:
            records.append(_record(name, dogs, find(name), parts, dataset))
        except (TypeError, ValueError, OverflowError) as error:
            problems.append(f"image {name} (entry {dogs[0][0] + 1}): {error}")
    problems += image_problems(records)
    if problems:
        raise all_problems(f"{file}", problems)
    found = Source(dataset, KEYPOINTS, format="stanford-extra", location=str(source))
    return LabelSet(KEYPOINTS, tuple(records), (found,))


def _parts(file: Path, count: int, problems: list[str]) -> dict[int, str]:
    """The official part of each row, where the lists of rows lie beside the file."""
    found: dict[int, str] = {}
    for part in _PARTS:
        for path in sorted(file.parent.glob(f"{part}_stanford_*.npy"))[:1]:
            try:
                rows = np.load(path, allow_pickle=False).ravel()
            except (OSError, ValueError) as error:
                problems.append(f"{path.name}: is no list of row numbers ({error}); download it again")
                continue
            if rows.dtype.kind not in "iu" or (rows.size and not 0 <= rows.min() <= rows.max() < count):
                problems.append(
                    f"{path.name}: does not hold numbers of the {count} rows; is it of this version?"
                )
                continue
            problems += [f"row {row} is in {found[row]} and {part}" for row in rows.tolist() if row in found]
            found |= dict.fromkeys(rows.tolist(), part)
    return found


def _record(
    name: str, dogs: list[tuple[int, dict[str, Any]]], path: Path, parts: dict[int, str], dataset: str
) -> LabelRecord:
    """One image with its dogs. Raises ValueError or TypeError on malformed entries."""
    count = len(dogs)
    keypoints, boxes = np.full((count, len(KEYPOINTS), 2), np.nan), np.full((count, 4), np.nan)
    visibility = np.full((count, len(KEYPOINTS)), Visibility.NOT_ANNOTATED, dtype=np.int8)
    for n, (_, dog) in enumerate(dogs):
        joints = _numbers(dog["joints"])
        if joints.shape != (len(KEYPOINTS), 3):
            raise ValueError(f"its joints have the shape {joints.shape}, not ({len(KEYPOINTS)}, 3)")
        labelled = joints[:, 2] > 0
        if not (np.isfinite(joints[labelled]).all() and (joints[:, 2] <= 1).all()):
            raise ValueError("a joint has a coordinate that is not finite, or a flag that is not 0 to 1")
        keypoints[n, labelled] = joints[labelled, :2]
        visibility[n, labelled] = Visibility.VISIBLE
        if dog.get("img_bbox"):
            box = _numbers(dog["img_bbox"])
            if box.shape != (4,):
                raise ValueError(f"its img_bbox is {dog['img_bbox']!r}, not x, y, width, height")
            boxes[n] = box
    split = {parts.get(row, "") for row, _ in dogs}
    if len(split) > 1:
        raise ValueError(f"its dogs are in several parts: {', '.join(sorted(filter(None, split)))}")
    # n02085620-Chihuahua: WordNet's number, then the breed.
    breed = posix_name(name).parent.name.partition("-")[2] or "dog"
    size = (int(dogs[0][1]["img_width"]), int(dogs[0][1]["img_height"]))
    return LabelRecord(
        path, size, dataset, name, keypoints, visibility, boxes, name,
        source_split=split.pop(), categories=(breed,) * count,
    )  # fmt: skip


def _numbers(value: Any) -> np.ndarray:
    """Numbers as float64; some copies of the file have its lists as texts."""
    return np.asarray(json.loads(value) if isinstance(value, str) else value, dtype=np.float64)
