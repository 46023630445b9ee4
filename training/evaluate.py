"""How good poses are: distances in pixels, and average precision by object keypoint similarity (OKS).

Works on predictions, however they were made. No prediction is dropped for a low confidence. Keypoints
that a dataset does not define, or that the annotator left out, are not scored.

What the figures mean is said in `training.metrics`.
"""

from __future__ import annotations

import contextlib
import io
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from superset_vocab import InputError, LabelRecord, LabelSet, Visibility, Vocabulary
from superset_vocab.files import write_json
from training.metrics import FAR, AveragePrecision, NormalisedError, PixelErrors, match_individuals

if TYPE_CHECKING:
    from zoo.model import Model
    from zoo.results import Predictions


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

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; NaN becomes None."""
        return _without_nan(asdict(self))

    def write(self, path: Path) -> None:
        """Write as JSON, atomically."""
        write_json(path, self.to_dict())

    def table(self) -> str:
        """A text table, one line for each keypoint and one for all."""
        sets = ", ".join(f"{name} ({n} images)" for name, n in self.datasets.items())
        found = "boxes found by the model" if self.bboxes == "model" else "boxes made from the labels"
        sigmas = sorted(set(self.sigmas.values()))
        spread = f"{sigmas[0]:g}" if len(sigmas) == 1 else f"{sigmas[0]:g} to {sigmas[-1]:g}"
        head = [
            f"{self.split}: {sets}, {self.n_instances} instances, {self.n_extra} individuals too many",
            found,
            "pixels               n missing    mean     rms  median   (mean: the RMSE of DeepLabCut)",
        ]
        rows = {**self.per_keypoint, "all": self.errors}
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
        ne = self.normalised
        unit = (
            [] if ne is None else [f"over the distance {' - '.join(ne.reference)}: {ne.mean:.3f} (n {ne.n})"]
        )
        return "\n".join([*head, *lines, foot, *unit])


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
        predictions = model.predict(images, bboxes_xywh=_label_boxes(labels), **options)
    else:
        predictions = model.predict(images, **options)
    return evaluate_predictions(
        predictions, labels, split=split, bboxes=bboxes, keypoints=keypoints, normalise_by=normalise_by
    )


def evaluate_predictions(
    predictions: Predictions,
    labels: LabelSet,
    *,
    split: str,
    bboxes: str = "model",
    keypoints: Sequence[str] | None = None,
    normalise_by: tuple[str, str] | None = None,
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

    Raises:
        InputError: If vocabulary or number of images differ, a keypoint is unknown, or nothing is labelled.
    """
    vocabulary = predictions.vocabulary
    scored = _scored(vocabulary, labels, predictions, keypoints)
    if normalise_by and not set(normalise_by) <= set(np.array(vocabulary.keypoints)[scored]):
        raise InputError(f"normalise_by {', '.join(normalise_by)}: not among the scored keypoints")
    sigmas = vocabulary.sigmas
    pairs: list[tuple[np.ndarray, np.ndarray]] = []
    scenes: list[_Scene] = []
    n_extra = 0
    for record, poses, confidence in zip(
        labels.records, predictions.keypoints, predictions.confidence, strict=True
    ):
        scene = _scene(record, poses.astype(np.float64), confidence, scored)
        n_extra += max(0, len(scene.poses) - len(record))
        if bboxes == "labels":
            if len(poses) < len(record):
                raise InputError(f"{record.image}: {len(poses)} individuals for {len(record)} labelled boxes")
            match = np.arange(len(record))
            found = np.where(scored[:, None], poses, np.nan)
        else:
            match = match_individuals(scene.poses[: len(record)], scene.truth, scene.areas, sigmas)
            found = scene.poses
        missing = np.full((1, *scene.truth.shape[1:]), np.nan)
        pairs.append((np.concatenate([found, missing])[match], scene.truth))  # -1: the missing one
        scenes.append(scene)
    predicted, truth = (np.concatenate(arrays) for arrays in zip(*pairs, strict=True))
    annotated = np.isfinite(truth).all(-1)
    if not annotated.any():
        raise InputError(f"{split}: no keypoint is annotated, so there is nothing to score")
    columns = np.flatnonzero(annotated.any(0))
    return Report(
        split=split,
        datasets=dict(sorted(Counter(record.dataset for record in labels.records).items())),
        n_images=len(labels),
        n_instances=int(np.any(annotated, axis=1).sum()),
        n_extra=n_extra,
        bboxes=bboxes,
        errors=PixelErrors.of(predicted, truth),
        per_keypoint={vocabulary.keypoints[k]: PixelErrors.of(predicted[:, k], truth[:, k]) for k in columns},
        precision=_average_precision(scenes, sigmas),
        sigmas={vocabulary.keypoints[k]: float(sigmas[k]) for k in columns},
        sigma_source=vocabulary.sigma_source,
        provenance=predictions.provenance,
        normalised=normalise_by and NormalisedError.of(predicted, truth, vocabulary.keypoints, normalise_by),
    )


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


def _label_boxes(labels: LabelSet) -> list[np.ndarray]:
    """(N, 4) boxes of each record as in training: around the keypoints, else the label's own."""
    from training.batches import OUTSIDE_BOX, keypoint_box  # brings albumentations along

    counts = np.array([name not in OUTSIDE_BOX for name in labels.keypoints])
    found = []
    for record in labels.records:
        boxes = keypoint_box(record.keypoints, counts)
        found.append(np.where(np.isfinite(boxes).all(-1, keepdims=True), boxes, record.bbox_xywh))
    return found


@dataclass(frozen=True)
class _Scene:
    """One image: truth (N, K, 2), areas (N,), boxes (N, 4); individuals by falling score (P, K, 2), (P,)."""

    truth: np.ndarray
    areas: np.ndarray
    boxes: np.ndarray
    poses: np.ndarray
    scores: np.ndarray


def _scene(record: LabelRecord, poses: np.ndarray, confidence: np.ndarray, scored: np.ndarray) -> _Scene:
    """What is scored in an image; an individual's score is its mean confidence in the defined keypoints."""
    defined = (record.visibility != Visibility.UNDEFINED).any(0) if len(record) else np.ones_like(scored)
    known = np.isfinite(poses).all(-1) & defined
    present = np.flatnonzero((known & scored).any(-1))
    scores = np.array([confidence[n][known[n]].mean() for n in present])
    order = np.argsort(-scores, kind="stable")
    poses = np.where((known & scored)[..., None], poses, np.nan)
    own = np.isfinite(record.bbox_xywh).all(1, keepdims=True)
    boxes = np.where(own, record.bbox_xywh, extent(record))
    boxes = np.nan_to_num(boxes)
    return _Scene(
        truth=np.where(scored[:, None], record.keypoints, np.nan),
        areas=np.maximum(boxes[:, 2] * boxes[:, 3], 1.0),
        boxes=boxes,
        poses=poses[present][order],
        scores=scores[order],
    )


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


def _average_precision(scenes: Sequence[_Scene], sigmas: np.ndarray) -> AveragePrecision:
    """COCO's figures, computed by pycocotools."""
    from pycocotools.coco import COCO  # of the train extra
    from pycocotools.cocoeval import COCOeval

    images = [{"id": i} for i in range(1, len(scenes) + 1)]
    content = {"images": images, "categories": [{"id": 1, "name": "animal"}]}
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints
        sides = []
        for annotations in (_coco_truth(scenes), _coco_results(scenes)):
            side = COCO()
            side.dataset = cast(Any, {**content, "annotations": annotations})
            side.createIndex()
            sides.append(side)
        evaluation = COCOeval(*sides, iouType="keypoints")
        evaluation.params.kpt_oks_sigmas = np.asarray(sigmas)
        evaluation.params.areaRng = [[0, np.inf]]
        evaluation.params.areaRngLbl = ["all"]
        evaluation.evaluate()
        evaluation.accumulate()
    precision = evaluation.eval["precision"][:, :, 0, 0, 0]  # (thresholds, recalls); -1 where undefined
    recall = evaluation.eval["recall"][:, 0, 0, 0]
    if not (recall > -1).all():
        return AveragePrecision(np.nan, np.nan, np.nan, np.nan)
    return AveragePrecision(
        ap=float(precision.mean()),
        ap_50=float(precision[0].mean()),
        ap_75=float(precision[5].mean()),
        ar=float(recall.mean()),
    )


def _coco_truth(scenes: Sequence[_Scene]) -> list[dict[str, Any]]:
    """Instances as COCO annotations; undefined and not annotated keypoints have flag 0."""
    found = []
    for image, scene in enumerate(scenes, start=1):
        for points, area, box in zip(scene.truth, scene.areas, scene.boxes, strict=True):
            annotated = np.isfinite(points).all(-1)
            triples = np.column_stack([np.nan_to_num(points), 2 * annotated])
            found.append(
                {
                    "id": len(found) + 1,  # COCO takes the id 0 for no match
                    "image_id": image,
                    "category_id": 1,
                    "keypoints": triples.ravel().tolist(),
                    "num_keypoints": int(annotated.sum()),
                    "bbox": box.tolist(),
                    "area": float(area),
                    "iscrowd": 0,
                }
            )
    return found


def _coco_results(scenes: Sequence[_Scene]) -> list[dict[str, Any]]:
    """Individuals as COCO results; a missing keypoint is far away from everything."""
    found = []
    for image, scene in enumerate(scenes, start=1):
        for points, score in zip(scene.poses, scene.scores, strict=True):
            known = points[np.isfinite(points).all(-1)]
            size = np.ptp(known, axis=0)
            triples = np.column_stack([np.nan_to_num(points, nan=FAR), np.ones(len(points))])
            found.append(
                {
                    "id": len(found) + 1,
                    "image_id": image,
                    "category_id": 1,
                    "keypoints": triples.ravel().tolist(),
                    "bbox": [*known.min(0).tolist(), *size.tolist()],
                    "area": float(size.prod()),
                    "score": float(score),
                }
            )
    return found


def _without_nan(value: Any) -> Any:
    """The value with None for NaN, which JSON does not have."""
    if isinstance(value, dict):
        return {key: _without_nan(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(entry) for entry in value]
    return None if isinstance(value, float) and np.isnan(value) else value
