"""DeepLabCut projects: config.yaml, and labeled-data with images and CollectedData tables.

`converters.formats.deeplabcut` has the format's conventions. The project is multi-animal if an image has
several instances or instances have names; instances that are called "single" become its unique
bodyparts. Bodyparts are the keypoints that some instance defines: a superset of 27 of which the dataset
labels four becomes a project of these four. Both csv and h5 are written, with the three-level index of
DeepLabCut 2.3 and later. config.yaml names a video for each folder, which need not exist:
`create_training_dataset` goes by the names only.

Images keep the folder that a DeepLabCut source gave them (`labeled-data/<video>/`). Others are put into one
folder for each split group of several images, and photographs that are groups of their own into one
folder together; in a set of several datasets the folder's name begins with the dataset.

What the format cannot keep, and is lost (reported with counts):
- occluded: becomes labelled like a visible keypoint;
- undefined, where another instance defines the keypoint: becomes not annotated;
- boxes, categories, image ids, the official part, and the image's ending if the labels said another one;
- single-animal: an image without animals reads back as one with nothing annotated. Multi-animal: an
  instance without any annotated keypoint is as if it were not there.
"""

from __future__ import annotations

import datetime
import logging
import shutil
from collections import Counter
from collections.abc import Sequence
from graphlib import CycleError, TopologicalSorter
from itertools import pairwise
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import numpy as np
import yaml

from converters.formats.deeplabcut import SINGLE, Bodyparts
from converters.writers.common import check_images, free_name, image_name, safe_name, write_provenance
from superset_vocab import InputError, LabelRecord, LabelSet, Visibility, load_vocabulary
from superset_vocab.errors import all_problems
from superset_vocab.files import atomic_folder

if TYPE_CHECKING:
    import pandas as pd

_LOG = logging.getLogger(__name__)
_KEY = "df_with_missing"  # DeepLabCut's name of the table in its h5


def write(labels: LabelSet, out: Path, *, scorer: str = "zoo", multi_animal: bool | None = None) -> None:
    """Write labels and copies of their images as a DeepLabCut project; all of it or nothing.

    Args:
        labels: The set.
        out: A new or empty folder.
        scorer: Who labelled, as DeepLabCut calls it.
        multi_animal: Whether to write individuals; None decides by the labels.

    Raises:
        InputError: If an image has several animals of one name, or several at all in a single-animal
            project, or `out` cannot be written.
    """
    check_images(labels.records, out)
    if safe_name(scorer) != scorer:
        raise InputError(f"scorer {scorer!r} becomes part of file names; use letters, digits, - and _ only")
    several = max((len(record) for record in labels.records), default=0) > 1
    named = any(record.individuals for record in labels.records)
    multi = several or named if multi_animal is None else multi_animal
    names = [_individuals(record) if multi else ("",) * len(record) for record in labels.records]
    _check(labels.records, names, multi, out)
    bodyparts = _bodyparts(labels, names, multi, scorer)
    places = _places(labels)
    _report_losses(labels, out)
    with atomic_folder(out) as folder:
        for video in dict.fromkeys(video for video, _ in places):
            rows = [i for i, (v, _) in enumerate(places) if v == video]
            inside = folder / "labeled-data" / video
            inside.mkdir(parents=True)
            for i in rows:
                shutil.copyfile(labels.records[i].image, inside / places[i][1])
            table = _table([(labels.records[i], names[i], places[i]) for i in rows], labels, bodyparts, names)
            table.to_csv(inside / f"CollectedData_{scorer}.csv")
            table.to_hdf(inside / f"CollectedData_{scorer}.h5", key=_KEY, mode="w")
        config = _config(labels, bodyparts, places, names, out)
        (folder / "config.yaml").write_text(
            yaml.safe_dump(config, sort_keys=False, allow_unicode=True), "utf-8"
        )
        write_provenance(labels, folder, "deeplabcut", scorer=scorer, multi_animal=multi)


def _individuals(record: LabelRecord) -> tuple[str, ...]:
    """(N,) names of the animals of an image: the source's, or numbers."""
    return record.individuals or tuple(f"individual{n}" for n in range(1, len(record) + 1))


def _check(records: Sequence[LabelRecord], names: Sequence[tuple[str, ...]], multi: bool, out: Path) -> None:
    """Refuse what tables cannot say."""
    problems = []
    for record, here in zip(records, names, strict=True):
        what = record.source_image or record.image.name
        if not multi and len(record) > 1:
            problems.append(f"{what} has {len(record)} instances; write a multi-animal project")
        for name, times in Counter(here).items() if multi else ():
            if times > 1:
                problems.append(f"{what} has {times} individuals called {name!r}")
    if problems:
        raise all_problems(f"{out} is not written", problems)


def _bodyparts(labels: LabelSet, names: Sequence[tuple[str, ...]], multi: bool, scorer: str) -> Bodyparts:
    """The keypoints that are defined somewhere; those only of instances called "single" are unique."""
    shared, unique = np.zeros((2, len(labels.keypoints)), dtype=bool)
    for record, here in zip(labels.records, names, strict=True):
        defined = record.visibility >= Visibility.NOT_ANNOTATED
        own = np.array([name == SINGLE for name in here], dtype=bool)
        shared |= defined[~own].any(0)
        unique |= defined[own].any(0)
    if not (shared | unique).any():
        shared[:] = True  # no instance at all: the keypoints are all that is known
    unique &= ~shared
    left_out = [k for k, known in zip(labels.keypoints, shared | unique, strict=True) if not known]
    if left_out:
        _LOG.info("left out, as no image defines them: %s", ", ".join(left_out))
    for record, here in zip(labels.records, names, strict=True):
        own = np.array([name == SINGLE for name in here], dtype=bool)
        if record.annotated[own][:, shared].any():
            raise InputError(
                f"{record.source_image or record.image}: an individual is called {SINGLE!r}, the name that "
                "DeepLabCut keeps for unique bodyparts, and has keypoints that other animals have; rename it"
            )
    pick = [
        tuple(k for k, is_in in zip(labels.keypoints, part, strict=True) if is_in)
        for part in (shared, unique)
    ]
    return Bodyparts(pick[0], pick[1], multi, scorer)


def _places(labels: LabelSet) -> list[tuple[str, str]]:
    """Folder below labeled-data and file name of each image, all different on any file system."""
    sizes = Counter((record.dataset, record.split_group) for record in labels.records)
    taken: set[str] = set()
    places = []
    for record in labels.records:
        parts = PurePosixPath(record.source_image).parts
        if len(parts) == 3 and parts[0] == "labeled-data":
            video = parts[1]
        elif sizes[record.dataset, record.split_group] > 1:
            video = safe_name(record.split_group)
        else:
            video = safe_name(record.dataset)
        if len(labels.sources) > 1 and video != safe_name(record.dataset):
            video = f"{safe_name(record.dataset)}__{video}"
        name = free_name(f"{video}/{image_name(record)}", taken)
        places.append((video, PurePosixPath(name).name))
    return places


def _order(names: Sequence[tuple[str, ...]]) -> list[str]:
    """All individuals, in an order that each image agrees with, where there is one."""
    found = list(dict.fromkeys(name for here in names for name in here))
    sorter: TopologicalSorter[str] = TopologicalSorter(dict.fromkeys(found, ()))
    for here in dict.fromkeys(names):
        for before, after in pairwise(here):
            sorter.add(after, before)
    try:
        return list(sorter.static_order())
    except CycleError:
        return found


def _table(
    rows: Sequence[tuple[LabelRecord, tuple[str, ...], tuple[str, str]]],
    labels: LabelSet,
    bodyparts: Bodyparts,
    names: Sequence[tuple[str, ...]],
) -> pd.DataFrame:
    """DeepLabCut's table of one folder."""
    import pandas as pd

    index = {name: k for k, name in enumerate(labels.keypoints)}
    individuals = _order(names) if bodyparts.multi_animal else [""]
    columns = [
        (individual, name, coord)
        for individual in individuals
        for name in (bodyparts.unique if individual == SINGLE else bodyparts.shared)
        for coord in ("x", "y")
    ]
    place = {column: c for c, column in enumerate(columns)}
    values = np.full((len(rows), len(columns)), np.nan)
    for row, (record, here, _) in enumerate(rows):
        for n, individual in enumerate(here):
            for k in np.flatnonzero(record.annotated[n]):
                first = place[individual, labels.keypoints[k], "x"]
                values[row, first : first + 2] = record.keypoints[n, index[labels.keypoints[k]]]
    if bodyparts.multi_animal:
        levels, head = (
            ["scorer", "individuals", "bodyparts", "coords"],
            [(bodyparts.scorer, *c) for c in columns],
        )
    else:
        levels, head = ["scorer", "bodyparts", "coords"], [(bodyparts.scorer, *c[1:]) for c in columns]
    return pd.DataFrame(
        values,
        index=pd.MultiIndex.from_tuples([("labeled-data", *where) for _, _, where in rows]),
        columns=pd.MultiIndex.from_tuples(head, names=levels),
    )


def _config(
    labels: LabelSet,
    bodyparts: Bodyparts,
    places: Sequence[tuple[str, str]],
    names: Sequence[tuple[str, ...]],
    out: Path,
) -> dict[str, Any]:
    """What config.yaml says, in DeepLabCut's order."""
    out = out.resolve()
    videos = {}
    for record, (video, _) in zip(labels.records, places, strict=True):
        crop = f"0, {record.size_wh[0]}, 0, {record.size_wh[1]}"
        videos.setdefault(str(out / "videos" / f"{video}.mp4"), {"crop": crop})
    skeleton: list[list[str]] = []
    if labels.vocabulary is not None:
        known = set(bodyparts.shared)
        bones = load_vocabulary(labels.vocabulary).skeleton
        skeleton = [[a, b] for a, b in bones if a in known and b in known]
    today = datetime.datetime.now(tz=datetime.UTC).strftime("%b%d")
    parts: dict[str, Any] = {"bodyparts": list(bodyparts.shared)}
    if bodyparts.multi_animal:
        parts = {
            "individuals": [name for name in _order(names) if name != SINGLE],
            "uniquebodyparts": list(bodyparts.unique),
            "multianimalbodyparts": list(bodyparts.shared),
            "bodyparts": "MULTI!",
        }
    return {
        "Task": safe_name(out.name),
        "scorer": bodyparts.scorer,
        "date": today,
        "multianimalproject": bodyparts.multi_animal,
        "identity": False,
        "project_path": str(out),
        "engine": "pytorch",
        "video_sets": videos,
        **parts,
        "start": 0,
        "stop": 1,
        "numframes2pick": 20,
        "skeleton": skeleton,
        "skeleton_color": "black",
        "pcutoff": 0.6,
        "dotsize": 6,
        "alphavalue": 0.7,
        "colormap": "rainbow",
        "TrainingFraction": [0.95],
        "iteration": 0,
        "default_net_type": "resnet_50",
        "default_augmenter": "albumentations",
        "snapshotindex": -1,
        "batch_size": 8,
        "cropping": False,
        "x1": 0,
        "x2": 640,
        "y1": 0,
        "y2": 480,
        "corner2move2": [50, 50],
        "move2corner": True,
    }


def _report_losses(labels: LabelSet, out: Path) -> None:
    """Say what the format does not keep."""
    occluded = sum(int((r.visibility == Visibility.OCCLUDED).sum()) for r in labels.records)
    boxes = sum(int(np.isfinite(r.bbox_xywh).all(1).sum()) for r in labels.records)
    if occluded:
        _LOG.warning("%s: %d occluded keypoints become visible ones: DeepLabCut has no flag", out, occluded)
    if boxes:
        _LOG.warning("%s: %d boxes are not written: DeepLabCut has none", out, boxes)
