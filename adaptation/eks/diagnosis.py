"""Where predictions contradict the geometry: poses that are unlike the others, views that disagree.

Two signs of a wrong prediction that no ensemble variance shows, because all networks make the same mistake
(Lightning Pose paper, "EKS"): a keypoint does not fit the pose (distance to the space of usual poses, "Pose
PCA", pixels), and two cameras disagree about where a keypoint is (difference of their canonical projections,
"CCA", standard deviations of the movement). Frames in which they are large are worth a look, or a label.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from adaptation.eks.canonical import CanonicalCorrelation, canonical_correlation
from adaptation.eks.ensemble import EnsembleStatistics, Smoothed
from adaptation.eks.pose import pose_pca
from adaptation.eks.smoothed_recording import SmoothedRecording
from adaptation.eks.writers import refuse_existing, write_rows
from superset_vocab.errors import InputError
from superset_vocab.files import make_folder

_log = logging.getLogger(__name__)
JOINT = ("multicam", "mirrored", "calibrated")  # views smoothed together, on the same frames


@dataclass(frozen=True, eq=False)
class Diagnosis:
    """Signs of wrong predictions in one individual.

    Attributes:
        individual: Its name.
        distance: View to (T, K) pixels from the space of usual poses; NaN where not observed.
        names: View to its (K,) keypoints.
        canonical: Pair of views to one canonical correlation for each keypoint; of JOINT models only.
    """

    individual: str
    distance: Mapping[str, np.ndarray]
    names: Mapping[str, tuple[str, ...]]
    canonical: Mapping[tuple[str, str], tuple[CanonicalCorrelation, ...]]


def diagnose(smoothed: SmoothedRecording, cameras: Sequence[str] = ()) -> list[Diagnosis]:
    """Distances to usual poses, and differences between views that were smoothed together.

    Args:
        smoothed: What was smoothed.
        cameras: Names of the views of "mirrored", which come in one table.

    Returns:
        One for each individual. A view in which too few frames have the whole pose has no distances; the log
        says so.
    """
    found = []
    for individual, ensembles in smoothed.recording.ensembles.items():
        tracks = [table[individual] for table in smoothed.tables.values()]
        distance, names = {}, {}
        for ensemble in ensembles:
            try:
                pose = pose_pca(ensemble)
            except InputError as error:  # an animal that was hardly seen must not cost the others' tracks
                where = " in ".join(word for word in (individual, ensemble.view) if word)
                _log.warning("%s: no distances to usual poses (%s)", where, error)
                continue
            distance[ensemble.view], names[ensemble.view] = pose.distance, ensemble.names
        views = _split(tracks[0], cameras) if smoothed.model == "mirrored" else tracks
        pairs = itertools.combinations(views, 2) if smoothed.model in JOINT else ()
        canonical = {(a.view, b.view): canonical_correlation(a, b) for a, b in pairs}
        found.append(Diagnosis(individual, distance, names, canonical))
    return found


def _split(track: Smoothed, cameras: Sequence[str]) -> list[Smoothed]:
    """Mirrored views of one table, keypoints without the view in their name."""
    views = []
    for camera in cameras:
        places = [k for k, name in enumerate(track.names) if name.endswith(f"_{camera}")]
        statistics = EnsembleStatistics(
            track.statistics.centre[:, places],
            track.statistics.variance[:, places],
            track.statistics.confidence[:, places],
        )
        names = tuple(track.names[k].removesuffix(f"_{camera}") for k in places)
        views.append(
            replace(
                track,
                keypoints=track.keypoints[:, places],
                variance=track.variance[:, places],
                statistics=statistics,
                names=names,
                view=camera,
            )
        )
    return views


def save_diagnosis(
    smoothed: SmoothedRecording,
    found: Sequence[Diagnosis],
    folder: Path,
    stem: str,
    *,
    overwrite: bool = False,
) -> list[Path]:
    """Write the signs as csv, a row for each frame and a column for each keypoint.

    <stem>[.<camera>].eks_<model>[.<individual>].pose_pca.csv holds pixels,
    <stem>.<camera>-<camera>.eks_<model>[.<individual>].cca.csv standard deviations.

    Raises:
        InputError: If a file exists and `overwrite` is false.
    """
    several = len(found) > 1
    tables: dict[Path, tuple[Sequence[str], np.ndarray, np.ndarray]] = {}
    index = dict(zip(smoothed.recording.views, smoothed.recording.frame_index, strict=True))
    for one in found:
        who = one.individual if several else ""

        def path(view: str, what: str, who: str = who) -> Path:
            words = [stem, view, smoothed.scorer, who, what, "csv"]
            return folder / ".".join(word for word in words if word)

        for view, distance in one.distance.items():
            tables[path(view, "pose_pca")] = one.names[view], index[view], distance
        for pair, correlations in one.canonical.items():
            values = np.column_stack([each.difference for each in correlations])
            names, frames = [each.keypoint for each in correlations], next(iter(index.values()))
            tables[path("-".join(pair), "cca")] = names, frames, values
    refuse_existing(list(tables), overwrite)
    make_folder(folder)
    for target, (names, frames, values) in tables.items():
        write_rows(target, [["frame", *names]], frames, lambda chosen, values=values: values[chosen])
    return list(tables)


def worst_rows(distance: np.ndarray, most: int = 5, apart: int = 20) -> list[int]:
    """Rows in which a keypoint is furthest from usual poses, worst first, no two of them close together."""
    worst = np.nan_to_num(distance, nan=0.0).max(axis=1)
    rows: list[int] = []
    for row in np.argsort(-worst, kind="stable"):
        if len(rows) == most or worst[row] == 0:
            break
        if all(abs(row - other) >= apart for other in rows):
            rows.append(int(row))
    return rows
