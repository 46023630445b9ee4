"""The model zoo: list and load published pose models, run them on images and videos.

    import zoo
    model = zoo.load("superanimal_topviewmouse")
    predictions = model.predict("mouse.mp4")
    predictions.save("results", "mouse")

Importing this package is cheap: what the names below need (torch, OpenCV, pandas) is imported by the
first call that uses it.
"""

from __future__ import annotations

from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

from superset_vocab.lazy import lazy_names

if TYPE_CHECKING:
    from superset_vocab.errors import InputError
    from zoo.catalogue import ModelSpec, list_models
    from zoo.loading import EmbeddedWeightsWarning
    from zoo.model import PAPER, Model
    from zoo.results import Predictions
    from zoo.tracking import Tracking

__all__ = [
    "PAPER",
    "EmbeddedWeightsWarning",
    "InputError",
    "Model",
    "ModelSpec",
    "Predictions",
    "Tracking",
    "list_models",
    "load",
]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "superset_vocab.errors": ["InputError"],
        "zoo.catalogue": ["ModelSpec", "list_models"],
        "zoo.loading": ["EmbeddedWeightsWarning"],
        "zoo.model": ["Model", "PAPER"],
        "zoo.results": ["Predictions"],
        "zoo.tracking": ["Tracking"],
    },
)


def load(
    name: str | PathLike[str],
    variant: str | None = None,
    device: str = "auto",
    *,
    weights: str | PathLike[str] | None = None,
    detector: str | None = None,
    detector_weights: str | PathLike[str] | None = None,
    box_category: int | str | None = None,
    allow_embedded: bool | None = None,
) -> Model:
    """Load a published model, or one of your own from its folder, ready to predict.

    Without `variant` and `weights` the published network is taken from the Hugging Face Hub, or from its
    cache; where it cannot be had, the small embedded one stands in, with a warning.

    Args:
        name: For example "superanimal_topviewmouse"; `list_models` has them all. Or the path of a model's
            folder, as `zoo finetune` writes it. Or "hf://owner/name@revision", a model that somebody
            published to the Hugging Face Hub with `zoo publish`.
        variant: Which network, e.g. "hrnet_w32" or "compact" (embedded, needs no download).
        device: "auto" (a CUDA device if there is one, else the processor), "cpu", "cuda" or "cuda:1".
        weights: File to take the pose network's weights from, a published .pt or a .safetensors.
        detector: One of the model's detectors by name; "none" takes the whole frame for one animal's box;
            a .json file gives the boxes (COCO results). None takes the model's default.
        detector_weights: File to take the detector's weights from.
        box_category: Of a .json file of boxes only those of this category_id, or of this name in the
            categories of the file; None takes all.
        allow_embedded: Whether embedded weights may stand in for published ones. None allows it unless
            the environment variable ZOO_STRICT is 1.

    Raises:
        InputError: If there is no such model, variant, detector or device, or weights are missing, damaged
            or do not fit.
    """
    from zoo.catalogue import find_model
    from zoo.published import spec_outside

    spec = spec_outside(name)
    if spec is None:
        find_model(str(name), variant)  # a misspelt name is said before torch is imported
    from zoo.loading import Request, load_model

    files = [None if path is None else Path(path) for path in (weights, detector_weights)]
    return load_model(
        Request(str(name), variant, device, files[0], detector, files[1], allow_embedded, spec, box_category)
    )
