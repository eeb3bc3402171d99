"""Steps of a module whose gradients two processes exchange, beside those of the whole batch."""

from __future__ import annotations

import copy
import json
import sys
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import distributed, nn
from torch.optim.swa_utils import AveragedModel

from zoo.training.exchange import Exchange, channel, gradients
from zoo.training.exchange import shared as exchange_shared
from zoo.training.exchange.shared import shared_exchange

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


def optimizer_of(model: nn.Module) -> torch.optim.AdamW:
    """Two groups, and a learning rate that the steps change."""
    table, *others = model.parameters()
    groups = [{"params": [table]}, {"params": others}]
    return torch.optim.AdamW(groups, lr=0.01, eps=1e-3, weight_decay=0.1, fused=True)


def averaged(exchange: Exchange | None, kept: Any, current: Any, _: Any) -> None:
    """The mean of old and new weights, of the parts of this process."""
    if exchange is not None:
        kept, current = exchange.own(kept, current), exchange.own(current, current)
    for one, other in zip(kept, current, strict=True):
        one.lerp_(other, 0.5)


def alone(most: float) -> list[Any]:
    """The norms of the gradients and the weights after each step in one process."""
    model, found = Model(), []
    optimizer = optimizer_of(model)
    average = AveragedModel(model, multi_avg_fn=partial(averaged, None))
    for number, both in enumerate(BATCHES):
        optimizer.param_groups[0]["lr"] = 0.01 * (number + 1)
        (sum(model(ids) for ids in both) / sum(map(len, both))).backward()
        norm = nn.utils.clip_grad_norm_(model.parameters(), most)
        optimizer.step()
        average.update_parameters(model)
        optimizer.zero_grad()
        found.append([float(norm), *plain(model), *plain(average.module)])
    return found


def shared(most: float, memory: bool) -> list[Any]:
    """The same in two processes; after two steps the optimizer's state is saved and loaded."""
    model, found = Model(), []
    optimizer = optimizer_of(model)
    average = AveragedModel(model, multi_avg_fn=partial(averaged, None))
    exchange: Exchange = gradients.GradientExchange(model)
    if memory:
        found_one = shared_exchange(model, optimizer, average.module)
        assert found_one is not None
        exchange = found_one
    for number, both in enumerate(BATCHES):
        if number == 2:
            optimizer.load_state_dict(copy.deepcopy(optimizer.state_dict()))
            exchange.adopt(optimizer)
        optimizer.param_groups[0]["lr"] = 0.01 * (number + 1)
        own = both[distributed.get_rank()]
        with exchange.sending():
            (model(own) / 10).backward()
        (total,) = exchange.receive(len(own))
        norm = exchange.clip(most, 10 / total)
        exchange.update(optimizer)
        average.multi_avg_fn = partial(averaged, exchange)
        average.update_parameters(model)
        optimizer.zero_grad()
        distributed.barrier()
        found.append([float(norm), *plain(model), *plain(average.module)])
    distributed.barrier()  # nobody reads any more what the others change
    exchange.release()
    with torch.no_grad():
        model.table.weight.fill_(distributed.get_rank())
    distributed.barrier()
    found.append([float(model.table.weight.unique().item() == distributed.get_rank())])
    return found


def plain(model: nn.Module) -> list[list[float]]:
    """Weights as lists."""
    return [weight.flatten().tolist() for weight in model.parameters()]


if __name__ == "__main__":
    gradients.BUCKET, gradients.DENSE_STEPS, exchange_shared.DENSE_STEPS = 1000, 1, 1
    exchange_shared.LARGE, exchange_shared.ALIGNED = 100, 16
    distributed.init_process_group("gloo")
    clips = [float(most) for most in sys.argv[1:]]
    there, channel.MEMORY = channel.MEMORY, Path("/nowhere")
    assert shared_exchange(Model(), optimizer_of(Model())) is None  # as on two machines
    channel.MEMORY = there
    print(json.dumps([[shared(most, memory) for most in clips] for memory in (False, True)]))
    distributed.destroy_process_group()
