"""Models side by side on the same labels, and what fine-tuning made a model forget.

A model that is fine-tuned on labels of a few keypoints may lose the others (SuperAnimal paper, "Memory
replay fine-tuning"). They cannot be scored on the target data, which do not define them. So forgetting is
seen in two ways: the distances on other data that do define them, and how many of them the model drops.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from superset_vocab import InputError, LabelSet, Visibility
from training.evaluate import Report, drop_cutoff_of, evaluate_model, label_boxes, without_nan
from training.metrics import Dropping, PixelErrors

if TYPE_CHECKING:
    from zoo.model import Model


@dataclass(frozen=True)
class Forgetting:
    """A model before and after fine-tuning, on the keypoints that the target data do not define.

    Attributes:
        split: The data that it was measured on.
        keypoints: Those that the target does not define and both models predict.
        dropping_before, dropping_after: Of these keypoints, on the labelled animals.
        errors_before, errors_after: Distances on those of them that are annotated; None if none is.
        per_keypoint: Keypoint -> mean distance before and after in px, of those that are annotated.
    """

    split: str
    keypoints: tuple[str, ...]
    dropping_before: Dropping
    dropping_after: Dropping
    errors_before: PixelErrors | None
    errors_after: PixelErrors | None
    per_keypoint: dict[str, tuple[float, float]]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; NaN becomes None."""
        return without_nan(asdict(self))

    def table(self) -> str:
        """A few lines of text."""
        lines = [f"{self.split}: {len(self.keypoints)} keypoints that the target does not define"]
        if self.errors_before and self.errors_after:
            a, b = self.errors_before, self.errors_after
            lines.append(
                f"  mean distance {a.mean_distance:.2f} -> {b.mean_distance:.2f} px, "
                f"median {a.median:.2f} -> {b.median:.2f} px, "
                f"missing {a.n_missing} -> {b.n_missing} of {a.n}"
            )
        a, b = self.dropping_before, self.dropping_after
        lines.append(
            f"  dropped (confidence below {a.cutoff:g}) {a.mean_dropped:.2f} -> {b.mean_dropped:.2f} of "
            f"{a.n_keypoints} keypoints of an animal, {a.n_animals} animals"
        )
        return "\n".join(lines)


def forgetting(
    before: Model, after: Model, labels: LabelSet, defined: Collection[str], *, split: str
) -> Forgetting:
    """Compare two models on the keypoints that the target data of a fine-tuning do not define.

    Both get the boxes that training makes from the labels, so that only the poses differ.

    Args:
        before: The model that was fine-tuned.
        after: What became of it; of the same vocabulary.
        labels: Data to look at: the target's own, or others that define more keypoints.
        defined: Keypoints of the vocabulary that the target data define.
        split: What part of the data this is, for the report.

    Raises:
        InputError: If the vocabularies differ, or no keypoint is left to look at.
    """
    if before.vocabulary.keypoints != after.vocabulary.keypoints:
        raise InputError(
            f"{before.spec.full_name} and {after.spec.full_name} do not predict the same keypoints"
        )
    silent = {*defined, *before.spec.pose.untrained, *after.spec.pose.untrained}
    keypoints = tuple(name for name in before.vocabulary.keypoints if name not in silent)
    if not keypoints:
        raise InputError("no keypoint is left that both models predict and the target does not define")
    columns = [before.vocabulary.index[name] for name in keypoints]
    annotated = [name for name, k in zip(keypoints, columns, strict=True) if _annotated(labels, k)]
    reports: list[Report | None] = [None, None]
    if annotated:
        reports = [
            evaluate_model(model, labels, split=split, bboxes="labels", keypoints=annotated)
            for model in (before, after)
        ]
    errors = [None if report is None else report.errors for report in reports]
    a, b = ({} if report is None else report.per_keypoint for report in reports)
    return Forgetting(
        split=split,
        keypoints=keypoints,
        dropping_before=_dropping(before, labels, columns, keypoints),
        dropping_after=_dropping(after, labels, columns, keypoints),
        errors_before=errors[0],
        errors_after=errors[1],
        per_keypoint={name: (a[name].mean_distance, b[name].mean_distance) for name in a},
    )


def target_keypoints(labels: LabelSet) -> list[str]:
    """The keypoints that a label set defines, in the order of its vocabulary."""
    defined = np.zeros(len(labels.keypoints), dtype=bool)
    for record in labels.records:
        defined |= (record.visibility != Visibility.UNDEFINED).any(0)
    return [name for name, there in zip(labels.keypoints, defined, strict=True) if there]


def comparison_table(reports: Mapping[str, Report]) -> str:
    """Several reports on the same data, a line each: zero-shot, fine-tuned in one way and another.

    Args:
        reports: What to call it -> report.
    """
    width = max(map(len, reports), default=0)
    lines = [f"{'':<{width}}  {'n':>6} {'missing':>7} {'RMSE px':>8} {'median':>7} {'mAP':>6} {'dropped':>8}"]
    for name, report in reports.items():
        e, dropping = report.errors, report.dropping
        dropped = "" if dropping is None else f"{dropping.mean_dropped:>8.2f}"
        interval = report.interval
        if interval is not None and not np.isnan(interval.low):
            dropped += (
                f"   RMSE {interval.level:.0%} {interval.low:.2f} to {interval.high:.2f} ({interval.over})"
            )
        lines.append(
            f"{name:<{width}}  {e.n:>6} {e.n_missing:>7} {e.mean_distance:>8.2f} {e.median:>7.2f} "
            f"{report.precision.ap:>6.3f} {dropped}"
        )
    return "\n".join(lines)


def _annotated(labels: LabelSet, k: int) -> bool:
    return any(record.annotated[:, k].any() for record in labels.records)


def _dropping(model: Model, labels: LabelSet, columns: list[int], names: tuple[str, ...]) -> Dropping:
    """How many of some keypoints a model drops on the labelled animals."""
    images = [str(record.image) for record in labels.records]
    found = model.predict(images, bboxes_xywh=label_boxes(labels))
    rows = [found.confidence[i, : len(record)] for i, record in enumerate(labels.records)]
    return Dropping.of(np.concatenate(rows)[:, columns], names, cutoff=drop_cutoff_of(model))
