"""Cards of models: what the author says, what the run measured, what the spec and the vocabulary state."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hub_cards.facts import ModelFacts, TrainingSet
from hub_cards.licences import licence_identifier
from hub_cards.rendering import TASK, render
from hub_cards.run_record import Errors, Evaluation, RunRecord
from superset_vocab import InputError, load_map, load_vocabulary
from superset_vocab.errors import all_problems
from superset_vocab.keypoint_map import list_maps
from superset_vocab.provenance import package_version
from zoo.published import TAG

if TYPE_CHECKING:
    from huggingface_hub import EvalResult, ModelCardData

    from zoo.catalogue import ModelSpec

LICENCE_FILE = "LICENSE"
SKELETON = "skeleton.png"
PREVIEW = "preview.png"


@dataclass(frozen=True)
class Place:
    """Where a card lies, which is what it tells its readers to load.

    Attributes:
        address: What `zoo.load` takes: "hf://owner/name@v1" or a folder; "" for a model of the package.
        pictures: Those of `SKELETON` and `PREVIEW` that lie beside it.
    """

    address: str = ""
    pictures: tuple[str, ...] = ()


def model_card(spec: ModelSpec, record: RunRecord, facts: ModelFacts, place: Place | None = None) -> str:
    """The card (README.md) of a model.

    Args:
        spec: What it is.
        record: What was measured; every figure of the card is from here.
        facts: What its author says.
        place: Where the card will lie; None for the package.

    Returns:
        Markdown with the Hub's metadata in front.

    Raises:
        InputError: If the record is of other weights than the spec's, or the licence of a training set is
            not known.
    """
    place = place or Place()
    if spec.pose.weights.sha256 != record.weights_sha256:
        raise InputError(
            f"{spec.full_name}: the run record is of weights {record.weights_sha256[:12]}, the model's are "
            f"{spec.pose.weights.sha256[:12]}; a card needs figures of the weights that it goes with"
        )
    sets = _training_sets(record, facts)
    vocabulary = load_vocabulary(spec.vocabulary)
    return render(
        "model_card.md.jinja",
        _metadata(spec, record, sets),
        spec=spec,
        record=record,
        facts=facts,
        place=place,
        skeleton=SKELETON if SKELETON in place.pictures else "",
        preview=PREVIEW if PREVIEW in place.pictures else "",
        trained=[name for name in vocabulary.keypoints if name not in spec.pose.untrained],
        n_keypoints=len(vocabulary),
        sigma_source=vocabulary.sigma_source,
        sets=[(name, record.datasets.get(name, 0), entry) for name, entry in sets.items()],
        figures=[_figures(evaluation) for evaluation in record.evaluations],
        weakest=_per_keypoint(record.evaluations),
        stages=[_stage_row(record, index) for index in range(len(record.stages))],
        version=package_version(),
    )


def licence_text(spec: ModelSpec) -> str:
    """The LICENSE file of a model whose licence is none of the Hub's list."""
    card = "The card (README.md) names the training data with their licences."
    return f"{spec.full_name}\n\n{spec.licence}\n\n{card}\n"


def has_own_licence(spec: ModelSpec) -> bool:
    """Whether the licence has to be told in a file of its own."""
    return licence_identifier(spec.licence) == "other"


def _training_sets(record: RunRecord, facts: ModelFacts) -> dict[str, TrainingSet]:
    """Licence and citation of each dataset of the record: the author's words, or the keypoint map's."""
    found, problems = {}, []
    maps = set(list_maps())
    for name in record.datasets:
        if name in facts.training_sets:
            found[name] = facts.training_sets[name]
        elif name in maps and load_map(name).licence:
            keypoint_map = load_map(name)
            found[name] = TrainingSet(keypoint_map.licence, keypoint_map.citation)
        else:
            problems.append(
                f"licence and citation of the training set {name!r} are not known; "
                f"state them in card.toml under [training_sets.{name}]"
            )
    unused = set(facts.training_sets) - set(record.datasets)
    problems += [f"card.toml has [training_sets.{name}], which no run used" for name in sorted(unused)]
    if problems:
        raise all_problems("the model card cannot be written", problems)
    return found


def _metadata(spec: ModelSpec, record: RunRecord, sets: dict[str, TrainingSet]) -> ModelCardData:
    """The block that the Hub reads: licence, tags, datasets, and the figures as a model index."""
    from huggingface_hub import ModelCardData

    own = has_own_licence(spec)
    name = re.sub(r"[^a-z0-9.]+", "-", re.sub(r"\(.*", "", spec.licence.lower())).strip("-")
    results = [result for evaluation in record.evaluations for result in _results(evaluation)]
    return ModelCardData(
        license=licence_identifier(spec.licence),
        license_name=name if own else None,
        license_link=LICENCE_FILE if own else None,
        library_name=TAG,
        pipeline_tag=TASK,
        tags=[TAG, "animal-pose", "pose-estimation", spec.vocabulary],
        datasets=list(sets),
        metrics=sorted({result.metric_type for result in results}) or None,
        model_name=spec.full_name if results else None,
        eval_results=results or None,
    )


def _results(evaluation: Evaluation) -> list[EvalResult]:
    """The figures of an evaluation as entries of the model index; those that are not there are left out."""
    from huggingface_hub import EvalResult

    counted = {"n_keypoints": evaluation.errors.n, "n_missing": evaluation.errors.n_missing}
    animals = {"n_instances": evaluation.n_instances, "n_extra": evaluation.n_extra}
    figures = [
        ("mean_distance", "mean distance, pixels", evaluation.errors.mean, 2, counted),
        ("median_distance", "median distance, pixels", evaluation.errors.median, 2, counted),
        ("oks_map", "mAP by OKS", evaluation.ap, 3, animals),
    ]
    return [
        EvalResult(
            task_type=TASK,
            dataset_type=re.sub(r"[^\w.-]+", "-", evaluation.dataset),
            dataset_name=evaluation.dataset,
            dataset_config=_boxes(evaluation),
            dataset_split=evaluation.split,
            dataset_args={"n_images": evaluation.n_images, "n_instances": evaluation.n_instances},
            metric_type=kind,
            metric_name=name,
            metric_value=round(value, digits),
            metric_args=arguments,
        )
        for kind, name, value, digits, arguments in figures
        if value is not None
    ]


def _boxes(evaluation: Evaluation) -> str:
    return "boxes found by the model" if evaluation.bboxes == "model" else "boxes made from the labels"


def _figures(evaluation: Evaluation) -> list[str]:
    """A row of the card's table."""
    errors = evaluation.errors
    normalised = (
        "-"
        if evaluation.normalised is None
        else f"{evaluation.normalised:.3f} ({' to '.join(evaluation.reference)})"
    )
    return [
        evaluation.split,
        str(evaluation.n_images),
        str(evaluation.n_instances),
        _boxes(evaluation).removeprefix("boxes "),
        _pixels(errors.mean),
        _pixels(errors.median),
        f"{errors.n_missing} of {errors.n}",
        str(evaluation.n_extra),
        "-" if evaluation.ap is None else f"{evaluation.ap:.3f}",
        normalised,
    ]


def _per_keypoint(evaluations: Sequence[Evaluation]) -> list[list[str]]:
    """Rows for each keypoint of the first evaluation, the largest mean distance first."""
    if not evaluations:
        return []

    def farthest(item: tuple[str, Errors]) -> float:
        return -(item[1].mean if item[1].mean is not None else float("inf"))

    rows = sorted(evaluations[0].per_keypoint.items(), key=farthest)
    return [
        [name, _pixels(errors.mean), _pixels(errors.median), f"{errors.n_missing} of {errors.n}"]
        for name, errors in rows
    ]


def _pixels(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _stage_row(record: RunRecord, index: int) -> list[str]:
    """A row of the table of training runs."""
    stage = record.stages[index]
    data = ", ".join(f"{name} {n}" for name, n in stage.datasets.items())
    torch = stage.versions.get("torch", "-")
    seed = "-" if stage.seed is None else str(stage.seed)
    minutes = f"{stage.seconds / 60:.0f}"
    return [
        stage.name or "training",
        data,
        str(stage.iterations),
        str(stage.samples),
        minutes,
        stage.device,
        seed,
        torch,
    ]
