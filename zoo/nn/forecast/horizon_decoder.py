"""HorizonDecoder: an LSTM or a GRU that unrolls over the segments of the future."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from zoo.nn.bridge import Cell
from zoo.rnn.gru.gru import GRU
from zoo.rnn.lstm import LSTM
from zoo.rnn.stack import State

Write = Callable[[Tensor], tuple[Tensor, Tensor]]


class HorizonDecoder(nn.Module):
    """Initial state -> one vector for each future segment: (batch, segments, size).

    Directly, each step reads a learned vector of its place, so that all steps run in one call. With
    `fed` a step reads what was forecast for the segment before it instead. Both also read the
    covariates of their segment that are known ahead.
    """

    def __init__(
        self,
        num_layers: int,
        size: int,
        segments: int,
        known: int,
        fed: int = 0,
        cell: Cell = "lstm",
    ) -> None:
        """`known` and `fed` are the features that a step reads; with `fed` 0 it is direct."""
        super().__init__()
        self.fed = fed
        self.places = None if fed else nn.Parameter(torch.randn(segments, size) * size**-0.5)
        read = (fed or size) + known
        if cell == "gru":
            self.gru = GRU(read, size, num_layers, batch_first=True)
        else:
            self.lstm = LSTM(read, size, num_layers, batch_first=True, forget_bias=1.0)
        self.cell = cell

    @property
    def rnn(self) -> LSTM | GRU:
        """The recurrent layer, whose name in a state dict is that of its kind."""
        return self.gru if self.cell == "gru" else self.lstm

    def forward(self, state: State, known: Tensor | None) -> Tensor:
        """Return vectors (batch, segments, size). known: (batch, segments, features)."""
        assert self.places is not None
        state = self._cast(state)
        places = self.places.expand(state[0].size(1), -1, -1)
        inputs = places if known is None else torch.cat([places, known.to(places.dtype)], -1)
        return self.rnn(inputs, self.rnn.hx_of(state))[0]

    def recursive(
        self, state: State, first: Tensor, known: list[Tensor | None], write: Write
    ) -> Tensor:
        """Write one segment after the other; return what is written, (batch, segments, …).

        first: (batch, fed) is read before the first segment. `write` turns a vector (batch, 1, size)
        into what is written for a segment (batch, 1, …), and what the next step reads (batch, fed).
        """
        state = self._cast(state)
        written = []
        read = first
        for ahead in known:
            inputs = read.to(state[0].dtype).unsqueeze(1)
            if ahead is not None:
                inputs = torch.cat([inputs, ahead.to(inputs.dtype).unsqueeze(1)], -1)
            vector, last = self.rnn(inputs, self.rnn.hx_of(state))
            state = self.rnn.state_of(last)
            segment, read = write(vector)
            written.append(segment)
        return torch.cat(written, 1)

    def _cast(self, state: State) -> State:
        """Return the state in the dtype of the weights, which the recurrent layer takes."""
        kind = next(self.rnn.parameters()).dtype
        return tuple(part.to(kind).contiguous() for part in state)
