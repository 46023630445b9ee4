"""The state of a run on disk: a checkpoint to resume from, and the record that goes with the weights.

A checkpoint holds tensors, numbers and strings only and is read with `weights_only=True`: loading
one can never run code, whoever wrote it. (mmengine's own checkpoints pickle objects of its logger and
its loader falls back to unpickling them, which is why they are not used.) It replaces the former
one by a rename, so that a kill at any moment leaves a complete one.
"""

from __future__ import annotations

import csv
import errno
import hashlib
import json
import math
import pickle
import platform
import shutil
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor, nn

from superset_vocab import InputError, LabelSet
from superset_vocab.errors import all_problems
from superset_vocab.files import atomic_path
from training.recipe import Recipe, recipe_from

_FORMAT = 1
_LITTLE = 50_000_000  # bytes free on a disk that counts as full
_FREE_TO_CHANGE = {("run", name) for name in ("checkpoint_every", "log_every", "workers", "cache_mb")}


@dataclass(frozen=True)
class Best:
    """The best measurement of a run so far.

    Attributes:
        value: Of the recipe's metric; None before the first.
        step: Optimiser step it was made at.
        since: Measurements made after it.
    """

    value: float | None = None
    step: int = 0
    since: int = 0

    def after(self, value: float, step: int, *, larger: bool) -> tuple[Best, bool]:
        """The best after one more measurement, and whether that is the new one. NaN never is."""
        better = self.value is None or (value > self.value if larger else value < self.value)
        if better and not math.isnan(value):
            return Best(value, step), True
        return Best(self.value, self.step, self.since + 1), False


@dataclass(frozen=True)
class Checkpoint:
    """Everything a run needs to go on as if it had never stopped.

    Attributes:
        iteration: Forward passes done; optimiser steps times `schedule.accumulate`.
        network: State dict of the network.
        average: State dict of the averaged network; empty without averaging.
        optimiser: State dict of the optimiser, with that of the gradient scaler.
        recipe: `Recipe.to_dict()` as JSON.
        data_sha256: Of the labels (`label_sha256`), or empty.
        seconds: Time spent so far.
        resumed_at: Optimiser steps at which the run was taken up again.
        best: The best measurement so far; its weights are in best.safetensors.
    """

    iteration: int
    network: dict[str, Tensor]
    average: dict[str, Tensor]
    optimiser: dict[str, Any]
    recipe: str
    data_sha256: str
    seconds: float
    resumed_at: list[int]
    best: Best = field(default_factory=Best)

    def save(self, path: Path) -> None:
        """Write atomically: the checkpoint before stays until this one is complete.

        Raises:
            OSError: If it cannot be written, e.g. because the disk is full.
        """
        content = {name: getattr(self, name) for name in self.__dataclass_fields__}
        content["best"] = asdict(self.best)
        with atomic_path(path) as temporary, _refusals_as_errors(path):
            torch.save({"format": _FORMAT, **content}, temporary)

    @classmethod
    def load(cls, path: Path) -> Checkpoint:
        """Read, without ever unpickling an object.

        Raises:
            InputError: If it is no complete checkpoint of this version.
        """
        remedy = "start again in a new folder"
        if not _is_whole(path):
            raise InputError(f"{path}: not a readable checkpoint, or damaged; {remedy}")
        try:
            content = torch.load(path, map_location="cpu", weights_only=True)
        except (
            pickle.UnpicklingError, RuntimeError, EOFError, OSError, ValueError, KeyError, TypeError
        ) as error:  # fmt: skip
            raise InputError(
                f"{path}: not a readable checkpoint ({type(error).__name__}); {remedy}"
            ) from error
        if not isinstance(content, dict) or content.pop("format", None) != _FORMAT:
            raise InputError(f"{path}: not a checkpoint of this version; {remedy}")
        best = content.pop("best", {})  # checkpoints before there was validation have none
        if set(content) != set(cls.__dataclass_fields__) - {"best"} or not set(best) <= set(asdict(Best())):
            raise InputError(f"{path}: the checkpoint lacks entries; {remedy}")
        return cls(**content, best=Best(**best))

    def check_same_run(self, recipe: Recipe, data_sha256: str, path: Path) -> None:
        """Refuse to continue a run with another recipe or other labels.

        Raises:
            InputError: Lists every entry of the recipe that differs.
        """
        problems = recipe_differences(json.loads(self.recipe), recipe, what=f"{path}: the recipe in it")
        if self.data_sha256 != data_sha256:
            problems.append("the labels have changed")
        if problems:
            raise all_problems(f"{path}: cannot resume another run; use a new folder", problems)


def _is_whole(path: Path) -> bool:
    """Whether a file is an archive whose parts have their checksums, which torch.load does not look at."""
    if not zipfile.is_zipfile(path):
        return False
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.testzip() is None
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError, NotImplementedError):
        return False


def recipe_differences(before: Mapping[str, Any], recipe: Recipe, *, what: str) -> list[str]:
    """One sentence for each entry in which a recipe is not the one that a run was begun with.

    Args:
        before: Tables of the run's recipe, perhaps of an earlier version.
        recipe: The one to go on with.
        what: What `before` is, for the message if it is no recipe.
    """
    # An entry that a recipe of an earlier version did not know had what is now its default.
    old_tables, new_tables = recipe_from(before, what=what).to_dict(), recipe.to_dict()
    return [
        f"{table}.{name} was {old_tables[table][name]!r} and is now {new!r}"
        for table, entries in new_tables.items()
        for name, new in sorted(entries.items())
        if old_tables[table][name] != new and (table, name) not in _FREE_TO_CHANGE
    ]


@contextmanager
def _refusals_as_errors(path: Path) -> Iterator[None]:
    """The errors of the libraries' own writers as the one that other files give: OSError with the path."""
    try:
        yield
    except OSError:
        raise
    except (RuntimeError, SafetensorError) as error:
        free = shutil.disk_usage(path.parent).free
        reason = str(error).splitlines()[0]
        raise OSError(
            errno.ENOSPC if free < _LITTLE else errno.EIO,
            f"cannot be written ({reason}; {free // 1_000_000} MB free); what was there before is kept",
            str(path),
        ) from error


def save_network(network: nn.Module, path: Path, recipe: Recipe, *, step: int | None = None) -> None:
    """Write the weights of a network as safetensors, atomically.

    Args:
        network: Its state is written.
        path: The file.
        recipe: Says the network's name and options, which go into the file.
        step: The optimiser step, where it matters.

    Raises:
        OSError: If it cannot be written.
    """
    tensors = {name: t.detach().cpu().contiguous().clone() for name, t in network.state_dict().items()}
    described: dict[str, Any] = {"name": recipe.network.name, "options": recipe.network.options}
    if step is not None:
        described["step"] = step
    # One entry only: safetensors writes several in random order, and equal weights shall be equal files.
    with atomic_path(path) as temporary, _refusals_as_errors(path):
        save_file(tensors, temporary, {"network": json.dumps(described)})


def label_sha256(labels: LabelSet) -> str:
    """Hash of what the labels say: file names, sizes, groups, coordinates and visibility, not the pixels."""
    digest = hashlib.sha256("\0".join(labels.keypoints).encode())
    for record in labels.records:
        head = (
            record.image.name,
            record.size_wh,
            record.dataset,
            record.split_group,
            record.visibility.shape,
        )
        digest.update(repr(head).encode())
        for array in (record.keypoints, record.bbox_xywh):
            digest.update(np.ascontiguousarray(array, np.float64).tobytes())
        digest.update(np.ascontiguousarray(record.visibility, np.int8).tobytes())
    return digest.hexdigest()


@dataclass(frozen=True)
class RunRecord:
    """What made a weights file; written as run.json beside it.

    Attributes:
        recipe: The resolved recipe.
        notes: What was settled in resolving it.
        command: Makes the run again, from the folder of the run; empty where no single one does, as after
            fine-tuning.
        datasets: Dataset -> number of samples.
        data_sha256: Of the labels, or empty.
        weights_sha256: Of weights.safetensors.
        parameters: Number of the network's parameters.
        iterations, samples: Optimiser steps done, samples seen.
        seconds: Training time over all sessions.
        resumed_at: Optimiser steps at which the run was resumed.
        validation: The metric, the best value and its step, which weights are published ("best" or "last"),
            and whether the run ended early; empty without validation.
        skipped_images: One sentence for each image that was damaged and left out.
        loss_curve: Up to 50 pairs (optimiser step, mean loss since the pair before).
        device, precision, processes, threads: What it ran on.
        versions: Of Python and of the packages that matter.
    """

    recipe: dict[str, Any]
    notes: list[str]
    command: str
    datasets: dict[str, int]
    data_sha256: str
    weights_sha256: str
    parameters: int
    iterations: int
    samples: int
    seconds: float
    resumed_at: list[int]
    loss_curve: list[list[float]]
    validation: dict[str, Any]
    skipped_images: list[str]
    device: str
    precision: str
    processes: int
    threads: int
    versions: dict[str, str]

    def to_dict(self) -> dict[str, Any]:
        """As written to run.json."""
        return asdict(self)


def package_versions() -> dict[str, str]:
    """Versions of Python and of the packages that decide the outcome; "absent" where not installed."""
    found = {"python": platform.python_version(), "platform": platform.platform()}
    for name in (
        "superanimal-zoo",
        "torch",
        "numpy",
        "albumentations",
        "onedl-mmengine",
        "opencv-python-headless",
    ):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "absent"
    return found


class CsvLog:
    """The plain log of a run, log.csv: one line per `run.log_every` optimiser steps."""

    def __init__(self, path: Path, *, start: int) -> None:
        """Open for the steps after `start`; lines beyond it, of a session that was killed, are dropped."""
        self._path, self._names = path, []
        rows = [row for row in read_log(path) if row["step"] <= start] if start and path.is_file() else []
        with atomic_path(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
            if rows:
                self._names = list(rows[0])
                csv.writer(file).writerows([self._names, *(_texts(row) for row in rows)])

    def write(self, row: Mapping[str, float]) -> None:
        """Append a line; the first one decides the columns."""
        with self._path.open("a", newline="", encoding="utf-8") as file:
            if not self._names:
                self._names = list(row)
                csv.writer(file).writerow(self._names)
            csv.writer(file).writerow(_texts({name: row[name] for name in self._names}))


def read_log(path: Path) -> list[dict[str, float]]:
    """The lines of a log.csv; a last line that a kill cut short is left out."""
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file))
    names = rows[0] if rows else []
    return [dict(zip(names, map(float, row), strict=True)) for row in rows[1:] if len(row) == len(names)]


def loss_curve(rows: list[dict[str, float]], points: int = 50) -> list[list[float]]:
    """At most `points` pairs (step, mean loss of the lines since the last pair)."""
    parts = [part for part in np.array_split(np.arange(len(rows)), min(points, len(rows)) or 1) if len(part)]
    return [[rows[part[-1]]["step"], float(np.mean([rows[i]["loss"] for i in part]))] for part in parts]


def _texts(row: Mapping[str, float]) -> list[str]:
    """Numbers with enough digits to be read back unchanged, whole ones without a point."""
    return [repr(int(value)) if float(value).is_integer() else repr(float(value)) for value in row.values()]
