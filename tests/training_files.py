"""A dataset of grey noise on disk, and recipes for it that train in no time."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from converters import write_superset
from superset_vocab import LabelRecord, LabelSet, Source, Visibility, load_vocabulary

VOCABULARY = load_vocabulary("superanimal_topviewmouse")
STILL = """[augmentation]
rotate = 0
scale = [1.0, 1.0]
shift = 0
flip = 0
light = 0
blur = 0
noise = 0
occlude = 0
"""
"""Samples without augmentation."""
ONE_DATASET = """
[network]
name = "compact_unet"
options = {outputs = {heatmaps = "K"}, widths = [8, 8]}
[data]
sources = [{path = "$POSE_DATA/one"}]
[batch]
input_size = [32, 32]
stride = 2
grey = true
[run]
workers = 0
"""
"""A recipe without its schedule."""


def write_labels(folder: Path, dataset: str, groups: list[str]) -> None:
    """Grey noise with one mouse each: two defined keypoints, the others undefined."""
    rng = np.random.default_rng(list(dataset.encode()))
    records = []
    for number, group in enumerate(groups):
        image = folder / f"{dataset}{number}.png"
        cv2.imwrite(str(image), rng.integers(0, 255, (60, 80, 3), dtype=np.uint8))
        points = np.full((1, len(VOCABULARY), 2), np.nan)
        points[0, :2] = rng.uniform(15, 45, (2, 2))
        visibility = np.full((1, len(VOCABULARY)), Visibility.UNDEFINED, np.int8)
        visibility[0, :2] = Visibility.VISIBLE
        records.append(
            LabelRecord(image, (80, 60), dataset, group, points, visibility, np.full((1, 4), np.nan))
        )
    sources = (Source(dataset, VOCABULARY.keypoints[:2]),)
    write_superset(LabelSet(VOCABULARY.keypoints, tuple(records), sources, VOCABULARY.name), folder / dataset)
