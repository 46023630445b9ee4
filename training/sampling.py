"""Dataset-balanced sampling: an endless sequence of samples that is a pure function of (seed, position).

A small dataset must be heard beside a large one. A dataset d of n_d samples gets the share
w_d * n_d ** (1 - alpha) of the sequence, so that each of its samples is drawn with a probability
proportional to w_d / n_d ** alpha: alpha = 1 gives every dataset the same share, alpha = 0 every sample
the same probability.

The sequence is cut into epochs of as many draws as there are samples. The shares of an epoch are whole
numbers by systematic rounding (never more than one away from the exact share, exact on average), and
a dataset's samples come in random order, each once before any comes twice. Nothing depends on the
number of processes or workers: position p always means the same sample, and resuming is to go on from p.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from torch.utils.data import Sampler

from superset_vocab.errors import all_problems


@dataclass(frozen=True)
class Balance:
    """How the datasets share the sequence.

    Attributes:
        alpha: 1 for equal shares of the datasets, 0 for equal probabilities of the samples.
        weights: Factor of a dataset's share by name; 1 where it is not named.
    """

    alpha: float = 1.0
    weights: Mapping[str, float] | None = None

    def shares(self, groups: Sequence[str]) -> dict[str, float]:
        """Dataset -> its part of the sequence; they sum to 1.

        Raises:
            InputError: If there is no sample, a weight is negative or names no dataset, or all are 0.
        """
        counts, weights = Counter(groups), dict(self.weights or {})
        problems = [f"weight {w} of dataset {d!r} is negative" for d, w in sorted(weights.items()) if w < 0]
        problems += [
            f"a weight names dataset {d!r}, which has no sample" for d in sorted(weights) if d not in counts
        ]
        if not counts:
            problems.append("there is no sample to draw from")
        raw = {d: weights.get(d, 1.0) * n ** (1 - self.alpha) for d, n in sorted(counts.items())}
        if counts and not problems and sum(raw.values()) == 0:
            problems.append("all datasets have weight 0")
        if problems:
            raise all_problems("sampling", problems)
        total = sum(raw.values())
        return {dataset: share / total for dataset, share in raw.items()}


class BalancedSampler(Sampler[tuple[int, int]]):
    """Yields (index of the sample, position in the sequence) from a position on.

    The position goes to the dataset with the index, so that augmentation too can be a pure function
    of (seed, position).

    Attributes:
        position: Where the next iteration over the sampler starts; its whole state.
        stop: Where it ends; None for never.
    """

    def __init__(
        self,
        groups: Sequence[str],
        balance: Balance,
        *,
        seed: int,
        stop: int | None = None,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        """Prepare the sequence of one process.

        Args:
            groups: (n,) name of each sample's dataset.
            balance: How they share the sequence.
            seed: Of the sequence.
            stop: First position that is not drawn any more.
            rank: This process takes the positions p with p % world_size == rank.
            world_size: Number of processes.
        """
        names = np.asarray(groups)
        shares = balance.shares(groups)
        self._members = [np.flatnonzero(names == dataset) for dataset in shares]
        self._edges = len(names) * np.cumsum(list(shares.values()))
        self._edges[-1] = len(names)
        self._seed, self._rank, self._world_size = seed, rank, world_size
        self.stop = stop
        self.position = 0

    def epoch(self, number: int) -> np.ndarray:
        """(n,) int: the indices at positions number * n to (number + 1) * n."""
        rng = np.random.default_rng([self._seed, number])
        rounded = np.floor(np.concatenate([[0], self._edges]) + rng.random()).astype(np.int64)
        parts = []
        for members, quota in zip(self._members, np.diff(rounded), strict=True):
            rounds = -(-quota // len(members))
            parts += [rng.permutation(members) for _ in range(rounds)]
            if rounds:
                parts[-1] = parts[-1][: quota - (rounds - 1) * len(members)]
        return rng.permutation(np.concatenate(parts))

    def __iter__(self) -> Iterator[tuple[int, int]]:
        position = self.position + (self._rank - self.position) % self._world_size
        current, indices = -1, np.empty(0, np.int64)
        while self.stop is None or position < self.stop:
            number, place = divmod(position, int(self._edges[-1]))
            if number != current:
                current, indices = number, self.epoch(number)
            yield int(indices[place]), position
            position += self._world_size
