"""Superset vocabularies: the ordered keypoint names that one family of models predicts.

A vocabulary is a data file, `data/vocabularies/<name>.toml`. The order of its keypoints is the
order of the network's output channels and never changes once a model has been published.
"""

from __future__ import annotations

import tomllib
from collections import Counter
from dataclasses import dataclass
from functools import cached_property, lru_cache
from importlib import resources
from pathlib import Path

import numpy as np

from superset_vocab.errors import InputError, all_problems

_FOLDER = resources.files("superset_vocab") / "data" / "vocabularies"


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


def _problems(vocabulary: Vocabulary):
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
    return sorted(f.name.removesuffix(".toml") for f in _FOLDER.iterdir() if f.name.endswith(".toml"))


@lru_cache
def load_vocabulary(name: str) -> Vocabulary:
    """Load a vocabulary by name, or from the path of a .toml file.

    Raises:
        InputError: If there is none of that name, or the file is inconsistent.
    """
    if name.endswith(".toml"):
        file, what = Path(name), name
        if not file.is_file():
            raise InputError(f"{name}: no such vocabulary file")
    else:
        file, what = _FOLDER / f"{name}.toml", name
        if not file.is_file():
            raise InputError(
                f"{name!r} is no vocabulary; there are: {', '.join(list_vocabularies())}"
            )
    return _parse(what, file.read_text(encoding="utf-8"))


def _parse(what: str, text: str) -> Vocabulary:
    """Build a vocabulary from the text of its data file."""
    try:
        data = tomllib.loads(text)
        keypoints = tuple(data["keypoints"])
        index = {name: k for k, name in enumerate(keypoints)}
        flip = np.arange(len(keypoints))
        for left, right in data["flip_pairs"]:
            flip[index[left]], flip[index[right]] = index[right], index[left]
        default = float(data["sigmas"]["default"])
        special = {k: float(v) for k, v in data["sigmas"].items() if k not in ("default", "source")}
        unknown = sorted(set(special) - set(keypoints))
        if unknown:
            raise all_problems(what, [f"sigma for {name!r}, which is no keypoint" for name in unknown])
        return Vocabulary(
            name=data["name"],
            keypoints=keypoints,
            skeleton=tuple((a, b) for a, b in data["skeleton"]),
            flip_index=flip,
            sigmas=np.array([special.get(name, default) for name in keypoints]),
            colours=np.array(
                [[int(data["colours"][name][i : i + 2], 16) for i in (1, 3, 5)] for name in keypoints],
                dtype=np.uint8,
            ),
            sigma_source=data["sigmas"]["source"],
        )
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"{what}: not a TOML file: {error}") from error
    except KeyError as error:
        raise InputError(f"{what}: the vocabulary lacks, or names wrongly, {error}") from error
