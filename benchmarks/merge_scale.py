"""Time and peak memory of merging 85,000 images from 20 sources: `python -m benchmarks.merge_scale`.

The paper's scale ("over 85,000 images"), labels of real size (39 superset keypoints, 1.3 animals per image,
8 to 20 keypoints defined by each source), images of 8 x 8 pixels: what is measured is the labels. All image
files have nearly the same size, which is the worst case for finding the same image twice: all are hashed.

Every measurement is a process of its own; the peak is the kernel's (getrusage).
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

N_IMAGES, N_SOURCES = 85_000, 20

_MERGE = """
import json, resource, sys, time
from pathlib import Path
start = time.perf_counter()
from converters import load_superset, merge
from converters.dataset import write_superset
took = {"import": time.perf_counter() - start}
def lap(name):
    global start
    took[name] = time.perf_counter() - start - sum(took.values())
sources = [load_superset(path) for path in sorted(Path(sys.argv[1]).iterdir())]
lap("load")
merged = merge(sources)
lap("merge")
del sources
write_superset(merged, Path(sys.argv[2]), **json.loads(sys.argv[3]))
lap("write")
took["MiB"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
took["instances"] = merged.n_instances
print(json.dumps(took))
"""


def make_sources(folder: Path, n_images: int, n_sources: int) -> None:
    """Write superset datasets of random labels with tiny images, all different."""
    import cv2
    import numpy as np

    from converters.dataset import write_superset
    from superset_vocab import LabelRecord, LabelSet, Source, Visibility, load_vocabulary

    vocabulary = load_vocabulary("superanimal_quadruped")
    rng = np.random.default_rng(0)
    per_source = n_images // n_sources
    for number in range(n_sources):
        name = f"source_{number:02d}"
        defined = rng.choice(len(vocabulary), rng.integers(8, 21), replace=False)
        raw = folder / f".raw_{number}"
        raw.mkdir(parents=True)
        records = []
        for i in range(per_source):
            pixels = rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)
            path = raw / f"image_{i:05d}.png"
            path.write_bytes(cv2.imencode(".png", pixels)[1].tobytes())
            count = int(rng.choice([1, 2, 3], p=[0.8, 0.1, 0.1]))
            state = np.full((count, len(vocabulary)), Visibility.UNDEFINED, dtype=np.int8)
            state[:, defined] = rng.choice([0, 1, 2], (count, len(defined)), p=[0.2, 0.1, 0.7])
            xy = rng.uniform(0, 480, (count, len(vocabulary), 2))
            xy[state < Visibility.OCCLUDED] = np.nan
            boxes = np.concatenate([np.zeros((count, 2)), np.full((count, 2), 480.0)], axis=1)
            group = f"video_{i // 50}"
            records.append(LabelRecord(path, (640, 480), name, group, xy, state, boxes, f"raw/{path.name}"))
        keypoints = tuple(vocabulary.keypoints[k] for k in sorted(defined.tolist()))
        source = Source(name, keypoints, "CC BY 4.0", keypoint_map={k: k for k in keypoints})
        labels = LabelSet(vocabulary.keypoints, tuple(records), (source,), vocabulary.name)
        write_superset(labels, folder / name)
        for path in raw.iterdir():
            path.unlink()
        raw.rmdir()


def measure(sources: Path, out: Path, options: dict[str, str]) -> dict[str, float]:
    """Seconds of each step, and the peak memory in MiB, of a merge in a fresh process."""
    command = [sys.executable, "-c", _MERGE, str(sources), str(out), json.dumps(options)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    """Make the sources, merge them, and print what it took."""
    parser = argparse.ArgumentParser(description="Merge at the paper's scale.")
    parser.add_argument("--images", type=int, default=N_IMAGES)
    parser.add_argument("--scratch", type=Path, help="folder for the datasets; default: a temporary one")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.scratch) as scratch:
        sources = Path(scratch) / "sources"
        start = time.perf_counter()
        make_sources(sources, arguments.images, N_SOURCES)
        print(f"{arguments.images} images of {N_SOURCES} sources made in {time.perf_counter() - start:.0f} s")
        for images in ("copy", "link"):
            took = measure(sources, Path(scratch) / images, {"images": images})
            total = sum(took[step] for step in ("load", "merge", "write"))
            size = (Path(scratch) / images / "annotations.json").stat().st_size / 2**20
            print(
                f"images {images}: load {took['load']:.1f} s, merge {took['merge']:.1f} s, "
                f"write {took['write']:.1f} s; {total:.1f} s and {took['MiB']:.0f} MiB at the peak "
                f"for {took['instances']} animals, annotations.json {size:.0f} MiB"
            )


if __name__ == "__main__":
    main()
