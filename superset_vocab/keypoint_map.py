"""Keypoint maps: which keypoint of a source dataset is which keypoint of a superset vocabulary.

A map belongs to one dataset: the same source name may mean different things elsewhere ("spine1" is
mid_back in Daniel3Mouse and neck in MackenzieMausHaus), so there is no global table of aliases.
Every source keypoint is either mapped or dropped by name. Anything else is an error, and the error
lists all problems at once. Map files are `data/maps/<dataset>.toml`:

    dataset = "dlc-openfield"
    vocabulary = "superanimal_topviewmouse"
    drop = []                      # source keypoints left out on purpose
    [map]
    snout = "nose"
"""

from __future__ import annotations

import tomllib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path

import numpy as np

from superset_vocab.errors import InputError, all_problems
from superset_vocab.records import LabelRecord, LabelSet, Visibility
from superset_vocab.vocabulary import Vocabulary, load_vocabulary

_FOLDER = resources.files("superset_vocab") / "data" / "maps"


@dataclass(frozen=True, eq=False)
class KeypointMap:
    """The projection of one dataset's keypoints into a vocabulary.

    Attributes:
        dataset: The dataset whose names these are.
        vocabulary: The superset.
        targets: Source name -> superset name, or None where the source keypoint is dropped.
        licence, citation: Of the dataset, where known; carried into `Source` by the converters.
    """

    dataset: str
    vocabulary: Vocabulary
    targets: dict[str, str | None]
    licence: str = ""
    citation: str = ""

    def __post_init__(self) -> None:
        problems = []
        used = Counter(target for target in self.targets.values() if target is not None)
        for target, times in sorted(used.items()):
            if target not in self.vocabulary.index:
                problems.append(f"maps to {target!r}, which is not in {self.vocabulary.name}")
            if times > 1:
                names = sorted(s for s, t in self.targets.items() if t == target)
                problems.append(f"{', '.join(names)} all map to {target!r}")
        if problems:
            raise all_problems(f"keypoint map {self.dataset}", problems)

    def check(self, keypoints: Sequence[str]) -> None:
        """Check that the map speaks of exactly these source keypoints.

        Raises:
            InputError: Lists every name that is duplicated, unlisted or unknown.
        """
        problems = [
            f"source keypoint {name!r} occurs {times} times"
            for name, times in sorted(Counter(keypoints).items())
            if times > 1
        ]
        for name in sorted(set(keypoints) - set(self.targets)):
            problems.append(f"source keypoint {name!r} is neither mapped nor dropped")
        for name in sorted(set(self.targets) - set(keypoints)):
            problems.append(f"{name!r} is in the map but not in the source")
        if problems:
            raise all_problems(f"keypoint map {self.dataset}", problems)

    def source_index(self, keypoints: Sequence[str]) -> np.ndarray:
        """(K,) int: for each superset keypoint the index of its source keypoint, or -1."""
        self.check(keypoints)
        index = np.full(len(self.vocabulary), -1)
        for s, name in enumerate(keypoints):
            target = self.targets[name]
            if target is not None:
                index[self.vocabulary.index[target]] = s
        return index


def project(labels: LabelSet, keypoint_map: KeypointMap) -> LabelSet:
    """Project a foreign label set into the map's vocabulary (paper, "Vocabulary projection").

    Superset keypoints without a counterpart become `Visibility.UNDEFINED`, which is not the same as
    not annotated. Dropped source keypoints are lost on purpose and stay named in `Source`.

    Raises:
        InputError: If the set has several datasets, or the map does not fit its keypoints.
    """
    if len(labels.sources) != 1:
        raise InputError(f"a map projects one dataset, got {[s.dataset for s in labels.sources]}")
    index = keypoint_map.source_index(labels.keypoints)
    records = tuple(_take(record, index) for record in labels.records)
    source = replace(labels.sources[0], keypoint_map=dict(keypoint_map.targets))
    return LabelSet(
        keypoint_map.vocabulary.keypoints, records, (source,), keypoint_map.vocabulary.name
    )


def pull_back(labels: LabelSet, keypoint_map: KeypointMap, keypoints: Sequence[str]) -> LabelSet:
    """Undo `project`: superset records back in the source's own keypoints and order.

    Dropped source keypoints come back as not annotated.
    """
    keypoint_map.check(keypoints)
    index = np.array(
        [-1 if (t := keypoint_map.targets[name]) is None else keypoint_map.vocabulary.index[t] for name in keypoints],
        dtype=np.int64,
    )
    records = []
    for record in labels.records:
        taken = _take(record, index)
        visibility = np.where(index[None] < 0, Visibility.NOT_ANNOTATED, taken.visibility).astype(np.int8)
        records.append(replace(taken, visibility=visibility))
    return LabelSet(tuple(keypoints), tuple(records), labels.sources)


def _take(record: LabelRecord, index: np.ndarray) -> LabelRecord:
    """Reorder the keypoint axis; index -1 gives an undefined keypoint."""
    keypoints = np.full((len(record), len(index), 2), np.nan)
    visibility = np.full((len(record), len(index)), Visibility.UNDEFINED, dtype=np.int8)
    known = index >= 0
    keypoints[:, known] = record.keypoints[:, index[known]]
    visibility[:, known] = record.visibility[:, index[known]]
    return replace(record, keypoints=keypoints, visibility=visibility)


def list_maps() -> list[str]:
    """Names of the maps that come with the package, sorted."""
    return sorted(f.name.removesuffix(".toml") for f in _FOLDER.iterdir() if f.name.endswith(".toml"))


def load_map(name: str) -> KeypointMap:
    """Load a keypoint map by dataset name, or from the path of a .toml file.

    Raises:
        InputError: If there is none of that name, or the file has problems (all are listed).
    """
    if name.endswith(".toml"):
        file = Path(name)
        if not file.is_file():
            raise InputError(f"{name}: no such keypoint map file")
    else:
        file = _FOLDER / f"{name}.toml"
        if not file.is_file():
            raise InputError(
                f"no keypoint map {name!r}; give the path of a .toml file or one of: {', '.join(list_maps())}"
            )
    return _parse(name, file.read_text(encoding="utf-8"))


def _parse(what: str, text: str) -> KeypointMap:
    """Build a map from the text of its data file."""
    try:
        data = tomllib.loads(text)
        mapped, dropped = dict(data["map"]), list(data.get("drop", []))
        both = sorted(set(mapped) & set(dropped))
        if both:
            raise all_problems(what, [f"{name!r} is both mapped and dropped" for name in both])
        unknown = sorted(set(data) - {"dataset", "vocabulary", "map", "drop", "licence", "citation", "note"})
        if unknown:
            raise all_problems(what, [f"unknown entry {name!r}" for name in unknown])
        return KeypointMap(
            dataset=data["dataset"],
            vocabulary=load_vocabulary(data["vocabulary"]),
            targets={**mapped, **dict.fromkeys(dropped)},
            licence=data.get("licence", ""),
            citation=data.get("citation", ""),
        )
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"{what}: not a TOML file (a name listed twice, perhaps): {error}") from error
    except KeyError as error:
        raise InputError(f"{what}: the keypoint map lacks the entry {error}") from error
