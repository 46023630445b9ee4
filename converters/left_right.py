"""Left and right of labelled animals: a geometric test for animals whose sides were exchanged.

Take a pair of keypoints (left and right ear) and a point on the animal's midline (the tail base). Seen from
above, going from the midline point to the left one and on to the right one always turns the same way,
however the animal stands in the image and (nearly) however it bends. Which way, and for which triples that
holds at all, is learned from the dataset itself: a triple is used only if at least `CONSISTENT` of its
instances turn the same way. An animal that clearly turns the other way, in more than half of the triples of
a pair, is suspicious. Points on the midline are the keypoints without a partner, and the middles of the
other pairs, which an exchange does not move.

Limits. It is a suspicion, never a proof. Side views say nothing: an animal seen from the left and one seen
from the right turn in opposite ways, so no triple is consistent and the test says that it was not made
(faces seen from the front can still be tested, by nose and eyes). Where every animal of a dataset is
exchanged, or more than one in twenty, its own statistics cannot show it; against that, vocabularies seen from
above also say which way is right (`TURNS_FROM_ABOVE`). Two animals of the same image that exchanged whole
bodies are no exchange of sides. Animals lying on their backs or rearing are reported falsely.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from superset_vocab import LabelRecord, Vocabulary

CONSISTENT = 0.95
LEAST_INSTANCES = 20
# Sine between the animal's axis and the line from left to right, below which a turn is not a clear one.
CLEAR = 0.3
# The median of that sine in the triples that are used: nearly 1 from above, less where views vary.
CLEAR_ON_THE_WHOLE = 0.7
# Vocabularies of animals seen from above, and a point behind all pairs: from there to the left and on to the
# right is clockwise as the image shows it (y down), the positive sense.
TURNS_FROM_ABOVE = {"superanimal_topviewmouse": "tail_base"}

_WORDS = (
    ("left", "right"),
    ("links", "rechts"),
    ("linke", "rechte"),
    ("gauche", "droite"),
    ("gauche", "droit"),
    ("izquierdo", "derecho"),
    ("izquierda", "derecha"),
    ("esquerdo", "direito"),
    ("esquerda", "direita"),
    ("sinistro", "destro"),
    ("sinistra", "destra"),
    ("near", "off"),
    ("l", "r"),
)


@dataclass(frozen=True)
class Swap:
    """An animal whose left and right are suspicious.

    Attributes:
        record: Position of its record.
        instance: Its number in the record.
        pairs: Indices (left, right) of the pairs that turn the wrong way.
        n_tested: Number of pairs that could be tested.
    """

    record: int
    instance: int
    pairs: tuple[tuple[int, int], ...]
    n_tested: int


@dataclass(frozen=True)
class LeftRight:
    """Result for one dataset.

    Attributes:
        swaps: The suspicious animals.
        tested_pairs: Indices (left, right) of the pairs of which a triple is consistent.
        n_instances: Animals of which at least one pair was tested.
        mirrored: Whether the dataset as a whole turns against its vocabulary; None if that is not known.
    """

    swaps: tuple[Swap, ...]
    tested_pairs: tuple[tuple[int, int], ...]
    n_instances: int
    mirrored: bool | None


def pairs_of(keypoints: Sequence[str], vocabulary: Vocabulary | None) -> list[tuple[int, int]]:
    """Indices (left, right) of the pairs: the vocabulary's if these are its keypoints, else by name."""
    if vocabulary is not None and tuple(keypoints) == vocabulary.keypoints:
        flip = vocabulary.flip_index
        pairs = [(k, int(flip[k])) for k in range(len(flip)) if k < flip[k]]
        return [(b, a) if _is_right(keypoints[a]) else (a, b) for a, b in pairs]
    place = {name.casefold(): k for k, name in reversed(list(enumerate(keypoints)))}
    found: dict[int, tuple[int, int]] = {}
    for k, name in enumerate(keypoints):
        for left, right in _WORDS:
            partner = next((place[n] for n in _exchanged(name.casefold(), left, right) if n in place), None)
            if partner is not None and partner != k and k not in found and partner not in found:
                found[k] = found[partner] = (k, partner)
    return sorted(set(found.values()))


def _is_right(name: str) -> bool:
    """Whether a vocabulary's name is of the right side; vocabularies are in English."""
    return "right" in name.casefold().split("_")


def _exchanged(name: str, left: str, right: str) -> list[str]:
    """A name with one "left" in it made a "right": whole words anywhere, single letters only at an edge."""
    if len(left) > 1:
        return [name[: m.start()] + right + name[m.end() :] for m in re.finditer(re.escape(left), name)]
    inside = [m.start() for m in re.finditer(r"(?<![^\W_])l(?![^\W_])", name)]  # l_eye, front.l.paw
    edges = [i for i in (0, len(name) - 1) if len(name) > 1 and name[i] == left]  # earl, lear
    return [name[:i] + right + name[i + 1 :] for i in dict.fromkeys([*inside, *edges])]


def find_swaps(
    records: Sequence[tuple[int, LabelRecord]],
    keypoints: Sequence[str],
    vocabulary: Vocabulary | None,
) -> LeftRight:
    """Test the animals of one dataset.

    Args:
        records: Position and record of each image.
        keypoints: (K,) names.
        vocabulary: Of the keypoints, or None.
    """
    pairs = pairs_of(keypoints, vocabulary)
    where = [(i, n) for i, record in records for n in range(len(record))]
    if not pairs or not where:
        return LeftRight((), (), 0, None)
    xy = np.concatenate([record.keypoints for _, record in records])
    votes = _Votes.empty(len(xy), len(pairs))
    behind = _behind(keypoints, vocabulary)
    senses = []
    for p, pair in enumerate(pairs):
        for m, middle in _middles(xy, pairs, pair, len(keypoints)):
            turn = _turn(xy[:, pair[0]], xy[:, pair[1]], middle)
            sense = _sense(turn)
            if sense:
                votes.add(p, turn * sense)
                senses += [sense] if m is not None and m == behind else []
    wrong = (votes.against > 0) & (2 * votes.against > votes.counted)
    tested = votes.counted > 0
    swaps = tuple(
        Swap(
            record=where[i][0],
            instance=where[i][1],
            pairs=tuple(pairs[p] for p in np.flatnonzero(wrong[i])),
            n_tested=int(tested[i].sum()),
        )
        for i in np.flatnonzero(wrong.any(1))
    )
    used = tuple(pair for p, pair in enumerate(pairs) if tested[:, p].any())
    mirrored = (2 * sum(sense < 0 for sense in senses) > len(senses)) if senses else None
    return LeftRight(swaps, used, int(tested.any(1).sum()), mirrored)


@dataclass(frozen=True)
class _Votes:
    """For each animal and pair: consistent triples in which it could be tested, and those it contradicts."""

    counted: np.ndarray
    against: np.ndarray

    @classmethod
    def empty(cls, n_animals: int, n_pairs: int) -> _Votes:
        shape = (n_animals, n_pairs)
        return cls(counted=np.zeros(shape, dtype=np.int32), against=np.zeros(shape, dtype=np.int32))

    def add(self, pair: int, turn: np.ndarray) -> None:
        self.counted[:, pair] += np.isfinite(turn)
        self.against[:, pair] += turn < -CLEAR  # NaN is not


def _behind(keypoints: Sequence[str], vocabulary: Vocabulary | None) -> int | None:
    """Index of the point that lies behind all pairs, where the vocabulary is seen from above."""
    name = TURNS_FROM_ABOVE.get(vocabulary.name) if vocabulary is not None else None
    return list(keypoints).index(name) if name is not None and name in keypoints else None


def _middles(
    xy: np.ndarray, pairs: Sequence[tuple[int, int]], pair: tuple[int, int], k: int
) -> list[tuple[int | None, np.ndarray]]:
    """Points (animals, 2) on the midline to test a pair with, and the index of those that are keypoints."""
    paired = {index for each in pairs for index in each}
    own = [(m, xy[:, m]) for m in range(k) if m not in paired]
    return [*own, *((None, (xy[:, a] + xy[:, b]) / 2) for a, b in pairs if (a, b) != pair)]


def _turn(left: np.ndarray, right: np.ndarray, middle: np.ndarray) -> np.ndarray:
    """(animals,) sine between the animal's axis and the line from left to right; NaN where unknown.

    A pair whose points nearly coincide has no direction, and is unknown too.
    """
    axis, across = (left + right) / 2 - middle, right - left
    width = np.hypot(*across.T)
    with np.errstate(invalid="ignore", divide="ignore"):
        turn = (axis[:, 0] * across[:, 1] - axis[:, 1] * across[:, 0]) / (np.hypot(*axis.T) * width)
    known = np.isfinite(turn)
    if known.any():
        turn[width < max(2.0, 0.25 * float(np.median(width[known])))] = np.nan
    turn[~np.isfinite(turn)] = np.nan
    return turn


def _sense(turn: np.ndarray) -> int:
    """The way nearly all animals turn, 1 or -1; 0 if there is none or there are too few."""
    known = turn[np.isfinite(turn)]
    if known.size < LEAST_INSTANCES:
        return 0
    sense = 1 if np.median(known) > 0 else -1
    clear = float(np.median(np.abs(known))) >= CLEAR_ON_THE_WHOLE
    return sense if clear and np.mean(known * sense > 0) >= CONSISTENT else 0


def by_dataset(records: Sequence[LabelRecord]) -> dict[str, list[tuple[int, LabelRecord]]]:
    """Position and record of each image, for each dataset."""
    found: dict[str, list[tuple[int, LabelRecord]]] = defaultdict(list)
    for i, record in enumerate(records):
        found[record.dataset].append((i, record))
    return dict(found)
