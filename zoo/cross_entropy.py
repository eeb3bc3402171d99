"""The last layer over a large vocabulary together with its loss, without a pass too many."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from zoo.product import precision, product

ELEMENTS = 1 << 21  # of logits that are held in float32 at a time, on a processor


def linear_cross_entropy(
    x: Tensor, weight: Tensor, bias: Tensor, target: Tensor, label_smoothing: float = 0.0
) -> Tensor:
    """Mean cross entropy of `F.linear(x, weight, bias)`, like torch's `F.cross_entropy` of it.

    x (n, size), weight (vocabulary, size), bias (vocabulary,), target (n,) int64. The gradient is
    taken while the probabilities are at hand, and the logits are held in float32 for some rows at
    a time: that is where torch's own functions lose time on a processor. Sums and probabilities
    are float32 (float64 of float64). Zero, with zero gradients, for no rows.
    """
    wanted = torch.is_grad_enabled()
    return _LinearCrossEntropy.apply(x, weight, bias, target, label_smoothing, wanted)


class _LinearCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, target: Tensor, smoothing: float,
        wanted: bool,
    ) -> Tensor:  # fmt: skip
        low = precision(x)
        wide = torch.promote_types(x.dtype, torch.float32)
        narrow, rows, size = weight.to(low), x.to(low), len(weight)
        gradient = rows.new_empty(len(x) if wanted else 0, size)  # of the logits, times len(x)
        total, of_bias = x.new_zeros((), dtype=wide), x.new_zeros(size, dtype=wide)
        count = max(1, ELEMENTS // size) if x.device.type == "cpu" else max(1, len(x))
        with torch.autocast(x.device.type, enabled=False):
            for start in range(0, len(x), count):
                part = slice(start, start + count)
                logits = _logits(rows[part], narrow, bias.to(low)).to(wide)
                loss, derivative = _rows(logits, target[part], smoothing)
                total += loss
                if wanted:
                    of_bias += derivative.sum(0)
                    gradient[part] = derivative
            ctx.count = max(1, len(x))
            if wanted:
                of_x, of_weight = _gradients(gradient, rows, narrow)
                ctx.save_for_backward(of_x, of_weight, of_bias)
        ctx.kinds = x.dtype, weight.dtype, bias.dtype
        return total / ctx.count

    @staticmethod
    def backward(ctx: Any, scale: Tensor) -> tuple:
        if torch.is_grad_enabled():  # torch's once_differentiable would keep silent in a sum
            raise RuntimeError("linear_cross_entropy cannot be differentiated twice")
        scale = scale / ctx.count
        found = zip(ctx.saved_tensors, ctx.kinds, strict=True)
        return (*(grad.to(kind) * scale.to(kind) for grad, kind in found), None, None, None)


def _logits(rows: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    if rows.dtype == torch.float32:  # half of the time, on a processor
        return product(rows, weight, rows.dtype).add_(bias)
    return torch.addmm(bias, rows, weight.t())


def _gradients(gradient: Tensor, rows: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Of the rows and of the weight; the smaller factor is the one that is turned around."""
    if rows.dtype == torch.float32:
        of_rows = product(gradient, weight.t(), rows.dtype)
        return of_rows, product(rows.t(), gradient.t(), rows.dtype).t().contiguous()
    return gradient @ weight, gradient.t() @ rows


def _rows(logits: Tensor, target: Tensor, smoothing: float) -> tuple[Tensor, Tensor]:
    """The sum of the rows' losses, and its derivative by the logits (rows, vocabulary)."""
    target = target.unsqueeze(1)
    probabilities = logits.softmax(1)
    # log of the sum of exp, from the likeliest token and without another pass of exp
    normalizer = logits.amax(1) - probabilities.amax(1).log()
    right = (normalizer - logits.gather(1, target).squeeze(1)).sum()
    one = torch.full_like(target, 1, dtype=logits.dtype)
    if not smoothing:
        return right, probabilities.scatter_add_(1, target, -one)
    evenly = (normalizer - logits.mean(1)).sum()
    probabilities -= smoothing / logits.size(1)
    derivative = probabilities.scatter_add_(1, target, (smoothing - 1) * one)
    return (1 - smoothing) * right + smoothing * evenly, derivative
