"""Members to ensembles: whose predictions belong together, and whether they fit.

A recording is one video, or the videos of several cameras of one scene. Its members are checked against
each other before anything is computed: individuals, keypoints, frames, and that no network is there twice.
All problems come in one error.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from adaptation.eks.ensemble import Ensemble
from adaptation.eks.files import Poses, Track, read_poses
from superset_vocab.errors import InputError, all_problems
from superset_vocab.provenance import operation

Rename = Mapping[str, Mapping[str, str]]

_MOST_GAPS = 100  # frames that are not in the table, for one that is


@dataclass(frozen=True, eq=False)
class Recording:
    """Ensembles of everybody in one recording.

    Attributes:
        ensembles: Individual to its ensembles, one for each view.
        views: Names of the cameras; ("",) for one without a name.
        frame_index: (T,) int64 numbers of the frames, for each view.
        times: (T,) seconds of each view's frames, where they were given.
        members: For each view and member, where it came from.
        fps: Frames per second, where known.
        operations: What was done to the predictions, as `superset_vocab.provenance.operation` makes it.
    """

    ensembles: Mapping[str, tuple[Ensemble, ...]]
    views: tuple[str, ...]
    frame_index: tuple[np.ndarray, ...]
    times: tuple[np.ndarray, ...] = ()
    members: tuple[tuple[dict[str, Any], ...], ...] = ()
    fps: Fraction | None = None
    operations: tuple[dict[str, Any], ...] = ()

    def __post_init__(self) -> None:
        for name, ensembles in self.ensembles.items():
            if tuple(one.view for one in ensembles) != self.views:
                raise ValueError(f"ensembles of {name} are not of the views {self.views}")
            if [one.n_frames for one in ensembles] != [len(index) for index in self.frame_index]:
                raise ValueError(f"ensembles of {name} have other frames than frame_index")

    @property
    def individuals(self) -> tuple[str, ...]:
        """Names of the individuals."""
        return tuple(self.ensembles)

    def select(self, keypoints: Sequence[str]) -> Recording:
        """The recording with some of its keypoints only, in the order named.

        Raises:
            InputError: If an individual lacks one of them.
        """
        chosen = {}
        for individual, ensembles in self.ensembles.items():
            known = set.intersection(*(set(one.names) for one in ensembles))
            unknown = [name for name in keypoints if name not in known]
            if unknown:
                there = ", ".join(ensembles[0].names)
                raise InputError(f"keypoints: {individual} has no {', '.join(unknown)}, only {there}")
            chosen[individual] = tuple(_with_keypoints(one, keypoints) for one in ensembles)
        return replace(self, ensembles=chosen)

    def synchronised(self) -> Recording:
        """The recording at the frames of its slowest camera, the others' members interpolated in time.

        Raises:
            InputError: If there are no times, or the cameras did not record at the same time.
        """
        from adaptation.eks.asynchronous import slowest_camera, synchronised

        if not self.times:
            raise InputError("ensemble: there are no timestamps to interpolate to")
        slowest = slowest_camera(self.times)
        ensembles, common = {}, self.times[slowest]
        for individual, views in self.ensembles.items():
            same, common = synchronised(views, self.times, slowest)
            ensembles[individual] = tuple(same)
        frames = self.frame_index[slowest][np.isin(self.times[slowest], common)]
        n = len(self.views)
        done = operation("interpolate_in_time", to_frames_of=self.views[slowest])
        return replace(
            self,
            ensembles=ensembles,
            frame_index=(frames,) * n,
            times=(common,) * n,
            operations=(*self.operations, done),
        )


def _with_keypoints(ensemble: Ensemble, names: Sequence[str]) -> Ensemble:
    """An ensemble with some of its keypoints."""
    places = [ensemble.names.index(name) for name in names]
    keypoints, confidence = ensemble.keypoints[:, :, places], ensemble.confidence[:, :, places]
    return Ensemble(keypoints, confidence, tuple(names), ensemble.view)


def read_recording(
    paths: Sequence[str | Path],
    cameras: Sequence[str] = (),
    *,
    timestamps: Sequence[str | Path] = (),
    rename: Rename | None = None,
    match_individuals: bool = False,
    progress: bool = False,
) -> Recording:
    """Read the files of an ensemble, of one camera or several.

    Args:
        paths: One file for each network and camera; see `adaptation.eks.files`.
        cameras: Names of the cameras, each in the names of its files. None for one camera.
        timestamps: One file of frame times (.npy, or text with a number a line) for each camera, in
            seconds. The cameras need not have the same frames then.
        rename: Camera to {its keypoint's name: what the other cameras call it}; for cameras that see the
            animal from the other side, so that left is right.
        match_individuals: Individuals carry arbitrary names, as trackers give them: those of each member
            are matched, frame by frame, to those of the first that are nearest.
        progress: Show a progress bar on stderr.

    Raises:
        InputError: If a file cannot be read or the members do not fit together; lists all problems.
    """
    groups = by_camera([Path(path) for path in paths], cameras)
    members: dict[str, list[Poses]] = {}
    with tqdm(total=len(paths), unit="file", desc="reading", disable=not progress) as bar:
        for view, files in groups.items():
            members[view] = []
            for file in files:
                members[view].append(read_poses(file))
                bar.update()
    times = read_timestamps(timestamps, cameras) if timestamps else None
    return assemble(members, times=times, rename=rename, match_individuals=match_individuals)


def by_camera(paths: Sequence[Path], cameras: Sequence[str], what: str = "files") -> dict[str, list[Path]]:
    """Files by the camera in their names, members of different cameras in the same order.

    A camera's name has to stand by itself ("Cam-A" in "fly_Cam-A_rng=0.csv"); where none does, it may be
    part of a word.

    Raises:
        InputError: If a file has the name of no camera or of several, a camera has no file, or a file is
            there twice.
    """
    problems = [f"{path} is given twice" for path in sorted({p for p in paths if paths.count(p) > 1})]
    if not paths:
        problems.append("there is none; name one file for each network")
    if not cameras:
        if problems:
            raise all_problems(what, problems)
        return {"": list(paths)}
    if len(set(cameras)) < len(cameras):
        problems.append(f"cameras are named twice: {', '.join(cameras)}")
    groups: dict[str, list[tuple[str, Path]]] = {camera: [] for camera in cameras}
    for path in paths:
        found = _cameras_in(path.name, cameras)
        if len(found) == 1:
            groups[found[0]].append((path.name.replace(found[0], "", 1), path))
        elif found:
            problems.append(f"{path} has the names of cameras {' and '.join(found)}; rename it")
        else:
            problems.append(f"{path} has no camera's name in its own: {', '.join(cameras)}")
    problems += [f"there is none of camera {camera}" for camera, files in groups.items() if not files]
    if problems:
        raise all_problems(what, problems)
    return {camera: [path for _, path in sorted(files)] for camera, files in groups.items()}


def _cameras_in(name: str, cameras: Sequence[str]) -> list[str]:
    """The cameras whose names stand by themselves in a file's name, or, failing that, in it at all."""
    alone = [one for one in cameras if re.search(rf"(?<![A-Za-z0-9]){re.escape(one)}(?![A-Za-z0-9])", name)]
    return alone or [one for one in cameras if one in name]


def read_timestamps(paths: Sequence[str | PathLike[str]], cameras: Sequence[str]) -> dict[str, np.ndarray]:
    """(T,) seconds of each camera's frames, one file for each, by the camera in its name.

    Raises:
        InputError: If a file cannot be read, or a camera has none or several.
    """
    chosen = by_camera([Path(path) for path in paths], cameras, "timestamps")
    several = [camera for camera, files in chosen.items() if len(files) > 1]
    if several:
        raise InputError(f"timestamps: more than one file for camera {', '.join(several)}")
    return {camera: read_times(files[0]) for camera, files in chosen.items()}


def read_times(path: Path) -> np.ndarray:
    """(T,) float64 seconds of a camera's frames, from .npy or text.

    Raises:
        InputError: If they cannot be read, are no single column, are not finite or do not rise.
    """
    try:
        numpy_file = path.suffix.lower() == ".npy"
        times = np.load(path, allow_pickle=False) if numpy_file else np.loadtxt(path, ndmin=1)
        times = np.asarray(times, dtype=np.float64)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error}); check the path") from error
    except (ValueError, TypeError) as error:
        raise InputError(f"{path}: holds no frame times ({error}); want one number a frame") from error
    if times.ndim != 1 or not np.isfinite(times).all():
        raise InputError(f"{path}: has shape {times.shape}, want one finite number for each frame")
    if (np.diff(times) <= 0).any():
        place = int(np.argmax(np.diff(times) <= 0)) + 1
        raise InputError(f"{path}: time {place} is not after the one before it; want seconds that rise")
    return times


def assemble(
    members: Mapping[str, Sequence[Poses]],
    *,
    times: Mapping[str, np.ndarray] | None = None,
    rename: Rename | None = None,
    match_individuals: bool = False,
    fps: Fraction | None = None,
) -> Recording:
    """Ensembles of what several networks predicted, checked.

    Frames that no member has a row for, between the first and the last, become missing frames.

    Args:
        members: View ("" if there is one only) to its networks' predictions.
        times: View to the times of its frames in seconds; the views need not have the same frames then.
        rename: See `read_recording`.
        match_individuals: See `read_recording`.
        fps: Frames per second, for the files that hold times.

    Raises:
        InputError: If members or views do not fit together; lists all problems.
    """
    unknown = sorted(set(rename or {}) - set(members))
    if unknown:
        raise InputError(f"rename: there is no camera {', '.join(unknown)}, only {', '.join(members)}")
    named = {
        view: [_renamed(one, (rename or {}).get(view, {})) for one in poses]
        for view, poses in members.items()
    }
    problems = [text for view, poses in named.items() for text in _differences(view, poses)]
    if match_individuals and not problems:
        named = {view: _matched(poses) for view, poses in named.items()}
    problems += _between_views({view: poses[0] for view, poses in named.items() if poses}, times)
    if problems:
        raise all_problems("ensemble", problems)
    index = {view: _frames(poses[0]) for view, poses in named.items()}
    ensembles = {
        individual: tuple(_stack(poses, individual, view, index[view]) for view, poses in named.items())
        for individual in next(iter(named.values()))[0].individuals
    }
    return Recording(
        ensembles=ensembles,
        views=tuple(named),
        frame_index=tuple(index.values()),
        times=tuple(times[view] for view in named) if times else (),
        members=tuple(tuple(_origin(one) for one in poses) for poses in named.values()),
        fps=fps,
        operations=tuple(_operations(rename, match_individuals)),
    )


def _operations(rename: Rename | None, match_individuals: bool) -> Iterator[dict[str, Any]]:
    """What `assemble` was asked to change."""
    if rename:
        yield operation("rename_keypoints", **{view: dict(names) for view, names in rename.items()})
    if match_individuals:
        yield operation("match_individuals", by="mean keypoint distance to the first member, in each frame")


def _origin(poses: Poses) -> dict[str, Any]:
    """Where a member came from, for the provenance."""
    return {"source": poses.source, **poses.about}


def _renamed(poses: Poses, names: Mapping[str, str]) -> Poses:
    """Predictions with some keypoints called otherwise."""
    if not names:
        return poses
    known = {name for track in poses.tracks for name in track.names}
    if set(names) - known:
        raise InputError(
            f"{poses.source}: has no keypoint {', '.join(sorted(set(names) - known))} to rename; "
            f"there are {', '.join(sorted(known))}"
        )
    tracks = []
    for track in poses.tracks:
        called = tuple(names.get(name, name) for name in track.names)
        if len(set(called)) < len(called):
            raise InputError(f"{poses.source}: after renaming, two keypoints have one name: {called}")
        tracks.append(Track(track.individual, called, track.keypoints, track.confidence))
    return Poses(poses.source, tuple(tracks), poses.frame_index, poses.about)


def _differences(view: str, members: Sequence[Poses]) -> Iterator[str]:
    """How the members of one view differ from the first."""
    if not members:
        yield f"no predictions of {view or 'anything'}"
        return
    first, seen = members[0], {}
    for one in members:
        content = _fingerprint(one)
        if content in seen:
            yield (
                f"{one.source} holds the same predictions as {seen[content]}: an ensemble needs different "
                "networks"
            )
        if content:
            seen.setdefault(content, one.source)
    yield from _span_problems(first)
    for one in members[1:]:
        if set(one.individuals) != set(first.individuals):
            yield (
                f"{one.source} has individuals {', '.join(one.individuals)}, "
                f"{first.source} {', '.join(first.individuals)}"
            )
            continue
        for individual in first.individuals:
            yield from _name_differences(one, first, individual)
        if not np.array_equal(one.frame_index, first.frame_index):
            yield f"{one.source} has {_span(one)}, {first.source} {_span(first)}"


def _fingerprint(poses: Poses) -> bytes:
    """A hash of the predicted keypoints; empty if there are none."""
    found = [track.keypoints for track in poses.tracks if np.isfinite(track.keypoints).any()]
    blocks = b"".join(np.nan_to_num(keypoints, nan=-1.0).tobytes() for keypoints in found)
    return hashlib.sha256(blocks).digest() if found else b""


def _name_differences(one: Poses, first: Poses, individual: str) -> Iterator[str]:
    """Keypoints that one has and the other has not."""
    mine, theirs = set(one.track(individual).names), set(first.track(individual).names)
    whose = f" of {individual}" if len(first.individuals) > 1 else ""
    if theirs - mine:
        yield f"{one.source} lacks {', '.join(sorted(theirs - mine))}{whose}, which {first.source} has"
    if mine - theirs:
        yield f"{one.source} has {', '.join(sorted(mine - theirs))}{whose}, which {first.source} lacks"


def _span(poses: Poses) -> str:
    """How many frames, from which to which."""
    index = poses.frame_index
    return f"{len(index)} frames ({index[0]} to {index[-1]})"


def _span_problems(poses: Poses) -> Iterator[str]:
    """Frame numbers that cannot be meant: the gaps become missing frames, which need memory."""
    index = poses.frame_index
    if index[-1] - index[0] >= _MOST_GAPS * len(index):
        yield f"{poses.source} has {_span(poses)}: nearly all frames between them are missing"


def _between_views(first: Mapping[str, Poses], times: Mapping[str, np.ndarray] | None) -> Iterator[str]:
    """How the views differ from the first view."""
    views = list(first)
    for view in views[1:]:
        one, reference = first[view], first[views[0]]
        if set(one.individuals) != set(reference.individuals):
            yield (
                f"camera {view} has individuals {', '.join(one.individuals)}, "
                f"camera {views[0]} {', '.join(reference.individuals)}"
            )
        else:
            for individual in reference.individuals:
                yield from _name_differences(one, reference, individual)
        if times is None and not np.array_equal(_frames(one), _frames(reference)):
            yield (
                f"camera {view} has {_span(one)}, camera {views[0]} {_span(reference)}; give the times of "
                "the frames (timestamps) if the cameras are not synchronous"
            )
    for view in views if times is not None else []:
        if view not in (times or {}):
            yield f"camera {view} has no timestamps"
        elif len((times or {})[view]) != len(_frames(first[view])):
            n = len((times or {})[view])
            yield f"camera {view} has {n} timestamps for {len(_frames(first[view]))} frames"


def _frames(poses: Poses) -> np.ndarray:
    """(T,) every frame from the first to the last."""
    index = poses.frame_index
    return np.arange(index[0], index[-1] + 1)


def _stack(members: Sequence[Poses], individual: str, view: str, index: np.ndarray) -> Ensemble:
    """One individual's ensemble in one view, keypoints in the first member's order."""
    names = members[0].track(individual).names
    rows = members[0].frame_index - index[0]
    keypoints = np.full((len(members), len(index), len(names), 2), np.nan)
    confidence = np.full((len(members), len(index), len(names)), np.nan)
    for i, poses in enumerate(members):
        track = poses.track(individual)
        order = [track.names.index(name) for name in names]
        keypoints[i, rows] = track.keypoints[:, order]
        confidence[i, rows] = track.confidence[:, order]
    return Ensemble(keypoints, confidence, names, view)


def _matched(members: Sequence[Poses]) -> list[Poses]:
    """Members whose individuals are, in each frame, those of the first member that are nearest.

    Nearest by the mean distance of the keypoints that both have; the assignment of least total distance. An
    individual that the first member does not see in a frame is where an earlier member sees it, else where
    it is on the straight line between the frames before and after: somebody else must not take its place.
    """
    first = members[0]
    if len(first.individuals) == 1:
        return list(members)
    names = [set(track.names) for one in members for track in one.tracks]
    if any(one != names[0] for one in names):
        raise InputError("ensemble: individuals with different keypoints cannot be matched to each other")
    order = first.tracks[0].names
    seen, matched = _block(first, order), [first]
    for one in members[1:]:
        tracks = _permuted(one, first.individuals, _bridged(seen, first.frame_index), order)
        matched.append(tracks)
        seen = np.where(np.isfinite(seen), seen, _block(tracks, order))
    return matched


def _bridged(block: np.ndarray, frames: np.ndarray) -> np.ndarray:
    """(T, N, K, 3) with every individual in every frame: where it is unseen, interpolated over the frames."""
    block = block.copy()
    unseen = np.asarray(~np.isfinite(block[..., :2]).all(-1).any(-1))
    for n, k, c in np.ndindex(block.shape[1], block.shape[2], 2):
        absent, values = unseen[:, n], block[:, n, k, c]
        there = np.isfinite(values)
        if absent.any() and there.any():
            values[absent] = np.interp(frames[absent], frames[there], values[there])
    return block


def _block(poses: Poses, order: Sequence[str]) -> np.ndarray:
    """(T, N, K, 3) x, y, confidence."""
    blocks = []
    for track in poses.tracks:
        chosen = [track.names.index(name) for name in order]
        blocks.append(np.concatenate([track.keypoints, track.confidence[..., None]], -1)[:, chosen])
    return np.stack(blocks, axis=1)


def _permuted(poses: Poses, individuals: Sequence[str], reference: np.ndarray, order: Sequence[str]) -> Poses:
    """One member with its individuals in the places of the reference's (T, N, K, 3), frame by frame."""
    from scipy.optimize import linear_sum_assignment

    block = _block(poses, order)
    n = block.shape[1]
    # (T, N, N): mean distance of reference individual i from this member's individual j.
    steps = np.linalg.norm(reference[:, :, None, :, :2] - block[:, None, :, :, :2], axis=-1)
    there = np.isfinite(steps)
    distance = np.where(there, steps, 0).sum(-1) / np.maximum(there.sum(-1), 1)
    distance[~there.any(-1)] = 1e6  # nobody there: taken only if nobody else is left
    out = np.empty_like(block)
    for t in range(len(block)):
        rows, columns = linear_sum_assignment(distance[t])
        out[t, rows] = block[t, columns]
    tracks = [
        Track(name, tuple(order), out[:, i, :, :2], out[:, i, :, 2])
        for i, name in zip(range(n), individuals, strict=True)
    ]
    return Poses(poses.source, tuple(tracks), poses.frame_index, poses.about)
