"""What the tests of the LSTM share: toy rows, an oracle, and a way to compare everything."""

from __future__ import annotations

from itertools import product

import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from zoo.device import runs_bf16
from zoo.rnn.lstm import LSTM

ENGINES = ("torch", "hoisted", "reference")
ROWS, TIME, LENGTHS = 4, 5, torch.tensor([3, 5, 1, 4])
PADDING = torch.arange(TIME) >= LENGTHS.unsqueeze(1)  # (rows, time)

engines = pytest.mark.parametrize("engine", ENGINES)
# Every engine, and those that have a layer norm once more with it.
KINDS = {engine: {"engine": engine} for engine in ENGINES}
KINDS |= {f"{name}-norm": KINDS[name] | {"layer_norm": True} for name in ENGINES[1:]}
kinds = pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
cases = pytest.mark.parametrize(
    ("layers", "both", "stateful"),
    [(*size, stateful) for size in ((1, False), (1, True), (3, True)) for stateful in (0, 1)],
)
# The projection is of half the size.
GRID = list(product((1, 2, 3), *[(False, True)] * 3, (0, 2), (None, LENGTHS), (False, True)))
grid = pytest.mark.parametrize(
    ("layers", "both", "bias", "batch_first", "proj_size", "lengths", "stateful"), GRID
)
needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
needs_bf16 = pytest.mark.skipif(not runs_bf16(), reason="no bf16 on this processor")
unfused = pytest.mark.filterwarnings("ignore:LSTM with projections is not supported")


def normal(*shape, like):
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape))).to(like)


def make(layers=1, both=False, **options):
    """An LSTM 3 -> 4 in float64, batch first unless told otherwise; its norms do something."""
    torch.manual_seed(1)
    options = {"batch_first": True, "dtype": torch.float64} | options
    lstm = LSTM(3, 4, layers, bidirectional=both, **options)
    with torch.no_grad():
        for name, parameter in lstm.named_parameters():
            if name.startswith("norm_") or name in ("h_0", "c_0"):
                parameter += 0.3 * torch.randn_like(parameter)
    return lstm


def case(layers=1, both=False, stateful=False, **options):
    """An LSTM, rows for it, and a state or None."""
    lstm = make(layers, both, **options)
    like = next(lstm.parameters())
    x = normal(*((ROWS, TIME) if lstm.batch_first else (TIME, ROWS)), 3, like=like)
    h_0, c_0 = (normal(layers * (1 + both), ROWS, n, like=like) for n in (lstm.proj_size or 4, 4))
    return lstm, x, (h_0, -0.5 * c_0) if stateful else None


def rows_of(state, rows):
    return None if state is None else tuple(part[:, rows] for part in state)


def packed(lstm, x, state, lengths, forward=nn.LSTM.forward):
    """The oracle: torch's own LSTM, and its own way around padding."""
    if lengths is None:
        return forward(lstm, x, state)
    rows = pack_padded_sequence(x, lengths.cpu(), lstm.batch_first, enforce_sorted=False)
    output, last = forward(lstm, rows, state)
    return pad_packed_sequence(output, lstm.batch_first, total_length=TIME)[0], last


def everything(lstm, x, state, lengths=None, run=LSTM.forward):
    """Results of `run` and the gradients of a loss that reads all of them, by name."""
    lstm.zero_grad()
    leaves = [part.detach().clone().requires_grad_() for part in (x, *(state or ()))]
    output, (h_n, c_n) = run(lstm, leaves[0], tuple(leaves[1:]) or None, lengths)
    found = {"output": output, "h_n": h_n, "c_n": c_n}
    losses = [(part * normal(*part.shape, like=part)).sum() for part in found.values()]
    (losses[0] + 2 * losses[1] - 3 * losses[2]).backward()
    found |= {f"{name}.grad": weight.grad.clone() for name, weight in lstm.named_parameters()}
    grads = (leaf.grad for leaf in leaves)
    return found | dict(zip(("x.grad", "h_0.grad", "c_0.grad"), grads, strict=False))


def assert_same(found, wanted, tolerance=0.0):
    torch.testing.assert_close(found, wanted, rtol=tolerance, atol=tolerance)
