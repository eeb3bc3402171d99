"""Quantise weights for storage: half precision, or int8 matrices with a scale for each row.

    fp32    the trained weights
    fp16    half precision: two bytes per weight
    int8    matrices with one byte per weight: row / scale, rounded to -127 … 127; the scale of a
            row is its largest absolute weight / 127 (`NAME.scale`); other tensors are fp16

The tensors' dtypes tell the format of a file. Loaded weights are float32 again.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor

Form = Literal["fp32", "fp16", "int8"]
LARGEST = 127
SCALE = ".scale"  # suffix of the name of a matrix's scales


def pack(weights: Mapping[str, Tensor], form: Form) -> dict[str, Tensor]:
    """Return the tensors to store for `weights` in the format `form`."""
    packed: dict[str, Tensor] = {}
    for name, weight in weights.items():
        weight = weight.detach().cpu().contiguous()
        if form == "int8" and weight.dim() == 2 and weight.is_floating_point():
            largest = weight.float().abs().amax(1)  # (rows,)
            scale = (largest / LARGEST).clamp(min=torch.finfo(torch.float32).tiny)
            rounded = (weight.float() / scale[:, None]).round()
            packed[name] = rounded.to(torch.int8)
            packed[name + SCALE] = scale
        else:
            half = form != "fp32" and weight.dtype == torch.float32
            packed[name] = weight.half() if half else weight
    return packed


def unpack(packed: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return float32 weights for a module whose state is `wanted`.

    Missing and unexpected names are left for `load_state_dict` to report. Raises ValueError for a
    tensor in any other storage format, or with values that are not finite.
    """
    scales = {name + SCALE for name in wanted if name + SCALE in packed}
    weights = {}
    for name, weight in packed.items():
        if name in scales:
            continue
        like = wanted.get(name)
        scale = packed[name + SCALE] if name + SCALE in scales else None
        if like is not None and (like.dtype == torch.float32 or scale is not None):
            weight = _dequantize(name, weight, scale)
        if like is not None and (weight.dtype != like.dtype or not weight.isfinite().all()):
            raise ValueError(f"{name}: {weight.dtype}, or not finite; wanted is {like.dtype}")
        weights[name] = weight
    return weights


def _dequantize(name: str, weight: Tensor, scale: Tensor | None) -> Tensor:
    if scale is None:
        return weight.float() if weight.dtype == torch.float16 else weight
    rows = weight.shape[:1] if weight.dim() == 2 else None
    if weight.dtype != torch.int8 or scale.dtype != torch.float32 or scale.shape != rows:
        raise ValueError(f"{name}: a scale belongs to each row of an int8 matrix")
    return weight.float() * scale[:, None]
