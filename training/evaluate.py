"""How good poses are: distances in pixels, and average precision by object keypoint similarity (OKS).

Works on predictions, however they were made. No prediction is dropped for a low confidence. Keypoints
that a dataset does not define, or that the annotator left out, are not scored.

What the figures mean is said in `training.metrics`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from superset_vocab import InputError, LabelRecord, LabelSet, Visibility, Vocabulary
from superset_vocab.files import write_json
from training.average_precision import Scene, average_precision
from training.metrics import (
    AveragePrecision,
    CorrectKeypoints,
    Dropping,
    Interval,
    NormalisedError,
    PixelErrors,
    match_individuals,
    mean_interval,
)

if TYPE_CHECKING:
    from zoo.model import Model
    from zoo.results import Predictions


DROP_CUTOFF_TOP_DOWN, DROP_CUTOFF_BOTTOM_UP = 0.05, 0.1
"""Confidences below which a keypoint counts as dropped (paper, "Keypoint dropping metric")."""


@dataclass(frozen=True)
class Scores:
    """The figures of one part of the data, e.g. of a dataset.

    Attributes:
        n_images, n_instances: Labelled.
        errors: Distances in pixels.
        interval: Of the mean distance.
        correct: PCK.
        precision: By OKS.
    """

    n_images: int
    n_instances: int
    errors: PixelErrors
    interval: Interval
    correct: CorrectKeypoints
    precision: AveragePrecision


@dataclass(frozen=True)
class Report:
    """An evaluation with everything that is needed to read its figures.

    Attributes:
        split: Name of the part of the data, in the words of the caller.
        datasets: Dataset -> number of its images.
        n_images, n_instances: Labelled; instances with an annotated keypoint.
        n_extra: Predicted individuals beyond the labelled instances of their image.
        bboxes: "model" if the model found the animals itself, "labels" if it was given their boxes.
        errors: Over all keypoints.
        per_keypoint: Over each annotated keypoint.
        precision: By OKS.
        normalised: In units of a distance on the animal, where that was asked for.
        interval: Confidence interval of the mean distance over all keypoints.
        correct: PCK over all keypoints.
        dropping: Of all keypoints that the model predicts (of those to be scored), annotated or not.
        per_dataset: Dataset -> its figures; every keypoint counts the same in `errors`, so large sets lead.
        sigmas: Keypoint -> COCO sigma (k = 2 sigma), of the scored keypoints.
        sigma_source: Where they come from.
        provenance: Of the predictions: model, weights, operations.
    """

    split: str
    datasets: dict[str, int]
    n_images: int
    n_instances: int
    n_extra: int
    bboxes: str
    errors: PixelErrors
    per_keypoint: dict[str, PixelErrors]
    precision: AveragePrecision
    sigmas: dict[str, float]
    sigma_source: str
    provenance: dict[str, Any]
    normalised: NormalisedError | None = None
    interval: Interval | None = None
    correct: CorrectKeypoints | None = None
    dropping: Dropping | None = None
    per_dataset: dict[str, Scores] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; NaN becomes None."""
        return without_nan(asdict(self))

    def write(self, path: Path) -> None:
        """Write as JSON, atomically."""
        write_json(path, self.to_dict())

    def table(self) -> str:
        """A text table, one line for each keypoint, one for each of several datasets, and one for all."""
        sets = ", ".join(f"{name} ({n} images)" for name, n in self.datasets.items())
        found = "boxes found by the model" if self.bboxes == "model" else "boxes made from the labels"
        sigmas = sorted(set(self.sigmas.values()))
        spread = f"{sigmas[0]:g}" if len(sigmas) == 1 else f"{sigmas[0]:g} to {sigmas[-1]:g}"
        head = [
            f"{self.split}: {sets}, {self.n_instances} instances, {self.n_extra} individuals too many",
            found,
            "pixels               n missing    mean     rms  median   (mean: the RMSE of DeepLabCut)",
        ]
        sets = self.per_dataset if len(self.per_dataset) > 1 else {}
        rows = {**self.per_keypoint, **{name: scores.errors for name, scores in sets.items()}}
        rows["all"] = self.errors
        lines = [
            f"{name:<16} {e.n:>5} {e.n_missing:>7} {e.mean_distance:>7.2f} "
            f"{e.root_mean_square:>7.2f} {e.median:>7.2f}"
            for name, e in rows.items()
        ]
        p = self.precision
        foot = (
            f"OKS, sigma {spread}: mAP {p.ap:.3f}, AP50 {p.ap_50:.3f}, "
            f"AP75 {p.ap_75:.3f}, mean recall {p.ar:.3f}"
        )
        return "\n".join([*head, *lines, *self._interval_line(), foot, *self._further_lines()])

    def _interval_line(self) -> list[str]:
        i = self.interval
        if i is None or np.isnan(i.low):
            return []
        return [f"mean of all: {i.level:.0%} interval {i.low:.2f} to {i.high:.2f} ({i.n} {i.over} drawn)"]

    def _further_lines(self) -> list[str]:
        ne, pck, dropping = self.normalised, self.correct, self.dropping
        lines = []
        if ne is not None:
            lines.append(f"over the distance {' - '.join(ne.reference)}: {ne.mean:.3f} (n {ne.n})")
        if pck is not None:
            shares = ", ".join(f"{share:.3f} at {at}" for at, share in pck.share.items())
            lines.append(f"PCK, of the box's longer side: {shares}")
        if dropping is not None:
            lines.append(
                f"dropped (confidence below {dropping.cutoff:g}): {dropping.mean_dropped:.2f} of "
                f"{dropping.n_keypoints} keypoints of an animal"
            )
        return lines


def evaluate_model(
    model: Model,
    labels: LabelSet,
    *,
    split: str,
    bboxes: str = "model",
    keypoints: Sequence[str] | None = None,
    normalise_by: tuple[str, str] | None = None,
    **options: Any,
) -> Report:
    """Run a model on the images of a label set and score it.

    Args:
        model: From `zoo.load`.
        labels: In the model's vocabulary.
        split: What part of the data this is, for the report.
        bboxes: "model" finds the animals in the whole image; "labels" gives the model the boxes that
            training makes from the annotated keypoints (`training.batches.keypoint_box`).
        keypoints: Score only these.
        normalise_by: Two keypoints whose annotated distance is the unit of the normalised error.
        **options: Of `Model.predict`, e.g. those of `zoo.PAPER`.

    Raises:
        InputError: If the label set does not fit the model, or an image cannot be read.
    """
    if bboxes not in ("model", "labels"):
        raise InputError(f"bboxes is {bboxes!r}, must be 'model' or 'labels'")
    images = [str(record.image) for record in labels.records]
    if bboxes == "labels":
        predictions = model.predict(images, bboxes_xywh=label_boxes(labels), **options)
    else:
        predictions = model.predict(images, **options)
    return evaluate_predictions(
        predictions,
        labels,
        split=split,
        bboxes=bboxes,
        keypoints=keypoints,
        normalise_by=normalise_by,
        drop_cutoff=drop_cutoff_of(model),
        untrained=model.spec.pose.untrained,
    )


def drop_cutoff_of(model: Model) -> float:
    """The confidence below which the paper counts a keypoint of such a model as dropped."""
    return DROP_CUTOFF_BOTTOM_UP if model.spec.bottom_up else DROP_CUTOFF_TOP_DOWN


def evaluate_predictions(
    predictions: Predictions,
    labels: LabelSet,
    *,
    split: str,
    bboxes: str = "model",
    keypoints: Sequence[str] | None = None,
    normalise_by: tuple[str, str] | None = None,
    drop_cutoff: float = DROP_CUTOFF_TOP_DOWN,
    untrained: Sequence[str] = (),
) -> Report:
    """Score predictions for the images of a label set, in its order.

    With bboxes "labels" individual n belongs to instance n. Otherwise, of each image with N labelled
    instances, the N most confident individuals are assigned to them so that the sum of OKS is largest;
    a less confident one that fits better does not count, so that too many individuals are no advantage.

    Args:
        predictions: One frame for each record.
        labels: In the vocabulary of the predictions.
        split: As in `evaluate_model`.
        bboxes: As in `evaluate_model`.
        keypoints: As in `evaluate_model`.
        normalise_by: As in `evaluate_model`.
        drop_cutoff: Confidence below which a keypoint counts as dropped.
        untrained: Keypoints that the model never predicts, which it cannot drop.

    Raises:
        InputError: If vocabulary or number of images differ, a keypoint is unknown, or nothing is labelled.
    """
    vocabulary = predictions.vocabulary
    scored = _scored(vocabulary, labels, predictions, keypoints)
    names = np.array(vocabulary.keypoints)
    if normalise_by and not set(normalise_by) <= set(names[scored]):
        raise InputError(f"normalise_by {', '.join(normalise_by)}: not among the scored keypoints")
    matched = _match(predictions, labels, scored, bboxes)
    annotated = np.isfinite(matched.truth).all(-1)
    if not annotated.any():
        raise InputError(f"{split}: no keypoint is annotated, so there is nothing to score")
    columns = np.flatnonzero(annotated.any(0))
    everything = matched.scores(slice(None), vocabulary.sigmas)
    predictable = scored & ~np.isin(names, list(untrained))
    datasets = Counter(record.dataset for record in labels.records)
    return Report(
        split=split,
        datasets=dict(sorted(datasets.items())),
        n_images=len(labels),
        n_instances=everything.n_instances,
        n_extra=matched.n_extra,
        bboxes=bboxes,
        errors=everything.errors,
        per_keypoint={
            vocabulary.keypoints[k]: PixelErrors.of(matched.predicted[:, k], matched.truth[:, k])
            for k in columns
        },
        precision=everything.precision,
        sigmas={vocabulary.keypoints[k]: float(vocabulary.sigmas[k]) for k in columns},
        sigma_source=vocabulary.sigma_source,
        provenance=predictions.provenance,
        normalised=normalise_by
        and NormalisedError.of(matched.predicted, matched.truth, vocabulary.keypoints, normalise_by),
        interval=everything.interval,
        correct=everything.correct,
        dropping=Dropping.of(
            matched.confidence[:, predictable], names[predictable].tolist(), cutoff=drop_cutoff
        ),
        per_dataset={
            name: everything if len(datasets) == 1 else matched.scores(name, vocabulary.sigmas)
            for name in sorted(datasets)
        },
    )


@dataclass(frozen=True)
class Matched:
    """Labelled instances with the individuals that were taken for them, over all images.

    Attributes:
        truth, predicted: (N, K, 2) px; NaN where not annotated, not predicted or not scored.
        confidence: (N, K); NaN where there is no individual.
        image: (N,) int, the record of each instance.
        boxes: (N, 4) xywh px.
        scenes: One for each record.
        records: As labelled.
        n_extra: Individuals beyond the instances of their image.
    """

    truth: np.ndarray
    predicted: np.ndarray
    confidence: np.ndarray
    image: np.ndarray
    boxes: np.ndarray
    scenes: tuple[Scene, ...]
    records: tuple[LabelRecord, ...]
    n_extra: int

    def scores(self, dataset: str | slice, sigmas: np.ndarray) -> Scores:
        """The figures of one dataset, or of everything (`slice(None)`)."""
        every = isinstance(dataset, slice)
        images = np.array([every or record.dataset == dataset for record in self.records], dtype=bool)
        rows = images[self.image]
        truth, predicted = self.truth[rows], self.predicted[rows]
        records = [self.records[i] for i in self.image[rows]]
        return Scores(
            n_images=int(images.sum()),
            n_instances=int(np.isfinite(truth).all(-1).any(-1).sum()),
            errors=PixelErrors.of(predicted, truth),
            interval=mean_interval(
                np.linalg.norm(predicted - truth, axis=-1),
                [(record.dataset, record.split_group) for record in records],
                self.image[rows].tolist(),
            ),
            correct=CorrectKeypoints.of(predicted, truth, np.maximum(self.boxes[rows, 2:].max(-1), 1.0)),
            precision=average_precision(
                [s for s, use in zip(self.scenes, images, strict=True) if use], sigmas
            ),
        )


def _match(predictions: Predictions, labels: LabelSet, scored: np.ndarray, bboxes: str) -> Matched:
    """Which individual is which labelled instance; see `evaluate_predictions`."""
    rows: list[tuple[np.ndarray, ...]] = []
    scenes: list[Scene] = []
    n_extra = 0
    for i, record in enumerate(labels.records):
        poses = predictions.keypoints[i].astype(np.float64)
        scene, order = _scene(record, poses, predictions.confidence[i], scored)
        n_extra += max(0, len(scene.poses) - len(record))
        if bboxes == "labels":
            if len(poses) < len(record):
                raise InputError(f"{record.image}: {len(poses)} individuals for {len(record)} labelled boxes")
            match = np.arange(len(record))
        else:
            sigmas = predictions.vocabulary.sigmas
            match = match_individuals(scene.poses[: len(record)], scene.truth, scene.areas, sigmas)
            match = np.append(order, -1)[match]  # -1 stays: the missing one
        poses = np.where(scored[:, None], poses, np.nan)
        missing = np.full((1, *poses.shape[1:]), np.nan)
        confidence = np.concatenate([predictions.confidence[i], missing[..., 0]])
        poses = np.concatenate([poses, missing])
        rows.append((scene.truth, poses[match], confidence[match], np.full(len(record), i), scene.boxes))
        scenes.append(scene)
    truth, predicted, confidence, image, boxes = map(np.concatenate, zip(*rows, strict=True))
    return Matched(truth, predicted, confidence, image, boxes, tuple(scenes), labels.records, n_extra)


def extent(record: LabelRecord) -> np.ndarray:
    """(N, 4) boxes x, y, width, height around the annotated keypoints of each instance.

    The label's own box stands in where the keypoints have no extent; NaN where there is none either.
    """
    boxes = record.bbox_xywh.astype(np.float64).copy()
    for n, points in enumerate(record.keypoints):
        points = points[np.isfinite(points).all(-1)]
        if len(points) and (np.ptp(points, axis=0) > 0).all():
            boxes[n] = (*points.min(0), *np.ptp(points, axis=0))
    return boxes


def label_boxes(labels: LabelSet) -> list[np.ndarray]:
    """(N, 4) boxes xywh of each record as in training: around the keypoints, else the label's own."""
    from training.batches import OUTSIDE_BOX, keypoint_box  # brings albumentations along

    counts = np.array([name not in OUTSIDE_BOX for name in labels.keypoints])
    found = []
    for record in labels.records:
        boxes = keypoint_box(record.keypoints, counts)
        found.append(np.where(np.isfinite(boxes).all(-1, keepdims=True), boxes, record.bbox_xywh))
    return found


def _scene(
    record: LabelRecord, poses: np.ndarray, confidence: np.ndarray, scored: np.ndarray
) -> tuple[Scene, np.ndarray]:
    """What is scored in an image, and the place of each of its individuals among the predicted ones.

    An individual's score is its mean confidence in the defined keypoints.
    """
    defined = (record.visibility != Visibility.UNDEFINED).any(0) if len(record) else np.ones_like(scored)
    known = np.isfinite(poses).all(-1) & defined
    present = np.flatnonzero((known & scored).any(-1))
    scores = np.array([confidence[n][known[n]].mean() for n in present])
    order = np.argsort(-scores, kind="stable")
    poses = np.where((known & scored)[..., None], poses, np.nan)
    own = np.isfinite(record.bbox_xywh).all(1, keepdims=True)
    boxes = np.where(own, record.bbox_xywh, extent(record))
    boxes = np.nan_to_num(boxes)
    scene = Scene(
        truth=np.where(scored[:, None], record.keypoints, np.nan),
        areas=np.maximum(boxes[:, 2] * boxes[:, 3], 1.0),
        boxes=boxes,
        poses=poses[present][order],
        scores=scores[order],
    )
    return scene, present[order]


def _scored(
    vocabulary: Vocabulary, labels: LabelSet, predictions: Predictions, keypoints: Sequence[str] | None
) -> np.ndarray:
    """(K,) bool: which keypoints are scored; refuses what does not fit together."""
    if labels.keypoints != vocabulary.keypoints:
        raise InputError(
            f"the labels are in {labels.vocabulary or 'no vocabulary'}, the predictions in "
            f"{vocabulary.name}; convert the labels with a keypoint map into that vocabulary"
        )
    if len(predictions) != len(labels):
        raise InputError(f"{len(predictions)} predicted images for {len(labels)} labelled ones")
    if keypoints is None:
        return np.ones(len(vocabulary), dtype=bool)
    unknown = sorted(set(keypoints) - set(vocabulary.keypoints))
    if unknown:
        raise InputError(f"{', '.join(unknown)}: no keypoint of {vocabulary.name}")
    return np.isin(vocabulary.keypoints, list(keypoints))


def without_nan(value: Any) -> Any:
    """The value with None for NaN, which JSON does not have."""
    if isinstance(value, dict):
        return {key: without_nan(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [without_nan(entry) for entry in value]
    return None if isinstance(value, float) and np.isnan(value) else value
