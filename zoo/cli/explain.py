"""Explain a task and an answer: what it reads of the LSTM, the shapes, what mattered, the gates."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from zoo.data.batch import Batch
from zoo.data.readers import Row
from zoo.device import DTYPES, find_precision
from zoo.evaluation import plots
from zoo.explanation import page, picture, terminal
from zoo.explanation.answer import explain_given
from zoo.explanation.states import gates_of
from zoo.generation.config import GenerationConfig
from zoo.rnn import kernels
from zoo.rnn.gru.gru import GRU
from zoo.rnn.gru.gru_reference import Gates as GRUGates
from zoo.rnn.lstm_reference import Gates
from zoo.task import Generative, Task, input_row, predict_rows

FILES = "gates.png", "why.png", "why.html", "answer.png"  # that mode=explain writes


@dataclass(frozen=True)
class Line:
    """One tensor of the forward pass of a batch."""

    name: str
    shape: tuple[int, ...]
    meaning: str


@torch.no_grad()
def shapes(task: Task, batch: Batch) -> list[Line]:
    """Return every tensor from ids or features to logits, in order of computation."""
    task.eval()
    encoded = task._run_backbone(batch)
    rnn = task.backbone.rnn
    directions = 2 if rnn.bidirectional else 1
    layers = f"{rnn.num_layers} layer(s) x {directions} direction(s)"
    meaning = f"{layers}, batch, hidden: the cell after the last step"
    cell = [] if encoded.c_n is None else [("c_n", encoded.c_n, meaning)]
    read = task.read(encoded)
    parts = read if isinstance(read, tuple) else (read,)
    floats = batch.inputs.is_floating_point()
    given = ("features", "batch, time, features") if floats else ("ids", "batch, time")
    tensors: list[tuple[str, Tensor, str]] = [
        (given[0], batch.inputs, given[1]),
        ("lengths", batch.lengths, "batch: real steps, the rest is padding"),
        (
            "output",
            encoded.output,
            f"batch, time, {directions} x hidden: h of the top layer, each step",
        ),
        ("h_n", encoded.h_n, f"{layers}, batch, hidden: h after the last step"),
        *cell,
        *((f"read from {task.reads}", part, task.shape) for part in parts),
        ("logits", task(batch, encoded=encoded), task.logits),
    ]
    return [Line(name, tuple(tensor.shape), meaning) for name, tensor, meaning in tensors]


def sentence(task: Task) -> str:
    """Return a sentence: the output of the LSTM or GRU that the task reads, and why."""
    return f"{task.name} reads {task.reads}: {task.why}."


def kernel(task: Task, batch: Batch) -> kernels.Explanation | str:
    """Explain which kernel runs on a batch, in the precision that training chooses.

    Of a GRU only the engine is known.
    """
    rnn = task.backbone.rnn
    if isinstance(rnn, GRU):
        return f"engine {'torch' if rnn.engine == 'auto' else rnn.engine}"
    dtype = DTYPES[find_precision("auto", task.device)]
    rows, time = batch.inputs.shape[:2]
    ragged = bool((batch.lengths < time).any())
    return rnn.explain(rows, time, task.device, dtype, ragged)


@torch.no_grad()
def gates(task: Task, batch: Batch) -> tuple[list[str], Gates | GRUGates]:
    """Return the tokens of a batch's first row, and the gates and cells, of a GRU h, over them.

    Each gate is (layers * directions, time, hidden). Of float features, the tokens are the numbers
    of the steps. Raises ValueError for an empty row.
    """
    task.eval()
    steps = int(batch.lengths[0])
    if not steps:
        raise ValueError("an empty text has no gates to show")
    found = gates_of(task, lstm_inputs(task, batch)[:1, :steps])
    if batch.inputs.is_floating_point():
        return [str(step) for step in range(1, steps + 1)], found
    return task.tokenizer.pieces(batch.inputs[0, :steps].tolist()), found


def lstm_inputs(task: Task, batch: Batch) -> Tensor:
    """Return what the recurrent layer of the backbone reads of a batch: (batch, time, features)."""
    return task._float_parts(batch)["inputs"]


def draw(task: Task, batch: Batch, folder: Path) -> Path:
    """Write the gates over a batch's first row to gates.png in `folder`. Return its path."""
    tokens, values = gates(task, batch)
    names = [suffix[1:].replace("_", " ") for suffix in task.backbone.rnn.suffixes]
    folder.mkdir(parents=True, exist_ok=True)
    return plots.gates(tokens, [gate.float().cpu().numpy() for gate in values], names, folder)


@dataclass(frozen=True)
class Why:
    """An answer to a row, and its explanation."""

    row: Row
    answer: Any
    explanation: dict[str, Any]


def answer(
    task: Task, row: Row, config: GenerationConfig | None, target: str | None, splitter: str
) -> Why:
    """Answer a row, print the answer and what mattered for it, and return both."""
    own = input_row(task, row, splitter)
    found = next(predict_rows(task, [own], config=config))
    explanation = explain_given(task, row, found, target, splitter)
    terminal.show(explanation, task.format(found))
    return Why(own, found, explanation)


def draw_all(task: Task, batch: Batch, why: Why, folder: Path) -> Iterator[str]:
    """Write an explanation as a picture and as a page, with the gates; yield a line for each file."""
    gates_path = draw(task, batch, folder)
    title = task.format(why.answer)
    picture_path, page_path, answer_path = (folder / name for name in FILES[1:])
    picture.draw(why.explanation, title, picture_path)
    page.write(why.explanation, title, [picture_path, gates_path], page_path)
    yield f"what mattered, and the states of the LSTM: {picture_path}"
    yield f"all of it as a page: {page_path}"
    yield f"gates over the tokens: {gates_path}"
    if isinstance(task, Generative) and task.plot(why.row, why.answer, answer_path):
        yield f"its answer as a picture: {answer_path}"
