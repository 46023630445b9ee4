"""Functions that take a model, or what models predicted: matching, fine-tuning, smoothing.

Names load when they are first used: `import adaptation` alone stays light.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from superset_vocab.lazy import lazy_names

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

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "adaptation.benchmark_protocol": ["run_benchmark"],
        "adaptation.benchmark_spec": ["list_benchmarks", "load_benchmark"],
        "adaptation.eks.ensemble": ["Ensemble", "SmoothingOptions"],
        "adaptation.eks.recording": ["Recording", "read_recording"],
        "adaptation.eks.smoothed_recording": ["SmoothedRecording"],
        "adaptation.fine_tuning": ["choose_frames", "fine_tune"],
        "adaptation.keypoint_files": ["write_matching"],
        "adaptation.keypoint_matching": ["Matching", "Proposal", "match_keypoints"],
        "adaptation.memory_replay": ["Replay"],
        "adaptation.smoothing": ["smooth"],
    },
)
