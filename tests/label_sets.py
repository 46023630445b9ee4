"""Label sets for tests: random ones, comparison, and small images on disk."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from superset_vocab import LabelRecord, LabelSet, Source, Visibility


def write_image(path: Path, size_wh: tuple[int, int] = (32, 24), seed: int = 0) -> Path:
    """A small random image; another seed gives other content."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 255, (size_wh[1], size_wh[0], 3), dtype=np.uint8)
    assert cv2.imwrite(str(path), pixels)
    return path


def assert_same(a: LabelSet, b: LabelSet, *, paths: bool = True, sources: bool = True) -> None:
    """Equal in every field; NaN equals NaN."""
    assert (a.keypoints, a.vocabulary, len(a)) == (b.keypoints, b.vocabulary, len(b))
    assert not sources or a.sources == b.sources
    for x, y in zip(a.records, b.records, strict=True):
        names = ("size_wh", "dataset", "split_group", "source_image", "source_id", "source_split") + (
            ("image",) if paths else ()
        )
        assert [getattr(x, name) for name in names] == [getattr(y, name) for name in names]
        assert (x.individuals, x.categories) == (y.individuals, y.categories)
        np.testing.assert_array_equal(x.visibility, y.visibility)
        np.testing.assert_array_equal(x.keypoints, y.keypoints)
        np.testing.assert_array_equal(x.bbox_xywh, y.bbox_xywh)


@st.composite
def records(draw: st.DrawFn, k: int, *, states: tuple[int, ...], image: str = "a.png") -> LabelRecord:
    """A record of 0 to 3 instances of k keypoints in the given states."""
    n = draw(st.integers(0, 3))
    numbers = st.floats(-1e4, 1e4, allow_nan=False)
    visibility = draw(npst.arrays(np.int8, (n, k), elements=st.sampled_from(states)))
    keypoints = draw(npst.arrays(np.float64, (n, k, 2), elements=numbers))
    keypoints[visibility < Visibility.OCCLUDED] = np.nan
    boxes = draw(npst.arrays(np.float64, (n, 4), elements=numbers))
    boxes[draw(npst.arrays(bool, n))] = np.nan
    size = draw(st.tuples(st.integers(1, 4000), st.integers(1, 4000)))
    group = draw(st.text(max_size=5))
    return LabelRecord(Path(image), size, "lab", group, keypoints, visibility, boxes, image)


@st.composite
def label_sets(draw: st.DrawFn, keypoints: tuple[str, ...], *, states: tuple[int, ...]) -> LabelSet:
    """A foreign set of 1 to 3 records of the dataset "lab"."""
    count = draw(st.integers(1, 3))
    found = [draw(records(len(keypoints), states=states, image=f"f{i}.png")) for i in range(count)]
    source = Source("lab", keypoints, draw(st.text(max_size=5)) or "CC0", "cite", "deeplabcut", "somewhere")
    return LabelSet(keypoints, tuple(found), (source,))


def small_set(folder: Path, dataset: str, keypoints: tuple[str, ...], n: int = 2, seed: int = 0) -> LabelSet:
    """A foreign set of n images on disk, one instance each with every keypoint visible at (k, k + 0.5)."""
    found = []
    for i in range(n):
        path = write_image(folder / dataset / f"{i}.png", seed=seed + i)
        xy = np.stack([np.arange(len(keypoints)), np.arange(len(keypoints)) + 0.5], axis=1)[None].astype(
            float
        )
        state = np.full((1, len(keypoints)), Visibility.VISIBLE, dtype=np.int8)
        group, box = f"day{i}", np.array([[0.0, 0.0, 20.0, 10.0]])
        found.append(LabelRecord(path, (32, 24), dataset, group, xy, state, box, f"raw/{i}.png"))
    return LabelSet(keypoints, tuple(found), (Source(dataset, keypoints, f"licence of {dataset}"),))


def make_video(path: Path, n_frames: int = 12) -> Path:
    """Frame i is grey 20 i."""
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 10, (64, 48))
    for i in range(n_frames):
        writer.write(np.full((48, 64, 3), 20 * i, dtype=np.uint8))
    writer.release()
    return path
