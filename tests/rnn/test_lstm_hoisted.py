"""The hoisted engine's backward, written by hand: what autograd would have found."""

from __future__ import annotations

from itertools import product

import pytest
import torch
from lstm_cases import LENGTHS, assert_same, case, cases, everything, needs_bf16, normal
from torch.autograd import gradcheck

from zoo import torch_private
from zoo.rnn.lstm_hoisted import Recurrence

STEPS, BATCH, INPUT, HIDDEN = 3, 2, 2, 3
PAD = torch.tensor([[False, False], [False, True], [True, True]]).unsqueeze(-1)  # (time, batch, 1)
norms = pytest.mark.parametrize("layer_norm", [False, True])


def arguments(bias=True, size=0, layer_norm=False, pad=None, zero=False):
    """Those of Recurrence.apply, all different; with `zero` from a state of zeros."""
    like = torch.empty(0, dtype=torch.float64)
    shapes = [
        (STEPS, BATCH, INPUT),
        (BATCH, size or HIDDEN),
        (BATCH, HIDDEN),
        (4 * HIDDEN, INPUT),
        (4 * HIDDEN, size or HIDDEN),
        (4 * HIDDEN,) if bias else None,
        (size, HIDDEN) if size else None,
        *[(5, HIDDEN) if layer_norm else None] * 2,
    ]
    tensors = [
        None if shape is None else (1 - 0.15 * place) * normal(*shape, like=like)
        for place, shape in enumerate(shapes)
    ]
    for state in tensors[1:3] if zero else ():
        state.zero_()
    for tensor in tensors:
        if tensor is not None:
            tensor.requires_grad_()
    return *tensors, pad, torch.float64


@pytest.mark.parametrize("result", [0, 1, 2], ids=["output", "h_n", "c_n"])
@pytest.mark.parametrize(
    ("bias", "size", "layer_norm", "pad"),
    list(product((True, False), (0, 2), (False, True), (None, PAD))),
)
def test_the_gradient_through_each_result_is_right(result, bias, size, layer_norm, pad):
    given = arguments(bias, size, layer_norm, pad)
    assert gradcheck(lambda *all_: Recurrence.apply(*all_)[result], given)


@pytest.mark.parametrize("result", [0, 1, 2], ids=["output", "h_n", "c_n"])
def test_the_gradient_from_a_state_of_zeros_is_right(result):
    assert gradcheck(lambda *all_: Recurrence.apply(*all_)[result], arguments(zero=True))


@norms
@pytest.mark.parametrize("wanted", range(1, 5), ids=["h_0", "c_0", "w_ih", "w_hh"])
def test_what_needs_no_gradient_gets_none_and_changes_none(wanted, layer_norm):
    given = arguments(layer_norm=layer_norm)
    Recurrence.apply(*given)[0].sum().backward()
    alone = [part.detach() if isinstance(part, torch.Tensor) else part for part in given]
    alone[wanted].requires_grad_()
    Recurrence.apply(*alone)[0].sum().backward()
    assert torch.equal(alone[wanted].grad, given[wanted].grad)
    assert alone[0].grad is None


@norms
@pytest.mark.parametrize("size", [0, 2])
def test_backward_twice_gives_the_same_gradients(layer_norm, size):
    given = arguments(size=size, layer_norm=layer_norm, pad=PAD)
    leaves = [part for part in given[:9] if part is not None]
    loss = sum(part.square().sum() for part in Recurrence.apply(*given))
    first = torch.autograd.grad(loss, leaves, retain_graph=True)
    assert_same(torch.autograd.grad(loss, leaves), first)


@pytest.mark.parametrize("read", [torch.square, torch.neg])
def test_a_second_derivative_is_refused(read):
    x, *others = arguments()
    loss = read(Recurrence.apply(x, *others)[0]).sum()
    with pytest.raises(RuntimeError, match="no second derivative: engine='reference' has"):
        torch.autograd.grad(loss, x, create_graph=True)


@norms
@pytest.mark.parametrize("size", [0, 2])
@pytest.mark.parametrize("stateful", [False, True])
def test_a_batch_of_no_rows_is_read_as_the_reference_reads_it(layer_norm, size, stateful):
    both = []
    for engine in ("hoisted", "reference"):
        lstm, x, state = case(
            2, True, stateful, engine=engine, layer_norm=layer_norm, proj_size=size
        )
        state = None if state is None else tuple(part[:, :0] for part in state)
        both.append(everything(lstm, x[:0], state, LENGTHS[:0]))
    assert both[0]["output"].shape[0] == 0
    assert_same(*both)


@pytest.mark.parametrize("engine", ["torch", "hoisted", "reference"])
def test_a_sequence_has_a_step(engine):
    lstm, x, _ = case(2, True, engine=engine)
    with pytest.raises(RuntimeError, match="at least one step"):
        lstm(x[:, :0])


@norms
@pytest.mark.parametrize("size", [0, 2])
@pytest.mark.parametrize("lengths", [None, LENGTHS])
def test_onednn_and_mm_give_the_same(monkeypatch, layer_norm, size, lengths):
    options = {"layer_norm": layer_norm, "proj_size": size, "dtype": torch.float32}
    given = case(2, True, True, engine="hoisted", **options)
    found = everything(*given, lengths)
    monkeypatch.setattr(torch_private, "has_onednn_linear", lambda: False)
    assert_same(found, everything(*given, lengths), 1e-5)


@pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="torch without oneDNN")
def test_float32_goes_through_onednn_and_float64_does_not(monkeypatch):
    seen = []
    kernel = torch.ops.mkldnn._linear_pointwise
    monkeypatch.setattr(
        torch.ops.mkldnn, "_linear_pointwise", lambda *all_: seen.append(1) or kernel(*all_)
    )
    for dtype in (torch.float64, torch.float32):
        lstm, x, _ = case(engine="hoisted", dtype=dtype)
        assert not seen
        lstm(x)
    assert seen


def doubled(place, copied, lengths=None, both=False):
    """The weights' gradients after one of output, h_n and c_n was doubled in place."""
    lstm, x, _ = case(2, both, engine="hoisted")
    output, last = lstm(x, None, lengths)
    parts = [part.clone() if copied else part for part in (output, *last)]
    parts[place].mul_(2)
    sum(part.square().sum() for part in parts).backward()
    return [weight.grad for weight in lstm.parameters()]


def test_output_may_not_be_changed_in_place_where_the_backward_reads_it():
    with pytest.raises(RuntimeError, match="is being modified inplace"):
        doubled(0, copied=False)


@pytest.mark.parametrize(
    ("place", "lengths", "both"),
    [*product((1, 2), (None, LENGTHS), (False, True)), (0, LENGTHS, False), (0, None, True)],
)
def test_other_results_changed_in_place_spoil_no_gradient(place, lengths, both):
    assert_same(doubled(place, False, lengths, both), doubled(place, True, lengths, both))


def test_without_gradients_output_is_the_callers_own():
    lstm, x, _ = case(engine="hoisted")
    with torch.no_grad():
        output, (h_n, _) = lstm(x)
        assert_same(output.mul_(2)[:, -1], 2 * h_n[-1])


@needs_bf16
@pytest.mark.parametrize("lengths", [None, LENGTHS])
@cases
def test_under_autocast_hoisted_is_near_torch(layers, both, stateful, lengths):
    with torch.autocast("cpu", torch.bfloat16):
        found, wanted = (
            everything(*case(layers, both, stateful, engine=engine, dtype=torch.float32), lengths)
            for engine in ("hoisted", "torch")
        )
    assert_same(found, wanted, 5e-2)  # dtypes as well
