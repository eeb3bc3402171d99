"""GRU: `torch.nn.GRU`'s arguments, parameters and results, with additions.

`zoo/rnn/gru/gru_reference.py` writes out the computation gate by gate.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from zoo.memory import limit_kernels
from zoo.rnn import padding, stack
from zoo.rnn.gru import gru_fused, gru_reference
from zoo.rnn.gru.gru_reference import Gates
from zoo.rnn.lstm_reference import Weights
from zoo.rnn.matmul import compute_dtype
from zoo.rnn.padding import Padding
from zoo.rnn.stack import State


class GRU(stack.Recurrent, nn.GRU):
    """A drop-in for `torch.nn.GRU` that also takes the rows' `lengths`.

    >>> import torch, zoo
    >>> gru = zoo.GRU(10, 20, bidirectional=True, batch_first=True)
    >>> output, h_n = gru(torch.randn(2, 5, 10), lengths=[5, 3])
    >>> output.shape, h_n.shape  # a GRU has no c_n
    (torch.Size([2, 5, 40]), torch.Size([2, 2, 20]))
    >>> output[1, 3:].abs().max().item()  # padding
    0.0

    Arguments, parameter names, shapes and gate order (r, z, n) are `torch.nn.GRU`'s, so a state
    dict goes strictly from one to the other. By keyword only, and off unless asked for:

    weight_dropout: this share of the recurrent weights is zero in a training call (drop-connect).
    output_dropout: this share of `output` is zero in training; `dropout`, as torch has it, acts
        between layers and never on the last one.
    locked_dropout: `dropout` and `output_dropout` zero the same features at all steps of a row.
    learned_state: the default initial state is learned instead of zero: parameter `h_0`
        (layers * directions, 1, hidden_size).
    engine: `torch`, the fused kernel; `reference`, gate by gate; `auto`, the fused kernel.

    With `lengths`, padding has no influence, whatever it contains. `output` is zero on padding.
    `h_n` is taken after each row's last real step. The backward direction starts at that step.
    Results and gradients are those of `pack_padded_sequence`, without its cost.
    """

    parts = ("h",)
    gates = Gates
    engines = ("auto", "torch", "reference")

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        *,
        weight_dropout: float = 0.0,
        locked_dropout: bool = False,
        output_dropout: float = 0.0,
        learned_state: bool = False,
        engine: Literal["auto", "torch", "reference"] = "auto",
    ) -> None:
        """The arguments are described at the class, those of `torch.nn.GRU` in torch's reference.

        Raises ValueError for a share outside of [0, 1) and for an unknown engine.
        """
        self._check_options(engine, weight_dropout=weight_dropout, output_dropout=output_dropout)
        limit_kernels()
        super().__init__(
            input_size,
            hidden_size,
            num_layers,
            bias,
            batch_first,
            dropout,
            bidirectional,
            device=device,
            dtype=dtype,
        )
        self.layer_norm, self.learned_state = False, learned_state
        self.weight_dropout, self.output_dropout = weight_dropout, output_dropout
        self.locked_dropout = locked_dropout
        self.engine = engine
        if learned_state:
            self._add_parameter("h_0", len(self.suffixes), 1, hidden_size)
        self._reset_own_parameters()

    def forward(
        self,
        input: Tensor | PackedSequence,
        hx: Tensor | None = None,
        lengths: padding.Lengths | None = None,
        return_gates: bool = False,
    ) -> tuple:
        """Run all layers over all steps.

        input: (time, batch, input_size), (batch, time, input_size) with `batch_first`, or
        (time, input_size) for one sequence; or a PackedSequence.
        hx: h_0 (layers * directions, batch, hidden_size); None: zeros, or the learned state.
        lengths: (batch,) integers from 0 to time; a tensor on any device, an array, a list or a
        tuple; rows need no order.

        Returns output (time, batch, directions * hidden_size), or (batch, time, …) with
        `batch_first`, and h_n shaped as h_0. With `return_gates` the reference engine runs, and a
        third result is `Gates(r, z, n, h)` of every step. Each is (layers * directions, time,
        batch, hidden_size), or batch before time with `batch_first`, and zero on padding. Raises
        ValueError when `lengths` does not fit `input`.
        """
        return self._run(input, hx, lengths, return_gates)

    def run_layer(
        self,
        engine: str,
        x: Tensor,
        state: State,
        weights: Weights,
        padding: Padding | None,
        reverse: bool,
        from_zero: bool,
    ) -> stack.Result:
        """Run one layer and direction over x (time, batch, input)."""
        if engine == "torch":
            output, *last = gru_fused.run(x, state, weights, padding, reverse, from_zero)
            return stack.Result(output, tuple(last))
        low = compute_dtype(x)
        with torch.autocast(x.device.type, enabled=False):  # in the weights' precision
            read, h_0 = x.to(weights.w_ih), state[0].to(weights.w_ih)
            output, h, steps = gru_reference.run(read, h_0, weights, padding, reverse)
        return stack.Result(output.to(low), (h.to(low),), stack.all_steps(steps, padding))

    def _choose_engine(self) -> str:
        return "torch" if self.engine == "auto" else self.engine

    def state_of(self, hx: Tensor) -> State:
        return (hx,)

    def hx_of(self, state: State) -> Tensor:
        return state[0]
