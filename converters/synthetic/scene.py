"""Pictures of parametric mice: background, light, coat, camera.

Everything is drawn with OpenCV from random parameters, so a frame costs a few milliseconds. Colours
are RGB floats in 0..255 until the camera makes uint8 of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from converters.synthetic.anatomy import MouseShape

COATS: dict[str, tuple[tuple[int, int, int], float]] = {
    # base colour, spread between individuals
    "black": ((24, 22, 22), 12.0),
    "agouti": ((86, 72, 56), 18.0),
    "brown": ((66, 48, 36), 14.0),
    "grey": ((110, 108, 106), 20.0),
    "white": ((215, 212, 206), 18.0),
}
_SUPERSAMPLE = 2


@dataclass(frozen=True)
class Appearance:
    """How one mouse looks: colours of its parts (RGB, 0..255) and the texture of its coat."""

    coat: np.ndarray
    skin: np.ndarray
    ear: np.ndarray
    fur_contrast: float
    roundness: float
    texture_seed: int


def random_appearance(rng: np.random.Generator, coat: str) -> Appearance:
    """Draw an individual of a coat colour."""
    base, spread = COATS[coat]
    coat_rgb = np.clip(np.array(base) + rng.normal(0, spread), 4, 250)
    skin = np.array([168, 132, 122]) * rng.uniform(0.55, 1.25)
    # Ears are thin skin with short hair: between the two, often hardly lighter than a black coat.
    ear = coat_rgb + (skin - coat_rgb) * rng.uniform(0.12, 0.85)
    return Appearance(
        coat_rgb,
        np.clip(coat_rgb + (skin - coat_rgb) * rng.uniform(0.5, 1.0), 0, 255),
        np.clip(ear, 0, 255),
        fur_contrast=rng.uniform(1, 9),
        roundness=rng.uniform(-0.25, 0.6),
        texture_seed=int(rng.integers(2**31)),
    )


def draw_mouse(
    image: np.ndarray,
    shape: MouseShape,
    look: Appearance,
    centre: np.ndarray,
    length: float,
    shadow: float = 0.0,
) -> None:
    """Draw one mouse into a float image, in place.

    Args:
        image: (H, W, 3) float32.
        shape: Geometry in body lengths.
        look: Colours and texture.
        centre: (2,) position of the shape's origin in pixels.
        length: Body length in pixels.
        shadow: Darkness of the shadow beside the animal, 0 for none.
    """
    points = np.concatenate([shape.outline, shape.tail, *(e[0][None] for e in shape.ears)]) * length + centre
    margin = 0.15 * length + 4
    low = np.maximum(np.floor(points.min(0) - margin), 0).astype(int)
    high = np.minimum(np.ceil(points.max(0) + margin), [image.shape[1], image.shape[0]]).astype(int)
    if (high <= low).any():
        return
    size = (int(high[0] - low[0]), int(high[1] - low[1]))
    layer = _Layer(size, low, centre, length)
    region = image[low[1] : high[1], low[0] : high[0]]
    body = layer.polygon(shape.outline)
    if shadow > 0:
        blurred = cv2.GaussianBlur(body, (0, 0), max(1.0, 0.05 * length))
        offset = np.array([[1, 0, 0.05 * length], [0, 1, 0.04 * length]])
        region *= 1 - shadow * cv2.warpAffine(blurred, offset, size)[..., None]
    _blend(region, layer.tube(shape.tail, shape.tail_half_width), look.skin)
    for foot, angle, extent in shape.feet:
        _blend(region, layer.ellipse(foot, angle, extent, 0.45 * extent), look.skin)
    _blend(region, body, _coat(body, shape, look, layer))
    for ear, angle, radius in shape.ears:
        pinna = layer.ellipse(ear, angle, radius, 0.85 * radius)
        inner = layer.ellipse(ear, angle, 0.62 * radius, 0.5 * radius)
        _blend(region, pinna, look.ear)
        _blend(region, 0.5 * inner, look.ear * 0.8)


def _coat(body: np.ndarray, shape: MouseShape, look: Appearance, layer: _Layer) -> np.ndarray:
    """(h, w, 3) colours of the coat: rounded shading, fur, paler snout."""
    rng = np.random.default_rng(look.texture_seed)
    h, w = body.shape
    depth = cv2.distanceTransform((body > 0.5).astype(np.uint8), cv2.DIST_L2, 3) / (0.18 * layer.length)
    shading = 1 + look.roundness * (np.sqrt(np.clip(depth, 0, 1)) - 0.6)
    fur = cv2.GaussianBlur(rng.normal(0, 1, (h, w)).astype(np.float32), (0, 0), 1.1) * 2.5
    patches = cv2.resize(rng.normal(0, 1, (5, 5)).astype(np.float32), (w, h), interpolation=cv2.INTER_CUBIC)
    colour = look.coat[None, None] * shading[..., None]
    return colour + (look.fur_contrast * (fur + 0.6 * patches))[..., None]


def _blend(region: np.ndarray, alpha: np.ndarray, colour: np.ndarray) -> None:
    """Paint `colour` over `region` where alpha is 1."""
    region += alpha[..., None] * (colour - region)


class _Layer:
    """Masks of shapes in body lengths, anti-aliased by drawing at twice the size."""

    def __init__(self, size_wh: tuple[int, int], low: np.ndarray, centre: np.ndarray, length: float) -> None:
        self.size_wh, self.low, self.centre, self.length = size_wh, low, centre, length

    def _pixels(self, points: np.ndarray) -> np.ndarray:
        """Fixed-point coordinates (4 fractional bits) in the enlarged region."""
        local = (np.atleast_2d(points) * self.length + self.centre - self.low + 0.5) * _SUPERSAMPLE - 0.5
        return np.round(local * 16).astype(np.int32)

    def _canvas(self) -> np.ndarray:
        return np.zeros((self.size_wh[1] * _SUPERSAMPLE, self.size_wh[0] * _SUPERSAMPLE), np.uint8)

    def _finish(self, canvas: np.ndarray) -> np.ndarray:
        small = cv2.resize(canvas, self.size_wh, interpolation=cv2.INTER_AREA)
        return small.astype(np.float32) / 255

    def polygon(self, points: np.ndarray) -> np.ndarray:
        """(h, w) coverage of a polygon."""
        canvas = self._canvas()
        cv2.fillPoly(canvas, [self._pixels(points)], 255, cv2.LINE_AA, 4)
        return self._finish(canvas)

    def ellipse(self, centre: np.ndarray, angle: float, a: float, b: float) -> np.ndarray:
        """(h, w) coverage of an ellipse with half-axes a, b in body lengths."""
        u = np.linspace(0, 2 * np.pi, 24, endpoint=False)
        local = np.stack([a * np.cos(u), b * np.sin(u)], axis=1)
        rotation = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
        return self.polygon(centre + local @ rotation)

    def tube(self, points: np.ndarray, half_width: np.ndarray) -> np.ndarray:
        """(h, w) coverage of a curve with a width."""
        direction = np.gradient(points, axis=0)
        direction /= np.linalg.norm(direction, axis=1, keepdims=True)
        normal = np.stack([-direction[:, 1], direction[:, 0]], axis=1) * half_width[:, None]
        return self.polygon(np.concatenate([points + normal, (points - normal)[::-1]]))


# --- backgrounds -----------------------------------------------------------------------------------


def bedding(rng: np.random.Generator, size_wh: tuple[int, int]) -> np.ndarray:
    """Wood chips or corn cob: two octaves of hard-edged noise in a warm colour."""
    w, h = size_wh
    grain = rng.uniform(1.0, 3.5)
    noise = cv2.GaussianBlur(rng.normal(0, 1, (h, w)).astype(np.float32), (0, 0), grain)
    noise /= noise.std()
    coarse = cv2.GaussianBlur(rng.normal(0, 1, (h, w)).astype(np.float32), (0, 0), grain * 5)
    coarse /= coarse.std()
    sharp = np.tanh(noise * rng.uniform(0.8, 3.0))
    level = rng.uniform(90, 200)
    colour = np.array([1.0, rng.uniform(0.82, 1.0), rng.uniform(0.6, 1.0)])
    texture = level + sharp * rng.uniform(8, 45) + coarse * rng.uniform(0, 12)
    return texture[..., None] * colour


def plain_floor(rng: np.random.Generator, size_wh: tuple[int, int]) -> np.ndarray:
    """A painted or plastic floor, unevenly lit, with scratches, cables and droppings."""
    w, h = size_wh
    level = rng.uniform(30, 90) if rng.random() < 0.25 else rng.uniform(110, 245)
    light = cv2.resize(rng.normal(0, 1, (4, 4)).astype(np.float32), (w, h), interpolation=cv2.INTER_CUBIC)
    floor = level + light * rng.uniform(0, 25)
    image = np.repeat(floor[..., None], 3, axis=2) * rng.uniform(0.9, 1.0, 3)
    for _ in range(rng.integers(0, 7)):
        points = rng.uniform(0, 1, (rng.integers(2, 5), 1, 2)) * [w, h]
        shade = [float(level + rng.normal(0, 35))] * 3
        cv2.polylines(image, [points.astype(np.int32)], False, shade, int(rng.integers(1, 3)), cv2.LINE_AA)
    for _ in range(rng.integers(0, 12) if rng.random() < 0.4 else 0):
        spot = (int(rng.integers(w)), int(rng.integers(h)))
        axes = (int(rng.integers(2, 5)), int(rng.integers(1, 3)))
        cv2.ellipse(image, spot, axes, float(rng.integers(180)), 0, 360, (35.0, 28.0, 22.0), -1, cv2.LINE_AA)
    return image


def grid_floor(rng: np.random.Generator, size_wh: tuple[int, int]) -> np.ndarray:
    """Bars, mesh or tiles."""
    image = plain_floor(rng, size_wh)
    w, h = size_wh
    pitch, shade = int(rng.integers(8, 60)), float(rng.uniform(20, 230))
    for x in range(int(rng.integers(pitch)), w, pitch):
        cv2.line(image, (x, 0), (x + int(rng.integers(-4, 5)), h), [shade] * 3, int(rng.integers(1, 4)))
    if rng.random() < 0.6:
        for y in range(int(rng.integers(pitch)), h, pitch):
            cv2.line(image, (0, y), (w, y), [shade] * 3, int(rng.integers(1, 4)))
    return image


FLOORS = {"bedding": bedding, "plain": plain_floor, "grid": grid_floor}


def arena(rng: np.random.Generator, image: np.ndarray) -> None:
    """Walls around the floor: a box, a cage with rounded corners or a round arena, with reflections."""
    h, w = image.shape[:2]
    wall = np.array([rng.uniform(15, 240)] * 3) * rng.uniform(0.9, 1.0, 3)
    mask = np.zeros((h, w), np.uint8)
    if rng.random() < 0.25:
        radius = int(rng.uniform(0.38, 0.55) * min(w, h))
        cv2.circle(mask, (w // 2, h // 2), radius, 255, -1, cv2.LINE_AA)
    else:
        edge = rng.uniform(0.0, 0.14, 4) * [w, h, w, h]
        corners = np.array(
            [[edge[0], edge[1]], [w - edge[2], edge[1]], [w - edge[2], h - edge[3]], [edge[0], h - edge[3]]]
        )
        corners += rng.normal(0, 0.015 * w, (4, 2))
        cv2.fillPoly(mask, [corners.astype(np.int32)], 255, cv2.LINE_AA)
    inside = cv2.GaussianBlur(mask, (0, 0), rng.uniform(0.5, 4)).astype(np.float32)[..., None] / 255
    light = cv2.resize(rng.normal(0, 15, (3, 3)).astype(np.float32), (w, h), interpolation=cv2.INTER_CUBIC)
    outside = wall + light[..., None]
    image[:] = image * inside + outside * (1 - inside)
    if rng.random() < 0.5:
        rim = (
            cv2.morphologyEx(mask, cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8)).astype(np.float32)[
                ..., None
            ]
            / 255
        )
        image[:] = image * (1 - rim) + rng.uniform(0, 255) * rim


def clutter(rng: np.random.Generator, image: np.ndarray) -> None:
    """Food hoppers, bottles, toys, cables, dark blobs: things that are no mouse."""
    h, w = image.shape[:2]
    for _ in range(rng.integers(0, 5)):
        centre = (int(rng.integers(w)), int(rng.integers(h)))
        shade = np.array([rng.uniform(5, 250)] * 3) * rng.uniform(0.7, 1.0, 3)
        size = int(rng.uniform(0.01, 0.09) * w) + 2
        layer = np.zeros((h, w), np.uint8)
        kind = rng.integers(4)
        if kind == 0:
            cv2.circle(layer, centre, size, 255, int(rng.choice([-1, 2, 4])), cv2.LINE_AA)
        elif kind == 1:
            box = cv2.boxPoints((centre, (size * rng.uniform(0.5, 3), size), float(rng.integers(180))))
            cv2.fillPoly(layer, [box.astype(np.int32)], 255, cv2.LINE_AA)
        elif kind == 2:
            axes = (size, max(2, int(size * rng.uniform(0.3, 0.9))))
            cv2.ellipse(layer, centre, axes, float(rng.integers(180)), 0, 360, 255, -1, cv2.LINE_AA)
        else:
            points = np.array(centre) + np.cumsum(rng.normal(0, 0.06 * w, (5, 2)), axis=0)
            cv2.polylines(layer, [points.astype(np.int32)], False, 255, int(rng.integers(1, 6)), cv2.LINE_AA)
        alpha = cv2.GaussianBlur(layer, (0, 0), rng.uniform(0.4, 2.5)).astype(np.float32)[..., None] / 255
        alpha *= rng.uniform(0.4, 1.0)
        image[:] = image * (1 - alpha) + shade * alpha


@dataclass(frozen=True)
class Camera:
    """What the camera makes of a scene.

    Attributes:
        grey: Monochrome (infrared) camera.
        blur: Standard deviation of the lens blur in pixels.
        noise: Standard deviation of the sensor noise in grey levels.
        gain, gamma: Brightness and contrast.
        vignette: Darkening towards the corners, 0 to 1.
        jpeg_quality: Compression the frames went through, or 0 for none.
    """

    grey: bool
    blur: float
    noise: float
    gain: float
    gamma: float
    vignette: float
    jpeg_quality: int


def random_camera(rng: np.random.Generator, grey: bool) -> Camera:
    """Draw a camera."""
    return Camera(
        grey=grey,
        blur=rng.uniform(0.3, 1.5),
        noise=rng.uniform(0, 7),
        gain=rng.uniform(0.75, 1.2),
        gamma=rng.uniform(0.7, 1.5),
        vignette=rng.uniform(0, 0.5),
        jpeg_quality=int(rng.integers(35, 96)),
    )


def photograph(image: np.ndarray, camera: Camera, rng: np.random.Generator) -> np.ndarray:
    """(H, W, 3) float scene -> (H, W, 3) RGB uint8 frame."""
    h, w = image.shape[:2]
    x = cv2.GaussianBlur(np.clip(image, 0, 255).astype(np.float32), (0, 0), camera.blur) / 255
    if camera.grey:
        x = np.repeat(x.mean(axis=2, keepdims=True), 3, axis=2)
    x = np.clip(x * camera.gain, 0, 1) ** camera.gamma
    if camera.vignette > 0:
        yy, xx = np.mgrid[-1 : 1 : h * 1j, -1 : 1 : w * 1j]
        x *= (1 - camera.vignette * 0.5 * (xx**2 + yy**2))[..., None].astype(np.float32)
    channels = 1 if camera.grey else 3
    x = x * 255 + rng.normal(0, camera.noise, (h, w, channels))
    frame = np.clip(x, 0, 255).astype(np.uint8)
    if not camera.jpeg_quality:
        return frame
    _, data = cv2.imencode(".jpg", frame, [cv2.IMWRITE_JPEG_QUALITY, camera.jpeg_quality])
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR))


def render_background(
    rng: np.random.Generator, size_wh: tuple[int, int], floors: Sequence[str]
) -> np.ndarray:
    """(H, W, 3) float32 empty arena."""
    image = FLOORS[str(rng.choice(list(floors)))](rng, size_wh).astype(np.float32)
    if rng.random() < 0.5:
        clutter(rng, image)
    if rng.random() < 0.7:
        arena(rng, image)
    if rng.random() < 0.3:
        clutter(rng, image)
    return image
