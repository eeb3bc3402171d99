"""The matrix product of the recurrence, and its precision."""

from __future__ import annotations

import torch
from torch import Tensor

from zoo import torch_private


def compute_dtype(x: Tensor) -> torch.dtype:
    """What products of x are taken in: its own precision, or that of the autocast around."""
    kind = x.device.type
    if torch.is_autocast_enabled(kind) and x.dtype != torch.float64:
        return torch.get_autocast_dtype(kind)
    return x.dtype


def matmul(rows: Tensor, weight: Tensor, low: torch.dtype) -> Tensor:
    """rows @ weight.T, taken in precision `low`.

    In fp32 on a processor it is oneDNN's, as in the fused kernel: on some processors that is twice
    as fast as what torch calls for a matrix product.
    """
    if not rows.numel():
        return rows.new_zeros(len(rows), len(weight))
    if low == torch.float32 and _takes_onednn(weight, low) and weight.numel():
        return torch_private.onednn_linear(rows, weight, None)
    return torch.mm(rows.to(low), weight.t().to(low)).to(rows.dtype)


class PackedWeight:
    """`product` with one weight, brought into the kernel's own layout once for many calls."""

    def __init__(self, weight: Tensor, low: torch.dtype) -> None:
        self.low, self.wide = low, weight.dtype
        self.weight, self.packed = weight.to(low).t(), None
        if _takes_onednn(weight, low) and weight.numel():
            self.packed = torch_private.onednn_weight(weight.to(low).contiguous())

    def __call__(self, rows: Tensor, bias: Tensor | None = None) -> Tensor:
        """rows @ weight.T + bias, a new tensor; the bias (size,) is in precision `low`."""
        rows = rows.to(self.low)
        if self.packed is None or not len(rows):
            made = torch.mm(rows, self.weight)
            return (made if bias is None else made.add_(bias)).to(self.wide)
        made = torch_private.onednn_linear(rows, self.packed, bias)
        return made.to(self.wide)


def _takes_onednn(weight: Tensor, low: torch.dtype) -> bool:
    known = low in (torch.float32, torch.bfloat16)
    return weight.device.type == "cpu" and known and torch_private.has_onednn_linear()
