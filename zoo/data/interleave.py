"""The rows of several heads, a batch of one and then of another: what a shared backbone learns from."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from zoo.data.dataset import Batch, Examples, Store, Vary


@dataclass(frozen=True)
class Turn:
    """A batch of one head, as the head's own store plans it."""

    head: str
    rows: np.ndarray

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, part: slice) -> Turn:
        return Turn(self.head, self.rows[part])


class Turns(Examples):
    """Stores of several heads that are read in turns.

    Every head has all of its batches in every epoch, spread over the whole of it: a head with half
    as many has every third turn. Its own batches keep their order, so a stream stays a stream.
    """

    def __init__(self, stores: Mapping[str, Store], vary: Mapping[str, Vary]) -> None:
        self.stores, self.vary = dict(stores), dict(vary)

    def __len__(self) -> int:
        return sum(map(len, self.stores.values()))

    def plan(
        self, tokens: int, rows: int, generator: np.random.Generator | None = None
    ) -> Iterator[Any]:
        turns = []
        for number, (head, store) in enumerate(self.stores.items()):
            planned = [*store.plan(tokens, rows, generator)]
            for place, batch in enumerate(planned):
                turns.append(((place + 0.5) / len(planned), number, Turn(head, batch)))
        yield from (turn for _, _, turn in sorted(turns, key=lambda each: each[:2]))

    def batch(self, rows: Any, vary: Vary | None = None) -> Batch:
        """The batch of a turn, which says whose it is; of a training each head's is varied by it."""
        own = None if vary is None else self.vary[rows.head]
        return replace(self.stores[rows.head].batch(rows.rows, own), head=rows.head)

    def count(self, batch: Any = None) -> int:
        if batch is None:
            return sum(store.count() for store in self.stores.values())
        return self.stores[batch.head].count(batch.rows)

    def place(self, batch: Any) -> str:
        return f"{batch.head}, {self.stores[batch.head].place(batch.rows)}"

    def fingerprint(self) -> str:
        parts = [f"{head} {store.fingerprint()}" for head, store in self.stores.items()]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()
