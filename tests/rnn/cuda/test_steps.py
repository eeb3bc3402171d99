"""The loop over the steps, with stand-ins for the kernels: its order, products and gradients."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest
import torch

from zoo.rnn.cuda.buffers import Case, Kept, backward_buffers, forward_buffers, zeros
from zoo.rnn.cuda.steps import gradients, run_backward, run_forward

CASE = Case(3, 2, 5, torch.float32, bias=True, layer_norm=True, padded=True)


@pytest.fixture
def buffers():
    """Forward and backward buffers filled with ones; w_hh is an identity, four times."""
    given = zeros(CASE, torch.device("cpu"))
    given.w_hh.copy_(torch.eye(5).repeat(4, 1))
    forward = forward_buffers(given)
    backward = backward_buffers(given, Kept(forward.h, forward.c, forward.sums, forward.stats))
    for each in (forward, backward):
        for name, part in vars(each).items():
            if part is not None and name not in ("w_hh", "pad"):
                part.fill_(1)
    return forward, backward


def test_forward_multiplies_the_last_h_and_runs_the_steps_in_order(monkeypatch, buffers):
    forward, _ = buffers
    seen = []

    def step(given, t):
        seen.append((t, given.read.unique().tolist()))
        given.h[t + 1] = given.h[t] + 1

    monkeypatch.setitem(sys.modules, "zoo.rnn.cuda.lstm_triton", SimpleNamespace(forward_step=step))
    run_forward(forward)
    assert seen == [(0, [1]), (1, [2]), (2, [3])]


def test_backward_runs_from_the_end_and_starts_its_sums_at_zero(monkeypatch, buffers):
    _, backward = buffers
    seen = []

    def step(given, t):
        empty = not (given.passed.any() or given.d_scale.any() or given.d_shift.any())
        seen.append((t, given.read.unique().tolist(), empty))
        given.d_sums[t] = t + 1

    fake = SimpleNamespace(backward_step=step)
    monkeypatch.setitem(sys.modules, "zoo.rnn.cuda.lstm_triton", fake)
    run_backward(backward)
    assert seen == [(2, [1], True), (1, [12], True), (0, [8], True)]  # four gates of 3, then of 2
    assert backward.read.unique().tolist() == [4]


def test_gradients_add_what_padding_carried_over_and_sum_the_norms_over_rows(buffers):
    _, backward = buffers
    found = gradients(backward)
    assert found.d_h.unique().tolist() == [2]  # read and passed
    assert found.d_scale.shape == found.d_shift.shape == (5, 5)
    assert found.d_scale.unique().tolist() == found.d_shift.unique().tolist() == [2]  # two rows
    backward.read.fill_(9)
    assert found.d_h.unique().tolist() == [2]  # a copy
    assert found.d_sums is backward.d_sums
    assert found.d_c is backward.d_c
