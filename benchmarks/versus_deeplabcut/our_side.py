"""Our side: predicts the clip in one process and writes what it measured as JSON.

python -m benchmarks.versus_deeplabcut.our_side JOB.json
"""

from __future__ import annotations

import json
import resource
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

_CROPS = 16  # that go through the pose network together in dense prediction


def run(job: dict[str, Any]) -> dict[str, Any]:
    """Predict the clip as the job says."""
    start = time.perf_counter()
    import zoo

    imported = time.perf_counter()
    model = zoo.load(
        job["model"],
        variant=job["net"],
        device="cpu",
        weights=job["pose_file"],
        detector=job["detector"],
        detector_weights=job["detector_file"],
    )
    loaded = time.perf_counter()
    import cv2

    _, frame = cv2.VideoCapture(job["video"]).read()
    model.predict(np.ascontiguousarray(frame[..., ::-1]))
    options: dict[str, Any] = {"max_individuals": 1, "detect_every": job["detect_every"]}
    if job["boxes"]:
        boxes = np.load(job["boxes"])["bbox_xywh"].astype(np.float32)
        options = {"bboxes_xywh": boxes[:, None]}
    ready, ready_cpu = time.perf_counter(), time.process_time()
    predictions = model.predict(job["video"], **options)
    predicted, predicted_cpu = time.perf_counter(), time.process_time()
    predictions.save(job["folder"], "ours", formats=("h5",))
    saved = time.perf_counter()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    np.savez(
        job["result"],
        keypoints=predictions.keypoints[:, 0],
        confidence=predictions.confidence[:, 0],
        bbox_xywh=predictions.bbox_xywh[:, 0],
        sigmas=model.vocabulary.sigmas,
    )
    detections = [one.get("n_detections") for one in predictions.provenance["operations"]]
    return {
        "n_frames": len(predictions),
        "import_s": imported - start,
        "load_s": loaded - imported,
        "predict_s": predicted - ready,
        "predict_cpu_s": predicted_cpu - ready_cpu,
        "save_s": saved - predicted,
        **(bare_seconds(model, job["video"]) if job["bare"] else {}),
        "n_detections": next((n for n in detections if n is not None), len(predictions)),
        "peak_mib": peak,
    }


def bare_seconds(model: Any, video: str) -> dict[str, float]:
    """Seconds, and seconds of processor, that the two networks alone take for the clip, one animal a frame.

    Decoding, cropping, and turning outputs into positions are left out, and so is everything between.
    """
    import cv2
    import torch

    from zoo.torchvision_detectors import MEAN, STD

    mean, std = (torch.tensor(values)[:, None, None] for values in (MEAN, STD))
    reader, images = cv2.VideoCapture(video), []
    while True:
        there, frame = reader.read()
        if not there:
            break
        image = torch.from_numpy(np.ascontiguousarray(frame[..., ::-1].transpose(2, 0, 1)))
        images.append((image.float() / 255 - mean) / std)
    crops = torch.randn(len(images), 3, model.pose.size, model.pose.size)
    crops = crops.contiguous(memory_format=torch.channels_last)
    with torch.inference_mode():
        model.pose.network(crops[:1])
        start, start_cpu = time.perf_counter(), time.process_time()
        for image in images:
            model.detector.network([image])
        for part in crops.split(_CROPS):
            model.pose.network(part)
        return {"bare_s": time.perf_counter() - start, "bare_cpu_s": time.process_time() - start_cpu}


def main() -> None:
    """Do the job."""
    job = json.loads(Path(sys.argv[1]).read_text())
    Path(job["answer"]).write_text(json.dumps(run(job)))


if __name__ == "__main__":
    main()
