"""Laboratories with known counterparts, invented from real and rendered poses, for `benchmarks.matching`.

A *pool* is a set of animals with labels in the superset and the poses that a model predicted for them. A
*lab* takes some of these animals, labels some of the keypoints under names of its own, a little off and
with gaps, adds points that have no counterpart, and may use a model that never learned some channels.

Calibration and report are held apart in everything: other frames, other languages (English, German and
Spanish here; French, Portuguese and Italian there), and the real laboratories' names of other datasets.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from adaptation.keypoint_evidence import ImageEvidence, Observations, observe, weigh
from adaptation.keypoint_names import Meaning, mirrored_pairs, understand
from superset_vocab import LabelSet, Vocabulary, load_map, load_vocabulary, project

if TYPE_CHECKING:
    from zoo.model import Model

CALIBRATION_MAPS = ("MackenzieMausHaus", "EPM", "ChanLab", "treadmill_ole", "animalpose", "ap10k", "webapp")
REPORT_MAPS = ("Daniel3Mouse", "TwoWhiteMice", "openfield_ole", "synthetic_spine", "synthetic_homecage",
               "synthetic_tail", "stanforddogs", "cheetah", "horses_roboflow_v5")  # fmt: skip

_NAMES = tomllib.loads((Path(__file__).parent / "matching_names.toml").read_text(encoding="utf-8"))
_LANGUAGES = {True: ("en", "de", "es"), False: ("fr", "pt", "it")}  # calibration, report


@dataclass(frozen=True, eq=False)
class Pool:
    """Animals with labels and predictions in one vocabulary; `defined` are the labelled channels."""

    vocabulary: Vocabulary
    observations: Observations
    defined: tuple[str, ...]

    @property
    def animal(self) -> str:
        """In the words of matching_names.toml."""
        return "mouse" if "mouse" in self.vocabulary.name else "quadruped"


@dataclass(frozen=True, eq=False)
class Lab:
    """One invented laboratory: its names, what they truly are, and the evidence of its images."""

    kind: str
    names: tuple[str, ...]
    truth: tuple[str | None, ...]
    evidence: ImageEvidence
    vocabulary: Vocabulary

    @property
    def meanings(self) -> tuple[Meaning, ...]:
        """Of the names."""
        return understand(self.names)


def mouse_pools(scratch: Path, seed: int, n: int = 160) -> list[Pool]:
    """Rendered mice, as photographed and badly photographed."""
    import zoo
    from converters.synthetic import LABS, synthesize

    known = _load(scratch / f"mouse{seed}")
    if known:
        return known
    model = zoo.load("superanimal_topviewmouse", "compact", "cpu")
    pools = []
    for name in ("wild", "lowered"):
        labels = synthesize(LABS[name], n, scratch / f"{name}{seed}", seed=seed)
        for hard in (False, True):
            seen = _seen(model, _spoilt(labels, seed) if hard else labels)
            pools.append(Pool(model.vocabulary, seen, labels.keypoints))
    return _save(pools, scratch / f"mouse{seed}")


def quadruped_pools(scratch: Path, part: int) -> list[Pool]:
    """Every second of the photographs of Animal-Pose that training held out, also spoilt."""
    import zoo
    from benchmarks.data import need
    from converters import read_labels
    from training.splits import hold_out

    known = _load(scratch / f"quadruped{part}")
    if known:
        return known
    # The map's dataset name, because the hash that holds out is over names.
    labels = project(read_labels(need("animal_pose"), dataset="animalpose"), load_map("animalpose"))
    labels = hold_out(labels, 0.1)[1]
    labels = replace(labels, records=labels.records[part::2])
    model = zoo.load("superanimal_quadruped", "compact", "cpu")
    defined = tuple(t for t in load_map("animalpose").targets.values() if t)
    spoilt = _spoilt(_copy_images(labels, scratch / f"spoilt{part}"), part)
    pools = [Pool(model.vocabulary, _seen(model, each), defined) for each in (labels, spoilt)]
    return _save(pools, scratch / f"quadruped{part}")


def _save(pools: list[Pool], folder: Path) -> list[Pool]:
    """Keep the pools in a folder, for the next run."""
    folder.mkdir(parents=True, exist_ok=True)
    for i, pool in enumerate(pools):
        seen = pool.observations
        arrays = {
            name: getattr(seen, name) for name in ("truth", "predicted", "length", "record", "n_images")
        }
        names = {"vocabulary": pool.vocabulary.name, "defined": pool.defined}
        np.savez(folder / f"pool{i}.npz", **arrays, **names)
    return pools


def _load(folder: Path) -> list[Pool]:
    """Pools that an earlier run kept; none if there was none."""
    found = []
    for path in sorted(folder.glob("pool*.npz")):
        with np.load(path) as content:
            arrays = [content[name] for name in ("truth", "predicted", "length", "record")]
            seen = Observations(*arrays, n_images=int(content["n_images"]))
            defined = tuple(str(name) for name in content["defined"])
            found.append(Pool(load_vocabulary(str(content["vocabulary"])), seen, defined))
    return found


def invent(pools: list[Pool], calibration: bool, rng: np.random.Generator, kind: str | None = None) -> Lab:
    """A laboratory; `kind` is one of names, language, hidden, shuffled, or drawn."""
    kind = kind or str(rng.choice(["names", "language", "hidden", "shuffled"], p=[0.4, 0.4, 0.15, 0.05]))
    pool = pools[rng.integers(len(pools))]
    vocabulary = pool.vocabulary
    named = _named(pool, calibration, rng, kind)
    keep = rng.permutation(len(named))[: int(rng.integers(min(3, len(named)), min(len(named), 15) + 1))]
    names = [named[i][0] for i in sorted(keep)]
    truth: list[str | None] = [named[i][1] for i in sorted(keep)]
    seen, columns = pool.observations, [vocabulary.index[t] for t in truth if t]
    index = rng.permutation(len(seen.length))[: int(np.exp(rng.uniform(np.log(3), np.log(100))))]
    part = seen.take(index, np.array(columns))
    n, s = part.truth.shape[:2]
    length = part.length[:, None, None]
    points = _placed_differently(part.truth, seen.truth[index], columns, vocabulary, rng)
    points += length * rng.normal(0, rng.choice([0.005, 0.02]), points.shape)
    points[rng.random((n, s)) < rng.uniform(0, 0.3)] = np.nan
    extras = _NAMES["extras"]["calibration" if calibration else "report"][pool.animal]["names"]
    for name in rng.permutation(extras)[: rng.choice([0, 0, 1, 2, 4])]:
        names.append(f"k{len(names)}" if kind == "hidden" else str(name))
        truth.append(None)
        points = np.concatenate([points, _nowhere(seen.truth[index], part.length, rng)[:, None]], axis=1)
    predicted = part.predicted.copy()
    if rng.random() < 0.2:
        predicted[:, rng.random(len(vocabulary)) < 0.35] = np.nan  # channels that the model never learned
    part = replace(part, truth=points, predicted=predicted)
    pairs = mirrored_pairs(understand(names))
    return Lab(kind, tuple(names), tuple(truth), weigh(part, vocabulary, pairs), vocabulary)


def _named(pool: Pool, calibration: bool, rng: np.random.Generator, kind: str) -> list[tuple[str, str]]:
    """(name, truth) of all keypoints that a laboratory of this kind could label."""
    if kind == "names":
        maps = [load_map(name) for name in (CALIBRATION_MAPS if calibration else REPORT_MAPS)]
        fitting = [m for m in maps if m.vocabulary.name == pool.vocabulary.name]
        chosen = fitting[rng.integers(len(fitting))]
        return [(name, t) for name, t in chosen.targets.items() if t in pool.defined]
    language = str(rng.choice(_LANGUAGES[calibration]))
    left, right = _NAMES["sides"][language][rng.integers(2)]
    style = int(rng.integers(3))
    found = []
    for target, words in _NAMES[pool.animal][language].items():
        for side, said in (("left", left), ("right", right)) if "{s}" in target else (("", ""),):
            found.append((_styled(words.format(s=said), style), target.format(s=side)))
    found = [(name, target) for name, target in found if target in pool.defined]
    if kind == "hidden":
        return [(f"k{i}", target) for i, (_, target) in enumerate(found)]
    if kind == "shuffled":  # some names stand at the wrong keypoint
        wrong = rng.permutation(len(found))[: max(2, len(found) // 4)]
        names = [name for name, _ in found]
        for i, j in zip(wrong, np.roll(wrong, 1), strict=True):
            names[i] = found[j][0]
        return [(name, target) for name, (_, target) in zip(names, found, strict=True)]
    return found


def _styled(name: str, style: int) -> str:
    words = name.split()
    if style == 0:
        return "_".join(words)
    return "".join(word[:1].upper() + word[1:] for word in words) if style == 1 else name


def _placed_differently(
    truth: np.ndarray, every: np.ndarray, columns: list[int], vocabulary: Vocabulary, rng: np.random.Generator
) -> np.ndarray:
    """The (N, S, 2) points where another annotator puts them: some part of the way to a neighbour.

    A third of the keypoints move, left and right alike, by up to half of the way (the front of the pinna for
    the ear, ...).
    """
    points, moved = truth.copy(), {}
    flip = vocabulary.flip_index
    for column, k in enumerate(columns):
        first = min(k, int(flip[k]))
        if first not in moved:
            near = _neighbours(every, first)
            moved[first] = (
                (int(rng.choice(near)), float(rng.uniform(0, 0.5))) if rng.random() < 0.35 else None
            )
        if moved[first] is not None:
            other, share = moved[first]
            other = other if k == first else int(flip[other])
            step = share * (every[:, other] - truth[:, column])
            points[:, column] += np.where(np.isfinite(step), step, 0.0)
    return points


def _neighbours(every: np.ndarray, k: int, n: int = 3) -> np.ndarray:
    """The n channels that lie nearest to channel k."""
    distance = np.linalg.norm(every - every[:, [k]], axis=-1)
    seen = np.isfinite(distance).any(0)
    median = np.full(every.shape[1], np.inf)
    median[seen] = np.nanmedian(distance[:, seen], axis=0)
    median[k] = np.inf
    order = np.argsort(median)[:n]
    return order[np.isfinite(median[order])] if np.isfinite(median[order]).any() else np.array([k])


def _nowhere(truth: np.ndarray, length: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(N, 2) a point without a counterpart: half-way between two keypoints, beside the animal, or fixed."""
    centre = np.full((len(truth), 2), np.nan)
    some = np.isfinite(truth).any((1, 2))
    centre[some] = np.nanmedian(truth[some], axis=1)
    draw = rng.random()
    if draw < 0.5:
        k = int(rng.choice(np.flatnonzero(np.isfinite(truth).any((0, 2)))))
        return truth[:, k] + rng.uniform(0.4, 0.6) * (
            truth[:, int(rng.choice(_neighbours(truth, k, 5)))] - truth[:, k]
        )
    if draw < 0.7:
        return np.broadcast_to(np.nanmean(centre, axis=0) + rng.normal(0, 100, 2), centre.shape).copy()
    return centre + length[:, None] * (rng.normal(0, 0.35, (1, 2)) + rng.normal(0, 0.05, centre.shape))


def _seen(model: Model, labels: LabelSet) -> Observations:
    return observe(model, labels, understand(labels.keypoints), max_images=10**6)


def _copy_images(labels: LabelSet, folder: Path) -> LabelSet:
    """The same labels with images of their own."""
    import shutil

    folder.mkdir(parents=True, exist_ok=True)
    records = []
    for i, record in enumerate(labels.records):
        copied = shutil.copy(record.image, folder / f"{i}{record.image.suffix}")
        records.append(replace(record, image=Path(copied)))
    return replace(labels, records=tuple(records))


def _spoilt(labels: LabelSet, seed: int) -> LabelSet:
    """Spoil the images in place: blurred, dark, noisy."""
    import cv2

    rng = np.random.default_rng(seed)
    for record in labels.records:
        image = np.asarray(cv2.imread(str(record.image)))
        image = cv2.GaussianBlur(image, (0, 0), float(rng.uniform(1, 3)))
        noisy = image * rng.uniform(0.4, 1.2) + rng.normal(0, rng.uniform(2, 14), image.shape)
        cv2.imwrite(str(record.image), np.clip(noisy, 0, 255).astype(np.uint8))
    return labels
