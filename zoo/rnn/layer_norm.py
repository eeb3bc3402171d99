"""Layer normalisation inside an LSTM, step by step, with its gradients.

`zoo.rnn.lstm_hoisted` uses it.
"""

from __future__ import annotations

import torch
from torch import Tensor

from zoo.rnn.lstm_reference import EPSILON
from zoo.torch_private import layer_norm_backward


class StepLayerNorm:
    """Normalise the four gates' sums and the cell, and save what their gradients need."""

    def __init__(self, scale: Tensor, shift: Tensor) -> None:
        self.scale, self.shift = scale, shift  # (5, hidden): i, f, g, o, cell
        self.sums: list[tuple[Tensor, Tensor, Tensor]] = []  # each step's sums, mean and 1 / std
        self.cells: list[tuple[Tensor, Tensor]] = []  # each step's mean and 1 / std

    def normalize_gates(self, sums: Tensor) -> Tensor:
        """Normalise the next step's sums (batch, 4 * hidden), each gate separately."""
        rows = sums.view(-1, 4, self.scale.size(1))
        normed, mean, rstd = torch.native_layer_norm(rows, rows.shape[2:], None, None, EPSILON)
        self.sums.append((rows, mean, rstd))
        return torch.addcmul(self.shift[:4], normed, self.scale[:4]).view_as(sums)

    def normalize_cell(self, cell: Tensor) -> Tensor:
        """Normalise the next step's cell (batch, hidden)."""
        normed, mean, rstd = torch.native_layer_norm(
            cell, cell.shape[1:], self.scale[4], self.shift[4], EPSILON
        )
        self.cells.append((mean, rstd))
        return normed

    def gates_backward(self, d_gates: Tensor, t: int) -> Tensor:
        """Return the gradient of the sums (batch, 4, hidden) of step t."""
        rows, mean, rstd = self.sums[t]
        return layer_norm_backward(d_gates * self.scale[:4], rows, mean, rstd)

    def cell_backward(self, d_normed: Tensor, cell: Tensor, t: int) -> Tensor:
        """Return the gradient of the cell (batch, hidden) of step t."""
        return layer_norm_backward(d_normed * self.scale[4], cell, *self.cells[t])

    def gradients(self, d_gates: Tensor, d_cells: Tensor, cells: Tensor) -> tuple[Tensor, Tensor]:
        """Return the gradients of scale and shift, each (5, hidden). Call it once, at the end.

        d_gates (time, batch, 4, hidden) and d_cells (time, batch, hidden) are the gradients of the
        normalised sums and cells; cells (time, batch, hidden) are the cells before the norm.
        """
        if not self.sums:
            return torch.zeros_like(self.scale), torch.zeros_like(self.shift)
        rows, mean, rstd = (torch.stack(part) for part in zip(*self.sums, strict=True))
        d_scale = (rows.sub_(mean).mul_(rstd).mul_(d_gates)).sum((0, 1))
        mean, rstd = (torch.stack(part) for part in zip(*self.cells, strict=True))
        d_scale_c = ((cells - mean) * rstd * d_cells).sum((0, 1))
        d_shift = torch.cat([d_gates.sum((0, 1)), d_cells.sum((0, 1))[None]])
        return torch.cat([d_scale, d_scale_c[None]]), d_shift
