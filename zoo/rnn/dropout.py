"""Dropout masks, drawn outside the fused kernels so that a seed repeats them bit by bit."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

STEPS = 1 << 16  # 16 random bits an element: p is rounded to a multiple of 1/65536


def dropout(x: Tensor, p: float, training: bool = True) -> Tensor:
    """In training, zero elements of x with probability `p` and scale the others by 1 / (1 - p)."""
    return x * mask(x, x.shape, p) if training and p else x


def locked_dropout(x: Tensor, p: float, training: bool = True) -> Tensor:
    """Apply locked (variational) dropout (Gal & Ghahramani 2016) to x (time, batch, size).

    In training, a row loses the same features at all its steps.
    """
    return x * mask(x, (1, *x.shape[1:]), p) if training and p else x


def types(vectors: Tensor, ids: Tensor, table: Tensor, p: float, training: bool = True) -> Tensor:
    """Apply embedding dropout (Gal & Ghahramani 2016) to vectors (batch, time, size).

    The vectors are the rows of `table` (vocabulary, size) at ids (batch, time). In training, each
    row of the table is dropped with probability `p`, at all its occurrences in the batch.
    """
    return vectors * mask(table, (len(table), 1), p)[ids] if training and p else vectors


def mask(like: Tensor, shape: tuple[int, ...], p: float) -> Tensor:
    """Draw a mask of `shape`: 0 with probability `p`, else 1 / (1 - p).

    The mask has the dtype and the device of `like`. On a CPU, torch draws each element separately
    (measured: 10 ns an element). For the recurrent weights or a layer's output that can take
    longer than the LSTM. Here one draw of 64 bits serves four elements, in an eighth of the time.
    """
    if like.device.type != "cpu":
        return F.dropout(like.new_ones(shape), p)
    zeros = round(p * STEPS)
    if zeros == STEPS:
        return like.new_zeros(shape)
    count = math.prod(shape)
    draws = torch.empty(-(-count // 4), dtype=torch.int64).random_(-(1 << 63), None)
    bits = draws.view(torch.int16)[:count].view(shape)  # from -STEPS / 2 to STEPS / 2 - 1
    kept = bits >= zeros - STEPS // 2
    return kept.to(like.dtype).mul_(STEPS / (STEPS - zeros))
