"""Videos of bright squares, a model that finds them (exact truth without any weights), and random poses."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from superset_vocab import load_vocabulary
from zoo.catalogue import ModelSpec, NetworkSpec, WeightsSpec
from zoo.detectors import Detections
from zoo.model import Model
from zoo.results import Predictions

ABOUT = """
name = "m"
vocabulary = "superanimal_topviewmouse"
summary = "s"
licence = "l"
citation = "c"
training_data = ["d"]
"""
"""What the .toml of a model called m has to say, whatever its networks are."""

SPEC = ModelSpec(
    name="fake",
    variant="squares",
    vocabulary="superanimal_topviewmouse",
    summary="finds bright squares",
    pose=NetworkSpec("none", WeightsSpec("none.safetensors", "0" * 64), input={"size": 64}),
    detectors={},
    licence="none",
    citation="none",
    training_data=(),
    default=True,
)
K = 27
SIDE = 16


def square_frame(*corners: tuple[float, float], size_wh: tuple[int, int] = (128, 96)) -> np.ndarray:
    """(H, W, 3) dark frame with a bright square at each top-left corner."""
    frame = np.full((size_wh[1], size_wh[0], 3), 30, np.uint8)
    for x, y in corners:
        frame[int(y) : int(y) + SIDE, int(x) : int(x) + SIDE] = 230
    return frame


def write_video(path: Path, frames: Sequence[np.ndarray], fps: float = 25.0, codec: str = "mp4v") -> Path:
    """Write frames with OpenCV, not with the code under test."""
    size = frames[0].shape[1::-1]
    writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*codec), fps, size)
    assert writer.isOpened()
    for frame in frames:
        writer.write(np.ascontiguousarray(frame[..., ::-1]))
    writer.release()
    return path


def moving_square(n: int) -> list[np.ndarray]:
    """A square that moves 2 px to the right per frame, at row 40, beginning again at column 100."""
    return [square_frame((2 * t % 100, 40)) for t in range(n)]


class SquareDetector:
    """Boxes of bright blobs; confidence is the blob's brightness."""

    def __init__(self) -> None:
        self.calls: list[int] = []

    def __call__(self, frames: Sequence[np.ndarray]) -> list[Detections]:
        self.calls.append(len(frames))
        return [self._one(frame) for frame in frames]

    def _one(self, frame: np.ndarray) -> Detections:
        grey = frame.mean(-1)
        count, labels, stats, _ = cv2.connectedComponentsWithStats((grey > 90).astype(np.uint8))
        big = [i for i in range(1, count) if stats[i, 4] > 30]
        boxes = stats[big, :4].astype(np.float32).reshape(-1, 4)
        confidence = np.array([grey[labels == i].mean() / 255 for i in big], np.float32)
        order = np.argsort(-confidence, kind="stable")
        return Detections(boxes[order], confidence[order])


class DiagonalPose:
    """Keypoint k lies k/K of the way from the box's top-left corner to the bottom-right one."""

    def __call__(
        self, frames: Sequence[np.ndarray], bboxes: Sequence[np.ndarray]
    ) -> list[tuple[np.ndarray, np.ndarray]]:
        share = np.arange(K, dtype=np.float32)[:, None] / K
        return [
            (box[:, None, :2] + share * box[:, None, 2:], np.full((len(box), K), 0.9, np.float32))
            for box in bboxes
        ]


def fake_model() -> Model:
    """A model that finds bright squares."""
    return Model(
        spec=SPEC,
        vocabulary=load_vocabulary(SPEC.vocabulary),
        pose=DiagonalPose(),
        detector=SquareDetector(),
        detector_name="squares",
        bbox_threshold=0.5,
        weights={"pose": {"file": "none.safetensors", "sha256": "0" * 64}},
    )


def predictions_of(t: int, n: int, seed: int = 0, absent: float = 0.3) -> Predictions:
    """Random poses with absent individuals."""
    rng = np.random.default_rng(seed)
    gone = rng.random((t, n)) < absent
    values = {
        "keypoints": rng.uniform(0, 640, (t, n, K, 2)),
        "confidence": rng.random((t, n, K)),
        "bbox_xywh": rng.uniform(1, 100, (t, n, 4)),
        "bbox_confidence": rng.random((t, n)),
    }
    arrays: dict[str, Any] = {name: value.astype(np.float32) for name, value in values.items()}
    for value in arrays.values():
        value[gone] = np.nan
    return Predictions(
        **arrays,
        frame_index=np.arange(t),
        size_wh=np.tile((640, 480), (t, 1)),
        vocabulary=load_vocabulary(SPEC.vocabulary),
        individuals=tuple(f"animal{i}" for i in range(n)),
        fps=Fraction(30000, 1001),
        provenance={"model": "superanimal_topviewmouse", "variant": "compact", "operations": [{"name": "ä"}]},
    )
