"""Bundles of superset datasets: annotations.json, its images, and a card with the figures of the labels.

The card is rendered from card.toml (`DatasetFacts`) where there is one. Else the folder's README.md is taken,
which `zoo contribute` wrote with `dataset_card`; its metadata and its counts must be right.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote

from converters import load_superset
from converters.images import image_problems
from hub_cards.bundles import ANNOTATIONS, FACTS_FILE, Bundle, Content, left_out, outside_problems
from hub_cards.dataset_cards import UNPUBLISHED, count_rows, dataset_card
from hub_cards.facts import read_dataset_facts
from hub_cards.licences import licence_identifier
from hub_cards.local_paths import public_labels
from superset_vocab import InputError, LabelSet
from superset_vocab.errors import all_problems
from superset_vocab.files import read_text
from zoo.model_folder import CARD_FILE
from zoo.published import TAG

if TYPE_CHECKING:
    from huggingface_hub import DatasetCard

_PICTURE = re.compile(r"!\[[^\]]*\]\(([^)\s]+)\)")


def dataset_bundle(folder: Path) -> Bundle:
    """Check a superset dataset and collect what is published of it; see `hub_cards.bundles.read_bundle`."""
    labels = load_superset(folder)
    if problems := image_problems(labels.records):
        raise all_problems(f"{folder}", problems)
    text = _card(folder, labels)
    data = read_dataset_card(text, str(folder / CARD_FILE)).data.to_dict()
    pictures = [unquote(str(name)) for name in _PICTURE.findall(text)]
    images = [_name(record.image, folder) for record in labels.records]
    names: list[str] = sorted(
        {ANNOTATIONS, *images, *pictures, *([FACTS_FILE] if (folder / FACTS_FILE).is_file() else [])}
    )
    if problems := outside_problems(folder, names):
        raise all_problems(f"{folder}", problems)
    files: dict[str, Content] = {name: folder / name for name in names}
    files[ANNOTATIONS] = public_labels(folder / ANNOTATIONS)
    licences = data.get("license")
    unlicensed = [s.dataset for s in labels.sources if licence_identifier(s.licence) == "unknown"]
    return Bundle(
        kind="dataset",
        title=" ".join(str(data.get("pretty_name") or folder.resolve().name).split()),
        about=f"{len(labels)} images, {labels.n_instances} animals, {labels.vocabulary}",
        files=files,
        card=lambda address: text.replace(UNPUBLISHED, address),
        left_out=left_out(folder, files),
        unlicensed=tuple(unlicensed)
        if "unknown" in (licences if isinstance(licences, list) else [licences])
        else (),
    )


def read_dataset_card(text: str, what: str) -> DatasetCard:
    """A dataset's card, as huggingface-hub reads it.

    Raises:
        InputError: If its metadata cannot be read or are not those of a card of this package.
    """
    import yaml
    from huggingface_hub import DatasetCard

    try:
        card = DatasetCard(text)
    except (yaml.YAMLError, ValueError, TypeError) as error:
        raise InputError(f"{what}: its metadata cannot be read ({str(error).splitlines()[0]})") from error
    if TAG not in (card.data.get("tags") or []):
        raise InputError(f"{what}: is no card of this package (no tag {TAG}); `zoo contribute` writes one")
    return card


def _card(folder: Path, labels: LabelSet) -> str:
    """The card, with the placeholder for its address."""
    facts, own = folder / FACTS_FILE, folder / CARD_FILE
    given = read_text(own) if own.is_file() else ""
    if facts.is_file():
        text = dataset_card(labels, read_dataset_facts(facts))
        published = re.search(r'load_dataset\("(hf://[^"\s]+)"\)', given)
        if given and text != (given.replace(published[1], UNPUBLISHED) if published else given):
            raise InputError(
                f"{own}: is not the card that {ANNOTATIONS} and {FACTS_FILE} give; delete it, it is rendered "
                "when you publish"
            )
        return text
    if not given:
        raise InputError(
            f"{folder}: has neither {CARD_FILE} nor {FACTS_FILE}; `zoo contribute` writes a card, or write "
            f"{FACTS_FILE} with name, summary and contact (docs/publishing.md)"
        )
    missing = [row for row in count_rows(labels) if row not in given.splitlines()]
    if missing:
        raise InputError(
            f"{own}: its figures are not those of {ANNOTATIONS}: want the lines "
            f"{', '.join(map(repr, missing))}; run `zoo contribute` again"
        )
    published = re.search(r'load_dataset\("(hf://[^"\s]+)"\)', given)
    return given.replace(published[1], UNPUBLISHED) if published else given


def _name(image: Path, folder: Path) -> str:
    """Name of an image below its dataset's folder."""
    try:
        return image.relative_to(folder).as_posix()
    except ValueError:
        raise InputError(f"{image}: is not below {folder}; convert the dataset again") from None
