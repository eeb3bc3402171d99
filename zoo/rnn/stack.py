"""Stacked layers and directions, the dropout between them, and what LSTM and GRU have in common."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal, NamedTuple, get_args

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize
from torch.nn.utils.rnn import PackedSequence, pad_packed_sequence

from zoo import torch_private
from zoo.rnn import dropout, lstm_fused, lstm_hoisted, lstm_reference
from zoo.rnn import padding as padding_of
from zoo.rnn.cpu import side_by_side
from zoo.rnn.lstm_reference import Weights
from zoo.rnn.matmul import compute_dtype
from zoo.rnn.padding import Padding

State = tuple[Tensor, ...]  # h and c of an LSTM, h alone of a GRU

Engine = Literal["auto", "torch", "hoisted", "reference"]
NAMES = get_args(Engine)


class Result(NamedTuple):
    """The results of one layer and direction."""

    output: Tensor  # (time, batch, size)
    last: State  # h (batch, size) and, of an LSTM, c (batch, hidden)
    gates: tuple[Tensor, ...] = ()  # each (time, batch, hidden); from the reference engine only


class Recurrent(nn.RNNBase):
    """What `zoo.LSTM` and `zoo.GRU` add to torch's classes: lengths, dropout and a learned state.

    It stands before torch's class among the bases, so `super().forward` is torch's.
    """

    parts: ClassVar[tuple[str, ...]]  # of the state: h and c, or h
    gates: ClassVar[type[Any]]  # the NamedTuple of `return_gates`
    engines: ClassVar[tuple[str, ...]]

    layer_norm: bool
    learned_state: bool
    weight_dropout: float
    output_dropout: float
    locked_dropout: bool
    engine: Engine

    @classmethod
    def _check_options(cls, engine: str, **shares: float) -> None:
        """Raise ValueError for a share outside of [0, 1) and for an unknown engine."""
        for name, share in shares.items():
            if not 0 <= share < 1:
                raise ValueError(f"{name} must be at least 0 and below 1, not {share}")
        if engine not in cls.engines:
            raise ValueError(f"engine must be one of {', '.join(cls.engines)}, not {engine!r}")

    def _add_parameter(self, name: str, *shape: int) -> None:
        self.register_parameter(name, nn.Parameter(next(self.parameters()).new_empty(shape)))

    @property
    def suffixes(self) -> list[str]:
        """The endings of the parameters' names, in the order of h_n: _l0, _l0_reverse, _l1, …"""
        directions = ("", "_reverse") if self.bidirectional else ("",)
        return [f"_l{layer}{way}" for layer in range(self.num_layers) for way in directions]

    def reset_parameters(self) -> None:
        """Draw torch's uniform weights, and reset all parameters that torch's class lacks."""
        super().reset_parameters()
        if hasattr(self, "engine"):  # torch's constructor calls this before ours has finished
            self._reset_own_parameters()

    @torch.no_grad()
    def _reset_own_parameters(self) -> None:
        for part in self.parts if self.learned_state else ():
            self._fill(f"{part}_0", 0)

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
        own += self._own_repr()
        own += [f"engine={self.engine}"] if self.engine != "auto" else []
        return ", ".join([super().extra_repr(), *own])

    def _own_repr(self) -> list[str]:
        return []

    def run_layer(
        self,
        engine: str,
        x: Tensor,
        state: State,
        weights: Weights,
        padding: Padding | None,
        reverse: bool,
        from_zero: bool,
    ) -> Result:
        """Run one layer and direction over x (time, batch, input)."""
        raise NotImplementedError

    def _choose_engine(self) -> str:
        """Return the engine that runs."""
        raise NotImplementedError

    def state_of(self, hx: Any) -> State:
        """Return what torch's class takes and returns as a state: h and c of an LSTM, h of a GRU."""
        return hx

    def hx_of(self, state: State) -> Any:
        """Return a state as torch's class takes it: a tuple for an LSTM, a tensor for a GRU."""
        return state

    def _run(
        self,
        input: Tensor | PackedSequence,
        hx: Any,
        lengths: padding_of.Lengths | None,
        return_gates: bool,
    ) -> tuple:
        """Run all layers over all steps, as `forward` describes it."""
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
        padded = padding_of.find_padding(x, lengths)
        if (
            padded is None
            and self._one_fused_call
            and not return_gates
            and not self._needs_grad_in_eval
            and not self._runs_side_by_side(x)
            and lstm_fused.features_read(x, False) == x.size(-1)
        ):
            return super().forward(input, hx)  # one call for all layers and directions
        from_zero = hx is None and not self.learned_state
        state = self._initial_state(x) if hx is None else self.state_of(hx)
        self.check_forward_args(input, self.hx_of(state), None)
        engine = "reference" if return_gates else self._choose_engine()
        output, last, gates = run(self, x, state, padded, from_zero, engine)
        output = output.transpose(0, 1) if self.batch_first else output
        if not return_gates:
            return output, self.hx_of(last)
        shown = (g.transpose(1, 2) if self.batch_first else g for g in gates)
        return output, self.hx_of(last), self.gates(*shown)

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

    def _runs_side_by_side(self, x: Tensor) -> bool:
        """Whether the fused kernel runs both directions at once; torch's GRU has no such kernel."""
        fused = self.bidirectional and len(self.parts) == 2
        return fused and side_by_side.pays(x, self.hidden_size, projected=self.proj_size > 0)

    def _packed(self, input: PackedSequence, hx: Any) -> tuple[PackedSequence, Any]:
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

    def _unbatched(self, x: Tensor, hx: Any, return_gates: bool) -> tuple:
        batch = 0 if self.batch_first else 1  # the dimension of the batch, here of one sequence
        if hx is not None:
            given = self.state_of(hx)
            if any(part.dim() != 2 for part in given):
                both = " and ".join(f"{part}x" for part in self.parts)
                raise RuntimeError(f"for an unbatched 2-D input, {both} should also be 2-D")
            hx = self.hx_of(tuple(part.unsqueeze(1) for part in given))
        output, last, *gates = self.forward(x.unsqueeze(batch), hx, None, return_gates)
        last = self.hx_of(tuple(part.squeeze(1) for part in self.state_of(last)))
        seen = (self.gates(*(g.squeeze(batch + 1) for g in each)) for each in gates)
        return output.squeeze(batch), last, *seen

    def _initial_state(self, x: Tensor) -> State:
        batch = x.size(1)
        if self.learned_state:
            learned: list[Tensor] = [getattr(self, f"{part}_0") for part in self.parts]
            return tuple(state.repeat(1, batch, 1) for state in learned)
        count, size = len(self.suffixes), self.proj_size or self.hidden_size
        sizes = (size, self.hidden_size)[: len(self.parts)]
        return tuple(x.new_zeros(count, batch, each) for each in sizes)


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
    state: State,
    weights: Weights,
    padding: Padding | None,
    reverse: bool,
    from_zero: bool,
) -> Result:
    """Run one layer and direction of an LSTM; `from_zero` says that the state is all zeros.

    x: (time, batch, input); state: h_0 (batch, size) and c_0 (batch, hidden). Only the reference
    engine returns gates. They are zero on padding.
    """
    if engine == "torch":
        output, *last = lstm_fused.run(x, state, weights, padding, reverse, from_zero)
        return Result(output, tuple(last))
    h_0, c_0 = state
    if engine == "hoisted":
        output, *last = lstm_hoisted.run(x, (h_0, c_0), weights, padding, reverse)
        return Result(output, tuple(last))
    low = compute_dtype(x)
    with torch.autocast(
        x.device.type, enabled=False
    ):  # the reference computes in the weights' precision
        given = [part.to(weights.w_ih) for part in (x, h_0, c_0)]
        output, h, c, steps = lstm_reference.run(
            given[0], (given[1], given[2]), weights, padding, reverse
        )
    return Result(output.to(low), (h.to(low), c.to(low)), all_steps(steps, padding))


def all_steps(steps: Sequence[tuple[Tensor, ...]], padding: Padding | None) -> tuple[Tensor, ...]:
    """Stack the gates of every step, (batch, hidden) each, to (time, batch, hidden), zero on padding."""
    gates = [torch.stack(each) for each in zip(*steps, strict=True)]
    return tuple(gates if padding is None else [g.masked_fill(padding.mask, 0) for g in gates])


def run(
    rnn: Recurrent, x: Tensor, state: State, padding: Padding | None, from_zero: bool, engine: str
) -> tuple[Tensor, State, list[Tensor]]:
    """Run all layers and directions; each layer reads the output of the layer below.

    x: (time, batch, input); state: h_0, and c_0 of an LSTM (layers * directions, batch, size).
    `from_zero` says that the state is all zeros. Returns output (time, batch, directions * size),
    zero on padding, then h_n, and c_n of an LSTM. The reference engine adds its gates, each
    (layers * directions, time, batch, hidden); for other engines the list is empty.
    """
    results: list[Result] = []
    directions = 2 if rnn.bidirectional else 1
    read = torch_private.rnn_weights(rnn)
    cuts = engine == "torch" and lstm_fused.cuts(x)
    narrow = x.to(compute_dtype(x)) if cuts else x  # once for both directions
    # Cleared, so even NaN in the padding has no influence.
    x = _clear(narrow, padding, in_place=narrow is not x)
    for layer in range(rnn.num_layers):
        if layer > 0:
            x = _drop(rnn, x, rnn.dropout)
        given: list[tuple[State, Weights]] = []
        for direction in range(directions):
            index = len(results) + direction
            weights = weights_of(rnn, rnn.suffixes[index], read)
            given.append((tuple(part[index] for part in state), weights))
        if engine == "torch" and rnn._runs_side_by_side(x):
            results += _run_side_by_side(rnn, x, given, padding, from_zero)
        else:
            results += [
                rnn.run_layer(engine, x, initial, weights, padding, direction == 1, from_zero)
                for direction, (initial, weights) in enumerate(given)
            ]
        outputs = [result.output for result in results[-directions:]]
        x = torch.cat(outputs, -1) if rnn.bidirectional else outputs[0]
        x = _clear(x, padding, in_place=cuts and rnn.bidirectional)
    last = tuple(torch.stack(parts) for parts in zip(*(r.last for r in results), strict=True))
    gates = zip(*(each.gates for each in results), strict=True)
    return _drop(rnn, x, rnn.output_dropout), last, [torch.stack(gate) for gate in gates]


def _run_side_by_side(
    rnn: Recurrent,
    x: Tensor,
    given: list[tuple[State, Weights]],
    padding: Padding | None,
    from_zero: bool,
) -> list[Result]:
    """Run both directions of a layer with the fused kernel, each in a thread of its own.

    given: the state and the weights of each direction. Other arguments: those of `run_layer`.
    """
    parts = len(given[0][0])

    def direction(reverse: bool) -> side_by_side.Direction:
        def run_one(x: Tensor, *rest: Any) -> tuple[Tensor, ...]:
            state, weights = rest[:parts], Weights(*rest[parts:])
            found = rnn.run_layer("torch", x, state, weights, padding, reverse, from_zero)
            return found.output, *found.last

        return run_one

    found = side_by_side.run(
        [direction(False), direction(True)], [(x, *state, *weights) for state, weights in given]
    )
    return [Result(output, tuple(last)) for output, *last in found]


def weights_of(rnn: Recurrent, suffix: str, read: Mapping[str, Tensor] | None = None) -> Weights:
    """Return the weights of one layer and direction, in training with weight dropout applied.

    `read` holds the weights by name; None reads them from the module. They need not be Parameters:
    a parametrization, pruning or functional_call puts other tensors in their place.
    """
    if read is None:
        read = torch_private.rnn_weights(rnn)
    w_hh = dropout.dropout(read["weight_hh" + suffix], rnn.weight_dropout, rnn.training)
    return Weights(
        read["weight_ih" + suffix],
        w_hh,
        read.get("bias_ih" + suffix),
        read.get("bias_hh" + suffix),
        read.get("weight_hr" + suffix),
        getattr(rnn, "norm_weight" + suffix, None),
        getattr(rnn, "norm_bias" + suffix, None),
    )


def _clear(x: Tensor, padding: Padding | None, in_place: bool) -> Tensor:
    """Set the padding of x (time, batch, size) to zero."""
    if padding is None:
        return x
    return (x.masked_fill_ if in_place else x.masked_fill)(padding.mask, 0)


def _drop(rnn: Recurrent, x: Tensor, p: float) -> Tensor:
    """Apply dropout to x (time, batch, size), locked if the module asks for it."""
    kind = dropout.locked_dropout if rnn.locked_dropout else dropout.dropout
    return kind(x, p, rnn.training)
