"""Smoothing from files, ensembles or predictions: one call for all of the ensemble Kalman smoothers.

    import adaptation

    smoothed = adaptation.smooth(["net0.csv", "net1.csv", "net2.csv"])
    smoothed.save("results", "mouse")
    smoothed.only.keypoints  # (frames, keypoints, 2) pixels

    models = [zoo.load("superanimal_topviewmouse", weights=file) for file in weights]
    smoothed = adaptation.smooth([model.predict("mouse.mp4") for model in models])

What each model is, and where it comes from, is in `adaptation.eks`; how files are read in
`adaptation.eks.files`, which belong together in `adaptation.eks.recording`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict, Unpack

import numpy as np

from adaptation.eks.ensemble import (
    CalibratedSmoothed,
    Ensemble,
    Smoothed,
    SmoothingChoice,
    SmoothingOptions,
)
from superset_vocab.errors import InputError, all_problems
from superset_vocab.provenance import package_version

if TYPE_CHECKING:
    from adaptation.eks.recording import Recording
    from adaptation.eks.smoothed_recording import SmoothedRecording
    from zoo.results import Predictions

    Member = str | PathLike[str] | Predictions

MODELS = {
    "singlecam": "each keypoint by itself, a random walk in x and in y; cameras each by themselves",
    "multicam": "synchronous cameras whose views are projections of three principal components",
    "calibrated": "cameras of an anipose calibration: a 3-D track, and what each camera sees of it",
    "mirrored": "like multicam, all views in one picture: keypoints are called <part>_<camera>",
    "pupil": "four points of a pupil: its diameter and centre",
    "asynchronous": "like multicam, each camera with its own frame times",
}
_SEVERAL = ("multicam", "calibrated", "asynchronous")


class Details(TypedDict, total=False):
    """What only some of the models take.

    Attributes:
        calibration: "calibrated": anipose's calibration.toml.
        timestamps: A file of frame times in seconds for each camera. "asynchronous" smooths each at its own;
            for "multicam" and "calibrated" members are interpolated to the frames of the slowest camera.
        a_diameter: "pupil": AR(1) coefficient of the diameter; None takes the most likely.
        a_centre: "pupil": that of the centre.
    """

    calibration: str | PathLike[str]
    timestamps: Sequence[str | PathLike[str]]
    a_diameter: float | None
    a_centre: float | None


_DETAILS = {
    "calibration": ("calibrated",),
    "timestamps": ("asynchronous", "multicam", "calibrated"),
    "a_diameter": ("pupil",),
    "a_centre": ("pupil",),
}


def smooth(
    inputs: Recording | Ensemble | Sequence[Member | Ensemble] | Mapping[str, Sequence[Member]],
    model: str = "singlecam",
    options: SmoothingOptions | None = None,
    *,
    cameras: Sequence[str] = (),
    keypoints: Sequence[str] = (),
    match_individuals: bool = False,
    progress: bool = False,
    **details: Unpack[Details],
) -> SmoothedRecording:
    """Smooth the predictions of an ensemble of networks on one recording, each individual by itself.

    Args:
        inputs: Files, one for each network (and camera); or `zoo.Predictions` of one video, one for each
            network; or a mapping of camera to either; or `Ensemble`s, one for each camera; or a `Recording`.
            One network alone is enough: its variance is taken for 1 px^2 over its confidence
            (`adaptation.eks.statistics`).
        model: One of MODELS.
        options: What the smoothers have in common, the smoothing parameter first of all.
        cameras: Names of the cameras, which the names of the files hold; for "mirrored", which the names of
            the keypoints end in. For "calibrated" none takes them from the calibration.
        keypoints: Smooth only these; none for all. For "mirrored" the parts, without the view.
        match_individuals: The members' individuals have arbitrary names, as trackers give them; see
            `adaptation.eks.recording.read_recording`. Always done for `zoo.Predictions`.
        progress: Show a progress bar on stderr while files are read.
        **details: What only some of the models take; see `Details`.

    Raises:
        InputError: If a file cannot be read, members do not fit together, or an option does not fit.
    """
    from adaptation.eks.smoothed_recording import SmoothedRecording

    cameras = check_request(model, cameras, details)
    in_files = cameras if model != "mirrored" else ()
    times = details.get("timestamps", ())
    recording = _recording(inputs, in_files, times, match_individuals, progress)
    if keypoints and model != "mirrored":
        recording = recording.select(keypoints)
    _check_recording(model, recording)
    if recording.times and model in ("multicam", "calibrated"):
        recording = recording.synchronised()
    request = _Request(options or SmoothingOptions(), cameras, keypoints, recording.times, details)
    tables: dict[str, dict[str, Smoothed]] = {}
    points: dict[str, CalibratedSmoothed] = {}
    for individual, ensembles in recording.ensembles.items():
        result = _SMOOTHERS[model](ensembles, request)
        if isinstance(result, CalibratedSmoothed):
            points[individual] = result
            result = result.views
        for view, track in zip(recording.views, result, strict=True):
            tables.setdefault(view, {})[individual] = track
    return SmoothedRecording(model, tables, recording, points, _provenance(model, recording, tables, points))


@dataclass(frozen=True)
class _Request:
    """What a smoother was asked for."""

    options: SmoothingOptions
    cameras: Sequence[str]
    keypoints: Sequence[str]
    times: Sequence[np.ndarray]
    details: Details


def check_request(model: str, cameras: Sequence[str], details: Details) -> Sequence[str]:
    """Refuse what does not fit the model, before anything is read.

    Returns:
        The cameras: as given, or those of the calibration.

    Raises:
        InputError: Lists all problems.
    """
    if model not in MODELS:
        raise InputError(f"smooth: there is no model {model!r}, only {', '.join(MODELS)}")
    strange = set(details) - set(_DETAILS)
    if strange:
        raise TypeError(f"smooth() got unexpected arguments: {', '.join(sorted(strange))}")
    given = {name for name, value in details.items() if value is not None and value != ()}
    problems = [
        f"{name} has no effect on {model}, only on {', '.join(_DETAILS[name])}"
        for name in sorted(given)
        if model not in _DETAILS[name]
    ]
    if model == "calibrated" and "calibration" not in given:
        problems.append("calibrated needs a calibration.toml, as anipose writes (calibration)")
    if model in ("multicam", "asynchronous", "calibrated") and len(cameras) == 1:
        problems.append(f"{model} needs two cameras or more; got {', '.join(cameras)}")
    if model == "mirrored" and len(cameras) < 2:
        problems.append("mirrored needs the names of two views or more, which its keypoints end in (cameras)")
    if problems:
        raise all_problems("smooth", problems)
    if model == "calibrated" and not cameras:
        from adaptation.eks.calibration import read_calibration

        return [camera.name for camera in read_calibration(Path(str(details.get("calibration"))))]
    return cameras


def _check_recording(model: str, recording: Recording) -> None:
    """Refuse a recording that does not fit the model."""
    problems = []
    if model in _SEVERAL and len(recording.views) < 2:
        problems.append(f"{model} needs two cameras or more; name them (cameras)")
    if model == "mirrored" and len(recording.views) > 1:
        problems.append("mirrored takes views that are in one table, not files of several cameras")
    if model == "pupil" and len(recording.individuals) > 1:
        problems.append(f"pupil takes one pupil, not individuals {', '.join(recording.individuals)}")
    if model == "asynchronous" and not recording.times:
        problems.append("asynchronous needs the times of each camera's frames (timestamps)")
    if problems:
        raise all_problems("smooth", problems)


def _recording(
    inputs: Any,
    cameras: Sequence[str],
    timestamps: Sequence[str | PathLike[str]],
    match_individuals: bool,
    progress: bool,
) -> Recording:
    """The ensembles that the inputs are, or hold."""
    from adaptation.eks.files import from_predictions, read_poses
    from adaptation.eks.recording import Recording, assemble, read_recording, read_timestamps
    from zoo.results import Predictions

    if isinstance(inputs, Recording):
        return inputs
    if isinstance(inputs, Ensemble | Predictions | str | PathLike):
        inputs = [inputs]
    if not isinstance(inputs, Mapping):
        inputs = list(inputs)
        if inputs and all(isinstance(one, Ensemble) for one in inputs):
            return _of_ensembles(inputs, timestamps)
        if all(isinstance(one, str | PathLike) for one in inputs):
            return read_recording(
                [Path(one) for one in inputs],
                cameras,
                timestamps=[Path(one) for one in timestamps],
                match_individuals=match_individuals,
                progress=progress,
            )
        if cameras:
            raise InputError(
                f"smooth: which predictions are of {', '.join(cameras)}? give a mapping of camera to them"
            )
        inputs = {"": inputs}
    members = {
        view: [
            from_predictions(one, f"predictions {i}") if isinstance(one, Predictions) else read_poses(one)
            for i, one in enumerate(some)
        ]
        for view, some in inputs.items()
    }
    ours = [one for some in inputs.values() for one in some if isinstance(one, Predictions)]
    times = read_timestamps(timestamps, list(inputs)) if timestamps else None
    return assemble(
        members,
        times=times,
        match_individuals=match_individuals or bool(ours),
        fps=ours[0].fps if ours and times is None else None,
    )


def _of_ensembles(ensembles: Sequence[Ensemble], timestamps: Sequence[str | PathLike[str]]) -> Recording:
    """A recording of ensembles that the caller made, of one nameless individual."""
    from adaptation.eks.files import ONLY
    from adaptation.eks.recording import Recording, read_timestamps

    views = [one.view for one in ensembles]
    if len(set(views)) < len(views):
        raise InputError(f"smooth: ensembles of several cameras need different views; got {views}")
    by_view = read_timestamps(timestamps, views) if timestamps else {}
    times = tuple(by_view[view] for view in views) if by_view else ()
    problems = [
        f"camera {one.view} has {len(time)} timestamps for {one.n_frames} frames"
        for one, time in zip(ensembles, times, strict=False)
        if len(time) != one.n_frames
    ]
    if problems:
        raise all_problems("smooth", problems)
    return Recording(
        ensembles={ONLY: tuple(ensembles)},
        views=tuple(views),
        frame_index=tuple(np.arange(one.n_frames) for one in ensembles),
        times=times,
        members=tuple(tuple({"source": f"member {i}"} for i in range(one.n_members)) for one in ensembles),
    )


# --- one function for each model: ensembles of one individual to one track for each view --------------------

Smoother = Callable[[Sequence[Ensemble], _Request], "Sequence[Smoothed] | CalibratedSmoothed"]


def _singlecam(ensembles: Sequence[Ensemble], request: _Request) -> list[Smoothed]:
    from adaptation.eks.singlecam import smooth_singlecam

    return [smooth_singlecam(one, options=request.options) for one in ensembles]


def _pupil(ensembles: Sequence[Ensemble], request: _Request) -> list[Smoothed]:
    from adaptation.eks.pupil import smooth_pupil

    a_diameter, a_centre = request.details.get("a_diameter"), request.details.get("a_centre")
    return [
        smooth_pupil(one, a_diameter=a_diameter, a_centre=a_centre, options=request.options)
        for one in ensembles
    ]


def _multicam(ensembles: Sequence[Ensemble], request: _Request) -> Sequence[Smoothed]:
    from adaptation.eks.multicam import smooth_multicam

    return smooth_multicam(ensembles, options=request.options)


def _mirrored(ensembles: Sequence[Ensemble], request: _Request) -> list[Smoothed]:
    from adaptation.eks.multicam import joined, smooth_mirrored

    parts = request.keypoints or None
    tracks = []
    for one in ensembles:
        views = smooth_mirrored(one, request.cameras, parts=parts, options=request.options)
        # A part's parameter is that of its keypoints in all views.
        choices = [
            replace(choice, keypoints=tuple(f"{p}_{v.view}" for v in views for p in choice.keypoints))
            for choice in views[0].choices
        ]
        tracks.append(replace(joined(views), choices=tuple(choices)))
    return tracks


def _calibrated(ensembles: Sequence[Ensemble], request: _Request) -> CalibratedSmoothed:
    from adaptation.eks.calibrated import smooth_calibrated
    from adaptation.eks.calibration import read_calibration

    calibration = read_calibration(Path(str(request.details.get("calibration"))))
    return smooth_calibrated(ensembles, calibration, options=request.options)


def _asynchronous(ensembles: Sequence[Ensemble], request: _Request) -> Sequence[Smoothed]:
    from adaptation.eks.asynchronous import smooth_asynchronous

    return smooth_asynchronous(ensembles, request.times, options=request.options)


_SMOOTHERS: Mapping[str, Smoother] = {
    "singlecam": _singlecam,
    "multicam": _multicam,
    "calibrated": _calibrated,
    "mirrored": _mirrored,
    "pupil": _pupil,
    "asynchronous": _asynchronous,
}


def _provenance(
    model: str,
    recording: Recording,
    tables: Mapping[str, Mapping[str, Smoothed]],
    points: Mapping[str, CalibratedSmoothed],
) -> dict[str, Any]:
    """What was done, to what, with which parameters."""
    operations = list(recording.operations)
    operations += [
        {**one, "individual": individual, "view": view}
        for view, table in tables.items()
        for individual, track in table.items()
        for one in track.operations
    ]
    return {
        "model": "ensemble_kalman_smoother",
        "variant": model,
        "package_version": package_version(),
        "members": dict(zip(recording.views, map(list, recording.members), strict=True)),
        "n_frames": {view: len(i) for view, i in zip(recording.views, recording.frame_index, strict=True)},
        "individuals": list(recording.individuals),
        "three_dimensional": bool(points),
        **({"fps": str(recording.fps)} if recording.fps else {}),
        "smoothing_parameters": _parameters(tables),
        "operations": operations,
    }


def _parameters(tables: Mapping[str, Mapping[str, Smoothed]]) -> list[dict[str, Any]]:
    """Every smoothing parameter once, with the views that share it."""
    found: dict[tuple[Any, ...], dict[str, Any]] = {}
    for view, table in tables.items():
        for individual, track in table.items():
            for choice in track.choices:
                key = (individual, choice.keypoints, *choice.values.items(), choice.log_likelihood)
                entry = found.setdefault(key, {"individual": individual, "views": [], **_choice(choice)})
                entry["views"].append(view)
    return list(found.values())


def _choice(choice: SmoothingChoice) -> dict[str, Any]:
    """A smoothing parameter as JSON can hold it."""
    return {
        "keypoints": list(choice.keypoints),
        "values": dict(choice.values),
        "log_likelihood": choice.log_likelihood if np.isfinite(choice.log_likelihood) else None,
        "chosen": choice.chosen,
        "at_bound": choice.at_bound,
        "curve": {
            "values": choice.curve.values.tolist(),
            "log_likelihoods": [
                one if np.isfinite(one) else None for one in choice.curve.log_likelihoods.tolist()
            ],
        },
    }
