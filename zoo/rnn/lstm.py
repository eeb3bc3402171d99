"""LSTM: `torch.nn.LSTM`'s arguments, parameters and results, with additions.

`zoo/rnn/lstm_reference.py` writes out the computation gate by gate. This file adds layers,
directions, dropout and initial states, and chooses the engine.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from zoo.memory import limit_kernels
from zoo.rnn import kernels, padding, stack
from zoo.rnn.lstm_reference import Gates, Weights
from zoo.rnn.padding import Padding
from zoo.rnn.stack import State


class LSTM(stack.Recurrent, nn.LSTM):
    """A drop-in for `torch.nn.LSTM` that also takes the rows' `lengths`.

    >>> import torch, zoo
    >>> lstm = zoo.LSTM(10, 20, bidirectional=True, batch_first=True)
    >>> output, (h_n, c_n) = lstm(torch.randn(2, 5, 10), lengths=[5, 3])
    >>> output.shape, h_n.shape, c_n.shape
    (torch.Size([2, 5, 40]), torch.Size([2, 2, 20]), torch.Size([2, 2, 20]))
    >>> output[1, 3:].abs().max().item()  # padding
    0.0

    Arguments, parameter names, shapes and gate order (i, f, g, o) are `torch.nn.LSTM`'s, so a
    state dict goes strictly from one to the other. By keyword only, and off unless asked for:

    layer_norm: normalise each gate's sum and the cell; parameters `norm_weight_*`, `norm_bias_*`
        (5, hidden_size): gates i, f, g, o, then the cell.
    weight_dropout: this share of the recurrent weights is zero in a training call (drop-connect).
    output_dropout: this share of `output` is zero in training; `dropout`, as torch has it, acts
        between layers and never on the last one.
    locked_dropout: `dropout` and `output_dropout` zero the same features at all steps of a row.
    learned_state: the default initial state is learned instead of zero: parameters `h_0`, `c_0`
        (layers * directions, 1, size).
    forget_bias: the initial bias of the forget gate; None leaves torch's random one.
    engine: `torch`, the fused kernel; `reference`, gate by gate; `hoisted`, a faster form of the
        reference; `auto`, the fused kernel, or `hoisted` with layer norm. `explain` names the
        engine that runs and its kernel.

    With `lengths`, padding has no influence, whatever it contains. `output` is zero on padding.
    `h_n` and `c_n` are taken after each row's last real step. The backward direction starts at
    that step. Results and gradients are those of `pack_padded_sequence`, without its cost.

    Dropout masks are drawn outside the fused kernel, so a seed repeats them.

    Each call reads the weights as attributes, as `torch.nn.LSTM` does. So weight_norm,
    spectral_norm, pruning, functional_call, DataParallel and FSDP work, also with the options here.
    Inside torch.func's transforms the reference engine replaces `hoisted`. Four tools differ:

    torch.jit.script and torch.fx.symbolic_trace fail: use torch.export, or a Tracer whose
        `is_leaf_module` is true for this class.
    torch.jit.trace fixes the number of steps, except where one fused call runs. It takes no
        `lengths`: use torch.export.
    torch.ao.quantization.quantize_dynamic leaves an LSTM of this class in float, in silence: load
        its state dict into a `torch.nn.LSTM` first.
    """

    parts = ("h", "c")
    gates = Gates
    engines = stack.NAMES

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        proj_size: int = 0,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        *,
        layer_norm: bool = False,
        weight_dropout: float = 0.0,
        locked_dropout: bool = False,
        output_dropout: float = 0.0,
        learned_state: bool = False,
        forget_bias: float | None = None,
        engine: stack.Engine = "auto",
    ) -> None:
        """The arguments are described at the class, those of `torch.nn.LSTM` in torch's reference.

        Raises ValueError for a share outside of [0, 1), for an unknown engine, and for layer norm
        with the fused kernel, which has none.
        """
        self._check_options(engine, weight_dropout=weight_dropout, output_dropout=output_dropout)
        if engine == "torch" and layer_norm:
            raise ValueError("the fused kernel has no layer norm: engine='hoisted' or 'auto'")
        limit_kernels()
        super().__init__(
            input_size,
            hidden_size,
            num_layers,
            bias,
            batch_first,
            dropout,
            bidirectional,
            proj_size,
            device,
            dtype,
        )
        self.layer_norm, self.learned_state = layer_norm, learned_state
        self.weight_dropout, self.output_dropout = weight_dropout, output_dropout
        self.locked_dropout, self.forget_bias = locked_dropout, forget_bias
        self.engine: stack.Engine = engine
        if layer_norm:
            for suffix in self.suffixes:
                self._add_parameter("norm_weight" + suffix, 5, hidden_size)
                self._add_parameter("norm_bias" + suffix, 5, hidden_size)
        if learned_state:
            self._add_parameter("h_0", len(self.suffixes), 1, proj_size or hidden_size)
            self._add_parameter("c_0", len(self.suffixes), 1, hidden_size)
        self._reset_own_parameters()

    @torch.no_grad()
    def _reset_own_parameters(self) -> None:
        for suffix in self.suffixes if self.layer_norm else ():
            self._fill("norm_weight" + suffix, 1)
            self._fill("norm_bias" + suffix, 0)
        super()._reset_own_parameters()
        if self.forget_bias is not None:
            self.set_forget_bias(self.forget_bias)

    @torch.no_grad()
    def set_forget_bias(self, value: float) -> None:
        """Set the bias of every forget gate to `value` (Jozefowicz et al. 2015 advise 1).

        Raises ValueError if the LSTM has neither biases nor layer norm, and RuntimeError if a
        tool computes the bias from parameters that cannot be set.
        """
        rows = slice(self.hidden_size, 2 * self.hidden_size)
        for suffix in self.suffixes:
            if self.layer_norm:  # the norm would remove a bias before it
                self._fill("norm_bias" + suffix, value, 1)
            elif not self.bias:
                raise ValueError("forget_bias needs bias=True or layer_norm=True")
            if self.bias:
                self._fill("bias_ih" + suffix, 0 if self.layer_norm else value, rows)
                self._fill("bias_hh" + suffix, 0, rows)

    def _own_repr(self) -> list[str]:
        return [] if self.forget_bias is None else [f"forget_bias={self.forget_bias}"]

    def explain(
        self,
        batch: int,
        time: int,
        device: kernels.Device | torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
        lengths: bool = False,
    ) -> kernels.Explanation:
        """Explain which engine and kernel would run such a batch, why, and what would help.

        It runs nothing. `lengths`: whether the rows have different lengths. See `zoo.rnn.kernels`.
        """
        shape = kernels.Shape(
            self.input_size,
            self.hidden_size,
            self.num_layers,
            self.bidirectional,
            self.proj_size,
            self.layer_norm,
            not self._one_fused_call,
            batch,
            time,
            lengths,
        )
        return kernels.explain(shape, device, dtype, self.engine)

    def forward(
        self,
        input: Tensor | PackedSequence,
        hx: State | None = None,
        lengths: padding.Lengths | None = None,
        return_gates: bool = False,
    ) -> tuple:
        """Run all layers over all steps.

        input: (time, batch, input_size), (batch, time, input_size) with `batch_first`, or
        (time, input_size) for one sequence; or a PackedSequence.
        hx: h_0 (layers * directions, batch, proj_size or hidden_size) and
        c_0 (layers * directions, batch, hidden_size); None: zeros, or the learned state.
        lengths: (batch,) integers from 0 to time; a tensor on any device, an array, a list or a
        tuple; rows need no order.

        Returns output (time, batch, directions * size), or (batch, time, …) with `batch_first`,
        and h_n, c_n shaped as h_0, c_0. With `return_gates` the reference engine runs, and a third
        result is `Gates(i, f, g, o, c)` of every step. Each is (layers * directions, time, batch,
        hidden_size), or batch before time with `batch_first`, and zero on padding. Raises
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
        return stack.run_layer(engine, x, state, weights, padding, reverse, from_zero)

    def _choose_engine(self) -> str:
        """Return the engine that runs, `hoisted` for `auto` with layer norm."""
        return stack.choose(self.engine, self.layer_norm)
