"""What a run measured: the only source of a card's figures.

A run record is JSON. Training writes one for each run (`training.fit`); fine-tuning puts it under "training",
and an embedded model's has all runs that led to it under "runs". Evaluations are reports of
`training.evaluate`, under "evaluations". A figure counts only with the number of things it was measured on,
the part of the data, and the hash of the weights that it was measured with: one of other weights is refused.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from superset_vocab.errors import InputError, all_problems


@dataclass(frozen=True)
class Errors:
    """Distances over the annotated keypoints of an evaluation.

    Attributes:
        n: Annotated keypoints.
        n_missing: Those of them that were not predicted.
        mean, median: In pixels of the images, over the others; None if there are none.
    """

    n: int
    n_missing: int
    mean: float | None
    median: float | None


@dataclass(frozen=True)
class Evaluation:
    """The figures of one evaluation, and what they were measured on.

    Attributes:
        split: What part of the data.
        datasets: Dataset -> number of its images.
        n_images, n_instances, n_extra: Images, labelled animals, and predicted ones beyond them.
        bboxes: "model" if the model found the animals, "labels" if it was given their boxes.
        errors: Over all keypoints.
        per_keypoint: Over each.
        ap: Mean average precision by OKS in [0, 1]; None if there is none.
        normalised: Mean distance in units of the distance between two keypoints; None if not asked for.
        reference: Those two.
    """

    split: str
    datasets: dict[str, int]
    n_images: int
    n_instances: int
    n_extra: int
    bboxes: str
    errors: Errors
    per_keypoint: dict[str, Errors]
    ap: float | None
    normalised: float | None = None
    reference: tuple[str, ...] = ()

    @property
    def dataset(self) -> str:
        """Names of its datasets in one."""
        return ", ".join(self.datasets)


@dataclass(frozen=True)
class Stage:
    """One training run.

    Attributes:
        name: Of the run, "" if there was only one.
        datasets: Dataset -> number of its samples (animals, or images for a detector).
        iterations, samples: Steps, and images seen in them.
        seconds: How long it took.
        seed: Of the run; None if it is not recorded.
        device: E.g. "cpu".
        versions: Package -> version.
    """

    name: str
    datasets: dict[str, int]
    iterations: int
    samples: int
    seconds: float
    seed: int | None
    device: str
    versions: dict[str, str]


@dataclass(frozen=True)
class RunRecord:
    """What is known of a model's making.

    Attributes:
        weights_sha256: Of the weights file that the evaluations are of.
        made_by: The command.
        stages: In their order.
        evaluations: In their order; may be empty.
    """

    weights_sha256: str
    made_by: str
    stages: tuple[Stage, ...]
    evaluations: tuple[Evaluation, ...]

    @property
    def datasets(self) -> dict[str, int]:
        """Dataset -> the most samples that any stage had of it, in order of appearance."""
        found: dict[str, int] = {}
        for stage in self.stages:
            for name, n in stage.datasets.items():
                found[name] = max(n, found.get(name, 0))
        return found


_EVALUATION = {
    "split": str,
    "datasets": dict,
    "n_images": int,
    "n_instances": int,
    "n_extra": int,
    "bboxes": str,
    "errors": dict,
    "per_keypoint": dict,
    "precision": dict,
}
_ERRORS = {"n", "n_missing", "mean_distance", "median"}
_STAGE = {"datasets": dict, "iterations": int, "samples": int, "seconds": (int, float), "device": str}


def read_record(content: Any, what: str, weights_sha256: str) -> RunRecord:
    """The run record of a model, checked.

    Args:
        content: Parsed JSON.
        what: Name of its file, for messages.
        weights_sha256: Of the model's weights file; figures of other weights are refused.

    Raises:
        InputError: Lists everything that is missing, of the wrong kind or of other weights.
    """
    if not isinstance(content, dict):
        raise InputError(f"{what}: is no run record (it is a {type(content).__name__}, want an object)")
    runs = _runs(content)
    evaluations = content.get("evaluations", [])
    problems = [*_stage_problems(runs)]
    if not isinstance(evaluations, list):
        problems.append(f"evaluations is a {type(evaluations).__name__}, want a list")
    else:
        problems += _evaluation_problems(evaluations, weights_sha256)
    if problems:
        raise all_problems(f"{what}: the card has its figures from here, and cannot take these", problems)
    return RunRecord(
        weights_sha256=weights_sha256,
        made_by=str(content.get("made_by") or content.get("command") or ""),
        stages=tuple(_stage(name, run) for name, run in runs.items()),
        evaluations=tuple(_evaluation(entry) for entry in evaluations),
    )


def _runs(content: Mapping[str, Any]) -> dict[str, Any]:
    """Name -> the record of each training run in a model's record."""
    if isinstance(content.get("runs"), dict):
        return content["runs"]
    return {"": content["training"] if isinstance(content.get("training"), dict) else content}


def with_evaluations(content: Mapping[str, Any], reports: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """A run record with more evaluations, each replacing an older one of the same split and boxes.

    Args:
        content: The record.
        reports: As `training.evaluate` writes them; what names files of the evaluating machine is left out.
    """
    added = [_without_files(report) for report in reports]
    keys = {(entry.get("split"), entry.get("bboxes")) for entry in added}
    old = content.get("evaluations", [])
    if not isinstance(old, list):
        return dict(content)  # which `read_record` refuses
    kept = [
        entry
        for entry in old
        if not isinstance(entry, dict) or (entry.get("split"), entry.get("bboxes")) not in keys
    ]
    return {**content, "evaluations": [*kept, *added]}


def _without_files(report: Mapping[str, Any]) -> dict[str, Any]:
    provenance = report.get("provenance")
    if not isinstance(provenance, dict):
        return dict(report)
    kept = {name: value for name, value in provenance.items() if name != "input"}
    return {**report, "provenance": kept}


def _stage_problems(runs: Mapping[str, Any]) -> Iterator[str]:
    for name, run in runs.items():
        place = f"run {name!r}" if name else "the run"
        if not isinstance(run, dict):
            yield f"{place} is a {type(run).__name__}, want an object"
            continue
        yield from _wrong_entries(run, _STAGE, place)
        counts, versions = run.get("datasets"), run.get("versions") or {}
        if isinstance(counts, dict) and not all(_is_count(n) for n in counts.values()):
            yield f"{place} has something else than numbers of samples in 'datasets'"
        if not isinstance(versions, dict):
            yield f"{place} has a {type(versions).__name__} as 'versions'"


def _evaluation_problems(evaluations: Sequence[Any], weights_sha256: str) -> Iterator[str]:
    """What keeps evaluations from being figures: no n, no split, other weights."""
    for index, entry in enumerate(evaluations):
        place = f"evaluation {index + 1}"
        if not isinstance(entry, dict):
            yield f"{place} is a {type(entry).__name__}, want an object"
            continue
        wrong = list(_wrong_entries(entry, _EVALUATION, place))
        yield from wrong
        if wrong:
            continue
        place = f"{place} ({entry['split']})"
        if not entry["split"].strip() or not entry["datasets"]:
            yield f"{place} does not say on what part of which data it was measured"
        if entry["n_images"] < 1 or entry["n_instances"] < 1:
            yield f"{place} was measured on nothing (n_images, n_instances)"
        for name, errors in {"errors": entry["errors"], **entry["per_keypoint"]}.items():
            if not isinstance(errors, dict) or not set(errors) >= _ERRORS:
                yield f"{place} lacks n, n_missing, mean_distance or median of {name!r}"
            elif not (_is_count(errors["n"]) and _is_count(errors["n_missing"])):
                yield f"{place} has something else than counts as n or n_missing of {name!r}"
            elif not (_is_figure(errors["mean_distance"]) and _is_figure(errors["median"])):
                yield f"{place} has something else than numbers as mean_distance or median of {name!r}"
        normalised = entry.get("normalised") or {}
        if not isinstance(normalised, dict) or not _is_figure(normalised.get("mean")):
            yield f"{place} has something else than a number as the mean of 'normalised'"
        if not _is_figure(entry["precision"].get("ap")):
            yield f"{place} has something else than a number as ap of 'precision'"
        found = _weights_of(entry)
        if found != weights_sha256:
            yield (
                f"{place} was measured with weights {found[:12] or 'that it does not name'}, "
                f"this model's are {weights_sha256[:12]}; evaluate it again"
            )


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_figure(value: Any) -> bool:
    """A number, or None where there was nothing to measure."""
    return value is None or (isinstance(value, int | float) and not isinstance(value, bool))


def _weights_of(entry: Mapping[str, Any]) -> str:
    """The hash of the pose weights that an evaluation was made with."""
    place: Any = entry
    for key in ("provenance", "weights", "pose", "sha256"):
        place = place.get(key) if isinstance(place, dict) else None
    return place if isinstance(place, str) else ""


def _wrong_entries(found: Mapping[str, Any], entries: Mapping[str, Any], place: str) -> Iterator[str]:
    for name, kind in entries.items():
        if name not in found:
            yield f"{place} lacks {name!r}"
        elif not isinstance(found[name], kind) or isinstance(found[name], bool):
            yield f"{place} has a {type(found[name]).__name__} as {name!r}"


def _stage(name: str, run: Mapping[str, Any]) -> Stage:
    recipe = run.get("recipe")
    settings = recipe.get("run") if isinstance(recipe, dict) else None
    seed = settings.get("seed") if isinstance(settings, dict) else run.get("seed")
    return Stage(
        name=name,
        datasets={str(dataset): int(n) for dataset, n in run["datasets"].items()},
        iterations=run["iterations"],
        samples=run["samples"],
        seconds=float(run["seconds"]),
        seed=seed if isinstance(seed, int) else None,
        device=run["device"],
        versions={str(package): str(version) for package, version in (run.get("versions") or {}).items()},
    )


def _evaluation(entry: Mapping[str, Any]) -> Evaluation:
    normalised = entry.get("normalised") or {}
    return Evaluation(
        split=entry["split"],
        datasets=dict(entry["datasets"]),
        n_images=entry["n_images"],
        n_instances=entry["n_instances"],
        n_extra=entry["n_extra"],
        bboxes=entry["bboxes"],
        errors=_errors(entry["errors"]),
        per_keypoint={name: _errors(errors) for name, errors in entry["per_keypoint"].items()},
        ap=_number(entry["precision"].get("ap")),
        normalised=_number(normalised.get("mean")),
        reference=tuple(normalised.get("reference") or ()),
    )


def _errors(entry: Mapping[str, Any]) -> Errors:
    return Errors(entry["n"], entry["n_missing"], _number(entry["mean_distance"]), _number(entry["median"]))


def _number(value: Any) -> float | None:
    """A figure, None where there was nothing to measure."""
    return None if value is None or math.isnan(value) else float(value)
