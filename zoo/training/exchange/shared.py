"""Several processes of one machine that keep one copy of the weights, in shared memory.

Each process updates its part of every large weight, with its part of the optimizer's state. So the
processes together do the work of one optimizer. A gradient goes to the process that updates it
through shared memory, and nothing is sent but a few numbers.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, distributed, nn
from torch.optim import AdamW

from zoo.training.exchange.channel import ALIGNED, Channel, Memory, connect, padded
from zoo.training.exchange.gradients import DENSE_STEPS, RARE, tables, trained

LARGE = 1 << 14  # values from which a weight is shared out; smaller ones are updated everywhere
STATES = "exp_avg", "exp_avg_sq"


class SharedExchange:
    """Sums gradients and updates weights together with the other processes of this machine.

    It is used as `GradientExchange`. After `receive` a gradient is only complete in the process
    that updates this part of the weight. `release` ends the sharing.
    """

    def __init__(
        self,
        module: nn.Module,
        optimizer: AdamW,
        average: nn.Module | None,
        memory: Memory,
        channel: Channel,
    ) -> None:
        """Move the large weights into `memory`, and those of a copy of the module, the `average`.

        All processes get the weights and buffers of process 0.
        """
        self._channel = channel
        self.rank, self.world = distributed.get_rank(), distributed.get_world_size()
        self.weights = trained(module)
        self.large = [weight for weight in self.weights if weight.numel() >= LARGE]
        self.small = [weight for weight in self.weights if weight.numel() < LARGE]
        # Of each embedding: steps in which its gradient is written as a whole.
        self._dense_steps = dict.fromkeys(tables(module, self.large), 0)
        self.parts = {weight: self._part(weight) for weight in self.large}
        places = {weight: memory.take(weight.shape) for weight in self.large}
        self._states = {
            weight: {name: memory.take(weight.shape) for name in STATES} for weight in self.large
        }
        self._sent: list[dict[nn.Parameter, Tensor]] = []  # of each process: its gradients
        self._ids: list[dict[nn.Parameter, Tensor]] = []  # of each process: rows of embeddings
        for _ in range(self.world):
            self._sent.append({weight: memory.take([weight.numel()]) for weight in self.weights})
            self._ids.append(
                {table: memory.take([len(table)], torch.int32) for table in self._dense_steps}
            )
        for weight, place in places.items():
            if self.rank == 0:
                place.copy_(weight.detach())
            weight.data = place
        if average is not None:
            for weight, averaged in zip(module.parameters(), average.parameters(), strict=True):
                if weight in self.parts:
                    averaged.data = memory.take(weight.shape).copy_(averaged.detach())
        for tensor in module.state_dict().values():
            sent = tensor.contiguous()
            distributed.broadcast(sent, 0)
            tensor.copy_(sent)
        self.adopt(optimizer)

    def adopt(self, optimizer: AdamW) -> None:
        """Share the state of an optimizer, as it is now. Call it again after loading a state."""
        self._pieces = {weight: self._piece(weight) for weight in self.weights}
        self._optimizer = AdamW(
            [
                {**group, "params": [self._pieces[w] for w in group["params"] if w in self._pieces]}
                for group in self._groups(optimizer)
            ]
        )
        for weight, piece in self._pieces.items():
            state: dict[str, Any] = {"step": torch.zeros(())} | optimizer.state.get(weight, {})
            for name in STATES:
                found = state.get(name, 0.0)
                state[name] = self._states[weight][name] if weight in self.parts else None
                if state[name] is None:
                    state[name] = torch.zeros_like(weight)
                state[name].copy_(found) if isinstance(found, Tensor) else state[name].zero_()
            optimizer.state[weight] = state
            parts = {name: self._of_part(weight, state[name]) for name in STATES}
            self._optimizer.state[piece] = {"step": state["step"], **parts}
        self._channel.wait()

    @contextmanager
    def sending(self) -> Iterator[None]:
        """Run the backward pass inside."""
        yield

    def receive(self, *counts: int) -> list[int]:
        """Wait for the gradients of all processes, and add them up in this process's parts.

        Returns the sums of `counts` over the processes. A weight without a gradient in all of them
        has none afterwards, as in one process.
        """
        rows = [self._write(weight) for weight in self.weights]
        there = [int(weight.grad is not None) for weight in self.weights]
        own = torch.tensor([*counts, *there, *rows])
        told = self._channel.gather(own)
        sums = told[:, : len(counts) + len(there)].sum(0).tolist()
        held = told[:, len(counts) : len(counts) + len(there)].tolist()
        sent = told[:, len(counts) + len(there) :].tolist()
        for number, weight in enumerate(self.weights):
            if not sums[len(counts) + number]:
                weight.grad = None
                continue
            if weight.grad is None:
                weight.grad = torch.zeros_like(weight)
            holders = [process for process in range(self.world) if held[process][number]]
            if weight in self.parts:
                counted = {process: sent[process][number] for process in holders}
                self._add(weight, counted)
            else:
                every = [self._sent[process][weight] for process in holders]
                weight.grad.copy_(torch.stack(every).sum(0).view_as(weight))
        return sums[: len(counts)]

    def clip(self, most: float, scale: float) -> Tensor:
        """Scale the gradients, then clip their norm to at most `most`; returns the scaled norm ().

        The optimizer scales them, as it reads them.
        """
        for weight in self.large:
            self._pieces[weight].grad = None
            if weight.grad is not None:
                self._pieces[weight].grad = self._of_part(weight, weight.grad)
        shared = _square([self._pieces[weight].grad for weight in self.large])
        square = self._channel.gather(shared.view(1)).sum() + _square(
            [weight.grad for weight in self.small]
        )
        norm = square.sqrt().float() * scale
        factor = scale * torch.clamp(most / (norm + 1e-6), max=1.0)
        self._optimizer.grad_scale = 1 / factor  # type: ignore[attr-defined]
        return norm

    def update(self, optimizer: AdamW) -> None:
        """Update this process's parts with the rates of `optimizer`, and wait for the others."""
        for group, now in zip(self._optimizer.param_groups, self._groups(optimizer), strict=True):
            group["lr"] = now["lr"]
        self._optimizer.step()
        for piece in self._pieces.values():
            piece.grad = None
        self._channel.wait()

    def own(self, values: Sequence[Tensor], current: Sequence[Tensor]) -> list[Tensor]:
        """Return this process's parts of values like weights; `current` are these weights."""
        weights = {weight.data_ptr(): weight for weight in self.large}
        found = []
        for value, now in zip(values, current, strict=True):
            weight = weights.get(now.data_ptr())
            found.append(value if weight is None else self._of_part(weight, value))
        return found

    def release(self) -> None:
        """Give this process weights of its own."""
        for weight in self.large:
            weight.data = weight.detach().clone()
        self._channel.close()

    def _groups(self, optimizer: AdamW) -> list[dict[str, Any]]:
        """Return the parameter groups in which a weight is trained."""
        return [
            group
            for group in optimizer.param_groups
            if any(weight in self._pieces for weight in group["params"])
        ]

    def _part(self, weight: nn.Parameter) -> tuple[int, int]:
        """Return where this process's part begins and ends: rows of an embedding, else values."""
        size, unit = (len(weight), 1) if weight in self._dense_steps else (weight.numel(), ALIGNED)
        first, end = (size * process // self.world for process in (self.rank, self.rank + 1))
        return first // unit * unit, end if end == size else end // unit * unit

    def _of_part(self, weight: nn.Parameter, values: Tensor) -> Tensor:
        """Return this process's part of values like a weight; all values of a small weight."""
        if weight not in self.parts:
            return values
        first, end = self.parts[weight]
        return (values if weight in self._dense_steps else values.view(-1))[first:end]

    def _piece(self, weight: nn.Parameter) -> nn.Parameter:
        """Return what this process updates of a weight, in the same memory."""
        if weight not in self.parts:
            return weight
        return nn.Parameter(self._of_part(weight, weight.detach()))

    def _write(self, weight: nn.Parameter) -> int:
        """Write a gradient where the others read it.

        Returns the number of rows of a table that were written, -1 for a whole gradient.
        """
        grad = weight.grad
        if grad is None:
            return 0
        place = self._sent[self.rank][weight]
        width = 1
        if weight in self._dense_steps:
            width = weight.size(1)
            rows = self._few_rows(weight, grad)
            if rows is not None:
                among = place[: len(rows) * width].view(len(rows), width)
                torch.index_select(grad, 0, rows, out=among)
                self._ids[self.rank][weight][: len(rows)] = rows
                return len(rows)
        first, end = self.parts.get(weight, (0, 0))  # nobody else reads this process's part
        flat = grad.reshape(-1)
        place[: first * width] = flat[: first * width]
        place[end * width :] = flat[end * width :]
        return -1

    def _few_rows(self, table: nn.Parameter, grad: Tensor) -> Tensor | None:
        """Return the rows of an embedding that have a gradient, int64; None if they are many."""
        if self._dense_steps[table]:
            self._dense_steps[table] -= 1
            return None
        rows = (torch.linalg.vector_norm(grad, dim=1) != 0).nonzero().squeeze(1)  # NaN is not 0
        if len(rows) <= RARE * len(table):
            return rows
        self._dense_steps[table] = DENSE_STEPS
        return None

    def _add(self, weight: nn.Parameter, counted: dict[int, int]) -> None:
        """Add the gradients of the other processes to this process's part of a weight's."""
        assert weight.grad is not None
        part = self._of_part(weight, weight.grad)
        first, end = self.parts[weight]
        for process, count in counted.items():
            if process == self.rank:
                continue
            place = self._sent[process][weight]
            if count < 0:
                part.add_(self._of_part(weight, place.view_as(weight)))
                continue
            rows = self._ids[process][weight][:count]
            edges = torch.tensor([first, end], dtype=rows.dtype)
            low, high = torch.searchsorted(rows, edges).tolist()
            values = place.view_as(weight)[low:high]
            part.index_add_(0, rows[low:high] - first, values)


def shared_exchange(
    module: nn.Module, optimizer: AdamW, average: nn.Module | None = None
) -> SharedExchange | None:
    """Return the exchange of processes on one machine; None where they have no memory in common.

    `average` is a copy of the module whose weights are moving averages.
    """
    weights = trained(module)
    if any(weight.dtype != torch.float32 or not weight.is_contiguous() for weight in weights):
        return None
    large = [weight for weight in weights if weight.numel() >= LARGE]
    copies = 1 + len(STATES) + (average is not None)
    own = sum(padded(weight.numel()) * copies for weight in large)
    sent = sum(padded(weight.numel()) for weight in weights)
    sent += sum(padded(len(table)) for table in tables(module, large))
    found = connect(own + sent * distributed.get_world_size())
    return None if found is None else SharedExchange(module, optimizer, average, *found)


def _square(gradients: list[Tensor | None]) -> Tensor:
    """Return the sum of the squares of gradients, float64 ()."""
    norms = [torch.linalg.vector_norm(grad) for grad in gradients if grad is not None]
    return (
        torch.stack(norms).double().square().sum()
        if norms
        else torch.zeros((), dtype=torch.float64)
    )
