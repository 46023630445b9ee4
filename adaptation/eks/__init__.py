"""Ensemble Kalman smoothing: one track, with its uncertainty, from the predictions of several networks.

The names below are loaded when they are first used: `import adaptation.eks` alone stays light.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from adaptation.eks.ensemble import (
        CalibratedSmoothed,
        Ensemble,
        EnsembleStatistics,
        LikelihoodCurve,
        PupilSmoothed,
        Smoothed,
        SmoothingChoice,
        SmoothingOptions,
    )

_HOMES = {
    "CalibratedSmoothed": "adaptation.eks.ensemble",
    "Ensemble": "adaptation.eks.ensemble",
    "EnsembleStatistics": "adaptation.eks.ensemble",
    "LikelihoodCurve": "adaptation.eks.ensemble",
    "PupilSmoothed": "adaptation.eks.ensemble",
    "Smoothed": "adaptation.eks.ensemble",
    "SmoothingChoice": "adaptation.eks.ensemble",
    "SmoothingOptions": "adaptation.eks.ensemble",
}

__all__ = [
    "CalibratedSmoothed",
    "Ensemble",
    "EnsembleStatistics",
    "LikelihoodCurve",
    "PupilSmoothed",
    "Smoothed",
    "SmoothingChoice",
    "SmoothingOptions",
]


def __getattr__(name: str) -> Any:
    """Load a public name from its module."""
    if name not in _HOMES:
        raise AttributeError(f"module 'adaptation.eks' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return __all__
