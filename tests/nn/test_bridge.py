"""Bridge: the encoder's final states, written out by hand, as a decoder's first ones."""

from __future__ import annotations

from itertools import product

import pytest
import torch
from torch import Tensor

from zoo.nn.bridge import Bridge

INITS = ["h_n_c_n", "h_n", "zero"]
SHAPES = pytest.mark.parametrize(
    ("num_layers", "directions", "hidden_size", "size"),
    [
        (layers, ways, 4, size)
        for layers in (1, 2, 3)
        for ways in (1, 2)
        for size in sorted({4, 4 * ways, 7})
    ],
)
BATCH = 5


def bridge(num_layers, directions, hidden_size, size, init="h_n_c_n", scale=1.0) -> Bridge:
    torch.manual_seed(0)
    made = Bridge(num_layers, directions, hidden_size, size, init)
    with torch.no_grad():
        for weight in made.parameters():
            weight.normal_(std=scale)
    return made


def states(num_layers, directions, hidden_size, size, scale=1.0) -> tuple[Tensor, Tensor]:
    """h_n and c_n as an encoder leaves them: h within (-1, 1), c not."""
    torch.manual_seed(1)
    shape = (num_layers * directions, BATCH, hidden_size)
    return torch.randn(shape).tanh(), scale * torch.randn(shape)


@SHAPES
def test_a_layer_starts_from_both_directions_of_the_same_layer(
    num_layers, directions, hidden_size, size
):
    """Each layer by its own matrices, each row by itself; h within (-1, 1), c not."""
    shape = num_layers, directions, hidden_size, size
    made, (h_n, c_n) = bridge(*shape), states(*shape, scale=5)
    found = made(h_n, c_n)
    assert [*made.state_dict()] == [
        f"{state}.{layer}.{part}"
        for state in "hc"
        for layer in range(num_layers)
        for part in ("weight", "bias")
    ]
    for maps, last, begun, bound in zip(
        (made.h, made.c), (h_n, c_n), found, (torch.tanh, torch.clone), strict=True
    ):
        assert (begun.shape, begun.dtype) == ((num_layers, BATCH, size), torch.float32)
        for layer, row in product(range(num_layers), range(BATCH)):
            at = layer * directions  # torch's order: _l0, _l0_reverse, _l1, …
            read = torch.cat([*last[at : at + directions, row]])
            wanted = bound(maps[layer].weight @ read + maps[layer].bias)
            torch.testing.assert_close(begun[layer, row], wanted, atol=1e-5, rtol=1e-5)
    assert all(
        half.dtype == torch.float32 for half in made.bfloat16()(h_n.bfloat16(), c_n.bfloat16())
    )


@SHAPES
def test_h_alone_leaves_the_cell_at_zero_and_has_no_parameters_for_it(
    num_layers, directions, hidden_size, size
):
    shape = num_layers, directions, hidden_size, size
    both, alone = bridge(*shape), bridge(*shape, init="h_n")
    assert {name.partition(".")[0] for name, _ in alone.named_parameters()} == {"h"}
    alone.h.load_state_dict(both.h.state_dict())
    h_0, c_0 = alone(*states(*shape))
    assert torch.equal(h_0, both(*states(*shape))[0])
    assert torch.equal(c_0, torch.zeros(num_layers, BATCH, size))


@SHAPES
def test_zero_hands_over_nothing(num_layers, directions, hidden_size, size):
    shape = num_layers, directions, hidden_size, size
    made = bridge(*shape, init="zero")
    assert not [*made.parameters()]
    for state in made(*states(*shape)):
        assert torch.equal(state, torch.zeros(num_layers, BATCH, size))


@pytest.mark.parametrize("init", INITS)
def test_the_gradient_reaches_what_is_handed_over(init):
    shape = 2, 2, 4, 6
    made = bridge(*shape, init=init, scale=0.3)
    h_n, c_n = (state.requires_grad_() for state in states(*shape))
    h_0, c_0 = made(h_n, c_n)
    total = (h_0 * torch.randn_like(h_0)).sum() + (c_0 * torch.randn_like(c_0)).sum()
    if init == "zero":
        assert not total.requires_grad
        return
    total.backward()
    assert bool((h_n.grad != 0).all())
    assert (c_n.grad is not None) == (init == "h_n_c_n")
    if c_n.grad is not None:
        assert bool((c_n.grad != 0).all())
    for name, weight in made.named_parameters():
        assert bool((weight.grad != 0).all()), name
