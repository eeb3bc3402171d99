"""Dropout masks, drawn outside the fused kernels so that a seed repeats them bit by bit."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

STEPS = 1 << 16  # a share is met to 1/65536: 16 random bits an element


def dropout(x: Tensor, p: float, training: bool = True) -> Tensor:
    """x with `share` of its elements at zero and the others scaled up, in training."""
    return x * mask(x, x.shape, p) if training and p else x


def locked_dropout(x: Tensor, p: float, training: bool = True) -> Tensor:
    """x (time, batch, size), the same features of a row at zero in all its steps (locked or
    variational dropout, Gal & Ghahramani 2016), in training."""
    return x * mask(x, (1, *x.shape[1:]), p) if training and p else x


def types(vectors: Tensor, ids: Tensor, table: Tensor, p: float, training: bool = True) -> Tensor:
    """Vectors (batch, time, size) of ids (batch, time) with `share` of the rows of their table
    (vocabulary, size) at zero, wherever these occur (embedding dropout, Gal & Ghahramani 2016), in
    training."""
    return vectors * mask(table, (len(table), 1), p)[ids] if training and p else vectors


def mask(like: Tensor, shape: tuple[int, ...], p: float) -> Tensor:
    """Zeros, `share` of them, and 1 / (1 - share), of the dtype and on the device of `like`.

    On a processor torch draws each element from the generator for itself, which for the recurrent
    weights or a layer's output can take longer than the LSTM (measured: 10 ns an element). Here one
    draw of 64 bits serves four elements, in an eighth of the time.
    """
    if like.device.type != "cpu":
        return F.dropout(like.new_ones(shape), p)
    zeros = round(p * STEPS)
    if zeros == STEPS:
        return like.new_zeros(shape)
    count = math.prod(shape)
    words = torch.empty(-(-count // 4), dtype=torch.int64).random_(-(1 << 63), None)
    bits = words.view(torch.int16)[:count].view(shape)  # from -STEPS / 2 to STEPS / 2 - 1
    kept = bits >= zeros - STEPS // 2
    return kept.to(like.dtype).mul_(STEPS / (STEPS - zeros))
