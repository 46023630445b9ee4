"""Our side: smooths the long recording in one process and writes what it measured as JSON.

python -m benchmarks.versus_eks.our_side JOB.json
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np


def run(job: dict[str, Any]) -> dict[str, Any]:
    """Smooth twice: the first call loads or compiles what it needs."""
    from adaptation.eks.ensemble import Ensemble, SmoothingOptions
    from adaptation.eks.singlecam import smooth_singlecam

    with np.load(job["recording"]) as arrays:
        keypoints, confidence = arrays["keypoints"], arrays["confidence"]
    names = tuple(f"keypoint{i}" for i in range(keypoints.shape[2]))
    ensemble = Ensemble(keypoints, confidence, names)
    del keypoints, confidence
    options = SmoothingOptions(s=job["s"])
    seconds, processor = [], []
    smoothed = None
    for _ in range(job["calls"]):
        start, used = time.perf_counter(), time.process_time()
        smoothed = smooth_singlecam(ensemble, options=options)
        seconds.append(time.perf_counter() - start)
        processor.append(time.process_time() - used)
    assert smoothed is not None
    if job.get("result"):
        np.savez(
            job["result"],
            keypoints=smoothed.keypoints,
            variance=smoothed.variance,
            s=[choice.value for choice in smoothed.choices],
        )
    return {"seconds": seconds, "processor": processor}


def main() -> None:
    """Do the job."""
    job = json.loads(Path(sys.argv[1]).read_text())
    Path(job["answer"]).write_text(json.dumps(run(job)))


if __name__ == "__main__":
    main()
