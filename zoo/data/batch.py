"""Batch: padded rows of ids or of float features, with their targets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from zoo.text.special_ids import PAD

IGNORE_INDEX = -100  # the target on padding, which cross_entropy ignores
PLACES = "target_places"  # of `extras`: the indices of the targets in targets.flatten()

# A row encoded by Task.encode: each field is a number, a list, or an array.
Example = Mapping[str, Any]


@dataclass(frozen=True)
class Batch:
    """Padded rows, as `Task.collate` makes them.

    inputs: (batch, time) int64 ids, or (batch, time, features) floats. Padding is PAD or 0.
    lengths: (batch,) int64, the steps of each row without padding.
    targets: (batch,), (batch, target steps) or (batch, target steps, values). Padding is
        IGNORE_INDEX in ids and NaN in floats.
    extras: what one task's `collate` adds, by name. Tensors move with the batch.
    continues: whether the rows continue those of the batch before, as windows of a stream do.
    """

    inputs: Tensor
    lengths: Tensor
    targets: Tensor | None = None
    extras: Mapping[str, Any] = field(default_factory=dict)
    continues: bool = False

    @property
    def target_mask(self) -> Tensor:
        """Return True where there is a target, (batch, target steps) bool."""
        assert self.targets is not None
        if self.targets.is_floating_point():
            return ~self.targets.isnan()
        return self.targets != IGNORE_INDEX

    def at_targets(self, x: Tensor) -> Tensor:
        """Return the steps of x (batch, target steps, ...) that have a target: (targets, ...).

        A batch that was moved to a device holds their places, so the device is not synchronised.
        """
        places = self.extras.get(PLACES)
        if places is None:
            places = self._find_target_places()
        return x.flatten(0, 1)[places]

    def count_steps(self) -> int:
        """Return the number of steps with a target; without targets for each step, of all steps."""
        if self.targets is None or self.targets.dim() < 2:
            return int(self.lengths.sum())
        places = self.extras.get(PLACES)
        return int(self.target_mask.sum()) if places is None else len(places)

    def to(self, device: torch.device) -> Batch:
        """Copy the batch to a device; `lengths` stay on the CPU, where they are read.

        From pinned memory the copy is asynchronous.
        """
        return self._map(lambda part: part.to(device, non_blocking=True))

    def pin_memory(self) -> Batch:
        """Copy the batch to pinned memory, from which a CUDA device copies asynchronously."""
        return self.with_places()._map(lambda part: part.pin_memory())

    def with_places(self) -> Batch:
        """Return the batch with the places of its targets, if there are targets for each step."""
        if PLACES in self.extras or self.targets is None or self.targets.dim() < 2:
            return self
        return replace(self, extras={**self.extras, PLACES: self._find_target_places()})

    def _find_target_places(self) -> Tensor:
        """Return the indices of the targets in `targets.flatten(0, 1)`, (targets,) int64."""
        mask = self.target_mask
        if mask.dim() > 2:  # several values at each step
            mask = mask.any(-1)
        return mask.flatten().nonzero().squeeze(1)

    def _map(self, move: Any) -> Batch:
        """Return the batch with `move` applied to all parts but `lengths`."""
        extras = {
            name: move(part) if hasattr(part, "pin_memory") else part
            for name, part in self.extras.items()
        }
        targets = None if self.targets is None else move(self.targets)
        return replace(self, inputs=move(self.inputs), targets=targets, extras=extras)

    def __len__(self) -> int:
        return len(self.lengths)


def collate(examples: Sequence[Example]) -> Batch:
    """Pad examples to a batch: their "inputs", "targets" if there are any, and "continues"."""
    inputs = [example["inputs"] for example in examples]
    targets = None
    if "targets" in examples[0]:
        targets = _targets([example["targets"] for example in examples])
    lengths = torch.tensor([len(row) for row in inputs])
    continues = bool(examples[0].get("continues", False))
    return Batch(pad(inputs, PAD), lengths, targets, {}, continues)


def _targets(targets: Sequence[Any]) -> Tensor:
    """Return targets as a tensor: one number a row, or padded lists."""
    if np.ndim(targets[0]) == 0:
        return torch.tensor(targets)
    return pad(targets, IGNORE_INDEX, np.nan)


def pad(rows: Sequence[Any], padding: int, float_padding: float = 0.0) -> Tensor:
    """Pad rows of ids to (batch, time) int64, or of floats to (batch, time, ...) float32.

    The result is at least one step wide, so that a batch of empty rows can run.
    """
    first = rows[0]
    width = max(1, *map(len, rows)) if len(rows) > 1 else max(1, len(first))
    floats = isinstance(first, np.ndarray) and first.dtype.kind == "f"
    floats = floats or (isinstance(first, list) and bool(first) and isinstance(first[0], float))
    if floats:
        shape = (len(rows), width, *np.shape(first)[1:])
        padded = np.full(shape, float_padding, dtype=np.float32)
    else:
        padded = np.full((len(rows), width), padding, dtype=np.int64)
    for number, row in enumerate(rows):
        padded[number, : len(row)] = row
    return torch.from_numpy(padded)
