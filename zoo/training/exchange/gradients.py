"""The sum of the gradients of several processes, sent while the backward pass still runs.

torch's DistributedDataParallel sends the whole gradient of an embedding, which is nearly all zeros.
It also needs the number of targets of all processes before the backward pass. Here one exchange
behind it carries these numbers and, of an embedding, the rows that have a gradient.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, distributed, nn
from torch.optim import Optimizer

BUCKET = 1 << 18  # gradient values that are sent together: 1 MB
RARE = 0.5  # the share of an embedding's rows up to which only rows with a gradient are sent
DENSE_STEPS = 64  # steps in which an embedding is sent whole, after more rows had a gradient


class GradientExchange:
    """Sums the gradients of a module over the processes of `torch.distributed`.

    In a step each process runs its backward pass inside `sending`, then calls `receive` and `clip`.
    Afterwards the gradients have the same bits in every process. Nothing of it stays on the module.

        with exchange.sending():
            (loss * targets).backward()
        total, = exchange.receive(targets)
        norm = exchange.clip(1.0, 1 / total)
        exchange.update(optimizer)
    """

    def __init__(self, module: nn.Module) -> None:
        """Give all processes the weights and buffers of process 0."""
        self.rank, self.world = distributed.get_rank(), distributed.get_world_size()
        for tensor in module.state_dict().values():
            sent = tensor.contiguous()
            distributed.broadcast(sent, 0)
            tensor.copy_(sent)
        self.weights = trained(module)
        self.tables = [
            table for table in tables(module, self.weights) if table.dtype == torch.float32
        ]
        self._dense_steps = dict.fromkeys(self.tables, 0)
        self._plan()

    @contextmanager
    def sending(self) -> Iterator[None]:
        """Send gradients as soon as they are there: run the backward pass inside."""
        self._plan()
        hooks = [
            weight.register_post_accumulate_grad_hook(self._arrived)
            for bucket in self.buckets
            for weight in bucket
        ]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()

    def receive(self, *counts: int) -> list[int]:
        """Wait until each weight's gradient is the sum of all processes.

        Returns the sums of `counts` over the processes. A weight without a gradient in all of them
        has none afterwards, as in one process.
        """
        there = [int(weight.grad is not None) for weight in self.weights]
        while self._sent < len(self.buckets):
            self._send()
        rows = [_rows_with_gradient(table) for table in self._sparse]
        own = torch.tensor([*counts, *there, *map(len, rows)])
        told = own.new_empty(self.world, len(own))
        distributed.all_gather([*told], own)
        sums = told[:, : len(own) - len(rows)].sum(0).tolist()
        self._gather_rows(rows, told[:, len(own) - len(rows) :])
        for bucket, flat, work in self._underway:
            work.wait()
            if flat is not None:
                _unflatten(flat, bucket)
        for weight, holders in zip(self.weights, sums[len(counts) :], strict=True):
            if not holders:
                weight.grad = None
        return sums[: len(counts)]

    def clip(self, most: float, scale: float) -> Tensor:
        """Scale the gradients, then clip their norm to at most `most`; returns the scaled norm ().

        Only the rows of an embedding that have a gradient are read and written.
        """
        parts = []
        for weight in self.weights:
            grad = weight.grad
            if grad is not None:
                rows = self._rows.get(weight)
                parts.append(grad if rows is None else grad.index_select(0, rows))
        norms = [torch.linalg.vector_norm(part) for part in parts]
        norm = torch.linalg.vector_norm(torch.stack(norms)) * scale if norms else torch.zeros(())
        factor = scale * torch.clamp(most / (norm + 1e-6), max=1.0)  # as torch's clip_grad_norm_
        for weight in self.weights:
            if weight.grad is None:
                continue
            rows = self._rows.get(weight)
            if rows is None:
                weight.grad.mul_(factor)
            else:
                weight.grad.index_copy_(0, rows, weight.grad.index_select(0, rows) * factor)
        return norm

    def adopt(self, optimizer: Optimizer) -> None:
        """Take over the state of an optimizer. Here each process keeps its own."""

    def update(self, optimizer: Optimizer) -> None:
        """Update the weights."""
        optimizer.step()

    def own(self, values: Sequence[Tensor], current: Sequence[Tensor]) -> Sequence[Tensor]:
        """Return the values like weights that this process keeps: all."""
        return values

    def release(self) -> None:
        """End the exchange. Nothing is shared here."""

    def _plan(self) -> None:
        """Sort the weights into buckets, in about the order in which their gradients come."""
        self._sparse = [table for table in self.tables if not self._dense_steps[table]]
        for table, steps in self._dense_steps.items():
            self._dense_steps[table] = max(0, steps - 1)
        self.buckets: list[list[nn.Parameter]] = []
        alone = {*self._sparse}
        room = 0
        for weight in reversed(self.weights):
            if weight in alone:
                continue
            if weight.numel() > room:
                self.buckets.append([])
                room = BUCKET
            self.buckets[-1].append(weight)
            room -= weight.numel()
        self._bucket_of = {
            weight: number for number, bucket in enumerate(self.buckets) for weight in bucket
        }
        self._missing = [len(bucket) for bucket in self.buckets]
        self._sent = 0
        self._underway: list[tuple[list[nn.Parameter], Tensor | None, distributed.Work]] = []
        self._rows: dict[nn.Parameter, Tensor] = {}

    def _arrived(self, weight: Tensor) -> None:
        """Note the gradient of a weight, and send the buckets that are complete.

        All processes send them in the same order.
        """
        self._missing[self._bucket_of[weight]] -= 1  # type: ignore[index]
        while self._sent < len(self.buckets) and not self._missing[self._sent]:
            self._send()

    def _send(self) -> None:
        """Send the next bucket; a missing gradient is zero."""
        bucket = self.buckets[self._sent]
        self._sent += 1
        for weight in bucket:
            if weight.grad is None:
                weight.grad = torch.zeros_like(weight)
        flat = None
        if len(bucket) > 1 or not bucket[0].grad.is_contiguous():  # type: ignore[union-attr]
            flat = torch.cat([weight.grad.reshape(-1) for weight in bucket])  # type: ignore[union-attr]
        sent = bucket[0].grad if flat is None else flat
        work = distributed.all_reduce(sent, async_op=True)
        assert work is not None
        self._underway.append((bucket, flat, work))

    def _gather_rows(self, rows: Sequence[Tensor], counts: Tensor) -> None:
        """Sum the gradients of the embeddings. `counts` (processes, tables) are their rows."""
        sent = []
        for table, own, column in zip(self._sparse, rows, counts.T.tolist(), strict=True):
            most = max(column)
            if table.grad is None:
                table.grad = torch.zeros_like(table)
            if not most:
                self._rows[table] = own
            elif most > RARE * len(table):
                self._dense_steps[table] = DENSE_STEPS
                work = distributed.all_reduce(table.grad, async_op=True)
                assert work is not None
                self._underway.append(([table], None, work))
            else:
                sent.append((table, own, column))
        if not sent:
            return
        message = torch.cat([_packed(table, own, max(column)) for table, own, column in sent])
        every = message.new_empty(self.world, len(message))
        distributed.all_gather([*every], message)
        at = 0
        for table, own, column in sent:
            size = max(column) * (table.size(1) + 1)
            self._rows[table] = _sum_rows(table, own, every[:, at : at + size], column)
            at += size


def trained(module: nn.Module) -> list[nn.Parameter]:
    """Return the weights that are trained."""
    return [weight for weight in module.parameters() if weight.requires_grad]


def tables(module: nn.Module, weights: Sequence[nn.Parameter]) -> list[nn.Parameter]:
    """Return those of the weights that are the vectors of an embedding."""
    vectors = {each.weight for each in module.modules() if isinstance(each, nn.Embedding)}
    return [weight for weight in weights if weight in vectors]


def _rows_with_gradient(table: nn.Parameter) -> Tensor:
    """Return the numbers of the rows of a table whose gradient is not zero, int64."""
    if table.grad is None:
        return torch.empty(0, dtype=torch.int64)
    changed = (table.grad.amax(1) != 0) | (table.grad.amin(1) != 0)  # NaN is not zero
    return changed.nonzero().squeeze(1)


def _packed(table: nn.Parameter, rows: Tensor, most: int) -> Tensor:
    """Return rows of a gradient with their numbers, padded to `most` rows, as one vector."""
    assert table.grad is not None
    packed = table.grad.new_zeros(most, table.size(1) + 1)
    packed[: len(rows), :-1] = table.grad.index_select(0, rows)
    packed[: len(rows), -1] = rows.int().view(torch.float32)  # the bits of a number
    return packed.view(-1)


def _sum_rows(table: nn.Parameter, own: Tensor, every: Tensor, counts: Sequence[int]) -> Tensor:
    """Add up the packed rows of all processes in a table's gradient; returns their numbers.

    They are added in the order of the processes, so that the bits are the same everywhere.
    """
    grad = table.grad
    assert grad is not None
    grad.index_fill_(0, own, 0.0)
    numbers = []
    for packed, count in zip(every, counts, strict=True):
        packed = packed.view(-1, table.size(1) + 1)[:count]
        rows = packed[:, -1].contiguous().view(torch.int32).long()
        grad.index_add_(0, rows, packed[:, :-1])
        numbers.append(rows)
    return torch.cat(numbers).unique()


def _unflatten(flat: Tensor, bucket: Sequence[nn.Parameter]) -> None:
    """Make the parts of `flat` the gradients of the bucket's weights."""
    at = 0
    for weight in bucket:
        weight.grad = flat[at : at + weight.numel()].view_as(weight)
        at += weight.numel()
