"""LSTM: `torch.nn.LSTM`'s arguments, parameters and results, with additions.

`zoo/rnn/lstm_reference.py` writes out the computation gate by gate. This file adds layers,
directions, dropout and initial states, and chooses the engine.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize
from torch.nn.utils.rnn import PackedSequence, pad_packed_sequence

from zoo.memory import limit_kernels
from zoo.rnn import kernels, padding, stack
from zoo.rnn.lstm_reference import Gates
from zoo.rnn.stack import State


class LSTM(nn.LSTM):
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
        for name, share in (("weight_dropout", weight_dropout), ("output_dropout", output_dropout)):
            if not 0 <= share < 1:
                raise ValueError(f"{name} must be at least 0 and below 1, not {share}")
        if engine not in stack.NAMES:
            raise ValueError(f"engine must be one of {', '.join(stack.NAMES)}, not {engine!r}")
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

    def _add_parameter(self, name: str, *shape: int) -> None:
        self.register_parameter(name, nn.Parameter(next(self.parameters()).new_empty(shape)))

    @property
    def suffixes(self) -> list[str]:
        """The endings of the parameters' names, in the order of h_n: _l0, _l0_reverse, _l1, …"""
        directions = ("", "_reverse") if self.bidirectional else ("",)
        return [f"_l{layer}{way}" for layer in range(self.num_layers) for way in directions]

    def reset_parameters(self) -> None:
        """Draw torch's uniform weights, reset norms and learned states, and set `forget_bias`."""
        super().reset_parameters()
        if hasattr(self, "engine"):  # torch's constructor calls this before ours has finished
            self._reset_own_parameters()

    @torch.no_grad()
    def _reset_own_parameters(self) -> None:
        for suffix in self.suffixes if self.layer_norm else ():
            self._fill("norm_weight" + suffix, 1)
            self._fill("norm_bias" + suffix, 0)
        for name in ("h_0", "c_0") if self.learned_state else ():
            self._fill(name, 0)
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

    def _fill(self, name: str, value: float, rows: int | slice = slice(None)) -> None:
        """Set rows of a weight, or of the parameter that a tool computes the weight from."""
        weight: Tensor | None = getattr(self, name)
        assert weight is not None
        if parametrize.is_parametrized(self, name):
            changed = weight.clone()
            changed[rows] = value
            setattr(self, name, changed)
            return
        if not isinstance(weight, nn.Parameter):
            weight = getattr(self, name + "_orig", None)  # pruning keeps the whole one here
        if weight is None:
            raise RuntimeError(f"{name} is computed from other parameters: remove that tool first")
        weight[rows] = value

    def extra_repr(self) -> str:
        """Name the arguments that are not at their defaults."""
        names = (
            "layer_norm",
            "weight_dropout",
            "output_dropout",
            "locked_dropout",
            "learned_state",
        )
        given = {name: getattr(self, name) for name in names}
        own = [f"{name}={value}" for name, value in given.items() if value]
        own += [] if self.forget_bias is None else [f"forget_bias={self.forget_bias}"]
        own += [f"engine={self.engine}"] if self.engine != "auto" else []
        return ", ".join([super().extra_repr(), *own])

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
        if isinstance(input, PackedSequence):
            if lengths is not None or return_gates:
                raise ValueError(
                    "a PackedSequence has its own lengths: pad it to give lengths "
                    "or to see the gates"
                )
            return self._packed(input, hx)
        if input.dim() == 2:
            if lengths is not None:
                raise ValueError("an unbatched sequence has no padding: leave lengths out")
            return self._unbatched(input, hx, return_gates)
        self.check_input(input, None)
        x = input.transpose(0, 1) if self.batch_first else input  # (time, batch, input_size)
        if x.size(0) == 0:
            raise RuntimeError("expected a sequence of at least one step")
        padded = padding.find_padding(x, lengths)
        if (
            padded is None
            and self._one_fused_call
            and not return_gates
            and not self._needs_grad_in_eval
        ):
            return super().forward(input, hx)  # one call for all layers and directions
        from_zero = hx is None and not self.learned_state
        state = self._initial_state(x) if hx is None else hx
        self.check_forward_args(input, state, None)
        engine = "reference" if return_gates else stack.choose(self.engine, self.layer_norm)
        output, last, gates = stack.run(self, x, state, padded, from_zero, engine)
        output = output.transpose(0, 1) if self.batch_first else output
        if not return_gates:
            return output, last
        return output, last, Gates(*(g.transpose(1, 2) if self.batch_first else g for g in gates))

    @property
    def _needs_grad_in_eval(self) -> bool:
        """Whether gradients are needed in evaluation mode.

        torch passes `training` to its kernel, and in evaluation cuDNN saves nothing for a backward.
        torch.jit.trace compares a call with gradients and one without: both record the same kernel.
        """
        return torch.is_grad_enabled() and not self.training and not torch.jit.is_tracing()

    @property
    def _one_fused_call(self) -> bool:
        """Whether one call of torch's kernel computes all layers and directions of full rows."""
        between = self.dropout > 0 and self.num_layers > 1
        masks = self.training and (between or self.weight_dropout > 0 or self.output_dropout > 0)
        fused = self.engine in ("auto", "torch") and not self.layer_norm
        return fused and not masks and not self.learned_state

    def _packed(self, input: PackedSequence, hx: State | None) -> tuple[PackedSequence, State]:
        if self._one_fused_call:
            return super().forward(input, hx)
        # x is (time, batch, size), its rows in the packing's order: longest first.
        x, lengths = pad_packed_sequence(PackedSequence(input.data, input.batch_sizes))
        batch = 0 if self.batch_first else 1
        if hx is not None:
            hx = self.permute_hidden(hx, input.sorted_indices)
        output, state = self.forward(x.transpose(0, 1) if self.batch_first else x, hx, lengths)
        real = torch.arange(len(x)).unsqueeze(1) < lengths  # (time, batch)
        data = output.movedim(batch, 1)[real.to(output.device)]
        packed = PackedSequence(
            data, input.batch_sizes, input.sorted_indices, input.unsorted_indices
        )
        return packed, self.permute_hidden(state, input.unsorted_indices)

    def _unbatched(self, x: Tensor, hx: State | None, return_gates: bool) -> tuple:
        batch = 0 if self.batch_first else 1  # the dimension of the batch, here of one sequence
        if hx is not None and any(part.dim() != 2 for part in hx):
            raise RuntimeError("for an unbatched 2-D input, hx and cx should also be 2-D")
        state = None if hx is None else (hx[0].unsqueeze(1), hx[1].unsqueeze(1))
        output, (h_n, c_n), *gates = self.forward(x.unsqueeze(batch), state, None, return_gates)
        last = (h_n.squeeze(1), c_n.squeeze(1))
        return (
            output.squeeze(batch),
            last,
            *(Gates(*(g.squeeze(batch + 1) for g in each)) for each in gates),
        )

    def _initial_state(self, x: Tensor) -> State:
        batch = x.size(1)
        if self.learned_state:
            learned: list[Tensor] = [getattr(self, name) for name in ("h_0", "c_0")]
            h_0, c_0 = (state.repeat(1, batch, 1) for state in learned)
            return h_0, c_0
        count, size = len(self.suffixes), self.proj_size or self.hidden_size
        return x.new_zeros(count, batch, size), x.new_zeros(count, batch, self.hidden_size)
