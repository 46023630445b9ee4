"""A benchmark in one TOML file: which model, which target data, how they are split, what is compared.

    name = "dlc_openfield"
    summary = "..."

    [model]
    name = "superanimal_topviewmouse"      # or the path of a model's folder
    variant = "compact"

    [data]
    source = "$POSE_DATA/openfield-Pranav-2018-10-30"
    map = "dlc-openfield"
    split = "frames"
    test_fraction = 0.05

    [protocol]
    metric = "rmse"

Every entry has the default below; an unknown one is an error. The six benchmarks of the SuperAnimal
paper come with the package (`list_benchmarks`).
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

from adaptation.fine_tuning import METHODS
from superset_vocab.errors import InputError
from superset_vocab.files import read_text
from superset_vocab.toml_text import toml_names
from training.recipe import parse_tables

_FOLDER = resources.files("adaptation") / "benchmarks"
METRICS = {"rmse": False, "normalised": False, "map": True}
"""What a benchmark is judged by -> whether more is better."""
_SPLITS = ("frames", "groups", "sources", "lists")


@dataclass(frozen=True)
class ModelChoice:
    """The pretrained model; `zoo.load(name, variant)`.

    Attributes:
        name: Of a published model, or the path of a model's folder.
        variant: Of a published model; "" for its default one.
    """

    name: str
    variant: str = ""

    def problems(self) -> list[str]:
        """What is wrong with the values."""
        return []


@dataclass(frozen=True)
class TargetData:
    """The data that the model was not trained on, and how they are split.

    Attributes:
        source: Label source of a known format, or a superset dataset. "{shuffle}" in it is 1, 2, ... for
            data that come in official splits.
        map: Keypoint map of the source; "" for a superset dataset.
        format: Format of the source; "" detects it.
        dataset: Name of the dataset; "" takes the map's.
        split: "frames" (a random part of the images tests, as the paper splits DLC-Openfield; frames of a
            video are much alike, so the figures are of this recording), "groups" (whole animals, sessions
            or videos), "sources" (`test_source`), or "lists" (columns of a table name the images).
        test_fraction: Of the images or groups, for "frames" and "groups".
        test_source: What is tested on, for "sources"; may have "{shuffle}".
        lists: Table (.csv) that names images, for "lists"; may have "{shuffle}".
        train_column, test_column: Its columns.
        download: Where the data can be had, for the message when they are missing.
    """

    source: str
    map: str = ""
    format: str = ""
    dataset: str = ""
    split: str = "frames"
    test_fraction: float = 0.2
    test_source: str = ""
    lists: str = ""
    train_column: str = ""
    test_column: str = ""
    download: str = ""

    def problems(self) -> list[str]:
        """What is wrong with the values."""
        found = [] if self.split in _SPLITS else [f"split {self.split!r} is none of {', '.join(_SPLITS)}"]
        if not 0 < self.test_fraction < 1:
            found.append(f"test_fraction {self.test_fraction:g} is not between 0 and 1")
        if (self.split == "sources") != bool(self.test_source):
            found.append('test_source and split = "sources" go together')
        wanted = [bool(self.lists), bool(self.train_column), bool(self.test_column)]
        if wanted != [self.split == "lists"] * 3:
            found.append('lists, train_column, test_column and split = "lists" go together')
        return found


@dataclass(frozen=True)
class Pretraining:
    """Leave-one-dataset-out pre-training; without a recipe the model is taken as it is.

    Attributes:
        recipe: Name or .toml file. Its [data] sources may name the target: it is left out.
        overrides: Changes to it.
    """

    recipe: str = ""
    overrides: tuple[str, ...] = ()

    def problems(self) -> list[str]:
        """What is wrong with the values."""
        return ["overrides have no effect without recipe"] if self.overrides and not self.recipe else []


@dataclass(frozen=True)
class Protocol:
    """What is compared, and by what.

    Attributes:
        ways: Of `adaptation.fine_tuning.METHODS`.
        fractions: Of the training images.
        shuffles: Splits and seeds.
        metric: One of `METRICS`: "rmse" is the mean distance in pixels, as the paper calls it.
        normalise_by: Two keypoints whose labelled distance is the unit, for "normalised".
        bboxes: Who finds the animals in test images, "labels" or "model".
        flip_test: Average over the image and its mirror image, as the paper does for quadrupeds.
        context: Side of a crop over the longer side of the box; 0 takes the model's own.
        replay_threshold: Of memory replay; -1 takes the model's own.
        overrides: Changes to the fine-tuning recipe, the same for every way.
        scratch_overrides: Further changes for "scratch", e.g. "network.options.pretrained=true" for the
            ImageNet weights of the paper, which are then downloaded.
        reference_frames: The number of labels at which the data efficiency is read off.
    """

    ways: tuple[str, ...] = ("scratch", "transfer", "naive", "replay")
    fractions: tuple[float, ...] = (0.01, 0.05, 0.1, 0.5, 1.0)
    shuffles: int = 3
    metric: str = "rmse"
    normalise_by: tuple[str, ...] = ()
    bboxes: str = "labels"
    flip_test: bool = False
    context: float = 0.0
    replay_threshold: float = -1.0
    overrides: tuple[str, ...] = ()
    scratch_overrides: tuple[str, ...] = ()
    reference_frames: int = 10

    def problems(self) -> list[str]:
        """What is wrong with the values."""
        found = [f"way {way!r} is none of {', '.join(METHODS)}" for way in self.ways if way not in METHODS]
        found += [f"fraction {f:g} is not above 0 and at most 1" for f in self.fractions if not 0 < f <= 1]
        found += [f"{n} is empty" for n in ("ways", "fractions") if not getattr(self, n)]
        found += [f"{n} names something twice" for n in ("ways", "fractions") if _twice(getattr(self, n))]
        if self.shuffles < 1:
            found.append(f"shuffles {self.shuffles} is not 1 or more")
        if self.metric not in METRICS:
            found.append(f"metric {self.metric!r} is none of {', '.join(METRICS)}")
        if self.metric == "normalised" and len(self.normalise_by) != 2:
            found.append('metric = "normalised" needs two keypoints in normalise_by')
        if self.bboxes not in ("labels", "model"):
            found.append(f"bboxes {self.bboxes!r} is neither 'labels' nor 'model'")
        if self.replay_threshold > 1:
            found.append(f"replay_threshold {self.replay_threshold:g} is above 1")
        return found


@dataclass(frozen=True)
class Benchmark:
    """A benchmark's spec.

    Attributes:
        name: For file names and titles.
        model: What is fine-tuned.
        data: On what.
        summary: One line on what it is.
        pretraining: Of the model, without the target.
        protocol: What is compared.
        published: Figures of the paper, to be printed beside ours; free entries.
    """

    name: str
    model: ModelChoice
    data: TargetData
    summary: str = ""
    pretraining: Pretraining = field(default_factory=Pretraining)
    protocol: Protocol = field(default_factory=Protocol)
    published: dict[str, Any] = field(default_factory=dict)

    def problems(self) -> list[str]:
        """What is wrong with the values taken together."""
        return []


def list_benchmarks() -> list[str]:
    """Names of the benchmarks that come with the package, sorted."""
    return toml_names(_FOLDER)


def load_benchmark(name: str | Path, overrides: Sequence[str] = ()) -> Benchmark:
    """Load a benchmark by name, or from the path of a .toml file.

    Args:
        name: Of a benchmark of the package, or a path that ends in .toml.
        overrides: Changes like "protocol.shuffles=1".

    Raises:
        InputError: If there is none of that name, or it has problems (all are listed).
    """
    name = str(name)
    if name.endswith(".toml"):
        return parse_tables(Benchmark, read_text(Path(name)), what=name, overrides=overrides)
    if name not in list_benchmarks():
        known = ", ".join(list_benchmarks())
        raise InputError(f"{name}: no such benchmark; give a .toml file or one of: {known}")
    text = (_FOLDER / f"{name}.toml").read_text(encoding="utf-8")
    return parse_tables(Benchmark, text, what=name, overrides=overrides)


def data_path(benchmark: Benchmark, path: str, shuffle: int) -> Path:
    """A path of the spec with its variables and the number of the shuffle (from 1) filled in.

    Raises:
        InputError: If it is not there; says what is missing and where it can be had.
    """
    filled = os.path.expandvars(path.replace("{shuffle}", str(shuffle)))
    found = Path(filled).expanduser()
    if "$" in filled or not found.exists():
        where = f" (to be had from {benchmark.data.download})" if benchmark.data.download else ""
        reason = "its environment variable is not set" if "$" in filled else "it is not there"
        raise InputError(
            f"benchmark {benchmark.name} needs {filled}{where}, and {reason}; export POSE_DATA, or say where "
            "the data are with --set data.source=PATH"
        )
    return found


def _twice(values: Sequence[Any]) -> bool:
    return len(set(values)) < len(values)
