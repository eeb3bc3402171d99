"""LSTM: `torch.nn.LSTM`'s arguments, parameters and results, and `lengths` without packing."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import dropout
from torch.nn.utils.rnn import PackedSequence

# Added to the forget gate and taken from the input gate on padding. sigmoid(±1e4) is exactly 1 or 0
# in every float format, so a padding step copies the cell bit by bit and has no gradient.
HOLD = 1e4


class LSTM(nn.LSTM):
    """A drop-in for `torch.nn.LSTM` that also takes the rows' `lengths`.

    Arguments, parameter names, shapes and gate order (i, f, g, o) are `torch.nn.LSTM`'s, so a
    state dict goes strictly from one to the other.

    With `lengths` the padding has no influence at all, whatever it holds: `output` is zero there,
    `h_n` and `c_n` are those after each row's last real step, and the backward direction starts
    at that step. Results and gradients are those of `pack_padded_sequence`, without its cost: the
    kernel runs over the dense batch, with one input feature more that is 1 on padding. Its weights
    hold the cell (input gate shut, forget gate open), so the kernel's own `c_n` is the right one;
    `h_n` is read from `output` at `lengths - 1`.

    `dropout` acts between layers, as in torch, but its masks are drawn outside the fused kernel:
    the same seed gives the same bits on every device.
    """

    def forward(  # type: ignore[override]  # torch has no `lengths`
        self,
        input: Tensor | PackedSequence,
        hx: tuple[Tensor, Tensor] | None = None,
        lengths: Tensor | None = None,
    ) -> tuple[Tensor | PackedSequence, tuple[Tensor, Tensor]]:
        """Run all layers over all steps.

        input: (time, batch, input_size), (batch, time, input_size) with `batch_first`, or
        (time, input_size) for one sequence; or a PackedSequence, as torch takes it.
        hx: h_0 (layers * directions, batch, proj_size or hidden_size) and
        c_0 (layers * directions, batch, hidden_size); zeros when None.
        lengths: (batch,) integers from 0 to time, on any device; rows need no order.

        Returns output (time, batch, directions * size) or batch first, and h_n, c_n shaped as
        h_0, c_0. Raises ValueError when `lengths` does not fit `input`.
        """
        if lengths is not None:
            if isinstance(input, PackedSequence):
                raise ValueError("a PackedSequence has its own lengths: leave lengths out")
            if input.dim() == 2:
                raise ValueError("an unbatched sequence has no padding: leave lengths out")
        between = self.dropout > 0 and self.training and self.num_layers > 1
        if isinstance(input, PackedSequence) or (lengths is None and not between):
            return super().forward(input, hx)
        if input.dim() == 2:
            return self._unbatched(input, hx)
        self.check_input(input, None)
        x = input.transpose(0, 1) if self.batch_first else input  # (time, batch, input_size)
        padding = _padding(x, lengths)
        if padding is None and not between:  # every row is full: one call of the kernel
            return super().forward(input, hx)
        self.check_forward_args(input, hx or self._zeros(x), None)
        output, state = self._dense(x, hx, padding)
        return (output.transpose(0, 1) if self.batch_first else output), state

    def _unbatched(
        self, x: Tensor, hx: tuple[Tensor, Tensor] | None
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        batch = 0 if self.batch_first else 1  # the dimension: one sequence is a batch of one
        state = None if hx is None else (hx[0].unsqueeze(1), hx[1].unsqueeze(1))
        output, (h_n, c_n) = self.forward(x.unsqueeze(batch), state)
        assert isinstance(output, Tensor)
        return output.squeeze(batch), (h_n.squeeze(1), c_n.squeeze(1))

    def _dense(
        self, x: Tensor, hx: tuple[Tensor, Tensor] | None, padding: Padding | None
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        last_h, last_c = [], []
        if padding is not None:
            x = x.masked_fill(padding.mask, 0)  # even NaN in the padding is without influence
        for layer in range(self.num_layers):
            if layer > 0:
                x = dropout(x, self.dropout, self.training)
            outputs = []
            for direction in range(2 if self.bidirectional else 1):
                index = layer * (2 if self.bidirectional else 1) + direction
                state = None if hx is None else (hx[0][index], hx[1][index])
                output, h, c = self._direction(x, layer, direction, state, padding)
                outputs.append(output)
                last_h.append(h)
                last_c.append(c)
            x = torch.cat(outputs, -1) if self.bidirectional else outputs[0]
            if padding is not None:
                x = x.masked_fill(padding.mask, 0)
        return x, (torch.stack(last_h), torch.stack(last_c))

    def _direction(
        self,
        x: Tensor,  # (time, batch, size)
        layer: int,
        direction: int,
        state: tuple[Tensor, Tensor] | None,  # (batch, size) each
        padding: Padding | None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        # Turned around as a whole, a row has its padding first. From a zero state that does no
        # harm: the held cell stays 0, and so does h = o * tanh(0). From any other state, h would
        # be lost on the way, so each row is turned within its own length, at the price of a gather.
        ends_last = padding is None or (direction == 1 and state is None)
        if direction == 1:
            x = x.flip(0) if ends_last else padding.turn(x)  # type: ignore[union-attr]
        mask = None if padding is None else padding.mask
        if mask is not None:
            x = torch.cat([x, (mask.flip(0) if direction == 1 and ends_last else mask).to(x)], -1)
        weights = self._weights(layer, direction, hold=mask is not None)
        zero_h, zero_c = self._zeros(x)
        h_0, c_0 = (zero_h[0], zero_c[0]) if state is None else state
        output, h, c = torch.lstm(
            x, (h_0[None], c_0[None]), weights, self.bias, 1, 0.0, self.training, False, False
        )
        h, c = h[0], c[0]
        if not ends_last:
            h = padding.last(output, h_0)  # type: ignore[union-attr]
        if direction == 1:
            output = output.flip(0) if ends_last else padding.turn(output)  # type: ignore[union-attr]
        return output, h, c

    def _weights(self, layer: int, direction: int, hold: bool) -> list[Tensor]:
        suffix = f"_l{layer}" + ("_reverse" if direction else "")
        names = ["weight_ih", "weight_hh"]
        names += ["bias_ih", "bias_hh"] if self.bias else []
        names += ["weight_hr"] if self.proj_size else []
        weights = [getattr(self, name + suffix) for name in names]
        if hold:
            column = weights[0].new_zeros(4, self.hidden_size, 1)  # gates i, f, g, o
            column[0], column[1] = -HOLD, HOLD
            weights[0] = torch.cat([weights[0], column.flatten(0, 1)], 1)
        if weights[0].is_cuda:  # cuDNN wants the weights of a call in one piece of memory
            flat = torch.cat([w.flatten() for w in weights])
            pieces = flat.split([w.numel() for w in weights])
            weights = [p.view_as(w) for p, w in zip(pieces, weights, strict=True)]
        return weights

    def _zeros(self, x: Tensor) -> tuple[Tensor, Tensor]:
        count = self.num_layers * (2 if self.bidirectional else 1)
        size = self.proj_size or self.hidden_size
        batch = x.size(1)
        return x.new_zeros(count, batch, size), x.new_zeros(count, batch, self.hidden_size)


class Padding:
    """Where a (time, batch) block holds no real step, and how to read around it."""

    def __init__(self, lengths: Tensor, time: int) -> None:
        steps = torch.arange(time, device=lengths.device).unsqueeze(1)  # (time, 1)
        self.lengths = lengths
        self.mask = (steps >= lengths).unsqueeze(-1)  # (time, batch, 1), True on padding
        turned = torch.where(steps < lengths, lengths - 1 - steps, steps)
        self.turned = turned.unsqueeze(-1)  # (time, batch, 1)

    def turn(self, x: Tensor) -> Tensor:
        """Reverse each row's real steps and leave its padding in place: (time, batch, size)."""
        return x.gather(0, self.turned.expand_as(x))

    def last(self, x: Tensor, before: Tensor) -> Tensor:
        """Each row's last real step of x (time, batch, size), or `before` where it has none."""
        index = (self.lengths - 1).clamp(min=0).view(1, -1, 1).expand(1, -1, x.size(2))
        return torch.where(self.lengths.unsqueeze(1) > 0, x.gather(0, index)[0], before.to(x))


def _padding(x: Tensor, lengths: Tensor | None) -> Padding | None:
    """The padding of x (time, batch, size), or None when every row fills its length."""
    if lengths is None:
        return None
    time, batch = x.shape[:2]
    whole = not (lengths.is_floating_point() or lengths.is_complex() or lengths.dtype == torch.bool)
    if lengths.shape != (batch,) or not whole:
        given = f"{lengths.dtype} of shape {tuple(lengths.shape)}"
        raise ValueError(f"lengths must be {batch} integers, one per row, not {given}")
    if batch == 0:
        return None
    low, high = (int(v) for v in lengths.aminmax())
    if low < 0 or high > time:
        raise ValueError(f"lengths must lie in 0..{time}, the steps given, not in {low}..{high}")
    return None if low == time else Padding(lengths.to(x.device, torch.int64), time)
