"""A loaded model: finds the animals of each frame, then their keypoints, then who is who."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import torch
from tqdm import tqdm

from superset_vocab import InputError, Vocabulary, load_vocabulary
from superset_vocab.provenance import package_version
from zoo.catalogue import ModelSpec
from zoo.detectors import Detections, Detector
from zoo.inputs import FrameSource, Source, open_source
from zoo.prefetch import prefetch
from zoo.results import Predictions
from zoo.tracking import AnimalFrames, Animals, Tracking, distinct, track

SAME_ANIMAL = 0.08
"""Two poses nearer than this share of the body length are one animal found twice."""


class PoseEstimator(Protocol):
    """Finds the keypoints of the animals whose boxes are given."""

    def __call__(
        self, frames: Sequence[np.ndarray], bboxes: Sequence[np.ndarray]
    ) -> list[tuple[np.ndarray, np.ndarray]]:
        """Frames (H, W, 3) RGB uint8, boxes (N, 4) xywh px -> (N, K, 2) px and (N, K) confidence each."""
        ...


@dataclass(frozen=True, eq=False)
class Model:
    """A published model with its weights, on a device. `zoo.load` makes one.

    Attributes:
        spec: The catalogue's entry.
        vocabulary: Names of the keypoints that it predicts.
        detector: Finds the boxes of animals.
        pose: Finds the keypoints in boxes.
        device: Where the networks are, e.g. "cpu".
    """

    spec: ModelSpec
    vocabulary: Vocabulary
    detector: Detector
    pose: PoseEstimator
    device: str = "cpu"

    def predict(
        self,
        source: Source,
        *,
        max_individuals: int | None = None,
        bbox_threshold: float | None = None,
        bboxes_xywh: Sequence[np.ndarray] | None = None,
        batch_size: int = 16,
        tracking: Tracking | None = None,
        allow_truncated: bool = False,
        progress: bool = False,
    ) -> Predictions:
        """Predict poses on an image, images, a clip or a video. A video is read once, in constant memory.

        Args:
            source: An image or video path, a folder of images, an array (H, W, 3), (H, W) or
                (T, H, W, 3) uint8, or a list of images. Videos and (T, H, W, 3) arrays are tracked:
                an individual keeps its place. In images individuals come by falling box confidence.
            max_individuals: The result has exactly so many individuals, the rest being NaN. None takes
                the number from the data: in images the most found in one, in videos see `Tracking`.
            bbox_threshold: Detections below this confidence are no animals; None takes the model's own.
            bboxes_xywh: Boxes of the animals, one (N, 4) array for each frame, NaN where absent. Row n
                is individual n: nothing is detected or tracked then.
            batch_size: Frames in one pass of the networks.
            tracking: Parameters of the tracking; None takes the defaults. For videos only.
            allow_truncated: Take a truncated video up to where it ends. Otherwise it is an error.
            progress: Show a progress bar on stderr.

        Raises:
            InputError: If the input cannot be read completely, or an argument makes no sense.
        """
        options = _Options(max_individuals, bbox_threshold, batch_size, tracking)
        options.check(boxes_given=bboxes_xywh is not None)
        stream = open_source(source)
        if tracking is not None and not stream.in_time:
            raise InputError("tracking: the input is no video, so there is nothing to track; leave it out")
        threshold = self.spec.bbox_threshold if bbox_threshold is None else bbox_threshold
        boxes = None if bboxes_xywh is None else [_checked(box, t) for t, box in enumerate(bboxes_xywh)]
        run = _Run()
        for frames in _batches(stream, batch_size, progress):
            found = self._detect(frames, threshold) if boxes is None else _given(boxes, run, frames)
            run.extend(frames, self._poses(frames, found, detected=boxes is None))
        operations = _end_of_video(stream, allow_truncated)
        animals = run.finish()
        if boxes is not None:
            if len(boxes) != len(animals):
                raise InputError(f"bboxes_xywh is for {len(boxes)} frames, the input has {len(animals)}")
            places = _given_places(boxes)
            operations += [{"name": "detect", "boxes": "given"}, self._crop_and_decode()]
        else:
            places, last = _assign(animals, stream, max_individuals, tracking)
            operations += [{"name": "detect", "bbox_threshold": threshold}, self._crop_and_decode()]
            operations += [{"name": "drop_unlikely", "score_threshold": self.spec.score_threshold}]
            operations += [{"name": "drop_duplicates", "min_distance": SAME_ANIMAL}, last]
        return self._assemble(animals, np.concatenate(run.sizes), places, stream, operations)

    def _detect(self, frames: list[np.ndarray], threshold: float) -> list[Detections]:
        """Detections of each frame that are animals."""
        detections = self.detector(frames)
        return [Detections(*(v[d.confidence >= threshold] for v in d)) for d in detections]

    def _poses(self, frames: list[np.ndarray], found: list[Detections], detected: bool) -> Iterator[Animals]:
        """Poses in the boxes of each frame; of detected ones only the likely, each animal once.

        The keypoints see an animal at four times the detector's resolution, so their confidence tells a
        weak detection of a mouse from a strong one of a water bottle (docs/experiments.md).
        """
        poses = self.pose(frames, [d.bbox_xywh for d in found])
        for (keypoints, confidence), boxes in zip(poses, found, strict=True):
            animals = Animals(keypoints, confidence, boxes.bbox_xywh, boxes.confidence)
            if detected:
                score = boxes.confidence * confidence.mean(axis=1)
                animals = animals.take(np.flatnonzero(score >= self.spec.score_threshold))
                animals = animals.take(distinct(animals, SAME_ANIMAL))
            yield animals

    def _crop_and_decode(self) -> dict[str, Any]:
        return {"name": "crop_and_decode", "network": self.spec.pose.network, **self.spec.pose.input}

    def _assemble(
        self,
        frames: AnimalFrames,
        size_wh: np.ndarray,
        places: list[np.ndarray],
        stream: FrameSource,
        operations: list[dict[str, Any]],
    ) -> Predictions:
        """Put the animals of all frames at their individuals' places."""
        t, n, k = len(frames), len(places[0]), len(self.vocabulary)
        keypoints = np.full((t, n, k, 2), np.nan, np.float32)
        confidence = np.full((t, n, k), np.nan, np.float32)
        boxes = np.full((t, n, 4), np.nan, np.float32)
        box_confidence = np.full((t, n), np.nan, np.float32)
        for i, (animals, place) in enumerate(zip(frames, places, strict=True)):
            there = np.flatnonzero(place >= 0)
            chosen = animals.take(place[there])
            keypoints[i, there], confidence[i, there] = chosen.keypoints, chosen.confidence
            boxes[i, there], box_confidence[i, there] = chosen.bbox_xywh, chosen.bbox_confidence
        return Predictions(
            keypoints=keypoints,
            confidence=confidence,
            bbox_xywh=boxes,
            bbox_confidence=box_confidence,
            frame_index=np.arange(t),
            size_wh=size_wh,
            vocabulary=self.vocabulary,
            individuals=tuple(f"animal{i}" for i in range(n)),
            images=stream.images,
            fps=stream.fps,
            provenance={
                "model": self.spec.name,
                "variant": self.spec.variant,
                "weights_sha256": self.spec.weights.sha256,
                "vocabulary": self.vocabulary.name,
                "licence": self.spec.licence,
                "package_version": package_version(),
                "device": self.device,
                "input": stream.provenance,
                "operations": operations,
            },
        )


@dataclass(frozen=True)
class _Options:
    """What `predict` was asked for, to be checked all at once."""

    max_individuals: int | None
    bbox_threshold: float | None
    batch_size: int
    tracking: Tracking | None

    def check(self, boxes_given: bool) -> None:
        """Raise `InputError` for the first option that makes no sense."""
        if self.batch_size < 1:
            raise InputError(f"batch_size is {self.batch_size}, want 1 or more")
        if self.max_individuals is not None and self.max_individuals < 1:
            raise InputError(f"max_individuals is {self.max_individuals}, want 1 or more")
        if self.bbox_threshold is not None and not 0 <= self.bbox_threshold <= 1:
            raise InputError(f"bbox_threshold is {self.bbox_threshold}, want a confidence in [0, 1]")
        if boxes_given:
            for name in ("max_individuals", "bbox_threshold", "tracking"):
                if getattr(self, name) is not None:
                    raise InputError(f"{name} has no effect where bboxes_xywh are given; leave one out")


@dataclass(eq=False)
class _Run:
    """What is kept of the frames that have gone by: their sizes and animals, no pixels."""

    batches: list[Animals] = field(default_factory=list)
    counts: list[int] = field(default_factory=list)
    sizes: list[np.ndarray] = field(default_factory=list)

    def extend(self, frames: list[np.ndarray], animals: Iterator[Animals]) -> None:
        found = list(animals)
        self.batches.append(Animals(*map(np.concatenate, zip(*found, strict=True))))
        self.counts.extend(len(one.bbox_xywh) for one in found)
        self.sizes.append(np.array([frame.shape[1::-1] for frame in frames], dtype=np.int64))

    def finish(self) -> AnimalFrames:
        return AnimalFrames(Animals(*map(np.concatenate, zip(*self.batches, strict=True))), self.counts)


def load_model(spec: ModelSpec, device: str = "auto") -> Model:
    """Build a model's networks, fill in its weights and put it on a device.

    Raises:
        InputError: If the device is unknown, or the weights are missing, damaged or do not fit.
    """
    from zoo.detectors import HeatmapDetector
    from zoo.networks import build
    from zoo.pose import TopDownPose
    from zoo.weight_files import check_parts, fill, read_weights

    where = choose_device(device)
    what = str(spec.weights.path)
    tensors = read_weights(spec.weights.path, spec.weights.sha256)
    check_parts(tensors, ("pose", "detector"), what)
    pose = build(spec.pose.network, **spec.pose.options).eval()
    detector = build(spec.detector.network, **spec.detector.options).eval()
    fill(pose, tensors, "pose", what)
    fill(detector, tensors, "detector", what)
    return Model(
        spec=spec,
        vocabulary=load_vocabulary(spec.vocabulary),
        detector=HeatmapDetector(_placed(detector, where), device=where, **spec.detector.input),
        pose=TopDownPose(_placed(pose, where), device=where, **spec.pose.input),
        device=str(where),
    )


def _placed(network: torch.nn.Module, device: torch.device) -> torch.nn.Module:
    """On the device, in the memory layout in which convolutions are fastest."""
    return network.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def choose_device(device: str) -> torch.device:
    """The device of that name; "auto" is the first CUDA device if there is one, else the processor.

    Raises:
        InputError: If there is no such device here.
    """
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        chosen = torch.device(device)
        torch.empty(0, device=chosen)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise InputError(f"device {device!r} cannot be used here; try 'auto', 'cpu' or 'cuda'") from error
    return chosen


def _batches(stream: FrameSource, batch_size: int, progress: bool) -> Iterator[list[np.ndarray]]:
    """Batches of frames, decoded ahead in a thread, with a progress bar if wanted."""
    what = stream.path.name if stream.path else "images"
    with tqdm(total=stream.n_frames or None, unit="frame", desc=what, disable=not progress) as bar:
        for frames in prefetch(stream.batches(batch_size)):
            yield frames
            bar.update(len(frames))


def _end_of_video(stream: FrameSource, allow_truncated: bool) -> list[dict[str, Any]]:
    """Refuse a truncated video, or say in the provenance that it was taken."""
    reader = stream.reader
    if reader is None or not reader.truncated:
        return []
    if not allow_truncated:
        raise reader.truncation_error()
    return [{"name": "allow_truncated", "n_frames": reader.n_frames, "n_missing": reader.n_missing}]


def _checked(box: np.ndarray, t: int) -> np.ndarray:
    """(N, 4) float32 boxes of one frame."""
    box = np.asarray(box, dtype=np.float32)
    if box.ndim != 2 or box.shape[1] != 4:
        raise InputError(f"bboxes_xywh of frame {t} have shape {box.shape}, want (N, 4)")
    size = box[np.isfinite(box).all(1), 2:]
    if not (size > 0).all():
        raise InputError(f"bboxes_xywh of frame {t}: width and height must be positive")
    return box


def _given(boxes: list[np.ndarray], run: _Run, frames: list[np.ndarray]) -> list[Detections]:
    """The given boxes of the next frames as detections; absent animals left out."""
    start = len(run.counts)
    chosen = [box[np.isfinite(box).all(1)] for box in boxes[start : start + len(frames)]]
    if len(chosen) < len(frames):
        raise InputError(f"bboxes_xywh is for {len(boxes)} frames, the input has more")
    return [Detections(box, np.ones(len(box), np.float32)) for box in chosen]


def _given_places(boxes: list[np.ndarray]) -> list[np.ndarray]:
    """Row n of the given boxes is individual n."""
    n = max([len(box) for box in boxes] + [1])
    places = []
    for box in boxes:
        there = np.flatnonzero(np.isfinite(box).all(1))
        place = np.full(n, -1)
        place[there] = np.arange(len(there))
        places.append(place)
    return places


def _assign(
    animals: AnimalFrames, stream: FrameSource, max_individuals: int | None, tracking: Tracking | None
) -> tuple[list[np.ndarray], dict[str, Any]]:
    """Place of each individual's animal in each frame, and the operation for the provenance."""
    if stream.in_time:
        tracking = tracking or Tracking()
        places = track(animals, max_individuals, tracking)
        return places, {"name": "track", "max_individuals": max_individuals, **tracking.parameters()}
    n = max_individuals or max(1, int(animals.counts.max()))
    places = [np.where(np.arange(n) < count, np.arange(n), -1) for count in animals.counts]
    return places, {"name": "order_by_confidence", "max_individuals": max_individuals}
