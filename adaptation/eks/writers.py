"""Smoothed tracks as files.

- csv: the columns of the public ensemble-kalman-smoother, nine for each keypoint: x, y, likelihood,
  x_ens_median, y_ens_median, x_ens_var, y_ens_var, x_posterior_var, y_posterior_var. The `ens_median` columns
  hold the ensemble's centre, which is its mean where that was asked for; likelihood is the members' mean
  confidence. Nine significant digits.
- h5: DeepLabCut's x, y, likelihood under df_with_missing, for every tool that takes DeepLabCut's files.
- netcdf: a dataset of poses as `movement` has them (position and confidence over time, space, keypoints,
  individuals), with the posterior variance beside; xarray opens it, and so does movement.
- The 3-D track of calibrated cameras, and the pupil's diameter and centre, as a csv of their own.

Header rows are scorer, individuals (where there are several), bodyparts, coords. Missing is NaN. Every file
is written to a temporary name and renamed when complete.
"""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from superset_vocab.errors import InputError, all_problems
from superset_vocab.files import atomic_path

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

    from adaptation.eks.ensemble import CalibratedSmoothed, PupilSmoothed, Smoothed

COLUMNS = (
    "x", "y", "likelihood", "x_ens_median", "y_ens_median",
    "x_ens_var", "y_ens_var", "x_posterior_var", "y_posterior_var",
)  # fmt: skip
POINT_COLUMNS = (
    "x", "y", "z", "x_posterior_var", "y_posterior_var", "z_posterior_var",
    "xy_posterior_cov", "xz_posterior_cov", "yz_posterior_cov",
)  # fmt: skip
PUPIL_COLUMNS = (
    "diameter", "diameter_posterior_var",
    "centre_x", "centre_y", "centre_x_posterior_var", "centre_y_posterior_var",
)  # fmt: skip
SUFFIXES = {"csv": ".csv", "h5": ".h5", "netcdf": ".nc"}
_CHUNK = 512  # rows formatted at a time


def check_formats(formats: Sequence[str]) -> None:
    """Refuse formats that there are not, or that need a package that is not installed.

    Raises:
        InputError: If one is unknown, there is none, or a package is missing.
    """
    problems = [
        f"{name!r} is no format; there are {', '.join(SUFFIXES)}" for name in formats if name not in SUFFIXES
    ]
    if not formats:
        problems.append(f"none is named; there are {', '.join(SUFFIXES)}")
    for package in ("xarray", "h5netcdf") if "netcdf" in formats else ():
        if importlib.util.find_spec(package) is None:
            problems.append(f'netcdf needs {package}; pip install "superanimal-zoo[smooth]"')
    if problems:
        raise all_problems("formats", problems)


def write_csv(path: Path, tracks: Mapping[str, Smoothed], frame_index: np.ndarray, scorer: str) -> None:
    """Write the tracks of all individuals in one view in the public column layout.

    Args:
        path: The file.
        tracks: Individual to its track.
        frame_index: (T,) numbers of the frames.
        scorer: First header row.
    """
    columns = [
        (individual, name, coord)
        for individual, track in tracks.items()
        for name in track.names
        for coord in COLUMNS
    ]

    def rows(chosen: slice) -> np.ndarray:
        return np.concatenate([_public_columns(track, chosen) for track in tracks.values()], axis=1)

    header = _header(scorer, columns, several=len(tracks) > 1)
    write_rows(path, header, frame_index, rows)


def _public_columns(track: Smoothed, rows: slice) -> np.ndarray:
    """(rows, K * 9) values in the order of COLUMNS."""
    s = track.statistics
    parts = [track.keypoints, s.confidence[..., None], s.centre, s.variance, track.variance]
    values = np.concatenate([part[rows] for part in parts], axis=-1)
    return values.reshape(len(values), -1)


def write_points_csv(
    path: Path, tracks: Mapping[str, CalibratedSmoothed], frame_index: np.ndarray, scorer: str
) -> None:
    """Write the 3-D tracks of all individuals, positions and covariances, in the calibration's unit."""
    columns = [
        (i, name, coord) for i, track in tracks.items() for name in track.names for coord in POINT_COLUMNS
    ]
    upper = ([0, 1, 2, 0, 0, 1], [0, 1, 2, 1, 2, 2])

    def rows(chosen: slice) -> np.ndarray:
        parts = [
            np.concatenate([track.points[chosen], track.covariance[chosen][..., upper[0], upper[1]]], axis=-1)
            for track in tracks.values()
        ]
        return np.concatenate([part.reshape(len(part), -1) for part in parts], axis=1)

    write_rows(path, _header(scorer, columns, several=len(tracks) > 1), frame_index, rows)


def write_pupil_csv(path: Path, pupil: PupilSmoothed, frame_index: np.ndarray) -> None:
    """Write the pupil's diameter and centre, one row for each frame, pixels and square pixels."""
    parts = [pupil.diameter, pupil.diameter_variance, pupil.centre, pupil.centre_variance]
    values = np.column_stack(parts)
    write_rows(path, [["frame", *PUPIL_COLUMNS]], frame_index, lambda chosen: values[chosen])


def _header(scorer: str, columns: Sequence[tuple[str, str, str]], *, several: bool) -> list[list[str]]:
    """DeepLabCut's header rows; individuals only where there are several."""
    individuals, names, coords = zip(*columns, strict=True)
    rows = [["scorer", *[scorer] * len(columns)], ["bodyparts", *names], ["coords", *coords]]
    return [rows[0], ["individuals", *individuals], *rows[1:]] if several else rows


def write_rows(path: Path, header: list[list[str]], frame_index: np.ndarray, rows: Any) -> None:
    """Write a csv; `rows` gives the values of a slice of frames.

    Python's own formatting of a block of rows at once is five times as fast as pandas' writer.
    """
    import csv

    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(header)
        line = ",".join(["%d", *["%.9g"] * (len(header[0]) - 1)]) + "\n"
        for start in range(0, len(frame_index), _CHUNK):
            chosen = slice(start, start + _CHUNK)
            values = rows(chosen)
            table = np.concatenate([frame_index[chosen, None], values], axis=1)
            text = (line * len(table)) % tuple(table.ravel().tolist())
            file.write(text if np.isfinite(values).all() else text.replace("nan", "NaN"))


def write_h5(
    path: Path,
    tracks: Mapping[str, Smoothed],
    frame_index: np.ndarray,
    scorer: str,
    provenance: dict[str, Any],
) -> None:
    """Write DeepLabCut's columns of all individuals in one view; `pandas.read_hdf(path)` opens it."""
    from zoo.exports import write_h5_tables

    write_h5_tables(_dlc_tables(tracks, frame_index, scorer), provenance, path)


def _dlc_tables(
    tracks: Mapping[str, Smoothed], frame_index: np.ndarray, scorer: str
) -> Iterator[pd.DataFrame]:
    """x, y, likelihood in pieces, as DeepLabCut has them."""
    import pandas as pd

    columns = [
        (scorer, individual, name, coord)
        for individual, track in tracks.items()
        for name in track.names
        for coord in COLUMNS[:3]
    ]
    levels = ["scorer", "individuals", "bodyparts", "coords"]
    if len(tracks) == 1:
        columns, levels = [(one, *rest) for one, _, *rest in columns], [levels[0], *levels[2:]]
    header = pd.MultiIndex.from_tuples(columns, names=levels)
    step = 16 * _CHUNK
    for start in range(0, len(frame_index), step):
        chosen = slice(start, start + step)
        parts = [
            np.concatenate([one.keypoints[chosen], one.statistics.confidence[chosen, :, None]], axis=-1)
            for one in tracks.values()
        ]
        values = np.concatenate([part.reshape(len(part), -1) for part in parts], axis=1)
        yield pd.DataFrame(values, index=pd.Index(frame_index[chosen]), columns=header)


def dataset(tracks: Mapping[str, Smoothed], time: np.ndarray, attributes: dict[str, Any]) -> xr.Dataset:
    """The tracks of one view as movement's dataset of poses.

    Args:
        tracks: Individual to its track. Keypoints that only some individuals have are NaN in the others.
        time: (T,) seconds, or numbers of frames.
        attributes: Of the dataset: time_unit, and fps where known.

    Returns:
        position, posterior_variance and ensemble_variance (time, space, keypoints, individuals), confidence.
    """
    space = {"space": ["x", "y"]}
    variables = {
        "position": [one.keypoints for one in tracks.values()],
        "posterior_variance": [one.variance for one in tracks.values()],
        "ensemble_variance": [one.statistics.variance for one in tracks.values()],
        "confidence": [one.statistics.confidence[..., None] for one in tracks.values()],
    }
    return _dataset(variables, {i: one.names for i, one in tracks.items()}, time, space, attributes)


def points_dataset(
    tracks: Mapping[str, CalibratedSmoothed], time: np.ndarray, attributes: dict[str, Any]
) -> xr.Dataset:
    """The 3-D tracks as movement's dataset of poses, space x, y, z; confidence is the cameras' mean."""
    variables = {
        "position": [one.points for one in tracks.values()],
        "posterior_variance": [np.diagonal(one.covariance, axis1=-2, axis2=-1) for one in tracks.values()],
        "confidence": [
            _mean([view.statistics.confidence for view in one.views])[..., None] for one in tracks.values()
        ],
    }
    names = {i: one.names for i, one in tracks.items()}
    return _dataset(variables, names, time, {"space": ["x", "y", "z"]}, attributes)


def _mean(arrays: Sequence[np.ndarray]) -> np.ndarray:
    """Mean of the values that are there; NaN where none is."""
    stacked = np.stack(arrays)
    there = np.isfinite(stacked)
    total, n = np.where(there, stacked, 0).sum(0), there.sum(0)
    return np.where(n > 0, total / np.maximum(n, 1), np.nan)


def _dataset(
    variables: Mapping[str, Sequence[np.ndarray]],
    names: Mapping[str, Sequence[str]],
    time: np.ndarray,
    space: Mapping[str, list[str]],
    attributes: dict[str, Any],
) -> xr.Dataset:
    """Variables, for each individual (T, K, C), as one dataset; C of 1 has no space."""
    import xarray as xr

    keypoints = list(dict.fromkeys(name for some in names.values() for name in some))
    arrays = {}
    for variable, blocks in variables.items():
        width = blocks[0].shape[-1]
        whole = np.full((len(time), width, len(keypoints), len(names)), np.nan)
        for i, (block, own) in enumerate(zip(blocks, names.values(), strict=True)):
            whole[:, :, [keypoints.index(name) for name in own], i] = block.transpose(0, 2, 1)
        if width == 1:
            arrays[variable] = (("time", "keypoints", "individuals"), whole[:, 0])
        else:
            arrays[variable] = (("time", "space", "keypoints", "individuals"), whole)
    coordinates = {"time": time, **space, "keypoints": keypoints, "individuals": list(names)}
    return xr.Dataset(arrays, coords=coordinates, attrs={"ds_type": "poses", **attributes})


def write_netcdf(path: Path, poses: xr.Dataset, provenance: dict[str, Any]) -> None:
    """Write a dataset with its provenance as JSON among the attributes."""
    with atomic_path(path) as temporary:
        whole = poses.assign_attrs(provenance=json.dumps(provenance, ensure_ascii=True))
        whole.to_netcdf(temporary, engine="h5netcdf")


def refuse_existing(paths: Sequence[Path], overwrite: bool) -> None:
    """Refuse to replace files unless that was asked for.

    Raises:
        InputError: If some exist and `overwrite` is false; names them all.
    """
    existing = [str(path) for path in paths if path.exists()]
    if existing and not overwrite:
        raise InputError(f"{', '.join(existing)} exists; use --overwrite or another --out")
