"""Losses and gradient norms that stay on the device until they are read.

Reading a number from a device waits for everything before it. So a step leaves its loss and the
norm of its gradient there, and the training reads them together, about as often as the progress bar
is drawn. Whether they are finite is decided on the device, by every step for itself: from the first
step that is not, no step changes a weight any more.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

INTERVAL = 0.1  # seconds between two reads on a device: the bar is drawn as often
MOST_STEPS = 64  # between two reads


@dataclass(frozen=True)
class StepRecord:
    """What is known of one step: its loss and its gradient's norm may still be on the device."""

    loss: Tensor  # ()
    norm: Tensor  # ()
    size: int  # decisions that the loss is the mean of
    epoch: int  # from 0
    batch: int  # from 0
    rows: Any  # as the training rows' plan has them


@dataclass(frozen=True)
class StepValues:
    """The same, read."""

    loss: float
    norm: float
    record: StepRecord


class DeferredLosses:
    """The losses of the steps since the last read, and whether any step so far was not finite.

    `overflow` allows an infinite norm: a gradient scaler skips that step and lowers its scale.
    `interval` seconds lie between two reads. With 0 every step is read before it changes a weight,
    and nothing is decided on the device.
    """

    def __init__(self, device: torch.device, overflow: bool, interval: float) -> None:
        self.overflow, self.interval = overflow, interval
        self.failed = torch.zeros((), device=device)  # 1 from the first step that is not finite
        self.waiting: list[StepRecord] = []
        self.read_at = time.monotonic()

    def add(self, record: StepRecord) -> None:
        """Keep a step's loss and norm; `failed` says whether all so far were finite."""
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
        """The steps since the last read, in order, up to the first that is not finite."""
        records, self.waiting = self.waiting, []
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
        """Whether a step counts as finite: its loss, and its norm unless that may overflow."""
        return math.isfinite(values.loss) and (self.overflow or math.isfinite(values.norm))


def _numbers(scalars: list[Tensor]) -> list[float]:
    """Scalars () as numbers, in one transfer."""
    return [scalars[0].item()] if len(scalars) == 1 else torch.stack(scalars).tolist()
