"""Running a benchmark: splits, pre-training without the target, and one fine-tuning after the other.

Every run is a folder of its own with a result.json, written when it is done; a benchmark that was stopped
or killed goes on with the run it was in. Runs are ordered so that what there is so far can be read: all of
the first shuffle, then all of the second.

    out/plan.json         how many runs there are to do
    out/data/             the target as a superset dataset
    out/pretraining/      the run, where the spec asks for one; out/pretrained/ the model
    out/zero_shot/        what is replayed, the same for all runs
    out/runs/<shuffle>/<way>_<images>/          result.json and the fine-tuned model
    out/runs/<shuffle>/zero_shot/result.json
"""

from __future__ import annotations

import csv
import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from adaptation.benchmark_spec import Benchmark, data_path
from adaptation.fine_tuning import fine_tune
from adaptation.memory_replay import Replay
from converters import convert, load_superset
from converters.views import subset
from superset_vocab import InputError, LabelSet
from superset_vocab.files import make_folder, read_json, sha256_of, write_json
from training.evaluate import Report, evaluate_model
from training.splits import split_by_fraction
from zoo.model import Model

_log = logging.getLogger(__name__)
ZERO_SHOT = "zero-shot"
PLAN = "plan.json"


@dataclass(frozen=True)
class RunResult:
    """What one run of a benchmark came to.

    Attributes:
        way: Of `adaptation.fine_tuning.METHODS`, or `ZERO_SHOT`.
        fraction: Of the training images; 0 for zero-shot.
        n_images: Trained on.
        shuffle: From 1.
        n_test: Images tested on.
        values: Metric -> value; NaN where it has none.
        n_missing: Annotated keypoints of the test images that were not predicted.
        seconds: Of the training.
    """

    way: str
    fraction: float
    n_images: int
    shuffle: int
    n_test: int
    values: dict[str, float]
    n_missing: int
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        """For JSON; NaN becomes None."""
        values = {name: None if np.isnan(v) else v for name, v in self.values.items()}
        return {**asdict(self), "values": values}

    @classmethod
    def read(cls, path: Path) -> RunResult:
        """From result.json.

        Raises:
            InputError: If it is none.
        """
        content = read_json(path)
        try:
            values = {name: np.nan if v is None else float(v) for name, v in content["values"].items()}
            return cls(**{**content, "values": values})
        except (TypeError, KeyError, AttributeError, ValueError) as error:
            raise InputError(
                f"{path}: is no result of a run ({error}); remove its folder, it runs again"
            ) from error


@dataclass(frozen=True)
class Run:
    """One run to do: a way, on so many training images of a shuffle; no way is zero-shot."""

    way: str
    fraction: float
    shuffle: int
    train: LabelSet
    test: LabelSet

    @property
    def folder(self) -> Path:
        """Below the benchmark's runs."""
        name = "zero_shot" if self.way == ZERO_SHOT else f"{self.way}_{len(self.train)}"
        return Path(str(self.shuffle)) / name


def run_benchmark(
    benchmark: Benchmark, out: Path, *, minutes: float | None = None, device: str = "auto"
) -> list[RunResult]:
    """Do the runs that are not done yet.

    Args:
        benchmark: What to run.
        out: Folder of the benchmark; one that holds another benchmark is refused.
        minutes: Begin no further run after this time; None runs to the end.
        device: As in `zoo.load`.

    Returns:
        The results that there are, of this call and of former ones.

    Raises:
        InputError: If the data are missing or do not fit the model, or `out` holds another benchmark.
    """
    started = time.monotonic()
    _claim(benchmark, make_folder(out))
    splits = [split(benchmark, out, shuffle) for shuffle in range(1, benchmark.protocol.shuffles + 1)]
    todo = list(plan(benchmark, splits))
    model = pretrained_model(benchmark, out, splits[0], device)
    left = [run for run in todo if not (out / "runs" / run.folder / "result.json").exists()]
    done = len(todo) - len(left)
    write_json(out / PLAN, {"n_runs": len(todo)})
    with tqdm(total=len(todo), initial=done, unit="run", desc=benchmark.name, disable=None) as bar:
        for run in left:
            if minutes is not None and time.monotonic() - started > 60 * minutes:
                _log.info("%g minutes are over; %d of %d runs are done", minutes, done, len(todo))
                break
            bar.set_postfix_str(str(run.folder))
            write_json(out / "runs" / run.folder / "result.json", _do(benchmark, run, model, out).to_dict())
            bar.update()
            done += 1
            _log.info("%s: %s is done, %d of %d", benchmark.name, run.folder, done, len(todo))
    return results_of(out)


def results_of(out: Path) -> list[RunResult]:
    """The results that lie in a benchmark's folder, by shuffle, way and number of images."""
    found = [RunResult.read(path) for path in sorted(out.glob("runs/*/*/result.json"))]
    return sorted(found, key=lambda r: (r.shuffle, r.way, r.n_images))


def plan(benchmark: Benchmark, splits: Sequence[tuple[LabelSet, LabelSet]]) -> Iterator[Run]:
    """All runs, the first shuffle first; within one, small training sets first.

    Fractions that come to the same number of images, as 1 % and 5 % of thirty do, are one run: the smallest.
    """
    protocol = benchmark.protocol
    for number, (train, test) in enumerate(splits, start=1):
        yield Run(ZERO_SHOT, 0.0, number, replace(train, records=()), test)
        order = np.random.default_rng([number, 1]).permutation(len(train))
        counts: dict[int, float] = {}
        for fraction in sorted(protocol.fractions):
            # the paper's counts: 5 % of 1012 are 50
            counts.setdefault(max(1, int(fraction * len(train) + 1e-9)), fraction)
        for count, fraction in counts.items():
            chosen = {id(train.records[i]) for i in order[:count]}
            part = subset(train, lambda record, chosen=chosen: id(record) in chosen)
            for way in protocol.ways:
                yield Run(way, fraction, number, part, test)


def split(benchmark: Benchmark, out: Path, shuffle: int) -> tuple[LabelSet, LabelSet]:
    """Training and test images of a shuffle.

    Raises:
        InputError: If the data are missing, or leave one of the two empty.
    """
    data = benchmark.data
    labels = _labelled(_load(benchmark, data.source, "train", out, shuffle))
    if data.split == "sources":
        train, test = labels, _labelled(_load(benchmark, data.test_source, "test", out, shuffle))
    elif data.split == "groups":
        parts = split_by_fraction(
            labels, {"train": 1 - data.test_fraction, "test": data.test_fraction}, seed=shuffle
        )
        train, test = parts["train"], parts["test"]
    elif data.split == "lists":
        train, test = _by_lists(labels, benchmark, shuffle)
    else:
        order = np.random.default_rng([shuffle, 0]).permutation(len(labels))
        n_test = max(1, round(data.test_fraction * len(labels)))
        chosen = {id(labels.records[i]) for i in order[:n_test]}
        train = subset(labels, lambda record: id(record) not in chosen)
        test = subset(labels, lambda record: id(record) in chosen)
    if not len(train) or not len(test):
        raise InputError(f"benchmark {benchmark.name}: {len(train)} training and {len(test)} test images")
    return train, test


def pretrained_model(
    benchmark: Benchmark, out: Path, target: tuple[LabelSet, LabelSet], device: str
) -> Model:
    """The model that all ways begin with: as published, or pre-trained now without the target.

    Raises:
        InputError: If it cannot be loaded, or an image of the target is among its pre-training data.
    """
    import zoo

    choice = benchmark.model
    base = zoo.load(choice.name, choice.variant or None, device)
    if not benchmark.pretraining.recipe:
        return base
    folder = out / "pretrained"
    if not (folder / "model.toml").exists():
        _pretrain(benchmark, out, target, base)
    return zoo.load(folder, device=device)


def _claim(benchmark: Benchmark, out: Path) -> None:
    """Note whose folder it is; other ways, fractions and shuffles may be added later, all else is fixed."""
    about = asdict(benchmark)
    fixed = {name: value for name, value in about["protocol"].items() if name not in _FREE}
    about = {**about, "protocol": fixed}
    about.pop("published")
    path = out / "benchmark.json"
    if not path.exists():
        write_json(path, about)
    before = read_json(path)
    now = _as_json(about)
    if before != now:
        tables = [key for key in now if before.get(key) != now[key]] if isinstance(before, dict) else ["all"]
        raise InputError(
            f"{out}: holds runs of another benchmark ({', '.join(tables)} differ); choose another "
            "folder with --out"
        )


_FREE = ("ways", "fractions", "shuffles", "metric", "reference_frames")


def _as_json(value: Any) -> Any:
    """The value as it comes back from a JSON file."""
    import json

    return json.loads(json.dumps(value))


def _load(benchmark: Benchmark, path: str, part: str, out: Path, shuffle: int) -> LabelSet:
    """One source of the target, converted once into the benchmark's folder."""
    data = benchmark.data
    source = data_path(benchmark, path, shuffle)
    if not data.map:
        return load_superset(source)
    name = f"{part}{shuffle}" if "{shuffle}" in path else part
    folder = out / "data" / name
    if not folder.exists():
        convert(source, data.map, folder, format=data.format or None, dataset=data.dataset or None)
    return load_superset(folder)


def _labelled(labels: LabelSet) -> LabelSet:
    """Without the images that have nothing annotated: nobody can be trained or tested on them."""
    return subset(labels, lambda record: bool(record.annotated.any()))


def _by_lists(labels: LabelSet, benchmark: Benchmark, shuffle: int) -> tuple[LabelSet, LabelSet]:
    """Training and test images that the columns of a table name, by folder and file name.

    Raises:
        InputError: If the table lacks a column, or names images that the data do not have.
    """
    data = benchmark.data
    path = data_path(benchmark, data.lists, shuffle)
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    parts: list[LabelSet] = []
    for column in (data.train_column, data.test_column):
        if not rows or column not in rows[0]:
            there = ", ".join(filter(None, rows[0])) if rows else "nothing"
            raise InputError(f"{path}: has no column {column!r}; it has {there}")
        wanted = {_tail(row[column]) for row in rows if row[column]}
        part = subset(labels, lambda r, wanted=wanted: _tail(r.source_image or str(r.image)) in wanted)
        if len(part) < len(wanted):
            raise InputError(
                f"{path}: {len(wanted) - len(part)} of the {len(wanted)} images of {column!r} are not among "
                f"the labelled ones of {data.source}; is it the table of these data?"
            )
        parts.append(part)
    return parts[0], parts[1]


def _tail(image: str) -> tuple[str, ...]:
    """Folder and name of an image, which is all that survives the moving about of a project."""
    return PurePosixPath(image.replace("\\", "/")).parts[-2:]


def _pretrain(benchmark: Benchmark, out: Path, target: tuple[LabelSet, LabelSet], base: Model) -> None:
    """Train the base model's network on all sources of the recipe but the target's."""
    from training.from_recipe import train
    from training.recipe import load_recipe
    from zoo.model_folder import write_model_folder

    names = {source.dataset for labels in target for source in labels.sources}
    recipe = load_recipe(benchmark.pretraining.recipe, benchmark.pretraining.overrides)
    kept, contents = [], {}
    for source in recipe.data.sources:
        labels = load_superset(source.folder())
        if names & {found.dataset for found in labels.sources}:
            _log.info("%s: is the target, left out of the pre-training", source.path)
            continue
        kept.append(source)
        contents |= {sha256_of(record.image): record.image for record in labels.records}
    if not kept:
        raise InputError(f"benchmark {benchmark.name}: without the target nothing is left to pre-train on")
    seen = [r.image.name for labels in target for r in labels.records if sha256_of(r.image) in contents]
    if seen:
        raise InputError(
            f"benchmark {benchmark.name}: {len(seen)} images of the target are in the pre-training data "
            f"under another name ({', '.join(sorted(seen)[:5])}); remove them there"
        )
    recipe = replace(recipe, data=replace(recipe.data, sources=tuple(kept)))
    folder = out / "pretraining"
    device = torch.device(base.device)
    result = train(recipe, folder, resume=(folder / "checkpoint.pt").exists(), device=device)
    spec = replace(
        base.spec,
        variant=f"{base.spec.variant}-without-{'-'.join(sorted(names))}",
        pose=replace(base.spec.pose, network=recipe.network.name, options=recipe.network.options),
        training_data=tuple(source.path for source in kept),
        evaluation={},
    )
    detector: Any = base.detector
    networks = {"pose": result.network.cpu(), "detector": detector.network}
    write_model_folder(out / "pretrained", spec, networks, record=read_json(result.record))


def _do(benchmark: Benchmark, run: Run, model: Model, out: Path) -> RunResult:
    """One run: fine-tune if it is a way, and test."""
    protocol = benchmark.protocol
    folder = make_folder(out / "runs" / run.folder)
    started = time.monotonic()
    if run.way != ZERO_SHOT:
        replay = None
        if run.way == "replay":
            threshold = None if protocol.replay_threshold < 0 else protocol.replay_threshold
            replay = Replay(threshold, protocol.bboxes, store=out / "zero_shot")
        overrides = [f"run.seed={run.shuffle}", *protocol.overrides]
        if run.way == "scratch":
            overrides += protocol.scratch_overrides
        model = fine_tune(
            model, run.train, folder, method=run.way, replay=replay, overrides=overrides, resume=True
        )
    seconds = time.monotonic() - started
    options: dict[str, Any] = {"flip_test": True} if protocol.flip_test else {}
    if protocol.context:
        options["context"] = protocol.context
    unit = protocol.normalise_by
    report = evaluate_model(
        model,
        run.test,
        split=f"{benchmark.name}, shuffle {run.shuffle}",
        bboxes=protocol.bboxes,
        normalise_by=(unit[0], unit[1]) if unit else None,
        **options,
    )
    report.write(folder / "evaluation.json")
    (folder / "training" / "checkpoint.pt").unlink(missing_ok=True)  # the model is written; runs are many
    return RunResult(
        way=run.way,
        fraction=run.fraction,
        n_images=len(run.train),
        shuffle=run.shuffle,
        n_test=len(run.test),
        values=_values(report),
        n_missing=report.errors.n_missing,
        seconds=round(seconds, 1),
    )


def _values(report: Report) -> dict[str, float]:
    """The metrics that a benchmark can be judged by."""
    values = {"rmse": report.errors.mean_distance, "median": report.errors.median, "map": report.precision.ap}
    if report.normalised is not None:
        values["normalised"] = report.normalised.mean
    return values


def by_run(results: Sequence[RunResult], metric: str) -> Mapping[tuple[str, int], list[float]]:
    """(way, number of images) -> the metric of each shuffle, zero-shot with 0 images."""
    found: dict[tuple[str, int], list[float]] = {}
    for result in sorted(results, key=lambda r: (r.n_images, r.way, r.shuffle)):
        found.setdefault((result.way, result.n_images), []).append(result.values.get(metric, np.nan))
    return found
