"""The buffers of the steps on a GPU: their shapes, what fills them, and what they share."""

from __future__ import annotations

import pytest
import torch

from zoo.rnn.cuda.buffers import (
    Case,
    Kept,
    backward_buffers,
    fill_backward,
    fill_forward,
    forward_buffers,
    zeros,
)

CPU = torch.device("cpu")
FULL = Case(3, 2, 5, torch.float32, bias=True, layer_norm=True, padded=True)
BARE = Case(3, 2, 5, torch.bfloat16, bias=False, layer_norm=False, padded=False)
cases = pytest.mark.parametrize("case", [FULL, BARE], ids=["full", "bare"])


def kept_of(buffers):
    return Kept(buffers.h, buffers.c, buffers.sums, buffers.stats)


@cases
def test_the_inputs_of_a_case_are_of_that_case(case):
    given = zeros(case, CPU)
    assert given.case == case
    assert not any(part.any() for part in given if part is not None)


@cases
def test_forward_buffers_have_the_documented_shapes_and_dtypes(case):
    buffers = forward_buffers(zeros(case, CPU))
    shapes = [tuple(part.shape) for part in (buffers.sums, buffers.read, buffers.h, buffers.c)]
    assert shapes == [(3, 2, 20), (2, 20), (4, 2, 5), (4, 2, 5)]
    assert (buffers.sums.dtype, buffers.h.dtype, buffers.c.dtype) == (
        case.dtype,
        case.dtype,
        torch.float32,
    )
    if case.layer_norm:
        assert buffers.stats.shape == (3, 2, 10)
    else:
        assert buffers.stats is None


def test_filling_puts_the_product_with_x_and_the_state_in():
    given = zeros(FULL, CPU)
    given.x.copy_(torch.arange(6.0).view(3, 2, 1))
    given.w_ih.fill_(2)
    given.h_0.fill_(3)
    given.c_0.fill_(4)
    buffers = forward_buffers(given)
    fill_forward(buffers, given)
    assert torch.equal(buffers.sums, (2 * given.x).expand(3, 2, 20))
    assert torch.equal(buffers.h[0], torch.full((2, 5), 3.0))
    assert torch.equal(buffers.c[0], torch.full((2, 5), 4.0))


@pytest.mark.parametrize("shared", [False, True])
def test_gradients_overwrite_sums_and_h_only_where_memory_is_shared(shared):
    given = zeros(FULL, CPU)
    kept = kept_of(forward_buffers(given))
    for part in kept:
        part.zero_()
    buffers = backward_buffers(given, kept, shared)
    buffers.d_sums.fill_(7)
    fill_backward(buffers, torch.ones(3, 2, 5), torch.full((2, 5), 2.0), torch.full((2, 5), 3.0))
    assert kept.sums.eq(7).all() == shared
    assert kept.h[1:].eq(1).all() == shared
    assert not kept.h[0].any()
    assert not kept.c.any()
    assert buffers.d_output.eq(1).all()
    assert buffers.read.eq(2).all()
    assert buffers.d_c.eq(3).all()


@cases
def test_backward_buffers_hold_only_what_the_case_needs(case):
    given = zeros(case, CPU)
    buffers = backward_buffers(given, kept_of(forward_buffers(given)))
    assert (buffers.passed is not None) == case.padded
    assert (buffers.d_scale is not None) == (buffers.d_shift is not None) == case.layer_norm
    if case.layer_norm:
        assert buffers.d_scale.data_ptr() != buffers.d_shift.data_ptr()
