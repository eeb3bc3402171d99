"""torch's fused GRU kernel over a dense batch, exact for rows of any length.

As in `zoo/rnn/lstm_fused.py`, an extra input feature is 1 on padding. Its weights drive the update
gate z to exactly 1, so that h' = (1 - z) n + z h keeps h. Some kernels compute this as n + z (h - n),
which rounds. So the feature also sets the reset gate r to 0 and cancels n's bias: padding has no
other input, n is exactly 0, and h is carried bit by bit.
"""

from __future__ import annotations

import torch
from torch import Tensor

from zoo.rnn.lstm_fused import HOLD, Kernel, States, contiguous, run_rows, widened
from zoo.rnn.lstm_reference import Weights
from zoo.rnn.padding import Padding


def run(
    x: Tensor,  # (time, batch, input), zero on padding
    state: States,  # h (batch, hidden)
    weights: Weights,
    padding: Padding | None,
    reverse: bool,
    from_zero: bool,  # whether the state is all zeros
) -> tuple[Tensor, ...]:
    """Run one layer and direction: output (time, batch, hidden) and the last h."""

    def prepare(hold: bool, features: int) -> Kernel:
        flat = contiguous(_flatten(weights, hold, features))
        return lambda x, state: _call(x, state, flat, weights.b_ih is not None)

    return run_rows(prepare, x, state, padding, reverse, from_zero, holds_h=True)


def _call(x: Tensor, state: States, flat: list[Tensor], bias: bool) -> tuple[Tensor, States]:
    """Call torch's kernel on x (time, batch, input)."""
    grad = torch.is_grad_enabled()
    output, h_n = torch.gru(x, state[0][None], flat, bias, 1, 0.0, grad, False, False)
    return output, (h_n[0],)


def _flatten(weights: Weights, hold: bool, features: int) -> list[Tensor]:
    """List the weights as the kernel takes them; `hold` adds the column that holds h."""
    w_ih = weights.w_ih
    column = None
    if hold:
        column = w_ih.new_zeros(3, w_ih.size(0) // 3, 1)  # gates r, z, n
        column[0], column[1] = -HOLD, HOLD
        if weights.b_ih is not None:
            column[2, :, 0] = -weights.b_ih.detach().chunk(3)[2]
        column = column.flatten(0, 1)
    given = [widened(w_ih, column, features), weights.w_hh, weights.b_ih, weights.b_hh]
    return [part for part in given if part is not None]
