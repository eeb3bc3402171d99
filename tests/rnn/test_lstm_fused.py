"""The fused engine: padding and direction, one layer at a time, against the reference engine."""

from __future__ import annotations

import pytest
import torch
from lstm_cases import LENGTHS, TIME, assert_same, case
from torch.nn import functional as F

from zoo.rnn import lstm_fused, lstm_reference
from zoo.rnn import padding as padding_of
from zoo.rnn.gru.gru import GRU
from zoo.rnn.lstm import LSTM
from zoo.rnn.padding import Padding
from zoo.rnn.stack import weights_of


@pytest.mark.parametrize("from_zero", [False, True])
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("lengths", [None, LENGTHS])
def test_one_direction_is_the_references(from_zero, reverse, lengths):
    lstm, x, state = case(stateful=True)
    x = x.transpose(0, 1)  # (time, batch, input)
    h_0, c_0 = (torch.zeros_like(part[0]) if from_zero else part[0] for part in state)
    weights = weights_of(lstm, "_l0")
    padding = None if lengths is None else Padding(lengths, TIME)
    found = lstm_fused.run(x, (h_0, c_0), weights, padding, reverse, from_zero)
    *wanted, _ = lstm_reference.run(x, (h_0, c_0), weights, padding, reverse)
    if padding is not None:  # engines may leave anything in the output's padding
        found = (found[0].masked_fill(padding.mask, 0), *found[1:])
        wanted[0] = wanted[0].masked_fill(padding.mask, 0)
    assert_same(found, tuple(wanted), 1e-12)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_the_held_gates_are_exactly_one_and_zero(dtype):
    hold = torch.tensor([lstm_fused.HOLD, -lstm_fused.HOLD], dtype=dtype)
    assert F.sigmoid(hold).tolist() == [1, 0]


UNEVEN = torch.tensor([3, 75, 40, 0, 64, 21, 75])


@pytest.mark.parametrize("low", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("call", [1.0, 1e9])  # in pieces, or whole with its time rounded
@pytest.mark.parametrize("from_zero", [False, True])
@pytest.mark.parametrize("reverse", [False, True])
def test_a_batch_in_pieces_is_the_whole_batch(monkeypatch, from_zero, reverse, call, low):
    monkeypatch.setattr(padding_of, "CALL", call)
    lstm = LSTM(4, 24)
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(75, 7, 4, generator=generator)
    state = torch.randn(2, 7, 24, generator=generator) * (not from_zero)
    given = weights_of(lstm, "_l0"), Padding(UNEVEN, 75), reverse, from_zero
    calls = []
    kernel = lstm_fused._call
    monkeypatch.setattr(
        lstm_fused, "_call", lambda x, *others: calls.append(x.shape) or kernel(x, *others)
    )
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=low.itemsize == 2):
        pieces = lstm_fused.run(x, (state[0], state[1]), *given)
        assert len(calls) == (5 if call == 1 else 1)
        monkeypatch.setattr(lstm_fused, "cuts", lambda x: False)
        whole = lstm_fused.run(x, (state[0], state[1]), *given)
    if call == 1:
        assert [piece.rows for piece in given[1].pieces] == [6, 5, 4, 3, 2]
        assert given[1].pieces[-1] == (64, 80, 2)
    assert len(given[1].rounded.mask) == 76
    assert {part.dtype for part in (*pieces, *whole)} == {low}
    clear = [part[0].masked_fill(given[1].mask, 0) for part in (pieces, whole)]
    within = 1e-6 if low == torch.float32 else 2**-6
    assert_same((clear[0], *pieces[1:]), (clear[1], *whole[1:]), within)


def test_only_without_a_gradient_on_a_cpu_a_batch_is_cut():
    x = torch.randn(2, 1, 3)
    assert not lstm_fused.cuts(x)  # a gradient is wanted
    with torch.no_grad():
        assert lstm_fused.cuts(x)
        assert not lstm_fused.cuts(x.double())
        assert not lstm_fused.cuts(x.half())
        assert not lstm_fused.cuts(x.to("meta"))


@pytest.mark.parametrize("size", [1, 15, 16, 31])
@pytest.mark.parametrize("layer", [LSTM, GRU])
def test_in_16_bits_a_cpu_reads_a_multiple_of_16_features(monkeypatch, layer, size):
    """oneDNN takes up to five times as long for an odd number of them."""
    torch.manual_seed(size)
    rnn = layer(size, 8, bidirectional=True)
    x = torch.randn(5, 3, size)
    lengths = torch.tensor([5, 2, 4])
    read = []
    name = layer.__name__.lower()
    kernel = getattr(torch, name)
    monkeypatch.setattr(torch, name, lambda x, *given: read.append(x.size(-1)) or kernel(x, *given))
    wide = rnn(x, lengths=lengths)
    assert {*read} == {size + 1}  # the one that holds the state on padding
    read.clear()
    with torch.autocast("cpu", torch.bfloat16):
        low = rnn(x, lengths=lengths)
        assert {*read} == {-(-(size + 1) // 16) * 16}
        read.clear()
        rnn(x)  # with a multiple of 16, torch's own call for all directions
        assert {*read} == ({16 * -(-size // 16)} if size % 16 else set())
    assert (low[0].float() - wide[0]).abs().max() < 2e-2
    low[0].float().sum().backward()
    found = rnn.weight_ih_l0.grad.clone()
    rnn.zero_grad()
    wide[0].sum().backward()
    assert found.shape == (rnn.weight_ih_l0.shape)
    assert (found - rnn.weight_ih_l0.grad).abs().max() < 3e-2 * found.abs().max() + 1e-2
