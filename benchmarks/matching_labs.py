"""Laboratories with known counterparts, invented from real and rendered poses, for `benchmarks.matching`.

A *pool* is a set of animals with labels in the superset and the poses that a model predicted for them. A
*lab* takes some of these animals, labels some of the keypoints under names of its own, a little off and
with gaps, adds points that have no counterpart, and may use a model that never learned some channels.

Calibration and report are held apart in everything: other frames, other languages (English, German and
Spanish here; French, Portuguese and Italian there), and the real laboratories' names of other datasets.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from adaptation.keypoint_evidence import ImageEvidence, Observations, observe, weigh
from adaptation.keypoint_names import Meaning, mirrored_pairs, understand
from superset_vocab import LabelSet, Vocabulary, load_map, load_vocabulary

CALIBRATION_MAPS = ("MackenzieMausHaus", "EPM", "ChanLab", "treadmill_ole", "animalpose", "ap10k", "webapp")
REPORT_MAPS = ("Daniel3Mouse", "TwoWhiteMice", "openfield_ole", "synthetic_spine", "synthetic_homecage",
               "synthetic_tail", "stanforddogs", "cheetah", "horses_roboflow_v5")  # fmt: skip

MOUSE = {
    "en": "snout|ear {s}|pinna tip {s}|eye {s}|nape|dorsum front|body center|back rear 1|back rear 2|back rear 3|"
    "tail root|tail p1|tail p2|tail p3|tail p4|tail p5|shoulder {s}|flank {s}|hip {s}|tip of tail|head center",
    "de": "Schnauze|Ohr {s}|Ohrspitze {s}|Auge {s}|Nacken|Rücken vorn|Körpermitte|Rücken hinten 1|"
    "Rücken hinten 2|Rücken hinten 3|Schwanzansatz|Schwanz 1|Schwanz 2|Schwanz 3|Schwanz 4|Schwanz 5|"
    "Schulter {s}|Flanke {s}|Hüfte {s}|Schwanzende|Kopfmitte",
    "es": "hocico|oreja {s}|punta de la oreja {s}|ojo {s}|cuello|lomo delantero|centro del cuerpo|lomo 1|lomo 2|"
    "lomo 3|base de la cola|cola 1|cola 2|cola 3|cola 4|cola 5|hombro {s}|costado {s}|cadera {s}|"
    "punta de la cola|centro de la cabeza",
    "fr": "museau|oreille {s}|bout de l'oreille {s}|œil {s}|nuque|haut du dos|milieu du corps|dos 4|dos 5|dos 6|"
    "base de la queue|queue 1|queue 2|queue 3|queue 4|queue 5|épaule {s}|flanc {s}|hanche {s}|"
    "bout de la queue|milieu de la tête",
    "pt": "focinho|orelha {s}|ponta da orelha {s}|olho {s}|pescoço|dorso superior|centro do corpo|dorso 4|dorso 5|"
    "dorso 6|base da cauda|cauda 1|cauda 2|cauda 3|cauda 4|cauda 5|ombro {s}|flanco {s}|quadril {s}|"
    "ponta da cauda|centro da cabeça",
    "it": "muso|orecchio {s}|punta orecchio {s}|occhio {s}|collo|schiena alta|centro del corpo|schiena 4|schiena 5|"
    "schiena 6|radice della coda|coda 1|coda 2|coda 3|coda 4|coda 5|spalla {s}|fianco {s}|anca {s}|"
    "punta della coda|centro della testa",
}
"""By language: names of the mouse's keypoints, those of left and right once, in the order of `MOUSE_ORDER`."""
MOUSE_ORDER = ("nose", "{s}_ear", "{s}_ear_tip", "{s}_eye", "neck", "mid_back", "mouse_center", "mid_backend",
               "mid_backend2", "mid_backend3", "tail_base", "tail1", "tail2", "tail3", "tail4", "tail5",
               "{s}_shoulder", "{s}_midside", "{s}_hip", "tail_end", "head_midpoint")  # fmt: skip
QUADRUPED = {
    "en": "muzzle|eye {s}|ear {s}|throat|withers|dock|fore elbow {s}|fore knee {s}|fore paw {s}|stifle {s}|"
    "hock {s}|hind paw {s}",
    "de": "Nase|Auge {s}|Ohr {s}|Kehle|Widerrist|Schwanzwurzel|Ellbogen vorne {s}|Knie vorne {s}|Pfote vorne {s}|"
    "Oberschenkel hinten {s}|Knie hinten {s}|Pfote hinten {s}",
    "es": "hocico|ojo {s}|oreja {s}|garganta|cruz|base de la cola|codo {s}|rodilla delantera {s}|"
    "pata delantera {s}|muslo trasero {s}|rodilla trasera {s}|pata trasera {s}",
    "fr": "nez|oeil {s}|oreille {s}|gorge|garrot|base de la queue|coude {s}|genou avant {s}|patte avant {s}|"
    "grasset {s}|jarret {s}|patte arrière {s}",
    "pt": "nariz|olho {s}|orelha {s}|garganta|cernelha|base da cauda|cotovelo {s}|joelho dianteiro {s}|"
    "pata dianteira {s}|coxa traseira {s}|joelho traseiro {s}|pata traseira {s}",
    "it": "naso|occhio {s}|orecchio {s}|gola|garrese|base della coda|gomito {s}|ginocchio anteriore {s}|"
    "zampa anteriore {s}|coscia posteriore {s}|ginocchio posteriore {s}|zampa posteriore {s}",
}
QUADRUPED_ORDER = ("nose", "{s}_eye", "{s}_earbase", "throat_base", "back_base", "tail_base", "front_{s}_thai",
                   "front_{s}_knee", "front_{s}_paw", "back_{s}_thai", "back_{s}_knee", "back_{s}_paw")  # fmt: skip
SIDES = {
    "en": (("left", "right"), ("L", "R")), "de": (("links", "rechts"), ("li", "re")),
    "es": (("izquierda", "derecha"), ("izq", "der")), "fr": (("gauche", "droite"), ("g", "d")),
    "pt": (("esquerda", "direita"), ("esq", "dir")), "it": (("sinistra", "destra"), ("sx", "dx")),
}  # fmt: skip
EXTRAS = {
    (True, "mouse"): "whisker L|paw front left|implant|arena corner|lamp|x1|belly|chest|rump|Backe|pie trasero der",
    (True, "quadruped"): "cheek|fetlock fore|fetlock hind|rump|chest|collar|lamp|x1|Kruppe|Hüfte|arena corner",
    (False, "mouse"): "vibrissa|cable|zampa sx|lampada|coin de l'arène|q7|ventre|objeto|croupe|peito|guancia",
    (False, "quadruped"): "joue|boulet avant|nodello|groppa|ischium|girth|quadril|poitrail|lampada|q7|midshoulder",
}
"""Names of points without a counterpart, of calibration (True) and report."""


@dataclass(frozen=True, eq=False)
class Pool:
    """Animals with labels and predictions in one vocabulary; `defined` are the labelled channels."""

    vocabulary: Vocabulary
    observations: Observations
    defined: tuple[str, ...]
    hard: bool


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

    model = zoo.load("superanimal_topviewmouse", "compact", "cpu")
    pools = []
    for name in ("wild", "lowered"):
        labels = synthesize(LABS[name], n, scratch / f"{name}{seed}", seed=seed)
        for hard in (False, True):
            seen = _seen(model, _spoilt(labels, seed) if hard else labels)
            pools.append(Pool(model.vocabulary, seen, labels.keypoints, hard))
    return pools


def quadruped_pools(scratch: Path, part: int) -> list[Pool]:
    """Every second of the photographs of Animal-Pose that training held out, also spoilt."""
    import zoo
    from benchmarks.data import need
    from converters import convert, load_superset
    from training.splits import hold_out

    folder = scratch / "animal_pose"
    if not folder.exists():
        convert(need("animal_pose"), "animalpose", folder)
    labels = hold_out(load_superset(folder), 0.1)[1]
    labels = replace(labels, records=labels.records[part::2])
    model = zoo.load("superanimal_quadruped", "compact", "cpu")
    defined = tuple(t for t in load_map("animalpose").targets.values() if t)
    _copy_images(labels, scratch / f"quadruped{part}")
    spoilt = _spoilt(_copy_images(labels, scratch / f"quadruped{part}"), part)
    return [
        Pool(model.vocabulary, _seen(model, labels), defined, False),
        Pool(model.vocabulary, _seen(model, spoilt), defined, True),
    ]


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
    extras = EXTRAS[calibration, "mouse" if "mouse" in vocabulary.name else "quadruped"].split("|")
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
    mouse = "mouse" in pool.vocabulary.name
    language = str(rng.choice(["en", "de", "es"] if calibration else ["fr", "pt", "it"]))
    words = (MOUSE if mouse else QUADRUPED)[language].split("|")
    left, right = SIDES[language][rng.integers(2)]
    style = rng.integers(3)
    found = []
    for word, target in zip(words, MOUSE_ORDER if mouse else QUADRUPED_ORDER, strict=True):
        for side, said in (("left", left), ("right", right)) if "{s}" in target else (("", ""),):
            found.append((_styled(word.format(s=said), int(style)), target.format(s=side)))
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
    """The (N, S, 2) points where another annotator puts them: some part of the way to a neighbour, left and
    right alike.

    A third of the keypoints move, by up to half of the way (the front of the pinna for the ear, ...).
    """
    points, moved = truth.copy(), {}
    flip = vocabulary.flip_index
    for column, k in enumerate(columns):
        first = min(k, int(flip[k]))
        if first not in moved:
            near = _neighbours(every, first)
            moved[first] = (int(rng.choice(near)), float(rng.uniform(0, 0.5))) if rng.random() < 0.35 else None
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
        between = truth[:, k] + rng.uniform(0.4, 0.6) * (truth[:, int(rng.choice(_neighbours(truth, k, 5)))] - truth[:, k])
        return between
    if draw < 0.7:
        return np.broadcast_to(np.nanmean(centre, axis=0) + rng.normal(0, 100, 2), centre.shape).copy()
    return centre + length[:, None] * (rng.normal(0, 0.35, (1, 2)) + rng.normal(0, 0.05, centre.shape))


def _seen(model, labels: LabelSet) -> Observations:  # noqa: ANN001
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
        image = cv2.imread(str(record.image))
        image = cv2.GaussianBlur(image, (0, 0), float(rng.uniform(1, 3)))
        noisy = image * rng.uniform(0.4, 1.2) + rng.normal(0, rng.uniform(2, 14), image.shape)
        cv2.imwrite(str(record.image), np.clip(noisy, 0, 255).astype(np.uint8))
    return labels


__all__ = ["Lab", "Pool", "invent", "load_vocabulary", "mouse_pools", "quadruped_pools"]
