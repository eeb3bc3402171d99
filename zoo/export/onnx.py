"""Export an LSTM, a GRU or a backbone as an ONNX graph: Gather -> LSTM -> … -> Transpose.

The ONNX operators take the lengths of the rows (`sequence_lens`), so padding has no influence.
The gate order of LSTM is i, o, f, g, that of GRU z, r, n. Needs the extra [export].
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from zoo.errors import InputError
from zoo.files.own_files import PROGRAM
from zoo.nn.backbone import Backbone
from zoo.rnn.gru.gru import GRU
from zoo.rnn.lstm import LSTM

OPSET = 17
MISSING = 'ONNX needs onnx and onnxruntime: pip install -e ".[export]"'


class Graph:
    """Nodes and constants of an ONNX graph, in order of addition."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def add(self, kind: str, inputs: list[str], outputs: list[str], **attributes: Any) -> str:
        """Add a node. Return the name of its first output."""
        from onnx import helper

        self.nodes.append(helper.make_node(kind, inputs, outputs, **attributes))
        return outputs[0]

    def constant(self, name: str, value: Tensor | np.ndarray) -> str:
        """Add a constant. Return its name."""
        from onnx import numpy_helper

        array = value.detach().cpu().numpy() if isinstance(value, Tensor) else value
        self.constants.append(numpy_helper.from_array(np.asarray(array, order="C"), name))
        return name


def write(model: LSTM | GRU | Backbone, path: Path) -> None:
    """Write the ONNX graph of (x or ids, lengths) -> output, h_n, c_n. Batch and time are dynamic.

    A GRU has no c_n.

    x: (batch, time, input), or (time, batch, input) without batch_first, float32. ids: (batch,
    time) int64. lengths: (batch,) int64, at least 1. Raises InputError for an LSTM that ONNX does
    not support, and without the packages.
    """
    try:
        import onnx
        from onnx import TensorProto, helper
    except ImportError:
        raise InputError(MISSING) from None
    embedding = model.embedding if isinstance(model, Backbone) else None
    rnn = model.rnn if isinstance(model, Backbone) else model
    if rnn.layer_norm or rnn.proj_size:
        cure = ": export the whole task into a FOLDER" if rnn.layer_norm else ""
        raise InputError(f"ONNX's LSTM knows neither layer norm nor projection{cure}")
    graph = Graph()
    first = ["batch", "time"] if rnn.batch_first else ["time", "batch"]
    if embedding is not None:
        table = graph.constant("embedding", embedding.weight.float())
        x = graph.add("Gather", [table, "ids"], ["embedded"])
        given = helper.make_tensor_value_info("ids", TensorProto.INT64, first)
    else:
        x = "x"
        given = helper.make_tensor_value_info("x", TensorProto.FLOAT, [*first, rnn.input_size])
    if rnn.batch_first:
        x = graph.add("Transpose", [x], ["time_first"], perm=[1, 0, 2])
    graph.add("Cast", ["lengths"], ["sequence_lens"], to=TensorProto.INT32)
    _layers(graph, rnn, x)
    directions = 2 if rnn.bidirectional else 1
    count, size = rnn.num_layers * directions, rnn.hidden_size
    results: list[tuple[str, list[str | int]]] = [("output", [*first, directions * size])]
    results += [(name, [count, "batch", size]) for name in [f"{part}_n" for part in rnn.parts]]
    onnx_graph = helper.make_graph(
        graph.nodes,
        rnn.mode.lower(),
        [given, helper.make_tensor_value_info("lengths", TensorProto.INT64, ["batch"])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in results],
        graph.constants,
    )
    whole = helper.make_model(
        onnx_graph, opset_imports=[helper.make_opsetid("", OPSET)], producer_name=PROGRAM
    )
    whole.ir_version = 8
    onnx.checker.check_model(whole, full_check=True)
    onnx.save(whole, str(path))


def _layers(graph: Graph, rnn: LSTM | GRU, x: str) -> None:
    """Add one LSTM or GRU node per layer, from x (time, batch, input) to output, h_n and c_n."""
    directions = 2 if rnn.bidirectional else 1
    last: list[list[str]] = []
    options: dict[str, Any] = (
        {"linear_before_reset": 1} if isinstance(rnn, GRU) else {}
    )  # torch's variant
    for layer in range(rnn.num_layers):
        suffixes = rnn.suffixes[layer * directions : (layer + 1) * directions]
        inputs = [x, *_weights(graph, rnn, suffixes, layer), "sequence_lens"]
        if rnn.learned_state:
            inputs += [_state(graph, rnn, f"{p}_0", layer, directions, x) for p in rnn.parts]
        names = [f"{name}{layer}" for name in ("y", *rnn.parts)]
        kind = "bidirectional" if directions == 2 else "forward"
        options |= {"hidden_size": rnn.hidden_size, "direction": kind}
        graph.add(rnn.mode, inputs, names, **options)
        # y: (time, directions, batch, hidden) -> (time, batch, directions * hidden)
        transposed = graph.add("Transpose", [names[0]], [f"turned{layer}"], perm=[0, 2, 1, 3])
        shape = graph.constant(f"shape{layer}", np.array([0, 0, -1], np.int64))
        x = graph.add("Reshape", [transposed, shape], [f"output{layer}"])
        last.append(names[1:])
    order = [1, 0, 2] if rnn.batch_first else [0, 1, 2]
    graph.add("Transpose", [x], ["output"], perm=order)
    for part, ends in zip(rnn.parts, zip(*last, strict=True), strict=True):
        graph.add("Concat", [*ends], [f"{part}_n"], axis=0)


def _weights(graph: Graph, rnn: LSTM | GRU, suffixes: list[str], layer: int) -> list[str]:
    """Add the constants W, R and B of a layer. Return their names; "" without bias.

    W: (directions, gates * hidden, input), of an LSTM 4 gates, of a GRU 3. R: (directions, gates *
    hidden, hidden). B: (directions, 2 * gates * hidden).
    """

    parts = {
        "W": torch.stack([gates(rnn, "weight_ih", suffix) for suffix in suffixes]),
        "R": torch.stack([gates(rnn, "weight_hh", suffix) for suffix in suffixes]),
    }
    if rnn.bias:
        biases = [
            [gates(rnn, name, suffix) for name in ("bias_ih", "bias_hh")] for suffix in suffixes
        ]
        parts["B"] = torch.stack([torch.cat(pair) for pair in biases])
    names = [graph.constant(f"{name}{layer}", value) for name, value in parts.items()]
    return names if rnn.bias else [*names, ""]


def gates(rnn: LSTM | GRU, name: str, suffix: str) -> Tensor:
    """Return a weight or bias with its gates in the order of ONNX: i, o, f, g, or z, r, n."""
    weight = getattr(rnn, name + suffix).detach().float()
    if isinstance(rnn, GRU):
        r, z, n = weight.chunk(3)
        return torch.cat([z, r, n])
    i, f, g, o = weight.chunk(4)
    return torch.cat([i, o, f, g])


def _state(graph: Graph, rnn: LSTM | GRU, name: str, layer: int, directions: int, x: str) -> str:
    """Add a learned initial state, expanded to (directions, batch, hidden). Return its name."""
    learned = getattr(rnn, name).detach().float()
    rows = slice(layer * directions, (layer + 1) * directions)
    value = graph.constant(f"{name}_{layer}", learned[rows])  # (directions, 1, hidden)
    sizes = graph.add("Shape", [x], [f"{name}_{layer}_sizes"], start=1, end=2)  # (batch,)
    ones = graph.constant(f"{name}_{layer}_one", np.ones(1, np.int64))
    shape = graph.add("Concat", [ones, sizes, ones], [f"{name}_{layer}_shape"], axis=0)
    return graph.add("Expand", [value, shape], [f"{name}_{layer}_rows"])


def session(path: Path) -> Callable[[Tensor, Tensor], list[np.ndarray]]:
    """Return a function of (x or ids, lengths) that runs the file in ONNX Runtime."""
    try:
        import onnxruntime
    except ImportError:
        raise InputError(MISSING) from None
    loaded = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    name = loaded.get_inputs()[0].name

    def run(x: Tensor, lengths: Tensor) -> list[np.ndarray]:
        return loaded.run(None, {name: x.numpy(), "lengths": lengths.numpy()})

    return run
