"""Cards of superset datasets: what the contributor says, and what is counted in the labels."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from converters import dataset_statistics
from hub_cards.facts import DatasetFacts
from hub_cards.licences import licence_identifiers
from hub_cards.rendering import TASK, percent, render, row
from superset_vocab import InputError, LabelSet, Source
from superset_vocab.provenance import package_version
from zoo.published import TAG

if TYPE_CHECKING:
    from huggingface_hub import DatasetCardData

    from converters.statistics import DatasetStatistics

UNPUBLISHED = "hf://ORG/NAME@REVISION"
"""Stands in a card for the address that the dataset will have; publishing puts that in its place."""
_SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))


def dataset_card(labels: LabelSet, facts: DatasetFacts) -> str:
    """The card (README.md) of a superset dataset.

    Args:
        labels: The whole dataset, in a superset vocabulary; its figures are counted here.
        facts: What its contributor says.

    Returns:
        Markdown with the Hub's metadata in front.

    Raises:
        InputError: If the labels are in no vocabulary, or there are none.
    """
    if labels.vocabulary is None:
        raise InputError(f"{facts.name}: is not in a superset vocabulary; run `zoo convert` on it first")
    if not labels.n_instances:
        raise InputError(f"{facts.name}: no animal is labelled in it; there is nothing to publish")
    counts = dataset_statistics(labels)
    shares = np.array([_shares(labels, *both) for both in zip(labels.sources, counts, strict=True)])
    return render(
        "dataset_card.md.jinja",
        _metadata(labels, facts),
        facts=facts,
        vocabulary=labels.vocabulary,
        keypoints=labels.keypoints,
        sources=list(zip(labels.sources, counts, np.isfinite(shares).sum(1), strict=True)),
        shares=[[percent(share) for share in keypoint] for keypoint in shares.T],
        mappings=[_mapping(source) for source in labels.sources],
        unlabelled=_never_annotated(labels, counts),
        count_rows=count_rows(labels),
        address=UNPUBLISHED,
        operations=labels.operations,
        version=package_version(),
    )


def count_rows(labels: LabelSet) -> list[str]:
    """The lines of a card that say how much there is; by them a card is known to be of these labels."""
    return [row(["images", len(labels)]), row(["labelled animals", labels.n_instances])]


def _metadata(labels: LabelSet, facts: DatasetFacts) -> DatasetCardData:
    """The block that the Hub reads."""
    from huggingface_hub import DatasetCardData

    licences = [facts.licence] if facts.licence else [source.licence for source in labels.sources]
    size = next((name for limit, name in _SIZES if len(labels) < limit), "n>1M")
    found = licence_identifiers(licences)
    return DatasetCardData(
        license=found[0] if len(found) == 1 else found,
        task_categories=[TASK],
        size_categories=[size],
        pretty_name=" ".join(facts.name.split()),
        tags=[TAG, "animal-pose", "pose-estimation", str(labels.vocabulary)],
    )


def _shares(labels: LabelSet, source: Source, count: DatasetStatistics) -> np.ndarray:
    """(K,) share of a source's animals in which a keypoint is annotated; NaN where it defines none."""
    mapped = set(source.keypoint_map.values())  # defined also where no animal is labelled
    defined = count.defined | np.array([name in mapped for name in labels.keypoints], dtype=bool)
    return np.where(defined, count.annotated / max(1, count.n_instances), np.nan)


def _never_annotated(labels: LabelSet, counts: list[DatasetStatistics]) -> list[str]:
    """Keypoints of the vocabulary that no source annotates."""
    total = np.sum([count.annotated for count in counts], axis=0)
    return [name for name, n in zip(labels.keypoints, total, strict=True) if n == 0]


def _mapping(source: Source) -> str:
    """How a source's own keypoints became those of the vocabulary."""
    pairs = [f"{own} → {target or 'dropped'}" for own, target in source.keypoint_map.items()]
    return ", ".join(pairs) or "it has them by these names"
