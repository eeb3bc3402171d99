"""Steps of a module whose gradients two processes exchange, beside those of the whole batch."""

from __future__ import annotations

import json
import sys

import torch
from torch import distributed, nn

from zoo.training.exchange import gradients

ROWS, SIZE = 50, 3
BATCHES = [  # ids of each process: few rows, nothing from one, more than half of the rows, few again
    ([1, 1, 7], [7, 9]),
    ([2], []),
    ([*range(40)], [3]),
    ([4], [5, 4]),
]


class Model(nn.Module):
    """A table, a matrix that is never used and one that only process 0 uses."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(distributed.get_rank() if distributed.is_initialized() else 0)
        self.table = nn.Embedding(ROWS, SIZE)
        self.wide = nn.Linear(SIZE, 400)  # a bucket of its own
        self.narrow = nn.Linear(400, 1)
        self.unused = nn.Linear(SIZE, SIZE)
        self.sometimes = nn.Linear(SIZE, 1)

    def forward(self, ids: list[int]) -> torch.Tensor:
        """The sum of a loss over ids."""
        vectors = self.table(torch.tensor(ids, dtype=torch.int64))
        lost = self.narrow(self.wide(vectors).tanh()).sum()
        return lost + self.sometimes(vectors).sum() if 1 in ids else lost


def alone(most: float) -> list[list[list[float] | None]]:
    """The clipped gradients of each step in one process."""
    model, found = Model(), []
    for both in BATCHES:
        model.zero_grad()
        (sum(model(ids) for ids in both) / sum(map(len, both))).backward()
        nn.utils.clip_grad_norm_(model.parameters(), most)
        found.append(plain(model))
    return found


def shared(most: float) -> list[list[list[float] | None]]:
    """The clipped gradients of each step in two processes."""
    model, found = Model(), []
    exchange = gradients.GradientExchange(model)
    for both in BATCHES:
        model.zero_grad()
        own = both[distributed.get_rank()]
        with exchange.sending():
            (model(own) / 10).backward()
        (total,) = exchange.receive(len(own))
        exchange.clip(most, 10 / total)
        found.append(plain(model))
    return found


def plain(model: nn.Module) -> list[list[float] | None]:
    """Gradients as lists."""
    return [None if w.grad is None else w.grad.flatten().tolist() for w in model.parameters()]


if __name__ == "__main__":
    gradients.BUCKET, gradients.DENSE_STEPS = 1000, 1
    distributed.init_process_group("gloo")
    print(json.dumps([shared(float(most)) for most in sys.argv[1:]]))
    distributed.destroy_process_group()
