"""Files of invented networks that watch the same walking keypoints."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

NAMES = ("nose", "tail")


def walk(n_frames: int = 60, n_keypoints: int = 2, seed: int = 0) -> np.ndarray:
    """(T, K, 2) a smooth track in pixels."""
    rng = np.random.default_rng(seed)
    return 200 + np.cumsum(rng.normal(0, 1.5, (n_frames, n_keypoints, 2)), axis=0)


def member(truth: np.ndarray, seed: int, sd: float = 2.0) -> tuple[np.ndarray, np.ndarray]:
    """(T, K, 2) what one network sees of it, and (T, K) its confidence."""
    rng = np.random.default_rng([7, seed])
    return truth + rng.normal(0, sd, truth.shape), rng.uniform(0.5, 1, truth.shape[:2])


def frame_of(
    keypoints: np.ndarray,
    confidence: np.ndarray,
    names: Sequence[str] = NAMES,
    individual: str = "",
    first: int = 0,
) -> pd.DataFrame:
    """A table in DeepLabCut's columns, of one individual."""
    levels = [["net"], *([[individual]] if individual else []), names, ["x", "y", "likelihood"]]
    rows = ["scorer", *(["individuals"] if individual else []), "bodyparts", "coords"]
    values = np.concatenate([keypoints, confidence[..., None]], axis=-1).reshape(len(keypoints), -1)
    columns = pd.MultiIndex.from_product(levels, names=rows)
    return pd.DataFrame(values, index=range(first, first + len(values)), columns=columns)


def write_members(
    folder: Path, n: int = 3, view: str = "", truth: np.ndarray | None = None, sd: float = 2.0
) -> list[Path]:
    """Csv files of n networks, called net<i>[.<view>].csv."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for i in range(n):
        path = folder / f"net{i}{f'.{view}' if view else ''}.csv"
        seed = i + 100 * sum(map(ord, view))
        frame_of(*member(walk() if truth is None else truth, seed, sd)).to_csv(path)
        paths.append(path)
    return paths
