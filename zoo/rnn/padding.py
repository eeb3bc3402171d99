"""Padding: the steps of a batch beyond each row's length."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

Lengths = Tensor | Sequence[int] | np.ndarray[Any, Any]


INTEGERS = {
    torch.uint8,
    torch.uint16,
    torch.uint32,
    torch.uint64,
    torch.int8,
    torch.int16,
    torch.int32,
    torch.int64,
}


# What a batch costs, in steps of one row: each step reads the weights, each call prepares them.
STEP = 2.0
CALL = 150.0
ROUND = 16  # pieces are multiples of so many steps: oneDNN makes a kernel for each shape
MOST_CUTS = 24  # places where a cut is weighed
LEAST_SAVED = 0.05  # share of the cost; for less, a batch stays whole


class Piece(NamedTuple):
    """Neighbouring steps of a batch, in which its `rows` longest rows are read."""

    start: int
    stop: int
    rows: int


class Padding:
    """The padding of a (time, batch) block: its mask, reversal and last real steps."""

    def __init__(self, lengths: Tensor, time: int) -> None:
        """lengths: (batch,) int64 on the block's device, each from 0 to `time`."""
        steps = torch.arange(time, device=lengths.device).unsqueeze(1)  # (time, 1)
        self.lengths = lengths
        self.mask = (steps >= lengths).unsqueeze(-1)  # (time, batch, 1), True on padding
        index = torch.where(steps < lengths, lengths - 1 - steps, steps)
        self.reversed_index = index.unsqueeze(-1)  # (time, batch, 1)

    @cached_property
    def by_length(self) -> Tensor:
        """The numbers of the rows, the longest first, (batch,)."""
        return self.lengths.argsort(descending=True, stable=True)

    @cached_property
    def pieces(self) -> list[Piece]:
        """The pieces in which a batch costs least; empty where it stays whole."""
        return pieces_of(self.lengths.cpu().numpy())

    @cached_property
    def rounded(self) -> Padding:
        """The padding of the same rows in a block whose time is rounded up, by a sixteenth at most."""
        time = len(self.mask)
        grid = 1 << max(0, time.bit_length() - 5)  # 1 below 32 steps, 2 below 64, 4 below 128
        return self if time % grid == 0 else Padding(self.lengths, time + -time % grid)

    def reverse(self, x: Tensor) -> Tensor:
        """Reverse each row's real steps of x (time, batch, size); its padding stays in place."""
        return x.gather(0, self.reversed_index.expand_as(x))

    def last_step(self, x: Tensor, before: Tensor) -> Tensor:
        """Return each row's last real step of x (time, batch, size), or `before` if it has none."""
        index = (self.lengths - 1).clamp(min=0).view(1, -1, 1).expand(1, -1, x.size(2))
        return torch.where(self.lengths.unsqueeze(1) > 0, x.gather(0, index)[0], before.to(x))


def pieces_of(lengths: np.ndarray) -> list[Piece]:
    """Return the pieces of rows of these lengths (batch,) that cost least, steps without rows left out.

    A cut is made where rows end, rounded up to ROUND steps. The last piece may end beyond the batch.
    Returns an empty list where pieces save less than LEAST_SAVED of the cost.
    """
    ends = np.unique(-(-lengths[lengths > 0] // ROUND) * ROUND)  # rising
    if not len(ends):
        return []
    if len(ends) > MOST_CUTS:
        ends = ends[np.linspace(0, len(ends) - 1, MOST_CUTS).round().astype(int)]
    starts = np.concatenate([[0], ends[:-1]])
    rows = (lengths > starts[:, None]).sum(1)  # that are read from each start on
    least = np.zeros(len(ends) + 1)  # cost of the steps before each place
    cut = np.zeros(len(ends) + 1, int)  # the place where the piece before it begins
    for place in range(1, len(ends) + 1):
        steps = ends[place - 1] - starts[:place]
        costs = least[:place] + CALL + steps * (STEP + rows[:place])
        cut[place] = costs.argmin()
        least[place] = costs[cut[place]]
    whole = CALL + int(lengths.max()) * (STEP + len(lengths))
    if least[-1] > (1 - LEAST_SAVED) * whole:
        return []
    found = []
    place = len(ends)
    while place:
        first = cut[place]
        found.append(Piece(int(starts[first]), int(ends[place - 1]), int(rows[first])))
        place = first
    return found[::-1]


def find_padding(x: Tensor, lengths: Lengths | None) -> Padding | None:
    """Return the padding of x (time, batch, size), or None when every row is full.

    Raises ValueError unless `lengths` are `batch` integers from 0 to `time`. During export their
    values are unknown: they go unchecked, and the result is never None.
    """
    if lengths is None:
        return None
    time, batch = x.shape[:2]
    asked = f"lengths must be {batch} integers, one per row"
    if not isinstance(lengths, Tensor):
        lengths = _as_tensor(lengths, asked)
    dense = lengths.layout == torch.strided
    if lengths.shape != (batch,) or lengths.dtype not in INTEGERS or not dense:
        given = f"{lengths.dtype} of shape {tuple(lengths.shape)}"
        raise ValueError(f"{asked}, not {given}")
    if not torch.compiler.is_exporting():
        if batch == 0:
            return None
        low, high = (int(v) for v in lengths.to(torch.int64).aminmax())
        if low < 0 or high > time:
            raise ValueError(
                f"lengths must lie in 0..{time}, the steps given, not in {low}..{high}"
            )
        if low == time:
            return None
    return Padding(lengths.to(x.device, torch.int64), time)


def _as_tensor(lengths: Sequence[int] | np.ndarray[Any, Any], asked: str) -> Tensor:
    """Return lengths that are not a tensor as one. Raises ValueError, which begins with `asked`."""
    kind = type(lengths).__name__
    if not isinstance(lengths, (Sequence, np.ndarray)) or isinstance(lengths, (str, bytes)):
        raise ValueError(f"{asked}, not {kind}")
    if not len(np.shape(lengths) if isinstance(lengths, np.ndarray) else [0]):
        raise ValueError(f"{asked}, not one number")
    try:
        if isinstance(lengths, np.ndarray):
            return torch.from_numpy(lengths.astype(lengths.dtype.newbyteorder("=")))
        return torch.tensor(lengths) if len(lengths) else torch.zeros(0, dtype=torch.int64)
    except (TypeError, ValueError, RuntimeError, OverflowError) as error:
        raise ValueError(f"{asked}, not a {kind} of other things") from error
