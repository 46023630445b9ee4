"""Images that show nearly the same: a picture recompressed or resized, or the next frame of a still animal.

A video from a fixed camera is hard: all its frames look alike to a hash of the whole picture, because the
animal is a small part of it. So the hash only finds candidates, which share one of its four bands of 16
bits. A pair of candidates is a near-duplicate if every block of a 16 x 16 grid is about as bright in both,
which it is not where an animal moved, and, where both have the same keypoints annotated, these are in the
same place.

Limits. An animal hardly brighter or darker than its background that moves by less than a block, without
common keypoints in the labels, looks still. Crops, rotations and mirror images are not found. Of an image
with very many near-duplicates (an hour of a sleeping animal) not all are listed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from converters.images import ImageFacts
from superset_vocab import LabelRecord

BLOCK_DIFFERENCE = 8  # grey levels of 255; JPEG at quality 50 stays below 4, half a mouse is 15 and more
KEYPOINT_SHIFT = 0.05  # of the animal's size
_BANDS = 4
_PARTNERS = 50  # of an image in a band, more are not listed: they would be millions of pairs


def near_duplicates(records: Sequence[LabelRecord], facts: Sequence[ImageFacts]) -> list[tuple[int, int]]:
    """Pairs of nearly the same images, smaller index first, sorted.

    Args:
        records: The labels.
        facts: Of the image of each record.
    """
    if not records:
        return []
    hashes = np.array([fact.hash for fact in facts], dtype=np.uint64)
    blocks = np.stack([fact.blocks.ravel() for fact in facts])
    found: set[tuple[int, int]] = set()
    for band in range(_BANDS):
        key = (hashes >> np.uint64(16 * band)) & np.uint64(0xFFFF)
        order = np.argsort(key, kind="stable")
        for members in np.split(order, np.flatnonzero(np.diff(key[order])) + 1):
            if len(members) > 1:
                found.update(_alike(members, blocks))
    return sorted(pair for pair in found if not _moved(records[pair[0]], records[pair[1]]))


def _alike(members: np.ndarray, blocks: np.ndarray) -> Iterator[tuple[int, int]]:
    """Pairs among some images whose blocks are about as bright."""
    own = blocks[members].astype(np.int16)
    key = own[:, int(own.var(axis=0).argmax())]  # sorted by the block that differs most, a window holds them
    order = np.argsort(key, kind="stable")
    own, key, members = own[order], key[order], members[order]
    ends = np.searchsorted(key, key + BLOCK_DIFFERENCE, side="right")
    for i, end in enumerate(ends.tolist()):
        if end > i + 1:
            near = np.abs(own[i + 1 : end] - own[i]).max(axis=1) <= BLOCK_DIFFERENCE
            for j in members[i + 1 : end][near][:_PARTNERS].tolist():
                yield min(j, int(members[i])), max(j, int(members[i]))


def _moved(a: LabelRecord, b: LabelRecord) -> bool:
    """Whether the labels say that an animal moved: in pixels of the first image, relative to its size."""
    if len(a) != len(b) or not len(a) or a.keypoints.shape[1] != b.keypoints.shape[1]:
        return False
    scale = np.array(a.size_wh) / np.array(b.size_wh)
    both = np.isfinite(a.keypoints[:, None]).all(-1) & np.isfinite(b.keypoints[None]).all(-1)  # (N, N, K)
    shift = np.linalg.norm(a.keypoints[:, None] - b.keypoints[None] * scale, axis=-1)
    number = both.sum(-1)
    mean = np.where(both, shift, 0.0).sum(-1) / np.maximum(number, 1)
    mean[number == 0] = np.inf
    nearest = mean.min(axis=1)  # of each animal, the one of the other image that lies nearest
    known = np.isfinite(nearest)
    size = np.array([_extent(a.keypoints[n]) for n in range(len(a))])
    return bool((nearest[known] > KEYPOINT_SHIFT * size[known] + 1).any())


def _extent(xy: np.ndarray) -> float:
    """Diagonal of the box around an animal's annotated keypoints, in pixels."""
    known = xy[np.isfinite(xy).all(-1)]
    return float(np.linalg.norm(known.max(0) - known.min(0))) if len(known) else 0.0
