"""Encoded rows as one stream of tokens, which a language model reads from end to end."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np

from zoo.data.batch import Example
from zoo.data.dataset import Dataset
from zoo.data.readers import Row
from zoo.text.special_ids import EOS

HALVED = 0.05  # share of the training windows that are about half as long
SHORTEST = 5  # minimum steps of a training window
SPREAD = 1 / 14  # standard deviation of a window's length, relative to the mean length


class Stream(Dataset):
    """A Dataset whose rows form one sequence of tokens, each row with its EOS.

    The stream is cut into parallel columns, which are read one window at a time. A window begins
    where the column's last window ended. The LSTM continues too if it gets its last state
    (truncated back-propagation through time). In an epoch each token is a target once. Its input
    is the token before it, and EOS before the first token.

    A batch of the sampler has a row for each column: first token, end, and 1 if it continues.
    """

    @classmethod
    def write(cls, rows: Iterable[Row], encode: Callable[[Row], Example], folder: Path) -> Dataset:
        """Encode the rows into `folder`; only their targets are stored."""
        return super().write(rows, lambda row: {"inputs": encode(row)["targets"]}, folder)

    @property
    def tokens(self) -> np.ndarray:
        """All tokens, (tokens,) int32, memory-mapped."""
        return self.values["inputs"]

    @property
    def row_ends(self) -> np.ndarray:
        """The position after the last token of each row, (rows,) int64."""
        return self.ends["inputs"]

    def sampler(
        self, tokens: int, rows: int, generator: np.random.Generator | None = None
    ) -> Iterator[np.ndarray]:
        """Yield windows of `rows` columns and `tokens // rows` steps, (columns, 3) each.

        With a `generator` the first tokens are skipped at random, and windows have random lengths
        (Merity et al. 2018), so that each epoch is cut at other positions.
        """
        steps = max(1, tokens // rows)
        first = 0
        columns = min(rows, max(1, len(self.tokens) // 2))
        if generator is not None:
            first = int(generator.integers(0, min(steps, len(self.tokens) // columns)))
        edges = np.linspace(first, len(self.tokens), columns + 1).astype(np.int64)
        longest = int(np.diff(edges).max())
        done = 0
        while done < longest:
            wide = steps if generator is None else _random_length(steps, generator)
            start = np.minimum(edges[:-1] + done, edges[1:])
            end = np.minimum(start + wide, edges[1:])
            yield np.stack([start, end, np.full(columns, int(done > 0))], 1)
            done += wide

    def examples(self, rows: np.ndarray) -> list[Example]:
        """Return the columns of a window of the sampler, each with "inputs" and "targets"."""
        return [
            {
                "inputs": self.inputs_for(start, end),
                "targets": self.tokens[start:end],
                "continues": continues,
            }
            for start, end, continues in rows
        ]

    def inputs_for(self, start: int, end: int) -> np.ndarray:
        """Return the input tokens for the targets from `start` to `end`."""
        if start > 0 or start == end:
            return self.tokens[max(0, start - 1) : max(0, start - 1) + end - start]
        return np.concatenate([[EOS], self.tokens[: end - 1]])

    def progress(self, batch: np.ndarray | None = None) -> int:
        """Return the targets of a batch of the sampler; with None, the tokens of the stream."""
        return len(self.tokens) if batch is None else int((batch[:, 1] - batch[:, 0]).sum())

    def describe_batch(self, batch: np.ndarray) -> str:
        """Return the tokens of a batch of the sampler, for an error message."""
        open_columns = batch[batch[:, 1] > batch[:, 0]]  # the last window may have ended columns
        first, end = (int(token) for token in (*open_columns, *batch)[0][:2])
        return f"tokens {first + 1:,} to {end:,} of the training stream, and {len(batch) - 1} columns beside"


def _random_length(steps: int, generator: np.random.Generator) -> int:
    """Draw the steps of a window by Merity et al.; at most twice `steps`."""
    base = steps if generator.random() >= HALVED else steps / 2
    return int(
        np.clip(round(generator.normal(base, SPREAD * steps)), min(SHORTEST, steps), 2 * steps)
    )
