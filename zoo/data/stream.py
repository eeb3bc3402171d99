"""Encoded rows as one stream: what a language model reads from its first token to its last."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
import torch

from zoo.data.dataset import IGNORE_INDEX, Augment, Batch, Dataset, Example
from zoo.data.readers import Row
from zoo.text.special_ids import EOS, PAD

HALVED = 0.05  # share of the windows of a training that are about half as long
SHORTEST = 5  # steps of such a window
SPREAD = 1 / 14  # standard deviation of a window's length, as a share of it


class Stream(Dataset):
    """A Store whose rows stand one after the other, each with its EOS, as one sequence of tokens.

    It is read in columns side by side, each a part of the stream, a window at a time. A window goes
    on where the column's last one stopped: so does the LSTM, if it is handed the state it left
    (truncated back-propagation through time). Each token is a target once in an epoch; what is read
    in front of it is the token before it, EOS before the first.

    A batch of the plan has a row for each column: first token, end, and 1 if it goes on.
    """

    @classmethod
    def write(cls, rows: Iterable[Row], encode: Callable[[Row], Example], folder: Path) -> Dataset:
        """Of each row its target is kept, the tokens that are to be predicted."""
        return super().write(rows, lambda row: {"ids": encode(row)["target"]}, folder)

    @property
    def tokens(self) -> np.ndarray:
        """All tokens (tokens,) int32, on disk."""
        return self.values["ids"]

    @property
    def row_ends(self) -> np.ndarray:
        """Of each row the place after its last token (rows,) int64."""
        return self.ends["ids"]

    def sampler(
        self, tokens: int, rows: int, generator: np.random.Generator | None = None
    ) -> Iterator[np.ndarray]:
        """Windows of `rows` columns and `tokens // rows` steps, (columns, 3) each.

        With a `generator` the columns begin somewhere else in each epoch, and windows are of random
        length (Merity et al. 2018), so that they are not always cut at the same places.
        """
        steps, first = max(1, tokens // rows), 0
        columns = min(rows, max(1, len(self.tokens) // 2))
        if generator is not None:
            first = int(generator.integers(0, min(steps, len(self.tokens) // columns)))
        edges = np.linspace(first, len(self.tokens), columns + 1).astype(np.int64)
        longest, done = int(np.diff(edges).max()), 0
        while done < longest:
            wide = steps if generator is None else _random_length(steps, generator)
            start = np.minimum(edges[:-1] + done, edges[1:])
            end = np.minimum(start + wide, edges[1:])
            yield np.stack([start, end, np.full(columns, int(done > 0))], 1)
            done += wide

    def batch(self, rows: np.ndarray, vary: Augment | None = None) -> Batch:
        """A window of some columns. There is nothing in it to vary."""
        lengths = rows[:, 1] - rows[:, 0]
        shape = len(rows), max(1, int(lengths.max()))
        ids, target = np.full(shape, PAD, np.int64), np.full(shape, IGNORE_INDEX, np.int64)
        for place, (start, end, _) in enumerate(rows):
            target[place, : end - start] = self.tokens[start:end]
            ids[place, : end - start] = self.inputs_for(start, end)
        return Batch(
            torch.from_numpy(ids), torch.from_numpy(lengths), torch.from_numpy(rows[:, 0].copy()),
            torch.from_numpy(target), bool(rows[0, 2]),
        )  # fmt: skip

    def inputs_for(self, start: int, end: int) -> np.ndarray:
        """The tokens that are read when those from `start` to `end` are to be predicted."""
        if start > 0 or start == end:
            return self.tokens[max(0, start - 1) : max(0, start - 1) + end - start]
        return np.concatenate([[EOS], self.tokens[: end - 1]])

    def progress(self, batch: np.ndarray | None = None) -> int:
        """How far a batch of the plan brings an epoch, in tokens; None: the whole epoch."""
        return len(self.tokens) if batch is None else int((batch[:, 1] - batch[:, 0]).sum())

    def describe_batch(self, batch: np.ndarray) -> str:
        going = batch[batch[:, 1] > batch[:, 0]]  # at the very end some columns may be over
        first, end = (int(place) for place in (*going, *batch)[0][:2])
        return f"tokens {first + 1:,} to {end:,} of the training stream, and {len(batch) - 1} columns beside"


def _random_length(steps: int, generator: np.random.Generator) -> int:
    """Steps of a window, about `steps`: Merity et al.'s distribution, no longer than twice that."""
    base = steps if generator.random() >= HALVED else steps / 2
    return int(
        np.clip(round(generator.normal(base, SPREAD * steps)), min(SHORTEST, steps), 2 * steps)
    )
