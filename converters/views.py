"""Views of a label set: some of its records. A view is a selection; no label and no image is copied.

The paper leaves one dataset out of the training data to test on it ("Pre-training datasets": for every test
of an out-of-distribution dataset a set of all the others). `leave_out` is that training set, `only` the test
set, `leave_one_out` gives both for every dataset in turn.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

from superset_vocab import InputError, LabelRecord, LabelSet
from superset_vocab.errors import all_problems
from superset_vocab.provenance import operation


def subset(labels: LabelSet, keep: Callable[[LabelRecord], bool]) -> LabelSet:
    """The records for which `keep` is true, and the sources that they name."""
    records = tuple(record for record in labels.records if keep(record))
    datasets = {record.dataset for record in records}
    sources = tuple(source for source in labels.sources if source.dataset in datasets)
    return replace(labels, records=records, sources=sources)


def leave_out(labels: LabelSet, *datasets: str) -> LabelSet:
    """All records but those of some datasets; the set itself if none are named.

    Raises:
        InputError: If a name is no dataset of the set, or nothing is left.
    """
    if not datasets:
        return labels
    _check(labels, datasets)
    view = subset(labels, lambda record: record.dataset not in datasets)
    if not view.records:
        raise InputError(f"leaving out {', '.join(datasets)} leaves no record")
    return _noted(view, operation("leave_out", datasets=datasets))


def only(labels: LabelSet, *datasets: str) -> LabelSet:
    """The records of some datasets.

    Raises:
        InputError: If a name is no dataset of the set, or none is given.
    """
    _check(labels, datasets)
    if not datasets:
        raise InputError(f"name at least one dataset of {', '.join(_names(labels))}")
    return _noted(
        subset(labels, lambda record: record.dataset in datasets), operation("only", datasets=datasets)
    )


def leave_one_out(labels: LabelSet) -> Iterator[tuple[str, LabelSet, LabelSet]]:
    """For each dataset in turn: its name, the set without it to train on, and its records to test on.

    Raises:
        InputError: If there is only one dataset.
    """
    for name in _names(labels):
        yield name, leave_out(labels, name), only(labels, name)


def _noted(labels: LabelSet, done: dict) -> LabelSet:
    return replace(labels, operations=(*labels.operations, done))


def _names(labels: LabelSet) -> list[str]:
    return [source.dataset for source in labels.sources]


def _check(labels: LabelSet, datasets: tuple[str, ...]) -> None:
    """Refuse names that are no dataset of the set."""
    unknown = sorted(set(datasets) - set(_names(labels)))
    if unknown:
        raise all_problems(
            f"label set (it has the datasets {', '.join(_names(labels))})",
            [f"{name!r} is none of them" for name in unknown],
        )
