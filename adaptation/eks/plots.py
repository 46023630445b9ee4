"""Figures of smoothed tracks: what the members said, what the smoother made of it, and how sure it is.

matplotlib is imported by the functions, with its Agg backend: nothing here opens a window.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from superset_vocab.errors import InputError
from superset_vocab.files import atomic_path

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from adaptation.eks.ensemble import Ensemble, Smoothed, SmoothingChoice
    from adaptation.eks.smoothed_recording import SmoothedRecording

WINDOW = 500  # frames that a figure shows if none are chosen
_GREY, _BLUE, _ORANGE = "0.65", "#1f5fa8", "#d9711c"
_BAND = 2.0  # standard deviations
_DPI = 120
_DECADES = 1e3  # of s shown on each side of what was chosen


def plot_track(
    path: Path,
    ensemble: Ensemble,
    smoothed: Smoothed,
    keypoint: str,
    time: np.ndarray,
    frames: slice | None = None,
) -> None:
    """One keypoint of one view: x and y with members and posterior band, and the two standard deviations.

    Args:
        path: PNG to write.
        ensemble: What went in.
        smoothed: What came out.
        keypoint: Which one.
        time: (T,) numbers of the frames, or seconds.
        frames: Rows to show; None for the window in which the members disagree most.

    Raises:
        InputError: If there is no such keypoint.
    """
    if keypoint not in smoothed.names:
        raise InputError(f"plot: there is no keypoint {keypoint!r}, only {', '.join(smoothed.names)}")
    k, m = smoothed.names.index(keypoint), ensemble.names.index(keypoint)
    variance = smoothed.statistics.variance[:, k]
    rows = frames or restless_window(np.sqrt(variance).sum(1))
    figure, axes = _figure(3, (10, 7))
    t = time[rows]
    for c, axis in enumerate(axes[:2]):
        for i, member in enumerate(ensemble.keypoints[:, rows, m, c]):
            axis.plot(t, member, color=_GREY, linewidth=0.7, label="members" if i == 0 else None)
        mean, sd = smoothed.keypoints[rows, k, c], np.sqrt(smoothed.variance[rows, k, c])
        axis.fill_between(
            t, mean - _BAND * sd, mean + _BAND * sd, color=_BLUE, alpha=0.25, linewidth=0, label="± 2 sd"
        )
        axis.plot(t, mean, color=_BLUE, linewidth=1.3, label="smoothed")
        axis.set_ylabel(f"{'xy'[c]} (px)")
        _frame_to(axis, np.concatenate([mean[None], ensemble.keypoints[:, rows, m, c]]))
    axes[0].legend(loc="upper right", ncols=3, frameon=False, fontsize=8)
    for name, values, colour in (
        ("ensemble", variance, _ORANGE),
        ("posterior", smoothed.variance[:, k], _BLUE),
    ):
        sd = np.sqrt(np.maximum(values[rows].mean(1), 1e-8))
        axes[2].plot(t, sd, color=colour, linewidth=1, label=name)
    axes[2].set_yscale("log")
    axes[2].set_ylabel("standard deviation (px)")
    axes[2].legend(loc="upper right", ncols=2, frameon=False, fontsize=8)
    axes[2].set_xlabel("time (s)" if time.dtype.kind == "f" else "frame")
    title = f"{smoothed.view}: {keypoint}" if smoothed.view else keypoint
    axes[0].set_title(f"{title}, {_choice_of(smoothed, keypoint)}", fontsize=10)
    _save(figure, path)


def _choice_of(smoothed: Smoothed, keypoint: str) -> str:
    """The smoothing parameters in words."""
    for choice in smoothed.choices:
        if keypoint in choice.keypoints:
            return ", ".join(f"{name} = {value:.4g}" for name, value in choice.values.items())
    return f"{len(smoothed.statistics.centre)} frames"


def _frame_to(axis: Any, values: np.ndarray) -> None:
    """Limits that show nearly all values; a single outlying member does not flatten the rest."""
    there = values[np.isfinite(values)]
    if there.size:
        low, high = np.quantile(there, [0.002, 0.998])
        margin = 0.1 * (high - low) + 1
        axis.set_ylim(low - margin, high + margin)


def restless_window(sd: np.ndarray, width: int = WINDOW) -> slice:
    """The rows, at most `width`, in which the members disagree most on average; missing counts as 0."""
    if len(sd) <= width:
        return slice(0, len(sd))
    total = np.concatenate([[0.0], np.cumsum(np.nan_to_num(sd))])
    start = int(np.argmax(total[width:] - total[:-width]))
    return slice(start, start + width)


def plot_likelihood(path: Path, choices: Sequence[SmoothingChoice]) -> bool:
    """Log likelihood against the smoothing parameter, below its highest, with what was chosen.

    Returns:
        Whether there was anything to show: a fixed parameter has no curve, and no file is written then.
    """
    curves: list[SmoothingChoice] = []
    for one in choices:  # views that were smoothed together share theirs
        if len(one.curve.values) and one not in curves:
            curves.append(one)
    if not curves:
        return False
    if np.ndim(curves[0].curve.values) == 2:
        figure, axes = _figure(1, (6, 5))
        _plot_pairs(figure, axes[0], curves[0])
    else:
        figure, axes = _figure(1, (8, 5))
        for one in curves:
            drop = one.curve.log_likelihoods - one.curve.log_likelihoods.max()
            (line,) = axes[0].plot(one.curve.values, drop, linewidth=1, marker=".", markersize=3)
            label = ", ".join(one.keypoints[:3]) + (" ..." if len(one.keypoints) > 3 else "")
            axes[0].axvline(one.value, color=line.get_color(), linestyle=":", linewidth=1)
            line.set_label(f"{label}: s = {one.value:.3g}")
        axes[0].set_xscale("log")
        axes[0].set_yscale("symlog", linthresh=1.0)
        chosen = [one.value for one in curves]
        axes[0].set_xlim(min(chosen) / _DECADES, max(chosen) * _DECADES)
        axes[0].set_ylim(-1e5, 1)
        axes[0].set_xlabel("s")
        axes[0].set_ylabel("log likelihood below the highest")
        axes[0].legend(fontsize=7, frameon=False, ncols=1 + len(curves) // 12)
    _save(figure, path)
    return True


def _plot_pairs(figure: Figure, axis: Any, choice: SmoothingChoice) -> None:
    """The likelihood at pairs of AR(1) coefficients, by how far they are from 1, where they matter."""
    drop = choice.curve.log_likelihoods - choice.curve.log_likelihoods.max()
    shown = axis.scatter(*(1 - choice.curve.values).T, c=np.log10(1 - drop), s=22, cmap="viridis_r")
    figure.colorbar(shown, ax=axis, label="log10(1 + log likelihood below the highest)")
    chosen = ", ".join(f"{value:.4g}" for value in choice.values.values())
    axis.plot(*(1 - value for value in choice.values.values()), "rx", markersize=9, label=f"chosen: {chosen}")
    first, second = choice.values
    axis.set(xscale="log", yscale="log", xlabel=f"1 - {first}", ylabel=f"1 - {second}")
    axis.legend(frameon=False)


def plot_errors(
    path: Path, curves: dict[str, tuple[np.ndarray, np.ndarray]], shares: dict[float, float], title: str
) -> None:
    """Pixel error of each method on the keypoints whose ensemble standard deviation exceeds a value.

    The figure of the Lightning Pose paper's Fig. 5c.

    Args:
        path: PNG to write.
        curves: Method to (N,) standard deviations and (N,) mean errors beyond them, px.
        shares: Percentage of the keypoints to the standard deviation beyond which so many lie.
        title: Above the figure.
    """
    figure, axes = _figure(1, (8, 5.5))
    for name, (sd, error) in curves.items():
        style = "-" if name.startswith("eks") else "--"
        axes[0].plot(sd, error, style, label=name, linewidth=1.6 if style == "-" else 1.1)
    top = axes[0].get_ylim()[1]
    for share, sd in shares.items():
        axes[0].axvline(sd, color="0.8", linewidth=0.8, zorder=0)
        axes[0].text(sd, top, f"{share:g} %", fontsize=7, ha="center", va="bottom", color="0.4")
    axes[0].set_xlabel("ensemble standard deviation above (px)")
    axes[0].set_ylabel("mean pixel error of these keypoints")
    axes[0].set_title(title, fontsize=10, pad=16)
    axes[0].legend(frameon=False, fontsize=8)
    _save(figure, path)


def _figure(rows: int, size: tuple[float, float]) -> tuple[Figure, Sequence[Any]]:
    """A figure of rows that share their time axis; made without pyplot, so that no backend is started."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(figure)
    axes = np.ravel(figure.subplots(rows, 1, sharex=True))
    for axis in axes:
        axis.spines[["top", "right"]].set_visible(False)
    return figure, list(axes)


def _save(figure: Figure, path: Path) -> None:
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=_DPI)


def plot_recording(
    recording: SmoothedRecording,
    folder: Path,
    stem: str,
    keypoints: Sequence[str] = (),
    *,
    frames: tuple[int, int] | None = None,
    overwrite: bool = False,
) -> list[Path]:
    """Draw every track of a recording and the likelihoods; see `SmoothedRecording.plot`."""
    from adaptation.eks.writers import refuse_existing
    from superset_vocab.files import make_folder

    several = len(recording.individuals) > 1
    figures: list[tuple[Path, int, str, str, str]] = []
    rows = [_rows_of(frames, index) for index in recording.recording.frame_index]
    for place, (view, table) in enumerate(recording.tables.items()):
        for individual, track in table.items():
            _check_keypoints(keypoints, track.names)
            for name in keypoints or track.names:
                words = [stem, view, recording.scorer, individual if several else "", name, "png"]
                path = folder / ".".join(word for word in words if word)
                figures.append((path, place, view, individual, name))
    likelihood = folder / f"{stem}.{recording.scorer}.likelihood.png"
    refuse_existing([*(path for path, *_ in figures), likelihood], overwrite)
    make_folder(folder)
    for path, place, view, individual, name in figures:
        ensemble = recording.recording.ensembles[individual][place]
        track, time = recording.tables[view][individual], recording.time(view)
        plot_track(path, ensemble, track, name, time, rows[place])
    written = [path for path, *_ in figures]
    choices = [
        one for table in recording.tables.values() for track in table.values() for one in track.choices
    ]
    return [*written, likelihood] if plot_likelihood(likelihood, choices) else written


def _check_keypoints(keypoints: Sequence[str], names: Sequence[str]) -> None:
    """Refuse keypoints that there are not."""
    unknown = [name for name in keypoints if name not in names]
    if unknown:
        raise InputError(f"plot: there is no keypoint {', '.join(unknown)}, only {', '.join(names)}")


def _rows_of(frames: tuple[int, int] | None, index: np.ndarray) -> slice | None:
    """Rows of a half-open range of frame numbers."""
    if frames is None:
        return None
    start, stop = np.searchsorted(index, frames)
    if start >= stop:
        raise InputError(f"plot: no frame in {frames[0]}:{frames[1]}; there are {index[0]} to {index[-1]}")
    return slice(int(start), int(stop))
