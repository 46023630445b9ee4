"""What goes into the ensemble Kalman smoother and what comes out: the types every module here shares.

Coordinates are image pixels, the centre of the top-left pixel is (0, 0); missing is NaN; variances are in
square pixels. Nothing here needs more than numpy.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, NamedTuple

import numpy as np

from superset_vocab.errors import all_problems

Chosen = Literal["fixed", "likelihood"]


@dataclass(frozen=True, eq=False)
class Ensemble:
    """Predictions of M networks for the same T frames of one view.

    Attributes:
        keypoints: (M, T, K, 2) float64 x, y in pixels; NaN where a member has no prediction.
        confidence: (M, T, K) float64 in [0, 1].
        names: (K,) keypoint names.
        view: Name of the camera, "" when there is one only.

    Raises:
        InputError: If the shapes do not fit, there is no member, frame or keypoint, a name is there twice, a
            coordinate is infinite or a confidence lies outside [0, 1].
    """

    keypoints: np.ndarray
    confidence: np.ndarray
    names: tuple[str, ...]
    view: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "keypoints", np.asarray(self.keypoints, np.float64))
        object.__setattr__(self, "confidence", np.asarray(self.confidence, np.float64))
        object.__setattr__(self, "names", tuple(self.names))
        problems = list(_ensemble_problems(self.keypoints, self.confidence, self.names))
        if problems:
            raise all_problems(f"ensemble of {self.view or 'one view'}", problems)

    @property
    def n_members(self) -> int:
        """Number of networks, M."""
        return self.keypoints.shape[0]

    @property
    def n_frames(self) -> int:
        """Number of frames, T."""
        return self.keypoints.shape[1]

    def __repr__(self) -> str:
        m, t, k, _ = self.keypoints.shape
        view = f" of {self.view}" if self.view else ""
        return f"Ensemble({m} members, {t} frames, {k} keypoints{view})"


def _ensemble_problems(keypoints: np.ndarray, confidence: np.ndarray, names: tuple[str, ...]):
    """Everything wrong with an ensemble, one sentence each."""
    if keypoints.ndim != 4 or keypoints.shape[-1] != 2:
        yield f"keypoints have shape {keypoints.shape}, want (members, frames, keypoints, 2)"
        return
    m, t, k, _ = keypoints.shape
    if not (m and t and k):
        yield f"it has {m} members, {t} frames and {k} keypoints; it needs at least one of each"
    if confidence.shape != (m, t, k):
        yield f"confidence has shape {confidence.shape}, want {(m, t, k)}"
    if len(names) != k:
        yield f"{len(names)} names for {k} keypoints"
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        yield f"keypoint names are there twice: {', '.join(twice)}"
    if np.isinf(keypoints).any():
        yield "a coordinate is infinite; missing is NaN"
    # Networks print confidences a rounding error above 1.
    if (confidence < -1e-6).any() or (confidence > 1 + 1e-3).any():
        low, high = np.nanmin(confidence), np.nanmax(confidence)
        yield f"confidences reach from {low:g} to {high:g}; they must lie in [0, 1]"


@dataclass(frozen=True, eq=False)
class EnsembleStatistics:
    """One observation and its variance per frame, keypoint and coordinate.

    Attributes:
        centre: (T, K, 2) median or mean of the members in pixels; NaN where no member observed.
        variance: (T, K, 2) px^2, the observation noise of the smoother; NaN where no member observed.
        confidence: (T, K) mean confidence of the members that observed; NaN where none did.
    """

    centre: np.ndarray
    variance: np.ndarray
    confidence: np.ndarray

    def __post_init__(self) -> None:
        t, k = self.confidence.shape
        for name in ("centre", "variance"):
            if getattr(self, name).shape != (t, k, 2):
                raise ValueError(f"{name} has shape {getattr(self, name).shape}, want {(t, k, 2)}")


class LikelihoodCurve(NamedTuple):
    """Log likelihood against the smoothing parameter, as the search saw it, sorted by value.

    Attributes:
        values: (N,) values of s, or (N, 2) pairs for a model with two parameters.
        log_likelihoods: (N,) natural logarithms.
    """

    values: np.ndarray
    log_likelihoods: np.ndarray


@dataclass(frozen=True)
class SmoothingChoice:
    """What smoothing parameter was used for which keypoints, and how it was chosen.

    Attributes:
        keypoints: The keypoints that share it.
        values: Parameter to value: {"s": 3.1}, or {"a_diameter": 0.99, "a_centre": 0.98} for the pupil.
        log_likelihood: Log marginal likelihood of the observations at these values.
        curve: The likelihood at other values; empty arrays when the value was fixed.
        chosen: "fixed" by the caller, or the "likelihood" decided.
        at_bound: The search ended at the edge of its range, so the data do not determine the value.
    """

    keypoints: tuple[str, ...]
    values: Mapping[str, float]
    log_likelihood: float
    curve: LikelihoodCurve = field(compare=False, repr=False)
    chosen: Chosen
    at_bound: bool = False

    @property
    def value(self) -> float:
        """The value, where there is one parameter.

        Raises:
            ValueError: If there are several; see `values`.
        """
        if len(self.values) != 1:
            raise ValueError(f"there are {len(self.values)} parameters: {', '.join(self.values)}")
        return next(iter(self.values.values()))


@dataclass(frozen=True, eq=False)
class Smoothed:
    """The smoothed track of one view.

    Attributes:
        keypoints: (T, K, 2) posterior mean in pixels; NaN only for a keypoint that was never observed.
        variance: (T, K, 2) posterior variance in px^2.
        statistics: The observations that went in.
        names: (K,) keypoint names.
        view: Name of the camera, "" when there is one only.
        choices: One per group of keypoints that shares a smoothing parameter.
        operations: Provenance, as `superset_vocab.provenance.operation` makes it.
    """

    keypoints: np.ndarray
    variance: np.ndarray
    statistics: EnsembleStatistics
    names: tuple[str, ...]
    view: str = ""
    choices: tuple[SmoothingChoice, ...] = ()
    operations: tuple[dict[str, Any], ...] = ()

    def __post_init__(self) -> None:
        t, k = self.statistics.confidence.shape
        for name in ("keypoints", "variance"):
            if getattr(self, name).shape != (t, k, 2):
                raise ValueError(f"{name} has shape {getattr(self, name).shape}, want {(t, k, 2)}")
        if len(self.names) != k:
            raise ValueError(f"{len(self.names)} names for {k} keypoints")

    @property
    def n_frames(self) -> int:
        """Number of frames, T."""
        return self.keypoints.shape[0]


@dataclass(frozen=True, eq=False)
class PupilSmoothed(Smoothed):
    """The smoothed pupil: its four keypoints, and the state they follow from.

    Attributes:
        diameter: (T,) pixels.
        diameter_variance: (T,) px^2.
        centre: (T, 2) x, y in pixels.
        centre_variance: (T, 2) px^2.
    """

    diameter: np.ndarray = field(default_factory=lambda: np.empty(0))
    diameter_variance: np.ndarray = field(default_factory=lambda: np.empty(0))
    centre: np.ndarray = field(default_factory=lambda: np.empty((0, 2)))
    centre_variance: np.ndarray = field(default_factory=lambda: np.empty((0, 2)))

    def __post_init__(self) -> None:
        super().__post_init__()
        t = self.n_frames
        wanted = {"diameter": (t,), "diameter_variance": (t,), "centre": (t, 2), "centre_variance": (t, 2)}
        for name, shape in wanted.items():
            if getattr(self, name).shape != shape:
                raise ValueError(f"{name} has shape {getattr(self, name).shape}, want {shape}")


@dataclass(frozen=True, eq=False)
class CalibratedSmoothed:
    """Tracks of calibrated cameras: the 3-D track, and what each camera sees of it.

    Attributes:
        views: One per camera, in the order of the ensembles.
        points: (T, K, 3) in the calibration's unit.
        covariance: (T, K, 3, 3) posterior covariance of `points`.
        names: (K,) keypoint names.
    """

    views: tuple[Smoothed, ...]
    points: np.ndarray
    covariance: np.ndarray
    names: tuple[str, ...]

    def __post_init__(self) -> None:
        t, k = self.points.shape[:2]
        if self.points.shape != (t, k, 3) or self.covariance.shape != (t, k, 3, 3):
            raise ValueError(f"points {self.points.shape} and covariance {self.covariance.shape} do not fit")
        if len(self.names) != k:
            raise ValueError(f"{len(self.names)} names for {k} keypoints")


@dataclass(frozen=True)
class SmoothingOptions:
    """What the smoothers have in common; the defaults are the public command line's, but for `inflate`.

    Attributes:
        s: The smoothing parameter: larger follows the observations more closely. One number for all
            keypoints, a mapping of keypoint name to number, or None to take the most likely one.
        blocks: Groups of keypoint names that share one automatic s; keypoints named in none get their own.
        frame_ranges: Half-open (start, stop) frame numbers on which the automatic s is chosen; empty: all.
        s_bounds: Range of the search.
        likelihood: What the automatic s maximises: the "exact" marginal likelihood, or that of
            "constant_noise", each coordinate's median variance in every frame, as the public code does.
        centre: What stands for the members: their "median" or their "mean".
        variance: "confidence_weighted": variance of the members over their mean confidence; "plain".
        divide_by_members: Divide the variance by the number of members that observed, as the paper's
            equations 17, 19 and 21 do and the public code does not.
        variance_floor: Smallest observation variance in px^2: members that agree exactly are not believed
            exactly.
        variance_of: What `Smoothed.variance` of a model of several views is: that of the "track", or that of
            an "observation" of it, which adds the ensemble variance of the frame (the public code's columns).
        n_latent: Size of the space that the linear models of several views learn.
        good_frames: Percentage of frames, those of smallest variance, that they learn it from.
        inflate: Raise the variance of views that disagree with the others (models of several views only).

    Raises:
        InputError: If a value is out of range; all problems are named.
    """

    s: float | Mapping[str, float] | None = None
    blocks: tuple[tuple[str, ...], ...] = ()
    frame_ranges: tuple[tuple[int, int], ...] = ()
    s_bounds: tuple[float, float] = (1e-8, 1e8)
    likelihood: Literal["exact", "constant_noise"] = "exact"
    centre: Literal["median", "mean"] = "median"
    variance: Literal["confidence_weighted", "plain"] = "confidence_weighted"
    divide_by_members: bool = False
    variance_floor: float = 1e-12
    variance_of: Literal["track", "observation"] = "track"
    n_latent: int = 3
    good_frames: float = 95.0
    inflate: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "blocks", tuple(tuple(block) for block in self.blocks))
        object.__setattr__(self, "frame_ranges", tuple((int(a), int(b)) for a, b in self.frame_ranges))
        problems = list(self._problems())
        if problems:
            raise all_problems("smoothing options", problems)

    def _problems(self):
        """Everything wrong with the options, one sentence each."""
        fixed = self.s.values() if isinstance(self.s, Mapping) else [] if self.s is None else [self.s]
        for value in fixed:
            if not (np.isfinite(value) and value > 0):
                yield f"s is {value}; it must be a positive number"
        if isinstance(self.s, Mapping) and not self.s:
            yield "s is an empty mapping; give a number per keypoint, or None for the most likely one"
        named = [name for block in self.blocks for name in block]
        for name in sorted({name for name in named if named.count(name) > 1}):
            yield f"keypoint {name!r} is named twice in blocks"
        for start, stop in self.frame_ranges:
            if not 0 <= start < stop:
                yield f"frame range {start}:{stop} is empty; want 0 <= start < stop"
        if not 0 < self.s_bounds[0] < self.s_bounds[1] < np.inf:
            yield f"s_bounds are {self.s_bounds}; want 0 < low < high"
        if not 0 < self.good_frames <= 100:
            yield f"good_frames is {self.good_frames}; want a percentage above 0, at most 100"
        if not 0 < self.variance_floor < np.inf:
            yield f"variance_floor is {self.variance_floor}; want a positive number"
        if self.n_latent < 1:
            yield f"n_latent is {self.n_latent}; want at least 1"
        for name, known in _CHOICES.items():
            if getattr(self, name) not in known:
                yield f"{name} is {getattr(self, name)!r}; want one of {', '.join(known)}"

    def with_s(self, s: float | Mapping[str, float] | None) -> SmoothingOptions:
        """These options with another smoothing parameter; None leaves them as they are."""
        return self if s is None else replace(self, s=s)


_CHOICES = {
    "likelihood": ("exact", "constant_noise"),
    "centre": ("median", "mean"),
    "variance": ("confidence_weighted", "plain"),
    "variance_of": ("track", "observation"),
}

__all__ = [
    "CalibratedSmoothed",
    "Ensemble",
    "EnsembleStatistics",
    "LikelihoodCurve",
    "PupilSmoothed",
    "Smoothed",
    "SmoothingChoice",
    "SmoothingOptions",
]
