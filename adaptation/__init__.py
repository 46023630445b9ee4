"""Functions that take a model, or what models predicted: keypoint matching. Names load when first used."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from adaptation.keypoint_files import write_matching
    from adaptation.keypoint_matching import Matching, Proposal, match_keypoints

_HOMES = {
    "Matching": "adaptation.keypoint_matching",
    "Proposal": "adaptation.keypoint_matching",
    "match_keypoints": "adaptation.keypoint_matching",
    "write_matching": "adaptation.keypoint_files",
}

__all__ = ["Matching", "Proposal", "match_keypoints", "write_matching"]


def __getattr__(name: str) -> Any:
    """Load a public name from its module."""
    if name not in _HOMES:
        raise AttributeError(f"module 'adaptation' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return __all__
