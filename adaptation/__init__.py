"""Functions that take a model, or what models predicted: matching, fine-tuning, smoothing.

Names load when they are first used: `import adaptation` alone stays light.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from adaptation.benchmark_protocol import run_benchmark
    from adaptation.benchmark_spec import list_benchmarks, load_benchmark
    from adaptation.eks.ensemble import Ensemble, SmoothingOptions
    from adaptation.eks.recording import Recording, read_recording
    from adaptation.eks.smoothed_recording import SmoothedRecording
    from adaptation.fine_tuning import choose_frames, fine_tune
    from adaptation.keypoint_files import write_matching
    from adaptation.keypoint_matching import Matching, Proposal, match_keypoints
    from adaptation.memory_replay import Replay
    from adaptation.smoothing import smooth

_HOMES = {
    "Ensemble": "adaptation.eks.ensemble",
    "Matching": "adaptation.keypoint_matching",
    "Proposal": "adaptation.keypoint_matching",
    "Recording": "adaptation.eks.recording",
    "Replay": "adaptation.memory_replay",
    "SmoothedRecording": "adaptation.eks.smoothed_recording",
    "SmoothingOptions": "adaptation.eks.ensemble",
    "choose_frames": "adaptation.fine_tuning",
    "fine_tune": "adaptation.fine_tuning",
    "list_benchmarks": "adaptation.benchmark_spec",
    "load_benchmark": "adaptation.benchmark_spec",
    "match_keypoints": "adaptation.keypoint_matching",
    "read_recording": "adaptation.eks.recording",
    "run_benchmark": "adaptation.benchmark_protocol",
    "smooth": "adaptation.smoothing",
    "write_matching": "adaptation.keypoint_files",
}

__all__ = [
    "Ensemble",
    "Matching",
    "Proposal",
    "Recording",
    "Replay",
    "SmoothedRecording",
    "SmoothingOptions",
    "choose_frames",
    "fine_tune",
    "list_benchmarks",
    "load_benchmark",
    "match_keypoints",
    "read_recording",
    "run_benchmark",
    "smooth",
    "write_matching",
]


def __getattr__(name: str) -> Any:
    """Load a public name from its module."""
    if name not in _HOMES:
        raise AttributeError(f"module 'adaptation' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return __all__
