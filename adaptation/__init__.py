"""Functions that take a model, or what models predicted: smoothing. Names load when they are first used."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from adaptation.eks.ensemble import Ensemble, SmoothingOptions
    from adaptation.eks.recording import Recording, read_recording
    from adaptation.eks.smoothed_recording import SmoothedRecording
    from adaptation.smoothing import smooth

_HOMES = {
    "Ensemble": "adaptation.eks.ensemble",
    "Recording": "adaptation.eks.recording",
    "SmoothedRecording": "adaptation.eks.smoothed_recording",
    "SmoothingOptions": "adaptation.eks.ensemble",
    "read_recording": "adaptation.eks.recording",
    "smooth": "adaptation.smoothing",
}

__all__ = ["Ensemble", "Recording", "SmoothedRecording", "SmoothingOptions", "read_recording", "smooth"]


def __getattr__(name: str) -> Any:
    """Load a public name from its module."""
    if name not in _HOMES:
        raise AttributeError(f"module 'adaptation' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return __all__
