"""The hoisted engine: a faster form of the reference that moves work out of the loop over steps.

Only the product with the last h, and what follows it, must run step by step. The product with the
input is computed for all steps before the loop. In the backward, the derivatives of the gates are
computed before the loop, and the gradients of the weights after it. A step of the loop is a few
calls on whole gates. For that the backward is written by hand.

The function is that of `zoo.rnn.lstm_reference`. It includes layer normalisation, which no fused
kernel has.

On a CPU with a C compiler, one call runs all steps (`zoo.rnn.cpu.lstm_compiled`).

On a GPU, launching these calls takes longer than running them. There one kernel does a whole step
except its product (`zoo.rnn.cuda.lstm_cuda`). A CUDA graph launches all steps at once
(`zoo.rnn.cuda.cuda_graph`).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from zoo.rnn.cpu.lstm_compiled import CompiledRecurrence, covers
from zoo.rnn.cuda import cuda_graph, lstm_cuda
from zoo.rnn.cuda.buffers import Case, Given
from zoo.rnn.layer_norm import StepLayerNorm
from zoo.rnn.lstm_reference import Weights
from zoo.rnn.matmul import PackedWeight, compute_dtype, matmul
from zoo.rnn.padding import Padding

Steps = Literal["auto", "loop", "compiled", "fused", "captured"]


def run(
    x: Tensor,
    state: tuple[Tensor, Tensor],
    weights: Weights,
    padding: Padding | None,
    reverse: bool,
    steps: Steps = "auto",
) -> tuple[Tensor, Tensor, Tensor]:
    """Run one layer and direction. Arguments and results: `zoo.rnn.lstm_reference.run`, no gates.

    steps: `loop`, some twenty calls a step; `compiled`, one call of C for all steps; `fused`, a
    product and a Triton kernel a step; `captured`, the same in a CUDA graph that launches all
    steps at once. `auto` is `compiled` on a CPU. On a CUDA device it launches a shape's first call
    as `fused` and captures its second one. Cases that these do not cover run in the loop: see
    `choose_steps`. Raises ValueError for other values of `steps`.

    Under autocast, or with 16-bit weights, products are computed in 16 bits; `compiled` computes
    those of a step in 32 bits. Gates, cells and their sums are computed in 32 bits.
    """
    low = compute_dtype(x)
    chosen = choose_steps(steps, x, weights, padding)
    wide = torch.float32 if low.itemsize == 2 else low
    bias = None if weights.b_ih is None or weights.b_hh is None else weights.b_ih + weights.b_hh
    pad = None if padding is None else padding.mask
    if chosen == "compiled":
        parts = (x, *state, weights.w_ih, weights.w_hh, bias, *weights[-2:])
        with torch.autocast(x.device.type, enabled=False):
            cast = (None if part is None else part.to(wide) for part in parts)
            output, h, c = CompiledRecurrence.apply(*cast, pad, reverse, low)
        return output.to(low), h.to(low), c.to(low)
    if reverse:
        x, pad = x.flip(0), None if pad is None else pad.flip(0)
    if chosen != "loop":
        output, h, c = _run_kernels(x, state, weights, bias, pad, steps)
        return (output.flip(0) if reverse else output), h, c
    given = (x, *state, weights.w_ih, weights.w_hh, bias, weights.w_hr, *weights[-2:])
    with torch.autocast(x.device.type, enabled=False):
        cast = (None if part is None else part.to(wide) for part in given)
        output, h, c = Recurrence.apply(*cast, pad, low)
    output, h, c = output.to(low), h.to(low), c.to(low)
    return (output.flip(0) if reverse else output), h, c


def choose_steps(steps: str, x: Tensor, weights: Weights, padding: Padding | None) -> str:
    """Choose how the steps run: `loop`, `compiled`, `fused` or `captured`. Arguments as of `run`.

    The compiled steps need a C compiler on a CPU, and no projection. The kernels need Triton, a CUDA device of compute capability 8.0 or newer, and float32, float16
    or bfloat16. They cover no projection, no empty batch, and no layer norm of more than 4096
    units. While torch compiles or exports, the loop runs. Raises ValueError for other values of
    `steps`.
    """
    if steps not in get_args(Steps):
        raise ValueError(f"steps must be one of {', '.join(get_args(Steps))}, not {steps!r}")
    if steps == "loop" or torch.compiler.is_compiling() or torch.compiler.is_exporting():
        return "loop"
    # A subclass of Tensor may hold no data, or hold it elsewhere.
    plain = all(type(part) in (Tensor, nn.Parameter) for part in (x, weights.w_hh))
    if steps == "compiled" or (steps == "auto" and x.device.type != "cuda"):
        hidden = not plain or torch.jit.is_tracing()  # a trace does not see what C computes
        return "compiled" if not hidden and covers(x, weights, compute_dtype(x)) else "loop"
    time, batch, _ = x.shape
    case = Case(
        time,
        batch,
        weights.w_hh.size(0) // 4,
        compute_dtype(x),
        bias=weights.b_ih is not None,
        layer_norm=weights.scale is not None,
        padded=padding is not None,
    )
    if not plain or weights.w_hr is not None or not lstm_cuda.covers(case, x.device):
        return "loop"
    if steps == "fused" or cuda_graph.graphs(x.device) is None:
        return "fused"
    return "captured"


def _run_kernels(
    x: Tensor,
    state: tuple[Tensor, Tensor],
    weights: Weights,
    bias: Tensor | None,
    pad: Tensor | None,
    steps: str,
) -> tuple[Tensor, Tensor, Tensor]:
    """Run the Triton kernels over x as it is ordered; pad (time, batch, 1)."""
    low = compute_dtype(x)
    wide = torch.float32
    h_0, c_0 = state
    with torch.autocast(x.device.type, enabled=False):
        w_ih, w_hh = (part.to(low).contiguous() for part in (weights.w_ih, weights.w_hh))
        bias, scale, shift = (
            None if part is None else part.to(wide).contiguous()
            for part in (bias, weights.scale, weights.shift)
        )
        rows = None if pad is None else pad.squeeze(-1).contiguous().view(torch.uint8)
        given = Given(x.to(low), h_0.to(low), c_0.to(wide), w_ih, w_hh, bias, scale, shift, rows)
        graphs = None if steps == "fused" else cuda_graph.graphs(x.device)
        output, h, c = lstm_cuda.run(given, graphs, at_once=steps == "captured")
    return output, h, c.to(low)


class Recurrence(torch.autograd.Function):
    """Run all steps of one direction: (x, h_0, c_0, weights, pad, low) -> output, h_n, c_n.

    Shapes are those of `zoo.rnn.lstm_reference`, with one bias, the sum of both: x (time, batch,
    input), h_0 (batch, size), c_0 (batch, hidden), w_ih (4 * hidden, input), w_hh (4 * hidden,
    size), bias (4 * hidden,), w_hr (size, hidden), scale and shift (5, hidden), pad (time, batch,
    1). Products are computed in `low`. On padding h and c keep their values, also in `output`.
    A second derivative raises RuntimeError.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        h_0: Tensor,
        c_0: Tensor,
        w_ih: Tensor,
        w_hh: Tensor,
        bias: Tensor | None,
        w_hr: Tensor | None,
        scale: Tensor | None,
        shift: Tensor | None,
        pad: Tensor | None,
        low: torch.dtype,
    ) -> tuple[Tensor, Tensor, Tensor]:
        time, batch, _ = x.shape
        size = c_0.size(1)
        gates = matmul(x.flatten(0, 1), w_ih, low).view(time, batch, 4 * size)
        if bias is not None:
            gates += bias
        h = x.new_empty(time + 1, *h_0.shape)  # h[t] and c[t] are the state before step t
        c = x.new_empty(time + 1, *c_0.shape)
        h[0] = h_0
        c[0] = c_0
        shown = torch.empty_like(c[1:])  # tanh of the cell, normalised with layer norm
        recur = PackedWeight(w_hh, low)
        project = None if w_hr is None else PackedWeight(w_hr, low)
        norms = None if scale is None or shift is None else StepLayerNorm(scale, shift)
        held = _steps_with_padding(pad, time)
        # All views are made at once: one by one, they take as long as a small LSTM's products.
        of_gates = gates.view(time, batch, 4, size).unbind(2)
        views = (gates, *of_gates, h[:-1], h[1:], c[:-1], c[1:], shown)
        for t, (z, i, f, g, o, h_t, new_h, c_t, new_c, out) in enumerate(_steps(*views)):
            sums = recur(h_t).add_(z)  # (batch, 4 * hidden)
            if norms is not None:
                sums = norms.normalize_gates(sums)
            torch.sigmoid(sums, out=z)
            torch.tanh(sums.narrow(1, 2 * size, size), out=g)
            torch.mul(f, c_t, out=new_c).addcmul_(i, g)
            torch.tanh(new_c if norms is None else norms.normalize_cell(new_c), out=out)
            if project is None:
                torch.mul(o, out, out=new_h)
            else:
                new_h.copy_(project(o * out))
            if held[t]:
                assert pad is not None
                torch.where(pad[t], h_t, new_h, out=new_h)
                torch.where(pad[t], c_t, new_c, out=new_c)
        ctx.norms, ctx.held, ctx.low = norms, held, low
        ctx.save_for_backward(x, w_ih, w_hh, w_hr, bias, pad, h, c, gates, shown)
        return h[1:], h[-1].clone(), c[-1].clone()

    @staticmethod
    def backward(ctx: Any, d_output: Tensor, d_h: Tensor, d_c: Tensor) -> tuple[Tensor | None, ...]:
        if torch.is_grad_enabled():  # create_graph=True
            raise RuntimeError(
                "the hoisted engine has no second derivative: engine='reference' has"
            )
        x, w_ih, w_hh, w_hr, bias, pad, h, c, gates, shown = ctx.saved_tensors
        norms, held, low = ctx.norms, ctx.held, ctx.low
        time, batch, _ = x.shape
        size = c.size(2)
        slopes, inner = _slopes(gates.view(time, batch, 4, size), c[:-1], shown)
        f = gates[..., size : 2 * size]
        d_sums = slopes if norms is None else torch.empty_like(slopes)
        d_read = None if w_hr is None else torch.empty_like(d_output)
        recur = PackedWeight(w_hh.t(), low)
        project = None if w_hr is None else PackedWeight(w_hr.t(), low)
        d_h, d_c = d_h.clone(), d_c.clone()
        views = (d_output, slopes[:, :, 3], slopes[:, :, :3], inner, f, slopes, d_sums, c[1:])
        for t, (d_out, d_o, d_ifg, into, f_t, d_gates, d_sum, c_t) in reversed(
            list(enumerate(_steps(*views)))
        ):
            d_h += d_out
            if held[t]:  # padding carries the states over a step, so it carries their gradients
                past_h, past_c = d_h * pad[t], d_c * pad[t]
                d_h, d_c = d_h * ~pad[t], d_c * ~pad[t]
            d_m = d_h  # of o * tanh(c)
            if project is not None and d_read is not None:
                d_read[t], d_m = d_h, project(d_h)
            if norms is None:
                d_c.addcmul_(d_m, into)
            else:
                d_c += norms.cell_backward(into.mul_(d_m), c_t, t)
            d_o.mul_(d_m)
            d_ifg.mul_(d_c.unsqueeze(1))
            if norms is not None:
                d_sum.copy_(norms.gates_backward(d_gates, t))
            d_h = recur(d_sum.flatten(1))
            d_c.mul_(f_t)
            if held[t]:
                d_h, d_c = d_h + past_h, d_c + past_c
        flat = d_sums.view(time * batch, 4 * size)
        d_x = matmul(flat, w_ih.t(), low).view_as(x) if ctx.needs_input_grad[0] else None
        # The products are transposed, so that the smaller factor is the one that is copied.
        d_w_ih = matmul(x.flatten(0, 1).t(), flat.t(), low).t()
        d_w_hh = matmul(h[:-1].flatten(0, 1).t(), flat.t(), low).t()
        d_bias = None if bias is None else flat.sum(0)
        d_w_hr = None
        if d_read is not None:
            made = gates[..., 3 * size :] * shown
            d_w_hr = matmul(made.flatten(0, 1).t(), d_read.flatten(0, 1).t(), low).t()
        d_scale, d_shift = (None, None) if norms is None else norms.gradients(slopes, inner, c[1:])
        return d_x, d_h, d_c, d_w_ih, d_w_hh, d_bias, d_w_hr, d_scale, d_shift, None, None


def _slopes(gates: Tensor, c: Tensor, shown: Tensor) -> tuple[Tensor, Tensor]:
    """Return the local derivatives of all steps.

    The first result (time, batch, 4, hidden) has the derivatives by the gates' sums: of the new
    cell by those of i, f and g, and of o * tanh(c) by that of o. The second (time, batch, hidden)
    is the derivative of o * tanh(c) by the argument of tanh. gates (time, batch, 4, hidden); c, the
    cells before each step, and shown, the tanh of the cells after it, are (time, batch, hidden).
    """
    i, _, g, o = gates.unbind(2)
    slopes = torch.addcmul(gates, gates, gates, value=-1)  # the derivative of a sigmoid: s (1 - s)
    slopes[:, :, 0] *= g
    slopes[:, :, 1] *= c
    torch.addcmul(i, i * g, g, value=-1, out=slopes[:, :, 2])  # that of tanh: 1 - g²
    slopes[:, :, 3] *= shown
    return slopes, torch.addcmul(o, o * shown, shown, value=-1)


def _steps(*parts: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """Iterate over the steps of parts (time, …). All views are made at once."""
    return zip(*(part.unbind() for part in parts), strict=True)


def _steps_with_padding(pad: Tensor | None, time: int) -> list[bool]:
    """Return for each step whether it is padding in any row."""
    return [False] * time if pad is None else pad.flatten(1).any(1).tolist()
