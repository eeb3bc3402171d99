"""The reference engine of the GRU: one gate at a time, written to be read.

A GRU carries one tensor from step to step, `h`, which is both its memory and what it shows. There
is no cell, so there is no `c_n`. Two gates are shares from 0 to 1: r, the reset gate, decides how
much of the last `h` the candidate reads; z, the update gate, decides how much of the last `h` is
kept. The third, n, is the candidate, called "new". An LSTM has two gates where a GRU has z alone:
what is let in is exactly what is given up.

Source: Cho et al. 2014. In torch's variant, which cuDNN computes, r multiplies the product W_hn h
with its bias, after the matrix; in Cho et al. it multiplies h before it. The gates are independent
of each other in both, and torch's can be computed with one matrix product a step.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import linear

from zoo.rnn.lstm_reference import Weights
from zoo.rnn.padding import Padding


class Gates(NamedTuple):
    """The gates and h: r and z from 0 to 1, n and h from -1 to 1."""

    r: Tensor
    z: Tensor
    n: Tensor
    h: Tensor


def step(x: Tensor, h: Tensor, weights: Weights) -> Gates:
    """Run one step of one layer: x (batch, input), h (batch, hidden) -> the gates, the new h last.

    The weights are in torch's order of gates: r, z, n.
    """

    def rows_of(gate: int) -> slice:
        return slice(gate * h.size(1), (gate + 1) * h.size(1))

    def from_x(gate: int) -> Tensor:  # W_i x + b_i, one gate's share of the rows
        rows = rows_of(gate)
        return linear(x, weights.w_ih[rows], None if weights.b_ih is None else weights.b_ih[rows])

    def from_h(gate: int) -> Tensor:  # W_h h + b_h
        rows = rows_of(gate)
        return linear(h, weights.w_hh[rows], None if weights.b_hh is None else weights.b_hh[rows])

    # r = σ(W_ir x + b_ir + W_hr h + b_hr): how much of the last h the candidate reads
    r = torch.sigmoid(from_x(0) + from_h(0))
    # z = σ(W_iz x + b_iz + W_hz h + b_hz): how much of the last h is kept
    z = torch.sigmoid(from_x(1) + from_h(1))
    # n = tanh(W_in x + b_in + r ⊙ (W_hn h + b_hn)): the candidate; b_hn is reset, too
    n = torch.tanh(from_x(2) + r * from_h(2))
    # h' = (1 - z) ⊙ n + z ⊙ h: between the candidate and the last h
    h = (1 - z) * n + z * h
    return Gates(r, z, n, h)


def run(
    x: Tensor, h_0: Tensor, weights: Weights, padding: Padding | None, reverse: bool
) -> tuple[Tensor, Tensor, list[Gates]]:
    """Run all steps of one layer and direction.

    x: (time, batch, input); h_0: (batch, hidden). Returns h of every step (time, batch, hidden),
    the last h, and the gates of every step. On padding, h keeps its value. In `reverse`, a row's
    last real step is read first, from the initial state.
    """
    h = h_0
    gates: dict[int, Gates] = {}
    for t in reversed(range(len(x))) if reverse else range(len(x)):
        inside = step(x[t], h, weights)
        h = inside.h if padding is None else torch.where(padding.mask[t], h, inside.h)
        gates[t] = inside._replace(h=h)
    order = [gates[t] for t in range(len(x))]
    output = torch.stack([each.h for each in order]) if order else x.new_empty(0, *h.shape)
    return output, h, order
