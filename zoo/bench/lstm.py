"""Compare every engine and option of one LSTM layer with `nn.LSTM`, packing and Python loops."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from zoo.bench import peers
from zoo.bench.measure import case, interleave, matrix_product, square, wait
from zoo.config import check, compose
from zoo.device import autocast, find_device, native_bf16, runs_bf16
from zoo.rnn.lstm import LSTM
from zoo.rnn.zero_pad import zero_pad

FINER = 4  # factor on the rounds of sides that should be equally fast


class Sizes(NamedTuple):
    """Sizes of a layer and its batch. The input has as many features as the layer has units."""

    batch: int
    time: int
    hidden: int

    def __str__(self) -> str:
        return f"batch {self.batch}, time {self.time}, hidden {self.hidden}"


SIZES = (Sizes(64, 60, 256), Sizes(32, 100, 512), Sizes(20, 35, 200), Sizes(32, 60, 128))


def lstm(arguments: Sequence[str], rounds: int, sizes: Sequence[Sizes] = SIZES) -> list[dict]:
    """Measure forward, and forward plus backward, in every precision native to the device.

    `ours` and `peer` are tokens per second, without padding. The peer is `nn.LSTM` over the dense
    batch, or over packed rows where lengths differ.
    """
    settings = check(compose(list(arguments)))
    device = find_device(settings.device)
    torch.manual_seed(settings.seed)
    if settings.threads:
        torch.set_num_threads(settings.threads)
    precisions = ["fp32", "fp16", "bf16"] if device.type == "cuda" else ["fp32"]
    if device.type == "cpu" and native_bf16() and runs_bf16():
        precisions.append("bf16")
    cases = []
    for size in sizes:
        for precision in precisions:
            for backward in (False, True):
                cases += _cases(size, device, precision, backward, rounds)
    return cases


def _cases(
    size: Sizes, device: torch.device, precision: str, backward: bool, rounds: int
) -> list[dict[str, Any]]:
    """Measure all sides at one size, in one precision."""
    lengths = torch.randint(size.time // 6, size.time + 1, (size.batch,)).sort(descending=True)[0]
    x = torch.randn(size.time, size.batch, size.hidden, device=device, requires_grad=backward)

    def side(model: nn.Module, *given: Any) -> Callable[[], None]:
        return _side(model.to(device), x, given, precision, backward)

    dense, ragged = _models(size), _ragged(size, lengths)
    sides = {name: side(model) for name, model in dense.items()}
    sides |= {name: side(model, *given) for name, (model, given) in ragged.items()}
    sides["product"] = matrix_product(device, precision, square(device))
    seconds = interleave(sides, rounds, warm=True)
    close = {name: sides[name] for name in ("torch", "weight dropout", "nn.LSTM", "product")}
    finer = interleave(close, FINER * rounds, warm=True)
    what = f"{'forward and backward' if backward else 'forward'}, {precision}, {size}"
    work = dict.fromkeys(dense, size.batch * size.time) | dict.fromkeys(ragged, int(lengths.sum()))
    cases = []
    for name in sides:
        if name not in ("product", "nn.LSTM", "nn.LSTM packed"):
            peer = "nn.LSTM" if name in dense else "nn.LSTM packed"
            taken = finer if name in finer else seconds
            cases.append(
                case(
                    f"{name} against {peer}, {what}",
                    "tokens/s",
                    work[name],
                    taken[name],
                    taken[peer],
                )
            )
    peak = 2 * square(device) ** 3 / finer["product"]
    operations = 2 * 8 * size.hidden**2 * work["torch"] * (3 if backward else 1)
    reached = operations / finer["torch"]
    cases[0] |= {
        "gflops": reached / 1e9,
        "matrix_product_gflops": peak / 1e9,
        "matrix_product_share": reached / peak,
    }
    return cases


def _models(size: Sizes) -> dict[str, nn.Module]:
    """Return, by name, the models that read the dense batch. The first one gets the matrix share."""
    hidden = size.hidden
    return {
        "torch": LSTM(hidden, hidden, engine="torch"),
        "hoisted": LSTM(hidden, hidden, engine="hoisted"),
        "reference": LSTM(hidden, hidden, engine="reference"),
        "layer norm": LSTM(hidden, hidden, layer_norm=True),
        "weight dropout": LSTM(hidden, hidden, weight_dropout=0.5),
        "locked output dropout": LSTM(hidden, hidden, output_dropout=0.4, locked_dropout=True),
        "learned state": LSTM(hidden, hidden, learned_state=True),
        "widened to 128s": zero_pad(LSTM(hidden, hidden), hidden + -hidden % 128),
        "loop of eight Linear": peers.NaiveLSTM(hidden, hidden),
        "loop with LayerNorm": peers.LayerNormLSTM(hidden, hidden),
        "nn.LSTM": nn.LSTM(hidden, hidden),
    }


def _ragged(size: Sizes, lengths: Tensor) -> dict[str, tuple[nn.Module, tuple]]:
    """Return, by name, the models that read ragged rows, and their further arguments."""
    hidden = size.hidden
    return {
        "torch with lengths": (LSTM(hidden, hidden), (None, lengths)),
        "hoisted with lengths": (LSTM(hidden, hidden, engine="hoisted"), (None, lengths)),
        "nn.LSTM packed": (peers.PackedLSTM(nn.LSTM(hidden, hidden), lengths), ()),
    }


def _side(
    model: nn.Module, x: Tensor, given: tuple, precision: str, backward: bool
) -> Callable[[], None]:
    """Return `call` of the same arguments, followed by a wait for the device."""
    called = call(model, x, given, precision, backward)

    def run() -> None:
        called()
        wait(x.device)

    return run


def call(
    model: nn.Module, x: Tensor, given: tuple, precision: str, backward: bool
) -> Callable[[], None]:
    """Return a function that calls `model(x, *given)` in training mode, autocast to `precision`.

    With `backward` it also computes the gradients of x and of the weights. It does not wait for
    the device.
    """
    model.train()
    x = x.detach().requires_grad_(backward)

    def run() -> None:
        with torch.set_grad_enabled(backward), autocast(x.device, precision):
            found = model(x, *given)
            output = found if isinstance(found, Tensor) else found[0]
        if backward:
            output.backward(torch.ones_like(output))
            model.zero_grad()
            x.grad = None

    return run
