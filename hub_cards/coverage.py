"""What is in a label set, source by source: counted, never stated."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from superset_vocab import LabelSet, Source, Visibility


@dataclass(frozen=True, eq=False)
class Coverage:
    """Counts of one source of a label set with K keypoints.

    Attributes:
        source: Whose records were counted.
        n_images, n_instances, n_groups: Images, labelled animals, and split groups (animals or sessions).
        defined: (K,) bool, whether the source defines the keypoint.
        n_annotated: (K,) int, instances in which the keypoint is annotated, occluded ones with them.
        n_occluded: (K,) int, those of them that are occluded.
    """

    source: Source
    n_images: int
    n_instances: int
    n_groups: int
    defined: np.ndarray
    n_annotated: np.ndarray
    n_occluded: np.ndarray

    @property
    def fraction(self) -> np.ndarray:
        """(K,) float: share of the instances in which a keypoint is annotated; NaN where it is undefined."""
        share = self.n_annotated / max(1, self.n_instances)
        return np.where(self.defined, share, np.nan)


def coverage(labels: LabelSet) -> list[Coverage]:
    """Count the keypoints of every source of a label set, in the order of its sources."""
    return [_count(labels, source) for source in labels.sources]


def _count(labels: LabelSet, source: Source) -> Coverage:
    records = [record for record in labels.records if record.dataset == source.dataset]
    empty = np.zeros((0, len(labels.keypoints)), dtype=np.int8)
    visibility = np.concatenate([empty, *(record.visibility for record in records)])
    mapped = {target for target in source.keypoint_map.values() if target is not None}
    named = np.array([name in mapped for name in labels.keypoints], dtype=bool)
    return Coverage(
        source=source,
        n_images=len(records),
        n_instances=len(visibility),
        n_groups=len({record.split_group for record in records}),
        defined=named | (visibility > Visibility.UNDEFINED).any(0),
        n_annotated=(visibility >= Visibility.OCCLUDED).sum(0),
        n_occluded=(visibility == Visibility.OCCLUDED).sum(0),
    )
