"""A parametric mouse seen from above: posture -> outline, ears, feet, tail and the 27 keypoints.

The mouse is a spine curve with a half-width at every point of it. Lengths are in units of the body
length (nose to tail base), so one posture serves every camera. The proportions are those of an adult
C57BL/6 seen from above, and vary between individuals, since a raised or lowered head and a stretched
or huddled back change how long each part looks from there.

The ear keypoint follows the vocabulary's most complete source, MackenzieMausHaus, where left_ear is
the *base* of the ear ("leftearbase") and left_ear_tip is its tip: the base is where the pinna leaves
the head, not its middle.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

# Where along the spine (0 nose, 1 tail base) the half-width (in body lengths) is given.
_STATIONS = np.array([0.0, 0.03, 0.08, 0.15, 0.24, 0.38, 0.58, 0.76, 0.90, 0.97, 1.0])
_HALF_WIDTH = np.array([0.018, 0.048, 0.076, 0.104, 0.112, 0.145, 0.180, 0.188, 0.125, 0.058, 0.028])
_EAR_STATION = 0.15
# Keypoints on the spine, as stations of the undistorted body.
_ON_SPINE = {
    "nose": 0.0,
    "head_midpoint": 0.13,
    "neck": 0.25,
    "mid_back": 0.38,
    "mouse_center": 0.52,
    "mid_backend": 0.64,
    "mid_backend2": 0.76,
    "mid_backend3": 0.88,
    "tail_base": 1.0,
}
# Keypoints beside the spine: station, fraction of the half-width there.
_BESIDE = {"eye": (0.085, 0.75), "shoulder": (0.36, 0.72), "midside": (0.57, 0.85), "hip": (0.78, 0.80)}


@dataclass(frozen=True)
class Posture:
    """Shape of one mouse at one moment; angles in radians, lengths in body lengths.

    Attributes:
        heading: Direction of the body axis at its middle, from the tail to the head.
        bend: Curvature of the trunk, total turn over its length.
        head_turn: Turn of the head against the trunk.
        head_length: Factor on everything in front of the neck (a lowered head looks shorter).
        girth: Factor on all half-widths.
        ear_size: Radius of the pinna.
        ear_spread: Angle between the pinna's axis and the body axis.
        tail_length: Length of the tail.
        tail_bend: (3,) turn of the tail over its length: constant, first and second harmonic.
        feet: (4,) how far each foot stands out from under the body; 0 is hidden.
    """

    heading: float
    bend: float
    head_turn: float
    head_length: float
    girth: float
    ear_size: float
    ear_spread: float
    tail_length: float
    tail_bend: tuple[float, float, float]
    feet: tuple[float, float, float, float]


def random_posture(rng: np.random.Generator, head_length: tuple[float, float] = (0.55, 1.35)) -> Posture:
    """Draw a plausible posture: mostly gentle bends, now and then a tight turn or a huddle.

    Args:
        rng: Source of randomness.
        head_length: Range of `Posture.head_length`.
    """
    tight = rng.random() < 0.25
    return Posture(
        heading=rng.uniform(-np.pi, np.pi),
        bend=rng.normal(0, 1.0 if tight else 0.4),
        head_turn=float(np.clip(rng.normal(0, 0.55 if tight else 0.25), -1.2, 1.2)),
        head_length=rng.uniform(*head_length),
        girth=rng.uniform(0.8, 1.3) if tight else rng.uniform(0.8, 1.1),
        ear_size=rng.uniform(0.038, 0.070),
        ear_spread=rng.uniform(0.9, 2.0),
        tail_length=rng.uniform(0.65, 1.05),
        tail_bend=(rng.normal(0, 0.7), rng.normal(0, 0.6), rng.normal(0, 0.35)),
        feet=tuple(np.where(rng.random(4) < 0.35, rng.uniform(0.2, 1.0, 4), 0.0)),  # pyright: ignore
    )


@dataclass(frozen=True, eq=False)
class MouseShape:
    """Geometry of one mouse in body lengths, origin at its middle; y down as in images.

    Attributes:
        outline: (P, 2) closed polygon of head and trunk.
        ears: Two of (centre (2,), axis angle, radius): left, right.
        feet: Up to four of (centre (2,), axis angle, length).
        tail: (Q, 2) from tail base to tip.
        tail_half_width: (Q,).
        keypoints: Name -> (2,), all 27 of superanimal_topviewmouse.
    """

    outline: np.ndarray
    ears: tuple[tuple[np.ndarray, float, float], ...]
    feet: tuple[tuple[np.ndarray, float, float], ...]
    tail: np.ndarray
    tail_half_width: np.ndarray
    keypoints: dict[str, np.ndarray]


class _Spine:
    """The spine curve, with positions and normals at any station."""

    def __init__(self, posture: Posture, n: int = 160) -> None:
        self.stations = np.linspace(0, 1, n)
        # Direction from nose to tail: the head's turn fades in before the neck, the trunk bends evenly.
        bend = posture.bend * (self.stations - 0.6)
        turn = posture.head_turn / (1 + np.exp((self.stations - 0.24) / 0.035))
        self.angle = posture.heading + np.pi + bend + turn
        step = np.where(self.stations < 0.25, posture.head_length, 1.0) / (n - 1)
        direction = np.stack([np.cos(self.angle), np.sin(self.angle)], axis=1)
        points = np.concatenate([np.zeros((1, 2)), np.cumsum(direction[:-1] * step[:-1, None], axis=0)])
        self.points = points - points[n // 2]
        self.half_width = np.interp(self.stations, _STATIONS, _HALF_WIDTH) * posture.girth

    def at(self, station: float) -> np.ndarray:
        """(2,) position at a station."""
        return np.array([np.interp(station, self.stations, self.points[:, i]) for i in (0, 1)])

    def angle_at(self, station: float) -> float:
        """Direction from nose to tail at a station."""
        return float(np.interp(station, self.stations, self.angle))

    def left_at(self, station: float) -> np.ndarray:
        """(2,) unit vector to the animal's own left. y points down: facing up, left is -x."""
        angle = self.angle_at(station)
        return np.array([-np.sin(angle), np.cos(angle)])

    def width_at(self, station: float) -> float:
        """Half-width at a station."""
        return float(np.interp(station, self.stations, self.half_width))


def build(posture: Posture) -> MouseShape:
    """Geometry and keypoints of a posture."""
    spine = _Spine(posture)
    keypoints = {name: spine.at(station) for name, station in _ON_SPINE.items()}
    for part, (station, fraction) in _BESIDE.items():
        for side, sign in (("left", 1.0), ("right", -1.0)):
            offset = sign * fraction * spine.width_at(station) * spine.left_at(station)
            keypoints[f"{side}_{part}"] = spine.at(station) + offset
    ears = tuple(
        _ear(spine, posture, side, sign, keypoints) for side, sign in (("left", 1.0), ("right", -1.0))
    )
    tail, tail_half_width = _tail(spine, posture)
    for i in range(1, 6):
        keypoints[f"tail{i}"] = tail[round(i / 6 * (len(tail) - 1))]
    keypoints["tail_end"] = tail[-1]
    normal = np.stack([-np.sin(spine.angle), np.cos(spine.angle)], axis=1) * spine.half_width[:, None]
    outline = np.concatenate([spine.points + normal, (spine.points - normal)[::-1]])
    feet = tuple(_feet(spine, posture))
    return MouseShape(outline, ears, feet, tail, tail_half_width, keypoints)


def _ear(spine: _Spine, posture: Posture, side: str, sign: float, keypoints: dict[str, np.ndarray]):
    """Pinna of one side; adds its base and tip to `keypoints`."""
    left = spine.left_at(_EAR_STATION)
    base = spine.at(_EAR_STATION) + sign * 0.80 * spine.width_at(_EAR_STATION) * left
    backward = spine.angle_at(_EAR_STATION)
    # The pinna points outwards and backwards; ear_spread is its angle from the forward direction.
    outward = backward + np.pi + -sign * posture.ear_spread
    axis = np.array([np.cos(outward), np.sin(outward)])
    keypoints[f"{side}_ear"] = base
    keypoints[f"{side}_ear_tip"] = base + 1.85 * posture.ear_size * axis
    return base + 0.9 * posture.ear_size * axis, float(outward), posture.ear_size


def _tail(spine: _Spine, posture: Posture, n: int = 61) -> tuple[np.ndarray, np.ndarray]:
    """Tail curve and its half-widths."""
    u = np.linspace(0, 1, n)
    constant, first, second = posture.tail_bend
    angle = spine.angle_at(1.0) + constant * u + first * np.sin(np.pi * u) + second * np.sin(2 * np.pi * u)
    step = posture.tail_length / (n - 1)
    direction = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    points = np.concatenate([np.zeros((1, 2)), np.cumsum(direction[:-1] * step, axis=0)])
    return spine.at(1.0) + points, np.interp(u, [0, 0.15, 1], [0.026, 0.018, 0.006])


def _feet(spine: _Spine, posture: Posture):
    """Feet that stand out from under the body."""
    for (station, sign, size), out in zip(
        ((0.34, 1.0, 0.045), (0.34, -1.0, 0.045), (0.80, 1.0, 0.075), (0.80, -1.0, 0.075)),
        posture.feet,
        strict=True,
    ):
        if out > 0:
            reach = spine.width_at(station) + (out - 0.3) * size
            centre = spine.at(station) + sign * reach * spine.left_at(station)
            yield centre, spine.angle_at(station) + np.pi - sign * 0.5, size
