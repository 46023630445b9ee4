"""Reading a published dataset back."""

from __future__ import annotations

from os import PathLike
from pathlib import Path

from converters import load_superset
from hub_cards.bundles import CHANGELOG
from superset_vocab import LabelSet
from zoo.checksums import SUMS_FILE, check_sums, read_sums
from zoo.hub import fetch_snapshot
from zoo.model_folder import CARD_FILE
from zoo.published import SCHEME, parse_address


def load_dataset(source: str | PathLike[str]) -> LabelSet:
    """A superset dataset from the Hub or from a folder; a published one is checked against its SHA256SUMS.

    Args:
        source: "hf://owner/name@revision" or the path of a folder.

    Raises:
        NotReachableError: If it is not in the cache and the Hub cannot be asked now.
        InputError: If it cannot be had, is no superset dataset, or was changed after it was published.
    """
    if isinstance(source, str) and source.startswith(SCHEME):
        address = parse_address(source, dataset=True)
        folder = fetch_snapshot(address.repository, address.revision, "dataset")
        _check(folder)
    else:
        folder = Path(source)
        if (folder / SUMS_FILE).is_file():
            _check(folder)
    return load_superset(folder)


def _check(folder: Path) -> None:
    """Check what was published, but for the texts: owners mend those on the Hub's pages."""
    check_sums(folder, sorted(set(read_sums(folder / SUMS_FILE)) - {CARD_FILE, CHANGELOG}))
