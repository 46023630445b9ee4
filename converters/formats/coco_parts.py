"""A folder of COCO files for the official parts of a dataset: AP-10K, APT-36K, and mmpose's layouts.

What is read: the folder, or its `annotations/`, with one .json for each part, named like
`ap10k-train-split1.json`, `apt36k_annotations_val.json`, `macaque_test.json`. Everything that `coco` says of
one file holds here. On top of it:
- The part (train, val or test) of each image is kept in `source_split`. An image in two parts is refused: it
  would be trained and tested on.
- Datasets with several random splits of the same images (AP-10K has 1 to 3, Horse-10 as well) have a
  number in the name; one number is read, the first unless `split` names another.
- Files with other words in their names (`ap10k-train-split1-dog.json`) are extracts, and are passed over.
- The split group is the video or the folder of the image's name, where the publisher kept these apart
  too. If a folder is in several parts it is just a place for files, and then each image is a group of its
  own, as it was to those who dealt the images out: AP-10K's photographs all lie in `data/`.

AP-10K and APT-36K share 17 keypoints (`--map ap10k`). The licence that the files state is not taken: AP-10K's
say MIT, its page CC BY 4.0. The keypoint map has what the page says.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from converters.formats import coco
from converters.images import image_problems
from superset_vocab import InputError, LabelRecord, LabelSet, Source
from superset_vocab.errors import all_problems

PARTS = ("train", "val", "test")
_NAME = re.compile(
    r"(?P<dataset>.+?)[-_](?P<part>train|val|test)(?:(?:[-_]split)?[-_]?(?P<number>\d+))?", re.IGNORECASE
)


def detect(path: Path) -> bool:
    """A folder, or its annotations/, with COCO files of two parts or more."""
    if not path.is_dir() or (path / coco.ANNOTATIONS).exists():
        return False
    parts = {part for numbered in _files(path)[0].values() for part in numbered}
    return len(parts) > 1


def read(source: Path, *, dataset: str, split: int | None = None, categories: Sequence[str] = ()) -> LabelSet:
    """Read the parts of one split of a dataset.

    Args:
        source: The folder, or its annotations/.
        dataset: Dataset name of the records.
        split: Number of the split; None takes the first.
        categories: Names of the categories to read, as for `coco.read`.

    Returns:
        One record for each image, the parts one after the other, keypoints in the order of the files.

    Raises:
        InputError: If anything is broken; all problems are listed.
    """
    numbered, twins = _files(source)
    if not numbered:
        raise InputError(f"{source}: has no COCO files named for parts, like ap10k-train-split1.json")
    number = min(numbered) if split is None else split
    if number not in numbered:
        there = ", ".join(str(n) for n in sorted(numbered))
        raise InputError(f"{source}: has no split {number}; it has {there}")
    if twins[number]:
        what = "has several files for a part; put each dataset into a folder of its own, or give one file"
        raise all_problems(f"{source}: {what}", twins[number])
    sets = {
        part: coco.read_document(numbered[number][part], dataset=dataset, categories=categories)
        for part in PARTS
        if part in numbered[number]
    }
    problems = _problems(sets)
    if not problems:
        problems = image_problems(record for labels in sets.values() for record in labels.records)
    if problems:
        raise all_problems(f"{source}", problems)
    records = [replace(r, source_split=part) for part, labels in sets.items() for r in labels.records]
    first = next(iter(sets.values()))
    found = Source(dataset, first.keypoints, format="coco-parts", location=str(source))
    return LabelSet(first.keypoints, _grouped(records), (found,))


def _files(source: Path) -> tuple[dict[int, dict[str, Path]], dict[int, list[str]]]:
    """The COCO files by the number of the split (0 without one) and part, and those too many, by number."""
    folder = source / "annotations" if (source / "annotations").is_dir() else source
    found: dict[int, dict[str, Path]] = defaultdict(dict)
    twins: dict[int, list[str]] = defaultdict(list)
    for path in sorted(folder.glob("*.json")):
        if name := _NAME.fullmatch(path.stem):
            number = int(name["number"] or 0)
            first = found[number].setdefault(name["part"].lower(), path)
            if first != path:
                twins[number].append(f"{path.name} is in the place of {first.name}")
    return dict(found), twins


def _problems(sets: dict[str, LabelSet]) -> list[str]:
    """What keeps the parts from being parts of one dataset."""
    problems = []
    first_part, first = next(iter(sets.items()))
    for part, labels in sets.items():
        if labels.vocabulary is not None:
            problems.append(f"{part} is a superset dataset already; use it as it is")
        if labels.keypoints != first.keypoints:
            problems.append(
                f"{part} and {first_part} have different keypoints, or another order; read them one by one"
            )
    parts = defaultdict(list)
    for part, labels in sets.items():
        for record in labels.records:
            parts[record.image].append(part)
    problems += [
        f"{image} is in {' and '.join(where)}; remove it from one"
        for image, where in parts.items()
        if len(where) > 1
    ]
    return problems


def _grouped(records: Sequence[LabelRecord]) -> tuple[LabelRecord, ...]:
    """The records with groups that the parts do not cut through."""
    pairs = {(record.split_group, record.source_split) for record in records}
    cut = {group for group, times in Counter(group for group, _ in pairs).items() if times > 1}
    return tuple(replace(r, split_group=r.source_image) if r.split_group in cut else r for r in records)
