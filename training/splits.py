"""Splitting label sets into train, validation and test without cutting through a split group.

A split group is an animal, a session or a video (`LabelRecord.split_group`). Two frames of one video
are nearly the same image; a split by random frames would measure memory, not generalisation.
Groups of different datasets are different even if they have the same name.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import replace

import numpy as np

from converters.views import subset
from superset_vocab import InputError, LabelRecord, LabelSet
from superset_vocab.errors import all_problems


def split_by_fraction(labels: LabelSet, fractions: Mapping[str, float], *, seed: int) -> dict[str, LabelSet]:
    """Split by fractions of the records, whole groups at a time.

    Groups are dealt in random order, each to the split that is furthest below its fraction, so the
    result is as near to the fractions as the sizes of the groups allow.

    Args:
        labels: What to split.
        fractions: Name of the split -> fraction; positive, summing to 1.
        seed: The same seed gives the same split.

    Raises:
        InputError: If the fractions are no fractions, or there are fewer groups than splits.
    """
    problems = [f"fraction {f} of {name!r} is not above 0" for name, f in fractions.items() if not f > 0]
    if not problems and abs(sum(fractions.values()) - 1) > 1e-6:
        problems.append(f"the fractions sum to {sum(fractions.values()):g}, not 1")
    sizes = Counter(_group(record) for record in labels.records)
    if len(sizes) < len(fractions):
        problems.append(
            f"{len(sizes)} split group{'s' * (len(sizes) != 1)} ({_listed(sizes)}) cannot fill "
            f"{len(fractions)} splits ({', '.join(fractions)}) uncut; add data or ask for fewer splits"
        )
    if problems:
        raise all_problems("split", problems)
    groups = sorted(sizes)
    order = np.random.default_rng(seed).permutation(len(groups))
    assigned: dict[tuple[str, str], str] = {}
    filled = dict.fromkeys(fractions, 0)
    for place, number in enumerate(order):
        empty = [name for name, n in filled.items() if not n]
        # The last groups are kept for splits that would otherwise stay empty.
        open_splits = empty if len(order) - place <= len(empty) else list(fractions)
        name = max(open_splits, key=lambda s: fractions[s] * len(labels) - filled[s])
        assigned[groups[number]] = name
        filled[name] += sizes[groups[number]]
    return {name: subset(labels, lambda r, name=name: assigned[_group(r)] == name) for name in fractions}


def split_by_group(
    labels: LabelSet, named: Mapping[str, Collection[str]], *, rest: str
) -> dict[str, LabelSet]:
    """Split by naming the groups of every split but one, which gets the rest.

    Args:
        labels: What to split.
        named: Name of the split -> names of its groups.
        rest: Name of the split that gets all other groups.

    Raises:
        InputError: If a name is no group, is named twice, or a split would be empty (all are listed).
    """
    known = {record.split_group for record in labels.records}
    times = Counter(group for groups in named.values() for group in set(groups))
    problems = [f"{group!r} is in several splits" for group, n in sorted(times.items()) if n > 1]
    problems += [f"{group!r} is no split group" for group in sorted(set(times) - known)]
    problems += [f"split {name!r} names no group" for name, groups in named.items() if not groups]
    if not known - set(times):
        problems.append(f"no group is left for {rest!r}")
    if rest in named:
        problems.append(f"{rest!r} is the rest and cannot be named as well")
    if problems:
        raise all_problems(f"split (there are the groups {_listed(known)})", problems)
    result = {
        name: subset(labels, lambda r, groups=frozenset(groups): r.split_group in groups)
        for name, groups in named.items()
    }
    result[rest] = subset(labels, lambda r: r.split_group not in times)
    return result


def select_groups(labels: LabelSet, keep: Collection[str] = (), leave_out: Collection[str] = ()) -> LabelSet:
    """Only the records of some groups (all if `keep` is empty), without those to leave out.

    Raises:
        InputError: If a name is no split group, or nothing is left.
    """
    known = {record.split_group for record in labels.records}
    unknown = sorted((set(keep) | set(leave_out)) - known)
    if unknown:
        raise all_problems(
            f"label set (it has the groups {_listed(known)})", [f"{g!r} is no split group" for g in unknown]
        )
    chosen = (set(keep) or known) - set(leave_out)
    if not chosen:
        raise InputError("the chosen split groups leave no record")
    return subset(labels, lambda record: record.split_group in chosen)


def hold_out(labels: LabelSet, fraction: float) -> tuple[LabelSet, LabelSet]:
    """Split off about a fraction of the groups by the hash of their names.

    The same group lands on the same side whatever else is in the label set, so a test set stays a test
    set when data are added or merged, and needs no list of names.

    Args:
        labels: What to split.
        fraction: Share of the groups to hold out, in [0, 1).

    Returns:
        The records to train on, and those held out.

    Raises:
        InputError: If nothing is left to train on.
    """
    if fraction == 0:
        return labels, replace(labels, records=())
    kept = subset(labels, lambda record: _place(record) >= fraction)
    if not kept.records:
        raise InputError(f"held_out_fraction {fraction:g} leaves nothing to train on")
    return kept, subset(labels, lambda record: _place(record) < fraction)


def _place(record: LabelRecord) -> float:
    """Where a record's group lies in [0, 1), evenly spread over groups."""
    digest = hashlib.sha256("\0".join(_group(record)).encode()).digest()
    return int.from_bytes(digest[:7], "big") / 2**56


def _group(record: LabelRecord) -> tuple[str, str]:
    return record.dataset, record.split_group


def _listed(groups: Collection) -> str:
    """Names of a few groups for a message."""
    names = sorted(str(group[1] if isinstance(group, tuple) else group) for group in groups)
    return ", ".join(names[:12]) + (f", and {len(names) - 12} more" if len(names) > 12 else "")
