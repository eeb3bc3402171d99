"""Losses and gradient norms that stay on the device until several are read together.

Reading a number from a device waits for all computation before it. So each step leaves its loss and
gradient norm on the device. The training reads them about as often as the progress bar is drawn.
The device itself checks after each step whether they are finite. After the first step with a value
that is not finite, no step changes a weight.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

INTERVAL = 0.1  # seconds between two reads on a device, as between two updates of the bar
MOST_STEPS = 64  # steps between two reads, at most


@dataclass(frozen=True)
class StepRecord:
    """The loss and gradient norm of one step, still on the device."""

    loss: Tensor  # ()
    norm: Tensor  # ()
    size: int  # predictions that the loss averages
    epoch: int  # from 0
    batch: int  # from 0
    rows: Any  # row numbers, as the sampler yields them


@dataclass(frozen=True)
class StepValues:
    """The loss and gradient norm of one step as numbers."""

    loss: float
    norm: float
    record: StepRecord


class DeferredLosses:
    """The losses since the last read, and a flag on the device for values that are not finite.

    `overflow` allows an infinite norm: a gradient scaler skips that step and lowers its scale.
    `interval` is the time between two reads in seconds. With 0 every step is read before it changes
    a weight, and the flag on the device is not used.
    """

    def __init__(self, device: torch.device, overflow: bool, interval: float) -> None:
        self.overflow, self.interval = overflow, interval
        self.failed = torch.zeros((), device=device)  # 1 from the first step that is not finite
        self.waiting: list[StepRecord] = []
        self.read_at = time.monotonic()

    def add(self, record: StepRecord) -> None:
        """Keep a step's loss and norm, and set `failed` if they are not finite."""
        self.waiting.append(record)
        if not self.interval:
            return
        finite = record.loss.detach().isfinite()
        if not self.overflow:
            finite = finite & record.norm.isfinite()
        torch.maximum(self.failed, (~finite).to(self.failed), out=self.failed)

    @property
    def due(self) -> bool:
        """Whether it is time to read."""
        waited = time.monotonic() - self.read_at >= self.interval
        return bool(self.waiting) and (waited or len(self.waiting) >= MOST_STEPS)

    def read(self) -> list[StepValues]:
        """Read the steps since the last read, in order, up to the first that is not finite."""
        records = self.waiting
        self.waiting = []
        self.read_at = time.monotonic()
        if not records:
            return []
        losses = _numbers([record.loss.detach() for record in records])
        norms = _numbers([record.norm for record in records])
        values = []
        for loss, norm, record in zip(losses, norms, records, strict=True):
            values.append(StepValues(loss, norm, record))
            if not self.finite(values[-1]):
                break
        return values

    def finite(self, values: StepValues) -> bool:
        """Whether a step's loss is finite, and also its norm unless `overflow` allows that."""
        return math.isfinite(values.loss) and (self.overflow or math.isfinite(values.norm))


def _numbers(scalars: list[Tensor]) -> list[float]:
    """Read scalars () from the device in one transfer."""
    return [scalars[0].item()] if len(scalars) == 1 else torch.stack(scalars).tolist()
