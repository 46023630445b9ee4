"""The model zoo: list and load published pose models, run them on images and videos.

    import zoo
    model = zoo.load("superanimal_topviewmouse")
    predictions = model.predict("mouse.mp4")
    predictions.save("results", "mouse")

Importing this package is cheap: torch, pandas and OpenCV are imported by the first call that needs them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from superset_vocab.errors import InputError
from zoo.catalogue import ModelSpec, find_model, list_models
from zoo.results import Predictions

if TYPE_CHECKING:
    from zoo.model import Model
    from zoo.tracking import Tracking

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
    from zoo.model import load_model

    return load_model(find_model(name, variant), device)


def __getattr__(name: str) -> Any:
    """Resolve the classes whose modules import torch or scipy (PEP 562)."""
    if name == "Model":
        from zoo.model import Model

        return Model
    if name == "Tracking":
        from zoo.tracking import Tracking

        return Tracking
    raise AttributeError(f"module 'zoo' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
