"""What the author of a card says: typed, checked when it is made.

Figures come from the run record (`hub_cards.run_record`) or are counted in the labels
(`converters.dataset_statistics`); what is the same in every card stands in the templates. A model's author
writes `card.toml`, beside the model:

    contact = "Ann Example <ann@lab.org>"
    intended_use = ["Mice in an open field, one at a time, filmed from above."]
    misuse = ["Behaviour scores without a look at the poses."]     # all but contact and intended_use
    limits = ["Ears are often exchanged where two mice touch."]     # may be left out
    notes = "How it was made, in paragraphs."

    [training_sets.my-field]       # of each training set that has no keypoint map in the package
    licence = "CC BY 4.0"          # "unknown" where it is
    citation = "..."

and a dataset's one with the entries of `DatasetFacts`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path, PurePosixPath
from typing import Any

from superset_vocab.errors import all_problems
from superset_vocab.files import read_text
from superset_vocab.toml_text import parse_toml

PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".gif")


@dataclass(frozen=True)
class DatasetFacts:
    """What a contributor says about a dataset.

    Attributes:
        name: Its name, as readers see it.
        summary: What is to be seen: animals, arena, camera.
        contact: Who answers questions: a name with an e-mail address or a web page.
        licence: Of images and labels together, in words or as the Hub's identifier; "" takes those of the
            sources.
        species: E.g. "Mus musculus".
        intended_use: What the dataset is for, one sentence each; none takes the usual one.
        limits: What is known to be weak or missing, one sentence each.
        citation: How to cite the dataset as a whole, besides its sources.
        examples: Names of example pictures, relative to the card.
    """

    name: str
    summary: str
    contact: str
    licence: str = ""
    species: tuple[str, ...] = ()
    intended_use: tuple[str, ...] = ()
    limits: tuple[str, ...] = ()
    citation: str = ""
    examples: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        problems = [*_empty(self, ("name", "summary", "contact")), *_not_lists(self)]
        problems = problems or [*_bad_pictures(self.examples)]
        if problems:
            raise all_problems("facts of the dataset card", problems)


@dataclass(frozen=True)
class TrainingSet:
    """A dataset that a model learned from, as its author knows it.

    Attributes:
        licence: In words; "unknown" where it is.
        citation: How to cite it.
    """

    licence: str
    citation: str = ""


@dataclass(frozen=True)
class ModelFacts:
    """What the author of a model says.

    Attributes:
        contact: Who answers questions: a name with an e-mail address or a web page.
        intended_use: What it is for, one sentence each.
        misuse: What it is not for.
        limits: What is known to be weak.
        notes: How it was made, in paragraphs: what was held out, what guided decisions.
        training_sets: Dataset of the run record -> its licence and citation, where the package has no
            keypoint map that states them, or states them otherwise.
    """

    contact: str
    intended_use: tuple[str, ...]
    misuse: tuple[str, ...] = ()
    limits: tuple[str, ...] = ()
    notes: str = ""
    training_sets: dict[str, TrainingSet] = field(default_factory=dict)

    def __post_init__(self) -> None:
        problems = [*_empty(self, ("contact",)), *_not_lists(self)]
        if not self.intended_use:
            problems.append("intended_use is empty; say what the model is for")
        if problems:
            raise all_problems("facts of the model card", problems)


def read_model_facts(path: Path) -> ModelFacts:
    """What a model's card.toml says.

    Raises:
        InputError: If it cannot be read, or lists everything that is missing, unknown or of the wrong kind.
    """
    entries = _read_entries(path, ModelFacts)
    sets = entries.pop("training_sets", {})
    problems = []
    for name, table in sets.items():
        if not isinstance(table, dict):
            problems.append(f"training_sets.{name} is a {type(table).__name__}, want a table")
            continue
        problems += _problems(table, TrainingSet, f"training_sets.{name}.")
    if problems:
        raise all_problems(f"{path}", problems)
    return ModelFacts(**entries, training_sets={name: TrainingSet(**table) for name, table in sets.items()})


def read_dataset_facts(path: Path) -> DatasetFacts:
    """What a dataset's card.toml says.

    Raises:
        InputError: As `read_model_facts`.
    """
    return DatasetFacts(**_read_entries(path, DatasetFacts))


def _read_entries(path: Path, kind: type) -> dict[str, Any]:
    """The entries of a TOML file for the fields of a class; lists as tuples."""
    found = parse_toml(read_text(path), str(path))
    problems = list(_problems(found, kind, ""))
    if problems:
        raise all_problems(f"{path}", problems)
    return {name: tuple(value) if isinstance(value, list) else value for name, value in found.items()}


def _problems(found: Mapping[str, Any], kind: type, prefix: str) -> Iterator[str]:
    """Unknown, missing and mistyped entries of a table."""
    known = {entry.name: entry for entry in fields(kind)}
    for name in sorted(set(found) - set(known)):
        yield f"unknown entry {prefix + name!r}; there are: {', '.join(known)}"
    for name, entry in known.items():
        if name not in found:
            if entry.default is MISSING and entry.default_factory is MISSING:
                yield f"lacks the entry {prefix + name!r}"
            continue
        value, wanted = found[name], str(entry.type).partition("[")[0]
        if wanted == "tuple":
            if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
                yield f"entry {prefix + name!r} is no list of texts"
        elif type(value).__name__ != wanted:
            yield f"entry {prefix + name!r} is a {type(value).__name__}, not a {wanted}"


def _empty(facts: object, names: Sequence[str]) -> Iterator[str]:
    for name in names:
        if not str(getattr(facts, name)).strip():
            yield f"{name} is empty; a card without it is not published"


def _not_lists(facts: object) -> Iterator[str]:
    """A text in place of a tuple of texts would become one line for each letter."""
    for entry in fields(facts):  # type: ignore[arg-type]
        value = getattr(facts, entry.name)
        if str(entry.type).startswith("tuple") and not isinstance(value, tuple):
            yield f"{entry.name} is a {type(value).__name__}, want a tuple"


def _bad_pictures(names: Sequence[str]) -> Iterator[str]:
    for name in names:
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts or "\\" in name or ":" in name:
            yield f"picture {name!r} is not a name below the card's folder"
        elif path.suffix.lower() not in PICTURES:
            yield f"picture {name!r} does not end in {', '.join(PICTURES)}"
