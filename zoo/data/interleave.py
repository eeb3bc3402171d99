"""Interleave the batches of several heads that train one shared backbone."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from zoo.data.dataset import Augment, Batch, Dataset, ExampleList


@dataclass(frozen=True)
class HeadBatch:
    """A batch of one head, as the sampler of the head's dataset yields it."""

    head: str
    rows: np.ndarray

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, part: slice) -> HeadBatch:
        return HeadBatch(self.head, self.rows[part])


class InterleavedDataset(ExampleList):
    """The datasets of several heads, whose batches take turns.

    An epoch holds every batch of every head, evenly spread: of two heads, one with half as many
    batches as the other has every third turn. The batches of a head keep their order, so a stream
    stays a stream.
    """

    def __init__(self, datasets: Mapping[str, Dataset], augment: Mapping[str, Augment]) -> None:
        self.datasets = dict(datasets)
        self.augment = dict(augment)

    def __len__(self) -> int:
        return sum(map(len, self.datasets.values()))

    def sampler(
        self, tokens: int, rows: int, generator: np.random.Generator | None = None
    ) -> Iterator[Any]:
        turns = []
        for number, (head, dataset) in enumerate(self.datasets.items()):
            planned = [*dataset.sampler(tokens, rows, generator)]
            for place, batch in enumerate(planned):
                turns.append(((place + 0.5) / len(planned), number, HeadBatch(head, batch)))
        yield from (turn for _, _, turn in sorted(turns, key=lambda each: each[:2]))

    def batch(self, rows: Any, vary: Augment | None = None) -> Batch:
        """Return the batch of a turn, with its head.

        If `vary` is given, the head's own augmentation is applied instead of it.
        """
        own = None if vary is None else self.augment[rows.head]
        return replace(self.datasets[rows.head].batch(rows.rows, own), head=rows.head)

    def progress(self, batch: Any = None) -> int:
        if batch is None:
            return sum(dataset.progress() for dataset in self.datasets.values())
        return self.datasets[batch.head].progress(batch.rows)

    def describe_batch(self, batch: Any) -> str:
        return f"{batch.head}, {self.datasets[batch.head].describe_batch(batch.rows)}"

    def fingerprint(self) -> str:
        """Return a hash of the names of the heads and the fingerprints of their datasets."""
        parts = [f"{head} {dataset.fingerprint()}" for head, dataset in self.datasets.items()]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()
