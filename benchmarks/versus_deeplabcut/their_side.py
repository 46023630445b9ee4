"""DeepLabCut's side; runs in its environment, one command a process, and writes what it measured as JSON.

    python -m benchmarks.versus_deeplabcut.their_side make JOB.json     write checkpoints
    python -m benchmarks.versus_deeplabcut.their_side run JOB.json      analyse the clip and measure

Everything is done by its own builders, runners, loop over the video and table writer, with the options
that its `video_inference_superanimal` passes on.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

# pyright: reportMissingImports=false


def config(job: dict[str, Any]) -> Any:
    """Its configuration of the model."""
    from deeplabcut.pose_estimation_pytorch.config.pose import PoseConfig

    return PoseConfig.build_for_superanimal_inference(
        super_animal=job["model"],
        model_name=job["net"],
        detector_name=job["detector"],
        max_individuals=1,
        device="cpu",
    )


def make(job: dict[str, Any]) -> dict[str, Any]:
    """Write both checkpoints."""
    import torch
    from deeplabcut.pose_estimation_pytorch.data.preprocessor import (
        build_bottom_up_preprocessor,
        build_top_down_preprocessor,
    )
    from deeplabcut.pose_estimation_pytorch.data.transforms import build_transforms
    from deeplabcut.pose_estimation_pytorch.models import DETECTORS, PoseModel

    from benchmarks.versus_deeplabcut.their_weights import make_detector, make_pose, save

    torch.manual_seed(0)
    cfg = config(job)
    frames = np.load(job["frames"])
    detector = DETECTORS.build(dict(cfg["detector"]["model"]))
    prepare = build_bottom_up_preprocessor("RGB", build_transforms(cfg["detector"]["data"]["inference"]))
    make_detector(detector.model, [prepare(frame, {})[0][0] for frame in frames])
    save(Path(job["detector_file"]), detector)

    pose = PoseModel.build(cfg["model"])
    crop = build_top_down_preprocessor("RGB", build_transforms(cfg["data"]["inference"]), (256, 256))
    whole = np.array([[0, 0, frames.shape[2], frames.shape[1]]], np.float32)
    make_pose(pose, torch.cat([crop(frame, {"bboxes": whole})[0] for frame in frames]))
    save(Path(job["pose_file"]), pose)
    return {}


def run(job: dict[str, Any]) -> dict[str, Any]:
    """Analyse the clip."""
    start = time.perf_counter()
    import deeplabcut  # noqa: F401  what its users import

    imported = time.perf_counter()
    import cv2
    from deeplabcut.pose_estimation_pytorch.apis.utils import get_inference_runners
    from deeplabcut.pose_estimation_pytorch.apis.videos import create_df_from_prediction, video_inference

    cfg = config(job)
    pose, detector = get_inference_runners(
        model_config=cfg,
        snapshot_path=job["pose_file"],
        max_individuals=1,
        num_bodyparts=len(cfg["metadata"]["bodyparts"]),
        num_unique_bodyparts=0,
        batch_size=job["batch_size"],
        detector_batch_size=job["batch_size"],
        detector_path=job["detector_file"],
    )
    loaded = time.perf_counter()
    _, frame = cv2.VideoCapture(job["video"]).read()
    warm_up = np.ascontiguousarray(frame[..., ::-1])
    pose.inference([(warm_up, detector.inference([warm_up])[0])])
    ready, ready_cpu = time.perf_counter(), time.process_time()
    found = video_inference(job["video"], pose, detector)
    predicted, predicted_cpu = time.perf_counter(), time.process_time()
    create_df_from_prediction(
        predictions=found,
        dlc_scorer="DLC",
        multi_animal=True,
        model_cfg=cfg,
        output_path=Path(job["folder"]),
        output_prefix="theirs",
    )
    saved = time.perf_counter()
    keypoints = np.stack([one["bodyparts"][0] for one in found])
    boxes = np.full((len(found), 4), np.nan)
    for box, one in zip(boxes, found, strict=True):
        if len(one["bboxes"]):
            box[:] = one["bboxes"][0]
    keypoints[np.isnan(boxes[:, 0])] = np.nan  # it has -1 for a missing animal
    np.savez(job["result"], keypoints=keypoints[..., :2], confidence=keypoints[..., 2], bbox_xywh=boxes)
    return {
        "n_frames": len(found),
        "import_s": imported - start,
        "load_s": loaded - imported,
        "predict_s": predicted - ready,
        "predict_cpu_s": predicted_cpu - ready_cpu,
        "save_s": saved - predicted,
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def main() -> None:
    """Do one command."""
    what, path = sys.argv[1:]
    job = json.loads(Path(path).read_text())
    measured = {"make": make, "run": run}[what](job)
    Path(job["answer"]).write_text(json.dumps(measured))


if __name__ == "__main__":
    main()
