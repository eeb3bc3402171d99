"""Layers as nodes of an ONNX graph, in fp32 or with int8 weights.

    fp32    the operators of ONNX
    int8    weights of one byte, with a scale for each column; what meets them is rounded to eight
            bits while it runs: `DynamicQuantizeMatMul` and `DynamicQuantizeLSTM` of ONNX Runtime

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
from zoo.rnn.lstm import LSTM

Form = Literal["fp32", "int8"]
OWN = "com.microsoft"  # the domain of ONNX Runtime's own operators
FLOAT, INT64 = 1, 7  # element types of ONNX


class States(NamedTuple):
    """The names of an LSTM's results in a graph."""

    output: str  # (time, batch, directions * hidden), zero on padding
    h_n: str  # (layers * directions, batch, hidden)
    c_n: str


class Layers(Graph):
    """A graph that grows by layers. Each method adds nodes and returns the names of its results."""

    def __init__(self, form: Form) -> None:
        super().__init__()
        self.form = form
        self.count = 0
        self.inputs: list[Any] = []
        self.shared: dict[int, str] = {}  # constants by the tensor that they hold

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

    def lstm(
        self, lstm: LSTM, x: str, lengths: str = "", state: tuple[str, str] | None = None
    ) -> States:
        """Add an LSTM over x (time, batch, input) with lengths (batch,) int64, 1 or more.

        `state` names h_0 and c_0, (layers * directions, batch, hidden). Raises InputError for layer
        norm and projections, which ONNX's LSTM lacks.
        """
        if lstm.layer_norm or lstm.proj_size:
            raise InputError("ONNX's LSTM knows neither layer norm nor projection")
        directions = 2 if lstm.bidirectional else 1
        kind = "bidirectional" if directions == 2 else "forward"
        steps = self.op("Cast", lengths, to=6) if lengths else ""
        if state is None and lstm.learned_state:
            state = self._learned(lstm, x)
        last: list[list[str]] = []
        for layer in range(lstm.num_layers):
            rows = slice(layer * directions, (layer + 1) * directions)
            start = ["", ""]
            if state is not None:
                first, end = self.ints(rows.start), self.ints(rows.stop)
                start = [self.op("Slice", s, first, end) for s in state]
                if lstm.num_layers == 1:
                    start = [*state]
            y, h, c = self._lstm_layer(lstm, lstm.suffixes[rows], x, steps, start, kind)
            turned = self.op("Transpose", y, perm=[0, 2, 1, 3])  # (time, batch, directions, hidden)
            x = self.op("Reshape", turned, self.ints(0, 0, directions * lstm.hidden_size))
            last.append([h, c])
        if lstm.num_layers == 1:
            return States(x, *last[0])
        h_n, c_n = (self.op("Concat", *parts, axis=0) for parts in zip(*last, strict=True))
        return States(x, h_n, c_n)

    def _lstm_layer(
        self, lstm: LSTM, suffixes: list[str], x: str, steps: str, start: list[str], kind: str
    ) -> list[str]:
        """Add one layer of an LSTM in all its directions."""
        options = {"hidden_size": lstm.hidden_size, "direction": kind}
        weights = [
            torch.stack([gates(lstm, name, suffix) for suffix in suffixes]).numpy()
            for name in ("weight_ih", "weight_hh")
        ]  # (directions, 4 * hidden, size) each
        bias = ""
        if lstm.bias:
            pairs = [[gates(lstm, n, s) for n in ("bias_ih", "bias_hh")] for s in suffixes]
            bias = self.value(torch.stack([torch.cat(pair) for pair in pairs]))
        if self.form == "fp32":
            both = [self.value(weight) for weight in weights]
            return self.op("LSTM", x, *both, bias, steps, *start, results=3, **options)
        both, scales = [], []
        for weight in weights:
            rounded, scale = _rounded(np.ascontiguousarray(weight.transpose(0, 2, 1)), 1)
            both.append(self.value(rounded))
            scales += [self.value(scale[:, 0]), self.value(np.zeros(scale[:, 0].shape, np.int8))]
        given = [x, *both, bias, steps, *start, "", *scales]
        return self.op("DynamicQuantizeLSTM", *given, results=3, domain=OWN, **options)

    def _learned(self, lstm: LSTM, x: str) -> tuple[str, str]:
        """Expand learned initial states to (layers * directions, batch, hidden)."""
        batch = self.op("Shape", x, start=1, end=2)
        shape = self.op("Concat", self.ints(1), batch, self.ints(1), axis=0)
        h_0, c_0 = (
            self.op("Expand", self.value(cast(Tensor, getattr(lstm, name)).detach().float()), shape)
            for name in ("h_0", "c_0")
        )
        return h_0, c_0

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
