"""Balanced sampling as a pure function of (seed, position), and splits that respect groups."""

from __future__ import annotations

from collections import Counter
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from superset_vocab import InputError, LabelRecord, LabelSet, Source, Visibility
from training.sampling import Balance, BalancedSampler
from training.splits import select_groups, split_by_fraction, split_by_group

GROUPS = ["big"] * 70 + ["small"] * 20 + ["tiny"] * 10


def draw(sampler: BalancedSampler, count: int) -> list[tuple[int, int]]:
    return list(islice(sampler, count))


def share(alpha: float, weights=None, epochs: int = 40) -> dict[str, float]:
    sampler = BalancedSampler(GROUPS, Balance(alpha, weights), seed=1)
    counts = Counter(GROUPS[i] for i, _ in draw(sampler, epochs * len(GROUPS)))
    return {name: counts[name] / (epochs * len(GROUPS)) for name in ("big", "small", "tiny")}


def test_shares_follow_alpha_and_weights():
    third = pytest.approx(1 / 3, abs=0.01)
    assert share(1.0) == {"big": third, "small": third, "tiny": third}
    assert share(0.0) == {"big": 0.7, "small": 0.2, "tiny": 0.1}
    roots = np.sqrt([70, 20, 10])
    assert list(share(0.5).values()) == pytest.approx(list(roots / roots.sum()), abs=0.01)
    assert share(1.0, {"big": 2.0, "tiny": 0.0}) == {
        "big": pytest.approx(2 / 3, abs=0.01), "small": third, "tiny": 0.0,
    }  # fmt: skip


def test_samples_of_a_dataset_are_seen_equally_often():
    """With alpha 0 an epoch is a permutation; else no sample comes twice before all came once."""
    plain = BalancedSampler(GROUPS, Balance(0.0), seed=3)
    assert sorted(plain.epoch(4)) == list(range(100))
    counts = Counter(BalancedSampler(GROUPS, Balance(1.0), seed=3).epoch(0).tolist())
    tiny = [counts[i] for i in range(90, 100)]
    assert max(tiny) - min(tiny) <= 1
    assert max(counts[i] for i in range(70)) == 1


@given(st.integers(0, 10**6), st.integers(1, 5), st.integers(0, 3), st.sampled_from([0.0, 0.5, 1.0]))
def test_processes_and_resuming_do_not_change_the_sequence(start, world_size, seed, alpha):
    whole = BalancedSampler(GROUPS, Balance(alpha), seed=seed)
    whole.position = start
    expected = draw(whole, 60)
    assert [p for _, p in expected] == list(range(start, start + 60))
    parts = []
    for rank in range(world_size):
        part = BalancedSampler(
            GROUPS, Balance(alpha), seed=seed, rank=rank, world_size=world_size, stop=start + 60
        )
        part.position = start
        parts += list(part)
    assert sorted(parts, key=lambda key: key[1]) == expected
    late = BalancedSampler(GROUPS, Balance(alpha), seed=seed)
    late.position = start + 37
    assert draw(late, 23) == expected[37:]


def test_seeds_and_epochs_differ():
    one, other = (BalancedSampler(GROUPS, Balance(), seed=seed) for seed in (1, 2))
    assert draw(one, 50) != draw(other, 50)
    assert one.epoch(0).tolist() != one.epoch(1).tolist()
    assert one.epoch(1).tolist() == one.epoch(1).tolist()


@pytest.mark.parametrize(
    ("groups", "weights", "message"),
    [
        ([], None, "there is no sample"),
        (GROUPS, {"huge": 1.0}, "'huge', which has no sample"),
        (GROUPS, {"big": -1.0}, "is negative"),
        (["a"], {"a": 0.0}, "all datasets have weight 0"),
    ],
)
def test_impossible_balances(groups, weights, message):
    with pytest.raises(InputError, match=message):
        BalancedSampler(groups, Balance(1.0, weights), seed=0)


def labels(*sizes: tuple[str, str, int]) -> LabelSet:
    """Records of (dataset, group, number of images) with one keypoint."""
    records = tuple(
        LabelRecord(
            Path(f"{dataset}_{group}_{i}.png"),
            (10, 10),
            dataset,
            group,
            np.zeros((1, 1, 2)),
            np.array([[Visibility.VISIBLE]], dtype=np.int8),
            np.full((1, 4), np.nan),
        )
        for dataset, group, n in sizes
        for i in range(n)
    )
    sources = tuple(Source(dataset, ("nose",)) for dataset in dict.fromkeys(d for d, _, _ in sizes))
    return LabelSet(("nose",), records, sources)


@given(st.lists(st.integers(1, 30), min_size=3, max_size=12), st.integers(0, 100), st.floats(0.05, 0.9))
def test_split_by_fraction_keeps_groups_whole_and_loses_nothing(sizes, seed, test):
    everything = labels(*(("d", f"g{i}", n) for i, n in enumerate(sizes)))
    fractions = {"train": 0.95 - test, "val": 0.05, "test": test}
    parts = split_by_fraction(everything, fractions, seed=seed)
    groups = [{r.split_group for r in part.records} for part in parts.values()]
    assert all(groups)
    assert sum(map(len, groups)) == len(set.union(*groups)) == len(sizes)
    assert sum(map(len, parts.values())) == sum(sizes)
    again = split_by_fraction(everything, fractions, seed=seed)
    assert [p.records for p in again.values()] == [p.records for p in parts.values()]


def test_split_by_fraction_comes_near_the_fractions():
    everything = labels(*(("d", f"g{i}", 5) for i in range(40)))
    parts = split_by_fraction(everything, {"train": 0.8, "test": 0.2}, seed=0)
    assert {name: len(part) for name, part in parts.items()} == {"train": 160, "test": 40}


def test_groups_of_the_same_name_in_two_datasets_are_two_groups():
    everything = labels(("a", "day1", 5), ("b", "day1", 5))
    parts = split_by_fraction(everything, {"train": 0.5, "test": 0.5}, seed=0)
    assert sorted(part.sources[0].dataset for part in parts.values()) == ["a", "b"]
    assert all(len(part.sources) == 1 for part in parts.values())


def test_impossible_splits_name_all_problems():
    with pytest.raises(
        InputError, match=r"(?s)2 problems.*sum to 0.7.*1 split group \(g\) cannot fill 2 splits"
    ):
        split_by_fraction(labels(("d", "g", 9)), {"train": 0.5, "test": 0.2}, seed=0)
    everything = labels(("d", "g1", 2), ("d", "g2", 2))
    with pytest.raises(InputError, match=r"(?s)'g3' is no split group.*'val' names no group"):
        split_by_group(everything, {"test": ["g1", "g3"], "val": []}, rest="train")
    with pytest.raises(InputError, match="'g1' is in several splits"):
        split_by_group(everything, {"test": ["g1"], "val": ["g1"]}, rest="train")
    with pytest.raises(InputError, match="no group is left for 'train'"):
        split_by_group(everything, {"test": ["g1", "g2"]}, rest="train")


def test_named_groups():
    everything = labels(("d", "g1", 2), ("d", "g2", 3), ("d", "g3", 4))
    parts = split_by_group(everything, {"test": ["g2"]}, rest="train")
    assert {name: len(part) for name, part in parts.items()} == {"test": 3, "train": 6}
    assert len(select_groups(everything)) == 9
    assert {r.split_group for r in select_groups(everything, leave_out=["g1"]).records} == {"g2", "g3"}
    assert {r.split_group for r in select_groups(everything, ["g1", "g2"], ["g1"]).records} == {"g2"}
    with pytest.raises(InputError, match="'g9' is no split group"):
        select_groups(everything, ["g9"])
    with pytest.raises(InputError, match="leave no record"):
        select_groups(everything, ["g1"], ["g1"])
