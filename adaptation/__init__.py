"""Functions that take a model, or what models predicted: fine-tuning. Names load when they are first used."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from adaptation.benchmark_protocol import run_benchmark
    from adaptation.benchmark_spec import list_benchmarks, load_benchmark
    from adaptation.fine_tuning import choose_frames, fine_tune
    from adaptation.memory_replay import Replay

_HOMES = {
    "Replay": "adaptation.memory_replay",
    "choose_frames": "adaptation.fine_tuning",
    "fine_tune": "adaptation.fine_tuning",
    "list_benchmarks": "adaptation.benchmark_spec",
    "load_benchmark": "adaptation.benchmark_spec",
    "run_benchmark": "adaptation.benchmark_protocol",
}

__all__ = ["Replay", "choose_frames", "fine_tune", "list_benchmarks", "load_benchmark", "run_benchmark"]


def __getattr__(name: str) -> Any:
    """Load a public name from its module."""
    if name not in _HOMES:
        raise AttributeError(f"module 'adaptation' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return __all__
