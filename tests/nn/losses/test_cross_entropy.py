"""The last layer with its loss: torch's own values and gradients, whatever the numbers."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from zoo.nn.losses import cross_entropy
from zoo.nn.losses.cross_entropy import linear_cross_entropy, linear_losses

ROWS, INPUTS, VOCABULARY = 11, 6, 17
smoothings = pytest.mark.parametrize("smoothing", [0.0, 0.1, 1.0])


def given(rows=ROWS, dtype=torch.float64, size=INPUTS, vocabulary=VOCABULARY):
    """x, weight, bias, and a target."""
    torch.manual_seed(0)
    shapes = (rows, size), (vocabulary, size), (vocabulary,)
    floats = [torch.randn(shape, dtype=dtype, requires_grad=True) for shape in shapes]
    return *floats, torch.randint(vocabulary, (rows,))


def plain(x, weight, bias, target, smoothing=0.0):
    return F.cross_entropy(F.linear(x, weight, bias), target, label_smoothing=smoothing)


def with_gradients(loss, *inputs, factor=1.0):
    """The loss, and the gradients by the three."""
    value = loss(*inputs)
    return value, *torch.autograd.grad(value * factor, inputs[:3])


def assert_close(found, wanted, bound):
    for one, other in zip(found, wanted, strict=True):
        assert one.isfinite().all()
        torch.testing.assert_close(one, other, rtol=bound, atol=bound)


@smoothings
@pytest.mark.parametrize(("dtype", "bound"), [(torch.float64, 1e-10), (torch.float32, 1e-5)])
@pytest.mark.parametrize("rows", [1, ROWS, 300])
def test_value_and_gradients_are_torchs(smoothing, dtype, bound, rows):
    inputs = *given(rows, dtype), smoothing
    found, wanted = (with_gradients(loss, *inputs) for loss in (linear_cross_entropy, plain))
    assert found[0].shape == ()
    assert_close(found, wanted, bound)


@smoothings
@pytest.mark.parametrize("elements", [1, VOCABULARY, 3 * VOCABULARY + 1, 100 * VOCABULARY])
def test_several_chunks_of_rows_give_what_one_gives(monkeypatch, smoothing, elements):
    inputs, seen, rows_of = (*given(), smoothing), [], cross_entropy._logits
    wanted = with_gradients(linear_cross_entropy, *inputs)
    monkeypatch.setattr(cross_entropy, "ELEMENTS", elements)
    monkeypatch.setattr(
        cross_entropy, "_logits", lambda *all_: seen.append(len(all_[0])) or rows_of(*all_)
    )
    assert_close(with_gradients(linear_cross_entropy, *inputs), wanted, 1e-12)
    size = min(max(1, elements // VOCABULARY), ROWS)
    assert seen == [size] * (ROWS // size) + [ROWS % size] * (ROWS % size > 0)


@pytest.mark.parametrize(("dtype", "bound"), [(torch.float64, 1e-12), (torch.float32, 1e-5)])
@pytest.mark.parametrize("elements", [1, VOCABULARY, 3 * VOCABULARY + 1, 100 * VOCABULARY])
@pytest.mark.parametrize("rows", [0, 1, ROWS])
@pytest.mark.parametrize("scale", [1.0, 1e4])
def test_losses_of_rows_in_chunks_are_torchs(monkeypatch, dtype, bound, elements, rows, scale):
    monkeypatch.setattr(cross_entropy, "ELEMENTS", elements)
    x, weight, bias, target = given(rows, dtype)
    found = linear_losses(x, weight * scale, bias, target)
    wanted = F.cross_entropy(F.linear(x, weight * scale, bias), target, reduction="none")
    torch.testing.assert_close(found, wanted.detach(), rtol=bound, atol=bound * scale)


@pytest.fixture
def by_words(monkeypatch):
    """All precisions are computed in blocks of five words; returns the sizes of the blocks."""
    sizes, blocks = [], cross_entropy._blocks
    monkeypatch.setattr(cross_entropy, "BLOCK_WORDS", (5, 5))
    kinds = torch.float32, torch.float64, torch.bfloat16
    monkeypatch.setattr(cross_entropy, "FEWEST", dict.fromkeys(kinds, 1))

    def noted(words, rows):
        for each in blocks(words, rows):
            sizes.append(each.stop - each.start)
            yield each

    monkeypatch.setattr(cross_entropy, "_blocks", noted)
    return sizes


@smoothings
@pytest.mark.parametrize(("dtype", "bound"), [(torch.float64, 1e-10), (torch.float32, 1e-5)])
@pytest.mark.parametrize("rows", [1, ROWS, 300])
def test_blocks_of_words_give_torchs_value_and_gradients(by_words, smoothing, dtype, bound, rows):
    inputs = *given(rows, dtype), smoothing
    found, wanted = (with_gradients(loss, *inputs) for loss in (linear_cross_entropy, plain))
    assert by_words == [5, 5, 5, 2] * 2
    assert_close(found, wanted, bound)
    losses = F.cross_entropy(F.linear(*inputs[:3]), inputs[3], reduction="none")
    torch.testing.assert_close(linear_losses(*inputs[:4]), losses.detach(), rtol=bound, atol=bound)
    assert by_words == [5, 5, 5, 2] * 3


@pytest.mark.parametrize("shift", [-200.0, -95.0, -30.0, 30.0, 80.0, 200.0])
def test_logits_that_exp_cannot_hold_are_shifted(by_words, shift):
    x, weight, bias, target = given(dtype=torch.float32)
    inputs = x, weight, (bias.detach() + shift).requires_grad_(), target
    found, wanted = (with_gradients(loss, *inputs) for loss in (linear_cross_entropy, plain))
    assert_close(found, wanted, 1e-4)  # near 200 a float32 is off by 1 part in 65,536
    assert by_words == [5, 5, 5, 2] * (2 if abs(shift) < 46 else 1)  # ln(1e20) is 46
    each = F.cross_entropy(F.linear(*inputs[:3]), target, reduction="none").detach()
    torch.testing.assert_close(linear_losses(*inputs), each, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("blocks", [False, True])
@smoothings
def test_bfloat16_autocast_is_close_to_float32(request, smoothing, blocks):
    # bfloat16 keeps 8 bits: a number is off by 1 part in 512 at most. Vectors, weights and logits
    # are each rounded once, the gradient by the logits and the gradients by the three as well, and
    # what is summed is rounded independently: 1 part in 64 of a tensor's norm holds them all. When
    # the target counts for nothing, the gradient is what is left of two numbers that are alike.
    inputs = *given(200, torch.float32, 64, 150), smoothing
    wanted = with_gradients(linear_cross_entropy, *inputs)
    sizes = request.getfixturevalue("by_words") if blocks else []
    with torch.autocast("cpu", torch.bfloat16):
        found = with_gradients(linear_cross_entropy, *inputs)
    for one, other in zip(found, wanted, strict=True):
        assert one.dtype == torch.float32
        assert (one - other).norm() < other.norm() / (64 if smoothing < 1 else 32)
    assert not torch.equal(found[1], wanted[1])  # it did round
    assert len(sizes) == (60 if blocks else 0)


def test_float16_keeps_the_small_chances_of_many_words_and_rows():
    """Each is below the smallest number of float16, all together are as much as the targets."""
    x, weight, bias, target = given(2000, torch.float32, 8, 30_000)
    weight = (weight.detach() / 10).requires_grad_()
    wanted = with_gradients(
        linear_cross_entropy, x, weight, bias.detach().zero_().requires_grad_(), target
    )
    with torch.autocast("cpu", torch.float16):
        found = with_gradients(linear_cross_entropy, x, weight, bias, target)
    for one, other in zip(found, wanted, strict=True):
        assert (one - other).norm() < 1e-3 * other.norm()
    assert abs(float(found[3].sum())) < 1e-3


def test_autocast_leaves_float64_alone():
    wanted = with_gradients(linear_cross_entropy, *given())
    with torch.autocast("cpu", torch.bfloat16):
        found = with_gradients(linear_cross_entropy, *given())
    assert all(map(torch.equal, found, wanted))


@smoothings
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_no_rows_give_a_zero_loss_and_zero_gradients(smoothing, dtype):
    inputs = *given(0, dtype), smoothing
    for tensor, like in zip(
        with_gradients(linear_cross_entropy, *inputs), [torch.zeros(()), *inputs[:3]], strict=True
    ):
        assert (tensor.shape, tensor.dtype) == (like.shape, dtype)
        assert not tensor.any()  # nor NaN, which counts as true


@smoothings
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("scale", [1e2, 1e4, -1e4])
def test_huge_logits_stay_finite_and_right(smoothing, dtype, scale):
    x, weight, bias, target = given(dtype=dtype)
    scaled = [(part * scale).detach().requires_grad_() for part in (weight, bias)]
    inputs = x, *scaled, target, smoothing
    found = with_gradients(linear_cross_entropy, *inputs)
    exact = [part.detach().double().requires_grad_() for part in inputs[:3]]
    wanted = with_gradients(plain, *exact, target, smoothing)
    for one, other in zip(found, wanted, strict=True):
        assert one.isfinite().all()
        assert (one - other).norm() < (1e-4 if dtype == torch.float32 else 1e-12) * other.norm()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("gap", [0.0, 20.0, 200.0, 2000.0, 1e4])
def test_a_target_whose_probability_underflows_costs_the_gap(dtype, gap):
    bias = torch.tensor([gap, 0.0, 0.0], dtype=dtype, requires_grad=True)
    x, weight = (torch.zeros(n, 2, dtype=dtype, requires_grad=True) for n in (2, 3))
    found = with_gradients(linear_cross_entropy, x, weight, bias, torch.tensor([1, 0]))
    wanted = with_gradients(plain, x, weight, bias, torch.tensor([1, 0]))
    assert_close(found, wanted, 1e-6)
    assert found[0].item() >= gap / 2  # the mean of gap and 0, and more where both are likely


@pytest.mark.parametrize("factor", [3.5, -2.0, 0.0])
def test_gradients_take_the_factor_of_what_comes_after(factor):
    once = with_gradients(linear_cross_entropy, *given(), 0.1)
    times = with_gradients(linear_cross_entropy, *given(), 0.1, factor=factor)
    assert_close(times, [once[0], *(grad * factor for grad in once[1:])], 1e-12)


@pytest.mark.parametrize("which", range(3))
def test_an_input_that_needs_no_gradient_gets_none(which):
    *floats, target = given()
    floats[which] = floats[which].detach()
    linear_cross_entropy(*floats, target).backward()
    wanted = with_gradients(plain, *given())[1:]
    for i in range(3):
        if i == which:
            assert floats[i].grad is None
        else:
            assert_close([floats[i].grad], [wanted[i]], 1e-10)


class Products(TorchDispatchMode):
    """Counts matrix products, by name."""

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.seen = [*getattr(self, "seen", []), function.overloadpacket.__name__]
        return function(*args, **(kwargs or {}))


def test_without_grad_no_gradient_is_computed():
    *floats, target = given()
    with Products() as learning:
        wanted = linear_cross_entropy(*floats, target)
    with Products() as scoring, torch.no_grad():
        found = linear_cross_entropy(*floats, target)
    assert torch.equal(found, wanted)
    assert not found.requires_grad
    assert [learning.seen.count("mm"), scoring.seen.count("mm")] == [3, 1]


@pytest.mark.parametrize("kind", ["alone", "of a product", "in a sum"])
def test_a_second_derivative_is_refused(kind):
    *floats, target = given()
    loss = linear_cross_entropy(*floats, target)
    loss = loss * floats[2].sum() if kind == "of a product" else loss

    def learn():
        (grad,) = torch.autograd.grad(loss, floats[0], create_graph=True)
        penalty = grad.square().sum()
        (loss + penalty if kind == "in a sum" else penalty).backward()

    with pytest.raises(RuntimeError, match="cannot be differentiated twice"):
        learn()


def test_threads_share_no_memory():
    cases = [given(60 + 7 * i, torch.float32, 16, 500) for i in range(4)] * 10

    def found(case):
        x, weight, bias, target = case
        leaves = [part.detach().clone().requires_grad_() for part in (x, weight, bias)]
        loss = linear_cross_entropy(*leaves, target)
        return [loss.detach(), *torch.autograd.grad(loss, leaves)]

    wanted = [found(case) for case in cases]
    with ThreadPoolExecutor(8) as threads:
        for one, other in zip(threads.map(found, cases), wanted, strict=True):
            assert all(map(torch.equal, one, other))
