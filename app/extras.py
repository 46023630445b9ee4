"""Which extra of the package brings a module that is not installed."""

from __future__ import annotations

_EXTRAS = {
    "albumentations": "train",
    "gradio": "app",
    "matplotlib": "train",
    "mmengine": "train",
    "numba": "smooth",
    "pycocotools": "train",
    "sleap_io": "sleap",
    "statsmodels": "smooth",
    "tensorboard": "train",
}


def what_to_install(error: ModuleNotFoundError) -> str | None:
    """What to do about a module that could not be imported; None if no extra of ours has it."""
    extra = _EXTRAS.get((error.name or "").partition(".")[0])
    if extra is None:
        return None
    return f'this needs {error.name}, which is not installed; pip install "superanimal-zoo[{extra}]"'
