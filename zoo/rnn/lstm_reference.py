"""The reference engine: the LSTM one gate at a time, written to be read.

An LSTM carries two tensors from step to step. The cell `c` is a memory that is only scaled and
added to. The hidden state `h` is the part of it that is shown. Four gates read the input and the
last `h`. Three of them are shares from 0 to 1: f keeps a share of the old cell, i lets in a share
of the candidate, o shows a share of the new cell. The fourth, g, is the candidate itself.

Source: Hochreiter & Schmidhuber 1997, with the forget gate of Gers et al. 2000; projection as in
Sak et al. 2014, layer normalisation as in Ba et al. 2016, on each gate and on the cell.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import layer_norm, linear

from zoo.rnn.padding import Padding

EPSILON = 1e-5  # added to the variance in layer normalisation, as in torch


class Weights(NamedTuple):
    """The parameters of one layer and direction, in torch's order of gates: i, f, g, o."""

    w_ih: Tensor  # (4 * hidden, input)
    w_hh: Tensor  # (4 * hidden, size); size is proj_size or hidden
    b_ih: Tensor | None  # (4 * hidden,)
    b_hh: Tensor | None
    w_hr: Tensor | None  # (proj_size, hidden)
    scale: Tensor | None  # (5, hidden): layer norms of i, f, g, o and the cell
    shift: Tensor | None  # (5, hidden)


class Gates(NamedTuple):
    """The gates and the cell: i, f and o from 0 to 1, g from -1 to 1."""

    i: Tensor
    f: Tensor
    g: Tensor
    o: Tensor
    c: Tensor


def step(x: Tensor, h: Tensor, c: Tensor, weights: Weights) -> tuple[Tensor, Gates]:
    """Run one step of one layer.

    x (batch, input), h (batch, size), c (batch, hidden) -> the new h, and the gates with the new c.
    """

    def product(gate: int) -> Tensor:  # W_i x + b_i + W_h h + b_h, one gate's share of the rows
        rows = slice(gate * c.size(1), (gate + 1) * c.size(1))
        b_ih = None if weights.b_ih is None else weights.b_ih[rows]
        b_hh = None if weights.b_hh is None else weights.b_hh[rows]
        read = linear(x, weights.w_ih[rows], b_ih) + linear(h, weights.w_hh[rows], b_hh)
        return norm(read, gate)

    def norm(
        values: Tensor, which: int
    ) -> Tensor:  # (batch, hidden); the identity without layer norm
        if weights.scale is None or weights.shift is None:
            return values
        scale, shift = weights.scale[which], weights.shift[which]
        return layer_norm(values, values.shape[1:], scale, shift, EPSILON)

    # f = σ(W_f [x, h] + b_f): how much of each old cell is kept
    f = torch.sigmoid(product(1))
    # i = σ(W_i [x, h] + b_i): how much of the candidate is let in
    i = torch.sigmoid(product(0))
    # g = tanh(W_g [x, h] + b_g): the candidate, what could be remembered of this step
    g = torch.tanh(product(2))
    # c' = f ⊙ c + i ⊙ g: the memory; no weight matrix stands between c and c'
    c = f * c + i * g
    # o = σ(W_o [x, h] + b_o): how much of each cell is shown
    o = torch.sigmoid(product(3))
    # h' = o ⊙ tanh(c'): what is shown, to the next layer and to the next step
    h = o * torch.tanh(norm(c, 4))
    if weights.w_hr is not None:  # h' = W_r h': shown in fewer numbers
        h = linear(h, weights.w_hr)
    return h, Gates(i, f, g, o, c)


def run(
    x: Tensor,
    state: tuple[Tensor, Tensor],
    weights: Weights,
    padding: Padding | None,
    reverse: bool,
) -> tuple[Tensor, Tensor, Tensor, list[Gates]]:
    """Run all steps of one layer and direction.

    x: (time, batch, input); state: h_0 (batch, size) and c_0 (batch, hidden). Returns h of every
    step (time, batch, size), the last h and c, and the gates of every step. On padding, h and c
    keep their values. So a row's last state is that of its last real step. In `reverse`, its last
    real step is read first, from the initial state.
    """
    h, c = state
    shown: dict[int, Tensor] = {}
    gates: dict[int, Gates] = {}
    for t in reversed(range(len(x))) if reverse else range(len(x)):
        new, inside = step(x[t], h, c, weights)
        if padding is None:
            h, c = new, inside.c
        else:
            h = torch.where(padding.mask[t], h, new)
            c = torch.where(padding.mask[t], c, inside.c)
        shown[t], gates[t] = h, inside
    order = range(len(x))
    output = torch.stack([shown[t] for t in order]) if shown else x.new_empty(0, *h.shape)
    return output, h, c, [gates[t] for t in order]
