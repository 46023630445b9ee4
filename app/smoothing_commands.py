"""`zoo smooth`."""

# ruff: noqa: T201 - printing is what a command line is for
from __future__ import annotations

import argparse
import re
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

from app.smoothing_options import (
    add_ensemble_options,
    details_of,
    frame_range,
    option_name,
    read_inputs,
    smoothing_options,
)
from superset_vocab.errors import all_problems

if TYPE_CHECKING:
    from adaptation.eks.recording import Recording
    from adaptation.eks.smoothed_recording import SmoothedRecording

_VIDEO_ONLY = ("resume", "max_individuals", "device", "detector", "batch_size")


def add_to(commands: argparse._SubParsersAction) -> None:
    """Add the subcommand to the parser."""
    smooth = commands.add_parser(
        "smooth",
        help="one track with its uncertainty from the predictions of several networks",
        description="INPUT are the tables that several networks made of one "
        "recording (DeepLabCut, Lightning Pose or SLEAP: csv, h5, slp), one file for each network and "
        "camera, or, with --members, one video. Writes <name>[.<camera>].eks_<model>.csv, .h5 and their "
        "provenance.",
    )
    add_ensemble_options(smooth)
    video = smooth.add_argument_group("an ensemble of zoo models on a video")
    video.add_argument(
        "--members",
        nargs="+",
        default=[],
        metavar="MODEL[:VARIANT][:WEIGHTS]",
        help="predict INPUT, a video, with these (names, models' folders, hf://...); their tables are "
        "kept in --out",
    )
    video.add_argument("--resume", action="store_true", help="take members' tables that are there already")
    video.add_argument("--max-individuals", type=int, help="number of animals; default: as many as are seen")
    video.add_argument("--detector", help="of every member; see `zoo predict`")
    video.add_argument("--device", help="auto, cpu, cuda or cuda:N; default: auto")
    video.add_argument("--batch-size", type=int, help="frames at a time; default: 16")
    out = smooth.add_argument_group("results")
    out.add_argument("--out", type=Path, required=True, help="folder for the results")
    out.add_argument("--name", help="start of their names; default: what the inputs' names have in common")
    out.add_argument("--format", default="csv,h5", help="of csv, h5, netcdf (movement); default: %(default)s")
    out.add_argument("--fps", type=_fraction, help="frames per second, for the times in netcdf and figures")
    out.add_argument(
        "--plot", nargs="*", metavar="KEYPOINT", help="draw these keypoints, or all, and the likelihood"
    )
    out.add_argument(
        "--plot-frames", type=frame_range, metavar="A:B", help="frames to draw; default: restless ones"
    )
    out.add_argument(
        "--diagnose",
        action="store_true",
        help="tables of each keypoint's distance from usual poses (Pose PCA), and of how far cameras that "
        "were smoothed together disagree (CCA)",
    )
    out.add_argument("--overwrite", action="store_true", help="replace results that exist")
    out.add_argument("--quiet", action="store_true", help="no progress bar")
    smooth.set_defaults(run=run_smooth)


def _fraction(text: str) -> Fraction:
    """A number, or a fraction such as 30000/1001."""
    try:
        return Fraction(text)
    except (ValueError, ZeroDivisionError) as error:
        raise argparse.ArgumentTypeError(f"{text!r} is no number such as 25 or 30000/1001") from error


def run_smooth(arguments: argparse.Namespace) -> int:
    """Smooth one recording.

    Raises:
        InputError: If an option is wrong or the inputs do not fit together.
    """
    from adaptation.eks.smoothed_recording import output_paths
    from adaptation.eks.writers import check_formats, refuse_existing
    from adaptation.smoothing import check_request, smooth

    formats = [name.strip() for name in arguments.format.split(",") if name.strip()]
    check_formats(formats)
    options, details = smoothing_options(arguments), details_of(arguments)
    _check_arguments(arguments)
    cameras = list(check_request(arguments.model, arguments.cameras, details))
    views = cameras if cameras and arguments.model != "mirrored" else [""]
    name = arguments.name or common_name(arguments.inputs, cameras)
    refuse_existing(output_paths(arguments.model, views, arguments.out, name, formats), arguments.overwrite)
    recording = _predicted(arguments) if arguments.members else read_inputs(arguments, cameras)
    if arguments.fps is not None:
        recording = replace(recording, fps=arguments.fps)
    details.pop("timestamps", None)  # read by now
    smoothed = smooth(
        recording, arguments.model, options, cameras=cameras, keypoints=arguments.keypoints, **details
    )
    written = []
    if arguments.plot is not None:
        written = smoothed.plot(
            arguments.out,
            name,
            arguments.plot,
            frames=arguments.plot_frames,
            overwrite=arguments.overwrite,
        )
    if arguments.diagnose:
        written += _diagnosed(smoothed, cameras, name, arguments)
    written += smoothed.save(arguments.out, name, formats, overwrite=arguments.overwrite)
    _tell(smoothed)
    for path in written:
        print(f"  {path}")
    return 0


def _diagnosed(
    smoothed: SmoothedRecording, cameras: list[str], name: str, arguments: argparse.Namespace
) -> list[Path]:
    """Write the tables of `--diagnose`; print the frames that are most worth a look."""
    from adaptation.eks.diagnosis import diagnose, save_diagnosis, worst_rows

    found = diagnose(smoothed, cameras)
    written = save_diagnosis(smoothed, found, arguments.out, name, overwrite=arguments.overwrite)
    index = dict(zip(smoothed.recording.views, smoothed.recording.frame_index, strict=True))
    for one in found:
        for view, distance in one.distance.items():
            frames = ", ".join(str(index[view][row]) for row in worst_rows(distance))
            print(f"poses least like the others{f' in {view}' if view else ''}: about frames {frames}")
        for (a, b), correlations in one.canonical.items():
            for each in correlations:
                print(f"canonical correlation of {a} and {b}, {each.keypoint}: networks {each.before:.3f}")
    return written


def _check_arguments(arguments: argparse.Namespace) -> None:
    """Refuse options that would have no effect."""
    problems = []
    if arguments.members:
        if len(arguments.inputs) != 1:
            problems.append(f"--members take one video, not {len(arguments.inputs)} inputs")
        if arguments.model not in ("singlecam", "mirrored", "pupil") or (
            arguments.cameras and arguments.model != "mirrored"
        ):
            problems.append(
                "--members are of one camera; predict each camera with `zoo predict`, then smooth"
            )
        if arguments.rename:
            problems.append("--rename has no effect with --members")
    else:
        given = [name for name in _VIDEO_ONLY if getattr(arguments, name)]
        problems += [f"{option_name(name)} has an effect with --members only" for name in given]
    if arguments.plot is None and arguments.plot_frames is not None:
        problems.append("--plot-frames has an effect with --plot only")
    if arguments.fps is not None and arguments.fps <= 0:
        problems.append(f"--fps is {arguments.fps}, want a positive number")
    if problems:
        raise all_problems("smooth", problems)


def _predicted(arguments: argparse.Namespace) -> Recording:
    """The recording that an ensemble of zoo models makes of a video."""
    from adaptation.eks.members import Member, check_members, member_paths, predict_members
    from adaptation.eks.recording import assemble
    from adaptation.eks.writers import refuse_existing

    video = arguments.inputs[0]
    members = [Member.parse(text) for text in arguments.members]
    check_members(members)
    if not arguments.resume:
        refuse_existing(member_paths(arguments.out, video, members), arguments.overwrite)
    poses = predict_members(
        video,
        members,
        arguments.out,
        load={"device": arguments.device or "auto", "detector": arguments.detector},
        predict={
            "max_individuals": arguments.max_individuals,
            "batch_size": arguments.batch_size or 16,
            "progress": not arguments.quiet,
        },
        resume=arguments.resume,
    )
    fps = poses[0].about.get("fps")
    return assemble({"": poses}, match_individuals=True, fps=Fraction(fps) if fps else None)


def common_name(paths: list[Path], cameras: list[str]) -> str:
    """What the names of an ensemble's files have in common, without cameras and the word before a number."""
    stems = [path.stem for path in paths]
    for camera in cameras:
        stems = [re.sub(rf"[._\-]?{re.escape(camera)}(?![A-Za-z0-9])", "", stem) for stem in stems]
    same = next((i for i, some in enumerate(zip(*stems, strict=False)) if len(set(some)) > 1), None)
    name = min(stems, key=len)[:same]
    if len(paths) > 1:
        name = re.sub(r"[._\-]?(rng|seed|net|network|member|model|shuffle)[._=\-]*\d*$", "", name)
    return name.strip("._=- ") or "smoothed"


def _tell(smoothed: SmoothedRecording) -> None:
    """Print, for each view and keypoint, the parameter and how far the members and the track are apart."""
    import numpy as np

    several = len(smoothed.individuals) > 1
    if all(len(members) == 1 for members in smoothed.recording.members):
        print("one network: its noise is taken for 1 px over its confidence, not measured; --variance-floor")
    for view, table in smoothed.tables.items():
        for individual, track in table.items():
            who = ", ".join(word for word in (view, individual if several else "") if word)
            print(f"{smoothed.scorer}{f' of {who}' if who else ''}: {len(track.keypoints)} frames")
            choices = {name: one for one in track.choices for name in one.keypoints}
            width = max(map(len, track.names))
            for k, name in enumerate(track.names):
                sds = [np.sqrt(np.nanmean(v[:, k])) if np.isfinite(v[:, k]).any() else np.nan
                       for v in (track.statistics.variance, track.variance)]  # fmt: skip
                missing = int(np.isnan(track.statistics.centre[:, k]).any(-1).sum())
                choice = choices.get(name)
                values = (
                    ", ".join(f"{key} {value:.4g}" for key, value in choice.values.items()) if choice else ""
                )
                bound = " (at the bound of the search)" if choice and choice.at_bound else ""
                gaps = f", {missing} frames bridged" if missing else ""
                print(f"  {name:<{width}}  {values}{bound}  sd {sds[0]:.3g} -> {sds[1]:.3g} px{gaps}")
