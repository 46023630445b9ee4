"""`zoo compare-smoothers`."""

# ruff: noqa: T201 - printing is what a command line is for
from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.smoothing_options import add_ensemble_options, details_of, read_inputs, smoothing_options
from superset_vocab.errors import InputError

if TYPE_CHECKING:
    from adaptation.eks.comparison import Comparison, Labels
    from adaptation.eks.recording import Recording
    from adaptation.eks.smoothed_recording import SmoothedRecording

_FILES = ("comparison.csv", "comparison.json", "comparison.png")


def add_to(commands: argparse._SubParsersAction) -> None:
    """Add the subcommand to the parser."""
    compare = commands.add_parser(
        "compare-smoothers",
        help="post-processors against labels: error where the networks disagree",
        description="Median filter, ARIMA, ensemble mean, ensemble median and ensemble Kalman smoothers on "
        "the same labelled frames. Prints mean pixel errors of all labelled keypoints and of the most "
        "difficult, and writes them as comparison.csv, .json and .png.",
    )
    add_ensemble_options(compare)
    compare.add_argument(
        "--labels",
        nargs="+",
        type=Path,
        required=True,
        help="DeepLabCut's or Lightning Pose's label table of the video; of several cameras one for each",
    )
    compare.add_argument(
        "--video", help="folder of this video's images in the labels; default: the video's name"
    )
    compare.add_argument(
        "--first", type=int, default=0, metavar="N", help="what the labels call the first frame; default: 0"
    )
    compare.add_argument(
        "--methods", nargs="+", help="besides the Kalman smoothers; default: all but arima (slow; by name)"
    )
    compare.add_argument("--out", type=Path, required=True, help="folder for the results")
    compare.add_argument("--overwrite", action="store_true", help="replace results that exist")
    compare.add_argument("--quiet", action="store_true", help="no progress bar")
    compare.set_defaults(run=run_compare)


def run_compare(arguments: argparse.Namespace) -> int:
    """Compare post-processors on one labelled recording.

    Raises:
        InputError: If the inputs do not fit together, or the labels are not of them.
    """
    from adaptation.eks.comparison import SINGLE, TOGETHER, compare
    from adaptation.eks.writers import refuse_existing
    from adaptation.smoothing import check_request
    from superset_vocab.files import make_folder

    paths = [arguments.out / name for name in _FILES]
    refuse_existing(paths, arguments.overwrite)
    cameras = list(check_request(arguments.model, arguments.cameras, details_of(arguments)))
    recording = read_inputs(arguments, cameras)
    individual, *others = recording.individuals
    if others:
        raise InputError(f"compare-smoothers takes one individual, not {', '.join(recording.individuals)}")
    if arguments.keypoints:
        views = [f"_{camera}" for camera in cameras] if arguments.model == "mirrored" else [""]
        recording = recording.select([part + view for part in arguments.keypoints for view in views])
    labels = _labels_of(arguments, recording)
    ensembles = recording.ensembles[individual]
    result = compare(
        ensembles,
        labels,
        recording.frame_index,
        _smoothed_variants(arguments, recording, cameras),
        arguments.methods or [name for name in (*SINGLE, *TOGETHER) if name != "arima"],
    )
    make_folder(arguments.out)
    _write_rows(paths[0], result)
    _write_summary(paths[1], result, recording, labels)
    _plot(paths[2], result, ensembles[0].n_members)
    _tell(result)
    for path in paths:
        print(f"  {path}")
    return 0


def _write_summary(path: Path, result: Comparison, recording: Recording, labels: list[Labels]) -> None:
    """Mean errors at each share of the keypoints, and what they were computed from."""
    from adaptation.eks.comparison import SHARES
    from superset_vocab.files import write_json
    from superset_vocab.provenance import package_version

    errors = {}
    for share in SHARES:
        sd, means = result.at_share(share)
        errors[f"{share:g} %"] = {
            "ensemble_sd_from": sd,
            **dict(zip(result.methods, means.tolist(), strict=True)),
        }
    members = {view: list(some) for view, some in zip(recording.views, recording.members, strict=True)}
    write_json(
        path,
        {
            "package_version": package_version(),
            "members": members,
            "labels": [one.source for one in labels],
            "n_labelled_keypoints": len(result.sd),
            "mean_pixel_error": errors,
        },
    )


def _plot(path: Path, result: Comparison, n_members: int) -> None:
    """The figure of the paper's Fig. 5c."""
    from adaptation.eks.comparison import SHARES
    from adaptation.eks.plots import plot_errors

    sds, errors = result.curve()
    curves = {name: (sds, error) for name, error in zip(result.methods, errors, strict=True)}
    shares = {share: result.at_share(share)[0] for share in SHARES}
    plot_errors(path, curves, shares, f"{len(result.sd)} labelled keypoints, {n_members} networks")


def _labels_of(arguments: argparse.Namespace, recording: Recording) -> list[Labels]:
    """Labels of each view."""
    from adaptation.eks.comparison import read_labels
    from adaptation.eks.recording import by_camera

    views = [view for view in recording.views if view]
    files = by_camera(arguments.labels, views, "labels")
    several = [view or "the video" for view, some in files.items() if len(some) > 1]
    if several:
        raise InputError(f"--labels: more than one table for {', '.join(several)}")
    names = [str(path) for path in arguments.inputs]
    return [read_labels(files[view][0], arguments.video, names, arguments.first) for view in recording.views]


def _smoothed_variants(
    arguments: argparse.Namespace, recording: Recording, cameras: list[str]
) -> dict[str, Any]:
    """Tracks of the Kalman smoothers, keypoints and frames those of the ensembles."""
    from adaptation.smoothing import smooth

    options, details = smoothing_options(arguments), details_of(arguments)
    details.pop("timestamps", None)
    plain = replace(options, inflate=False, blocks=(), s=None)
    variants = {"eks singlecam": smooth(recording, "singlecam", plain)}
    if arguments.model == "singlecam":
        variants = {"eks singlecam": smooth(recording, "singlecam", options)}
    else:
        variants[f"eks {arguments.model}"] = smooth(
            recording, arguments.model, options, cameras=cameras, **details
        )
    return {name: list(_at_own_frames(one, recording)) for name, one in variants.items()}


def _at_own_frames(smoothed: SmoothedRecording, recording: Recording) -> Iterator[Any]:
    """(T, K, 2) of each view, keypoints and frames those of its ensemble.

    Cameras that were interpolated to the frames of the slowest one are interpolated back: labels count their
    own frames.
    """
    from adaptation.eks.asynchronous import interpolated

    individual = recording.individuals[0]
    for v, ensemble in enumerate(recording.ensembles[individual]):
        track = list(smoothed.tables.values())[v][individual]
        keypoints = track.keypoints[:, [track.names.index(name) for name in ensemble.names]]
        if recording.times:
            keypoints = interpolated(smoothed.recording.times[v], keypoints, recording.times[v])
        yield keypoints


def _write_rows(path: Path, result: Comparison) -> None:
    """One row for each labelled keypoint."""
    import csv

    from superset_vocab.files import atomic_path

    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["view", "frame", "keypoint", "ensemble_sd", *result.methods])
        rows = zip(result.views, result.frames, result.names, result.sd, *result.errors, strict=True)
        for view, frame, name, *values in rows:
            writer.writerow([view, frame, name, *(f"{value:.6g}" for value in values)])


def _tell(result: Comparison) -> None:
    """Print mean errors at each share of the keypoints."""
    from adaptation.eks.comparison import SHARES

    columns = [result.at_share(share) for share in SHARES]
    print(f"mean pixel error of {len(result.sd)} labelled keypoints, most difficult first")
    print(f"{'':<16}" + "".join(f"{f'{share:g} %':>9}" for share in SHARES))
    print(f"{'sd from (px)':<16}" + "".join(f"{sd:>9.2f}" for sd, _ in columns))
    for i, name in enumerate(result.methods):
        print(f"{name:<16}" + "".join(f"{errors[i]:>9.2f}" for _, errors in columns))
