"""Datasets for a Hub of this machine: as a contributor has them, and as another process reads them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from hub_client import HubClient, Said
from label_sets import small_set, write_image

from converters import write_superset
from hub_cards import DatasetFacts, dataset_card
from superset_vocab import KeypointMap, Source, load_vocabulary, project

FACTS = DatasetFacts("Two mice", "Mice from above.", "Ann <ann@lab.org>", examples=("examples/a b.png",))


def dataset(folder: Path, licence: str = "CC BY 4.0", lab: str = "lab", seed: int = 0) -> Path:
    """A superset dataset with a card, as `zoo contribute` leaves it."""
    foreign = small_set(folder / "raw", lab, ("snout", "tail"), n=3, seed=seed)
    foreign = replace(foreign, sources=(Source(lab, ("snout", "tail"), licence, "Ann 2026"),))
    targets: dict[str, str | None] = {"snout": "nose", "tail": "tail_base"}
    labels = project(foreign, KeypointMap(lab, load_vocabulary("superanimal_topviewmouse"), targets))
    labels = write_superset(labels, folder / "dataset")
    write_image(folder / "dataset" / "examples" / "a b.png")
    (folder / "dataset" / "README.md").write_text(dataset_card(labels, FACTS))
    return folder / "dataset"


def refusal(said: Said) -> str:
    """What a refused call ends with."""
    assert said.status == 2
    assert said.err.count("zoo: error: ") == 1
    assert "Traceback" not in said.err
    return said.err.partition("zoo: error: ")[2]


def read(client: HubClient, name: str) -> dict:
    """A published dataset as another process reads it, or the error."""
    return client.python(
        "from hub_cards import load_dataset\nfrom superset_vocab import InputError\n"
        f"try:\n    found = load_dataset({name!r})\n"
        "    result = {'folder': str(found.records[0].image.parents[1]), 'n': len(found)}\n"
        "except InputError as error:\n    result = {'error': str(error)}"
    ).result
