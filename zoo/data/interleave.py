"""The rows of several heads, a batch of one and then of another: what a shared backbone learns from."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from zoo.data.dataset import Augment, Batch, Dataset, ExampleList


@dataclass(frozen=True)
class HeadBatch:
    """A batch of one head, as the head's own store plans it."""

    head: str
    rows: np.ndarray

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, part: slice) -> HeadBatch:
        return HeadBatch(self.head, self.rows[part])


class InterleavedDataset(ExampleList):
    """Stores of several heads that are read in turns.

    Every head has all of its batches in every epoch, spread over the whole of it: a head with half
    as many has every third turn. Its own batches keep their order, so a stream stays a stream.
    """

    def __init__(self, stores: Mapping[str, Dataset], vary: Mapping[str, Augment]) -> None:
        self.datasets, self.augment = dict(stores), dict(vary)

    def __len__(self) -> int:
        return sum(map(len, self.datasets.values()))

    def sampler(
        self, tokens: int, rows: int, generator: np.random.Generator | None = None
    ) -> Iterator[Any]:
        turns = []
        for number, (head, store) in enumerate(self.datasets.items()):
            planned = [*store.sampler(tokens, rows, generator)]
            for place, batch in enumerate(planned):
                turns.append(((place + 0.5) / len(planned), number, HeadBatch(head, batch)))
        yield from (turn for _, _, turn in sorted(turns, key=lambda each: each[:2]))

    def batch(self, rows: Any, vary: Augment | None = None) -> Batch:
        """The batch of a turn, which says whose it is; of a training each head's is varied by it."""
        own = None if vary is None else self.augment[rows.head]
        return replace(self.datasets[rows.head].batch(rows.rows, own), head=rows.head)

    def progress(self, batch: Any = None) -> int:
        if batch is None:
            return sum(store.progress() for store in self.datasets.values())
        return self.datasets[batch.head].progress(batch.rows)

    def describe_batch(self, batch: Any) -> str:
        return f"{batch.head}, {self.datasets[batch.head].describe_batch(batch.rows)}"

    def fingerprint(self) -> str:
        parts = [f"{head} {store.fingerprint()}" for head, store in self.datasets.items()]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()
