"""Reading what is published: a dataset, a shared repository, the pictures of any dataset repository.

load_dataset("hf://my-lab/my-field@v1")
load_dataset("hf://my-lab/top-view-mice#my-field")     # one dataset of a shared repository
load_contributions("hf://my-lab/top-view-mice")           # each of them, to be merged
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from os import PathLike
from pathlib import Path

from converters import load_superset
from hub_cards.bundles import ANNOTATIONS, CHANGELOG, CONTRIBUTIONS
from superset_vocab import InputError, LabelSet
from superset_vocab.provenance import operation
from zoo.checksums import SUMS_FILE, check_sums, read_sums
from zoo.hub import fetch_snapshot
from zoo.model_folder import CARD_FILE
from zoo.published import SCHEME, Address, parse_address


def load_dataset(source: str | PathLike[str]) -> LabelSet:
    """A superset dataset from the Hub or from a folder; a published one is checked against its SHA256SUMS.

    Args:
        source: "hf://owner/name@revision", with "#name" for one of a shared repository; or the path of a
            folder.

    Raises:
        NotReachableError: If it is not in the cache and the Hub cannot be asked now.
        InputError: If it cannot be had, is no superset dataset, or was changed after it was published.
    """
    if isinstance(source, str) and source.startswith(SCHEME):
        return _load_address(parse_address(source, dataset=True))
    folder = Path(source)
    return _load_published(folder) if (folder / SUMS_FILE).is_file() else load_superset(folder)


def load_contributions(source: str) -> list[LabelSet]:
    """Every dataset of a repository: its own, if it has one, and those that were contributed, by name.

    Args:
        source: "hf://owner/name@revision"; with "#name" that one alone.

    Raises:
        NotReachableError, InputError: As `load_dataset`, for the first that cannot be read.
    """
    address = parse_address(source, dataset=True)
    if address.contribution:
        return [_load_address(address)]
    labels = f"{CONTRIBUTIONS}/*/{ANNOTATIONS}"
    folder = _snapshot(address, only=[ANNOTATIONS, labels])
    address = replace(address, revision=folder.name)  # all of one commit
    names = sorted(path.parent.name for path in folder.glob(labels))
    parts = ["", *names] if (folder / ANNOTATIONS).is_file() or not names else names
    return [_load_address(replace(address, contribution=name)) for name in parts]


def fetch_pictures(source: str, suffixes: Sequence[str]) -> tuple[Path, str]:
    """The pictures of a dataset repository, whatever else is in it: downloaded, or from the cache.

    Args:
        source: "hf://owner/name@revision"; with "#name" only those of that dataset of a shared repository.
        suffixes: Of their names, e.g. (".png", ".jpg"), in small letters.

    Returns:
        The folder in the cache that they are in and below, and the address with the commit that they are of.

    Raises:
        NotReachableError: If they are not in the cache and the Hub cannot be asked now.
        InputError: If it cannot be had, or has none.
    """
    address = parse_address(source, dataset=True)
    place = _place(address)
    endings = [ending for suffix in suffixes for ending in (suffix, suffix.upper())]
    folder = _snapshot(address, only=[f"{place}*{ending}" for ending in endings])
    if not any(path.suffix.lower() in suffixes for path in (folder / place).rglob("*")):
        raise InputError(f"{source}: has no pictures as files ({' '.join(suffixes)})")
    return folder / place, str(replace(address, revision=folder.name))


def _load_address(address: Address) -> LabelSet:
    """The repository's own dataset, or one that was contributed."""
    others = f"{CONTRIBUTIONS}/*"
    place = _place(address)
    folder = _snapshot(address, only=[f"{place}*"]) if place else _snapshot(address, without=[others])
    if (folder / place / ANNOTATIONS).is_file():
        labels = _load_published(folder / place)
        pinned = replace(address, revision=folder.name)  # the cache names the folder after the commit
        done = operation("read_published", address=str(pinned))
        return replace(labels, operations=(*labels.operations, done))
    inside = _snapshot(address, only=[f"{others}/{ANNOTATIONS}"])
    names = [path.parent.name for path in sorted(inside.glob(f"{others}/{ANNOTATIONS}"))]
    if not names:
        raise InputError(f"{address}: is no superset dataset (it has no {ANNOTATIONS})")
    found = (
        f"no dataset {address.contribution!r} in it" if place else "a shared repository of several datasets"
    )
    raise InputError(
        f"{address}: {found}; name one with #NAME (there are: {', '.join(names)}), "
        "or take all with `zoo merge`"
    )


def _load_published(folder: Path) -> LabelSet:
    """A dataset, its files checked but for the texts: owners mend those on the Hub's pages."""
    check_sums(folder, sorted(set(read_sums(folder / SUMS_FILE)) - {CARD_FILE, CHANGELOG}))
    return load_superset(folder)


def _place(address: Address) -> str:
    """Where a dataset is in its repository: "" or "contributions/NAME/"."""
    return f"{CONTRIBUTIONS}/{address.contribution}/" if address.contribution else ""


def _snapshot(
    address: Address, only: Sequence[str] | None = None, without: Sequence[str] | None = None
) -> Path:
    return fetch_snapshot(address.repository, address.revision, "dataset", only=only, without=without)
