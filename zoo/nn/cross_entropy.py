"""The output layer over a large vocabulary fused with its loss.

Over 33,000 words a step's logits are hundreds of times as large as the vector they come from. So
the number of passes over them decides the time. The derivative by the logits is

    P - (1 - smoothing) * onehot(target) - smoothing / vocabulary,   P = E / sum(E), E = exp(logits)

All terms but E have low rank. So only E is stored, in 16 bits if the products are in 16 bits. It
enters the two products of the backward. The other terms, and the division by sum(E), are applied
to the small factors of these products.
"""

from __future__ import annotations

import threading
from typing import Any

import torch
from torch import Tensor

from zoo.rnn.matmul import PackedWeight, compute_dtype, matmul

ELEMENTS = 1 << 22  # the most logits held at a time on a CPU
KEPT = 1 << 27  # bytes; a larger E is allocated anew each time


def linear_cross_entropy(
    x: Tensor, weight: Tensor, bias: Tensor, target: Tensor, label_smoothing: float = 0.0
) -> Tensor:
    """Return the mean cross entropy of `F.linear(x, weight, bias)`, as `F.cross_entropy` does.

    x (n, size), weight (vocabulary, size), bias (vocabulary,), target (n,) int64. Products are
    computed in the precision of the enclosing autocast, sums in float32 (float64 for float64 x).
    Without rows the loss and its gradients are zero. A second derivative raises RuntimeError.
    """
    wanted = torch.is_grad_enabled()
    return _LinearCrossEntropy.apply(x, weight, bias, target, label_smoothing, wanted)


@torch.no_grad()
def linear_losses(x: Tensor, weight: Tensor, bias: Tensor, target: Tensor) -> Tensor:
    """Return the cross entropy of each row (n,), without gradient."""
    low = compute_dtype(x)
    wide = torch.promote_types(x.dtype, torch.float32)
    with torch.autocast(x.device.type, enabled=False):
        _, sums, tops = _powers(x.to(low), weight.to(low), bias.to(low), wide, keep=False)
        return sums.log() + tops - _hits(x.to(wide), weight, bias, target)


class _LinearCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor,
        target: Tensor,
        smoothing: float,
        wanted: bool,
    ) -> Tensor:
        low = compute_dtype(x)
        count = max(1, len(x))
        wide = torch.promote_types(x.dtype, torch.float32)
        ctx.kinds = x.dtype, weight.dtype, bias.dtype
        with torch.autocast(x.device.type, enabled=False):
            rows, narrow = x.to(low), weight.to(low)
            powers, sums, tops = _powers(rows, narrow, bias.to(low), wide, wanted)
            x = x.to(wide)
            hits = _hits(x, weight, bias, target)
            loss = (sums.log() + tops - (1 - smoothing) * hits).sum()
            if smoothing:
                loss -= smoothing * (x @ weight.to(wide).mean(0) + bias.to(wide).mean()).sum()
            if wanted:
                share = smoothing / len(weight), (1 - smoothing)
                found = _gradients(powers, sums, rows, narrow, target, share, count)
                kinds = zip(found, ctx.kinds, strict=True)
                ctx.save_for_backward(*(grad.to(kind) for grad, kind in kinds))
        return loss / count

    @staticmethod
    def backward(ctx: Any, scale: Tensor) -> tuple:
        if torch.is_grad_enabled():  # torch's once_differentiable would keep silent in a sum
            raise RuntimeError("linear_cross_entropy cannot be differentiated twice")
        found = ctx.saved_tensors
        if scale.device.type != "cpu" or float(scale) != 1:
            found = tuple(grad * scale.to(grad.dtype) for grad in found)
        return *found, None, None, None


def _powers(
    rows: Tensor, weight: Tensor, bias: Tensor, wide: torch.dtype, keep: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """Return exp(logits - top) (n, vocabulary), its sums (n,) and the tops (n,).

    The top is a row's highest logit. Without `keep`, the first result holds only the last rows.
    """
    count = len(rows)
    size = len(weight)
    some = max(1, ELEMENTS // size) if rows.device.type == "cpu" else max(1, count)
    factor = PackedWeight(weight, rows.dtype) if count > some else None  # once for several products
    kept = _scratch(rows, count if keep else min(some, count), size)
    sums, tops = (rows.new_empty(count, dtype=wide) for _ in range(2))
    for start in range(0, count, some):
        part = slice(start, min(start + some, count))
        powers = kept[part] if keep else kept[: part.stop - start]
        logits = _logits(rows[part], weight, bias, factor)
        top = logits.amax(1, keepdim=True)
        tops[part] = top.squeeze(1)
        torch.exp(logits.sub_(top), out=powers)
        torch.sum(powers, 1, dtype=wide, out=sums[part])
    return kept, sums, tops


def _hits(x: Tensor, weight: Tensor, bias: Tensor, target: Tensor) -> Tensor:
    """Return the targets' logits (n,), in the precision of x."""
    return (x * weight[target].to(x)).sum(1) + bias[target].to(x)


def _logits(rows: Tensor, weight: Tensor, bias: Tensor, factor: PackedWeight | None) -> Tensor:
    """Return the logits of rows, a new tensor (rows, vocabulary)."""
    if factor is None:
        return matmul(rows, weight, rows.dtype).add_(bias)
    return factor(rows, bias)


def _gradients(
    powers: Tensor,
    sums: Tensor,
    rows: Tensor,
    weight: Tensor,
    target: Tensor,
    share: tuple[float, float],
    count: int,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the gradients of x, weight and bias, divided by `count`.

    `share` is the target probability that smoothing gives to every token, and the rest, which the
    target gets in addition.
    """
    every, right = share
    wide = sums.dtype
    part = (1 / (sums * count)).unsqueeze(1)  # (n, 1): the factor from E to P / count
    of_rows = matmul(powers, weight.t(), rows.dtype).to(wide) * part
    of_rows -= weight[target].to(wide) * (right / count)
    given = torch.cat([rows.to(wide) * part, part], 1)  # (n, size + 1)
    lift = _lift(given, rows.dtype)
    given = (given if lift is None else given * lift).to(rows.dtype)
    if rows.dtype == torch.float32:  # oneDNN transposes the second factor: here the smaller one
        made = matmul(given.t(), powers.t(), rows.dtype).t()
    else:
        made = powers.t() @ given  # (vocabulary, size + 1)
    of_weight, of_bias = made[:, :-1].to(wide).contiguous(), made[:, -1].to(wide)
    if lift is not None:
        of_weight, of_bias = of_weight / lift, of_bias / lift
    of_weight.index_add_(0, target, rows.to(wide), alpha=-right / count)
    of_bias.index_add_(0, target, torch.ones_like(sums), alpha=-right / count)
    if every:
        of_rows -= weight.to(wide).sum(0) * (every / count)
        of_weight -= rows.to(wide).sum(0) * (every / count)
        of_bias -= every * len(rows) / count
    return of_rows, of_weight, of_bias


def _lift(given: Tensor, low: torch.dtype) -> Tensor | None:
    """Return the factor that scales `given` (n, size) before the cast to `low`; None for none.

    float16 has no numbers below 6e-8, and over 33,000 words these values are smaller. The factor
    is so large that a sum of n of them just cannot overflow.
    """
    if low != torch.float16 or not given.numel():
        return None
    return (1 << 15) / (given.abs().amax() * len(given))


class _Kept(threading.local):
    """Memory that one thread keeps for its next call, by dtype."""

    def __init__(self) -> None:
        self.memory: dict[torch.dtype, Tensor] = {}


_kept = _Kept()


def _scratch(like: Tensor, rows: int, size: int) -> Tensor:
    """Return uninitialised memory (rows, size) for this call.

    On a CPU later calls of the same thread reuse it, because first touching new pages takes longer
    than the product that fills them.
    """
    elements = rows * size
    if like.device.type != "cpu" or elements * like.itemsize > KEPT:
        return like.new_empty(rows, size)
    memory = _kept.memory.get(like.dtype)
    if memory is None or memory.numel() < elements:
        memory = _kept.memory[like.dtype] = like.new_empty(elements)
    return memory[:elements].view(rows, size)
