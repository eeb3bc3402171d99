"""The bridge from encoder to decoder: the final state of one LSTM or GRU gives another's initial one."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from zoo.nn.output_layer import at_least_float32
from zoo.rnn.stack import State

Init = Literal["h_n_c_n", "h_n", "zero"]
Cell = Literal["lstm", "gru"]


class Bridge(nn.Module):
    """h_n and c_n (layers * directions, batch, hidden) -> h_0 and c_0 (layers, batch, size).

    The decoder's layer l starts from the encoder's layer l. The states of its directions, each of
    which has read the whole row, are concatenated and mapped to the decoder's size:

        h_0[l] = tanh(W_l [h_n[l, forward]; h_n[l, backward]] + b_l)
        c_0[l] =      V_l [c_n[l, forward]; c_n[l, backward]] + d_l

    h_0 needs tanh, because h of an LSTM lies within (-1, 1). c_0 has none, because a cell is not
    bounded. With `init=h_n`, c_0 is zero. With `init=zero`, both are zero. These two are for
    comparison. Sutskever et al. (2014) pass both; Bahdanau et al. (2015) pass a tanh of the state.

    A GRU has no cell: with `cell=gru` there is no c_0, and `init=h_n_c_n` passes h_n, its whole state.
    """

    def __init__(
        self,
        num_layers: int,
        directions: int,
        hidden_size: int,
        size: int,
        init: Init = "h_n_c_n",
        cell: Cell = "lstm",
    ) -> None:
        super().__init__()
        self.num_layers = num_layers
        self.directions = directions
        self.size = size
        self.init = init

        def make_maps(wanted: bool) -> nn.ModuleList:
            count = num_layers if wanted else 0
            return nn.ModuleList(nn.Linear(directions * hidden_size, size) for _ in range(count))

        self.h = make_maps(init != "zero")
        self.c = make_maps(init == "h_n_c_n" and cell == "lstm")

    def forward(self, h_n: Tensor, c_n: Tensor | None = None) -> State:
        """Return the decoder's h_0 and, given c_n, c_0: (layers, batch, size) in float32 or wider."""
        zero = at_least_float32(h_n.new_zeros(self.num_layers, h_n.size(1), self.size))
        h_0 = self._map(self.h, h_n).tanh() if self.h else zero
        if c_n is None:
            return (h_0,)
        c_0 = self._map(self.c, c_n) if self.c else zero
        return h_0, c_0

    def _map(self, maps: nn.ModuleList, last: Tensor) -> Tensor:
        """Map last states (layers * directions, batch, hidden) to (layers, batch, size)."""
        each = last.unflatten(0, (self.num_layers, self.directions))  # (layers, directions, …)
        beside = each.transpose(1, 2).flatten(2)  # (layers, batch, directions * hidden)
        made = torch.stack([m(layer) for m, layer in zip(maps, beside, strict=True)])
        return at_least_float32(made)
