"""What the worker process does: functions of plain data, each into a folder that it is given.

They are the package's own functions with the demo's choices of files. Every result is a dict of plain
values and of paths below `out`.
"""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from app.web.contribution_jobs import make_bundle as make_bundle
from app.web.contribution_jobs import propose as propose
from app.web.contribution_jobs import propose_map as propose_map
from app.web.finetune_jobs import fine_tune as fine_tune
from app.web.guards import shown_name
from app.web.loaded import load_model
from superset_vocab.errors import InputError
from zoo.nwb import is_installed

if TYPE_CHECKING:
    from zoo import Model, Predictions


_LONGEST_STEM = 120  # bytes


def predict(
    inputs: list[str],
    out: str,
    *,
    model: str,
    variant: str,
    cutoff: float,
    max_individuals: int | None,
    video: bool,
    smooth: bool,
    max_frames: int,
) -> dict[str, Any]:
    """Predict on images or a video; tables, pictures, a plot of the confidence.

    Args:
        inputs: Files.
        out: Folder for everything.
        model: Name of the model.
        variant: "" for its own choice.
        cutoff: Confidence below which nothing is drawn.
        max_individuals: As in `Model.predict`.
        video: Whether the input is one video.
        smooth: Smooth the tracks of a video (`adaptation.smooth`); its tables come too.
        max_frames: Frames of a video that is longer than its container said are an error.

    Returns:
        "gallery" (pictures), "video" (or None), "plot", "files" (tables and provenance), "summary",
        and for images "labels": what the editor shows.
    """
    from app.web.charts import confidence_plot
    from zoo.drawing import Style

    folder, paths = Path(out), _named_apart([Path(path) for path in inputs], Path(out) / "inputs")
    loaded = load_model(model, variant)
    found = loaded.predict(paths[0] if video else paths, max_individuals=max_individuals, progress=True)
    if len(found) > max_frames:
        raise InputError(
            f"{shown_name(paths[0])} has {len(found)} frames; at most {max_frames} are taken here"
        )
    if not video:  # in the tables; a list of images is known by its whole paths
        found = replace(found, images=tuple(path.name for path in paths))
    stem = f"{_short(paths[0].stem) if len(paths) == 1 else 'images'}.{loaded.label}"
    files = found.save(folder, stem, _formats(video))
    if smooth:
        found, more = _smoothed(found, folder, stem)
        files += more
    style = Style(cutoff=cutoff)
    result: dict[str, Any] = {
        "summary": _summary(found, loaded),
        "plot": str(confidence_plot(found, folder / f"{stem}.confidence.png", cutoff)),
        "files": [str(file) for file in files],
        "gallery": [],
        "video": None,
        "labels": [],
    }
    if video:
        result["video"] = str(_labelled_video(found, paths[0], folder / f"{stem}.labelled.webm", style))
    else:
        result["gallery"] = [str(path) for path in _labelled_images(found, paths, folder, style)]
        result["labels"] = _editor_labels(found, paths)
    return result


def _named_apart(paths: list[Path], folder: Path) -> list[Path]:
    """The same images under names of their own."""
    names = [path.name for path in paths]
    if len(set(names)) == len(names):
        return paths
    folder.mkdir(parents=True)
    copies = [folder / f"{n}_{path.name}" for n, path in enumerate(paths, 1)]
    for path, copy in zip(paths, copies, strict=True):
        shutil.copyfile(path, copy)
    return copies


def _short(stem: str) -> str:
    """The begin of a name to which more is added: a file system takes 255 bytes."""
    return stem.encode()[:_LONGEST_STEM].decode(errors="ignore")


def _formats(video: bool) -> list[str]:
    """The tables that can be had here."""
    return ["h5", "csv", "coco", *(["nwb"] if video and is_installed() else [])]


def _smoothed(found: Predictions, folder: Path, stem: str) -> tuple[Predictions, list[Path]]:
    """The predictions with smoothed keypoints, and the smoother's own tables."""
    from adaptation import smooth

    result = smooth([found])
    (table,) = result.tables.values()
    keypoints = found.keypoints.copy()
    for n, individual in enumerate(found.individuals):
        if individual in table:
            keypoints[:, n] = table[individual].keypoints
    smoothed = replace(found, keypoints=keypoints).with_operation("smooth", model=result.model)
    return smoothed, result.save(folder, f"{stem}.{result.scorer}")


def _labelled_video(found: Predictions, source: Path, target: Path, style: Any) -> Path:
    from zoo.drawing import write_labelled_video

    write_labelled_video(found, source, target, style, progress=True)
    return target


def _labelled_images(found: Predictions, paths: list[Path], folder: Path, style: Any) -> list[Path]:
    """Each image with its poses drawn on it."""
    from zoo.drawing import write_labelled_images

    target = folder / "labelled"
    write_labelled_images(found, paths, target, style)
    return sorted(target.iterdir())


def _editor_labels(found: Predictions, paths: list[Path]) -> list[dict[str, Any]]:
    """For each image its individuals' keypoints, as `app.web.editor` wants them."""
    from app.web.editor import picture_labels

    return [
        picture_labels(path, found.vocabulary, found.keypoints[i], found.confidence[i])
        for i, path in enumerate(paths)
    ]


def _summary(found: Predictions, model: Model) -> str:
    """A sentence or two about what was found, and with what."""
    present = np.isfinite(found.bbox_confidence)
    frames = "frames" if found.fps else "images"
    n_with, most = int(present.any(1).sum()), int(present.sum(1).max(initial=0))
    text = f"An animal in {n_with} of {len(found)} {frames}; at most {most} at a time. Model {model.label}."
    if model.spec.embedded:
        text += " This is the small embedded network: a start, not the published one."
    return text


def suggest(path: str, *, model: str, variant: str, cutoff: float) -> dict[str, Any]:
    """Predict one picture as a starting point for somebody who labels it.

    Args:
        path: The picture.
        model: Name of the model.
        variant: "" for its own choice.
        cutoff: Confidence from which a keypoint is suggested.

    Returns:
        "picture": as `app.web.editor.picture_labels`; "model": which one it was.
    """
    from app.web.editor import picture_labels

    loaded = load_model(model, variant)
    found = loaded.predict([Path(path)])
    keypoints = np.where((found.confidence[0] >= cutoff)[..., None], found.keypoints[0], np.nan)
    picture = picture_labels(Path(path), found.vocabulary, keypoints, found.confidence[0])
    return {"picture": picture, "model": loaded.label}
