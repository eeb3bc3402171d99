"""The engines: three ways to the same results, for one layer and direction at a time."""

from __future__ import annotations

from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor

from zoo.rnn import lstm_fused, lstm_hoisted, lstm_reference
from zoo.rnn.lstm_reference import Gates, Weights
from zoo.rnn.matmul import precision
from zoo.rnn.padding import Padding

Engine = Literal["auto", "torch", "hoisted", "reference"]
NAMES = get_args(Engine)


class Result(NamedTuple):
    """Of one layer and direction."""

    output: Tensor  # (time, batch, size)
    h: Tensor  # (batch, size)
    c: Tensor  # (batch, hidden)
    gates: Gates | None = None  # each (time, batch, hidden)


def choose(engine: str, layer_norm: bool) -> str:
    """The engine that runs: `auto` is the fused kernel wherever that computes the function."""
    if engine != "auto":
        return engine
    return "hoisted" if layer_norm else "torch"


def run(
    engine: str,
    x: Tensor,
    state: tuple[Tensor, Tensor],
    weights: Weights,
    padding: Padding | None,
    reverse: bool,
    from_zero: bool,
) -> Result:
    """One layer and direction; `from_zero` says that the state is all zeros.

    x: (time, batch, input); state: h_0 (batch, size) and c_0 (batch, hidden). The reference alone
    returns its gates, zero on padding.
    """
    if engine == "torch":
        return Result(*lstm_fused.run(x, state, weights, padding, reverse, from_zero))
    if engine == "hoisted":
        return Result(*lstm_hoisted.run(x, state, weights, padding, reverse))
    low, kind = precision(x), x.device.type
    with torch.autocast(kind, enabled=False):  # it computes in the weights' precision
        given = [part.to(weights.w_ih) for part in (x, *state)]
        output, h, c, steps = lstm_reference.run(
            given[0], (given[1], given[2]), weights, padding, reverse
        )
    output, h, c = output.to(low), h.to(low), c.to(low)
    gates = [torch.stack(each) for each in zip(*steps, strict=True)]
    if padding is not None:
        gates = [each.masked_fill(padding.mask, 0) for each in gates]
    return Result(output, h, c, Gates(*gates))
