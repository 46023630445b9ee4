"""Accuracy of the embedded quadruped model: `python -m benchmarks.accuracy_quadruped`.

Within the distribution: the tenth of Animal-Pose's images that training held out. Zero-shot: the 308 frames
of BrownHorseinShadow, which is in no training set; the paper's full model has 0.228 NE on Horse-10 and 84.6
mAP on Animal-Pose. Boxes from the labels and found by the model; NE is in eye-to-nose distances.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from benchmarks.data import horse_project, need


def main() -> None:
    """Print a table for each data set and source of boxes."""
    import zoo
    from converters import convert, load_superset
    from training.evaluate import evaluate_model
    from training.splits import hold_out

    model = zoo.load("superanimal_quadruped", "compact")
    with tempfile.TemporaryDirectory() as scratch:
        # Four of its boxes hold none of their animal's keypoints; the published figures are with them.
        convert(need("animal_pose"), "animalpose", Path(scratch) / "animal_pose", on_problem="keep")
        _, held_out = hold_out(load_superset(Path(scratch) / "animal_pose"), 0.1)
        project = horse_project(Path(scratch) / "project")
        horse = convert(project, "horse10_BrownHorseinShadow", Path(scratch) / "horse")
        for bboxes in ("labels", "model"):
            for flip_test in (False, True):
                how = ", flip test" if flip_test else ""
                split = f"animal_pose, held-out tenth{how}"
                report = evaluate_model(model, held_out, split=split, bboxes=bboxes, flip_test=flip_test)
                print(report.table(), "\n")
                report = evaluate_model(
                    model,
                    horse,
                    split=f"BrownHorseinShadow, zero-shot{how}",
                    bboxes=bboxes,
                    normalise_by=("right_eye", "nose"),
                    flip_test=flip_test,
                )
                print(report.table(), "\n", flush=True)


if __name__ == "__main__":
    main()
