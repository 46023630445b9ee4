"""What the name of a keypoint says: which part of the animal, which side, which end of it.

Laboratories write "leftear", "Ear_left", "L_EarBase", "Ohrspitze links" or "base de la queue". A name is
split at separators, capitals and digits, compounds are taken apart, and each word is looked up in
`data/anatomy_words.toml` (English, German, French, Spanish, Portuguese, Italian). What is left is a
`Meaning`, which can be compared with another one.

Names are weak evidence, and this module is careful to say less rather than more: numbers count within
one laboratory only ("spine1" of one is not "spine1" of another), no dataset's aliases are known here, and
a word that is not understood means that nothing is known, not that nothing fits.
"""

from __future__ import annotations

import re
import tomllib
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from enum import IntEnum
from functools import lru_cache
from importlib import resources

import numpy as np

_WORDS = resources.files("adaptation") / "data" / "anatomy_words.toml"
_LINKS = ("", "s", "n", "en", "es")  # between the words of a German compound
_LIMBS = {"forelimb", "hindlimb"}
_SHORTEST = 3  # letters of a word inside a compound: shorter ones are found everywhere


class Relation(IntEnum):
    """How two names relate, from no information to flat contradiction."""

    UNKNOWN = 0
    SAME = 1
    OPEN = 2
    CONFLICT = 3
    REGION = 4
    OTHER = 5

    @property
    def words(self) -> str:
        """For people."""
        return {
            Relation.UNKNOWN: "name not understood",
            Relation.SAME: "names agree",
            Relation.OPEN: "names agree as far as they go",
            Relation.CONFLICT: "same part, but another place on it",
            Relation.REGION: "names are of neighbouring parts",
            Relation.OTHER: "names are of different parts",
        }[self]


class Sides(IntEnum):
    """How the sides of two names relate."""

    NEITHER = 0
    AGREE = 1
    CONFLICT = 2
    OPEN = 3


@dataclass(frozen=True)
class Meaning:
    """What a keypoint's name says.

    Attributes:
        name: The name itself.
        tokens: Its words, in order, lower case and without accents.
        parts: Parts of the animal, e.g. {"ear"}; empty if none is understood.
        side: "left" or "right" of the animal, or "".
        limb: "front" or "hind", said or implied by the part, or "".
        places: Of the part: "base", "tip", "middle", "upper", "lower".
        numbers: In the name, in order.
        series: Whether `numbers` have a meaning shared with the other side (`same_series`).
    """

    name: str
    tokens: tuple[str, ...] = ()
    parts: frozenset[str] = frozenset()
    side: str = ""
    limb: str = ""
    places: frozenset[str] = frozenset()
    numbers: tuple[int, ...] = ()
    series: bool = field(default=False, compare=False)

    @property
    def regions(self) -> frozenset[str]:
        """Parts of the body that the parts touch, e.g. {"head"}; a limb said to be front or hind is one."""
        found = {region for part in self.parts for region in _lexicon().regions[part]}
        if self.limb and found & _LIMBS:
            found = (found - _LIMBS) | {"forelimb" if self.limb == "front" else "hindlimb"}
        return frozenset(found)


@dataclass(frozen=True)
class _Lexicon:
    """The data file: word -> its senses "kind.value", regions and implied limb of each part."""

    senses: dict[str, frozenset[str]]
    abbreviations: dict[str, tuple[str, ...]]
    regions: dict[str, tuple[str, ...]]
    implied: dict[str, str]
    together: tuple[tuple[str, str], ...]


@lru_cache
def _lexicon() -> _Lexicon:
    data = tomllib.loads(_WORDS.read_text(encoding="utf-8"))
    senses: dict[str, set[str]] = defaultdict(set)
    for kind in ("part", "side", "place", "limb"):
        for value, entry in data[kind].items():
            for language, words in entry.items():
                if language not in ("regions", "limb"):
                    for word in words:
                        for spelling in _spellings(word):
                            senses[spelling].add(f"{kind}.{value}")
    for words in data["noise"].values():
        for word in words:
            for spelling in _spellings(word):
                senses[spelling].add("noise.")
    together = tuple((pair["left"], pair["right"]) for pair in data["only_together"])
    for word in {word for pair in together for word in pair if len(word) >= _SHORTEST}:
        senses[word].add("noise.")
    return _Lexicon(
        senses={word: frozenset(found) for word, found in senses.items()},
        abbreviations={word: tuple(found) for word, found in data["abbreviations"].items()},
        regions={part: tuple(entry["regions"]) for part, entry in data["part"].items()},
        implied={part: entry["limb"] for part, entry in data["part"].items() if "limb" in entry},
        together=together,
    )


def understand(names: Sequence[str]) -> tuple[Meaning, ...]:
    """Read the names of one laboratory; they are read together, because they explain each other.

    Args:
        names: All keypoint names of the laboratory, or of a vocabulary.
    """
    tokens = _sided_letters([_tokens(name) for name in names])
    sides = _sides_side_by_side(tokens)
    return tuple(_meaning(name, words, side) for name, words, side in zip(names, tokens, sides, strict=True))


def mirrored_pairs(meanings: Sequence[Meaning]) -> tuple[tuple[int, int], ...]:
    """Pairs (left, right) of indices whose names are alike but for the side."""
    places: dict[tuple[object, ...], dict[str, list[int]]] = defaultdict(lambda: defaultdict(list))
    for i, meaning in enumerate(meanings):
        if meaning.side:
            rest = tuple(sorted(word for word in meaning.tokens if not _is_side(word, meaning)))
            key = (meaning.parts, meaning.limb, meaning.places, meaning.numbers, rest)
            places[key][meaning.side].append(i)
    found = [(sides["left"], sides["right"]) for sides in places.values()]
    return tuple((left[0], right[0]) for left, right in found if len(left) == len(right) == 1)


def same_series(source: Sequence[Meaning], target: Sequence[Meaning]) -> tuple[Meaning, ...]:
    """The source's meanings, with `series` where a numbered row of names is the target's whole row.

    "tail1" alone may be anywhere on the tail. A lab that names tail1 to tail5, as the vocabulary does, no
    fewer and no more, means the same five places.
    """

    def rows(meanings: Iterable[Meaning]) -> dict[tuple[object, ...], set[tuple[int, ...]]]:
        found: dict[tuple[object, ...], set[tuple[int, ...]]] = defaultdict(set)
        for meaning in (meaning for meaning in meanings if meaning.parts):
            found[_stem(meaning)].add(meaning.numbers)
        return found

    ours, theirs = rows(source), rows(target)
    shared = {key for key, numbers in ours.items() if len(numbers) > 2 and theirs.get(key) == numbers}
    return tuple(replace(meaning, series=_stem(meaning) in shared) for meaning in source)


def relations(source: Sequence[Meaning], target: Sequence[Meaning]) -> tuple[np.ndarray, np.ndarray]:
    """Compare every source name with every target name.

    Returns:
        (S, K) int values of `Relation`, and (S, K) int values of `Sides`.
    """
    source = same_series(source, target)
    relation = np.array([[_relation(s, t) for t in target] for s in source], dtype=np.int64)
    sides = np.array([[_sides(s, t) for t in target] for s in source], dtype=np.int64)
    shape = (len(source), len(target))
    return relation.reshape(shape), sides.reshape(shape)


def _relation(source: Meaning, target: Meaning) -> Relation:
    if not source.parts or not target.parts:
        return Relation.UNKNOWN
    if source.limb and target.limb and source.limb != target.limb:
        return Relation.OTHER
    if not source.parts & target.parts:
        return Relation.REGION if source.regions & target.regions else Relation.OTHER
    if source.parts != target.parts:
        return Relation.OPEN
    ends = {"base", "tip"}
    if source.places & ends and target.places & ends and source.places & ends != target.places & ends:
        return Relation.CONFLICT
    levels = {"upper", "lower"}
    if source.places & levels and target.places & levels and source.places & levels != target.places & levels:
        return Relation.CONFLICT
    if source.series and (source.numbers or target.numbers):
        return Relation.SAME if source.numbers == target.numbers else Relation.CONFLICT
    if source.numbers or target.numbers or source.places != target.places:
        return Relation.OPEN
    return Relation.SAME


def _sides(source: Meaning, target: Meaning) -> Sides:
    if not source.side and not target.side:
        return Sides.NEITHER
    if not source.side or not target.side:
        return Sides.OPEN
    return Sides.AGREE if source.side == target.side else Sides.CONFLICT


def _stem(meaning: Meaning) -> tuple[object, ...]:
    return meaning.parts, meaning.side, meaning.limb, meaning.places


def _meaning(name: str, words: tuple[str, ...], side: str) -> Meaning:
    """Look up the words of a name; `side` is what its neighbours say of it, or ""."""
    lexicon = _lexicon()
    senses = [_senses(word, lexicon) for word in words]
    parts = {s for found in senses for s in found if s.startswith("part.")}
    # "back" is the back, or, beside another part, the hind one; "front" is French for the forehead.
    double = {s for found in senses if any(x.startswith("limb.") for x in found) for s in found} & parts
    if parts - double:
        parts -= double
    elif double:
        senses = [
            [s for s in found if not (s.startswith("limb.") and set(found) & double)] for found in senses
        ]
    found = defaultdict(set)
    for sense in (s for every in senses for s in every):
        kind, _, value = sense.partition(".")
        found[kind].add(value)
    kinds = {part.partition(".")[2] for part in parts}
    if len(kinds) > 1:
        kinds.discard("body")
    if not kinds and found["place"] == {"middle"} and not found["side"]:
        kinds = {"body"}  # "center", "Mitte": of what else
    limbs = found["limb"] or {lexicon.implied[part] for part in kinds if part in lexicon.implied}
    sides = {side} if side else found["side"]
    return Meaning(
        name=name,
        tokens=words,
        parts=frozenset(kinds),
        side=sides.pop() if len(sides) == 1 else "",
        limb=limbs.pop() if len(limbs) == 1 else "",
        places=frozenset(found["place"]),
        numbers=tuple(int(word) for word in words if word.isdecimal()),
    )


def _senses(word: str, lexicon: _Lexicon) -> list[str]:
    return sorted(lexicon.senses.get(word) or lexicon.abbreviations.get(word, ()))


def _is_side(word: str, meaning: Meaning) -> bool:
    """Whether the word is what says the side."""
    lexicon = _lexicon()
    by_itself = any(sense.startswith("side.") for sense in _senses(word, lexicon))
    return by_itself or any(word in pair for pair in lexicon.together)


def _sided_letters(tokens: list[tuple[str, ...]]) -> list[tuple[str, ...]]:
    """Split "rear" into r and ear where the lab has a "lear" in the same place."""
    known = set(tokens)
    done = []
    for words in tokens:
        for i, word in enumerate(words):
            rest = word[1:]
            twin = (*words[:i], "l", rest, *words[i + 1 :])
            if word[:1] == "r" and len(rest) >= _SHORTEST and twin in known:
                words = (*words[:i], "r", rest, *words[i + 1 :])
                break
        done.append(words)
    return done


def _sides_side_by_side(tokens: Sequence[tuple[str, ...]]) -> list[str]:
    """Sides that only a pair of names reveals ("Nearknee" beside "Offknee"); "" for the others."""
    places = {words: i for i, words in enumerate(tokens)}
    sides = [""] * len(tokens)
    for left, right in _lexicon().together:
        for i, words in enumerate(tokens):
            for at in (at for at, word in enumerate(words) if word == left):
                twin = places.get((*words[:at], right, *words[at + 1 :]))
                if twin is not None and not sides[i] and not sides[twin]:
                    sides[i], sides[twin] = "left", "right"
    return sides


def _tokens(name: str) -> tuple[str, ...]:
    """Words of a name: split at separators, capitals and digits, compounds taken apart."""
    text = re.sub(r"\b[ldLD]['’]", "", name)  # l'oreille, d'oreille
    text = re.sub(r"(?<=[a-zà-ÿ])(?=[A-ZÀ-Þ])|(?<=[A-Z])(?=[A-Z][a-z])", " ", text)
    found: list[str] = []
    for raw in re.findall(r"\d+|[^\W\d_]+", text):
        found += (raw,) if raw.isdecimal() else _compound(_plain(raw), _lexicon())
    return tuple(found)


def _compound(word: str, lexicon: _Lexicon) -> tuple[str, ...]:
    """The fewest known words that make up `word`, or the word itself."""
    if word in lexicon.senses or word in lexicon.abbreviations:
        return (word,)
    best: dict[int, tuple[str, ...]] = {0: ()}
    for end in range(1, len(word) + 1):
        for start in (start for start in range(end) if start in best):
            for piece in _pieces(word, start, end, lexicon):
                words = (*best[start], piece)
                if end not in best or len(words) < len(best[end]):
                    best[end] = words
    found = best.get(len(word), ())
    return found if any(_senses(piece, lexicon) for piece in found) else (word,)


def _pieces(word: str, start: int, end: int, lexicon: _Lexicon) -> Iterable[str]:
    """Known words that `word[start:end]` is, alone, with a linking letter, or as a side's letter."""
    text = word[start:end]
    for link in _LINKS:
        bare = text.removesuffix(link) if link else text
        linked = not link or (text.endswith(link) and end < len(word))
        if linked and len(bare) >= _SHORTEST and bare in lexicon.senses:
            yield bare
    if text in ("l", "r") and (start == 0) != (end == len(word)):
        yield text  # "earl", "lhip": at one end of a word only


def _plain(word: str) -> str:
    """Lower case without accents."""
    text = unicodedata.normalize("NFKD", word.casefold().replace("œ", "oe").replace("æ", "ae"))
    return "".join(c for c in text if not unicodedata.combining(c))


def _spellings(word: str) -> set[str]:
    """A word without accents, and with the German ae, oe, ue."""
    umlauts = word.casefold().translate(str.maketrans({"ä": "ae", "ö": "oe", "ü": "ue"}))
    return {_plain(word), _plain(umlauts)}
