"""Their side; runs in its environment, smooths the long recording and writes what it measured as JSON.

python -m benchmarks.versus_eks.their_side JOB.json
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

# pyright: reportMissingImports=false


def run(job: dict[str, Any]) -> dict[str, Any]:
    """Smooth as often as the job says; every call compiles its functions again."""
    from eks.marker_array import MarkerArray
    from eks.singlecam_smoother import ensemble_kalman_smoother_singlecam

    with np.load(job["recording"]) as arrays:
        values = np.concatenate([arrays["keypoints"], arrays["confidence"][..., None]], axis=-1)[:, None]
    fields = ["x", "y", "likelihood"]
    names = [f"keypoint{i}" for i in range(values.shape[3])]
    seconds, processor, table, s = [], [], None, None
    for _ in range(job["calls"]):
        markers = MarkerArray(values, data_fields=fields)
        start, used = time.perf_counter(), time.process_time()
        table, s = ensemble_kalman_smoother_singlecam(markers, names, smooth_param=job["s"])
        seconds.append(time.perf_counter() - start)
        processor.append(time.process_time() - used)
    assert table is not None
    if job.get("result"):
        columns = table.columns.get_level_values("coords")
        shape = (len(table), len(names), 2)
        np.savez(
            job["result"],
            keypoints=table.loc[:, columns.isin(["x", "y"])].to_numpy().reshape(shape),
            variance=table.loc[:, columns.isin(["x_posterior_var", "y_posterior_var"])]
            .to_numpy()
            .reshape(shape),
            s=np.asarray(s, dtype=np.float64).ravel(),
        )
    return {"seconds": seconds, "processor": processor}


def main() -> None:
    """Do the job."""
    job = json.loads(Path(sys.argv[1]).read_text())
    Path(job["answer"]).write_text(json.dumps(run(job)))


if __name__ == "__main__":
    main()
