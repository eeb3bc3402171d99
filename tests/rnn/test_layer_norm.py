"""Layer normalisation step by step: values and gradients are those of torch's layer norm."""

from __future__ import annotations

import torch
from torch.nn import functional as F

from zoo.rnn.layer_norm import StepLayerNorm
from zoo.rnn.lstm_reference import EPSILON

TIME, BATCH, HIDDEN = 3, 2, 6


def normal(*shape):
    return torch.randn(
        shape, dtype=torch.float64, generator=torch.Generator().manual_seed(len(shape))
    )


def test_values_and_gradients_are_those_of_torch():
    scale, shift = (1 + normal(5, HIDDEN)).requires_grad_(), normal(5, HIDDEN).requires_grad_()
    sums = normal(TIME, BATCH, 4, HIDDEN).requires_grad_()
    cells = normal(TIME, BATCH, HIDDEN).requires_grad_()
    gates = [F.layer_norm(sums[:, :, k], [HIDDEN], scale[k], shift[k], EPSILON) for k in range(4)]
    wanted = torch.stack(gates, 2)
    wanted_cells = F.layer_norm(cells, [HIDDEN], scale[4], shift[4], EPSILON)
    d_gates = normal(TIME, BATCH, 4, HIDDEN).flip(0)
    d_cells = normal(TIME, BATCH, HIDDEN).flip(0)
    ((wanted * d_gates).sum() + (wanted_cells * d_cells).sum()).backward()

    norms = StepLayerNorm(scale.detach(), shift.detach())
    for t in range(TIME):
        found = norms.normalize_gates(sums.detach()[t].flatten(1))
        torch.testing.assert_close(found.view_as(wanted[t]), wanted[t].detach())
        torch.testing.assert_close(
            norms.normalize_cell(cells.detach()[t]), wanted_cells[t].detach()
        )
    for t in range(TIME):
        torch.testing.assert_close(norms.gates_backward(d_gates[t], t), sums.grad[t])
        d_cell = norms.cell_backward(d_cells[t], cells.detach()[t], t)
        torch.testing.assert_close(d_cell, cells.grad[t])
    d_scale, d_shift = norms.gradients(d_gates, d_cells, cells.detach())
    torch.testing.assert_close(d_scale, scale.grad)
    torch.testing.assert_close(d_shift, shift.grad)


def test_without_a_step_the_gradients_are_zero():
    norms = StepLayerNorm(torch.ones(5, HIDDEN), torch.ones(5, HIDDEN))
    none = torch.ones(0, BATCH, HIDDEN)
    for found in norms.gradients(torch.ones(0, BATCH, 4, HIDDEN), none, none):
        assert torch.equal(found, torch.zeros(5, HIDDEN))
