"""Batches of rows of similar length, as a torch batch sampler."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import numpy as np
from torch.utils.data import Sampler

POOL_BATCHES = 64  # batches of rows that are sorted by length together


class Sized(Protocol):
    """A dataset that knows the lengths of its rows."""

    def __len__(self) -> int: ...

    def lengths(self, rows: np.ndarray) -> np.ndarray:
        """Return the input and target steps of rows, (rows, 2)."""


class BucketSampler(Sampler[np.ndarray]):
    """Yield the batches of one epoch as row numbers, with rows of similar length together.

    A batch holds at most `rows` rows, and at most `tokens` steps of input and of target, padding
    included; a longer row is a batch of its own. With a `generator` the rows and the batches are
    shuffled. Without one the pools keep the order of the rows.

        DataLoader(dataset, batch_sampler=BucketSampler(dataset, 8192, 64), collate_fn=task.collate)
    """

    def __init__(
        self, dataset: Sized, tokens: int, rows: int, generator: np.random.Generator | None = None
    ) -> None:
        self.dataset = dataset
        self.tokens = tokens
        self.rows = rows
        self.generator = generator

    def __iter__(self) -> Iterator[np.ndarray]:
        order = np.arange(len(self.dataset), dtype=np.int32)
        if self.generator is not None:
            self.generator.shuffle(order)
        for start in range(0, len(order), self.rows * POOL_BATCHES):
            pool = order[start : start + self.rows * POOL_BATCHES]
            lengths = self.dataset.lengths(pool)
            by_length = np.lexsort(lengths.T)  # by target length, then by input length
            cuts = list(_cuts(lengths[by_length].max(1), self.tokens, self.rows))
            batches = np.split(pool[by_length], cuts)
            if self.generator is not None:
                self.generator.shuffle(batches)
            yield from batches


def _cuts(lengths: np.ndarray, tokens: int, rows: int) -> Iterator[int]:
    """Yield the positions at which a new batch begins, for rows of these `lengths`."""
    first = 0
    longest = 1
    for place, length in enumerate(lengths):
        count = place - first + 1
        longest = max(longest, length)
        if count > 1 and (count > rows or count * longest > tokens):
            yield place
            first = place
            longest = max(1, length)


def shard(batch: np.ndarray, rank: int, world: int) -> np.ndarray:
    """Return the rows of a batch for process `rank` of `world`; there may be none."""
    return batch[rank::world]
