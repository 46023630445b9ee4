"""What is in a label set, by dataset and keypoint: counts, as a table, CSV and JSON."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from superset_vocab import LabelSet, Visibility
from superset_vocab.files import atomic_path, write_json

JSON, CSV = "statistics.json", "statistics.csv"
_STATES = ("not_annotated", "occluded", "visible")


@dataclass(frozen=True, eq=False)
class DatasetStatistics:
    """Counts of one dataset.

    Attributes:
        dataset: Its name.
        licence: Its licence, as carried along from its source.
        n_images: Labelled images, those without an animal included.
        n_instances: Animals.
        n_boxes: Animals with a labelled box.
        n_groups: Split groups.
        states: (K, 4) int, for each keypoint the number of animals in which it is undefined, not annotated,
            occluded and visible, in this order.
    """

    dataset: str
    licence: str
    n_images: int
    n_instances: int
    n_boxes: int
    n_groups: int
    states: np.ndarray

    @property
    def annotated(self) -> np.ndarray:
        """(K,) animals in which each keypoint has coordinates."""
        return self.states[:, 2] + self.states[:, 3]

    @property
    def defined(self) -> np.ndarray:
        """(K,) bool, keypoints that the dataset defines in at least one animal."""
        return self.states[:, 1:].sum(1) > 0


def dataset_statistics(labels: LabelSet) -> list[DatasetStatistics]:
    """Count a label set, one entry for each source in their order; a source without records counts zero."""
    k = len(labels.keypoints)
    images, instances, boxes = Counter(), Counter(), Counter()
    groups: dict[str, set[str]] = {source.dataset: set() for source in labels.sources}
    states = {source.dataset: np.zeros((k, 4), dtype=np.int64) for source in labels.sources}
    for record in labels.records:
        name = record.dataset
        images[name] += 1
        instances[name] += len(record)
        boxes[name] += int(np.isfinite(record.bbox_xywh).all(-1).sum())
        groups[name].add(record.split_group)
        for column, state in enumerate(Visibility):
            states[name][:, column] += (record.visibility == state).sum(0)
    return [
        DatasetStatistics(
            dataset=source.dataset,
            licence=source.licence,
            n_images=images[source.dataset],
            n_instances=instances[source.dataset],
            n_boxes=boxes[source.dataset],
            n_groups=len(groups[source.dataset]),
            states=states[source.dataset],
        )
        for source in labels.sources
    ]


def table(statistics: Sequence[DatasetStatistics]) -> list[str]:
    """Lines of text: a row for each dataset, and their sum."""
    head = ("dataset", "images", "groups", "animals", "boxes", "keypoints", "annotated", "licence")
    rows: list[tuple[str, ...]] = [head]
    for entry in statistics:
        counts = (entry.n_images, entry.n_groups, entry.n_instances, entry.n_boxes)
        counts += (int(entry.defined.sum()), int(entry.annotated.sum()))
        rows.append((entry.dataset, *map(str, counts), entry.licence))
    if len(statistics) > 1:
        sums = [sum(int(row[column]) for row in rows[1:]) for column in range(1, 5)]
        defined = int(np.any([entry.defined for entry in statistics], axis=0).sum())
        annotated = sum(int(row[6]) for row in rows[1:])
        rows.append(("all", *map(str, (*sums, defined, annotated)), ""))
    widths = [max(len(row[column]) for row in rows) for column in range(7)]
    return [
        "  ".join([row[0].ljust(widths[0]), *(row[c].rjust(widths[c]) for c in range(1, 7)), row[7]]).rstrip()
        for row in rows
    ]


def as_dict(labels: LabelSet, statistics: Sequence[DatasetStatistics]) -> dict[str, Any]:
    """The counts as JSON can hold them."""
    return {
        "vocabulary": labels.vocabulary,
        "n_images": sum(entry.n_images for entry in statistics),
        "n_instances": sum(entry.n_instances for entry in statistics),
        "datasets": [
            {
                "dataset": entry.dataset,
                "licence": entry.licence,
                "n_images": entry.n_images,
                "n_groups": entry.n_groups,
                "n_instances": entry.n_instances,
                "n_boxes": entry.n_boxes,
                "keypoints": {
                    labels.keypoints[k]: dict(zip(_STATES, entry.states[k, 1:].tolist(), strict=True))
                    for k in np.flatnonzero(entry.defined)
                },
            }
            for entry in statistics
        ],
    }


def write_statistics(labels: LabelSet, folder: Path) -> list[DatasetStatistics]:
    """Write statistics.json, and statistics.csv with a row for each dataset and keypoint it defines."""
    statistics = dataset_statistics(labels)
    write_json(folder / JSON, as_dict(labels, statistics))
    with atomic_path(folder / CSV) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("dataset", "licence", "keypoint", *_STATES))
        for entry in statistics:
            for k in np.flatnonzero(entry.defined):
                counts = entry.states[k, 1:].tolist()
                writer.writerow((entry.dataset, entry.licence, labels.keypoints[k], *counts))
    return statistics
