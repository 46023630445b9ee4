"""Model and dataset cards, and publishing to the Hugging Face Hub.

A card is rendered from typed data: what its author says (`DatasetFacts`), what was counted or measured,
and what is the same in every card (the templates).
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hub_cards.dataset_cards import dataset_card
    from hub_cards.facts import DatasetFacts

_HOMES = {
    "DatasetFacts": "hub_cards.facts",
    "dataset_card": "hub_cards.dataset_cards",
}

__all__ = ["DatasetFacts", "dataset_card"]


def __getattr__(name: str) -> Any:
    """Load a public name from its module (PEP 562)."""
    if name not in _HOMES:
        raise AttributeError(f"module 'hub_cards' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
