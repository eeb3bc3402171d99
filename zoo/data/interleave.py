"""Interleave the batches of several heads that train one shared backbone."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from zoo.data.batch import Example
from zoo.data.dataset import Dataset, ExampleList


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

    def __init__(self, datasets: Mapping[str, Dataset]) -> None:
        self.datasets = dict(datasets)

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

    def examples(self, rows: Any) -> list[Example]:
        """Return the examples of a turn, each with the name of its head as "head"."""
        return [{**e, "head": rows.head} for e in self.datasets[rows.head].examples(rows.rows)]

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
