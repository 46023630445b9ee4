"""Post-processors against labels: pixel error as a function of the ensemble's standard deviation.

The comparison of Biderman et al. (Lightning Pose), Fig. 5c and "Post-processor comparison": median filter and
ARIMA act on the output of single networks; ensemble mean, ensemble median and the ensemble Kalman smoothers
on all of them. A keypoint on a frame is difficult where the networks disagree, so each method's mean error is
given over all labelled keypoints, and over those whose ensemble standard deviation exceeds a value. That
standard deviation is the mean of those in x and y, over the members that predicted, in pixels.
"""

from __future__ import annotations

import logging
import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from adaptation.eks.ensemble import Ensemble
from superset_vocab.errors import InputError, all_problems

SHARES = (100.0, 50.0, 30.0, 20.0, 10.0, 5.0)  # percentages of the keypoints, most difficult first
KERNEL_SIZE = 5  # median filter: frames, DeepLabCut's default
ARIMA_ORDER = (3, 0, 1)  # DeepLabCut's defaults: ARdegree 3, MAdegree 1
ARIMA_CUTOFF = 0.001  # confidence below which ARIMA takes no observation: DeepLabCut's pcutoff
_FEWEST = 10  # observations for an ARIMA fit
_log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Labels:
    """What was labelled by hand in one view of a video.

    Attributes:
        names: (K,) keypoints.
        frames: (F,) int64 numbers of the labelled frames.
        keypoints: (F, K, 2) pixels, NaN where not labelled.
        source: The file.
    """

    names: tuple[str, ...]
    frames: np.ndarray
    keypoints: np.ndarray
    source: str = "labels"

    def __post_init__(self) -> None:
        if self.keypoints.shape != (len(self.frames), len(self.names), 2):
            raise ValueError(f"keypoints have shape {self.keypoints.shape}")


@dataclass(frozen=True, eq=False)
class Comparison:
    """Errors of several methods on the same L labelled keypoints.

    Attributes:
        methods: Names, single-network methods first.
        errors: (methods, L) px; for methods on single networks the mean over the networks.
        sd: (L,) ensemble standard deviation, px.
        names: (L,) which keypoint.
        frames: (L,) which frame.
        views: (L,) which camera.
    """

    methods: tuple[str, ...]
    errors: np.ndarray
    sd: np.ndarray
    names: np.ndarray
    frames: np.ndarray
    views: np.ndarray

    def at_share(self, share: float) -> tuple[float, np.ndarray]:
        """The standard deviation beyond which a share (percent) lies, and each method's mean error there."""
        n = max(1, round(len(self.sd) * share / 100))
        hardest = np.argsort(-self.sd, kind="stable")[:n]
        return float(self.sd[hardest[-1]]), self.errors[:, hardest].mean(1)

    def curve(self, points: int = 60, fewest: int = 5) -> tuple[np.ndarray, np.ndarray]:
        """(N,) standard deviations and (methods, N) mean errors of the keypoints at or beyond them."""
        order = np.argsort(-self.sd, kind="stable")
        counts = np.unique(np.geomspace(min(fewest, len(order)), len(order), points).astype(int))[::-1]
        total = np.cumsum(self.errors[:, order], axis=1)
        return self.sd[order][counts - 1], total[:, counts - 1] / counts


def read_labels(path: Path, video: str | None, files: Sequence[str], first: int = 0) -> Labels:
    """The labels of one video in a DeepLabCut or Lightning Pose label file.

    Args:
        path: CollectedData .csv or .h5, or another file of that layout.
        video: Folder of the labelled images; None for the only one.
        files: The ensemble's files, whose names must hold the video's if `video` is not given: errors against
            the labels of another video would be meaningless.
        first: What the labels call the video's first frame, where the video is a cut of a longer one.

    Raises:
        InputError: If the labels cannot be read, are of several videos or of another one.
    """
    from converters.formats.label_table import read_table

    table = read_table(path)
    if "individuals" in table.levels and len(set(table.level("individuals"))) > 1:
        raise InputError(f"{path}: labels several individuals; compare-smoothers takes one")
    folders = [PurePosixPath(name).parent.name for name in table.images]
    chosen = _chosen_video(path, video, folders, files)
    rows = [i for i, folder in enumerate(folders) if folder == chosen]
    numbers = [re.findall(r"\d+", PurePosixPath(table.images[i]).stem) for i in rows]
    if not all(numbers):
        raise InputError(f"{path}: an image's name has no frame number, such as img0012.png")
    coords, keypoints = table.level("coords"), table.level("bodyparts")
    names = tuple(dict.fromkeys(keypoints))
    place = {pair: i for i, pair in enumerate(zip(keypoints, coords, strict=True))}
    try:
        columns = [[place[name, coord] for coord in "xy"] for name in names]
    except KeyError as error:
        raise InputError(f"{path}: has no column {' '.join(error.args[0])}") from error
    flat = np.array(columns, dtype=np.int64).ravel()
    values = table.values[rows][:, flat].reshape(len(rows), len(names), 2)
    frames = np.array([int(some[-1]) for some in numbers], dtype=np.int64) - first
    return Labels(names, frames, values, str(path))


def _chosen_video(path: Path, video: str | None, folders: Sequence[str], files: Sequence[str]) -> str:
    """The folder whose images are this video's."""
    there = sorted(set(folders))
    if video is not None:
        if video not in there:
            raise InputError(f"{path}: has no images of {video!r}, only of {', '.join(map(repr, there))}")
        return video
    named = [one for one in there if one and all(one in Path(file).name for file in files)]
    if len(named) != 1:
        raise InputError(
            f"{path}: is not known to label this video: its images are of {', '.join(map(repr, there))}, the "
            f"predictions are called {Path(files[0]).name}; name the folder of this video's images (video)"
        )
    return named[0]


def median_filtered(keypoints: np.ndarray, size: int = KERNEL_SIZE) -> np.ndarray:
    """(T, K, 2) running median over `size` frames, as scipy.signal.medfilt has it: zeros beyond the ends."""
    from scipy.signal import medfilt

    return medfilt(keypoints, kernel_size=(size, 1, 1))


def arima_filtered(keypoints: np.ndarray, confidence: np.ndarray) -> np.ndarray:
    """(T, K, 2) one-step predictions of an ARIMA model of each coordinate, DeepLabCut's way.

    Observations of confidence below ARIMA_CUTOFF are left out of the fit. A coordinate with too few
    observations, or whose fit fails, stays as it is.

    Raises:
        ModuleNotFoundError: If statsmodels is not installed.
    """
    from statsmodels.tsa.statespace.sarimax import SARIMAX

    out = keypoints.copy()
    for k in range(keypoints.shape[1]):
        for c in range(2):
            series = np.where(confidence[:, k] < ARIMA_CUTOFF, np.nan, keypoints[:, k, c])
            if np.isfinite(series).sum() <= _FEWEST:
                continue
            with warnings.catch_warnings():  # a fit that stops early is used as it stands, as DeepLabCut does
                warnings.simplefilter("ignore")
                try:
                    fitted: Any = SARIMAX(series, order=ARIMA_ORDER, simple_differencing=True).fit(disp=False)
                except np.linalg.LinAlgError as error:
                    _log.warning("ARIMA of keypoint %d failed (%s); left as it was", k, error)
                    continue
                out[:, k, c] = fitted.predict()
            out[0, k, c] = keypoints[0, k, c]
    return out


# What acts on single networks: (keypoints (T, K, 2), confidence (T, K)) -> (T, K, 2).
SINGLE: Mapping[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "single network": lambda keypoints, _: keypoints,
    "median filter": lambda keypoints, _: median_filtered(keypoints),
    "arima": arima_filtered,
}
# What acts on ensembles: (M, T, K, 2) -> (T, K, 2).
TOGETHER: Mapping[str, Callable[[np.ndarray], np.ndarray]] = {
    "ensemble mean": lambda members: np.nanmean(members, axis=0),
    "ensemble median": lambda members: np.nanmedian(members, axis=0),
}


def compare(
    ensembles: Sequence[Ensemble],
    labels: Sequence[Labels],
    frame_index: Sequence[np.ndarray],
    smoothed: Mapping[str, Sequence[np.ndarray]],
    methods: Sequence[str] = (*SINGLE, *TOGETHER),
) -> Comparison:
    """Errors of post-processors against labels.

    Args:
        ensembles: One for each view.
        labels: One for each view, in the same order.
        frame_index: (T,) numbers of the frames, for each view.
        smoothed: Name to (T, K, 2) tracks for each view, keypoints in the ensembles' order: what is compared
            besides `methods`.
        methods: Of SINGLE and TOGETHER.

    Raises:
        InputError: If a label lies beyond the video, or nothing is labelled that the ensemble has.
    """
    unknown = [name for name in methods if name not in {**SINGLE, **TOGETHER}]
    if unknown:
        raise InputError(f"methods: there is no {', '.join(unknown)}, only {', '.join([*SINGLE, *TOGETHER])}")
    names = (*methods, *smoothed)
    parts = []
    for v, (ensemble, label, index) in enumerate(zip(ensembles, labels, frame_index, strict=True)):
        rows, there, columns, truth = _labelled(ensemble, label, index)
        tracks = {name: _tracks_of(name, ensemble) for name in methods}
        tracks |= {name: [views[v]] for name, views in smoothed.items()}
        errors = np.stack([_error(tracks[name], rows, columns, truth) for name in names])
        with np.errstate(invalid="ignore"):
            sd = _nan_std(ensemble.keypoints[:, rows, columns]).mean(-1)
        keep = np.isfinite(errors).all(0) & np.isfinite(sd)
        _log.info("%s: %d of %d labels have no prediction", label.source, (~keep).sum(), len(keep))
        called = np.array(ensemble.names)[columns]
        parts.append(
            (errors[:, keep], sd[keep], called[keep], there[keep], np.full(keep.sum(), ensemble.view))
        )
    errors, *rest = zip(*parts, strict=True)
    if not sum(one.shape[1] for one in errors):
        raise InputError("compare: no labelled keypoint has a prediction of every method")
    return Comparison(names, np.concatenate(errors, axis=1), *(np.concatenate(one) for one in rest))


def _labelled(
    ensemble: Ensemble, labels: Labels, index: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """(L,) rows, frames and keypoint columns of the ensemble that are labelled, and (L, 2) the labels."""
    common = [name for name in labels.names if name in ensemble.names]
    beyond = sorted(set(labels.frames.tolist()) - set(index.tolist()))
    problems = []
    if not common:
        problems.append(f"labels {', '.join(labels.names)}, the ensemble has {', '.join(ensemble.names)}")
    if beyond:
        problems.append(
            f"labels frames {beyond[:5]} that the predictions have not ({index[0]} to {index[-1]})"
        )
    if problems:
        raise all_problems(labels.source, problems)
    values = labels.keypoints[:, [labels.names.index(name) for name in common]]
    f, k = np.nonzero(np.isfinite(values).all(-1))
    columns = np.array([ensemble.names.index(name) for name in common], dtype=np.int64)
    frames = labels.frames[f]
    return np.searchsorted(index, frames), frames, columns[k], values[f, k]


def _tracks_of(name: str, ensemble: Ensemble) -> list[np.ndarray]:
    """(T, K, 2) of each network, or one for all."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a keypoint that no member predicted stays NaN
        if name in TOGETHER:
            return [TOGETHER[name](ensemble.keypoints)]
        return [
            SINGLE[name](keypoints, confidence)
            for keypoints, confidence in zip(ensemble.keypoints, ensemble.confidence, strict=True)
        ]


def _error(
    tracks: Sequence[np.ndarray], rows: np.ndarray, columns: np.ndarray, truth: np.ndarray
) -> np.ndarray:
    """(L,) px, the mean over tracks that have the keypoint; NaN where none has."""
    distance = np.stack([np.linalg.norm(track[rows, columns] - truth, axis=-1) for track in tracks])
    there = np.isfinite(distance)
    return np.where(there.any(0), np.where(there, distance, 0).sum(0) / np.maximum(there.sum(0), 1), np.nan)


def _nan_std(values: np.ndarray) -> np.ndarray:
    """Population standard deviation over the first axis of what is there; NaN where nothing is."""
    there = np.isfinite(values)
    n = there.sum(0)
    mean = np.where(there, values, 0).sum(0) / np.maximum(n, 1)
    squares = np.where(there, (values - mean) ** 2, 0).sum(0) / np.maximum(n, 1)
    return np.where(n > 0, np.sqrt(squares), np.nan)
