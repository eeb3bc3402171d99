"""Zero padding of an LSTM: more units and inputs with zero weights, and the same results.

A unit with zero weights keeps its cell at zero, so it changes no other unit. Its weights get no
gradient from the others either. Some GPU kernels need round sizes: see `LSTM.explain`.
"""

from __future__ import annotations

import torch
from torch import Tensor

from zoo.rnn.lstm import LSTM


def zero_pad(lstm: LSTM, hidden_size: int | None = None, input_size: int | None = None) -> LSTM:
    """Return a copy of `lstm` with `hidden_size` units and `input_size` inputs.

    All added weights are zero. Append the additional input features at the end; their values do
    not matter. In each direction's part of `output`, h_n and c_n, the first units are those of
    `lstm`, and the others are 0. Raises ValueError for smaller sizes, and for layer norm, which
    would include the new units.
    """
    hidden = lstm.hidden_size if hidden_size is None else hidden_size
    inputs = lstm.input_size if input_size is None else input_size
    if hidden < lstm.hidden_size or inputs < lstm.input_size:
        raise ValueError(f"{inputs} inputs and {hidden} units are less than the LSTM has")
    if lstm.layer_norm:
        raise ValueError("layer norm averages over all units: more of them change its results")
    first: Tensor = getattr(lstm, "weight_ih_l0")  # noqa: B009 (torch types it wider)
    wide = LSTM(
        inputs,
        hidden,
        lstm.num_layers,
        lstm.bias,
        lstm.batch_first,
        lstm.dropout,
        lstm.bidirectional,
        lstm.proj_size,
        first.device,
        first.dtype,
        engine=lstm.engine,
        weight_dropout=lstm.weight_dropout,
        locked_dropout=lstm.locked_dropout,
        output_dropout=lstm.output_dropout,
        learned_state=lstm.learned_state,
    )
    directions = 2 if lstm.bidirectional else 1
    with torch.no_grad():
        for name, parameter in wide.named_parameters():
            old = getattr(lstm, name)  # not always a Parameter: a tool may compute it
            new = parameter.zero_()
            if name.startswith(("weight_ih", "weight_hh", "bias")):  # rows: four gates
                old, new = old.unflatten(0, (4, -1)), new.unflatten(0, (4, -1))
            if name.startswith("weight_ih") and not name.startswith("weight_ih_l0"):
                old, new = (w.unflatten(-1, (directions, -1)) for w in (old, new))
            _corner(new, old).copy_(old)
    return wide.train(lstm.training)


def _corner(wide: Tensor, like: Tensor) -> Tensor:
    """Return the view of the first elements of `wide` in each dimension, of the shape of `like`."""
    return wide[tuple(slice(size) for size in like.shape)]
