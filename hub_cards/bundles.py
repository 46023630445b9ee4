"""What is published: the files of a model's or a dataset's folder, checked, with the card rendered.

A folder becomes a bundle only if everything in it agrees: the weights with their hash and with the network,
the network with the vocabulary, the figures with the weights, the card with the facts and the labels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from superset_vocab import InputError
from zoo.checksums import SUMS_FILE
from zoo.model_folder import CARD_FILE, SPEC_FILE

FACTS_FILE = "card.toml"
CHANGELOG = "CHANGELOG.md"
ANNOTATIONS = "annotations.json"
CONTRIBUTIONS = "contributions"
"""Folder of a dataset repository in which others' datasets are, each in a folder of its own."""
Content = Path | bytes


@dataclass(frozen=True)
class Bundle:
    """What is published of a folder.

    Attributes:
        kind: "model" or "dataset".
        title: What it is.
        about: One line for the changelog.
        files: Name in the repository -> content; all but the card and what publishing adds.
        card: The address that the published version will have -> the card.
        left_out: Files of the folder that are not published.
        unlicensed: Sources of images that nobody has allowed to be shown to the public.
    """

    kind: str
    title: str
    about: str
    files: dict[str, Content]
    card: Callable[[str], str]
    left_out: tuple[str, ...] = ()
    unlicensed: tuple[str, ...] = ()


def read_bundle(folder: Path, evaluations: Sequence[Path] = ()) -> Bundle:
    """Check a folder and collect what is published of it.

    Args:
        folder: A model's folder (with model.toml) or a superset dataset (with annotations.json).
        evaluations: Reports of `zoo evaluate` whose figures go into a model's run record.

    Raises:
        InputError: If it is neither, or something in it is missing, damaged, or does not agree with the rest.
    """
    if (folder / SPEC_FILE).is_file():
        from hub_cards.model_bundles import model_bundle

        return model_bundle(folder, evaluations)
    if (folder / ANNOTATIONS).is_file():
        from hub_cards.dataset_bundles import dataset_bundle

        if evaluations:
            raise InputError(f"{folder}: is a dataset; evaluations are of models, leave them out")
        return dataset_bundle(folder)
    what = f"has neither {SPEC_FILE} nor {ANNOTATIONS}" if folder.is_dir() else "there is no such folder"
    raise InputError(
        f"{folder}: {what}; give the folder of a model (`zoo finetune`, `zoo export-model`) or of a superset "
        "dataset (`zoo convert`, `zoo contribute`)"
    )


def left_out(folder: Path, published: Iterable[str]) -> tuple[str, ...]:
    """The files of a folder that are not among those published, which publishing itself did not write."""
    own = {CARD_FILE, CHANGELOG, SUMS_FILE}
    found = {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file() or p.is_symlink()}
    return tuple(sorted(found - set(published) - own))


def outside_problems(folder: Path, names: Iterable[str]) -> list[str]:
    """What keeps files from being published: missing, or links that lead to somewhere else."""
    root, problems = folder.resolve(), []
    for name in sorted(set(names)):
        path = folder / name
        if not path.is_file():
            problems.append(f"{name} is missing")
        elif path.resolve() != root / name:
            problems.append(f"{name} is a link or a path that leads elsewhere; put the file itself there")
    return problems
