"""Part "right" runs the tests marked `gpu`, and compares CUDA with float64 on the CPU."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from zoo import device as machine
from zoo.bench.gpu.device import tf32
from zoo.bench.gpu.kernels import Steps, dtype_of, ragged, ways
from zoo.bench.gpu.parts import Measurement, Setting, apart
from zoo.bench.lstm import Sizes
from zoo.config import check, compose
from zoo.errors import InputError
from zoo.hub.retrain import examples
from zoo.loading import load
from zoo.model_folder import verify
from zoo.model_folder.verify import read_expected
from zoo.nn.losses.cross_entropy import linear_cross_entropy
from zoo.rnn.lstm import LSTM
from zoo.training import pipeline
from zoo.training.build import build
from zoo.training.options import options_of
from zoo.training.rows import open_rows
from zoo.training.state import TrainingState

ROOT = Path(__file__).resolve().parents[3]
INI = """\
[pytest]
addopts = --import-mode=importlib
markers =
    gpu: needs a CUDA device
    timeout: seconds that a test may take, for a plugin that may be missing
filterwarnings =
    error
    ignore:Please use the new API
"""
MARKED = re.compile(r"""^[^'"#\n]*pytest\.mark\.gpu""", re.MULTILINE)  # in no text, no comment
OUTCOME = re.compile(r" (PASSED|FAILED|SKIPPED|ERROR)\b.*\[ *\d+%\]")  # of a test, by pytest -v
FAILED = re.compile(r"^(FAILED|ERROR) |(FAILED|ERROR) +\[ *\d+%\]")
LINES = 60  # number of lines about failures
TAIL = 4000  # number of characters of the tests' output
BOUNDS = {"fp32": 1e-4, "tf32": 2e-2, "fp16": 2e-2, "bf16": 1.5e-1}  # shares of the largest value
LEARNED = (16, 6, 5000), (2048, 128, 33_278)  # rows, size, vocabulary of the last layer
TRAINING = [  # this short training uses the scaler, the average and all dropouts
    "task=classify",
    "data=files",
    "tokenizer.kind=words",
    "tokenizer.min_count=1",
    "backbone.num_layers=2",
    "backbone.embedding_size=24",
    "backbone.hidden_size=24",
    "backbone.weight_dropout=0.2",
    "backbone.output_dropout=0.2",
    "train.init_embeddings=false",
    "train.epochs=2",
    "train.batch_rows=8",
    "train.patience=0",
    "baseline=false",
]
ROWS = 64  # of that training
STOP = 3  # the step that is interrupted


class Shape(NamedTuple):
    """A shape describes an LSTM and a batch for it."""

    size: Sizes
    layers: int = 1
    both: bool = False
    padded: bool = True


SHAPES = (
    Shape(Sizes(7, 33, 64), 2, True),
    Shape(Sizes(20, 35, 200), 1, False, False),
    Shape(Sizes(32, 60, 256), 2, True),
    Shape(Sizes(8, 50, 1024)),
)
TINY = Shape(Sizes(3, 5, 8), 2, True), Shape(Sizes(2, 4, 6), 1, False, False)


def measurements(setting: Setting) -> list[Measurement]:
    """Return the measurements. The tests marked `gpu` come first."""
    checks = [
        Measurement(f"engines against float64, {precision}", partial(engines, precision, setting))
        for precision in BOUNDS
    ]
    norms = [
        Measurement(f"layer norm against float64, {p}", partial(norm, p, setting)) for p in BOUNDS
    ]
    last = [
        Measurement(f"last layer against float64, {p}", partial(layer, p, setting)) for p in BOUNDS
    ]
    return [
        Measurement("tests marked gpu", partial(marked, setting), 0.6),
        *checks,
        Measurement("padding", partial(padding, setting)),
        *norms,
        *last,
        Measurement("the same seed, and a resumed training", partial(repeats, setting), 0.7),
        Measurement("saved here, loaded on the CPU", partial(saved, setting)),
        Measurement("shipped models", partial(shipped, setting)),
    ]


def marked(setting: Setting, root: Path = ROOT) -> Iterator[dict[str, Any]]:
    """Run the tests that are marked `gpu` in a process of their own.

    pytest gets its own configuration. That of the project names plugins that may be missing.
    """
    files = [
        path
        for path in sorted((root / "tests").rglob("test_*.py"))
        if MARKED.search(path.read_text("utf-8"))
    ]
    if not files:
        yield {"note": "no tests are here that are marked gpu"}
        return
    with tempfile.TemporaryDirectory() as folder:
        ini = Path(folder) / "pytest.ini"
        ini.write_text(INI)
        command = [
            sys.executable,
            "-m",
            "pytest",
            "-m",
            "gpu",
            "-v",
            "-rfE",
            "--tb=short",
            "-p",
            "no:cacheprovider",
            "-c",
            str(ini),
            "--rootdir",
            str(root),
            *map(str, files),
        ]
        paths = os.pathsep.join(
            [str(root), str(root / "tests"), str(root / "tests" / "cases"), *filter(None, sys.path)]
        )
        plain = "PYTEST_DISABLE_PLUGIN_AUTOLOAD", "HYPOTHESIS_NO_PLUGINS", "PYTHONUNBUFFERED"
        own = {"PYTHONPATH": paths, **dict.fromkeys(plain, "1")}
        text, code = _run(command, root, os.environ | own, max(5.0, 0.5 * setting.seconds))
    yield {
        "files": [path.name for path in files],
        "code": code,
        "counts": Counter(word.lower() for word in OUTCOME.findall(text)),
        "right": code == 0,
        "failed": [line for line in text.splitlines() if FAILED.search(line)][:LINES],
        "tail": text[-TAIL:],
    }


def _run(
    command: Sequence[str], folder: Path, environment: dict[str, str], seconds: float
) -> tuple[str, int | None]:
    """Return what a command printed, and its exit status, None after `seconds`."""
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            env=environment,
            timeout=seconds,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        return done.stdout, done.returncode
    except subprocess.TimeoutExpired as late:
        said = late.stdout or b""
        return said.decode(errors="replace") if isinstance(said, bytes) else said, None


def _same_weights(lstm: nn.LSTM) -> nn.LSTM:
    """Return torch's LSTM in float64 on the CPU, with the weights of another one."""
    wide = nn.LSTM(
        lstm.input_size,
        lstm.hidden_size,
        lstm.num_layers,
        bidirectional=lstm.bidirectional,
        dtype=torch.float64,
    )
    wide.load_state_dict({name: w.cpu().double() for name, w in lstm.state_dict().items()})
    return wide


def _packed(lstm: nn.LSTM, x: Tensor, lengths: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor]]:
    packed, last = lstm(pack_padded_sequence(x, lengths, enforce_sorted=False))
    return pad_packed_sequence(packed, total_length=len(x))[0], last


def _everything(
    run: Callable[..., Any], lstm: nn.Module, x: Tensor, lengths: Tensor | None
) -> dict[str, Tensor]:
    """Return output, last states, and the gradients of a loss that reads all of them, by name."""
    lstm.zero_grad()
    x = x.detach().requires_grad_()
    found = run(x) if lengths is None else run(x, lengths)
    output, last = found if isinstance(found, tuple) else (found, ())
    parts = {"output": output, **dict(zip(("h_n", "c_n"), last, strict=False))}
    loss = torch.zeros((), dtype=torch.float64 if x.dtype == torch.float64 else torch.float32)
    loss = loss.to(x.device)
    for number, part in enumerate(parts.values()):
        generator = torch.Generator().manual_seed(number)
        loss = loss + (part * torch.randn(part.shape, generator=generator).to(part)).sum().to(loss)
    loss.backward()
    grads = {name: w.grad for name, w in lstm.named_parameters() if w.grad is not None}
    assert x.grad is not None
    return parts | {"x.grad": x.grad} | {f"{name}.grad": grad for name, grad in grads.items()}


def _errors(found: dict[str, Tensor], wanted: dict[str, Tensor], bound: float) -> dict[str, Any]:
    """Return the largest difference of values and of gradients, as shares of the largest value."""
    worst = {"values": 0.0, "gradients": 0.0}
    for name, right in wanted.items():
        kind = "gradients" if name.endswith(".grad") else "values"
        gap = (found[name].detach().cpu().double() - right.detach()).abs().max()
        share = float(gap / right.detach().abs().max().clamp(min=1e-30))
        worst[kind] = max(worst[kind], share) if share == share else float("inf")
    return worst | {"bound": bound, "right": max(worst.values()) <= bound}


def engines(precision: str, setting: Setting) -> Iterator[dict[str, Any]]:
    """Compare every engine with torch's packed LSTM in float64 on the CPU."""
    device, dtype = torch.device(setting.device), dtype_of(precision)
    for shape in TINY if setting.small else SHAPES:
        size = shape.size
        torch.manual_seed(1)
        first = LSTM(size.hidden, size.hidden, shape.layers, bidirectional=shape.both, dtype=dtype)
        x = torch.randn(size.time, size.batch, size.hidden).to(dtype)
        lengths = ragged(size) if shape.padded else None
        wide = _same_weights(first)
        oracle = wide if lengths is None else partial(_packed, wide)
        wanted = _everything(oracle, wide, x.double(), lengths)
        for engine in ("torch", "hoisted", "reference"):
            lstm = LSTM(
                size.hidden,
                size.hidden,
                shape.layers,
                bidirectional=shape.both,
                dtype=dtype,
                device=device,
                engine=engine,
            )
            lstm.load_state_dict(first.state_dict())
            run = partial(_ours, lstm)
            with tf32(precision == "tf32"):
                found = _everything(run, lstm, x.to(device), lengths)
            said = {
                "engine": engine,
                "shape": str(size),
                "layers": shape.layers,
                "directions": 1 + shape.both,
                "padded": shape.padded,
            }
            yield said | _errors(found, wanted, BOUNDS[precision])


def _ours(lstm: LSTM, x: Tensor, lengths: Tensor | None = None) -> Any:
    return lstm(x, None, lengths)


def norm(precision: str, setting: Setting) -> Iterator[dict[str, Any]]:
    """Compare layer norm, in every way to run its steps, with the reference in float64."""
    device, dtype = torch.device(setting.device), dtype_of(precision)
    for shape in (TINY if setting.small else SHAPES)[:2]:
        size = shape.size
        torch.manual_seed(1)
        first = LSTM(size.hidden, size.hidden, layer_norm=True, dtype=dtype)
        options = {"layer_norm": True, "dtype": torch.float64, "engine": "reference"}
        wide = LSTM(size.hidden, size.hidden, **options)  # type: ignore[arg-type]
        wide.load_state_dict({name: w.double() for name, w in first.state_dict().items()})
        x = torch.randn(size.time, size.batch, size.hidden).to(dtype)
        lengths = ragged(size) if shape.padded else None
        wanted = _everything(lambda *given, w=wide: _ours(w, *given)[0], wide, x.double(), lengths)
        for way in ways(setting.device):
            lstm = LSTM(size.hidden, size.hidden, layer_norm=True, dtype=dtype, device=device)
            lstm.load_state_dict(first.state_dict())
            steps = Steps(lstm, way)
            with tf32(precision == "tf32"):
                run = partial(_by_steps, steps)
                found = _everything(run, lstm, x.to(device), lengths)
            said = {"steps": way, "shape": str(size), "padded": shape.padded}
            yield said | _errors(found, wanted, BOUNDS[precision])


def _by_steps(steps: Steps, x: Tensor, lengths: Tensor | None = None) -> Tensor:
    return steps(x, None, lengths)


def layer(precision: str, setting: Setting) -> Iterator[dict[str, Any]]:
    """Compare the last layer's loss and gradients over a large vocabulary with float64."""
    device = torch.device(setting.device)
    for rows, size, vocabulary in LEARNED[: 1 if setting.small else 2]:
        torch.manual_seed(1)
        floats = (
            torch.randn(rows, size),
            torch.randn(vocabulary, size) / 20,
            torch.zeros(vocabulary),
        )
        target = torch.randint(vocabulary, (rows,))
        wanted = _loss([part.double() for part in floats], target)
        auto = "fp32" if precision == "tf32" or setting.small else precision
        with tf32(precision == "tf32"), machine.autocast(device, auto):
            found = _loss([part.to(device) for part in floats], target.to(device))
        said = {"rows": rows, "size": size, "vocabulary": vocabulary}
        yield said | _errors(found, wanted, BOUNDS[precision])


def _loss(floats: Sequence[Tensor], target: Tensor) -> dict[str, Tensor]:
    leaves = [part.requires_grad_() for part in floats]
    loss = linear_cross_entropy(leaves[0], leaves[1], leaves[2], target)
    loss.backward()
    grads = {name: leaf.grad for name, leaf in zip(("x", "weight", "bias"), leaves, strict=True)}
    return {"loss": loss} | {f"{k}.grad": g for k, g in grads.items() if g is not None}


def padding(setting: Setting) -> Iterator[dict[str, Any]]:
    """Check that results are the same bits, whatever stands in the padding."""
    device, size = torch.device(setting.device), (TINY if setting.small else SHAPES)[0].size
    lengths = ragged(size)
    steps = torch.arange(size.time).unsqueeze(1)
    outside = (steps >= lengths).unsqueeze(-1).to(device)  # (time, batch, 1)
    for engine in ("torch", "hoisted", "reference"):
        torch.manual_seed(1)
        lstm = LSTM(size.hidden, size.hidden, 2, bidirectional=True, engine=engine).to(device)
        x = torch.randn(size.time, size.batch, size.hidden, device=device)
        first, again = (_everything(partial(_ours, lstm), lstm, x, lengths) for _ in range(2))
        unsteady = _differing(first, again)  # without any change of the padding
        clear = not bool(first["output"].masked_select(outside).any())
        for filling in (1e4, float("nan")):
            other = torch.where(outside, torch.full_like(x, filling), x)
            found = _everything(partial(_ours, lstm), lstm, other, lengths)
            differing = [name for name in _differing(first, found) if name not in unsteady]
            yield {
                "engine": engine,
                "filling": filling,
                "differing": differing,
                "unsteady": unsteady,
                "right": not differing and clear,
            }


def _differing(one: dict[str, Tensor], other: dict[str, Tensor]) -> list[str]:
    """Return the names of the tensors that are not the same bits in both."""
    return [name for name, part in one.items() if not torch.equal(part, other[name])]


def repeats(setting: Setting) -> Iterator[dict[str, Any]]:
    """Check that a seed, and a resumed training, repeat the same bits with `deterministic=true`.

    The trainings run in a fresh process, because cuBLAS reads its setting when CUDA starts.
    """
    seconds = min(setting.left(), 0.65 * setting.seconds)
    yield apart(partial(trainings, setting.device), seconds)


def trainings(device: str) -> dict[str, Any]:
    """Return whether three trainings of one seed end with the same weights, bit by bit."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        rows = place / "rows.jsonl"
        rows.write_text("".join(json.dumps(_row(number)) + "\n" for number in range(ROWS)))
        words = [*TRAINING, f"data.train={rows}", f"device={device}", "deterministic=true"]
        words += ["threads=1"] if device == "cpu" else []
        first, second = (_train([*words, f"out={place / name}"]) for name in ("one", "two"))
        stopped = _stopped([*words, f"out={place / 'three'}"])
        resumed = _train([f"resume={place / 'three'}"])
        precision = machine.find_precision("auto", torch.device(device))
    same, goes_on = _equal(first, second), _equal(first, resumed)
    return {
        "precision": precision,
        "same_seed_same_bits": same,
        "interrupted": stopped,
        "resumed_same_bits": goes_on,
        "largest_difference": {"seed": _gap(first, second), "resumed": _gap(first, resumed)},
        "right": same and goes_on and stopped,
    }


def _row(number: int) -> dict[str, str]:
    """Return a row of the training. The words of its text depend on its label."""
    draw, label = random.Random(number), number % 2
    words = (f"w{draw.randrange(20) + 10 * label}" for _ in range(draw.randrange(3, 30)))
    return {"text": " ".join(words), "label": str(label)}


def _train(words: Sequence[str]) -> dict[str, Tensor]:
    """Return the weights after a training."""
    folder, _ = pipeline.run(check(compose([*words])), "zoo.bench gpu", time.time())
    return load_file(folder / "model.safetensors")


def _stopped(words: Sequence[str]) -> bool:
    """Interrupt a training in one of its steps, and return whether it stopped there."""
    begin = TrainingState.__init__

    def prepared(self: TrainingState, *given: Any) -> None:
        begin(self, *given)
        update, steps = self.optimizer.step, iter(range(1, 1 << 30))

        def step() -> None:
            update()
            if next(steps) == STOP:
                signal.raise_signal(signal.SIGTERM)

        self.optimizer.step = step

    with mock.patch.object(TrainingState, "__init__", prepared):
        try:
            _train(words)
        except InputError as error:
            return str(error).startswith("interrupted")
    return False


def _equal(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and not _differing(one, other)


def _gap(one: dict[str, Tensor], other: dict[str, Tensor]) -> float:
    return max(float((one[n].double() - other[n].double()).abs().max()) for n in one)


def saved(setting: Setting) -> Iterator[dict[str, Any]]:
    """Check that a model of the device has the same weights and answers on the CPU."""
    words = [
        "data.documents=12",
        "data.locales=[en,de,ja]",
        "tokenizer.kind=words",
        "tokenizer.min_count=1",
        f"device={setting.device}",
    ]
    settings = check(compose(["task=classify", *words]))
    options = options_of(settings)
    splits = open_rows(settings, options.kind)
    torch.manual_seed(1)
    task = build(options, settings, splits).to(torch.device(setting.device)).eval()
    texts = [row["text"] for row in splits.test]
    with tempfile.TemporaryDirectory() as folder:
        task.save(folder)
        loaded = load(folder)
    with tf32(False):
        here, there = task.predict(texts), loaded.predict(texts)
    weights = {name: weight.cpu() for name, weight in task.state_dict().items()}
    equal = _equal(weights, loaded.state_dict())
    same = sum(one == other for one, other in zip(here, there, strict=True))
    yield {
        "texts": len(texts),
        "same_answers": same,
        "same_weights": equal,
        "right": equal and same == len(texts),
    }


def shipped(setting: Setting) -> Iterator[dict[str, Any]]:
    """Check that the shipped models answer on the device as they did when they were made."""
    for name in verify.shipped()[: 2 if setting.small else None]:
        start = time.perf_counter()
        model, expected = load(name, setting.device), read_expected(name)
        with tf32(False):
            found = examples(model, [case["input"] for case in expected])
        same = sum(one == other for one, other in zip(expected, found, strict=True))
        yield {
            "model": name,
            "answers": len(expected),
            "same": same,
            "right": same == len(expected),
            "seconds": round(time.perf_counter() - start, 3),
        }
