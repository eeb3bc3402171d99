"""Stacked layers and directions of an LSTM, the dropout between them, and the choice of engine."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NamedTuple, Protocol, get_args

import torch
from torch import Tensor

from zoo import torch_private
from zoo.rnn import dropout, lstm_fused, lstm_hoisted, lstm_reference
from zoo.rnn.lstm_reference import Gates, Weights
from zoo.rnn.matmul import compute_dtype
from zoo.rnn.padding import Padding

State = tuple[Tensor, Tensor]

Engine = Literal["auto", "torch", "hoisted", "reference"]
NAMES = get_args(Engine)


class Result(NamedTuple):
    """The results of one layer and direction."""

    output: Tensor  # (time, batch, size)
    h: Tensor  # (batch, size)
    c: Tensor  # (batch, hidden)
    gates: Gates | None = None  # each (time, batch, hidden); from the reference engine only


def choose(engine: str, layer_norm: bool) -> str:
    """Return the engine that runs: `auto` is `torch`, or `hoisted` with layer norm.

    Inside a transform of torch.func, `reference` stands for `hoisted`, whose backward is by hand.
    """
    if engine == "auto":
        engine = "hoisted" if layer_norm else "torch"
    if engine == "hoisted" and not torch.compiler.is_compiling():
        return "reference" if torch_private.in_func_transform() else "hoisted"
    return engine


def run_layer(
    engine: str,
    x: Tensor,
    state: tuple[Tensor, Tensor],
    weights: Weights,
    padding: Padding | None,
    reverse: bool,
    from_zero: bool,
) -> Result:
    """Run one layer and direction; `from_zero` says that the state is all zeros.

    x: (time, batch, input); state: h_0 (batch, size) and c_0 (batch, hidden). Only the reference
    engine returns gates. They are zero on padding.
    """
    if engine == "torch":
        return Result(*lstm_fused.run(x, state, weights, padding, reverse, from_zero))
    if engine == "hoisted":
        return Result(*lstm_hoisted.run(x, state, weights, padding, reverse))
    low = compute_dtype(x)
    with torch.autocast(
        x.device.type, enabled=False
    ):  # the reference computes in the weights' precision
        given = [part.to(weights.w_ih) for part in (x, *state)]
        output, h, c, steps = lstm_reference.run(
            given[0], (given[1], given[2]), weights, padding, reverse
        )
    output, h, c = output.to(low), h.to(low), c.to(low)
    gates = [torch.stack(each) for each in zip(*steps, strict=True)]
    if padding is not None:
        gates = [each.masked_fill(padding.mask, 0) for each in gates]
    return Result(output, h, c, Gates(*gates))


class Layers(Protocol):
    """The attributes of an LSTM that this file reads, besides the weights."""

    num_layers: int
    bidirectional: bool
    dropout: float
    weight_dropout: float
    output_dropout: float
    locked_dropout: bool
    training: bool

    @property
    def suffixes(self) -> list[str]:
        """The endings of the parameters' names, in the order of h_n."""


def run(
    lstm: Layers, x: Tensor, state: State, padding: Padding | None, from_zero: bool, engine: str
) -> tuple[Tensor, State, list[Tensor]]:
    """Run all layers and directions; each layer reads the output of the layer below.

    x: (time, batch, input); state: h_0 and c_0 (layers * directions, batch, size). `from_zero`
    says that the state is all zeros. Returns output (time, batch, directions * size), zero on
    padding, then h_n and c_n. The reference engine adds five gates, each (layers * directions,
    time, batch, hidden); for other engines the list is empty.
    """
    results: list[Result] = []
    directions = 2 if lstm.bidirectional else 1
    read = torch_private.lstm_weights(lstm)
    x = _clear(x, padding)  # so even NaN in the padding has no influence
    for layer in range(lstm.num_layers):
        if layer > 0:
            x = _drop(lstm, x, lstm.dropout)
        for direction in range(directions):
            index = len(results)
            initial = (state[0][index], state[1][index])
            weights = weights_of(lstm, lstm.suffixes[index], read)
            results.append(
                run_layer(engine, x, initial, weights, padding, direction == 1, from_zero)
            )
        outputs = [result.output for result in results[-directions:]]
        x = _clear(torch.cat(outputs, -1) if lstm.bidirectional else outputs[0], padding)
    last = torch.stack([each.h for each in results]), torch.stack([each.c for each in results])
    gates = zip(*(each.gates for each in results if each.gates is not None), strict=True)
    return _drop(lstm, x, lstm.output_dropout), last, [torch.stack(gate) for gate in gates]


def weights_of(lstm: Layers, suffix: str, read: Mapping[str, Tensor] | None = None) -> Weights:
    """Return the weights of one layer and direction, in training with weight dropout applied.

    `read` holds the weights by name; None reads them from the LSTM. They need not be Parameters:
    a parametrization, pruning or functional_call puts other tensors in their place.
    """
    if read is None:
        read = torch_private.lstm_weights(lstm)
    w_hh = dropout.dropout(read["weight_hh" + suffix], lstm.weight_dropout, lstm.training)
    return Weights(
        read["weight_ih" + suffix],
        w_hh,
        read.get("bias_ih" + suffix),
        read.get("bias_hh" + suffix),
        read.get("weight_hr" + suffix),
        getattr(lstm, "norm_weight" + suffix, None),
        getattr(lstm, "norm_bias" + suffix, None),
    )


def _clear(x: Tensor, padding: Padding | None) -> Tensor:
    """Set the padding of x (time, batch, size) to zero."""
    return x if padding is None else x.masked_fill(padding.mask, 0)


def _drop(lstm: Layers, x: Tensor, p: float) -> Tensor:
    """Apply dropout to x (time, batch, size), locked if the LSTM asks for it."""
    kind = dropout.locked_dropout if lstm.locked_dropout else dropout.dropout
    return kind(x, p, lstm.training)
