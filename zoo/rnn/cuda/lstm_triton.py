"""Triton kernels for the pointwise part of an LSTM step, forward and backward.

A kernel does a whole step except the product with the last h. It computes in fp32, and loads and
stores each tensor in that tensor's own dtype. With layer norm, a program handles all columns of
one row, otherwise a block of them. No addition is atomic, so results repeat bit for bit.

This module imports Triton. `zoo.rnn.cuda.lstm_cuda` imports it when a kernel is needed.
"""

from __future__ import annotations

import triton
import triton.language as tl
from triton.language import constexpr, tensor

from zoo.rnn.cuda.buffers import BackwardBuffers, ForwardBuffers
from zoo.rnn.lstm_reference import EPSILON

COLUMNS = 512  # the widest block of a program without layer norm
INTERPRETED: bool = triton.knobs.runtime.interpret  # on the CPU, by TRITON_INTERPRET=1
VARIANCE_EPSILON: constexpr = constexpr(EPSILON)


def forward_step(buffers: ForwardBuffers, t: int) -> None:
    """Run step `t` after its recurrent product: gates, cell and h.

    Reads `sums[t]`, `read`, `c[t]` and, on padding, `h[t]`. Writes `h[t + 1]`, `c[t + 1]`, the
    complete sums into `sums[t]`, and `stats[t]` with layer norm.
    """
    batch, hidden = buffers.c.shape[1:]
    given = (buffers.bias, buffers.scale, buffers.shift, buffers.pad, buffers.stats)
    # A flag tells the kernel that a tensor is missing; the pointer of `c` takes its place.
    bias, scale, shift, pad, stats = (buffers.c if each is None else each for each in given)
    block, grid, warps = _launch(batch, hidden, buffers.scale is not None)
    _forward_kernel[grid](
        buffers.sums,
        buffers.read,
        bias,
        scale,
        shift,
        pad,
        buffers.h,
        buffers.c,
        stats,
        t,
        batch,
        HIDDEN=hidden,
        BLOCK=block,
        HAS_BIAS=buffers.bias is not None,
        HAS_NORM=buffers.scale is not None,
        HAS_PAD=buffers.pad is not None,
        num_warps=warps,
    )


def backward_step(buffers: BackwardBuffers, t: int) -> None:
    """Run the backward of step `t` up to its recurrent product: gradients of sums and cell.

    Reads `sums[t]`, `c[t]`, `c[t + 1]`, `d_output[t]`, `read` and `d_c`, and `stats[t]` with layer
    norm. Writes `d_sums[t]` and `d_c`, and `passed` with padding. Adds each row's share to
    `d_scale` and `d_shift`. `d_sums` may be the same tensor as `sums`.
    """
    batch, hidden = buffers.d_c.shape
    given = (
        buffers.scale,
        buffers.shift,
        buffers.pad,
        buffers.stats,
        buffers.passed,
        buffers.d_scale,
        buffers.d_shift,
    )
    rest = (buffers.c if each is None else each for each in given)
    scale, shift, pad, stats, passed, d_scale, d_shift = rest
    block, grid, warps = _launch(batch, hidden, buffers.scale is not None)
    _backward_kernel[grid](
        buffers.sums,
        buffers.d_sums,
        buffers.c,
        stats,
        scale,
        shift,
        pad,
        buffers.d_output,
        buffers.read,
        passed,
        buffers.d_c,
        d_scale,
        d_shift,
        t,
        batch,
        HIDDEN=hidden,
        BLOCK=block,
        HAS_NORM=buffers.scale is not None,
        HAS_PAD=buffers.pad is not None,
        num_warps=warps,
    )


def _launch(batch: int, hidden: int, layer_norm: bool) -> tuple[int, tuple[int, int], int]:
    """Return the columns of a block, the grid (rows, blocks) and the warps of a program."""
    block = max(16, triton.next_power_of_2(hidden))
    if not layer_norm:
        block = min(block, COLUMNS)
    return block, (batch, triton.cdiv(hidden, block)), max(1, min(16, block // 128))


@triton.jit
def _tanh(x: tensor) -> tensor:
    """Return tanh(x) to the precision of fp32. Near 0 a series replaces exp."""
    e = tl.exp(-2 * tl.abs(x))
    far = (1 - e) / (1 + e)
    square = x * x
    series = -17 / 315 + square * (62 / 2835)
    series = 2 / 15 + square * series
    series = -1 / 3 + square * series
    near = x + x * square * series
    return tl.where(tl.abs(x) < 0.25, near, tl.where(x < 0, -far, far))


@triton.jit
def _sigmoid(x: tensor) -> tensor:
    """Return 1 / (1 + exp(-x)), computed from an exponential that cannot overflow."""
    e = tl.exp(-tl.abs(x))
    return tl.where(x < 0, e, 1.0) / (1 + e)


@triton.jit
def _normalize(x: tensor, inside: tensor, HIDDEN: constexpr) -> tuple[tensor, tensor, tensor]:
    """Return the normalised row (BLOCK,), its mean and its 1 / standard deviation."""
    mean = tl.sum(tl.where(inside, x, 0.0), 0) / HIDDEN
    centred = tl.where(inside, x - mean, 0.0)
    rstd = 1.0 / tl.sqrt(tl.sum(centred * centred, 0) / HIDDEN + VARIANCE_EPSILON)
    return centred * rstd, mean, rstd


@triton.jit
def _normalize_backward(
    d_normed: tensor, normed: tensor, rstd: tensor, HIDDEN: constexpr
) -> tensor:
    """Return the gradient of a row from that of the normalised row, which must be 0 outside."""
    mean = tl.sum(d_normed, 0) / HIDDEN
    along = tl.sum(d_normed * normed, 0) / HIDDEN
    return (d_normed - mean - normed * along) * rstd


@triton.jit
def _add(pointer: tensor, value: tensor, inside: tensor) -> None:
    """Add `value` at `pointer`. No other program may write there."""
    tl.store(pointer, tl.load(pointer, inside, 0.0) + value, inside)


@triton.jit
def _gate_sum(
    GATE: constexpr,
    sums: tensor,
    read: tensor,
    bias: tensor,
    scale: tensor,
    shift: tensor,
    stats: tensor,
    column: tensor,
    inside: tensor,
    HIDDEN: constexpr,
    HAS_BIAS: constexpr,
    HAS_NORM: constexpr,
) -> tensor:
    """Return one gate's sum, normalised with HAS_NORM. Stores the raw sum for the backward."""
    place = GATE * HIDDEN + column
    x = tl.load(sums + place, inside, 0.0).to(tl.float32)
    x += tl.load(read + place, inside, 0.0).to(tl.float32)
    if HAS_BIAS:
        x += tl.load(bias + place, inside, 0.0)
    tl.store(sums + place, x.to(sums.dtype.element_ty), inside)
    if HAS_NORM:
        normed, mean, rstd = _normalize(x, inside, HIDDEN)
        tl.store(stats + GATE, mean)
        tl.store(stats + 5 + GATE, rstd)
        x = normed * tl.load(scale + place, inside, 0.0) + tl.load(shift + place, inside, 0.0)
    return x


@triton.jit(do_not_specialize=["t", "batch"])
def _forward_kernel(
    sums: tensor,
    read: tensor,
    bias: tensor,
    scale: tensor,
    shift: tensor,
    pad: tensor,
    h: tensor,
    c: tensor,
    stats: tensor,
    t: tensor,
    batch: tensor,
    HIDDEN: constexpr,
    BLOCK: constexpr,
    HAS_BIAS: constexpr,
    HAS_NORM: constexpr,
    HAS_PAD: constexpr,
) -> None:
    row = tl.program_id(0).to(tl.int64)
    column = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = column < HIDDEN
    before = row + tl.cast(t, tl.int64) * batch  # the row's index in tensors (time, batch, …)
    after = before + batch
    sums += before * (4 * HIDDEN)
    read += row * (4 * HIDDEN)
    stats += before * 10
    i = _sigmoid(
        _gate_sum(
            0, sums, read, bias, scale, shift, stats, column, inside, HIDDEN, HAS_BIAS, HAS_NORM
        )
    )
    f = _sigmoid(
        _gate_sum(
            1, sums, read, bias, scale, shift, stats, column, inside, HIDDEN, HAS_BIAS, HAS_NORM
        )
    )
    g = _tanh(
        _gate_sum(
            2, sums, read, bias, scale, shift, stats, column, inside, HIDDEN, HAS_BIAS, HAS_NORM
        )
    )
    o = _sigmoid(
        _gate_sum(
            3, sums, read, bias, scale, shift, stats, column, inside, HIDDEN, HAS_BIAS, HAS_NORM
        )
    )
    old_c = tl.load(c + before * HIDDEN + column, inside, 0.0)
    new_c = f * old_c + i * g
    shown = new_c
    if HAS_NORM:
        normed, mean, rstd = _normalize(new_c, inside, HIDDEN)
        tl.store(stats + 4, mean)
        tl.store(stats + 9, rstd)
        place = 4 * HIDDEN + column
        shown = normed * tl.load(scale + place, inside, 0.0) + tl.load(shift + place, inside, 0.0)
    new_h = (o * _tanh(shown)).to(h.dtype.element_ty)
    if HAS_PAD:
        held = tl.load(pad + before) != 0
        new_h = tl.where(held, tl.load(h + before * HIDDEN + column, inside, 0.0), new_h)
        new_c = tl.where(held, old_c, new_c)
    tl.store(h + after * HIDDEN + column, new_h, inside)
    tl.store(c + after * HIDDEN + column, new_c, inside)


@triton.jit
def _gate_again(
    GATE: constexpr,
    sums: tensor,
    scale: tensor,
    shift: tensor,
    stats: tensor,
    column: tensor,
    inside: tensor,
    HIDDEN: constexpr,
    HAS_NORM: constexpr,
) -> tuple[tensor, tensor, tensor]:
    """From the stored sum, return the gate's argument, the normalised sum and 1 / deviation."""
    place = GATE * HIDDEN + column
    x = tl.load(sums + place, inside, 0.0).to(tl.float32)
    normed = x
    rstd = 1.0
    if HAS_NORM:
        rstd = tl.load(stats + 5 + GATE)
        normed = (x - tl.load(stats + GATE)) * rstd
        x = normed * tl.load(scale + place, inside, 0.0) + tl.load(shift + place, inside, 0.0)
    return x, normed, rstd


@triton.jit
def _through_gate(
    GATE: constexpr,
    d_x: tensor,
    normed: tensor,
    rstd: tensor,
    d_sums: tensor,
    scale: tensor,
    d_scale: tensor,
    d_shift: tensor,
    column: tensor,
    inside: tensor,
    HIDDEN: constexpr,
    HAS_NORM: constexpr,
) -> None:
    """Store the gradient of a gate's sum, computed from that of the gate's argument."""
    place = GATE * HIDDEN + column
    if HAS_NORM:
        _add(d_scale + place, d_x * normed, inside)
        _add(d_shift + place, d_x, inside)
        d_normed = d_x * tl.load(scale + place, inside, 0.0)  # zero outside
        d_x = _normalize_backward(d_normed, normed, rstd, HIDDEN)
    tl.store(d_sums + place, d_x.to(d_sums.dtype.element_ty), inside)


@triton.jit(do_not_specialize=["t", "batch"])
def _backward_kernel(
    sums: tensor,
    d_sums: tensor,
    c: tensor,
    stats: tensor,
    scale: tensor,
    shift: tensor,
    pad: tensor,
    d_output: tensor,
    read: tensor,
    passed: tensor,
    d_c: tensor,
    d_scale: tensor,
    d_shift: tensor,
    t: tensor,
    batch: tensor,
    HIDDEN: constexpr,
    BLOCK: constexpr,
    HAS_NORM: constexpr,
    HAS_PAD: constexpr,
) -> None:
    row = tl.program_id(0).to(tl.int64)
    column = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = column < HIDDEN
    before = row + tl.cast(t, tl.int64) * batch
    after = before + batch
    own = row * HIDDEN + column
    sums += before * (4 * HIDDEN)
    d_sums += before * (4 * HIDDEN)
    stats += before * 10
    d_scale += row * (5 * HIDDEN)
    d_shift += row * (5 * HIDDEN)
    x_i, normed_i, rstd_i = _gate_again(
        0, sums, scale, shift, stats, column, inside, HIDDEN, HAS_NORM
    )
    x_f, normed_f, rstd_f = _gate_again(
        1, sums, scale, shift, stats, column, inside, HIDDEN, HAS_NORM
    )
    x_g, normed_g, rstd_g = _gate_again(
        2, sums, scale, shift, stats, column, inside, HIDDEN, HAS_NORM
    )
    x_o, normed_o, rstd_o = _gate_again(
        3, sums, scale, shift, stats, column, inside, HIDDEN, HAS_NORM
    )
    i = _sigmoid(x_i)
    f = _sigmoid(x_f)
    g = _tanh(x_g)
    o = _sigmoid(x_o)
    old_c = tl.load(c + before * HIDDEN + column, inside, 0.0)
    new_c = tl.load(c + after * HIDDEN + column, inside, 0.0)
    d_h = tl.load(d_output + before * HIDDEN + column, inside, 0.0).to(tl.float32)
    d_h += tl.load(read + own, inside, 0.0).to(tl.float32)
    d_cell = tl.load(d_c + own, inside, 0.0)
    kept = 0.0
    if HAS_PAD:  # padding carries the states over a step, so it carries their gradients
        held = tl.load(pad + before) != 0
        d_h += tl.load(passed + own, inside, 0.0)
        tl.store(passed + own, tl.where(held, d_h, 0.0), inside)
        kept = tl.where(held, d_cell, 0.0)
        d_h = tl.where(held, 0.0, d_h)
        d_cell = tl.where(held, 0.0, d_cell)
    if HAS_NORM:
        place = 4 * HIDDEN + column
        rstd = tl.load(stats + 9)
        normed = (new_c - tl.load(stats + 4)) * rstd
        weight = tl.load(scale + place, inside, 0.0)
        shown = _tanh(normed * weight + tl.load(shift + place, inside, 0.0))
        d_shown = d_h * o * (1 - shown * shown)
        _add(d_scale + place, d_shown * normed, inside)
        _add(d_shift + place, d_shown, inside)
        d_cell += _normalize_backward(d_shown * weight, normed, rstd, HIDDEN)
    else:
        shown = _tanh(new_c)
        d_cell += d_h * o * (1 - shown * shown)
    d_i = d_cell * g * i * (1 - i)
    d_f = d_cell * old_c * f * (1 - f)
    d_g = d_cell * i * (1 - g * g)
    d_o = d_h * shown * o * (1 - o)
    tl.store(d_c + own, d_cell * f + kept, inside)
    _through_gate(
        0, d_i, normed_i, rstd_i, d_sums, scale, d_scale, d_shift, column, inside, HIDDEN, HAS_NORM
    )
    _through_gate(
        1, d_f, normed_f, rstd_f, d_sums, scale, d_scale, d_shift, column, inside, HIDDEN, HAS_NORM
    )
    _through_gate(
        2, d_g, normed_g, rstd_g, d_sums, scale, d_scale, d_shift, column, inside, HIDDEN, HAS_NORM
    )
    _through_gate(
        3, d_o, normed_o, rstd_o, d_sums, scale, d_scale, d_shift, column, inside, HIDDEN, HAS_NORM
    )
