"""The fused engine: padding and direction, one layer at a time, against the reference engine."""

from __future__ import annotations

import pytest
import torch
from lstm_cases import LENGTHS, TIME, assert_same, case
from torch.nn import functional as F

from zoo.rnn import lstm_fused, lstm_reference
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
