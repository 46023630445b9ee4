"""What comes out of smoothing a recording: tracks of every individual in every view, saved and drawn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from adaptation.eks.ensemble import CalibratedSmoothed, PupilSmoothed, Smoothed
from adaptation.eks.recording import Recording


@dataclass(frozen=True, eq=False)
class SmoothedRecording:
    """Smoothed tracks of everybody in one recording.

    Attributes:
        model: Which smoother.
        tables: Name of the camera, "" if there is one only, to individual to track. Mirrored views, which
            come in one table, go out in one.
        recording: What went in.
        points: Individual to its 3-D track, for calibrated cameras.
        provenance: The members, the package's version, every operation, and each smoothing parameter with its
            log likelihood and the curve of the search.
    """

    model: str
    tables: Mapping[str, Mapping[str, Smoothed]]
    recording: Recording
    points: Mapping[str, CalibratedSmoothed] = field(default_factory=dict)
    provenance: dict[str, Any] = field(default_factory=dict)

    @property
    def individuals(self) -> tuple[str, ...]:
        """Names of the individuals."""
        return self.recording.individuals

    @property
    def only(self) -> Smoothed:
        """The track, where there is one individual and one camera.

        Raises:
            ValueError: If there are several; see `tables`.
        """
        tracks = [track for table in self.tables.values() for track in table.values()]
        if len(tracks) != 1:
            raise ValueError(f"there are {len(tracks)} tracks: views {list(self.tables)}, {self.individuals}")
        return tracks[0]

    @property
    def scorer(self) -> str:
        """Name of the smoother in tables and names of files."""
        return f"eks_{self.model}"

    def time(self, view: str) -> np.ndarray:
        """(T,) seconds of a view's frames where they are known, else their numbers."""
        place = list(self.tables).index(view)
        if self.recording.times:
            return self.recording.times[place]
        index = self.recording.frame_index[place]
        return index / float(self.recording.fps) if self.recording.fps else index

    def dataset(self, view: str | None = None) -> Any:
        """One view's tracks as movement's xarray dataset of poses; needs xarray.

        Args:
            view: Name of the camera; None for the only one.
        """
        from adaptation.eks.writers import dataset

        view = next(iter(self.tables)) if view is None else view
        return dataset(self.tables[view], self.time(view), self._attributes())

    def _attributes(self) -> dict[str, Any]:
        """Of movement's datasets."""
        fps, timed = self.recording.fps, bool(self.recording.times)
        known = {"fps": float(fps)} if fps else {}
        sources = [one["source"] for view in self.recording.members for one in view]
        return {
            "time_unit": "seconds" if timed or fps else "frames",
            "source_software": "superanimal-zoo",
            "source_file": ", ".join(sources),
            **known,
        }

    def paths(self, folder: Path, stem: str, formats: Sequence[str]) -> list[Path]:
        """Files that `save` writes, without writing them."""
        return output_paths(self.model, list(self.tables), folder, stem, formats)

    def save(
        self,
        folder: str | PathLike[str],
        stem: str,
        formats: Sequence[str] = ("csv", "h5"),
        *,
        overwrite: bool = False,
    ) -> list[Path]:
        """Write the tables and their provenance; see `adaptation.eks.writers` for the formats.

        Args:
            folder: Created if it does not exist.
            stem: Start of the names of the files: <stem>[.<camera>].eks_<model>.csv and so on.
            formats: Any of "csv" (public column layout), "h5" (DeepLabCut's), "netcdf" (movement's).
            overwrite: Replace files that exist.

        Returns:
            The files written, the provenance last.

        Raises:
            InputError: If a format is unknown or needs a package that is missing, files exist, or the folder
                cannot be written.
        """
        from adaptation.eks import writers
        from superset_vocab.files import make_folder, write_json

        folder = Path(folder)
        writers.check_formats(formats)
        paths = self.paths(folder, stem, formats)
        writers.refuse_existing(paths, overwrite)
        make_folder(folder)
        for place, (view, table) in enumerate(self.tables.items()):
            index, start = self.recording.frame_index[place], _start(stem, view, self.model)
            if "csv" in formats:
                writers.write_csv(folder / f"{start}.csv", table, index, self.scorer)
            if "h5" in formats:
                writers.write_h5(folder / f"{start}.h5", table, index, self.scorer, self.provenance)
            if "netcdf" in formats:
                writers.write_netcdf(folder / f"{start}.nc", self.dataset(view), self.provenance)
        self._save_beside(folder, stem, formats)
        write_json(paths[-1], self.provenance)
        return paths

    def _save_beside(self, folder: Path, stem: str, formats: Sequence[str]) -> None:
        """What some models have besides tracks in pictures: 3-D tracks, the pupil's state."""
        from adaptation.eks import writers

        if self.points:
            start, index = folder / f"{stem}.{self.scorer}.3d", self.recording.frame_index[0]
            writers.write_points_csv(start.with_name(start.name + ".csv"), self.points, index, self.scorer)
            if "netcdf" in formats:
                poses = writers.points_dataset(
                    self.points, self.time(next(iter(self.tables))), self._attributes()
                )
                writers.write_netcdf(start.with_name(start.name + ".nc"), poses, self.provenance)
        for place, (view, table) in enumerate(self.tables.items()):
            for track in table.values():
                if isinstance(track, PupilSmoothed):
                    path = folder / f"{_start(stem, view, self.model)}.diameter.csv"
                    writers.write_pupil_csv(path, track, self.recording.frame_index[place])

    def plot(
        self,
        folder: str | PathLike[str],
        stem: str,
        keypoints: Sequence[str] = (),
        *,
        frames: tuple[int, int] | None = None,
        overwrite: bool = False,
    ) -> list[Path]:
        """Draw each keypoint's members, smoothed track and standard deviations, and the likelihood.

        Args:
            folder: Created if it does not exist.
            stem: Start of the names: <stem>[.<camera>].eks_<model>[.<individual>].<keypoint>.png.
            keypoints: Which; none for all.
            frames: Half-open range of frame numbers to show; None for the most restless 500.
            overwrite: Replace files that exist.

        Returns:
            The files written; with an automatic parameter, <stem>.eks_<model>.likelihood.png last.

        Raises:
            InputError: If there is no such keypoint or frame, or files exist.
            ModuleNotFoundError: If matplotlib is not installed.
        """
        from adaptation.eks.plots import plot_recording

        return plot_recording(self, Path(folder), stem, keypoints, frames=frames, overwrite=overwrite)


def output_paths(
    model: str, views: Sequence[str], folder: Path, stem: str, formats: Sequence[str]
) -> list[Path]:
    """Files that a smoothed recording is saved to, the provenance last."""
    from adaptation.eks.writers import SUFFIXES

    starts = [folder / _start(stem, view, model) for view in views]
    paths = [start.with_name(start.name + SUFFIXES[name]) for start in starts for name in formats]
    if model == "pupil":
        paths += [start.with_name(f"{start.name}.diameter.csv") for start in starts]
    if model == "calibrated":
        suffixes = [".csv", *([".nc"] if "netcdf" in formats else [])]
        paths += [folder / f"{stem}.eks_{model}.3d{suffix}" for suffix in suffixes]
    return [*paths, folder / f"{stem}.eks_{model}.provenance.json"]


def _start(stem: str, view: str, model: str) -> str:
    """Start of the name of one view's files."""
    return ".".join(word for word in (stem, view, f"eks_{model}") if word)
