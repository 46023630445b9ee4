"""The model zoo: list and load published pose models, run them on images and videos.

    import zoo
    model = zoo.load("superanimal_topviewmouse")
    predictions = model.predict("mouse.mp4")
    predictions.save("results", "mouse")

Importing this package is cheap: what the names below need (torch, OpenCV, pandas) is imported by the
first call that uses it.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from superset_vocab.errors import InputError
    from zoo.catalogue import ModelSpec, list_models
    from zoo.model import Model
    from zoo.results import Predictions
    from zoo.tracking import Tracking

_HOMES = {
    "InputError": "superset_vocab.errors",
    "Model": "zoo.model",
    "ModelSpec": "zoo.catalogue",
    "Predictions": "zoo.results",
    "Tracking": "zoo.tracking",
    "list_models": "zoo.catalogue",
}

__all__ = ["InputError", "Model", "ModelSpec", "Predictions", "Tracking", "list_models", "load"]


def load(name: str, variant: str | None = None, device: str = "auto") -> Model:
    """Load a published model, ready to predict.

    Args:
        name: For example "superanimal_topviewmouse"; `list_models` has them all.
        variant: Which network, e.g. "compact"; None takes the model's default variant.
        device: "auto" (a CUDA device if there is one, else the processor), "cpu", "cuda" or "cuda:1".

    Raises:
        InputError: If there is no such model, variant or device, or its weights are missing or damaged.
    """
    from zoo.catalogue import find_model

    spec = find_model(name, variant)  # a misspelt name is said before torch is imported
    from zoo.model import load_model

    return load_model(spec, device)


def __getattr__(name: str) -> Any:
    """Load a public name from its module (PEP 562)."""
    if name not in _HOMES:
        raise AttributeError(f"module 'zoo' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
