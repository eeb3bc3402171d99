"""The matrix product of the recurrence, and its precision."""

from __future__ import annotations

import torch
from torch import Tensor

from zoo import torch_private

LARGEST = 127  # of an int8, without the one that has no counterpart
MIDDLE = 128  # zero among uint8


def compute_dtype(x: Tensor) -> torch.dtype:
    """Return the precision of products of x: that of the enclosing autocast, else its own."""
    kind = x.device.type
    if torch.is_autocast_enabled(kind) and x.dtype != torch.float64:
        return torch.get_autocast_dtype(kind)
    return x.dtype


def matmul(rows: Tensor, weight: Tensor, low: torch.dtype) -> Tensor:
    """Return rows @ weight.T, computed in precision `low`, in the dtype of `rows`.

    In fp32 on a CPU, oneDNN computes it, as in the fused kernel. On some CPUs that is twice as
    fast as the routine behind torch.mm.
    """
    if not rows.numel():
        return rows.new_zeros(len(rows), len(weight))
    if low == torch.float32 and _takes_onednn(weight, low) and weight.numel():
        return torch_private.onednn_linear(rows, weight, None)
    return torch.mm(rows.to(low), weight.t().to(low)).to(rows.dtype)


class PackedWeight:
    """`matmul` with one weight, reordered into the kernel's layout once for many calls."""

    def __init__(self, weight: Tensor, low: torch.dtype) -> None:
        self.low = low
        self.wide = weight.dtype
        self.weight = weight.to(low).t()
        self.packed = None
        if _takes_onednn(weight, low) and weight.numel():
            self.packed = torch_private.onednn_weight(weight.to(low).contiguous())

    def __call__(self, rows: Tensor, bias: Tensor | None = None) -> Tensor:
        """Return rows @ weight.T + bias, a new tensor. The bias (size,) is in precision `low`."""
        rows = rows.to(self.low)
        if self.packed is None or not len(rows):
            made = torch.mm(rows, self.weight)
            return (made if bias is None else made.add_(bias)).to(self.wide)
        made = torch_private.onednn_linear(rows, self.packed, bias)
        return made.to(self.wide)


class QuantizedWeight:
    """A product of one row with an int8 weight on a CPU, which reads a quarter of float32's bytes.

    Each row of the weight has a scale; the row that it is multiplied with gets one at each call.
    """

    def __init__(self, weight: Tensor) -> None:
        """weight: (rows, size). Raises RuntimeError where the CPU or torch has no int8 product."""
        if weight.device.type != "cpu" or not torch_private.has_onednn_int8():
            raise RuntimeError("this processor has no int8 products")
        wide = weight.float()
        self.scales = (wide.abs().amax(1) / LARGEST).clamp(min=torch.finfo(torch.float32).tiny)
        small = (wide / self.scales.unsqueeze(1)).round().to(torch.int8)
        self.packed = torch_private.onednn_int8_weight(small)
        self.zeros = torch.zeros(len(weight), dtype=torch.int64)

    def __call__(self, row: Tensor, bias: Tensor | None = None) -> Tensor:
        """Return row @ weight.T + bias, float32, from a row (…, size). The bias is float32."""
        scale = max(float(row.abs().max()) / LARGEST, torch.finfo(torch.float32).tiny)
        small = (row.float() / scale).round_().add_(MIDDLE).to(torch.uint8)
        made = torch_private.onednn_int8_linear(
            small.view(1, -1), scale, MIDDLE, self.packed, self.scales, self.zeros, bias
        )
        return made.view(*row.shape[:-1], -1)


def _takes_onednn(weight: Tensor, low: torch.dtype) -> bool:
    known = low in (torch.float32, torch.bfloat16)
    return weight.device.type == "cpu" and known and torch_private.has_onednn_linear()
