"""Layers as nodes of an ONNX graph, in fp32 or with int8 weights.

    fp32    the operators of ONNX
    int8    weights of one byte, with a scale for each column; what meets them is rounded to eight
            bits while it runs: `DynamicQuantizeMatMul` and `DynamicQuantizeLSTM` of ONNX Runtime

ONNX's LSTM has no layer norm: with it the steps are a `Scan` over time, written out gate by gate.
ONNX Runtime has no GRU of int8: its weights are stored as int8, and the GRU computes in float32.

Vectors are float32 at all places between the layers, so the sums over a text keep their precision.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple, cast

import numpy as np
import torch
from torch import Tensor, nn

from zoo.errors import InputError
from zoo.export.onnx import MISSING, OPSET, Graph, gates
from zoo.files.own_files import PROGRAM
from zoo.rnn.gru.gru import GRU
from zoo.rnn.lstm import LSTM
from zoo.rnn.lstm_reference import EPSILON

Form = Literal["fp32", "int8"]
OWN = "com.microsoft"  # the domain of ONNX Runtime's own operators
FLOAT, INT64 = 1, 7  # element types of ONNX


class States(NamedTuple):
    """The names of an LSTM's or a GRU's results in a graph."""

    output: str  # (time, batch, directions * hidden), zero on padding
    h_n: str  # (layers * directions, batch, hidden)
    c_n: str = ""  # a GRU has none

    @property
    def state(self) -> tuple[str, ...]:
        """The names of the final state: h_n and, of an LSTM, c_n."""
        return (self.h_n, self.c_n) if self.c_n else (self.h_n,)


class Layers(Graph):
    """A graph that grows by layers. Each method adds nodes and returns the names of its results."""

    def __init__(self, form: Form) -> None:
        super().__init__()
        self.form = form
        self.count = 0
        self.inputs: list[Any] = []
        self.shared: dict[int, str] = {}  # constants by the tensor that they hold
        self.packed: dict[tuple[int, str], list[str]] = {}  # those of an LSTM's layers

    def given(self, name: str, kind: int, shape: Sequence[str | int]) -> str:
        """Add an input of the graph."""
        from onnx import helper

        self.inputs.append(helper.make_tensor_value_info(name, kind, shape))
        return name

    def op(self, kind: str, *inputs: str, results: int = 1, **attributes: Any) -> Any:
        """Add a node with new names. Return the name of its result, or a list of several."""
        self.count += 1
        names = [f"{kind}{self.count}_{number}" for number in range(results)]
        self.add(kind, [*inputs], names, **attributes)
        return names[0] if results == 1 else names

    def value(self, value: Any) -> str:
        """Add a constant with a new name."""
        self.count += 1
        return self.constant(f"constant{self.count}", value)

    def ints(self, *values: int) -> str:
        """Add a constant of int64 numbers."""
        return self.value(np.array(values, np.int64))

    def weight(self, tensor: Tensor) -> str:
        """Add a float32 weight, once for all that use the same tensor."""
        if id(tensor) not in self.shared:
            self.shared[id(tensor)] = self.value(tensor.detach().float())
        return self.shared[id(tensor)]

    def embedding(self, ids: str, table: Tensor) -> str:
        """Look up vectors (…, size) of ids (…) in a table (vocabulary, size)."""
        if self.form == "fp32":
            return self.op("Gather", self.weight(table), ids)
        rounded, scales = _rounded(table.detach().float().numpy(), 1)
        vectors = self.op("Gather", self.value(rounded), ids)
        scale = self.op("Gather", self.value(scales), ids)
        return self.op("Mul", self.op("Cast", vectors, to=FLOAT), scale)

    def linear(self, x: str, weight: Tensor, bias: Tensor | None = None) -> str:
        """Map vectors (rows, size) to (rows, outputs) by a weight (outputs, size) and a bias."""
        added = [] if bias is None else [self.value(bias.detach().float())]
        if self.form == "fp32":
            return self.op("Gemm", x, self.weight(weight), *added, transB=1)
        columns = np.ascontiguousarray(weight.detach().float().numpy().T)  # (size, outputs)
        rounded, scales = _rounded(columns, 0)
        names = [self.value(rounded), self.value(scales[0])]
        names.append(self.value(np.zeros(len(scales[0]), np.int8)))
        return self.op("DynamicQuantizeMatMul", x, *names, *added, domain=OWN)

    def linear_steps(self, x: str, weight: Tensor, bias: Tensor | None = None) -> str:
        """Map vectors (first, second, size) to (first, second, outputs)."""
        sizes = self.op("Shape", x, start=0, end=2)
        flat = self.op("Reshape", x, self.ints(-1, weight.size(1)))
        made = self.linear(flat, weight, bias)
        shape = self.op("Concat", sizes, self.ints(weight.size(0)), axis=0)
        return self.op("Reshape", made, shape)

    def rnn(
        self, rnn: LSTM | GRU, x: str, lengths: str = "", state: tuple[str, ...] | None = None
    ) -> States:
        """Add an LSTM or a GRU over x (time, batch, input) with lengths (batch,) int64, 1 or more.

        `state` names h_0 and, of an LSTM, c_0, (layers * directions, batch, hidden). Raises
        InputError for a projection, which ONNX's LSTM lacks.
        """
        if rnn.proj_size:
            raise InputError("ONNX's LSTM knows no projection")
        directions = 2 if rnn.bidirectional else 1
        kind = "bidirectional" if directions == 2 else "forward"
        steps = self.op("Cast", lengths, to=6) if lengths else ""
        if state is None and rnn.learned_state:
            state = self._learned(rnn, x)
        last: list[list[str]] = []
        for layer in range(rnn.num_layers):
            rows = slice(layer * directions, (layer + 1) * directions)
            start = ["" for _ in rnn.parts]
            if state is not None:
                first, end = self.ints(rows.start), self.ints(rows.stop)
                start = [self.op("Slice", s, first, end) for s in state]
                if rnn.num_layers == 1:
                    start = [*state]
            suffixes = rnn.suffixes[rows]
            if isinstance(rnn, GRU):
                y, *ends = self._gru_layer(rnn, suffixes, x, steps, start, kind)
            elif rnn.layer_norm:
                y, *ends = self._normed_layer(rnn, suffixes, x, lengths, start)
            else:
                y, *ends = self._lstm_layer(rnn, suffixes, x, steps, start, kind)
            turned = self.op("Transpose", y, perm=[0, 2, 1, 3])  # (time, batch, directions, hidden)
            x = self.op("Reshape", turned, self.ints(0, 0, directions * rnn.hidden_size))
            last.append(ends)
        if rnn.num_layers == 1:
            return States(x, *last[0])
        whole = (self.op("Concat", *parts, axis=0) for parts in zip(*last, strict=True))
        return States(x, *whole)

    def _lstm_layer(
        self, lstm: LSTM, suffixes: list[str], x: str, steps: str, start: list[str], kind: str
    ) -> list[str]:
        """Add one layer of an LSTM in all its directions."""
        options = {"hidden_size": lstm.hidden_size, "direction": kind}
        w, r, bias, *scales = self._packed(lstm, suffixes)
        if self.form == "fp32":
            return self.op("LSTM", x, w, r, bias, steps, *start, results=3, **options)
        given = [x, w, r, bias, steps, *start, "", *scales]
        return self.op("DynamicQuantizeLSTM", *given, results=3, domain=OWN, **options)

    def _gru_layer(
        self, gru: GRU, suffixes: list[str], x: str, steps: str, start: list[str], kind: str
    ) -> list[str]:
        """Add one layer of a GRU in all its directions, in torch's variant."""
        w, r, bias, *scales = self._packed(gru, suffixes)
        if scales:  # (directions, size, 3 * hidden) int8 -> (directions, 3 * hidden, size)
            whole = []
            for rounded, scale in zip((w, r), scales[::2], strict=True):
                row = self.op("Unsqueeze", scale, self.ints(1))
                wide = self.op("Mul", self.op("Cast", rounded, to=FLOAT), row)
                whole.append(self.op("Transpose", wide, perm=[0, 2, 1]))
            w, r = whole
        given = [x, w, r, bias, steps, *start]
        options = {"hidden_size": gru.hidden_size, "direction": kind, "linear_before_reset": 1}
        return self.op("GRU", *given, results=2, **options)

    def _packed(self, rnn: LSTM | GRU, suffixes: list[str]) -> list[str]:
        """Return W, R and B of a layer as ONNX has them, in int8 with scales; once for all calls."""
        key = id(rnn), suffixes[0]
        if key in self.packed:
            return self.packed[key]
        weights = [
            torch.stack([gates(rnn, name, suffix) for suffix in suffixes]).numpy()
            for name in ("weight_ih", "weight_hh")
        ]  # (directions, gates * hidden, size) each
        bias = ""
        if rnn.bias:
            pairs = [[gates(rnn, n, s) for n in ("bias_ih", "bias_hh")] for s in suffixes]
            bias = self.value(torch.stack([torch.cat(pair) for pair in pairs]))
        both, scales = [], []
        for weight in weights:
            if self.form == "fp32":
                both.append(self.value(weight))
                continue
            rounded, scale = _rounded(np.ascontiguousarray(weight.transpose(0, 2, 1)), 1)
            both.append(self.value(rounded))
            scales += [self.value(scale[:, 0]), self.value(np.zeros(scale[:, 0].shape, np.int8))]
        self.packed[key] = [*both, bias, *scales]
        return self.packed[key]

    def _normed_layer(
        self, lstm: LSTM, suffixes: list[str], x: str, lengths: str, start: list[str]
    ) -> list[str]:
        """Add one layer with layer norm, in all its directions; results as of `_lstm_layer`."""
        real = self._real_steps(x, lengths)
        states = []
        for number, suffix in enumerate(suffixes):
            if start[0]:
                place = self.value(np.array(number, np.int64))
                first = [self.op("Gather", state, place, axis=0) for state in start]
            else:
                batch = self.op("Shape", x, start=1, end=2)
                shape = self.op("Concat", batch, self.ints(lstm.hidden_size), axis=0)
                first = [self.op("ConstantOfShape", shape)] * 2  # zeros of float32
            found = self._scan(lstm, suffix, x, real, first)
            states.append([self.op("Unsqueeze", one, self.ints(0)) for one in found])
        h, c, y = (self.op("Concat", *parts, axis=0) for parts in zip(*states, strict=True))
        return [self.op("Transpose", y, perm=[1, 0, 2, 3]), h, c]

    def _real_steps(self, x: str, lengths: str) -> str:
        """Return whether steps of x (time, batch, …) are real, (time, batch, 1)."""
        time = self.op("Squeeze", self.op("Shape", x, start=0, end=1), self.ints(0))
        zero, one = self.value(np.array(0, np.int64)), self.value(np.array(1, np.int64))
        steps = self.op("Unsqueeze", self.op("Range", zero, time, one), self.ints(1, 2))
        if not lengths:
            lengths = self.op("Expand", time, self.op("Shape", x, start=1, end=2))
        return self.op("Less", steps, self.op("Unsqueeze", lengths, self.ints(1)))

    def _scan(self, lstm: LSTM, suffix: str, x: str, real: str, first: list[str]) -> list[str]:
        """Add the steps of one layer and direction. Return h_n, c_n (batch, hidden), and output."""
        from onnx import TensorProto, helper

        size = lstm.hidden_size
        weights = {
            name: cast(Tensor, getattr(lstm, f"{name}{suffix}"))
            for name in ("weight_ih", "weight_hh", "norm_weight", "norm_bias")
        }
        bias = None
        if lstm.bias:
            bias = getattr(lstm, "bias_ih" + suffix) + getattr(lstm, "bias_hh" + suffix)
        sums = self.linear_steps(x, weights["weight_ih"], bias)  # (time, batch, 4 * hidden)
        self.count += 1
        kinds = {"h": FLOAT, "c": FLOAT, "sums": FLOAT, "real": int(TensorProto.BOOL)}
        h, c, read, there = (f"{name}{self.count}" for name in kinds)
        outer, self.nodes = self.nodes, []  # constants are those of the whole graph
        recurrent = self.linear(h, weights["weight_hh"])
        gates = self.op("Reshape", self.op("Add", read, recurrent), self.ints(-1, 4, size))
        normed = self._normed(gates, weights["norm_weight"][:4], weights["norm_bias"][:4])
        shares = self.op("Sigmoid", normed)
        i, f, o = (self._gate(shares, place) for place in (0, 1, 3))
        g = self.op("Tanh", self._gate(normed, 2))
        cell = self.op("Add", self.op("Mul", f, c), self.op("Mul", i, g))
        shown = self._normed(cell, weights["norm_weight"][4], weights["norm_bias"][4])
        new = self.op("Mul", o, self.op("Tanh", shown))
        results = [
            self.op("Where", there, new, h),
            self.op("Where", there, cell, c),
            self.op("Where", there, new, self.value(np.float32(0))),
        ]
        inner, self.nodes = self.nodes, outer
        shapes: list[list[Any]] = [[None, size]] * 2 + [[None, 4 * size], [None, 1]]
        given = [
            helper.make_tensor_value_info(name, kind, shape)
            for name, kind, shape in zip((h, c, read, there), kinds.values(), shapes, strict=True)
        ]
        made = [helper.make_tensor_value_info(name, FLOAT, [None, size]) for name in results]
        back = int(suffix.endswith("_reverse"))
        return self.op(
            "Scan",
            *first,
            sums,
            real,
            results=3,
            body=helper.make_graph(inner, "step", given, made),
            num_scan_inputs=2,
            scan_input_directions=[back, back],
            scan_output_directions=[back],
        )

    def _normed(self, x: str, scale: Tensor, shift: Tensor) -> str:
        """Normalise the last dimension of x, then scale and shift it."""
        ones = self.value(np.ones(scale.size(-1), np.float32))
        normed = self.op("LayerNormalization", x, ones, axis=-1, epsilon=EPSILON)
        scaled = self.op("Mul", normed, self.value(scale.detach().float()))
        return self.op("Add", scaled, self.value(shift.detach().float()))

    def _gate(self, gates: str, place: int) -> str:
        """Return one of the gates (batch, 4, hidden), (batch, hidden)."""
        return self.op("Gather", gates, self.value(np.array(place, np.int64)), axis=1)

    def _learned(self, rnn: LSTM | GRU, x: str) -> tuple[str, ...]:
        """Expand learned initial states to (layers * directions, batch, hidden)."""
        batch = self.op("Shape", x, start=1, end=2)
        shape = self.op("Concat", self.ints(1), batch, self.ints(1), axis=0)
        learned = (cast(Tensor, getattr(rnn, f"{part}_0")) for part in rnn.parts)
        return tuple(self.op("Expand", self.value(v.detach().float()), shape) for v in learned)

    def merged(self, h_n: str, directions: int) -> str:
        """Return the top layer's last h of all directions, (batch, directions * hidden)."""
        ends = self.ints(-directions), self.ints(np.iinfo(np.int64).max)
        top = self.op("Slice", h_n, *ends)  # (directions, batch, hidden)
        return self.op("Flatten", self.op("Transpose", top, perm=[1, 0, 2]), axis=1)

    def save(self, path: Path, outputs: dict[str, tuple[str, int]]) -> None:
        """Write the graph. `outputs` maps the names of results to a name in the graph and a rank."""
        try:
            import onnx
            from onnx import TensorProto, helper
        except ImportError:
            raise InputError(MISSING) from None
        results = []
        for name, (inner, rank) in outputs.items():
            self.add("Identity", [inner], [name])
            results.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, [None] * rank))
        graph = helper.make_graph(self.nodes, PROGRAM, self.inputs, results, self.constants)
        opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid(OWN, 1)]
        whole = helper.make_model(graph, opset_imports=opsets, producer_name=PROGRAM)
        whole.ir_version = 8
        onnx.save(whole, str(path))


def _rounded(values: np.ndarray, axis: int) -> tuple[np.ndarray, np.ndarray]:
    """Return int8 values and their float32 scales; one scale for all values along `axis`."""
    scales = np.abs(values).max(axis, keepdims=True).astype(np.float32) / 127
    scales = np.maximum(scales, np.finfo(np.float32).tiny)
    return np.rint(values / scales).astype(np.int8), scales


def without_identity(module: nn.Module) -> nn.Linear | None:
    """Return a linear layer, None for nn.Identity."""
    return module if isinstance(module, nn.Linear) else None
