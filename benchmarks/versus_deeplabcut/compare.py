"""How far two results of the same clip are apart."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

_SAME = 0.5  # least overlap (intersection over union) of two boxes of one animal


@dataclass(frozen=True)
class Difference:
    """Of two results, over the frames in which both found the same animal.

    Attributes:
        n_frames: Frames of the clip.
        n_both: Frames with an animal in both results.
        n_same: Of these, frames in which the boxes overlap by half or more, so that it is the same animal.
        box: Largest difference of a box's position or size, px; NaN without such frames.
        keypoints: (N,) distances of the keypoints, px, sorted.
        confidence: Largest difference of a keypoint's confidence.
    """

    n_frames: int
    n_both: int
    n_same: int
    box: float
    keypoints: np.ndarray
    confidence: float

    @classmethod
    def of(cls, a: dict[str, np.ndarray], b: dict[str, np.ndarray]) -> Difference:
        """Of two results with keypoints (T, K, 2), confidence (T, K) and bbox_xywh (T, 4).

        A result with fewer frames lacks the last ones.
        """
        n = max(len(a["bbox_xywh"]), len(b["bbox_xywh"]))
        short = min(len(a["bbox_xywh"]), len(b["bbox_xywh"]))
        a, b = (
            {name: one[name][:short] for name in ("keypoints", "confidence", "bbox_xywh")} for one in (a, b)
        )
        both = np.isfinite(a["bbox_xywh"]).all(1) & np.isfinite(b["bbox_xywh"]).all(1)
        same = both & (_overlap(a["bbox_xywh"], b["bbox_xywh"]) >= _SAME)
        if not same.any():
            return cls(n, int(both.sum()), 0, float("nan"), np.empty(0), float("nan"))
        distance = np.linalg.norm(a["keypoints"][same] - b["keypoints"][same], axis=-1)
        return cls(
            n_frames=n,
            n_both=int(both.sum()),
            n_same=int(same.sum()),
            box=float(np.abs(a["bbox_xywh"][same] - b["bbox_xywh"][same]).max()),
            keypoints=np.sort(distance.ravel()),
            confidence=float(np.abs(a["confidence"][same] - b["confidence"][same]).max()),
        )

    def __str__(self) -> str:
        if not self.n_same:
            return f"no frame of {self.n_frames} with the same animal in both"
        far = int((self.keypoints > 0.01).sum())
        return (
            f"same animal in {self.n_same} of {self.n_frames} frames ({self.n_both} with one in both); "
            f"largest difference: box {self.box:.2g} px, keypoint {self.keypoints[-1]:.2g} px "
            f"({far} of {len(self.keypoints)} keypoints beyond 0.01 px), confidence {self.confidence:.2g}"
        )


def _overlap(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(T,) intersection over union of boxes (T, 4) xywh; NaN where one is NaN."""
    low = np.maximum(a[:, :2], b[:, :2])
    high = np.minimum(a[:, :2] + a[:, 2:], b[:, :2] + b[:, 2:])
    shared = np.prod(np.clip(high - low, 0, None), axis=1)
    return shared / (np.prod(a[:, 2:], axis=1) + np.prod(b[:, 2:], axis=1) - shared)


def similarity(
    sparse: dict[str, np.ndarray], dense: dict[str, np.ndarray], sigmas: np.ndarray, sure: float
) -> np.ndarray:
    """(T,) OKS of one result with another, whose boxes give the size.

    Args:
        sparse: A result as in `Difference.of`.
        dense: Another one, which the first is measured against.
        sigmas: (K,) of the keypoints.
        sure: Keypoints of `dense` below this confidence do not count: where a network does not know,
            its maximum jumps, and that two runs jump differently says nothing about the boxes.

    Returns:
        OKS; NaN where `dense` has no animal, or none of whose keypoints is sure.
    """
    from training.metrics import oks

    out = np.full(len(dense["bbox_xywh"]), np.nan)
    for t, box in enumerate(dense["bbox_xywh"]):
        truth = np.where(dense["confidence"][t][:, None] >= sure, dense["keypoints"][t], np.nan)
        if np.isfinite(box).all() and np.isfinite(truth).any():
            area = np.array([box[2] * box[3]])
            out[t] = oks(sparse["keypoints"][t][None], truth[None], area, sigmas)[0, 0]
    return out
