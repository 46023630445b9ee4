"""Zero-shot accuracy of the embedded mouse model: `python -m benchmarks.accuracy`.

Openfield-Pranav (116 frames, all four keypoints, no confidence cut) was never trained on. The paper has
14.31 px (bottom-up DLCRNet), 4.88 px (top-down HRNet-w32) and 4.57 px (AnimalTokenPose) there. The held-out
recording day of alphatracker is the within-distribution figure; its ears are not scored, being another point.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from benchmarks.data import need

HEAD = ("nose", "left_ear", "right_ear")


def main() -> None:
    """Print the tables: boxes by the model, boxes from the labels; all keypoints, the head only."""
    import zoo
    from converters import convert
    from training.evaluate import evaluate_model
    from training.splits import select_groups

    model = zoo.load("superanimal_topviewmouse", "compact")
    with tempfile.TemporaryDirectory() as scratch:
        openfield = convert(need("openfield-Pranav-2018-10-30"), "dlc-openfield", Path(scratch) / "openfield")
        mice = convert(need("alphatracker_train9"), "alphatracker_train9", Path(scratch) / "alphatracker")
        day = select_groups(mice, ("2019-11-04",), ())
        for bboxes in ("model", "labels"):
            print(evaluate_model(model, openfield, split="zero-shot, openfield", bboxes=bboxes).table(), "\n")
            report = evaluate_model(
                model, openfield, split="zero-shot, openfield, head", bboxes=bboxes, keypoints=HEAD
            )
            print(report.table(), "\n")
            report = evaluate_model(model, day, split="alphatracker, held-out day", bboxes=bboxes)
            print(report.table(), "\n")


if __name__ == "__main__":
    main()
