"""Bridge: the encoder's final states, written out by hand, as a decoder's first ones."""

from __future__ import annotations

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


def affine(weight: Tensor, bias: Tensor, forward: Tensor, backward: Tensor | None) -> list[float]:
    """W [forward; backward] + b of one row, number by number."""
    x = [*forward.tolist(), *([] if backward is None else backward.tolist())]
    rows = zip(weight.tolist(), bias.tolist(), strict=True)
    return [sum(w * v for w, v in zip(row, x, strict=True)) + b for row, b in rows]


@SHAPES
def test_a_layer_starts_from_both_directions_of_the_same_layer(
    num_layers, directions, hidden_size, size
):
    shape = num_layers, directions, hidden_size, size
    made, (h_n, c_n) = bridge(*shape, scale=0.5).double(), states(*shape, scale=3)
    h_n, c_n = h_n.double(), c_n.double()
    h_0, c_0 = made(h_n, c_n)
    assert h_0.shape == c_0.shape == (num_layers, BATCH, size)
    assert h_0.dtype == c_0.dtype == torch.float32
    for layer in range(num_layers):
        forward = layer * directions  # torch's order: _l0, _l0_reverse, _l1, …
        for row in range(BATCH):
            h, c = (
                (last[forward, row], last[forward + 1, row] if directions == 2 else None)
                for last in (h_n, c_n)
            )
            expected = torch.tensor(affine(made.h[layer].weight, made.h[layer].bias, *h)).tanh()
            torch.testing.assert_close(h_0[layer, row], expected.float(), atol=1e-6, rtol=1e-6)
            expected = torch.tensor(affine(made.c[layer].weight, made.c[layer].bias, *c))
            torch.testing.assert_close(c_0[layer, row], expected.float(), atol=1e-6, rtol=1e-6)


@SHAPES
def test_every_layer_has_its_own_matrices(num_layers, directions, hidden_size, size):
    made = bridge(num_layers, directions, hidden_size, size)
    names = {
        f"{state}.{layer}.{part}"
        for state in "hc"
        for layer in range(num_layers)
        for part in ("weight", "bias")
    }
    assert {name for name, _ in made.named_parameters()} == names
    for name, weight in made.named_parameters():
        wanted = (size, directions * hidden_size) if name.endswith("weight") else (size,)
        assert weight.shape == wanted


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


@torch.no_grad()
def test_h_stays_where_an_lstm_keeps_it_and_the_cell_may_go_beyond():
    shape = 2, 2, 4, 6
    h_n, c_n = states(*shape, scale=5)
    h_0, c_0 = bridge(*shape)(h_n, c_n)
    assert float(h_0.abs().max()) < 1
    assert float(c_0.abs().max()) > 5


def test_h_and_c_do_not_mix():
    shape = 2, 2, 4, 6
    made, (h_n, c_n) = bridge(*shape), states(*shape)
    h_0, c_0 = made(h_n, c_n)
    of_h, of_c = made(h_n + 1, c_n), made(h_n, c_n + 1)
    assert torch.equal(of_h[1], c_0)
    assert torch.equal(of_c[0], h_0)
    assert not torch.allclose(of_h[0], h_0)
    assert not torch.allclose(of_c[1], c_0)


def test_the_rows_of_a_batch_do_not_mix():
    shape = 3, 2, 4, 6
    made, last = bridge(*shape), states(*shape)
    h_0, c_0 = made(*last)
    for row in range(BATCH):
        h, c = made(*(state[:, row : row + 1] for state in last))
        torch.testing.assert_close(h[:, 0], h_0[:, row], atol=1e-6, rtol=1e-5)
        torch.testing.assert_close(c[:, 0], c_0[:, row], atol=1e-6, rtol=1e-5)
    order = torch.tensor([3, 0, 4, 1, 2])
    turned = made(*(state[:, order] for state in last))
    torch.testing.assert_close(turned, (h_0[:, order], c_0[:, order]))


def test_the_layers_do_not_mix():
    shape = 3, 2, 4, 6
    made, last = bridge(*shape), states(*shape)
    before = made(*last)
    for layer in range(3):
        changed = [state.clone() for state in last]
        for state in changed:
            state[2 * layer + 1] += 1  # its backward direction
        others = [other for other in range(3) if other != layer]
        for old, new in zip(before, made(*changed), strict=True):
            assert torch.equal(old[others], new[others])
            assert not torch.allclose(old[layer], new[layer])


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
