"""The state-space model that every smoother here fills in, and the recursions run on it.

    q_t = A_t q_(t-1) + e_t,  e_t ~ N(0, E_t)          (Lightning Pose paper, equation 14)
    O_t = B q_t + n_t,        n_t ~ N(0, D_t)          (equation 15)

A_t is diagonal: 1 for a random walk, a^dt for an AR(1) process. E_t is s dt E for a walk, and what keeps the
variance stationary for an AR(1). D_t is diagonal and differs from frame to frame; NaN observations are
missing. The state at the first frame has the given mean and covariance before its observation is taken in.
With cameras, B q_t is replaced by their projections, linearised (extended Kalman filter).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from adaptation.eks.ensemble import SmoothingOptions
from superset_vocab.errors import InputError

N_CAMERA_PARAMETERS = 38
_LEAST_CONSTANT_NOISE = 1e-4


@dataclass(frozen=True, eq=False)
class StateSpace:
    """One model: N state coordinates, P observations in each of T frames.

    Attributes:
        observations: (T, P); NaN is missing.
        noise: (T, P) observation variances, positive wherever an observation is there.
        steps: (T,) time since the frame before; the first is not used.
        design: (P, N) observation matrix B; not used with cameras.
        persistence: (N,) A per unit of time: 1 is a random walk.
        drift: (N, N) process covariance per unit of time at s = 1.
        stationary: (N,) stationary variance of AR(1) coordinates; 0 for walks.
        mean: (N,) of the state at the first frame.
        covariance: (N, N) of the state at the first frame.
        cameras: (V, 38) packed cameras, or none.
    """

    observations: np.ndarray
    noise: np.ndarray
    steps: np.ndarray
    design: np.ndarray
    persistence: np.ndarray
    drift: np.ndarray
    stationary: np.ndarray
    mean: np.ndarray
    covariance: np.ndarray
    cameras: np.ndarray = field(default_factory=lambda: np.empty((0, N_CAMERA_PARAMETERS)))

    def __post_init__(self) -> None:
        t, p = self.observations.shape
        n = len(self.mean)
        wanted = {
            "noise": (t, p),
            "steps": (t,),
            "design": (p, n),
            "persistence": (n,),
            "drift": (n, n),
            "stationary": (n,),
            "covariance": (n, n),
        }
        for name in ("observations", "mean", "cameras", *wanted):
            object.__setattr__(self, name, np.ascontiguousarray(getattr(self, name), np.float64))
        for name, shape in wanted.items():
            if getattr(self, name).shape != shape:
                raise ValueError(f"{name} has shape {getattr(self, name).shape}, want {shape}")
        if len(self.cameras) and p != 2 * len(self.cameras):
            raise ValueError(f"{len(self.cameras)} cameras for {p} observations")

    def at(self, frames: np.ndarray | slice) -> StateSpace:
        """The model of some of the frames, in order; the time between them is kept."""
        times = np.cumsum(self.steps)[frames]
        return replace(
            self,
            observations=self.observations[frames],
            noise=self.noise[frames],
            steps=np.diff(times, prepend=times[0]),
        )

    def chosen_on(self, options: SmoothingOptions) -> StateSpace:
        """The model whose likelihood decides about an automatic s: of some frames, perhaps of constant noise.

        Raises:
            InputError: If a frame range reaches beyond the last frame.
        """
        if options.s is not None:
            return self
        model = self.at(frames_within(options.frame_ranges, len(self.observations)))
        return replace(model, noise=noise_for(options, model.observations, model.noise))

    def log_likelihood(self, s: float) -> float:
        """Log marginal likelihood of the observations; that of the extended filter with cameras."""
        n = len(self.mean)
        return self._filter(s, np.empty((0, 3)), np.empty((0, n)), np.empty((0, n, n)))

    def log_likelihoods(self, values: np.ndarray) -> np.ndarray:
        """`log_likelihood` of several values of s."""
        return np.array([self.log_likelihood(s) for s in values])

    def smooth(self, s: float, points: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Posterior means (T, N) and covariances (T, N, N) of the states given all observations.

        Args:
            s: Multiplies the drift.
            points: (T, 3) to linearise the cameras about; the filter's predictions if None.
        """
        from adaptation.eks.kernels import smooth_states

        t, n = len(self.observations), len(self.mean)
        means, covariances = np.empty((t, n)), np.empty((t, n, n))
        self._filter(s, np.empty((0, 3)) if points is None else points, means, covariances)
        smooth_states(self.steps, self.persistence, self.drift, self.stationary, float(s), means, covariances)
        return means, covariances

    def _filter(self, s, points, means, covariances) -> float:
        """Run the filter; means and covariances are filled where they are not empty."""
        from adaptation.eks.kernels import filter_states

        parts = (self.design, self.persistence, self.drift, self.stationary, self.mean, self.covariance)
        return filter_states(
            self.observations,
            self.noise,
            self.steps,
            parts,
            float(s),
            self.cameras,
            points,
            (means, covariances),
        )


def frames_within(ranges: Sequence[tuple[int, int]], n_frames: int) -> np.ndarray | slice:
    """Sorted frame numbers that lie in any of the half-open ranges; all of them where there is no range.

    Raises:
        InputError: If a range reaches beyond the last frame.
    """
    if not ranges:
        return slice(None)
    for start, stop in ranges:
        if stop > n_frames:
            raise InputError(f"frame range {start}:{stop} reaches beyond the last of {n_frames} frames")
    return np.unique(np.concatenate([np.arange(start, stop) for start, stop in ranges]))


def noise_for(options: SmoothingOptions, observations: np.ndarray, noise: np.ndarray) -> np.ndarray:
    """Noise that the choice of s is made with: as it is, or each column's median over its observed frames.

    Args:
        options: `likelihood` is used.
        observations: (T, P); NaN is missing.
        noise: (T, P) variances.
    """
    if options.likelihood == "exact":
        return noise
    constant = np.full_like(noise, _LEAST_CONSTANT_NOISE)
    for column in range(noise.shape[1]):
        seen = noise[np.isfinite(observations[:, column]), column]
        if len(seen):
            constant[:, column] = max(np.median(seen), _LEAST_CONSTANT_NOISE)
    return constant
