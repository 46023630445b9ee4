"""Ensemble Kalman smoothing: one track, with its uncertainty, from the predictions of several networks.

Biderman, Whiteway et al., "Lightning Pose", Nature Methods 2024, section "EKS"; docs/smoothing.md has the
models and what was measured. The names below are loaded when they are first used: `import adaptation.eks`
alone stays light, and numba is imported by the first call that needs it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from superset_vocab.lazy import lazy_names

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

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "adaptation.eks.asynchronous": ["smooth_asynchronous", "synchronised"],
        "adaptation.eks.calibrated": ["smooth_calibrated"],
        "adaptation.eks.calibration": ["Camera", "read_calibration", "triangulate"],
        "adaptation.eks.canonical": ["CanonicalCorrelation", "canonical_correlation"],
        "adaptation.eks.ensemble": [
            "CalibratedSmoothed",
            "Ensemble",
            "EnsembleStatistics",
            "LikelihoodCurve",
            "PupilSmoothed",
            "Smoothed",
            "SmoothingChoice",
            "SmoothingOptions",
        ],
        "adaptation.eks.inflation": ["inflated"],
        "adaptation.eks.multicam": ["joined", "smooth_mirrored", "smooth_multicam", "split_views"],
        "adaptation.eks.pose": ["PosePCA", "pose_pca"],
        "adaptation.eks.pupil": ["smooth_pupil"],
        "adaptation.eks.singlecam": ["smooth_singlecam"],
        "adaptation.eks.statistics": ["ensemble_statistics"],
    },
)
