"""torch's fused kernel (oneDNN, cuDNN) over a dense batch, exact for rows of any length.

The kernel does not know padding, and packing is slow. An extra input feature is therefore 1 on
padding, and its weights close the input gate and open the forget gate there. So the kernel itself
carries each cell over the padding, and its `c_n` is correct.

In 16 bits on a CPU further features are zero, because oneDNN is several times slower with an odd
number of them.

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
from zoo.rnn.matmul import compute_dtype
from zoo.rnn.padding import Padding

# On padding it is added to the forget gate and subtracted from the input gate. sigmoid(±1e4) is
# exactly 1 or 0 in every float format, so a padding step copies the cell and has no gradient.
HOLD = 1e4
LONGEST_CALL = 1 << 15  # steps
# Features of the input in 16 bits on a CPU are a multiple of this. A layer of 384 units that reads
# 64 rows in bf16 takes 22.7 ms with 193 features and 4.5 ms with 208; with a gradient 44 and 18 ms.
MULTIPLE = 16

States = tuple[Tensor, ...]  # h (batch, size) and, of an LSTM, c (batch, hidden)
Kernel = Callable[[Tensor, States], tuple[Tensor, States]]  # x, state -> output, last state
# Of whether a feature holds the state, and of the number of features -> the kernel.
Prepare = Callable[[bool, int], Kernel]


def run(
    x: Tensor,  # (time, batch, input)
    state: States,
    weights: Weights,
    padding: Padding | None,
    reverse: bool,
    from_zero: bool,  # whether the state is all zeros
) -> tuple[Tensor, ...]:
    """Run one layer and direction: output (time, batch, size) and the last h and c."""

    def prepare(hold: bool, features: int) -> Kernel:
        flat = contiguous(_flatten(weights, hold, features))
        return lambda x, state: _call(x, state, flat, weights.b_ih is not None)

    return run_rows(prepare, x, state, padding, reverse, from_zero)


def run_rows(
    prepare: Prepare,
    x: Tensor,
    state: States,
    padding: Padding | None,
    reverse: bool,
    from_zero: bool,
    holds_h: bool = False,
) -> tuple[Tensor, ...]:
    """Run a kernel that knows no padding over rows of any length; return output and last state.

    `prepare(True, features)` returns the kernel that reads one more feature, which is 1 on padding,
    and carries its state there, with `holds_h` all of it; `prepare(False, features)` the one
    without it. Both read `features` of them; those beyond are zero.
    """
    features = features_read(x, padding is not None)
    if padding is not None and cuts(x):
        if padding.pieces:
            kernel = prepare(True, features)
            return _run_pieces(kernel, features, x, state, padding, reverse)
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
    mask = None
    if padding is not None:
        mask = padding.mask.flip(0) if reverse and ends_last else padding.mask
    x = widened(x, mask, features)
    output, (h, *others) = _in_pieces(prepare(padding is not None, features), x, state)
    if not ends_last:
        h = padding.last_step(output, state[0])  # type: ignore[union-attr]
    if reverse:
        output = output.flip(0) if ends_last else padding.reverse(output)  # type: ignore[union-attr]
    return output, h, *others


def features_read(x: Tensor, hold: bool) -> int:
    """Return how many features the kernel reads: those of x, the one that holds, and zeros."""
    count = x.size(-1) + hold
    if x.device.type == "cpu" and compute_dtype(x).itemsize == 2 and not _traced():
        count += -count % MULTIPLE
    return count


def widened(x: Tensor, hold: Tensor | None, features: int) -> Tensor:
    """Add to x, or to the weights of x, the feature that holds (..., 1), and zeros up to `features`."""
    parts = [x] if hold is None else [x, hold.to(x)]
    missing = features - sum(part.size(-1) for part in parts)
    if missing:
        parts.append(x.new_zeros(*x.shape[:-1], missing))
    return torch.cat(parts, -1) if len(parts) > 1 else x


def cuts(x: Tensor) -> bool:
    """Whether a batch may be cut, and its time rounded: on a CPU without a gradient, in float32 or bf16.

    There a cut changes no bit: in bf16 oneDNN keeps the cell in bf16 between steps, too.
    """
    plain = x.device.type == "cpu" and compute_dtype(x) in (torch.float32, torch.bfloat16)
    return plain and not (torch.is_grad_enabled() or _traced())


def _traced() -> bool:
    """Whether torch records what is called; then nothing may depend on the lengths of a batch."""
    return torch.compiler.is_compiling() or torch.jit.is_tracing()


def _run_pieces(
    kernel: Kernel, features: int, x: Tensor, state: States, padding: Padding, reverse: bool
) -> tuple[Tensor, ...]:
    """Run one layer and direction piece by piece; what it returns is that of `run_rows`."""
    low = compute_dtype(x)
    x = x.to(low)
    h_0, *cells = (part.to(low) for part in state)
    output = h_0.new_zeros(x.size(0), *h_0.shape)
    carried = tuple(part[padding.by_length] for part in (h_0, *cells))
    ended = [part.clone() for part in cells]  # h is found in the output
    for start, stop, count in padding.pieces:
        rows = padding.by_length[:count]
        steps = padding.reversed_index[start:stop, rows, 0] if reverse else slice(start, stop)
        part = widened(x[steps, rows], padding.mask[start:stop, rows], features)
        missing = stop - start - len(part)  # steps of the last piece beyond the batch
        if missing:
            beyond = part.new_zeros(missing, *part.shape[1:])
            beyond[..., x.size(-1)] = 1
            part = torch.cat([part, beyond])
        found, carried = _in_pieces(kernel, part, tuple(each[:count] for each in carried))
        output[steps, rows] = found[: len(found) - missing]
        for all_rows, last in zip(ended, carried[1:], strict=True):
            all_rows[rows] = last
    if reverse:
        h_n = torch.where(padding.lengths.unsqueeze(1) > 0, output[0], h_0)
    else:
        h_n = padding.last_step(output, h_0)
    return output, h_n, *ended


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


def _flatten(weights: Weights, hold: bool, features: int) -> list[Tensor]:
    """List the weights as the kernel takes them; `hold` adds the column that holds the cell."""
    column = None
    if hold:
        column = weights.w_ih.new_zeros(4, weights.w_ih.size(0) // 4, 1)  # gates i, f, g, o
        column[0], column[1] = -HOLD, HOLD
        column = column.flatten(0, 1)
    w_ih = widened(weights.w_ih, column, features)
    given = [w_ih, weights.w_hh, weights.b_ih, weights.b_hh, weights.w_hr]
    return [part for part in given if part is not None]


def contiguous(parts: list[Tensor]) -> list[Tensor]:
    """Return the weights; on CUDA in one piece of memory, or cuDNN would warn."""
    if not parts[0].is_cuda:
        return parts
    flat = torch.cat([part.flatten() for part in parts])
    pieces = flat.split([part.numel() for part in parts])
    return [piece.view_as(part) for piece, part in zip(pieces, parts, strict=True)]
