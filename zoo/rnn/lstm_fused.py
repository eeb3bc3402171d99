"""torch's fused kernel (oneDNN, cuDNN) over a dense batch, exact for rows of any length.

The kernel does not know padding, and packing is slow. An extra input feature is therefore 1 on
padding, and its weights close the input gate and open the forget gate there. So the kernel itself
carries each cell over the padding, and its `c_n` is correct.

Without a gradient a batch is cut into pieces along time where much of it is padding: the rows that
have ended are left out of the pieces behind. On a CPU the time of a step grows with its rows.
Times are rounded up, so that few shapes occur: oneDNN makes and keeps a kernel for each.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from zoo.rnn.lstm_reference import Weights
from zoo.rnn.padding import Padding

# On padding it is added to the forget gate and subtracted from the input gate. sigmoid(±1e4) is
# exactly 1 or 0 in every float format, so a padding step copies the cell and has no gradient.
HOLD = 1e4
LONGEST_CALL = 1 << 15  # steps

States = tuple[Tensor, ...]  # h (batch, size) and, of an LSTM, c (batch, hidden)
Kernel = Callable[[Tensor, States], tuple[Tensor, States]]  # x, state -> output, last state


def run(
    x: Tensor,  # (time, batch, input)
    state: States,
    weights: Weights,
    padding: Padding | None,
    reverse: bool,
    from_zero: bool,  # whether the state is all zeros
) -> tuple[Tensor, ...]:
    """Run one layer and direction: output (time, batch, size) and the last h and c."""

    def prepare(hold: bool) -> Kernel:
        flat = contiguous(_flatten(weights, hold))
        return lambda x, state: _call(x, state, flat, weights.b_ih is not None)

    return run_rows(prepare, x, state, padding, reverse, from_zero)


def run_rows(
    prepare: Callable[[bool], Kernel],
    x: Tensor,
    state: States,
    padding: Padding | None,
    reverse: bool,
    from_zero: bool,
    holds_h: bool = False,
) -> tuple[Tensor, ...]:
    """Run a kernel that knows no padding over rows of any length; return output and last state.

    `prepare(True)` returns the kernel that reads one more feature, which is 1 on padding, and
    carries its state there, with `holds_h` all of it; `prepare(False)` the one without it.
    """
    if padding is not None and _cuts(x):
        if padding.pieces:
            return _run_pieces(prepare(True), x, state, padding, reverse)
        if padding.rounded is not padding:
            time = len(x)
            x = F.pad(x, (0, 0, 0, 0, 0, len(padding.rounded.mask) - time))
            output, *last = run_rows(
                prepare, x, state, padding.rounded, reverse, from_zero, holds_h
            )
            return output[:time], *last
    # Reversed as a whole, a row has its padding first. From a zero state that does no harm: the
    # held cell stays 0, and so does h = o * tanh(0). From any other state an LSTM's padding would
    # overwrite h, so each row is reversed within its own length, at the price of a gather.
    ends_last = padding is None or holds_h or (reverse and from_zero)
    if reverse:
        x = x.flip(0) if ends_last else padding.reverse(x)  # type: ignore[union-attr]
    if padding is not None:
        mask = padding.mask.flip(0) if reverse and ends_last else padding.mask
        x = torch.cat([x, mask.to(x)], -1)
    output, (h, *others) = _in_pieces(prepare(padding is not None), x, state)
    if not ends_last:
        h = padding.last_step(output, state[0])  # type: ignore[union-attr]
    if reverse:
        output = output.flip(0) if ends_last else padding.reverse(output)  # type: ignore[union-attr]
    return output, h, *others


def _cuts(x: Tensor) -> bool:
    """Whether a batch may be cut, and its time rounded: in float32 on a CPU, where a state is carried without rounding."""
    plain = x.device.type == "cpu" and x.dtype == torch.float32
    traced = torch.compiler.is_compiling() or torch.jit.is_tracing()
    rounded = torch.is_autocast_enabled("cpu")
    return plain and not (torch.is_grad_enabled() or traced or rounded)


def _run_pieces(
    kernel: Kernel, x: Tensor, state: States, padding: Padding, reverse: bool
) -> tuple[Tensor, ...]:
    """Run one layer and direction piece by piece; what it returns is that of `run_rows`."""
    x = padding.reverse(x) if reverse else x
    h_0 = state[0]
    output = h_0.new_zeros(x.size(0), *h_0.shape)
    carried = tuple(part[padding.by_length] for part in state)
    ended = [part.clone() for part in state[1:]]  # the cells; h is found in the output
    for start, stop, count in padding.pieces:
        rows = padding.by_length[:count]
        part = torch.cat([x[start:stop, rows], padding.mask[start:stop, rows].to(x)], -1)
        missing = stop - start - len(part)  # steps of the last piece beyond the batch
        if missing:
            beyond = part.new_zeros(missing, *part.shape[1:])
            beyond[..., -1] = 1
            part = torch.cat([part, beyond])
        found, carried = _in_pieces(kernel, part, tuple(each[:count] for each in carried))
        output[start:stop, rows] = found[: len(found) - missing]
        for all_rows, last in zip(ended, carried[1:], strict=True):
            all_rows[rows] = last
    h_n = padding.last_step(output, h_0)
    return padding.reverse(output) if reverse else output, h_n, *ended


def _in_pieces(kernel: Kernel, x: Tensor, state: States) -> tuple[Tensor, States]:
    """Call a kernel on x (time, batch, input); of many steps in pieces that carry the state.

    Without a gradient only. oneDNN fails on hundreds of thousands of steps at once.
    """
    if torch.is_grad_enabled() or torch.compiler.is_exporting() or len(x) <= LONGEST_CALL:
        return kernel(x, state)
    outputs = []
    for piece in x.split(LONGEST_CALL):
        output, state = kernel(piece, state)
        outputs.append(output)
    return torch.cat(outputs), state


def _call(x: Tensor, state: States, flat: list[Tensor], bias: bool) -> tuple[Tensor, States]:
    """Call torch's kernel on x (time, batch, input)."""
    grad = torch.is_grad_enabled()
    h, c = state
    output, h_n, c_n = torch.lstm(x, (h[None], c[None]), flat, bias, 1, 0.0, grad, False, False)
    return output, (h_n[0], c_n[0])


def _flatten(weights: Weights, hold: bool) -> list[Tensor]:
    """List the weights as the kernel takes them; `hold` adds the column that holds the cell."""
    w_ih = weights.w_ih
    if hold:
        column = w_ih.new_zeros(4, w_ih.size(0) // 4, 1)  # gates i, f, g, o
        column[0], column[1] = -HOLD, HOLD
        w_ih = torch.cat([w_ih, column.flatten(0, 1)], 1)
    given = [w_ih, weights.w_hh, weights.b_ih, weights.b_hh, weights.w_hr]
    return [part for part in given if part is not None]


def contiguous(parts: list[Tensor]) -> list[Tensor]:
    """Return the weights; on CUDA in one piece of memory, or cuDNN would warn."""
    if not parts[0].is_cuda:
        return parts
    flat = torch.cat([part.flatten() for part in parts])
    pieces = flat.split([part.numel() for part in parts])
    return [piece.view_as(part) for piece, part in zip(pieces, parts, strict=True)]
