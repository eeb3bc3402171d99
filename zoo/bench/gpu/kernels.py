"""Part "kernels" measures one LSTM layer, and checks the kernel that `explain` names."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial, reduce
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo import device as machine
from zoo.bench import peers
from zoo.bench.gpu import device as devices
from zoo.bench.gpu.parts import Measurement, Setting
from zoo.bench.gpu.timing import medians, ratios
from zoo.bench.lstm import Sizes, call
from zoo.bench.measure import matrix_product, square
from zoo.rnn import kernels, lstm_hoisted, padding, stack
from zoo.rnn.lstm import LSTM
from zoo.rnn.zero_pad import zero_pad

SHAPES = (
    Sizes(64, 60, 256),
    Sizes(32, 100, 512),
    Sizes(80, 70, 1150),
    Sizes(16, 1024, 768),
    Sizes(128, 64, 1024),
)
ODD = Sizes(20, 35, 200), Sizes(30, 50, 650)  # rewrites make these sizes round
TINY, TINY_ODD = (Sizes(3, 4, 8),), (Sizes(3, 2, 200),)
PRECISIONS = "fp16", "tf32", "bf16", "fp32"  # tf32 is float32 whose products may use TF32
STEPS = "loop", "fused", "captured", "auto"  # ways to run the hoisted engine's steps on CUDA
SECONDS = 0.9 / 150  # share of the part's seconds that one pass over all sides gets
REHEARSED = 0.02  # seconds of a pass in a rehearsal
SEEN = 12  # number of kernels in a list
SQUARE = 128  # rows of the rehearsal's matrix product


def measurements(setting: Setting) -> list[Measurement]:
    """Return the measurements. What a training on CUDA uses comes first."""
    shapes, odd = (TINY, TINY_ODD) if setting.small else (SHAPES, ODD)
    order: list[tuple[Any, Sequence[Sizes], str, int]] = [
        (fused, shapes, "fp16", 1),
        (normed, shapes, "fp16", 1),
        (fused, odd, "fp16", 1),
        (fused, shapes, "tf32", 1),
        (fused, shapes, "fp16", 2),
        (fused, shapes, "bf16", 1),
        (normed, shapes, "tf32", 1),
        (fused, shapes, "fp32", 1),
        (normed, shapes, "bf16", 1),
        (fused, shapes, "tf32", 2),
        (fused, odd, "fp32", 1),
        (fused, shapes, "bf16", 2),
        (fused, shapes, "fp32", 2),
        (normed, shapes, "fp16", 2),
        (normed, shapes, "fp32", 1),
    ]
    return [
        Measurement(
            f"{'engine torch' if kind is fused else 'layer norm'}, {precision}, "
            f"{directions} direction{'s' if directions > 1 else ''}, {size}",
            partial(kind, size, precision, directions, setting),
            0.2,
        )
        for kind, sizes, precision, directions in order
        for size in sizes
    ]


@dataclass(frozen=True)
class Call:
    """A call of an LSTM. Rewrites change the call but not its result."""

    lstm: LSTM
    x: Tensor  # (time, batch, input)
    lengths: Tensor | None = None  # (batch,)
    precision: str = "fp32"  # autocast's precision; fp32 means no autocast
    split: bool = False  # one call of the kernel for each direction

    def rewritten(self, text: str) -> Call:
        """Return the call after a rewrite of `explain`. Raises ValueError for an unknown one."""
        number = int(found[1]) if (found := re.search(r" to (\d+)", text)) else 0
        if text.startswith("torch.autocast"):
            return replace(self, precision=machine.find_precision("auto", self.x.device))
        if text.startswith("one call per layer and direction"):
            return replace(self, split=True)
        if text.startswith("zero-pad hidden_size"):
            return replace(self, lstm=zero_pad(self.lstm, hidden_size=number))
        if text.startswith("zero-pad the input"):
            more = number - self.lstm.input_size
            wide = zero_pad(self.lstm, self.lstm.hidden_size, number)
            return replace(self, lstm=wide, x=F.pad(self.x, (0, more)))
        if text.startswith("pad the batch"):
            more = number - self.x.size(1)
            lengths = None if self.lengths is None else F.pad(self.lengths, (0, more), value=1)
            return replace(self, x=F.pad(self.x, (0, 0, 0, more)), lengths=lengths)
        raise ValueError(f"unknown rewrite: {text}")

    def side(self, backward: bool) -> Any:
        """Return the call as `timing.medians` takes it."""
        model = Split(self.lstm) if self.split else self.lstm
        return call(model, self.x, (None, self.lengths), self.precision, backward)


class Split(nn.Module):
    """This module calls the fused kernel once for each layer and direction, also for full rows."""

    def __init__(self, lstm: LSTM) -> None:
        super().__init__()
        self.lstm = lstm

    def forward(self, x: Tensor, _: None = None, lengths: Tensor | None = None) -> Tensor:
        """Map x (time, batch, input) to output (time, batch, directions * hidden)."""
        found = padding.find_padding(x, lengths)
        return stack.run(self.lstm, x, zeros(self.lstm, x), found, True, "torch")[0]


class Steps(nn.Module):
    """This module runs the steps of the hoisted engine in a chosen way."""

    def __init__(self, lstm: LSTM, steps: str) -> None:
        super().__init__()
        self.lstm, self.steps = lstm, steps

    def forward(self, x: Tensor, _: None = None, lengths: Tensor | None = None) -> Tensor:
        """Map x (time, batch, input) to output (time, batch, directions * hidden)."""
        found, state = padding.find_padding(x, lengths), zeros(self.lstm, x)
        given: dict[str, Any] = {"steps": self.steps} if has_steps() else {}
        outputs = []
        for place, suffix in enumerate(self.lstm.suffixes):
            first = state[0][place], state[1][place]
            weights = stack.weights_of(self.lstm, suffix)
            output, _h, _c = lstm_hoisted.run(x, first, weights, found, place == 1, **given)
            outputs.append(output if found is None else output.masked_fill(found.mask, 0))
        return torch.cat(outputs, -1)


def has_steps() -> bool:
    """Return whether `hoisted.run` has a choice of how to run its steps."""
    return "steps" in inspect.signature(lstm_hoisted.run).parameters


def ways(kind: str) -> tuple[str, ...]:
    """Return the ways in which the hoisted engine can run its steps on a device."""
    return STEPS if kind == "cuda" and has_steps() else STEPS[:1]


def zeros(lstm: LSTM, x: Tensor) -> stack.State:
    """Return h_0 and c_0 of zeros, (layers * directions, batch, hidden), for x."""
    state = x.new_zeros(len(lstm.suffixes), x.size(1), lstm.hidden_size)
    return state, state


def dtype_of(precision: str) -> torch.dtype:
    return machine.DTYPES["fp32" if precision == "tf32" else precision]


@cache
def peak(kind: str, precision: str) -> float:
    """Return the operations per second of a square matrix product. `tf32` sets its mode."""
    device = torch.device(kind)
    size = square(device) if kind == "cuda" else SQUARE
    product = matrix_product(device, "fp32" if precision == "tf32" else precision, size)
    return 2 * size**3 / medians({"product": product}, device, 0.1)["product"]["seconds"]


def ragged(size: Sizes) -> Tensor:
    """Return lengths (batch,) from a sixth of the steps to all of them, in descending order."""
    generator = torch.Generator().manual_seed(1)
    lengths = torch.randint(
        max(1, size.time // 6), size.time + 1, (size.batch,), generator=generator
    )
    lengths[0] = size.time
    lengths[-1] = max(1, size.time // 6)
    return lengths.sort(descending=True)[0]


def fused(size: Sizes, precision: str, directions: int, setting: Setting) -> Iterator[dict]:
    """Compare the fused kernel with `nn.LSTM`, measure its rewrites, and list its kernels."""
    device, dtype = torch.device(setting.device), dtype_of(precision)
    shape: dict[str, Any] = {"bidirectional": directions == 2, "device": device, "dtype": dtype}
    lengths, hidden = ragged(size), size.hidden
    x = torch.randn(size.time, size.batch, hidden, device=device, dtype=dtype)
    ours = LSTM(hidden, hidden, engine="torch", **shape)
    calls = {"torch": Call(ours, x), "torch with lengths": Call(ours, x, lengths)}
    others: dict[str, nn.Module] = {
        "nn.LSTM": nn.LSTM(hidden, hidden, **shape),
        "nn.LSTM packed": peers.PackedLSTM(nn.LSTM(hidden, hidden, **shape), lengths),
        "weight dropout": LSTM(hidden, hidden, engine="torch", weight_dropout=0.5, **shape),
    }
    compared = {"torch": "nn.LSTM", "weight dropout": "nn.LSTM"}
    compared["torch with lengths"] = "nn.LSTM packed"
    explained = {name: explain(each, dtype, setting) for name, each in calls.items()}
    for name in [*calls]:
        for text, other in _rewrites(calls[name], explained[name].rewrites).items():
            calls[f"{name}, {text}"], compared[f"{name}, {text}"] = other, name
    with devices.tf32(precision == "tf32"):
        for backward in (False, True):
            sides = {name: call(model, x, (), "fp32", backward) for name, model in others.items()}
            sides |= {name: each.side(backward) for name, each in calls.items()}
            yield _case(sides, compared, size, precision, directions, backward, setting)
        for name, explanation in explained.items():
            yield _names(name, calls[name], explanation, device)


def explain(each: Call, dtype: torch.dtype, setting: Setting) -> kernels.Explanation:
    """Return what `LSTM.explain` says of a call. A rehearsal asks about an H100."""
    device: Any = kernels.H100 if setting.small else setting.device
    time, batch, _ = each.x.shape
    return each.lstm.explain(batch, time, device, dtype, each.lengths is not None)


def _rewrites(first: Call, texts: Sequence[str]) -> dict[str, Call]:
    """Return the call after each rewrite alone, and after all of them."""
    found = {text: first.rewritten(text) for text in texts}
    if len(texts) > 1:
        found["all rewrites"] = reduce(Call.rewritten, texts, first)
    return found


def _case(
    sides: Mapping[str, Any],
    compared: Mapping[str, str],
    size: Sizes,
    precision: str,
    directions: int,
    backward: bool,
    setting: Setting,
) -> dict[str, Any]:
    seconds = REHEARSED if setting.small else SECONDS * setting.seconds
    found = medians(sides, torch.device(setting.device), seconds)
    case: dict[str, Any] = {
        "pass": "training step" if backward else "forward",
        "ratios": ratios(found, compared),
        "sides": found,
        "compared": dict(compared),
    }
    operations = 2 * 8 * size.hidden**2 * size.batch * size.time * directions
    operations *= 3 if backward else 1
    rate = peak(setting.device, precision)
    dense = [name for name in ("torch", "hoisted", "nn.LSTM") if "seconds" in found.get(name, {})]
    case["matrix_product_tflops"] = rate / 1e12
    case["matrix_product_share"] = {n: operations / found[n]["seconds"] / rate for n in dense}
    return case


def _names(
    name: str, each: Call, explanation: kernels.Explanation, device: torch.device
) -> dict[str, Any]:
    """Return a training step's kernels as the profiler saw and as `explain` named them."""
    seen = devices.kernels(each.side(True), device)
    persistent = any("persist" in kernel.lower() for kernel in seen)
    expected = "PERSIST" in explanation.kernel
    return {
        "kernels_of": name,
        "explained": explanation.kernel,
        "failing": explanation.failing,
        "rewrites": explanation.rewrites,
        "launches": sum(seen.values()),
        "seen": dict([*seen.items()][:SEEN]),
        "marked": [kernel for kernel in seen if _marked(kernel)][:SEEN],
        "seen_persistent": persistent,
        "agree": persistent == expected if device.type == "cuda" else None,
    }


def _marked(kernel: str) -> bool:
    """Return whether a kernel's name tells what cuDNN chose."""
    return any(part in kernel.lower() for part in ("persist", "rnn", "lstm"))


def normed(size: Sizes, precision: str, directions: int, setting: Setting) -> Iterator[dict]:
    """Compare the hoisted engine and layer norm with `nn.LSTM`, in every way to run the steps."""
    device, hidden = torch.device(setting.device), size.hidden
    shape: dict[str, Any] = {
        "bidirectional": directions == 2,
        "device": device,
        "dtype": dtype_of(precision),
    }
    x = torch.randn(size.time, size.batch, hidden, device=device, dtype=dtype_of(precision))
    lstm = LSTM(hidden, hidden, layer_norm=True, **shape)
    models: dict[str, nn.Module] = {
        "nn.LSTM": nn.LSTM(hidden, hidden, **shape),
        "layer norm": lstm,
        **{f"layer norm, steps {way}": Steps(lstm, way) for way in ways(setting.device)},
        "hoisted": LSTM(hidden, hidden, engine="hoisted", **shape),
    }
    if directions == 1:
        models["loop with LayerNorm"] = peers.LayerNormLSTM(hidden, hidden).to(x)
    compared = dict.fromkeys([name for name in models if name != "nn.LSTM"], "nn.LSTM")
    with devices.tf32(precision == "tf32"):
        for backward in (False, True):
            sides = {name: call(model, x, (), "fp32", backward) for name, model in models.items()}
            sides["layer norm with lengths"] = call(lstm, x, (None, ragged(size)), "fp32", backward)
            yield _case(sides, compared, size, precision, directions, backward, setting)
