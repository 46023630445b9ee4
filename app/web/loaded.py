"""The models that the worker process keeps in memory from job to job."""

from __future__ import annotations

import warnings
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from zoo import Model

_MODELS = 2  # kept in memory


@lru_cache(maxsize=_MODELS)
def load_model(name: str, variant: str) -> Model:
    """A model by name and variant ("" for its own choice), or by its folder."""
    import zoo

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", zoo.EmbeddedWeightsWarning)  # the page names what it loads
        return zoo.load(name, variant or None)
