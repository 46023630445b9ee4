"""Reading a COCO file of AP-10K's size against plain `json.load`: seconds, their ratio, and memory.

The file is made here: 10,015 images with 13,028 instances of 17 keypoints in 54 categories, as AP-10K
has; the images are tiny, because what is measured is the labels. Times are the best of several runs that
alternate, so that whatever else the machine does falls on both.

    python -m benchmarks.read_coco [--images N] [--repeats N]
"""

from __future__ import annotations

import argparse
import json
import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from converters.formats import coco

N_IMAGES, N_INSTANCES, N_KEYPOINTS, N_CATEGORIES = 10_015, 13_028, 17, 54


def make_dataset(folder: Path, n_images: int) -> Path:
    """Write a COCO file and its images; the path of the file."""
    rng = np.random.default_rng(0)
    (folder / "data").mkdir(parents=True)
    (folder / "annotations").mkdir()
    size = (32, 24)
    pixels = cv2.imencode(".jpg", rng.integers(0, 255, (*size[::-1], 3), dtype=np.uint8))[1].tobytes()
    images = []
    for i in range(1, n_images + 1):
        name = f"{7 * i:012d}.jpg"
        (folder / "data" / name).write_bytes(pixels)
        images.append(
            {
                "license": 1,
                "id": 7 * i,
                "file_name": name,
                "width": size[0],
                "height": size[1],
                "background": 5,
            }
        )
    annotations = []
    for n in range(n_images * N_INSTANCES // N_IMAGES):
        flags = rng.choice([0, 1, 2], N_KEYPOINTS, p=[0.3, 0.1, 0.6])
        points = [
            value
            for flag in flags.tolist()
            for value in (*(rng.integers(0, 24, 2).tolist() if flag else (0, 0)), flag)
        ]
        image = 7 * (n % n_images + 1)
        annotation = {"id": n, "image_id": image, "category_id": 1 + n % N_CATEGORIES, "keypoints": points}
        annotations.append(
            {**annotation, "bbox": [1, 2, 20, 15], "area": 300, "iscrowd": 0, "num_keypoints": 9}
        )
    names = [f"keypoint_{k}" for k in range(N_KEYPOINTS)]
    categories = [{"id": c, "name": f"species {c}", "keypoints": names} for c in range(1, N_CATEGORIES + 1)]
    document = {"info": {}, "images": images, "annotations": annotations, "categories": categories}
    file = folder / "annotations" / "ap10k.json"
    file.write_text(json.dumps(document))
    return file


def seconds(work: Callable[[], Any]) -> float:
    """How long one call takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def main() -> None:
    """Make the file, read it in three ways, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=int, default=N_IMAGES)
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    ways: dict[str, Callable[[Path], Any]] = {
        "json.load": lambda file: json.loads(file.read_text()),
        "records, images looked for": lambda file: coco.read_document(file, dataset="ap10k"),
        "records, images decoded": lambda file: coco.read(file, dataset="ap10k"),
    }
    with tempfile.TemporaryDirectory() as name:
        file = make_dataset(Path(name) / "ap10k", arguments.images)
        print(f"{arguments.images} images, {file.stat().st_size / 2**20:.1f} MiB of JSON")
        times: dict[str, list[float]] = {way: [] for way in ways}
        for _ in range(arguments.repeats):
            for way, read in ways.items():
                times[way].append(seconds(lambda read=read: read(file)))
        plain = min(times["json.load"])
        for way, taken in times.items():
            print(f"{way:28} {min(taken):7.3f} s  {min(taken) / plain:6.1f} x json.load")
        labels = coco.read_document(file, dataset="ap10k")
        arrays = sum(r.keypoints.nbytes + r.visibility.nbytes + r.bbox_xywh.nbytes for r in labels.records)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{len(labels)} records, {labels.n_instances} instances, {arrays / 2**20:.1f} MiB of arrays")
    print(f"peak {peak:.0f} MiB")


if __name__ == "__main__":
    main()
