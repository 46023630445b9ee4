"""Zero-shot accuracy of the embedded mouse model: `python -m benchmarks.accuracy`.

Openfield-Pranav (116 frames, all four keypoints, no confidence cut) was never trained on. The paper has
14.31 px (bottom-up DLCRNet), 4.88 px (top-down HRNet-w32) and 4.57 px (AnimalTokenPose) there. The held-out
recording day of alphatracker is the within-distribution figure; its ears are not scored, being another point.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from benchmarks.data import need
from benchmarks.embedded import record_evaluations

HEAD = ("nose", "left_ear", "right_ear")


NAME = "superanimal_topviewmouse.compact"


def main() -> None:
    """Print the tables: boxes by the model, boxes from the labels; all keypoints, the head only."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--record", action="store_true", help="put the reports into the model's run record")
    record = parser.parse_args().record
    import zoo
    from converters import convert
    from training.evaluate import evaluate_model
    from training.splits import select_groups

    model = zoo.load("superanimal_topviewmouse", "compact")
    reports = []
    with tempfile.TemporaryDirectory() as scratch:
        openfield = convert(need("openfield-Pranav-2018-10-30"), "dlc-openfield", Path(scratch) / "openfield")
        mice = convert(need("alphatracker_train9"), "alphatracker_train9", Path(scratch) / "alphatracker")
        day = select_groups(mice, ("2019-11-04",), ())
        for bboxes in ("model", "labels"):
            reports += [
                evaluate_model(model, openfield, split="openfield-Pranav, zero-shot", bboxes=bboxes),
                evaluate_model(
                    model,
                    openfield,
                    split="openfield-Pranav, zero-shot, nose and ears only",
                    bboxes=bboxes,
                    keypoints=HEAD,
                ),
                evaluate_model(model, day, split="alphatracker, held-out day 2019-11-04", bboxes=bboxes),
            ]
    for report in reports:
        print(report.table(), "\n")
    if record:
        record_evaluations(NAME, reports)


if __name__ == "__main__":
    main()
