"""Memory replay: zero-shot predictions stand in for keypoints that the target data do not define.

A model that is fine-tuned on labels of four keypoints forgets the other twenty-three. The paper ("Memory
replay fine tuning" and its pseudo-code) keeps them alive with what the model itself said before: for each
labelled image the zero-shot predictions are stored on disk once and stay fixed, so that labels do not
drift; where the dataset does not define a keypoint and the prediction's confidence is above a threshold,
the prediction becomes the label. Below it the keypoint stays undefined, with a loss of exactly 0. A
threshold of 1 leaves the labels as they are, which is naive fine-tuning.

With several animals the pseudo-code leaves open whose prediction is whose. Here predicted are assigned to
labelled animals so that the sum of OKS over the labelled keypoints is largest (Hungarian algorithm), and a
pair below `Replay.min_oks` is none: it would give one animal the keypoints of another.

Confidence is not the same quantity in all networks. The paper's 0.7 is for heatmaps trained to a height of
1; a model whose confidence peaks lower says what to use in its spec (`ModelSpec.replay_threshold`).
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save
from tqdm import tqdm

from superset_vocab import InputError, LabelRecord, LabelSet, Visibility, Vocabulary
from superset_vocab.files import atomic_path, make_folder, sha256_of, write_json
from superset_vocab.provenance import operation
from training.evaluate import label_boxes
from training.metrics import match_individuals, oks

if TYPE_CHECKING:
    from zoo.model import Model

_log = logging.getLogger(__name__)
_BATCH = 16


@dataclass(frozen=True)
class Replay:
    """How memory replay is done.

    Attributes:
        threshold: A prediction becomes a label above this confidence, in [0, 1]; None takes the model's own
            (0.7, as the paper, unless its spec says otherwise). 1 is naive fine-tuning.
        bboxes: "model" predicts on the whole image; "labels" gives the model the boxes that training makes
            from the labels.
        min_oks: Predicted and labelled animals that are less alike than this are not the same. The default
            only keeps apart what is clearly another animal.
        store: Folder of the zero-shot predictions, which several runs can share; None for one of the run's
            own.
    """

    threshold: float | None = None
    bboxes: str = "model"
    min_oks: float = 0.01
    store: Path | None = None

    def __post_init__(self) -> None:
        for name in ("threshold", "min_oks"):
            value = getattr(self, name)
            if value is not None and not 0 <= value <= 1:
                raise InputError(f"{name} of memory replay is {value:g}, want a number in [0, 1]")
        if self.bboxes not in ("model", "labels"):
            raise InputError(f"bboxes of memory replay is {self.bboxes!r}, must be 'model' or 'labels'")


@dataclass(frozen=True, eq=False)
class ZeroShot:
    """What a model said about one image before it was fine-tuned.

    Attributes:
        keypoints: (P, K, 2) float32 px; NaN where missing.
        confidence: (P, K) float32 in [0, 1]; NaN where missing.
    """

    keypoints: np.ndarray
    confidence: np.ndarray


class ZeroShotStore:
    """Zero-shot predictions on disk: predicted once, then fixed.

    An image is known by the hash of its content, so a renamed copy is the same image and a changed one is
    not; a predictor by the hash of its weights and of how it was run. Files hold numbers only, and each
    is written whole or not at all.

    Args:
        folder: Created if it does not exist; other models' predictions may lie in it too.
        model: That predicts what is not there yet.
        bboxes: As `Replay.bboxes`.

    Attributes:
        key: Of the predictor, the name of its subfolder.
    """

    def __init__(self, folder: Path, model: Model, bboxes: str) -> None:
        self._model, self._bboxes = model, bboxes
        about = {
            "model": model.spec.name,
            "variant": model.spec.variant,
            "weights": {part: entry["sha256"] for part, entry in sorted(model.weights.items())},
            "vocabulary": list(model.vocabulary.keypoints),
            "input": model.spec.pose.input,
            "bboxes": bboxes,
            "detector": model.detector_name if bboxes == "model" else "",
        }
        if bboxes == "labels":  # the detector does not matter then
            about["weights"].pop("detector", None)
        self.key = hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:16]
        self._folder = make_folder(folder / self.key)
        if not (self._folder / "predictor.json").exists():
            write_json(self._folder / "predictor.json", about)

    def predict(self, labels: LabelSet, *, progress: bool = False) -> list[ZeroShot]:
        """The predictions for every record, from disk where they are there, else made and stored now.

        Args:
            labels: In the model's vocabulary.
            progress: Show a bar on stderr for what has to be predicted.
        """
        boxes = label_boxes(labels) if self._bboxes == "labels" else [None] * len(labels)
        files = [self._file(record, box) for record, box in zip(labels.records, boxes, strict=True)]
        missing = list({file: i for i, file in enumerate(files) if not file.exists()}.values())
        hidden = not (progress and missing)
        with tqdm(total=len(missing), unit="image", desc="zero-shot", disable=hidden) as bar:
            for start in range(0, len(missing), _BATCH):
                part = missing[start : start + _BATCH]
                self._make(
                    [labels.records[i] for i in part], [boxes[i] for i in part], [files[i] for i in part]
                )
                bar.update(len(part))
        return [self._read(file) for file in files]

    def _file(self, record: LabelRecord, boxes: np.ndarray | None) -> Path:
        """Named after the image's content and, where they decide what is predicted, the boxes."""
        digest = sha256_of(record.image)
        if boxes is not None:
            digest = hashlib.sha256(
                digest.encode() + np.ascontiguousarray(boxes, np.float64).tobytes()
            ).hexdigest()
        return self._folder / f"{digest}.safetensors"

    def _make(
        self, records: Sequence[LabelRecord], boxes: Sequence[np.ndarray | None], files: Sequence[Path]
    ) -> None:
        images = [str(record.image) for record in records]
        given: dict[str, Any] = {} if self._bboxes == "model" else {"bboxes_xywh": list(boxes)}
        found = self._model.predict(images, **given)
        for i, file in enumerate(files):
            there = np.isfinite(found.keypoints[i]).all(-1).any(-1)
            arrays = {"keypoints": found.keypoints[i][there], "confidence": found.confidence[i][there]}
            with atomic_path(file) as temporary:
                temporary.write_bytes(save({n: np.ascontiguousarray(a) for n, a in arrays.items()}))

    def _read(self, file: Path) -> ZeroShot:
        try:
            content = load(file.read_bytes())
            found = ZeroShot(content["keypoints"], content["confidence"])
        except (OSError, SafetensorError, KeyError) as error:
            raise InputError(
                f"{file}: is no stored prediction ({error}); remove it, it is made again"
            ) from error
        count, k = found.confidence.shape if found.confidence.ndim == 2 else (-1, -1)
        if k != len(self._model.vocabulary) or found.keypoints.shape != (count, k, 2):
            raise InputError(
                f"{file}: has predictions of shape {found.keypoints.shape}; remove it, and it is made again"
            )
        return found


@dataclass(frozen=True)
class Replayed:
    """Labels with replayed keypoints, and how many there are.

    Attributes:
        labels: As given, with predictions in the place of undefined keypoints.
        n_animals, n_matched: Labelled animals, and those for which a predicted one was found.
        n_undefined: Undefined keypoints of the labelled animals that the model can predict.
        n_replayed: Those of them that were filled.
        per_keypoint: Keypoint -> number of animals for which it was filled.
    """

    labels: LabelSet
    n_animals: int
    n_matched: int
    n_undefined: int
    n_replayed: int
    per_keypoint: dict[str, int]

    @property
    def share(self) -> float:
        """Part of the undefined keypoints that was filled, in [0, 1]; 0 where none is undefined."""
        return self.n_replayed / self.n_undefined if self.n_undefined else 0.0

    def __str__(self) -> str:
        return (
            f"memory replay: {self.n_matched} of {self.n_animals} labelled animals were found, "
            f"{self.n_replayed} of their {self.n_undefined} undefined keypoints replayed ({self.share:.0%})"
        )


def replay_keypoints(
    labels: LabelSet,
    predictions: Sequence[ZeroShot],
    vocabulary: Vocabulary,
    *,
    threshold: float,
    min_oks: float = Replay.min_oks,
    untrained: Sequence[str] = (),
) -> Replayed:
    """Fill undefined keypoints with zero-shot predictions (the paper's pseudo-code, for several animals).

    Args:
        labels: In the vocabulary; visibility -1 is undefined.
        predictions: One for each record.
        vocabulary: For the sigmas of OKS.
        threshold: Predictions of more confidence than this become labels.
        min_oks: As `Replay.min_oks`.
        untrained: Keypoints that the model never predicts, for the count.

    Raises:
        InputError: If the labels are in another vocabulary.
    """
    if labels.keypoints != vocabulary.keypoints:
        raise InputError(
            f"memory replay: the labels are in {labels.vocabulary or 'no vocabulary'}, not in "
            f"{vocabulary.name}; convert them with a keypoint map"
        )
    records, filled, n_matched = [], np.zeros(len(vocabulary), dtype=np.int64), 0
    for record, zero_shot, boxes in zip(labels.records, predictions, label_boxes(labels), strict=True):
        match = _match(record, zero_shot, boxes, vocabulary.sigmas, min_oks)
        n_matched += int((match >= 0).sum())
        new, fill = _fill(record, zero_shot, match, threshold)
        records.append(new)
        filled += fill.sum(0)
    possible = np.array([name not in untrained for name in vocabulary.keypoints])
    undefined = [(r.visibility[:, possible] == Visibility.UNDEFINED).sum() for r in labels.records]
    done = operation("memory_replay", threshold=threshold, min_oks=min_oks, n_replayed=int(filled.sum()))
    return Replayed(
        labels=replace(labels, records=tuple(records), operations=(*labels.operations, done)),
        n_animals=labels.n_instances,
        n_matched=n_matched,
        n_undefined=int(np.sum(undefined)),
        n_replayed=int(filled.sum()),
        per_keypoint=dict(
            Counter({n: int(c) for n, c in zip(vocabulary.keypoints, filled, strict=True) if c})
        ),
    )


def replayed_labels(
    model: Model, labels: LabelSet, store: Path, options: Replay, *, progress: bool = False
) -> tuple[Replayed, ZeroShotStore]:
    """Labels with the model's zero-shot predictions in them; says so where that is next to nothing.

    Args:
        model: Before fine-tuning.
        labels: To train on, in its vocabulary.
        store: Folder of the zero-shot predictions.
        options: How to replay.
        progress: Show a bar on stderr.
    """
    zero_shot = ZeroShotStore(store, model, options.bboxes)
    threshold = model.spec.replay_threshold if options.threshold is None else options.threshold
    found = replay_keypoints(
        labels,
        zero_shot.predict(labels, progress=progress),
        model.vocabulary,
        threshold=threshold,
        min_oks=options.min_oks,
        untrained=model.spec.pose.untrained,
    )
    _log.info("%s", found)
    if threshold < 1 and found.n_undefined and found.share < 0.1:
        _log.warning(
            "%s above the confidence %g: hardly more than naive fine-tuning, the model may forget the "
            "other keypoints; give a lower threshold",
            found,
            threshold,
        )
    return found, zero_shot


def _match(
    record: LabelRecord, zero_shot: ZeroShot, boxes: np.ndarray, sigmas: np.ndarray, min_oks: float
) -> np.ndarray:
    """(N,) int: the predicted animal of each labelled one, or -1."""
    areas = np.maximum(np.nan_to_num(boxes[:, 2] * boxes[:, 3]), 1.0)
    predicted = zero_shot.keypoints.astype(np.float64)
    match = match_individuals(predicted, record.keypoints, areas, sigmas)
    if len(predicted):
        alike = oks(predicted, record.keypoints, areas, sigmas)
        match = np.where(alike[match, np.arange(len(record))] >= min_oks, match, -1)
    return match


def _fill(
    record: LabelRecord, zero_shot: ZeroShot, match: np.ndarray, threshold: float
) -> tuple[LabelRecord, np.ndarray]:
    """The record with predictions for undefined keypoints, and (N, K) bool which were filled."""
    keypoints, visibility = record.keypoints.copy(), record.visibility.copy()
    fill = np.zeros(visibility.shape, dtype=bool)
    for n in np.flatnonzero(match >= 0):
        pose, confidence = zero_shot.keypoints[match[n]], zero_shot.confidence[match[n]]
        fill[n] = (visibility[n] == Visibility.UNDEFINED) & (confidence > threshold)
        fill[n] &= np.isfinite(pose).all(-1)
        keypoints[n, fill[n]] = pose[fill[n]]
        visibility[n, fill[n]] = Visibility.VISIBLE
    return replace(record, keypoints=keypoints, visibility=visibility), fill
