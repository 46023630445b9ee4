"""Fine-tuning as a job of the worker process; see `app.web.jobs`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from app.web.guards import check_inside, label_source
from app.web.loaded import load_model
from app.web.packing import pack
from superset_vocab.files import write_json

if TYPE_CHECKING:
    from app.fine_tuning_project import HeldOut
    from superset_vocab import LabelSet

LOG = Path("training") / "log.csv"  # of a run, below the model's folder
_IN_THE_ZIP = ("*", "keypoint_map/*.toml", "training/log.csv", "training/recipe.toml")


def fine_tune(
    project: str,
    out: str,
    *,
    model: str,
    variant: str,
    keypoint_map: str,
    frames: int,
    steps: int,
    seed: int,
    max_images: int,
    max_test_images: int,
) -> dict[str, Any]:
    """Fine-tune a model with memory replay, and test it where labelled frames are left over.

    Args:
        project: Folder of the unpacked project.
        out: New folder for the model.
        model: Name of the model.
        variant: "" for its own choice.
        keypoint_map: File of a keypoint map; "" takes the dataset's, or the proposed one.
        frames: Labelled images to learn from, drawn at random, all where there are fewer; 0 takes all,
            up to `max_images`.
        steps: Optimiser steps.
        seed: Of frames, samples and order.
        max_images: See `frames`.
        max_test_images: Most of the others to test on.

    Returns:
        "folder" (the model's), "zip" (to take home), "name", "pairs" (keypoint -> counterpart or None),
        "n_images", "n_test", and "table": rows of [figure, zero-shot, fine-tuned]; empty without a test.
    """
    from adaptation.fine_tuning import choose_frames
    from adaptation.fine_tuning import fine_tune as tune
    from app.fine_tuning_project import Project, compare_on_rest, project_labels

    folder, loaded = Path(out), load_model(model, variant)
    how = Project(
        label_source(Path(project)),
        keypoint_map or None,
        "" if keypoint_map else Path(project).name,
        accept_map=True,
    )
    labels = project_labels(how, loaded, folder)
    check_inside(labels, Path(project))
    n_frames = min(frames or max_images, _n_annotated(labels))
    used, rest = choose_frames(labels, n_frames, seed=seed)
    overrides = {
        "run.seed": seed,
        "run.log_every": max(1, steps // 60),
        "schedule.iterations": steps,
        "schedule.warmup": min(20, steps // 5),
    }
    changes = [f"{name}={value}" for name, value in overrides.items()]
    tuned = tune(loaded, used, folder, overrides=changes, progress=True)
    left = _n_annotated(rest)
    if left > max_test_images:
        rest, _ = choose_frames(rest, max_test_images, seed=seed)
    found = compare_on_rest(loaded, tuned, used, rest, method="replay", boxes="labels")
    if found is not None:
        write_json(folder / "evaluation.json", found.to_dict())
    target = folder.with_name(f"{folder.name}-packed") / "fine_tuned_model.zip"
    packed = pack(folder, target, folder.parent, top=target.stem, patterns=_IN_THE_ZIP)
    return {
        "folder": str(folder),
        "zip": str(packed),
        "name": tuned.spec.full_name,
        "pairs": {name: target for s in labels.sources for name, target in s.keypoint_map.items()},
        "n_images": len(used),
        "n_test": 0 if found is None else found.reports["zero-shot"].n_images,
        "table": [] if found is None else _rows(found),
    }


def _n_annotated(labels: LabelSet) -> int:
    return sum(bool(np.isfinite(record.keypoints).any()) for record in labels.records)


def _rows(found: HeldOut) -> list[list[str]]:
    """The figures that say whether it became better."""
    before, after = found.reports["zero-shot"], found.reports["replay"]
    pairs = [
        ("mean distance (px)", before.errors.mean_distance, after.errors.mean_distance),
        ("median distance (px)", before.errors.median, after.errors.median),
        ("keypoints missed", before.errors.n_missing, after.errors.n_missing),
        ("mAP (OKS)", before.precision.ap, after.precision.ap),
    ]
    if found.lost is not None:
        a, b = found.lost.dropping_before, found.lost.dropping_after
        pairs.append((f"of {a.n_keypoints} keypoints that you did not label, dropped",
                      a.mean_dropped, b.mean_dropped))  # fmt: skip
    return [[name, _figure(a), _figure(b)] for name, a, b in pairs]


def _figure(value: float) -> str:
    if not np.isfinite(value):
        return "-"
    return str(value) if isinstance(value, int | np.integer) else f"{value:.3g}"
