"""Options on how to smooth, which `zoo smooth` and `zoo compare-smoothers` share, and what they say."""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from superset_vocab.errors import InputError, all_problems

if TYPE_CHECKING:
    from adaptation.eks.ensemble import SmoothingOptions
    from adaptation.eks.recording import Recording

_MODELS = ("singlecam", "multicam", "calibrated", "mirrored", "pupil", "asynchronous")
_WITHOUT_EFFECT = {
    "singlecam": ("inflate", "good_frames", "n_latent", "variance_of"),
    "calibrated": ("good_frames",),
}


def add_ensemble_options(parser: argparse.ArgumentParser) -> None:
    """Add what says which files belong together and how they are smoothed."""
    parser.add_argument(
        "inputs", nargs="+", type=Path, metavar="INPUT", help="tables of predictions, or a video"
    )
    parser.add_argument("--model", default="singlecam", choices=_MODELS, help="default: %(default)s")
    parser.add_argument(
        "--cameras",
        nargs="+",
        default=[],
        help="their names, in the files' names; mirrored: in the keypoints'",
    )
    parser.add_argument(
        "--keypoints", nargs="+", default=[], help="only these; mirrored: parts, without the view"
    )
    parser.add_argument("--calibration", type=Path, help="calibrated: anipose's calibration.toml")
    parser.add_argument(
        "--timestamps",
        nargs="+",
        type=Path,
        default=[],
        help="frame times of each camera in seconds; models other than asynchronous interpolate",
    )
    parser.add_argument(
        "--rename",
        nargs="+",
        default=[],
        metavar="CAMERA:A=B",
        help="what CAMERA calls keypoint A is B in the other cameras",
    )
    parser.add_argument(
        "--match-individuals",
        action="store_true",
        help="individuals have arbitrary names: match those of the members by distance",
    )
    _add_how_to_smooth(parser.add_argument_group("how to smooth"))


def _add_how_to_smooth(group: argparse._ArgumentGroup) -> None:
    """Add the options that `smoothing_options` reads, and the pupil's."""
    group.add_argument(
        "--s",
        nargs="+",
        default=[],
        metavar="[KEYPOINT=]S",
        help="smoothing parameter: larger follows the networks more closely; default: the most likely",
    )
    group.add_argument(
        "--s-frames",
        nargs="+",
        type=frame_range,
        default=[],
        metavar="A:B",
        help="find s on these frames only",
    )
    group.add_argument(
        "--blocks", nargs="+", default=[], metavar="A,B", help="keypoints that share one s, by commas"
    )
    group.add_argument(
        "--likelihood",
        choices=("exact", "constant_noise"),
        help="what the most likely s maximises; constant_noise: as the public package does; default: exact",
    )
    group.add_argument("--a-diameter", type=float, help="pupil: in place of s, below 1; default: most likely")
    group.add_argument("--a-centre", type=float, help="pupil: likewise for its centre")
    group.add_argument(
        "--centre", choices=("median", "mean"), help="what stands for the members; default: median"
    )
    group.add_argument(
        "--variance",
        choices=("confidence_weighted", "plain"),
        help="members' variance, over their mean confidence or not; default: confidence_weighted",
    )
    group.add_argument(
        "--variance-floor", type=float, help="least observation variance, px^2; default: 1e-12"
    )
    group.add_argument(
        "--divide-by-members", action="store_true", help="variance of their mean, as in the paper"
    )
    group.add_argument(
        "--inflate", action="store_true", help="several views: raise the variance of a view that disagrees"
    )
    group.add_argument(
        "--good-frames", type=float, metavar="PERCENT", help="several views: learn from these; default: 95"
    )
    group.add_argument("--n-latent", type=int, help="several views: dimensions they share; default: 3")
    group.add_argument(
        "--variance-of",
        choices=("track", "observation"),
        help="several views: what posterior_var is; default: track",
    )


def frame_range(text: str) -> tuple[int, int]:
    """A half-open range of frames."""
    match = re.fullmatch(r"(\d+):(\d+)", text)
    if match is None:
        raise argparse.ArgumentTypeError(f"{text!r} is no range of frames such as 0:500")
    return int(match[1]), int(match[2])


def option_name(name: str) -> str:
    """How an argument is written on the command line."""
    return f"--{name.replace('_', '-')}"


def smoothing_options(arguments: argparse.Namespace) -> SmoothingOptions:
    """The options that the command line names, over the defaults.

    Raises:
        InputError: If one makes no sense, or has no effect on the model.
    """
    from adaptation.eks.ensemble import SmoothingOptions

    ignored = [name for name in _WITHOUT_EFFECT.get(arguments.model, ()) if getattr(arguments, name)]
    if ignored:
        raise all_problems(
            "smooth",
            [f"{option_name(name)} has no effect on {arguments.model}; leave it out" for name in ignored],
        )
    names = ("likelihood", "centre", "variance", "variance_floor", "good_frames", "n_latent", "variance_of")
    chosen: dict[str, Any] = {
        name: getattr(arguments, name) for name in names if getattr(arguments, name) is not None
    }
    return SmoothingOptions(
        s=_smoothing_parameter(arguments.s),
        blocks=tuple(tuple(block.split(",")) for block in arguments.blocks),
        frame_ranges=tuple(arguments.s_frames),
        divide_by_members=arguments.divide_by_members,
        inflate=arguments.inflate,
        **chosen,
    )


def _smoothing_parameter(words: list[str]) -> float | dict[str, float] | None:
    """One number, or one for each keypoint."""
    try:
        if len(words) == 1 and "=" not in words[0]:
            return float(words[0])
        pairs = [word.rpartition("=") for word in words]
        if any(not name for name, _, _ in pairs):
            raise InputError(f"--s: {' '.join(words)!r} is neither one number nor KEYPOINT=NUMBER for each")
        return {name: float(value) for name, _, value in pairs} or None
    except ValueError as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"--s: {' '.join(words)!r} holds something that is no number") from error


def _renames(words: list[str]) -> dict[str, dict[str, str]]:
    """Camera to old name to new name."""
    names: dict[str, dict[str, str]] = {}
    for word in words:
        match = re.fullmatch(r"([^:]+):([^=]+)=(.+)", word)
        if match is None:
            raise InputError(f"--rename: {word!r} is not CAMERA:KEYPOINT=KEYPOINT")
        names.setdefault(match[1], {})[match[2]] = match[3]
    return names


def details_of(arguments: argparse.Namespace) -> Any:
    """What only some models take, as far as it was given."""
    values = {
        "calibration": arguments.calibration,
        "timestamps": tuple(arguments.timestamps) or None,
        "a_diameter": arguments.a_diameter,
        "a_centre": arguments.a_centre,
    }
    return {name: value for name, value in values.items() if value is not None}


def read_inputs(arguments: argparse.Namespace, cameras: list[str]) -> Recording:
    """The recording that the files named on the command line are."""
    from adaptation.eks.recording import read_recording

    return read_recording(
        arguments.inputs,
        cameras if arguments.model != "mirrored" else (),
        timestamps=arguments.timestamps,
        rename=_renames(arguments.rename),
        match_individuals=arguments.match_individuals,
        progress=not arguments.quiet,
    )
