"""Superset vocabularies: the ordered keypoint names that one family of models predicts.

A vocabulary is a data file, `data/vocabularies/<name>.toml`. The order of its keypoints is the
order of the network's output channels and never changes once a model has been published:

    name = "mouse"
    keypoints = ["nose", "left_ear", "right_ear"]
    skeleton = [["nose", "left_ear"], ["nose", "right_ear"]]
    flip_pairs = [["left_ear", "right_ear"]]
    [sigmas]                       # OKS falloff constants: a default, and what differs by name
    source = "where they come from"
    default = 0.1
    [colours]
    nose = "#00ff00"               # and so on for every keypoint
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from importlib import resources
from pathlib import Path

import numpy as np

from superset_vocab.errors import InputError, all_problems
from superset_vocab.files import read_text
from superset_vocab.toml_text import parse_toml, toml_names

_FOLDER = resources.files("superset_vocab") / "data" / "vocabularies"
_ENTRIES = {"name", "keypoints", "skeleton", "flip_pairs", "sigmas", "colours"}


@dataclass(frozen=True, eq=False)
class Vocabulary:
    """An ordered set of keypoints with what drawing, flipping and scoring need to know of them.

    Attributes:
        name: For example "superanimal_topviewmouse".
        keypoints: (K,) names, in channel order.
        skeleton: (E, 2) pairs of keypoint names to draw as bones.
        flip_index: (K,) int; `flip_index[k]` is the keypoint that k becomes in a mirrored image.
        sigmas: (K,) OKS falloff constants k_i (SuperAnimal paper, eq. 4).
        colours: (K, 3) uint8 RGB.
        sigma_source: Where the sigmas come from, in words.
    """

    name: str
    keypoints: tuple[str, ...]
    skeleton: tuple[tuple[str, str], ...]
    flip_index: np.ndarray
    sigmas: np.ndarray
    colours: np.ndarray
    sigma_source: str

    def __post_init__(self) -> None:
        problems = list(_problems(self))
        if problems:
            raise all_problems(f"vocabulary {self.name}", problems)
        for array in (self.flip_index, self.sigmas, self.colours):
            array.setflags(write=False)

    def __len__(self) -> int:
        return len(self.keypoints)

    @cached_property
    def index(self) -> dict[str, int]:
        """Keypoint name -> channel."""
        return {name: k for k, name in enumerate(self.keypoints)}

    @cached_property
    def bones(self) -> np.ndarray:
        """(E, 2) int: the skeleton as channel indices."""
        pairs = [(self.index[a], self.index[b]) for a, b in self.skeleton]
        return np.array(pairs, dtype=np.int64).reshape(-1, 2)


def _problems(vocabulary: Vocabulary) -> Iterator[str]:
    """Everything that is inconsistent in a vocabulary, one sentence each."""
    names, count = set(vocabulary.keypoints), len(vocabulary.keypoints)
    for name, times in Counter(vocabulary.keypoints).items():
        if times > 1:
            yield f"keypoint {name!r} is listed {times} times"
    for bone in vocabulary.skeleton:
        for name in bone:
            if name not in names:
                yield f"skeleton names {name!r}, which is no keypoint"
    flip = vocabulary.flip_index
    if flip.shape != (count,) or sorted(flip.tolist()) != list(range(count)):
        yield "flip_index is not a permutation of the keypoints"
    elif not np.array_equal(flip[flip], np.arange(count)):
        yield "flipping twice does not give the keypoints back"
    if vocabulary.sigmas.shape != (count,) or not (vocabulary.sigmas > 0).all():
        yield f"needs {count} positive sigmas"
    if vocabulary.colours.shape != (count, 3) or vocabulary.colours.dtype != np.uint8:
        yield f"needs {count} RGB colours"


def list_vocabularies() -> list[str]:
    """Names of the vocabularies that come with the package, sorted."""
    return toml_names(_FOLDER)


def load_vocabulary(name: str) -> Vocabulary:
    """Load a vocabulary by name, or from the path of a .toml file.

    Raises:
        InputError: If there is none of that name, or the file is inconsistent.
    """
    if name.endswith(".toml"):
        if not Path(name).is_file():
            raise InputError(f"{name}: no such vocabulary file")
        return _parse(name, read_text(Path(name)))
    return _shipped(name)


@lru_cache
def _shipped(name: str) -> Vocabulary:
    """A vocabulary of the package; the same object every time, its file does not change."""
    if name not in list_vocabularies():
        raise InputError(f"{name!r} is no vocabulary; there are: {', '.join(list_vocabularies())}")
    return _parse(name, (_FOLDER / f"{name}.toml").read_text(encoding="utf-8"))


def _parse(what: str, text: str) -> Vocabulary:
    """Build a vocabulary from the text of its data file."""
    data = parse_toml(text, what)
    try:
        keypoints = tuple(data["keypoints"])
        skeleton = tuple((a, b) for a, b in data["skeleton"])
        pairs = [(left, right) for left, right in data["flip_pairs"]]
        sigmas = {name: float(v) for name, v in data["sigmas"].items() if name != "source"}
        colours = {name: _rgb(text) for name, text in data["colours"].items()}
        default, source, name = sigmas.pop("default"), data["sigmas"]["source"], data["name"]
    except KeyError as error:
        raise InputError(f"{what}: the vocabulary lacks the entry {error}") from error
    except (TypeError, ValueError, AttributeError) as error:
        raise InputError(f"{what}: an entry of the vocabulary has the wrong form: {error}") from error
    problems = [f"unknown entry {entry!r}" for entry in sorted(set(data) - _ENTRIES)]
    paired = {name for pair in pairs for name in pair}
    for part, names in (("flip pair", paired), ("sigma", set(sigmas)), ("colour", set(colours))):
        problems += [f"{part} for {n!r}, which is no keypoint" for n in sorted(names - set(keypoints))]
    problems += [f"{n!r} has no colour" for n in keypoints if n not in colours]
    if problems:
        raise all_problems(what, problems)
    index = {keypoint: k for k, keypoint in enumerate(keypoints)}
    flip = np.arange(len(keypoints))
    for left, right in pairs:
        flip[index[left]], flip[index[right]] = index[right], index[left]
    return Vocabulary(
        name=name,
        keypoints=keypoints,
        skeleton=skeleton,
        flip_index=flip,
        sigmas=np.array([sigmas.get(keypoint, default) for keypoint in keypoints]),
        colours=np.array([colours[keypoint] for keypoint in keypoints], dtype=np.uint8),
        sigma_source=" ".join(source.split()),
    )


def _rgb(text: str) -> tuple[int, int, int]:
    """Red, green and blue of a text of the form #rrggbb."""
    if re.fullmatch(r"#[0-9a-fA-F]{6}", text) is None:
        raise ValueError(f"{text!r} is no colour of the form #rrggbb")
    return int(text[1:3], 16), int(text[3:5], 16), int(text[5:7], 16)
