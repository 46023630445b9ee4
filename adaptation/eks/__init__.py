"""Ensemble Kalman smoothing: one track, with its uncertainty, from the predictions of several networks.

Biderman, Whiteway et al., "Lightning Pose", Nature Methods 2024, section "EKS"; docs/smoothing.md has the
models and what was measured. The names below are loaded when they are first used: `import adaptation.eks`
alone stays light, and numba is imported by the first call that needs it.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from adaptation.eks.asynchronous import smooth_asynchronous, synchronised
    from adaptation.eks.calibrated import smooth_calibrated
    from adaptation.eks.calibration import Camera, read_calibration, triangulate
    from adaptation.eks.canonical import CanonicalCorrelation, canonical_correlation
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
    from adaptation.eks.inflation import inflated
    from adaptation.eks.multicam import joined, smooth_mirrored, smooth_multicam, split_views
    from adaptation.eks.pose import PosePCA, pose_pca
    from adaptation.eks.pupil import smooth_pupil
    from adaptation.eks.singlecam import smooth_singlecam
    from adaptation.eks.statistics import ensemble_statistics

_HOMES = {
    "CalibratedSmoothed": "adaptation.eks.ensemble",
    "Camera": "adaptation.eks.calibration",
    "CanonicalCorrelation": "adaptation.eks.canonical",
    "Ensemble": "adaptation.eks.ensemble",
    "EnsembleStatistics": "adaptation.eks.ensemble",
    "LikelihoodCurve": "adaptation.eks.ensemble",
    "PosePCA": "adaptation.eks.pose",
    "PupilSmoothed": "adaptation.eks.ensemble",
    "Smoothed": "adaptation.eks.ensemble",
    "SmoothingChoice": "adaptation.eks.ensemble",
    "SmoothingOptions": "adaptation.eks.ensemble",
    "canonical_correlation": "adaptation.eks.canonical",
    "ensemble_statistics": "adaptation.eks.statistics",
    "inflated": "adaptation.eks.inflation",
    "joined": "adaptation.eks.multicam",
    "pose_pca": "adaptation.eks.pose",
    "read_calibration": "adaptation.eks.calibration",
    "smooth_asynchronous": "adaptation.eks.asynchronous",
    "smooth_calibrated": "adaptation.eks.calibrated",
    "smooth_mirrored": "adaptation.eks.multicam",
    "smooth_multicam": "adaptation.eks.multicam",
    "smooth_pupil": "adaptation.eks.pupil",
    "smooth_singlecam": "adaptation.eks.singlecam",
    "split_views": "adaptation.eks.multicam",
    "synchronised": "adaptation.eks.asynchronous",
    "triangulate": "adaptation.eks.calibration",
}

__all__ = [
    "CalibratedSmoothed",
    "Camera",
    "CanonicalCorrelation",
    "Ensemble",
    "EnsembleStatistics",
    "LikelihoodCurve",
    "PosePCA",
    "PupilSmoothed",
    "Smoothed",
    "SmoothingChoice",
    "SmoothingOptions",
    "canonical_correlation",
    "ensemble_statistics",
    "inflated",
    "joined",
    "pose_pca",
    "read_calibration",
    "smooth_asynchronous",
    "smooth_calibrated",
    "smooth_mirrored",
    "smooth_multicam",
    "smooth_pupil",
    "smooth_singlecam",
    "split_views",
    "synchronised",
    "triangulate",
]


def __getattr__(name: str) -> Any:
    """Load a public name from its module."""
    if name not in _HOMES:
        raise AttributeError(f"module 'adaptation.eks' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return __all__
