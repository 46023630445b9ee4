"""Model and dataset cards, and publishing to the Hugging Face Hub.

A card is rendered from typed data: what its author says (`DatasetFacts`), what was counted or measured,
and what is the same in every card (the templates).
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hub_cards.contributions import (
        ContributionPlan,
        PullRequest,
        open_pull_request,
        plan_contribution,
    )
    from hub_cards.dataset_cards import dataset_card
    from hub_cards.datasets import fetch_pictures, load_collection, load_dataset
    from hub_cards.export import export_model
    from hub_cards.facts import DatasetFacts, ModelFacts, TrainingSet
    from hub_cards.model_cards import model_card
    from hub_cards.publish import Plan, Published, plan_version, publish_plan

_HOMES = {
    "ContributionPlan": "hub_cards.contributions",
    "DatasetFacts": "hub_cards.facts",
    "ModelFacts": "hub_cards.facts",
    "Plan": "hub_cards.publish",
    "Published": "hub_cards.publish",
    "PullRequest": "hub_cards.contributions",
    "TrainingSet": "hub_cards.facts",
    "dataset_card": "hub_cards.dataset_cards",
    "export_model": "hub_cards.export",
    "fetch_pictures": "hub_cards.datasets",
    "load_collection": "hub_cards.datasets",
    "load_dataset": "hub_cards.datasets",
    "model_card": "hub_cards.model_cards",
    "open_pull_request": "hub_cards.contributions",
    "plan_contribution": "hub_cards.contributions",
    "plan_version": "hub_cards.publish",
    "publish_plan": "hub_cards.publish",
}

__all__ = [
    "ContributionPlan",
    "DatasetFacts",
    "ModelFacts",
    "Plan",
    "Published",
    "PullRequest",
    "TrainingSet",
    "dataset_card",
    "export_model",
    "fetch_pictures",
    "load_collection",
    "load_dataset",
    "model_card",
    "open_pull_request",
    "plan_contribution",
    "plan_version",
    "publish_plan",
]


def __getattr__(name: str) -> Any:
    """Load a public name from its module (PEP 562)."""
    if name not in _HOMES:
        raise AttributeError(f"module 'hub_cards' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
