"""Lightning Pose labels: CollectedData.csv at the root of the project.

The csv is DeepLabCut's (header rows scorer, bodyparts, coords; coordinates with the centre of the top-left
pixel at (0, 0); an empty cell is a keypoint that was not annotated), but there is one for all videos, and
it names images from the root: `labeled-data/<video>/img00012.png`. One animal in each image; no flag for
an occluded keypoint, no box.

Projects with several cameras have one csv for each, `CollectedData_<view>.csv`, all with the same
keypoints; the reader takes them all. The split group is the folder of the image; of a folder called
`<session>_<view>` it is the session, because the views of one moment show the same animal. Images
directly in `labeled-data` are one group. Which frames belong together across views is lost.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from converters.formats import deeplabcut
from converters.formats.label_table import is_label_csv, read_table
from superset_vocab import InputError, LabelRecord, LabelSet

_STEM = "CollectedData"


def detect(path: Path) -> bool:
    """A folder with labeled-data and CollectedData*.csv in it, or such a csv."""
    if path.is_dir():
        return (path / "labeled-data").is_dir() and bool(_label_files(path))
    return path.suffix.lower() == ".csv" and (path.parent / "labeled-data").is_dir() and is_label_csv(path)


def read(source: Path, *, dataset: str) -> LabelSet:
    """Read a Lightning Pose project, or one of its label files.

    Args:
        source: The project folder, or a CollectedData csv at its root.
        dataset: Dataset name of the records.

    Returns:
        One record for each row, keypoints in the order of the (first) csv's header.

    Raises:
        InputError: If anything is broken; all problems are listed.
    """
    files = _label_files(source) if source.is_dir() else [source]
    if not files:
        raise InputError(f"{source}: has no {_STEM}*.csv; is it the root of a Lightning Pose project?")
    tables = [read_table(path) for path in files]
    labels = deeplabcut.from_tables(tables, None, source, dataset=dataset, format_name="lightning-pose")
    views = [path.stem.removeprefix(_STEM).strip("_") for path in files]
    view_of = {name: view for table, view in zip(tables, views, strict=True) for name in table.images}
    records = tuple(
        replace(record, split_group=_group(record, view_of[record.source_image], dataset))
        for record in labels.records
    )
    return replace(labels, records=records)


def _label_files(project: Path) -> list[Path]:
    """The csv of each view."""
    return sorted(path for path in project.glob(f"{_STEM}*.csv") if is_label_csv(path))


def _group(record: LabelRecord, view: str, dataset: str) -> str:
    """The session that an image is of."""
    folder = record.split_group
    if folder == "labeled-data":
        return dataset
    return folder.removesuffix(view).rstrip("_-.") or folder if view else folder
