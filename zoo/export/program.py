"""python -m zoo.export MODEL FILE|FOLDER: export a trained model.

FOLDER holds the whole task for `zoo.runtime`, which needs no torch: see `zoo.export.whole`.
Two kinds of FILE need nothing of this package. FILE.pt2 holds the whole task as a `torch.export` program: ids and lengths to logits. FILE.onnx
holds the backbone: ids and lengths to output, h_n and c_n. A task on features takes x instead of
ids. `--task FILE.py` makes a task of your own known. Batch and time are dynamic in both, and
padding has no influence. Each file is run and compared with the model before it is kept.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import math
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from zoo.data.batch import Batch
from zoo.errors import InputError
from zoo.export import onnx, whole
from zoo.files.own_files import PROGRAM, check_new
from zoo.loading import load
from zoo.messages import _, failed
from zoo.nn.backbone import Backbone
from zoo.registry import load_file
from zoo.rnn.gru.gru import GRU
from zoo.rnn.lstm import LSTM
from zoo.shared_backbone import Multitask
from zoo.task import Generative, Task
from zoo.torch_private import rnn_as_loop

Model = LSTM | GRU | Backbone | Task

if TYPE_CHECKING:
    from torch.export import ExportedProgram

# The largest allowed difference of an exported model. ONNX Runtime approximates tanh and sigmoid.
TOLERANCES = {".pt2": 1e-5, ".onnx": 1e-4}
ENDINGS = _("the ending says what is written: .pt2 or .onnx; without one it is a folder")
SHAPES = ((1, 5), (7, 5), (1, 33), (7, 33))  # (batch, time) of the comparisons


class Plain(nn.Module):
    """A model as a function of tensors: (x or ids, lengths) -> tensors."""

    def __init__(self, model: Model) -> None:
        super().__init__()
        self.model = (
            copy.deepcopy(model).cpu().eval()
        )  # the caller's model keeps its mode and device

    def forward(self, x: Tensor, lengths: Tensor) -> tuple[Tensor, ...]:
        """Return output, h_n and, of an LSTM, c_n of a layer or a backbone; of a task its logits."""
        if isinstance(self.model, Task):
            return (self.model(Batch(inputs=x, lengths=lengths)),)
        if isinstance(self.model, Backbone):
            encoded = self.model(x, lengths)
            return encoded.output, *encoded.state
        output, last = self.model(x, None, lengths)
        return output, *self.model.state_of(last)


def program(model: Model) -> ExportedProgram:
    """Return a `torch.export` program of (x or ids, lengths), for any batch and time from 1.

    Raises InputError for a shared model, a task that generates, and a layer with a Python loop over
    time: layer norm, or the engines "hoisted" and "reference".
    """
    if isinstance(model, Multitask):
        raise InputError(
            _("a shared model has several heads: export one of them, model.heads[NAME]")
        )
    if isinstance(model, Generative):
        raise InputError(
            _(
                "{task} searches for its answers, token by token: torch.export cannot take that; "
                "FILE.onnx holds its encoder",
                task=model.name,
            )
        )
    rnn = _rnn(model)
    if rnn.layer_norm or rnn.engine in ("hoisted", "reference"):
        raise InputError(
            _(
                "layer_norm, and engines other than torch's, loop over time in Python, which fixes "
                "the number of steps: torch.export cannot take them"
            )
        )
    x, lengths = example(model, 3, 6)
    batch = torch.export.Dim("batch", min=1)
    time = torch.export.Dim("time", min=1)
    x_shape = {0: batch, 1: time} if _batch_first(model) else {1: batch, 0: time}
    dynamic_shapes = (x_shape, {0: batch})
    with _while_loops(rnn.mode), torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # raised by torch about its own code
        # An LSTM reads its weights anew in each call; the parameters themselves are exported.
        warnings.filterwarnings("ignore", r"The tensor attributes? .*_flat_weights", UserWarning)
        return torch.export.export(Plain(model), (x, lengths), dynamic_shapes=dynamic_shapes)


@contextlib.contextmanager
def _while_loops(mode: str) -> Iterator[None]:
    """Make torch.export write a loop over time. Otherwise it fixes the number of steps.

    Raises InputError for a torch version without this.
    """
    try:
        loop = rnn_as_loop(mode)
    except ImportError:
        raise InputError(
            _(
                "torch {version} has no while_loop for {mode} in torch.export; 2.11 to 2.13 have",
                version=torch.__version__,
                mode=mode,
            )
        ) from None
    with loop:
        yield


def example(model: Model, batch: int, time: int) -> tuple[Tensor, Tensor]:
    """Return random input: x or ids, and ragged lengths (batch,) from 1 to `time`."""
    generator = torch.Generator().manual_seed(batch * 1000 + time)
    lengths = torch.randint(1, time + 1, (batch,), generator=generator)
    lengths[0] = time
    if isinstance(model, (LSTM, GRU)):
        shape = (batch, time) if model.batch_first else (time, batch)
        return torch.randn(*shape, model.input_size, generator=generator), lengths
    backbone = model.backbone if isinstance(model, Task) else model
    if backbone.embedding is None:
        return torch.randn(batch, time, backbone.rnn.input_size, generator=generator), lengths
    count = backbone.embedding.num_embeddings
    return torch.randint(1, count, (batch, time), generator=generator), lengths


def difference(model: Model, run: Callable[[Tensor, Tensor], Any]) -> float:
    """Return the largest difference between `run(x, lengths)` and the model.

    Compares at the four SHAPES. Where a tensor's largest value is above 1, as in `c_n`, the
    difference is a share of it. A NaN counts as infinite.
    """
    worst = 0.0
    for shape in SHAPES:
        x, lengths = example(model, *shape)
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            wanted = Plain(model)(x, lengths)
            found = run(x, lengths)
        for one, other in zip(wanted, found, strict=True):
            gap = (one - torch.as_tensor(other)).abs().max() / one.abs().max().clamp(min=1)
            worst = max(worst, float(gap.nan_to_num(math.inf)))
    return worst


def save(model: Model, path: str | Path, overwrite: bool = False) -> float:
    """Write the model to PATH.pt2 or PATH.onnx. Return the largest difference from the model.

    The .onnx file of a Task holds the backbone. Raises InputError for another suffix, for a model
    that cannot be exported, and for a file that differs from the model. Then no file is written.
    An existing file is an error too; with `overwrite` an earlier export is replaced.
    """
    path = Path(path)
    check_new(path, overwrite, "--overwrite")
    if isinstance(model, Task):
        _check_inputs(model, whole=path.suffix == ".pt2")
    dtype = next(model.parameters()).dtype
    if dtype != torch.float32:
        raise InputError(
            _(
                "{path}: the weights are {dtype}: model.float() makes them float32",
                path=path,
                dtype=dtype,
            )
        )
    if not path.parent.is_dir():
        raise InputError(_("{path}: there is no folder {parent}", path=path, parent=path.parent))
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        made = Path(folder) / path.name
        if path.suffix == ".pt2":
            torch.export.save(program(model), made, extra_files={PROGRAM: ""})
            found = difference(model, torch.export.load(made).module())
        elif path.suffix == ".onnx":
            inner = model.backbone if isinstance(model, Task) else model
            onnx.write(inner, made)
            found = difference(inner, onnx.session(made))
        else:
            raise InputError(f"{path}: " + ENDINGS)
        if not found <= TOLERANCES[path.suffix]:
            raise InputError(
                _("{path}: differs from the model by {gap:.1e}: not written", path=path, gap=found)
            )
        check_new(path, overwrite, "--overwrite")  # it may have come in the meantime
        made.replace(path)
    return found


def _check_inputs(task: Task, whole: bool) -> None:
    """Raise InputError for a task whose backbone reads more of a batch than its inputs.

    With `whole` the task must not read more, either.
    """
    x, lengths = example(task, 1, 1)
    try:
        with torch.no_grad():
            batch = Batch(inputs=x, lengths=lengths).to(task.device)
            encoded = task._run_backbone(batch)
            if whole and not isinstance(task, (Generative, Multitask)):
                task(batch, encoded=encoded)
    except KeyError as missing:  # of Batch.extras
        raise InputError(
            _(
                "{task} reads more than its inputs and lengths: {name}; a FOLDER holds the whole "
                "task",
                task=task.name,
                name=missing.args[0],
            )
        ) from None


def _rnn(model: Model) -> LSTM | GRU:
    if isinstance(model, (LSTM, GRU)):
        return model
    return model.backbone.rnn if isinstance(model, Task) else model.rnn


def _batch_first(model: Model) -> bool:
    return model.batch_first if isinstance(model, (LSTM, GRU)) else True


def _form(settings: list[str]) -> whole.Form:
    """Return the form of the weights: quantize=int8 or fp32. Raises InputError."""
    form: whole.Form = "fp32"
    for setting in settings:
        name, _equals, value = setting.partition("=")
        if name != "quantize" or value not in ("fp32", "int8"):
            raise InputError(
                _("{setting}: is no setting of an export: quantize=int8 is", setting=setting)
            )
        form = "int8" if value == "int8" else "fp32"
    return form


def main(arguments: list[str] | None = None) -> int:
    """Export a model. Return 0, or 2 after an error on standard error."""
    parser = argparse.ArgumentParser(
        "python -m zoo.export", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("model", help="a model folder or name")
    parser.add_argument(
        "file",
        metavar="FOLDER|FILE",
        help="FOLDER: the task for zoo.runtime; FILE.pt2: ids to logits; FILE.onnx: the backbone",
    )
    parser.add_argument("settings", nargs="*", help="quantize=int8: weights of one byte (FOLDER)")
    parser.add_argument("--task", metavar="FILE.py", help="the file of a task of your own")
    parser.add_argument("--overwrite", action="store_true", help="replace an earlier export")
    chosen = parser.parse_args(arguments)
    try:
        if chosen.task is not None:
            load_file(chosen.task)
        path, form = Path(chosen.file), _form(chosen.settings)
        if not path.suffix:
            whole.check_new_folder(path, chosen.overwrite)
            said = whole.save(load(chosen.model), path, form, chosen.overwrite, chosen.model)
            print(f"{path}: written, {form}; {said}")
            return 0
        if path.suffix not in TOLERANCES:
            raise InputError(f"{path}: " + ENDINGS)
        if form != "fp32":
            raise InputError(
                _("{path}: quantize={form} is of a FOLDER, not of a file", path=path, form=form)
            )
        check_new(Path(chosen.file), chosen.overwrite, "--overwrite")
        found = save(load(chosen.model), chosen.file, chosen.overwrite)
    except (InputError, OSError) as error:
        return failed(error)
    print(f"{chosen.file}: written; differs from the model by {found:.1e} at most")
    return 0
