"""A drawing of a vocabulary: its keypoints in their colours, numbered, with the skeleton and a legend.

Where the keypoints lie is data, `layouts/<vocabulary>.toml`: places for the midline and the animal's left, in
any unit, head up. What is right mirrors what is left.
"""

from __future__ import annotations

import tomllib
from importlib import resources

import numpy as np

from superset_vocab import InputError, Vocabulary
from superset_vocab.errors import all_problems

_LAYOUTS = resources.files("hub_cards") / "layouts"
_UNIT, _MARGIN, _ROW = 62, 56, 27  # pixels: of a layout's unit, around the drawing, of a line of the legend
_LEGEND, _COLUMN = 30, 250  # lines in a column of the legend, and its width in pixels
_BONE, _INK = (150, 150, 150), (40, 40, 40)
_FONT = 0  # cv2.FONT_HERSHEY_SIMPLEX, without importing OpenCV for it


def skeleton_picture(vocabulary: Vocabulary, untrained: tuple[str, ...] = ()) -> np.ndarray:
    """Draw a vocabulary, head up, the animal's left on the left.

    Args:
        vocabulary: What to draw.
        untrained: Keypoints that a model does not know; they are drawn as rings, and bracketed in the legend.

    Returns:
        (H, W, 3) uint8 RGB.
    """
    import cv2

    points = layout(vocabulary)
    points = (points - points.min(0)) * _UNIT + _MARGIN
    width, height = np.ceil(points.max(0) + _MARGIN).astype(int).tolist()
    columns = -(-len(vocabulary) // _LEGEND)
    lines = -(-len(vocabulary) // columns)
    height = max(height, _ROW * lines + 2 * _ROW)
    picture = np.full((height, width + columns * _COLUMN, 3), 255, np.uint8)
    for a, b in vocabulary.bones.tolist():
        cv2.line(picture, _place(points[a]), _place(points[b]), _BONE, 2, cv2.LINE_AA)
    for k, name in enumerate(vocabulary.keypoints):
        colour = tuple(int(v) for v in vocabulary.colours[k])
        known = name not in untrained
        _disc(picture, points[k], colour, filled=known)
        _number(picture, points[k], k + 1)
        at = np.array([width + (k // lines) * _COLUMN, _ROW * (k % lines) + _ROW])
        _disc(picture, at, colour, filled=known)
        _number(picture, at, k + 1)
        words = name if known else f"({name})"
        cv2.putText(picture, words, _place(at + np.array([20, 5])), _FONT, 0.5, _INK, 1, cv2.LINE_AA)
    return picture


def _place(point: np.ndarray) -> tuple[int, int]:
    return round(float(point[0])), round(float(point[1]))


def _disc(picture: np.ndarray, centre: np.ndarray, colour: tuple[int, ...], *, filled: bool) -> None:
    """A keypoint: a disc with a dark rim, or a ring."""
    import cv2

    cv2.circle(picture, _place(centre), 13, colour if filled else (255, 255, 255), -1, cv2.LINE_AA)
    cv2.circle(picture, _place(centre), 13, _INK if filled else colour, 1 if filled else 3, cv2.LINE_AA)


def _number(picture: np.ndarray, centre: np.ndarray, number: int) -> None:
    """A number in the middle of a keypoint, black or white, whichever is seen better."""
    import cv2

    x, y = _place(centre)
    bright = float(picture[y, x] @ np.array([0.299, 0.587, 0.114])) > 110
    (wide, high), _ = cv2.getTextSize(str(number), _FONT, 0.42, 1)
    ink = (0, 0, 0) if bright else (255, 255, 255)
    cv2.putText(picture, str(number), (x - wide // 2, y + high // 2), _FONT, 0.42, ink, 1, cv2.LINE_AA)


def layout(vocabulary: Vocabulary) -> np.ndarray:
    """Where the keypoints lie in a drawing, the animal's left on the left.

    Returns:
        (K, 2) float, x to the right of the picture, y down.

    Raises:
        InputError: If the vocabulary has no layout, or that does not place exactly its keypoints.
    """
    file = _LAYOUTS / f"{vocabulary.name}.toml"
    if not file.is_file():
        raise InputError(f"vocabulary {vocabulary.name} has no layout to draw it by; add {file}")
    places = tomllib.loads(file.read_text(encoding="utf-8"))
    problems = [f"{name!r} is no keypoint of it" for name in sorted(set(places) - set(vocabulary.keypoints))]
    points = np.full((len(vocabulary), 2), np.nan)
    for name, (x, y) in places.items():
        if name in vocabulary.index:
            k = vocabulary.index[name]
            points[k] = -x, y
            if vocabulary.flip_index[k] != k:
                points[vocabulary.flip_index[k]] = x, y
    missing = np.array(vocabulary.keypoints)[np.isnan(points).any(1)].tolist()
    problems += [f"{name!r} has no place" for name in missing]
    if problems:
        raise all_problems(str(file), problems)
    return points
