"""Label records: what a labelled image says, in one form for every source.

Coordinates are image pixels, x right, y down, and the centre of the top-left pixel is (0, 0).
A missing coordinate is NaN. Every keypoint of every instance is in one of four states (`Visibility`),
because "this dataset does not define the keypoint" and "the annotator left it out" mean opposite
things to a training loss: the first must not be penalised, the second must (SuperAnimal paper,
"Keypoint gradient masking").
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path
from typing import Any

import numpy as np

from superset_vocab.errors import all_problems

UNKNOWN_LICENCE = "unknown"


class Visibility(IntEnum):
    """State of a keypoint of an instance; COCO's flags 0-2, and -1 of the SuperAnimal paper."""

    UNDEFINED = -1
    NOT_ANNOTATED = 0
    OCCLUDED = 1
    VISIBLE = 2


@dataclass(frozen=True, eq=False)
class LabelRecord:
    """One labelled image with its N instances.

    Attributes:
        image: Path of the image file.
        size_wh: Width and height of the image in pixels.
        dataset: Name of the source dataset.
        split_group: Animal, session or video; a split never cuts through it. Unique within its dataset:
            two datasets may both have a "day1" and mean different ones.
        keypoints: (N, K, 2) float64 x, y in pixels; NaN unless occluded or visible.
        visibility: (N, K) int8, values of `Visibility`.
        bbox_xywh: (N, 4) float64 in pixels; NaN where no box is known.
        source_image: What the source itself calls the image, e.g. "labeled-data/m4s1/img0000.png".
        source_id: The id that the source gives the image (COCO's `id`), or None where it has none.
        source_split: The source's own part that the image is in ("train", "val", "test"), or "".
        individuals: (N,) the source's name of each animal (DeepLabCut's individual, SLEAP's track); or
            empty where it has none.
        categories: (N,) the source's class of each animal (COCO's category, a species); or empty.
    """

    image: Path
    size_wh: tuple[int, int]
    dataset: str
    split_group: str
    keypoints: np.ndarray
    visibility: np.ndarray
    bbox_xywh: np.ndarray
    source_image: str = ""
    source_id: int | str | None = None
    source_split: str = ""
    individuals: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        problems = []
        count, k = self.visibility.shape if self.visibility.ndim == 2 else (-1, -1)
        if self.keypoints.shape != (count, k, 2):
            problems.append(
                f"keypoints have shape {self.keypoints.shape}, visibility {self.visibility.shape}; "
                "want (N, K, 2) and (N, K)"
            )
        else:
            annotated = self.annotated
            if not _are_states(self.visibility):
                problems.append("visibility has values other than -1, 0, 1, 2")
            if not np.array_equal(np.isfinite(self.keypoints).all(-1), annotated) or not np.array_equal(
                np.isfinite(self.keypoints).any(-1), annotated
            ):
                problems.append("coordinates must be finite where annotated and NaN elsewhere")
        if self.bbox_xywh.shape != (count, 4):
            problems.append(f"bbox_xywh has shape {self.bbox_xywh.shape}, want ({count}, 4)")
        for name in ("individuals", "categories"):
            if len(getattr(self, name)) not in (0, count):
                problems.append(f"{name} has {len(getattr(self, name))} names for {count} instances")
        if problems:
            raise all_problems(f"{self.image}", problems)

    def __len__(self) -> int:
        return len(self.visibility)

    @property
    def annotated(self) -> np.ndarray:
        """(N, K) bool: keypoints that have coordinates, occluded or visible."""
        return self.visibility >= Visibility.OCCLUDED


def _are_states(visibility: np.ndarray) -> bool:
    """Whether all values are of `Visibility`; by their range, as there are many small arrays to check."""
    if not visibility.size:
        return True
    whole = visibility.dtype.kind == "i" or np.array_equal(visibility, np.rint(visibility))
    return bool(whole and visibility.min() >= Visibility.UNDEFINED and visibility.max() <= Visibility.VISIBLE)


@dataclass(frozen=True)
class Source:
    """Where records of one dataset came from; carried through every merge.

    Attributes:
        dataset: Name, as in `LabelRecord.dataset`.
        keypoints: The names that the dataset itself uses, in its own order.
        licence: Licence of images and labels, or `UNKNOWN_LICENCE`.
        citation: How to cite it.
        format: Format it was read from, e.g. "deeplabcut".
        location: Path or address it was read from.
        keypoint_map: Original name -> superset keypoint, None where dropped; empty before projection.
    """

    dataset: str
    keypoints: tuple[str, ...]
    licence: str = UNKNOWN_LICENCE
    citation: str = ""
    format: str = ""
    location: str = ""
    keypoint_map: dict[str, str | None] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class LabelSet:
    """Records that share one list of keypoints: a foreign dataset, or a superset of several.

    Attributes:
        keypoints: (K,) names of the keypoint axis of every record.
        records: The labelled images.
        sources: One for each dataset that the records name.
        vocabulary: Name of the superset vocabulary that `keypoints` are, or None for a foreign set.
        operations: What was done to the labels, oldest first (`superset_vocab.provenance.operation`).
    """

    keypoints: tuple[str, ...]
    records: tuple[LabelRecord, ...]
    sources: tuple[Source, ...]
    vocabulary: str | None = None
    operations: tuple[dict[str, Any], ...] = ()

    def __post_init__(self) -> None:
        problems = [
            f"keypoint {name!r} is listed {times} times"
            for name, times in Counter(self.keypoints).items()
            if times > 1
        ]
        named = {source.dataset for source in self.sources}
        if len(named) != len(self.sources):
            problems.append("two sources have the same dataset name")
        for dataset in sorted({record.dataset for record in self.records} - named):
            problems.append(f"records name dataset {dataset!r}, which has no source entry")
        for record in self.records:
            if record.visibility.shape[1] != len(self.keypoints):
                problems.append(
                    f"{record.image} has {record.visibility.shape[1]} keypoints, not {len(self.keypoints)}"
                )
        if problems:
            raise all_problems("label set", problems)

    def __len__(self) -> int:
        return len(self.records)

    @property
    def n_instances(self) -> int:
        """Number of labelled animals in all records."""
        return sum(len(record) for record in self.records)
