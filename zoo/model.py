"""A loaded model: finds the animals of each frame, then their keypoints, then who is who."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, cast

import numpy as np
from tqdm import tqdm

from superset_vocab import InputError, Vocabulary
from superset_vocab.provenance import package_version
from zoo.catalogue import ModelSpec
from zoo.detectors import Detector
from zoo.exports import model_label
from zoo.finders import (
    BottomUp,
    BottomUpEstimator,
    DenseTopDown,
    Finder,
    GivenBoxes,
    PoseEstimator,
    SparseTopDown,
    boxes_per_frame,
)
from zoo.given_boxes import BoxRun, CocoBoxes
from zoo.inputs import FrameSource, Source, open_source
from zoo.pose import TopDownPose
from zoo.prefetch import prefetch
from zoo.results import Predictions
from zoo.tracking import AnimalFrames, Animals, Tracking, track
from zoo.video import EXPECTED_MISSING

_LOG = logging.getLogger(__name__)
PAPER = {"context": 1.25, "flip_test": True}
"""How the SuperAnimal paper evaluated top-down networks: `model.predict(video, **zoo.PAPER)`."""


@dataclass(frozen=True, eq=False)
class Model:
    """A published model with its weights, on a device. `zoo.load` makes one.

    Attributes:
        spec: The catalogue's entry.
        vocabulary: Names of the keypoints that it predicts.
        pose: Finds the keypoints in boxes, or, of a bottom-up model, in whole frames.
        detector: Finds the boxes of animals; boxes of a file; or None for a bottom-up model.
        detector_name: Which one, for the provenance and the names of files.
        bbox_threshold: Detections below this confidence are no animals, in [0, 1].
        weights: What was loaded for each part, for the provenance: file, SHA-256, repository, revision. A
            file of boxes counts as the detector's.
        device: Where the networks are, e.g. "cpu".
    """

    spec: ModelSpec
    vocabulary: Vocabulary
    pose: PoseEstimator | BottomUpEstimator
    detector: Detector | CocoBoxes | None = None
    detector_name: str = ""
    bbox_threshold: float = 0.0
    weights: dict[str, dict[str, str]] = field(default_factory=dict)
    device: str = "cpu"

    @property
    def label(self) -> str:
        """Model, variant and detector in one word; the scorer of tables, and in the names of files."""
        return model_label(self.spec.name, self.spec.variant, self.detector_name)

    def predict(
        self,
        source: Source,
        *,
        max_individuals: int | None = None,
        bbox_threshold: float | None = None,
        bboxes_xywh: np.ndarray | Sequence[np.ndarray] | None = None,
        detect_every: int | str | None = None,
        context: float | None = None,
        flip_test: bool | None = None,
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
            bboxes_xywh: Boxes of the animals, one (N, 4) array for each frame, NaN where absent, or one
                for a single image. Row n is individual n: nothing is detected or tracked then.
            detect_every: Frames from one detection to the next in a video; the crops in between follow the
                poses. "auto" looks again when an animal gets lost. None takes the model's own.
            context: Side of a crop over the longer side of the box; None takes the model's own.
            flip_test: Average the network's output over the crop and its mirror image: slower, fewer
                exchanges of left and right. `zoo.PAPER` has context and flip test as in the paper.
            batch_size: Frames in one pass of the networks.
            tracking: Parameters of the tracking; None takes the defaults. For videos only.
            allow_truncated: Take a truncated video up to where it ends. Otherwise it is an error.
            progress: Show a progress bar on stderr.

        Raises:
            InputError: If the input cannot be read completely, or an argument makes no sense.
        """
        options = _Options(
            max_individuals, bbox_threshold, detect_every, context, flip_test, batch_size, tracking
        )
        options.check(boxes_given=bboxes_xywh is not None, bottom_up=self.detector is None)
        stream = open_source(source)
        options.check_stream(stream)
        boxes = None
        if isinstance(self.detector, CocoBoxes) and bboxes_xywh is None:
            boxes = self.detector.run(stream.images)
        finder = self._finder(options, stream.in_time, bboxes_xywh, boxes)
        run = _Run()
        for frames in _batches(stream, batch_size, progress):
            run.extend(frames, finder(frames))
        operations = _end_of_video(stream, allow_truncated)
        if boxes is not None and not operations:  # boxes beyond a truncated video's end are no mistake
            boxes.finish()
        animals = run.finish()
        if isinstance(finder, GivenBoxes):
            cut_off = any(done["name"] == "allow_truncated" for done in operations)
            places, last = finder.places(cut_off=cut_off), None
        else:
            places, last = _assign(animals, stream, max_individuals, tracking)
        operations += [*finder.operations(), self._crop_and_decode(options), *([last] if last else [])]
        return self._assemble(animals, np.concatenate(run.sizes), places, stream, operations)

    def _finder(self, options: _Options, in_time: bool, bboxes_xywh: Any, boxes: BoxRun | None) -> Finder:
        """What finds the animals of one run; `boxes` stand in for a detector's."""
        pose = self.pose
        if isinstance(pose, TopDownPose):
            pose = pose.with_options(context=options.context, flip_test=options.flip_test)
        elif options.context is not None or options.flip_test is not None:
            raise InputError("context and flip_test are for top-down models, which look at crops")
        if bboxes_xywh is not None:
            return GivenBoxes(cast(PoseEstimator, pose), list(boxes_per_frame(bboxes_xywh)))
        detector = boxes or self.detector
        if detector is None or isinstance(detector, CocoBoxes):
            return BottomUp(cast(BottomUpEstimator, pose), self.spec.score_threshold)
        threshold = self.bbox_threshold if options.bbox_threshold is None else options.bbox_threshold
        dense = DenseTopDown(
            detector=detector,
            pose=cast(PoseEstimator, pose),
            bbox_threshold=threshold,
            score_threshold=self.spec.score_threshold,
            max_individuals=options.max_individuals,
        )
        if boxes and options.detect_every not in (None, 1):
            raise InputError("detect_every has no effect on boxes from a file, which are of every frame")
        every = self.spec.detect_every if options.detect_every is None else options.detect_every
        # A file of boxes has to be shown every frame: it counts them.
        return dense if every == 1 or not in_time or boxes else SparseTopDown(dense, every)

    def _crop_and_decode(self, options: _Options) -> dict[str, Any]:
        chosen = {"context": options.context, "flip_test": options.flip_test}
        changed = {name: value for name, value in chosen.items() if value is not None}
        never = {"untrained": list(self.spec.pose.untrained)} if self.spec.pose.untrained else {}
        return {"name": "pose", "network": self.spec.pose.network, **self.spec.pose.input, **changed, **never}

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
                "detector": self.detector_name,
                "weights": self.weights,
                "vocabulary": self.vocabulary.name,
                "licence": self.spec.licence,
                **({"parent": asdict(self.spec.parent)} if self.spec.parent else {}),
                "package_version": package_version(),
                "device": self.device,
                "input": stream.provenance,
                "operations": operations,
            },
        )


@dataclass(frozen=True)
class _Options:
    """What `predict` was asked for, to be checked before any work."""

    max_individuals: int | None
    bbox_threshold: float | None
    detect_every: int | str | None
    context: float | None
    flip_test: bool | None
    batch_size: int
    tracking: Tracking | None

    def check(self, boxes_given: bool, bottom_up: bool) -> None:
        """Raise `InputError` for the first option that makes no sense."""
        if self.batch_size < 1:
            raise InputError(f"batch_size is {self.batch_size}, want 1 or more")
        if self.max_individuals is not None and self.max_individuals < 1:
            raise InputError(f"max_individuals is {self.max_individuals}, want 1 or more")
        if self.bbox_threshold is not None and not 0 <= self.bbox_threshold <= 1:
            raise InputError(f"bbox_threshold is {self.bbox_threshold}, want a confidence in [0, 1]")
        every = self.detect_every
        if every not in (None, "auto") and not (isinstance(every, int) and every >= 1):
            raise InputError(f"detect_every is {every!r}, want 'auto' or a number of frames, 1 or more")
        if bottom_up and boxes_given:
            raise InputError("bboxes_xywh are for top-down models; this one finds all keypoints at once")
        names = ["bbox_threshold", "detect_every"] if boxes_given or bottom_up else []
        names += ["max_individuals", "tracking"] if boxes_given else []
        for name in names:
            if getattr(self, name) is not None:
                why = "where bboxes_xywh are given" if boxes_given else "on a model without a detector"
                raise InputError(f"{name} has no effect {why}; leave one out")

    def check_stream(self, stream: FrameSource) -> None:
        """Raise `InputError` for an option that is for videos where the input is none."""
        for name in ("tracking", "detect_every"):
            if getattr(self, name) is not None and not stream.in_time:
                raise InputError(f"{name} is for videos, and the input is no video; leave it out")


@dataclass(eq=False)
class _Run:
    """What is kept of the frames that have gone by: their sizes and animals, no pixels."""

    batches: list[Animals] = field(default_factory=list)
    counts: list[int] = field(default_factory=list)
    sizes: list[np.ndarray] = field(default_factory=list)

    def extend(self, frames: list[np.ndarray], found: list[Animals]) -> None:
        self.batches.append(Animals(*map(np.concatenate, zip(*found, strict=True))))
        self.counts.extend(len(one.bbox_xywh) for one in found)
        self.sizes.append(np.array([frame.shape[1::-1] for frame in frames], dtype=np.int64))

    def finish(self) -> AnimalFrames:
        """All animals in one block; the batches are given up field by field, so that no two copies stand."""
        fields = [list(values) for values in zip(*self.batches, strict=True)]
        self.batches.clear()
        return AnimalFrames(Animals(*(np.concatenate(fields.pop(0)) for _ in Animals._fields)), self.counts)


def _batches(stream: FrameSource, batch_size: int, progress: bool) -> Iterator[list[np.ndarray]]:
    """Batches of frames, decoded ahead in a thread, with a progress bar if wanted."""
    what = stream.path.name if stream.path else "images"
    with tqdm(total=stream.n_frames or None, unit="frame", desc=what, disable=not progress) as bar:
        for frames in prefetch(stream.batches(batch_size)):
            yield frames
            bar.update(len(frames))


def _end_of_video(stream: FrameSource, allow_truncated: bool) -> list[dict[str, Any]]:
    """Refuse a truncated video, or say in the provenance what is missing of one that was taken."""
    reader = stream.reader
    if reader is None or not reader.n_missing:
        return []
    if reader.truncated and not allow_truncated:
        raise reader.truncation_error()
    if reader.counted and reader.n_missing > EXPECTED_MISSING:
        _LOG.warning(
            "%s: %d of the %d frames that it promises do not decode. Where they are missing is not known: "
            "rows after a gap have numbers that much too low; mind that when aligning them with other clocks",
            reader.info.path,
            reader.n_missing,
            reader.n_frames + reader.n_missing,
        )
    name = "allow_truncated" if reader.truncated else "missing_frames"
    return [{"name": name, "n_frames": reader.n_frames, "n_missing": reader.n_missing}]


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
