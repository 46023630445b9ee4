"""Post-processors on a film labelled throughout: `python -m benchmarks.smoother_comparison --out DIR`.

The comparison of the Lightning Pose paper's Fig. 5c, on BrownHorseinShadow (308 frames, one horse). As
there, the ensemble's networks are trained on different subsets of few labelled frames: here the embedded
quadruped network, fine-tuned on frames of the film's first half. Errors are those of the second half. The
boxes are made from the labels. None of the shared ensembles (mirror-mouse, openfield's m3v1) comes with
labels of its own video; `zoo compare-smoothers` refuses labels of another one.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.data import horse_project, need

if TYPE_CHECKING:
    from adaptation.eks.comparison import Comparison
    from adaptation.eks.ensemble import SmoothingOptions
    from superset_vocab import LabelSet

_MODEL = "superanimal_quadruped"


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.smoother_comparison", description=__doc__)
    parser.add_argument(
        "--out", type=Path, default=Path("runs/smoother_comparison"), help="default: %(default)s"
    )
    parser.add_argument("--members", type=int, default=5, help="networks; default: %(default)s")
    parser.add_argument(
        "--frames", type=int, default=25, help="labelled frames for each; default: %(default)s"
    )
    parser.add_argument("--iterations", type=int, default=200, help="of each training; default: %(default)s")
    parser.add_argument("--no-arima", action="store_true", help="leave out ARIMA, which takes minutes")
    return parser.parse_args()


def main() -> None:
    """Train what is not trained yet, predict, compare, print."""
    asked = arguments()
    with tempfile.TemporaryDirectory() as scratch:
        from converters import convert

        project = horse_project(Path(scratch) / "project")
        labels = convert(project, "horse10_BrownHorseinShadow", Path(scratch) / "horse")
        result = compared(labels, asked)
    show(result, asked)


def compared(labels: LabelSet, asked: argparse.Namespace) -> Comparison:
    """The comparison of an ensemble fine-tuned on frames of the first half, on the second half."""
    import zoo
    from adaptation.eks.comparison import SINGLE, TOGETHER, Labels, compare
    from adaptation.eks.files import from_predictions
    from adaptation.eks.recording import assemble
    from adaptation.fine_tuning import fine_tune
    from adaptation.smoothing import smooth
    from converters.views import subset
    from training.evaluate import label_boxes

    records = sorted(labels.records, key=lambda record: record.image.name)
    half = len(records) // 2
    whole = subset(labels, lambda _: True)
    boxes = dict(zip((record.image for record in labels.records), label_boxes(whole), strict=True))
    model = zoo.load(_MODEL, "compact", device="cpu")
    members = []
    for i in range(asked.members):
        chosen = np.random.default_rng([0, i]).choice(half, asked.frames, replace=False)
        images = {records[j].image for j in chosen}
        mine = subset(labels, lambda record, images=images: record.image in images)
        overrides = [f"schedule.iterations={asked.iterations}", f"run.seed={i}"]
        tuned = fine_tune(
            model, mine, asked.out / f"member{i}", method="naive", overrides=overrides, resume=True
        )
        predictions = tuned.predict(
            need("horse10_BrownHorseinShadow/BrownHorseinShadow.mp4"),
            bboxes_xywh=[boxes[record.image][:1] for record in records],
        )
        members.append(from_predictions(predictions, f"member {i}"))
        print(f"member {i} of {asked.members} predicted", flush=True)
    recording = assemble({"": members})
    truth = np.stack([record.keypoints[0] for record in records[half:]]).astype(np.float64)
    seen = Labels(labels.keypoints, np.arange(half, len(records)), truth, "second half")
    tracks = {
        "eks singlecam": smooth(recording).only,
        "eks, one s": smooth(recording, options=_one_s(recording.ensembles["animal0"][0].names)).only,
    }
    methods = [name for name in (*SINGLE, *TOGETHER) if not (asked.no_arima and name == "arima")]
    return compare(
        recording.ensembles["animal0"],
        [seen],
        recording.frame_index,
        {name: [track.keypoints] for name, track in tracks.items()},
        methods,
    )


def _one_s(names: tuple[str, ...]) -> SmoothingOptions:
    """One smoothing parameter for the whole animal."""
    from adaptation.eks.ensemble import SmoothingOptions

    return SmoothingOptions(blocks=(names,))


def show(result: Comparison, asked: argparse.Namespace) -> None:
    """Print the table and draw the figure."""
    from adaptation.eks.comparison import SHARES
    from adaptation.eks.plots import plot_errors

    columns = [result.at_share(share) for share in SHARES]
    print(
        f"\nBrownHorseinShadow, second half: mean pixel error of {len(result.sd)} labelled keypoints; "
        f"{asked.members} networks, {asked.frames} labelled frames each"
    )
    print(f"{'most difficult':<16}" + "".join(f"{f'{share:g} %':>9}" for share in SHARES))
    print(f"{'sd from (px)':<16}" + "".join(f"{sd:>9.2f}" for sd, _ in columns))
    for i, name in enumerate(result.methods):
        print(f"{name:<16}" + "".join(f"{errors[i]:>9.2f}" for _, errors in columns))
    sds, errors = result.curve()
    curves = {name: (sds, error) for name, error in zip(result.methods, errors, strict=True)}
    path = asked.out / "comparison.png"
    shares = {share: sd for share, (sd, _) in zip(SHARES, columns, strict=True)}
    plot_errors(path, curves, shares, "BrownHorseinShadow, second half")
    print(path)


if __name__ == "__main__":
    main()
