"""Synthetic laboratories: each films mice in its own way and names a subset of keypoints in its own words.

A lab is a `Lab` in `LABS`; its keypoint map is `superset_vocab/data/maps/synthetic_<lab>.toml`, so
that synthetic data go through the same converter path as real data. `wild` is no lab one could find:
it randomises everything and names all 27 keypoints of superanimal_topviewmouse. `lowered` does the
same with mice that keep their noses to the floor, so that their heads look short from above.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import cv2
import numpy as np

from converters.synthetic.anatomy import MouseShape, Posture, build, random_posture
from converters.synthetic.scene import (
    COATS,
    FLOORS,
    Appearance,
    Camera,
    draw_mouse,
    photograph,
    random_appearance,
    random_camera,
    render_background,
)
from superset_vocab import InputError, LabelRecord, LabelSet, Source, Visibility, load_vocabulary
from superset_vocab.files import atomic_path, make_folder

_ALL = {name: name for name in load_vocabulary("superanimal_topviewmouse").keypoints}


@dataclass(frozen=True)
class Lab:
    """One synthetic laboratory.

    Attributes:
        name: Dataset name is "synthetic_<name>".
        keypoints: The lab's own name -> anatomical name; what is absent here the lab does not define.
        size_wh: Frame size in pixels.
        coats, floors: What it keeps its mice in.
        n_mice: Fewest and most animals in a frame.
        body_length: Shortest and longest body length in pixels.
        grey: Whether its cameras are monochrome; None for either.
        head_length: How long heads look: short where mice keep their noses to the floor.
    """

    name: str
    keypoints: dict[str, str]
    size_wh: tuple[int, int]
    coats: tuple[str, ...]
    floors: tuple[str, ...]
    n_mice: tuple[int, int]
    body_length: tuple[float, float]
    grey: bool | None = None
    head_length: tuple[float, float] = (0.55, 1.35)

    @property
    def dataset(self) -> str:
        """Name of the dataset, as in its keypoint map."""
        return f"synthetic_{self.name}"


LABS: dict[str, Lab] = {
    lab.name: lab
    for lab in (
        Lab(
            "openfield",
            {"snout": "nose", "ear_l": "left_ear", "ear_r": "right_ear", "tailroot": "tail_base"},
            (480, 360), ("black",), ("plain",), (1, 1), (70, 110), grey=True,
        ),
        Lab(
            "homecage",
            {
                "Nase": "nose", "Ohrspitze links": "left_ear_tip", "Ohrspitze rechts": "right_ear_tip",
                "Koerpermitte": "mouse_center", "Schwanzwurzel": "tail_base", "Schwanzmitte": "tail3",
                "Schwanzspitze": "tail_end",
            },
            (480, 270), ("black", "agouti"), ("bedding",), (2, 3), (45, 80), grey=False,
        ),
        Lab(
            "spine",
            {
                "head": "head_midpoint", "spine1": "neck", "spine2": "mid_back", "spine3": "mouse_center",
                "spine4": "mid_backend", "spine5": "mid_backend2", "spine6": "mid_backend3",
                "L_shoulder": "left_shoulder", "R_shoulder": "right_shoulder", "L_side": "left_midside",
                "R_side": "right_midside", "L_hip": "left_hip", "R_hip": "right_hip",
            },
            (400, 400), ("brown", "white", "grey"), ("grid", "plain"), (1, 2), (55, 120),
        ),
        Lab(
            "tail",
            {
                "tb": "tail_base", "t1": "tail1", "t2": "tail2", "t3": "tail3", "t4": "tail4", "t5": "tail5",
                "tip": "tail_end", "eye_left": "left_eye", "eye_right": "right_eye",
            },
            (360, 360), ("white", "agouti"), ("grid", "bedding"), (1, 1), (60, 130),
        ),
        Lab("wild", _ALL, (480, 360), tuple(COATS), tuple(FLOORS), (1, 3), (45, 140)),
        Lab(
            "lowered", _ALL, (480, 360), tuple(COATS), tuple(FLOORS), (1, 2), (55, 150),
            head_length=(0.3, 0.9),
        ),
    )
}  # fmt: skip


@dataclass(frozen=True, eq=False)
class Frame:
    """A rendered frame with its truth.

    Attributes:
        image: (H, W, 3) RGB uint8.
        keypoints: (N, K, 2) pixels, in the order of the lab's keypoints.
        visibility: (N, K) int8: visible, or occluded (under another mouse), or not annotated (outside).
        bbox_xywh: (N, 4) head and trunk, without the tail, in pixels.
    """

    image: np.ndarray
    keypoints: np.ndarray
    visibility: np.ndarray
    bbox_xywh: np.ndarray


@dataclass(frozen=True, eq=False)
class _Animal:
    posture: Posture
    look: Appearance
    centre: np.ndarray
    length: float


def lab_named(name: str) -> Lab:
    """The lab called `name`.

    Raises:
        InputError: If there is none.
    """
    if name not in LABS:
        raise InputError(f"{name!r} is no synthetic lab; there are: {', '.join(sorted(LABS))}")
    return LABS[name]


def render_frame(lab: Lab, rng: np.random.Generator) -> Frame:
    """One frame with everything drawn anew: arena, light, camera, animals."""
    grey = bool(rng.random() < 0.5) if lab.grey is None else lab.grey
    background = render_background(rng, lab.size_wh, lab.floors)
    animals = _random_animals(lab, rng)
    return _render(lab, background, animals, random_camera(rng, grey), rng.uniform(0, 0.6), rng)


def render_video(lab: Lab, n_frames: int, rng: np.random.Generator) -> Iterator[Frame]:
    """A continuous sequence: one arena and camera, animals that walk, turn and stretch."""
    grey = bool(rng.random() < 0.5) if lab.grey is None else lab.grey
    background = render_background(rng, lab.size_wh, lab.floors)
    camera, shadow = random_camera(rng, grey), rng.uniform(0, 0.6)
    animals = _random_animals(lab, rng)
    turning = np.zeros(len(animals))
    for _ in range(n_frames):
        yield _render(lab, background, animals, camera, shadow, rng)
        turning = 0.92 * turning + rng.normal(0, 0.02, len(animals))
        animals = [_walk(lab, animal, turn, rng) for animal, turn in zip(animals, turning, strict=True)]


def _random_animals(lab: Lab, rng: np.random.Generator) -> list[_Animal]:
    """Animals of one scene, of similar size, heads and trunks mostly inside the frame."""
    count = int(rng.integers(lab.n_mice[0], lab.n_mice[1] + 1))
    typical = np.exp(rng.uniform(*np.log(lab.body_length)))
    animals = []
    for _ in range(count):
        length = typical * rng.uniform(0.9, 1.1)
        margin = 0.35 * length
        centre = rng.uniform([margin, margin], np.array(lab.size_wh) - margin)
        if animals and rng.random() < 0.3:  # animals seek each other: contacts and overlaps
            centre = animals[-1].centre + rng.normal(0, 0.6 * length, 2)
            centre = np.clip(centre, margin, np.array(lab.size_wh) - margin)
        posture = random_posture(rng, lab.head_length)
        animals.append(_Animal(posture, random_appearance(rng, str(rng.choice(lab.coats))), centre, length))
    return animals


def _walk(lab: Lab, animal: _Animal, turn: float, rng: np.random.Generator) -> _Animal:
    """The animal one frame later."""
    posture = animal.posture
    heading = posture.heading + turn
    step = 0.025 * animal.length * np.array([np.cos(heading), np.sin(heading)])
    centre = animal.centre + step
    low, high = 0.6 * animal.length, np.array(lab.size_wh) - 0.6 * animal.length
    if (centre < low).any() or (centre > high).any():  # turn away from the wall
        inward = np.array(lab.size_wh) / 2 - centre
        difference = np.angle(np.exp(1j * (np.arctan2(inward[1], inward[0]) - heading)))
        heading += 0.08 * np.sign(difference)
        centre = np.clip(centre, np.minimum(low, high), np.maximum(low, high))
    bend_tail = tuple(0.97 * b + rng.normal(0, 0.04) for b in posture.tail_bend)
    posture = replace(
        posture,
        heading=heading,
        bend=0.95 * posture.bend + 2.0 * turn + rng.normal(0, 0.01),
        head_turn=0.95 * posture.head_turn + 1.2 * turn + rng.normal(0, 0.015),
        tail_bend=bend_tail,
    )
    return replace(animal, posture=posture, centre=centre)


def _render(
    lab: Lab,
    background: np.ndarray,
    animals: list[_Animal],
    camera: Camera,
    shadow: float,
    rng: np.random.Generator,
) -> Frame:
    """Draw the animals in order (later ones lie on top) and take the picture."""
    image = background.copy()
    shapes = [build(animal.posture) for animal in animals]
    for animal, shape in zip(animals, shapes, strict=True):
        draw_mouse(image, shape, animal.look, animal.centre, animal.length, shadow)
    names = list(lab.keypoints.values())
    keypoints = np.stack(
        [
            np.stack([s.keypoints[n] for n in names]) * a.length + a.centre
            for s, a in zip(shapes, animals, strict=True)
        ]
    )
    boxes = np.stack([_box(s.outline * a.length + a.centre) for s, a in zip(shapes, animals, strict=True)])
    return Frame(photograph(image, camera, rng), *_state(keypoints, animals, shapes, lab.size_wh), boxes)


def _box(points: np.ndarray) -> np.ndarray:
    low, high = points.min(0), points.max(0)
    return np.concatenate([low, high - low])


def _state(
    keypoints: np.ndarray, animals: list[_Animal], shapes: list[MouseShape], size_wh: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """Visibility of every keypoint, and NaN coordinates for those outside the image."""
    visibility = np.full(keypoints.shape[:2], Visibility.VISIBLE, dtype=np.int8)
    for above in range(1, len(animals)):
        outline = (shapes[above].outline * animals[above].length + animals[above].centre).astype(np.float32)
        for n in range(above):
            for k, point in enumerate(keypoints[n]):
                if cv2.pointPolygonTest(outline, (float(point[0]), float(point[1])), False) > 0:
                    visibility[n, k] = Visibility.OCCLUDED
    outside = np.asarray(((keypoints < 0) | (keypoints > np.array(size_wh) - 1)).any(-1))
    visibility[outside] = Visibility.NOT_ANNOTATED
    return np.where(outside[..., None], np.nan, keypoints), visibility


def synthesize(
    lab: Lab, n_frames: int, out: Path, *, seed: int, session: int = 40, workers: int = 1
) -> LabelSet:
    """Render a labelled dataset of a lab: `out`/images/*.jpg and the records, in the lab's own names.

    Args:
        lab: The lab.
        n_frames: Number of images; every one is a scene of its own.
        out: Folder for the images.
        seed: Frame i depends on (seed, i) only, not on the number of workers.
        session: Images per split group.
        workers: Processes that render.

    Returns:
        The label set, not yet projected; `converters.convert_labels` writes it as superset COCO.
    """
    folder = make_folder(out / "images")
    draw = partial(_draw_to_file, lab, folder, seed, session)
    if workers > 1:
        # spawn: forked children would inherit OpenCV's and torch's thread pools in an unknown state
        with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
            records = list(pool.map(draw, range(n_frames), chunksize=16))
    else:
        records = [draw(i) for i in range(n_frames)]
    source = Source(
        lab.dataset,
        tuple(lab.keypoints),
        "CC0-1.0",
        "rendered by superanimal-zoo",
        "synthetic",
        f"seed {seed}",
    )
    return LabelSet(tuple(lab.keypoints), tuple(records), (source,))


def _draw_to_file(lab: Lab, folder: Path, seed: int, session: int, i: int) -> LabelRecord:
    """Render frame i and write its image."""
    frame = render_frame(lab, np.random.default_rng([seed, i]))
    path = folder / f"{lab.name}_{seed}_{i:05d}.jpg"
    with atomic_path(path) as temporary:
        cv2.imwrite(str(temporary), frame.image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 95])
    group = f"seed{seed}-session{i // session}"
    return LabelRecord(
        path, lab.size_wh, lab.dataset, group, frame.keypoints, frame.visibility, frame.bbox_xywh
    )
