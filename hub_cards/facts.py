"""What the author of a card says: typed, checked when it is made.

Figures come from the run record (`hub_cards.run_record`) or are counted in the labels (`hub_cards.coverage`);
what is the same in every card stands in the templates.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import PurePosixPath

from superset_vocab.errors import all_problems

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
