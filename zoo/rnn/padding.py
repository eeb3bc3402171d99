"""Padding: the steps of a batch beyond each row's length."""

from __future__ import annotations

import torch
from torch import Tensor


class Padding:
    """The padding of a (time, batch) block: its mask, reversal and last real steps."""

    def __init__(self, lengths: Tensor, time: int) -> None:
        """lengths: (batch,) int64 on the block's device, each from 0 to `time`."""
        steps = torch.arange(time, device=lengths.device).unsqueeze(1)  # (time, 1)
        self.lengths = lengths
        self.mask = (steps >= lengths).unsqueeze(-1)  # (time, batch, 1), True on padding
        index = torch.where(steps < lengths, lengths - 1 - steps, steps)
        self.reversed_index = index.unsqueeze(-1)  # (time, batch, 1)

    def reverse(self, x: Tensor) -> Tensor:
        """Reverse each row's real steps of x (time, batch, size); its padding stays in place."""
        return x.gather(0, self.reversed_index.expand_as(x))

    def last_step(self, x: Tensor, before: Tensor) -> Tensor:
        """Return each row's last real step of x (time, batch, size), or `before` if it has none."""
        index = (self.lengths - 1).clamp(min=0).view(1, -1, 1).expand(1, -1, x.size(2))
        return torch.where(self.lengths.unsqueeze(1) > 0, x.gather(0, index)[0], before.to(x))


def find_padding(x: Tensor, lengths: Tensor | None) -> Padding | None:
    """Return the padding of x (time, batch, size), or None when every row is full.

    Raises ValueError unless `lengths` are `batch` integers from 0 to `time`. During export their
    values are unknown: they go unchecked, and the result is never None.
    """
    if lengths is None:
        return None
    time, batch = x.shape[:2]
    whole = not (lengths.is_floating_point() or lengths.is_complex() or lengths.dtype == torch.bool)
    if lengths.shape != (batch,) or not whole:
        given = f"{lengths.dtype} of shape {tuple(lengths.shape)}"
        raise ValueError(f"lengths must be {batch} integers, one per row, not {given}")
    if not torch.compiler.is_exporting():
        if batch == 0:
            return None
        low, high = (int(v) for v in lengths.aminmax())
        if low < 0 or high > time:
            raise ValueError(
                f"lengths must lie in 0..{time}, the steps given, not in {low}..{high}"
            )
        if low == time:
            return None
    return Padding(lengths.to(x.device, torch.int64), time)
