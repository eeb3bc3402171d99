"""python -m zoo.export MODEL FILE: a trained model for use without this package, or without Python.

FILE.pt2 holds the whole task as a `torch.export` program: ids and lengths to logits. FILE.onnx
holds the backbone: ids and lengths to output, h_n and c_n. Batch and time are free in both, padding
is without influence, and each file is run and compared with the model before it is left behind.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import math
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from zoo.data.dataset import Batch
from zoo.errors import InputError
from zoo.export import onnx
from zoo.loading import load
from zoo.nn.backbone import Backbone
from zoo.rnn.lstm import LSTM
from zoo.shared_backbone import Multitask
from zoo.task import Task
from zoo.torch_private import lstm_as_loop

if TYPE_CHECKING:
    from torch.export import ExportedProgram

TOLERANCE = 1e-5  # of what an exported model may differ
SHAPES = ((1, 5), (7, 5), (1, 33), (7, 33))  # batch and time of the comparison


class Plain(nn.Module):
    """A model as a function of tensors alone: (x or ids, lengths) -> tensors."""

    def __init__(self, model: LSTM | Backbone | Task) -> None:
        super().__init__()
        self.model = copy.deepcopy(model).cpu().eval()  # the caller's stays in training

    def forward(self, x: Tensor, lengths: Tensor) -> tuple[Tensor, ...]:
        """An LSTM's or a backbone's output, h_n and c_n; a task's logits."""
        if isinstance(self.model, Task):
            return (self.model(Batch(ids=x, lengths=lengths, row_numbers=lengths)),)
        if isinstance(self.model, Backbone):
            encoded = self.model(x, lengths)
            return encoded.output, encoded.h_n, encoded.c_n
        output, (h_n, c_n) = self.model(x, None, lengths)
        return output, h_n, c_n


def program(model: LSTM | Backbone | Task) -> ExportedProgram:
    """A `torch.export` program of (x or ids, lengths), for any batch and any time from 1 on.

    Raises InputError for an LSTM with layer norm: its loop over time is Python's.
    """
    if isinstance(model, Multitask):
        raise InputError("a shared model has several heads: export one of them, model.heads[NAME]")
    if isinstance(model, Task) and model.generates:
        raise InputError(
            f"{model.name} searches for its answers, token by token: torch.export "
            "cannot take that; FILE.onnx holds its encoder"
        )
    lstm = _lstm(model)
    if lstm.layer_norm or lstm.engine in ("hoisted", "reference"):
        raise InputError(
            "layer_norm, and engines other than torch's, loop over time in Python, "
            "which fixes the number of steps: torch.export cannot take them"
        )
    x, lengths = example(model, 3, 6)
    batch, time = torch.export.Dim("batch", min=1), torch.export.Dim("time", min=1)
    where = (0, 1) if _batch_first(model) else (1, 0)
    free = ({where[0]: batch, where[1]: time}, {0: batch})
    with _while_loops(), torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # torch's own, about its own code
        return torch.export.export(Plain(model), (x, lengths), dynamic_shapes=free)


@contextlib.contextmanager
def _while_loops() -> Iterator[None]:
    """torch.export freezes the time of an LSTM unless it is told to write a loop."""
    try:
        loop = lstm_as_loop()
    except ImportError:
        raise InputError(
            f"torch {torch.__version__} has no while_loop for LSTM in torch.export; "
            "2.11 to 2.13 have"
        ) from None
    with loop:
        yield


def example(model: LSTM | Backbone | Task, batch: int, time: int) -> tuple[Tensor, Tensor]:
    """Made-up input of ragged lengths: x or ids, and lengths (batch,) from 1 to time."""
    generator = torch.Generator().manual_seed(batch * 1000 + time)
    lengths = torch.randint(1, time + 1, (batch,), generator=generator)
    lengths[0] = time
    if isinstance(model, LSTM):
        shape = (batch, time) if model.batch_first else (time, batch)
        return torch.randn(*shape, model.input_size, generator=generator), lengths
    backbone = model.backbone if isinstance(model, Task) else model
    if backbone.embedding is None:
        return torch.randn(batch, time, backbone.lstm.input_size, generator=generator), lengths
    count = backbone.embedding.num_embeddings
    return torch.randint(1, count, (batch, time), generator=generator), lengths


def difference(model: LSTM | Backbone | Task, run: Callable[[Tensor, Tensor], Any]) -> float:
    """The largest difference between `run(x, lengths)` and the model, at four shapes."""
    worst = 0.0
    for shape in SHAPES:
        x, lengths = example(model, *shape)
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            wanted, found = Plain(model)(x, lengths), run(x, lengths)
        for one, other in zip(wanted, found, strict=True):
            gap = (one - torch.as_tensor(other)).abs().max()
            worst = max(worst, float(gap.nan_to_num(math.inf)))
    return worst


def save(model: LSTM | Backbone | Task, path: str | Path) -> float:
    """Write the model as PATH.pt2 or PATH.onnx; returns the largest difference that was found.

    Of a Task, .onnx holds the backbone. Raises InputError when the ending is another one, when a
    part cannot be exported, or when the file differs from the model: then nothing is left behind.
    """
    path = Path(path)
    if isinstance(model, Task) and not model.by_ids:
        raise InputError(
            f"{model.name} reads more of a word than its id: ids and lengths are not enough for it"
        )
    dtype = next(model.parameters()).dtype
    if dtype != torch.float32:
        raise InputError(f"{path}: the weights are {dtype}: model.float() makes them float32")
    with tempfile.TemporaryDirectory(dir=path.parent if path.parent.is_dir() else None) as folder:
        made = Path(folder) / path.name
        if path.suffix == ".pt2":
            torch.export.save(program(model), made)
            found = difference(model, torch.export.load(made).module())
        elif path.suffix == ".onnx":
            inner = model.backbone if isinstance(model, Task) else model
            onnx.write(inner, made)
            found = difference(inner, onnx.session(made))
        else:
            raise InputError(f"{path}: the ending says what is written: .pt2 or .onnx")
        if not found <= TOLERANCE:
            raise InputError(f"{path}: differs from the model by {found:.1e}: not written")
        made.replace(path)
    return found


def _lstm(model: LSTM | Backbone | Task) -> LSTM:
    if isinstance(model, LSTM):
        return model
    return model.backbone.lstm if isinstance(model, Task) else model.lstm


def _batch_first(model: LSTM | Backbone | Task) -> bool:
    return model.batch_first if isinstance(model, LSTM) else True


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        "python -m zoo.export", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("model", help="a model folder or name")
    parser.add_argument("file", help="FILE.pt2: the whole task; FILE.onnx: its backbone")
    chosen = parser.parse_args(arguments)
    try:
        found = save(load(chosen.model), chosen.file)
    except (InputError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"{chosen.file}: written; differs from the model by {found:.1e} at most")
    return 0
