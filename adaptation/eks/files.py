"""Predictions of any program as ensembles: DeepLabCut and Lightning Pose csv, DeepLabCut h5, SLEAP, our own.

One file holds what one network predicted for one video of one camera. What is read, and the conventions:

- csv with the header rows scorer, bodyparts, coords, and in multi-animal files individuals; the first
  column is the frame. A trailing column `set` (Lightning Pose) is passed over. coords are x, y,
  likelihood; a smoothed file's further columns are passed over too.
- DeepLabCut's h5, read without unpickling (`converters.formats.label_table`).
- SLEAP's analysis .h5, and .slp through sleap-io. Tracks are individuals; scores above 1, which SLEAP's
  peaks can have, count as 1.
- `zoo.Predictions`.

Coordinates are taken as they stand: pixels, the centre of the top-left pixel at (0, 0). Missing is NaN; a
keypoint at exactly (0, 0) with confidence 0 is what several programs write for missing, and read as such.
"""

from __future__ import annotations

import csv
import hashlib
import io
import logging
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from superset_vocab.errors import InputError, all_problems
from superset_vocab.files import sha256_of

if TYPE_CHECKING:
    from zoo.results import Predictions

SUFFIXES = (".csv", ".h5", ".hdf5", ".slp")
ONLY = "animal0"  # name of the individual in files that name none, as in `zoo.Predictions`

_HEADER = ("scorer", "individuals", "bodyparts", "coords")
_COORDS = ("x", "y", "likelihood")
_MOST_PROBLEMS = 20
_NO_FRAMES = "its rows are images, not frames of a video: name predictions on the video"
_EMPTY_CELL = re.compile(rb",(?=[,\r\n]|\Z)")
_log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Track:
    """One individual in one network's predictions.

    Attributes:
        individual: Its name.
        names: (K,) keypoints.
        keypoints: (T, K, 2) float64 pixels, NaN where missing.
        confidence: (T, K) float64 in [0, 1], NaN where missing.
    """

    individual: str
    names: tuple[str, ...]
    keypoints: np.ndarray
    confidence: np.ndarray

    def __post_init__(self) -> None:
        t, k = len(self.keypoints), len(self.names)
        if self.keypoints.shape != (t, k, 2) or self.confidence.shape != (t, k):
            raise ValueError(
                f"keypoints {self.keypoints.shape} and confidence {self.confidence.shape} do not fit "
                f"{k} keypoints"
            )


@dataclass(frozen=True, eq=False)
class Poses:
    """What one network predicted for one video.

    Attributes:
        source: The file, or a name for predictions that were never in one.
        tracks: One for each individual; in DeepLabCut's multi-animal files they may differ in keypoints.
        frame_index: (T,) int64, rising.
        about: For the provenance: the file's SHA-256, or the provenance of our own predictions.
    """

    source: str
    tracks: tuple[Track, ...]
    frame_index: np.ndarray
    about: dict[str, Any]

    @property
    def individuals(self) -> tuple[str, ...]:
        """Names of the individuals."""
        return tuple(track.individual for track in self.tracks)

    def track(self, individual: str) -> Track:
        """One individual's track; KeyError if there is none."""
        return dict(zip(self.individuals, self.tracks, strict=True))[individual]


def read_poses(path: str | Path) -> Poses:
    """Read one network's predictions.

    Args:
        path: A .csv, .h5 or .slp.

    Raises:
        InputError: If the file cannot be read or is not such a file. All problems of a csv are listed.
        ModuleNotFoundError: For a .slp, where sleap-io is not installed.
    """
    path = Path(path)
    if path.suffix.lower() not in SUFFIXES:
        raise InputError(f"{path}: is no table of predictions; those end in {', '.join(SUFFIXES)}")
    if not path.is_file():
        raise InputError(f"{path}: {'is a folder' if path.is_dir() else 'no such file'}; name a file")
    if path.suffix.lower() == ".csv":
        content = path.read_bytes()
        columns, index, values = _read_csv(path, content)
        tracks = _tracks(path, columns, values)
        digest = hashlib.sha256(content).hexdigest()
    else:
        tracks, index = _read_slp(path) if path.suffix.lower() == ".slp" else _read_h5(path)
        digest = sha256_of(path)
    return Poses(str(path), tracks, _frame_index(path, index), {"file": path.name, "sha256": digest})


def from_predictions(predictions: Predictions, source: str = "predictions") -> Poses:
    """Our own predictions as one member of an ensemble.

    Args:
        predictions: Of a video.
        source: What to call them in messages.
    """
    tracks = tuple(
        Track(
            name,
            tuple(predictions.vocabulary.keypoints),
            predictions.keypoints[:, i].astype(np.float64),
            predictions.confidence[:, i].astype(np.float64),
        )
        for i, name in enumerate(predictions.individuals)
    )
    if predictions.images:
        raise InputError(f"{source}: holds images, not a video; there is no time to smooth over")
    return Poses(source, tracks, predictions.frame_index.astype(np.int64), dict(predictions.provenance))


def _frame_index(path: Path, index: np.ndarray) -> np.ndarray:
    """(T,) int64; refuses rows that are not in time."""
    steps = np.diff(index)
    if len(steps) and steps.min() < 1:
        row = int(np.argmax(steps < 1)) + 1
        raise InputError(
            f"{path}: its frames do not rise: frame {index[row]} comes after {index[row - 1]}; "
            "sort it, one row for each frame"
        )
    return index


# --- csv -------------------------------------------------------------------------------------------------


def _read_csv(path: Path, content: bytes) -> tuple[list[tuple[str, str, str]], np.ndarray, np.ndarray]:
    """Columns as (individual, keypoint, coordinate), (T,) frames and (T, C) values of a csv."""
    content = content.removeprefix(b"\xef\xbb\xbf")
    header, start = _csv_header(path, content)
    columns, places = _csv_columns(path, header)
    body = content[start:]
    if not body.strip():
        raise InputError(f"{path}: has a header and no frames; was it copied completely?")
    if _EMPTY_CELL.search(body):
        body = _EMPTY_CELL.sub(b",nan", body)
    try:
        table = np.loadtxt(io.BytesIO(body), delimiter=",", usecols=[0, *places], ndmin=2, comments=None)
    except (ValueError, UnicodeDecodeError) as error:
        first = body.lstrip().split(b",", 1)[0].decode("utf-8", "replace")
        if not _is_number(first):
            raise InputError(f"{path}: its first row is {first!r}; {_NO_FRAMES}") from error
        raise all_problems(str(path), _csv_problems(body, header, places) or [str(error)]) from error
    index = table[:, 0].astype(np.int64)
    if not np.array_equal(index, table[:, 0]):
        raise InputError(f"{path}: its first column is not the frame's number")
    return columns, index, table[:, 1:]


def _csv_header(path: Path, content: bytes) -> tuple[dict[str, list[str]], int]:
    """The header rows by their first cell, and where the table starts."""
    header: dict[str, list[str]] = {}
    start = 0
    while start < len(content):
        end = content.find(b"\n", start) + 1 or len(content)
        line = content[start:end]
        try:
            row = next(csv.reader([line.decode("utf-8")]), [])
        except (UnicodeDecodeError, csv.Error) as error:
            raise InputError(f"{path}: is no csv in UTF-8 ({error}); is it the right file?") from error
        if row and row[0].strip() not in _HEADER:
            break
        if row:
            header[row[0].strip()] = [cell.strip() for cell in row]
        start = end
    if not {"bodyparts", "coords"} <= set(header):
        raise InputError(
            f"{path}: has no header rows scorer, bodyparts, coords, as predictions of DeepLabCut and "
            "Lightning Pose have; is it the right file?"
        )
    if len({len(row) for row in header.values()}) > 1:
        widths = ", ".join(f"{name} {len(row)}" for name, row in header.items())
        raise InputError(f"{path}: its header rows differ in length ({widths} cells)")
    return header, start


def _csv_columns(path: Path, header: dict[str, list[str]]) -> tuple[list[tuple[str, str, str]], list[int]]:
    """What the columns with numbers hold, and where they are."""
    individuals = header.get("individuals", [ONLY] * len(header["coords"]))
    columns, places, others = [], [], set()
    for place, column in enumerate(zip(individuals, header["bodyparts"], header["coords"], strict=True)):
        if place > 0 and column[2] in _COORDS:
            columns.append(column)
            places.append(place)
        elif place > 0:
            others.add(column[2] or header.get("scorer", header["bodyparts"])[place] or "nameless")
    if others:
        _log.info("%s: passed over columns %s", path, ", ".join(sorted(others)))
    return columns, places


def _csv_problems(body: bytes, header: dict[str, list[str]], places: list[int]) -> list[str]:
    """Every row of a csv that is wrong; the line is the file's."""
    width, problems = len(header["coords"]), []
    first = len(header) + 1
    for line, row in enumerate(csv.reader(io.StringIO(body.decode("utf-8", "replace"))), start=first):
        if len(row) != width and row:
            problems.append(f"line {line} has {len(row)} cells, the header {width}")
        elif row:
            wrong = [repr(row[place]) for place in (0, *places) if not _is_number(row[place])]
            if wrong:
                problems.append(f"line {line} has {', '.join(wrong)} where numbers belong")
        if len(problems) == _MOST_PROBLEMS:
            return [*problems, "and there may be more"]
    return problems


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


# --- h5 and slp ------------------------------------------------------------------------------------------


def _read_h5(path: Path) -> tuple[tuple[Track, ...], np.ndarray]:
    """Tracks and frames of DeepLabCut's or SLEAP's h5."""
    import h5py

    from converters.formats.label_table import read_table

    try:
        with h5py.File(path, "r") as file:
            if "tracks" in file and isinstance(file["tracks"], h5py.Dataset):
                return _sleap_analysis(path, file)
    except OSError as error:
        raise InputError(f"{path}: is no HDF5 file ({error}); was it copied completely?") from error
    table = read_table(path)
    keypoints, coords = table.level("bodyparts"), table.level("coords")
    single = "individuals" not in table.levels
    individuals = (ONLY,) * len(coords) if single else table.level("individuals")
    chosen = [i for i, coord in enumerate(coords) if coord in _COORDS]
    columns = [(individuals[i], keypoints[i], coords[i]) for i in chosen]
    if not all(name.removeprefix("-").isdecimal() for name in table.images):
        raise InputError(f"{path}: its first row is {table.images[0]!r}; {_NO_FRAMES}")
    index = np.array([int(name) for name in table.images], dtype=np.int64)
    return _tracks(path, columns, table.values[:, chosen]), index


def _sleap_analysis(path: Path, file: Any) -> tuple[tuple[Track, ...], np.ndarray]:
    """SLEAP's analysis export: tracks (individual, 2, keypoint, frame), as Matlab stores them."""
    try:
        nodes, names = (
            [name.decode("utf-8") for name in file[key][:]] for key in ("node_names", "track_names")
        )
        places = file["tracks"][:].transpose(0, 3, 2, 1).astype(np.float64)
        scores = file["point_scores"][:].transpose(0, 2, 1).astype(np.float64)
        names = names or [ONLY]
        tracks = [
            _sleap_track(name, nodes, place, score)
            for name, place, score in zip(names, places, scores, strict=True)
        ]
    except (KeyError, ValueError, AttributeError) as error:
        raise InputError(
            f"{path}: is no complete SLEAP analysis file ({error}); export it again from SLEAP"
        ) from error
    return tuple(tracks), np.arange(places.shape[1])


def _read_slp(path: Path) -> tuple[tuple[Track, ...], np.ndarray]:
    """Tracks of a .slp of one video, through sleap-io."""
    from sleap_io.io.main import load_slp

    try:
        labels = load_slp(str(path), open_videos=False)
    except (OSError, KeyError, ValueError, IndexError) as error:
        raise InputError(f"{path}: sleap-io cannot read it ({error}); was it copied completely?") from error
    problems = []
    if len(labels.videos) != 1:
        problems.append(f"holds {len(labels.videos)} videos; export one video at a time")
    if len(labels.skeletons) != 1:
        problems.append(f"holds {len(labels.skeletons)} skeletons, want one")
    most = max((len(frame.instances) for frame in labels), default=0)
    if not labels.tracks and most != 1:
        problems.append(f"has up to {most} instances in a frame and no tracks; track it in SLEAP first")
    if problems:
        raise all_problems(str(path), problems)
    values = labels.numpy(return_confidence=True, untracked=not labels.tracks).transpose(1, 0, 2, 3)
    names = [track.name for track in labels.tracks] or [ONLY]
    keypoints = tuple(node.name for node in labels.skeletons[0].nodes)
    tracks = [
        _sleap_track(name, keypoints, one[..., :2].astype(np.float64), one[..., 2].astype(np.float64))
        for name, one in zip(names, values, strict=True)
    ]
    return tuple(tracks), np.arange(values.shape[1])


def _sleap_track(name: str, nodes: Sequence[str], keypoints: np.ndarray, scores: np.ndarray) -> Track:
    """A SLEAP track; a keypoint without a position has no confidence, whatever its score."""
    there = np.isfinite(keypoints).all(-1)
    return Track(name, tuple(nodes), keypoints, np.where(there, np.clip(scores, 0, 1), np.nan))


# --- columns to tracks -----------------------------------------------------------------------------------


def _tracks(path: Path, columns: Sequence[tuple[str, str, str]], values: np.ndarray) -> tuple[Track, ...]:
    """The individuals in a table of columns (individual, keypoint, coordinate)."""
    place = {column: i for i, column in enumerate(columns)}
    problems = [f"has column {' '.join(one)} twice" for one in sorted(set(_twice(columns)))]
    pairs = dict.fromkeys((individual, keypoint) for individual, keypoint, _ in columns)
    for individual, keypoint in pairs:
        missing = [one for one in _COORDS if (individual, keypoint, one) not in place]
        if missing:
            whose = keypoint if individual == ONLY else f"{keypoint} of {individual}"
            problems.append(f"has no {' and '.join(missing)} of {whose}")
    if not pairs:
        problems.append("has no columns x, y, likelihood")
    if problems and all("likelihood" in one for one in problems):
        problems = ["has no likelihood: it holds labels, not predictions"]
    if problems:
        raise all_problems(str(path), problems)
    tracks = []
    for individual in dict.fromkeys(individual for individual, _ in pairs):
        names = tuple(keypoint for one, keypoint in pairs if one == individual)
        chosen = [[place[individual, name, coord] for coord in _COORDS] for name in names]
        flat = np.array(chosen, dtype=np.int64).ravel()
        triples = values[:, flat].reshape(len(values), len(names), 3)
        triples[(triples == 0).all(-1)] = np.nan
        tracks.append(Track(individual, names, triples[..., :2], triples[..., 2]))
    return tuple(tracks)


def _twice(names: Sequence[Any]) -> Iterator[Any]:
    """What comes more than once."""
    seen = set()
    for name in names:
        if name in seen:
            yield name
        seen.add(name)
