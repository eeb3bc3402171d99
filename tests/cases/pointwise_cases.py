"""What the tests of the hoisted engine's kernels share: tensors, an outcome, and an oracle."""

from __future__ import annotations

import os
from importlib.util import find_spec

import pytest
import torch

from zoo.rnn import lstm_hoisted, lstm_reference
from zoo.rnn.lstm_reference import Weights
from zoo.rnn.padding import Padding

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
needs_triton = pytest.mark.skipif(find_spec("triton") is None, reason="no Triton")
interpreted = pytest.mark.skipif(
    not INTERPRETED or find_spec("triton") is None, reason="test_in_the_interpreter runs it"
)
RAGGED = torch.tensor([1])  # for the row of `tensors`: its second step is padding
NAMES = ("x", "h_0", "c_0", "w_ih", "w_hh", "b_ih", "b_hh", "scale", "shift")


def tensors(
    time=2,
    batch=1,
    hidden=5,
    size=3,
    bias=True,
    layer_norm=False,
    zero=False,
    seed=1,
    dtype=torch.float32,
    device="cpu",
):
    """The leaves of one layer and direction by name; None for what is missing."""
    draw = torch.Generator().manual_seed(seed)

    def make(*shape, about=0.0, spread=1.0):
        values = about + spread * torch.randn(shape, generator=draw)
        return values.to(device, dtype).requires_grad_()

    found = {
        "x": make(time, batch, size),
        "h_0": make(batch, hidden, spread=0 if zero else 0.5),
        "c_0": make(batch, hidden, spread=0 if zero else 1),
        "w_ih": make(4 * hidden, size, spread=size**-0.5),
        "w_hh": make(4 * hidden, hidden, spread=hidden**-0.5),
    }
    found |= {name: make(4 * hidden, spread=0.5) if bias else None for name in NAMES[5:7]}
    found["scale"] = make(5, hidden, about=1, spread=0.3) if layer_norm else None
    found["shift"] = make(5, hidden, spread=0.3) if layer_norm else None
    return found


def weights_of(leaves):
    return Weights(*(leaves[name] for name in NAMES[3:7]), None, leaves["scale"], leaves["shift"])


def run(leaves, steps, lengths=None, reverse=False):
    """Output, h_n and c_n; the float64 reference's where steps is `reference`."""
    time = len(leaves["x"])
    padding = None if lengths is None else Padding(lengths.to(leaves["x"].device), time)
    given = (leaves["x"], (leaves["h_0"], leaves["c_0"]), weights_of(leaves), padding, reverse)
    if steps == "reference":
        return lstm_reference.run(*given)[:3]
    return lstm_hoisted.run(*given, steps)


def loss_of(results):
    """A number that weighs all results differently."""
    parts = (
        part.float().flatten() @ torch.linspace(0.3, 1.7, part.numel(), device=part.device)
        for part in results
    )
    return sum(parts)


def gradients(results, leaves, **options):
    """Of the loss, by name."""
    given = {name: leaf for name, leaf in leaves.items() if leaf is not None}
    found = torch.autograd.grad(loss_of(results), given.values(), **options)
    return {f"d_{name}": gradient for name, gradient in zip(given, found, strict=True)}


def outcome(leaves, steps, lengths=None, reverse=False):
    """Results and gradients by name."""
    results = run(leaves, steps, lengths, reverse)
    found = dict(zip(("output", "h_n", "c_n"), results, strict=True))
    return {name: part.detach() for name, part in found.items()} | gradients(results, leaves)


def exact(leaves, lengths=None, reverse=False):
    """What the reference finds in float64 from the same numbers."""
    wide = {
        name: None if leaf is None else leaf.detach().double().requires_grad_()
        for name, leaf in leaves.items()
    }
    return outcome(wide, "reference", lengths, reverse)


def error(found, wanted):
    """The largest difference, as a share of the largest number of its tensor, at least 1."""
    assert found.keys() == wanted.keys()
    shares = [
        ((found[name].double() - wanted[name]).abs().max() / wanted[name].abs().max().clamp(min=1))
        for name in wanted
    ]
    return torch.stack(shares).max().item()
