"""The tensors of the LSTM or GRU over one input: `output`, `h_n`, `c_n`, and the gates behind them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import layer_norm

from zoo.data.batch import Batch
from zoo.evaluation.attribution import Question
from zoo.nn.backbone import Encoded
from zoo.rnn.gru.gru import GRU
from zoo.rnn.gru.gru_reference import Gates as GRUGates
from zoo.rnn.lstm import LSTM
from zoo.rnn.lstm_reference import EPSILON, Gates
from zoo.task import Task

MOST_STEPS = 5_000  # whose gates are computed: the reference engine takes them one by one
DIGITS = 6  # significant ones


def states(task: Task, question: Question, full: bool = False) -> dict[str, Any]:
    """Return what the LSTM or GRU did over the input of a question, as plain data.

    cell: "lstm" or "gru". layers, hidden_size, bidirectional: of the layer. steps: the text of each step that it reads.
    output_read: for each direction, the steps of `output` that the task reads.
    cells: one for each layer and direction: the norm of h ("output") and of the cell ("c") at each
        step, the mean of the gates i, f, g and o; "h_n" and "c_n" with the step where they are
        taken, their norm, and whether the task reads them. With `full` "h" is h at each step. A GRU
        has no cell: its gates are r, z and n, and "c" and "c_n" are not there.
    Of an input without a step, and of one with more than MOST_STEPS, `cells` is empty.
    """
    rnn = task.backbone.rnn
    names = question.step_names()
    found: dict[str, Any] = {
        "cell": task.backbone.config.cell,
        "layers": rnn.num_layers,
        "bidirectional": rnn.bidirectional,
        "hidden_size": rnn.hidden_size,
        "steps": names,
        "output_read": [[] for _ in range(1 + rnn.bidirectional)],
        "cells": [],
    }
    batch = task.collate([question.example]).to(task.device)
    steps = int(batch.lengths[0])
    if not 0 < steps <= MOST_STEPS:
        return found
    with torch.inference_mode(False):
        encoded, gates = _run(task, batch)
        read = _read(task, question, batch, encoded)
    output = read.output[0].unflatten(-1, (1 + rnn.bidirectional, -1)).any(-1)  # (time, directions)
    found["output_read"] = [way.nonzero().flatten().tolist() for way in output[:steps].T]
    shown = hidden_states(rnn, gates)
    for index in range(len(rnn.suffixes)):
        layer, backward = divmod(index, 1 + rnn.bidirectional)
        last = 0 if backward else steps - 1
        cell: dict[str, Any] = {
            "layer": layer,
            "direction": "backward" if backward else "forward",
            "output": _plain(shown[index].norm(dim=-1)),
        }
        names_of = "ifgo" if isinstance(gates, Gates) else "rzn"
        cell |= {name: _plain(getattr(gates, name)[index].mean(-1)) for name in names_of}
        if isinstance(gates, Gates):
            cell["c"] = _plain(gates.c[index].norm(dim=-1))
        for name in ("h_n", "c_n") if isinstance(gates, Gates) else ("h_n",):
            norm = float(getattr(encoded, name)[index, 0].norm())
            is_read = bool(getattr(read, name)[index, 0].any())
            cell[name] = {"step": last, "norm": float(f"{norm:.{DIGITS}g}"), "read": is_read}
        if full:
            cell["h"] = [_plain(step) for step in shown[index]]
        found["cells"].append(cell)
    return found


@torch.no_grad()
def _run(task: Task, batch: Batch) -> tuple[Encoded, Gates | GRUGates]:
    """Return the backbone's results over a batch, and the gates over its first row."""
    vectors = task._float_parts(batch)["inputs"]
    encoded = task.backbone(vectors, batch.lengths)
    return encoded, gates_of(task, vectors[:1, : int(batch.lengths[0])])


def gates_of(task: Task, vectors: Tensor) -> Gates | GRUGates:
    """Return the gates and the cells, or of a GRU h, over vectors (1, time, size).

    Each is (layers * directions, time, hidden).
    """
    rnn = task.backbone.rnn
    *_, values = rnn(vectors, return_gates=True)
    return rnn.gates(*(gate[:, 0] for gate in values))  # each was (layers * directions, 1, time, …)


def hidden_states(rnn: LSTM | GRU, gates: Gates | GRUGates) -> Tensor:
    """Return h at each step, (layers * directions, time, hidden), from the gates and cells."""
    if isinstance(gates, GRUGates):
        return gates.h
    cells = gates.c
    if rnn.layer_norm:
        norms = []
        for suffix, cell in zip(rnn.suffixes, cells, strict=True):
            scale = getattr(rnn, "norm_weight" + suffix)[4]
            shift = getattr(rnn, "norm_bias" + suffix)[4]
            norms.append(layer_norm(cell, cell.shape[-1:], scale, shift, EPSILON))
        cells = torch.stack(norms)
    return gates.o * cells.tanh()


def _read(task: Task, question: Question, batch: Batch, encoded: Encoded) -> Encoded:
    """Return which numbers of the backbone's results the answer depends on, as bools.

    They are those with a gradient: what the task does not read has none.
    """
    parts = [encoded.output, *encoded.state]
    leaves = [part.detach().clone().requires_grad_() for part in parts]
    with torch.enable_grad():
        output, h_n, *cell = leaves
        given = Encoded(output, h_n, cell[0] if cell else None, encoded.lengths)
        logits = task(batch, encoded=given)
        slopes = torch.autograd.grad(logits.square().sum(), leaves, materialize_grads=True)
    output, h_n, *cell = (slope != 0 for slope in slopes)
    return Encoded(output, h_n, cell[0] if cell else None, encoded.lengths)


def _plain(values: Tensor) -> list[float]:
    return [float(f"{value:.{DIGITS}g}") for value in values.double().tolist()]
