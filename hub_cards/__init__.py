"""Model and dataset cards, and publishing to the Hugging Face Hub.

A card is rendered from typed data: what its author says (`DatasetFacts`), what was counted or measured,
and what is the same in every card (the templates).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from superset_vocab.lazy import lazy_names

if TYPE_CHECKING:
    from hub_cards.contributions import (
        ContributionPlan,
        PullRequest,
        open_pull_request,
        plan_contribution,
    )
    from hub_cards.dataset_cards import dataset_card
    from hub_cards.datasets import fetch_pictures, load_contributions, load_dataset
    from hub_cards.export import export_model
    from hub_cards.facts import DatasetFacts, ModelFacts, TrainingSet
    from hub_cards.model_cards import model_card
    from hub_cards.publish import Plan, Published, plan_version, publish_plan

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
    "load_contributions",
    "load_dataset",
    "model_card",
    "open_pull_request",
    "plan_contribution",
    "plan_version",
    "publish_plan",
]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "hub_cards.contributions": [
            "ContributionPlan",
            "PullRequest",
            "open_pull_request",
            "plan_contribution",
        ],
        "hub_cards.dataset_cards": ["dataset_card"],
        "hub_cards.datasets": ["fetch_pictures", "load_contributions", "load_dataset"],
        "hub_cards.export": ["export_model"],
        "hub_cards.facts": ["DatasetFacts", "ModelFacts", "TrainingSet"],
        "hub_cards.model_cards": ["model_card"],
        "hub_cards.publish": ["Plan", "Published", "plan_version", "publish_plan"],
    },
)
