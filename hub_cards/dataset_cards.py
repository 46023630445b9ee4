"""Cards of superset datasets: what the contributor says, and what is counted in the labels."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hub_cards.coverage import Coverage, coverage
from hub_cards.facts import DatasetFacts
from hub_cards.licences import licence_identifiers
from hub_cards.rendering import TASK, percent, render, row
from superset_vocab import InputError, LabelSet, Source
from superset_vocab.provenance import package_version
from zoo.published import TAG

if TYPE_CHECKING:
    from huggingface_hub import DatasetCardData

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
    counts = coverage(labels)
    if not any(count.n_instances for count in counts):
        raise InputError(f"{facts.name}: no animal is labelled in it; there is nothing to publish")
    return render(
        "dataset_card.md.jinja",
        _metadata(labels, facts),
        facts=facts,
        vocabulary=labels.vocabulary,
        keypoints=labels.keypoints,
        counts=counts,
        names=[count.source.dataset for count in counts],
        shares=[[percent(count.fraction[k]) for count in counts] for k in range(len(labels.keypoints))],
        mappings=[_mapping(count.source) for count in counts],
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


def _never_annotated(labels: LabelSet, counts: list[Coverage]) -> list[str]:
    """Keypoints of the vocabulary that no source annotates."""
    total = sum(count.n_annotated for count in counts)
    return [name for name, n in zip(labels.keypoints, total, strict=True) if n == 0]


def _mapping(source: Source) -> str:
    """How a source's own keypoints became those of the vocabulary."""
    pairs = [f"{own} → {target or 'dropped'}" for own, target in source.keypoint_map.items()]
    return ", ".join(pairs) or "it has them by these names"
