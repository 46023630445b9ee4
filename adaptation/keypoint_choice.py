"""From evidence to probabilities: a choice model over the counterparts of each keypoint, and no counterpart.

A laboratory's keypoints are matched in *units*: a keypoint alone, or a left and a right one whose names are
alike but for the side, which must go to a left and a right one of the vocabulary together. For each unit a
conditional logit model chooses among its candidates c and "none":

    P(c) = exp(w . f(unit, c)) / (exp(v . g(unit)) + sum over candidates of exp(w . f))

f are logarithms of image agreement and indicators of how the names relate (`FEATURES`), g says what speaks
for no counterpart (`REFUSALS`). The weights w, v were fitted on labs with known counterparts and stand in
`data/matching_weights.toml` with the command that makes them again. `share` then lowers candidates that
several units want, `assign` finds the most probable one-to-one assignment, and `Weights.confidence` turns
its probabilities into calibrated ones (Platt scaling on further labs).
"""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, milp

from adaptation.keypoint_evidence import ImageEvidence
from adaptation.keypoint_names import Meaning, Relation, Sides, mirrored_pairs, relations
from superset_vocab import Vocabulary

WEIGHTS = resources.files("adaptation") / "data" / "matching_weights.toml"
IMAGE = ("affinity", "distance", "exclusive", "not_known")
NAMES = ("same", "open", "conflict", "region", "other", "sides_agree", "sides_conflict", "sides_open")
FEATURES = (*IMAGE, *NAMES, "same_not_known")
REFUSALS = ("none", "none_far", "none_no_images", "none_no_such_part", "none_name_unknown")
KINDS = ("both", "images", "names")
"""What evidence a set of weights is for."""

_NEAREST, _FARTHEST = 0.01, 1.0  # animal lengths: beyond these, distances say no more
_BLIND = 1e-3  # a probability this small is none


@dataclass(frozen=True)
class Unit:
    """Keypoints that are matched together, with their candidates.

    Attributes:
        members: One index of a source keypoint, or two, left and right.
        candidates: For each candidate the indices of the members' counterparts.
    """

    members: tuple[int, ...]
    candidates: tuple[tuple[int, ...], ...]


@dataclass(frozen=True, eq=False)
class Problem:
    """Everything the choice is made from.

    Attributes:
        units: They cover every source keypoint once.
        features: For each unit (C, F) of its C candidates, in the order of `FEATURES`.
        refusal: (U, G) in the order of `REFUSALS`.
        relation, sides: (S, K) of the names (`adaptation.keypoint_names.relations`).
        n_target: K.
    """

    units: tuple[Unit, ...]
    features: tuple[np.ndarray, ...]
    refusal: np.ndarray
    relation: np.ndarray
    sides: np.ndarray
    n_target: int


@dataclass(frozen=True)
class Weights:
    """Fitted constants of the choice model for one kind of evidence.

    Attributes:
        candidate: Feature -> weight.
        refusal: Refusal -> weight.
        slope, intercept: Platt scaling of log odds.
    """

    candidate: dict[str, float]
    refusal: dict[str, float]
    slope: float = 1.0
    intercept: float = 0.0

    def probabilities(self, problem: Problem) -> list[np.ndarray]:
        """For each unit (C + 1,): of its candidates, then of none."""
        w = np.array([self.candidate.get(name, 0.0) for name in FEATURES])
        v = np.array([self.refusal.get(name, 0.0) for name in REFUSALS])
        found = []
        for features, refusal in zip(problem.features, problem.refusal, strict=True):
            scores = np.append(features @ w, refusal @ v)
            scores = np.exp(scores - scores.max())
            found.append(scores / scores.sum())
        return found

    def confidence(self, probability: float) -> float:
        """The calibrated probability that a proposal of this probability is right."""
        inside = min(max(probability, 1e-6), 1 - 1e-6)
        odds = np.log(inside / (1 - inside))
        return float(1 / (1 + np.exp(-(self.slope * odds + self.intercept))))


@lru_cache
def load_weights(kind: str = "both") -> Weights:
    """The fitted constants that come with the package.

    Args:
        kind: One of `KINDS`: which evidence there is.
    """
    table = tomllib.loads(WEIGHTS.read_text(encoding="utf-8"))[kind]
    return Weights(table["candidate"], table["refusal"], table["slope"], table["intercept"])


def units_of(meanings: Sequence[Meaning], vocabulary: Vocabulary) -> tuple[Unit, ...]:
    """The units of a laboratory's keypoints: pairs by name first, then the others."""
    flip = vocabulary.flip_index.tolist()
    sided = tuple((k, flip[k]) for k in range(len(flip)) if flip[k] != k)
    pairs = mirrored_pairs(meanings) if sided else ()
    alone = sorted(set(range(len(meanings))) - {s for pair in pairs for s in pair})
    every = tuple((k,) for k in range(len(flip)))
    return (*(Unit(pair, sided) for pair in pairs), *(Unit((s,), every) for s in alone))


def pose_problem(
    meanings: Sequence[Meaning], targets: Sequence[Meaning], vocabulary: Vocabulary, evidence: ImageEvidence
) -> Problem:
    """Units, candidates and features of a laboratory.

    Args:
        meanings: (S,) of the source names.
        targets: (K,) of the vocabulary's.
        vocabulary: The superset.
        evidence: From the images; `no_images` where there are none.
    """
    relation, sides = relations(meanings, targets)
    units = units_of(meanings, vocabulary)
    images, names = _image_features(evidence), _name_features(relation, sides)
    # A name that agrees counts for more where no image can: an untrained channel cannot win by place.
    both = images[..., IMAGE.index("not_known")] * names[..., NAMES.index("same")]
    table = np.concatenate([images, names, both[..., None]], axis=-1)
    refusals = _refusals(evidence, relation, sides)
    features = []
    for unit in units:
        index = np.array(unit.candidates)  # (C, members)
        features.append(np.mean([table[s, index[:, m]] for m, s in enumerate(unit.members)], axis=0))
    refusal = np.stack([refusals[list(unit.members)].mean(0) for unit in units])
    return Problem(units, tuple(features), refusal, relation, sides, len(vocabulary))


def _image_features(evidence: ImageEvidence) -> np.ndarray:
    """(S, K, 4). Counts are smoothed by half an animal, so that few animals say little."""
    n = evidence.annotated[:, None]
    usable = evidence.known[None] & (n > 0)
    affinity = np.log((evidence.counts + 0.5) / (n + 1))
    total = evidence.counts.sum(0, keepdims=True)
    exclusive = np.log((evidence.counts + 0.5) / (total + 1))
    distance = np.log(np.clip(np.nan_to_num(evidence.distance, nan=_FARTHEST), _NEAREST, _FARTHEST))
    weight = n / (n + 2)
    not_known = np.broadcast_to(~evidence.known[None] & (n > 0), usable.shape)
    found = [np.where(usable, value, 0.0) for value in (affinity, distance * weight, exclusive * weight)]
    return np.stack([*found, not_known.astype(float)], axis=-1)


def _name_features(relation: np.ndarray, sides: np.ndarray) -> np.ndarray:
    """(S, K, 8) indicators."""
    kinds = (Relation.SAME, Relation.OPEN, Relation.CONFLICT, Relation.REGION, Relation.OTHER)
    found = [relation == kind for kind in kinds]
    found += [sides == kind for kind in (Sides.AGREE, Sides.CONFLICT, Sides.OPEN)]
    return np.stack(found, axis=-1).astype(float)


def _refusals(evidence: ImageEvidence, relation: np.ndarray, sides: np.ndarray) -> np.ndarray:
    """(S, 5) what speaks for no counterpart of each source keypoint."""
    n = evidence.annotated
    reach = np.where(evidence.known[None], np.nan_to_num(evidence.distance, nan=_FARTHEST), _FARTHEST)
    nearest = np.log(np.clip(reach.min(1, initial=_FARTHEST), _NEAREST, _FARTHEST))
    unknown = (relation == Relation.UNKNOWN).all(1)
    fits = np.isin(relation, (Relation.SAME, Relation.OPEN)) & (sides != Sides.CONFLICT)
    far = np.where(n > 0, nearest * n / (n + 2), 0.0)
    columns = [np.ones(len(n)), far, n == 0, ~unknown & ~fits.any(1), unknown]
    return np.stack(columns, axis=-1).astype(float)


def share(problem: Problem, probabilities: Sequence[np.ndarray], rounds: int = 30) -> list[np.ndarray]:
    """Let units that want the same counterpart share it: a counterpart is had once (softassign).

    Each round scales down what a counterpart is wanted beyond once, and normalises every unit again.
    """
    found = [p.copy() for p in probabilities]
    index = [np.array(unit.candidates) for unit in problem.units]
    for _ in range(rounds):
        wanted = np.zeros(problem.n_target)
        for p, places in zip(found, index, strict=True):
            for column in places.T:
                np.add.at(wanted, column, p[:-1])
        scale = 1 / np.maximum(wanted, 1)
        for p, places in zip(found, index, strict=True):
            p[:-1] *= scale[places].min(1)
            p /= p.sum()
    return found


def assign(problem: Problem, probabilities: Sequence[np.ndarray]) -> list[int]:
    """The most probable assignment in which no counterpart is had twice.

    The paper's second Hungarian assignment, with "none" for a choice and pairs kept together, which makes
    it an integer programme.

    Returns:
        For each unit the index of its candidate, or -1 for none.
    """
    owners, gains, rows, columns = [], [], [], []
    for u, (unit, p) in enumerate(zip(problem.units, probabilities, strict=True)):
        for c in np.flatnonzero(p[:-1] > _BLIND):
            columns += [len(owners)] * (1 + len(unit.members))
            rows += [u, *(len(problem.units) + k for k in unit.candidates[c])]
            owners.append((u, int(c)))
            gains.append(len(unit.members) * (np.log(p[c]) - np.log(max(p[-1], 1e-12))))
    chosen = [-1] * len(problem.units)
    if not owners:
        return chosen
    matrix = np.zeros((len(problem.units) + problem.n_target, len(owners)))
    matrix[rows, columns] = 1
    solved = milp(
        -np.array(gains),
        constraints=LinearConstraint(matrix, ub=1),
        integrality=np.ones(len(owners)),
        bounds=Bounds(0, 1),
    )
    if solved.x is None:
        raise AssertionError(f"an assignment always exists: {solved.message}")
    for j in np.flatnonzero(solved.x > 0.5):
        u, c = owners[j]
        chosen[u] = c
    return chosen
