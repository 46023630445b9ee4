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
from superset_vocab.files import read_text
from superset_vocab.provenance import operation
from superset_vocab.records import UNKNOWN_LICENCE, LabelRecord, LabelSet, Visibility
from superset_vocab.toml_text import toml_names
from superset_vocab.vocabulary import Vocabulary, load_vocabulary

_FOLDER = resources.files("superset_vocab") / "data" / "maps"
_ENTRIES = {"dataset", "vocabulary", "map", "drop", "licence", "citation", "note"}


@dataclass(frozen=True, eq=False)
class KeypointMap:
    """The projection of one dataset's keypoints into a vocabulary.

    Attributes:
        dataset: The dataset whose names these are.
        vocabulary: The superset.
        targets: Source name -> superset name, or None where the source keypoint is dropped.
        licence, citation: Of the dataset, where known; carried into `Source` by `project`.
        note: What a user of the map should know, e.g. why a keypoint is dropped.
    """

    dataset: str
    vocabulary: Vocabulary
    targets: dict[str, str | None]
    licence: str = ""
    citation: str = ""
    note: str = ""

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
            raise all_problems(
                f"keypoint map {self.dataset} does not fit (give --map a .toml file of your own that "
                "maps or drops exactly the keypoints of the source)",
                problems,
            )

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
        InputError: If the set has several datasets or is in a vocabulary already, or the map does not
            fit its keypoints.
    """
    if len(labels.sources) != 1:
        raise InputError(f"a map projects one dataset, got {[s.dataset for s in labels.sources]}")
    if labels.vocabulary is not None:
        raise InputError(f"the labels are in the vocabulary {labels.vocabulary} already, no map applies")
    index = keypoint_map.source_index(labels.keypoints)
    old = labels.sources[0]
    source = replace(
        old,
        keypoint_map=dict(keypoint_map.targets),
        licence=old.licence if old.licence != UNKNOWN_LICENCE else keypoint_map.licence or UNKNOWN_LICENCE,
        citation=old.citation or keypoint_map.citation,
    )
    done = operation(
        "project",
        dataset=old.dataset,
        keypoint_map=keypoint_map.dataset,
        vocabulary=keypoint_map.vocabulary.name,
    )
    return LabelSet(
        keypoints=keypoint_map.vocabulary.keypoints,
        records=tuple(_take(record, index) for record in labels.records),
        sources=(source,),
        vocabulary=keypoint_map.vocabulary.name,
        operations=(*labels.operations, done),
    )


def pull_back(labels: LabelSet, keypoint_map: KeypointMap, keypoints: Sequence[str]) -> LabelSet:
    """Undo `project`: superset records back in the source's own keypoints and order.

    Dropped source keypoints come back as not annotated.

    Raises:
        InputError: If the labels are not in the map's vocabulary, or the map does not fit `keypoints`.
    """
    if labels.vocabulary != keypoint_map.vocabulary.name:
        raise InputError(
            f"the labels are in {labels.vocabulary or 'no vocabulary'}, "
            f"the map {keypoint_map.dataset} is into {keypoint_map.vocabulary.name}"
        )
    keypoint_map.check(keypoints)
    targets = [keypoint_map.targets[name] for name in keypoints]
    index = np.array([-1 if t is None else keypoint_map.vocabulary.index[t] for t in targets], dtype=np.int64)
    records = []
    for record in labels.records:
        taken = _take(record, index)
        visibility = np.where(index[None] < 0, Visibility.NOT_ANNOTATED, taken.visibility).astype(np.int8)
        records.append(replace(taken, visibility=visibility))
    sources = tuple(replace(source, keypoint_map={}) for source in labels.sources)
    done = operation("pull_back", keypoint_map=keypoint_map.dataset)
    return LabelSet(tuple(keypoints), tuple(records), sources, operations=(*labels.operations, done))


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
    return toml_names(_FOLDER)


def load_map(name: str) -> KeypointMap:
    """Load a keypoint map by dataset name, or from the path of a .toml file.

    Raises:
        InputError: If there is none of that name, or the file has problems (all are listed).
    """
    if name.endswith(".toml"):
        if not Path(name).is_file():
            raise InputError(f"{name}: no such keypoint map file")
        return _parse(name, read_text(Path(name)))
    if name not in list_maps():
        raise InputError(
            f"no keypoint map {name!r}; give the path of a .toml file or one of: {', '.join(list_maps())}"
        )
    return _parse(name, (_FOLDER / f"{name}.toml").read_text(encoding="utf-8"))


def _parse(what: str, text: str) -> KeypointMap:
    """Build a map from the text of its data file."""
    try:
        data = tomllib.loads(text)
        mapped, dropped = dict(data["map"]), list(data.get("drop", []))
        dataset, vocabulary = str(data["dataset"]), str(data["vocabulary"])
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"{what}: not a TOML file (a name listed twice, perhaps): {error}") from error
    except KeyError as error:
        raise InputError(f"{what}: the keypoint map lacks the entry {error}") from error
    except (TypeError, ValueError) as error:
        raise InputError(f"{what}: [map] must be a table and drop a list of names: {error}") from error
    texts = [*mapped.values(), *dropped, *(data.get(entry, "") for entry in ("licence", "citation", "note"))]
    problems = [f"unknown entry {name!r}" for name in sorted(set(data) - _ENTRIES)]
    problems += [f"{value!r} is no text" for value in texts if not isinstance(value, str)]
    names = [name for name in dropped if isinstance(name, str)]
    problems += [f"{name!r} is both mapped and dropped" for name in sorted(set(mapped) & set(names))]
    problems += [f"{name!r} is dropped {times} times" for name, times in Counter(names).items() if times > 1]
    if problems:
        raise all_problems(what, problems)
    return KeypointMap(
        dataset=dataset,
        vocabulary=load_vocabulary(vocabulary),
        targets={**mapped, **dict.fromkeys(dropped)},
        licence=data.get("licence", ""),
        citation=data.get("citation", ""),
        note=data.get("note", ""),
    )
