"""Predictions as files: DeepLabCut tables (h5, csv), COCO keypoint results, NWB (`zoo.nwb`).

DeepLabCut's conventions, kept so that its tools read the files: one row for each frame, called by its number,
or by its file name where the input was images; columns are
[scorer, bodyparts, coords], or [scorer, individuals, bodyparts, coords] for several individuals;
coords are x, y, likelihood (our confidence); the h5 has one table under the key df_with_missing. Its
pixels are ours: the centre of the top-left pixel is (0, 0). Missing is NaN (in csv the word NaN, where
DeepLabCut leaves the field empty).

COCO's: a list with one entry for each individual that is present, `image_id` the frame index (for
images their place in the input, and `file_name` besides), `category_id` 1, `keypoints` flat
x, y, confidence, `bbox` x, y, width, height, and `score` the box confidence times the mean keypoint
confidence. COCO has no NaN: a keypoint without a position is 0, 0, 0.

Beside the tables goes `<stem>.provenance.json`; the h5 also carries it as an attribute of its group.
"""

from __future__ import annotations

import itertools
import json
import pickle
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from superset_vocab.errors import InputError
from superset_vocab.files import atomic_path, make_folder, write_json
from zoo.nwb import NO_TIME, require, write_nwb

if TYPE_CHECKING:
    import pandas as pd

    from zoo.results import Predictions

H5_KEY = "df_with_missing"
_CHUNK = 1024  # frames


def export(
    predictions: Predictions, folder: Path, stem: str, formats: Sequence[str] = ("h5", "csv", "coco")
) -> list[Path]:
    """Write predictions in several formats, with their provenance.

    Args:
        predictions: What to write.
        folder: Created if it does not exist.
        stem: Start of the file names: <stem>.h5, <stem>.csv, <stem>.coco.json, <stem>.nwb,
            <stem>.provenance.json.
        formats: Any of "h5", "csv", "coco", "nwb" (of a video; needs the extra nwb).

    Returns:
        The files, the provenance last.

    Raises:
        InputError: If a format is unknown or cannot be had, or the folder cannot be written. Existing files
            are replaced.
    """
    paths = export_paths(folder, stem, formats)
    if "nwb" in formats and predictions.fps is None:
        raise InputError(f"{paths[list(formats).index('nwb')]}: {NO_TIME}")
    make_folder(folder)
    for name, path in zip(formats, paths, strict=False):
        _WRITERS[name](predictions, path)
    about = {**predictions.provenance, "n_frames": len(predictions), "individuals": predictions.individuals}
    if predictions.fps is not None:
        about["fps"] = str(predictions.fps)
    write_json(paths[-1], {**about, "images": list(predictions.images)})
    return paths


def export_paths(folder: Path, stem: str, formats: Sequence[str]) -> list[Path]:
    """Files that `export` writes, without writing them.

    Raises:
        InputError: If a format is unknown, there is none, or what it needs is not installed.
    """
    unknown = [name for name in formats if name not in _SUFFIXES]
    if unknown or not formats:
        found = ", ".join(map(repr, unknown)) or "nothing"
        raise InputError(f"formats: {found} is no format to write; there are: {', '.join(_SUFFIXES)}")
    if "nwb" in formats:
        require()
    suffixes = [_SUFFIXES[name] for name in formats]
    return [folder / f"{stem}{suffix}" for suffix in [*suffixes, ".provenance.json"]]


def dlc_table(predictions: Predictions, rows: slice | None = None) -> pd.DataFrame:
    """Predictions as a DeepLabCut table: (T, N * K * 3) float32, column levels as in the module's text.

    Args:
        predictions: The poses.
        rows: Which frames; None for all.
    """
    import pandas as pd

    keypoints, names = predictions.vocabulary.keypoints, ["scorer", "individuals", "bodyparts", "coords"]
    levels: list[Sequence[str]] = [[scorer(predictions)], predictions.individuals, keypoints]
    if predictions.n_individuals == 1:
        del names[1], levels[1]
    columns = pd.MultiIndex.from_product([*levels, ["x", "y", "likelihood"]], names=names)
    rows = rows or slice(None)
    values = np.concatenate([predictions.keypoints[rows], predictions.confidence[rows, ..., None]], axis=-1)
    index = pd.Index(predictions.images[rows] if predictions.images else predictions.frame_index[rows])
    return pd.DataFrame(values.reshape(len(index), len(columns)), index=index, columns=columns)


def _tables(predictions: Predictions) -> Iterator[pd.DataFrame]:
    """The table in pieces, so that a long video needs no more memory than a short one; at least one.

    That of images is one piece: an h5 has to know the longest name from the beginning.
    """
    step = len(predictions) if predictions.images else _CHUNK
    for start in range(0, max(1, len(predictions)), step):
        yield dlc_table(predictions, slice(start, start + step))


def scorer(predictions: Predictions) -> str:
    """Name of the model as DeepLabCut tables have it: "<model>_<variant>_<detector>".

    The detector is left out where it is called like the variant, as the embedded ones are.
    """
    about = predictions.provenance
    return model_label(*(str(about.get(key, "")) for key in ("model", "variant", "detector")))


def model_label(model: str, variant: str, detector: str) -> str:
    """Model, variant and detector in one word, for tables and names of files."""
    words = [model, variant, detector if detector != variant else ""]
    return "_".join(word for word in words if word) or "superanimal_zoo"


def write_dlc_h5(predictions: Predictions, path: Path) -> None:
    """Write a DeepLabCut h5; `pandas.read_hdf(path)` opens it."""
    write_h5_tables(_tables(predictions), predictions.provenance, path)


_ATTRIBUTE_LIMIT = 60_000  # bytes; HDF5 takes 64 KiB for all attributes of a node

_LAYOUT_VERSION = (
    "0.15.2"  # pandas 3 writes none; without it pandas 1 and 2, which DeepLabCut has, read nothing
)


def write_h5_tables(pieces: Iterable[pd.DataFrame], provenance: dict[str, Any], path: Path) -> None:
    """Write the pieces of one table, in DeepLabCut's columns, as a DeepLabCut h5 with its provenance.

    The layout is pandas' "table", which takes the pieces one by one but has all names of columns in one
    attribute. A herd (23 quadrupeds) has too many for that: its table is put together and written in the
    layout "fixed".
    """
    import pandas as pd
    import tables

    with atomic_path(path) as temporary:
        with pd.HDFStore(str(temporary), mode="w") as store:
            pieces = iter(pieces)
            first = next(pieces)
            if len(pickle.dumps(list(first.columns), protocol=0)) > _ATTRIBUTE_LIMIT:
                whole = pd.concat([first, *pieces]).astype(np.float64)
                store.put(H5_KEY, whole, format="fixed", track_times=False)
            else:
                for table in itertools.chain([first], pieces):
                    store.append(H5_KEY, table.astype(np.float64), format="table")
        with tables.open_file(str(temporary), "a") as file:
            group = file.get_node(f"/{H5_KEY}")
            group._v_attrs.pandas_version = _LAYOUT_VERSION
            text = json.dumps(provenance, ensure_ascii=True)
            if len(text) < _ATTRIBUTE_LIMIT:
                group._v_attrs.provenance = text
            else:  # an array of its own, which pandas passes over
                file.create_array("/", "provenance", np.frombuffer(text.encode(), np.uint8))


def read_h5_provenance(path: Path) -> dict[str, Any]:
    """The provenance that `write_dlc_h5` put into a file.

    PyTables would unpickle what it finds there, and so run what a stranger wrote; h5py knows no pickles.

    Raises:
        InputError: If the file has none.
    """
    import h5py

    try:
        with h5py.File(path, "r") as file:
            text: Any
            if "provenance" in file:
                text = np.asarray(file["provenance"]).tobytes()
            else:
                text = file[H5_KEY].attrs["provenance"]
        about = json.loads(text)
    except (OSError, LookupError, TypeError, ValueError) as error:
        raise InputError(f"{path}: no table with provenance, such as `zoo predict` writes") from error
    if not isinstance(about, dict):
        raise InputError(f"{path}: its provenance is none of `zoo predict`")
    return about


def write_dlc_csv(predictions: Predictions, path: Path) -> None:
    """Write a DeepLabCut csv: its header rows, then one row for each frame."""
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        for i, table in enumerate(_tables(predictions)):
            # "NaN" in words: pandas takes a first row of empty fields for names of the index, and drops it.
            table.to_csv(file, na_rep="NaN", header=i == 0, lineterminator="\n")


def write_coco(predictions: Predictions, path: Path) -> None:
    """Write COCO keypoint results, one to a line."""
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        for i, result in enumerate(coco_results(predictions)):
            file.write(("[\n" if i == 0 else ",\n") + json.dumps(result, allow_nan=False))
        file.write("\n]\n" if file.tell() else "[]\n")


def coco_results(predictions: Predictions) -> Iterator[dict[str, Any]]:
    """COCO keypoint results of the individuals that are present; see the module's text."""
    for t, n in np.argwhere(np.isfinite(predictions.bbox_confidence)):
        values = np.concatenate([predictions.keypoints[t, n], predictions.confidence[t, n, :, None]], axis=-1)
        points = np.where(np.isfinite(values).all(-1, keepdims=True), values, 0.0)
        yield {
            "image_id": int(predictions.frame_index[t]),
            "category_id": 1,
            "keypoints": [_short(value) for value in points.ravel()],
            "bbox": [_short(value) for value in predictions.bbox_xywh[t, n]],
            "score": float(predictions.bbox_confidence[t, n]) * float(points[:, 2].mean()),
            "individual": predictions.individuals[n],
            **({"file_name": predictions.images[t]} if predictions.images else {}),
        }


def _short(value: np.floating) -> float:
    """The shortest decimal that is this float32, as a Python float."""
    return float(str(np.float32(value)))


_SUFFIXES = {"h5": ".h5", "csv": ".csv", "coco": ".coco.json", "nwb": ".nwb"}
_WRITERS: dict[str, Callable[[Predictions, Path], None]] = {
    "h5": write_dlc_h5,
    "csv": write_dlc_csv,
    "coco": write_coco,
    "nwb": write_nwb,
}
