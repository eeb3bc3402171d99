"""Which output of the LSTM a task reads, with the shapes of a real batch."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from zoo.batches import Batch
from zoo.task import Task


@dataclass(frozen=True)
class Line:
    """One tensor of a batch on its way through a task."""

    name: str
    shape: tuple[int, ...]
    meaning: str


@torch.no_grad()
def shapes(task: Task, batch: Batch) -> list[Line]:
    """Every tensor from ids to logits, in the order in which they come to be."""
    task.eval()
    encoded = task.backbone(batch.ids, batch.lengths)
    lstm = task.backbone.lstm
    directions = 2 if lstm.bidirectional else 1
    layers = f"{lstm.num_layers} layer(s) x {directions} direction(s)"
    tensors: list[tuple[str, Tensor, str]] = [
        ("ids", batch.ids, "batch, time"),
        ("lengths", batch.lengths, "batch: real steps, the rest is padding"),
        (
            "output",
            encoded.output,
            f"batch, time, {directions} x hidden: h of the top layer, each step",
        ),
        ("h_n", encoded.h_n, f"{layers}, batch, hidden: h after the last step"),
        ("c_n", encoded.c_n, f"{layers}, batch, hidden: the cell after the last step"),
        (f"read from {task.reads}", task.read(encoded), task.shape),
        ("logits", task(batch), task.logits),
    ]
    return [Line(name, tuple(tensor.shape), meaning) for name, tensor, meaning in tensors]


def sentence(task: Task) -> str:
    """Why the task reads what it reads."""
    return f"{task.name} reads {task.reads}: {task.why}."
