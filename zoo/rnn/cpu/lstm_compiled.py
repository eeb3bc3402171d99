"""The hoisted LSTM on a CPU with all its steps in C: one call for all steps, forward and backward.

`lstm.c` beside this file holds the steps, and `zoo.rnn.cpu.compiler` compiles them. The products
over all steps, with the input and for the weights' gradients, are torch's. The rows of a batch are
shared out to as many threads as torch uses, and to the same ones.
"""

from __future__ import annotations

import ctypes
import logging
from functools import cache
from typing import Any

import torch
from torch import Tensor

from zoo import torch_private
from zoo.rnn.cpu import compiler
from zoo.rnn.lstm_reference import Weights
from zoo.rnn.matmul import matmul

log = logging.getLogger("zoo")

DTYPES = {torch.float32: "float", torch.float64: "double"}
WIDEST = 256  # units up to which products in 32 bits are as fast as the loop's in 16
CLOSE = 1e-4  # how far a compiled library may be from the formula where it is checked


class Job(ctypes.Structure):
    """The argument of the functions in `lstm.c`, field by field."""

    _fields_ = [
        *[(name, ctypes.c_int64) for name in ("time", "batch", "hidden", "reverse", "parts")],
        *[(name, ctypes.c_int64) for name in ("next", "d_output_step", "d_output_row")],
        *[(name, ctypes.c_void_p) for name in ("body", "weight", "packed", "sums", "gates")],
        *[(name, ctypes.c_void_p) for name in ("h", "c", "shown", "pad", "scale", "shift")],
        *[(name, ctypes.c_void_p) for name in ("stats", "d_output", "d_h", "d_c")],
        *[(name, ctypes.c_void_p) for name in ("d_sums", "d_norms")],
    ]

    @classmethod
    def of(cls, parts: int, reverse: bool, c: Tensor, **tensors: Tensor | None) -> Job:
        """Return the job over c (time + 1, batch, hidden) and other tensors, by their names."""
        time, batch, hidden = c.shape
        places = {name: part.data_ptr() for name, part in tensors.items() if part is not None}
        return cls(time - 1, batch, hidden, reverse, parts, c=c.data_ptr(), **places)


class CompiledRecurrence(torch.autograd.Function):
    """Run all steps of one direction: (x, h_0, c_0, weights, pad, reverse, low) -> output, h_n, c_n.

    Shapes are those of `zoo.rnn.lstm_hoisted.Recurrence`, without a projection. All tensors have
    one dtype, float32 or float64. Products over all steps are computed in `low`, those of a step not. In `reverse` the
    last step is read first; nothing is flipped. A second derivative raises RuntimeError.
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
        scale: Tensor | None,
        shift: Tensor | None,
        pad: Tensor | None,
        reverse: bool,
        low: torch.dtype,
    ) -> tuple[Tensor, Tensor, Tensor]:
        time, batch, _ = x.shape
        hidden = c_0.size(1)
        sums = matmul(x.flatten(0, 1), w_ih, low).view(time, batch, 4 * hidden)
        if bias is not None:
            sums += bias
        h, c = x.new_empty(2, time + 1, batch, hidden)
        first, last = (time, 0) if reverse else (0, time)
        h[first], c[first] = h_0, c_0
        shown = torch.empty_like(c[1:])
        normed = scale is not None
        gates = torch.empty_like(sums) if normed else sums
        stats = x.new_empty(time, batch, 5, 2) if normed else None
        pad = None if pad is None else pad.view(time, batch).contiguous().view(torch.uint8)
        weight = w_hh.contiguous()
        scale = None if scale is None else scale.contiguous()
        shift = None if shift is None else shift.contiguous()
        packed = _packed(weight)
        parts = _parts(batch)
        job = Job.of(
            parts,
            reverse,
            c,
            weight=weight,
            packed=packed,
            sums=sums,
            gates=gates,
            h=h,
            shown=shown,
            pad=pad,
            scale=scale,
            shift=shift,
            stats=stats,
        )
        _call("forward", job, x.dtype)
        ctx.reverse, ctx.low = reverse, low
        ctx.has_bias = bias is not None
        ctx.save_for_backward(x, w_ih, weight, scale, pad, h, c, gates, sums, shown, stats)
        output = h[:-1] if reverse else h[1:]
        return output, h[last].clone(), c[last].clone()

    @staticmethod
    def backward(ctx: Any, d_output: Tensor, d_h: Tensor, d_c: Tensor) -> tuple[Tensor | None, ...]:
        if torch.is_grad_enabled():  # create_graph=True
            raise RuntimeError(
                "the hoisted engine has no second derivative: engine='reference' has"
            )
        x, w_ih, w_hh, scale, pad, h, c, gates, sums, shown, stats = ctx.saved_tensors
        time, batch, _ = x.shape
        hidden = c.size(2)
        if d_output.stride(2) != 1:
            d_output = d_output.contiguous()
        d_h = d_h.clone(memory_format=torch.contiguous_format)
        d_c = d_c.clone(memory_format=torch.contiguous_format)
        d_sums = torch.empty_like(gates)
        parts = _parts(batch)
        d_norms = None if scale is None else x.new_zeros(parts, 2, 5, hidden)
        packed = _packed(w_hh)
        job = Job.of(
            parts,
            ctx.reverse,
            c,
            weight=w_hh,
            packed=packed,
            sums=sums,
            gates=gates,
            h=h,
            shown=shown,
            pad=pad,
            scale=scale,
            stats=stats,
            d_output=d_output,
            d_h=d_h,
            d_c=d_c,
            d_sums=d_sums,
            d_norms=d_norms,
        )
        job.d_output_step, job.d_output_row = d_output.stride(0), d_output.stride(1)
        _call("backward", job, x.dtype)
        flat = d_sums.view(time * batch, 4 * hidden)
        before = (h[1:] if ctx.reverse else h[:-1]).flatten(0, 1)
        wanted = ctx.needs_input_grad
        d_x = matmul(flat, w_ih.t(), ctx.low).view_as(x) if wanted[0] else None
        # The products are transposed, so that the smaller factor is the one that is copied.
        d_w_ih = matmul(x.flatten(0, 1).t(), flat.t(), ctx.low).t() if wanted[3] else None
        d_w_hh = matmul(before.t(), flat.t(), ctx.low).t() if wanted[4] else None
        d_bias = flat.sum(0) if ctx.has_bias and wanted[5] else None
        d_scale, d_shift = (None, None) if d_norms is None else d_norms.sum(0)
        return d_x, d_h, d_c, d_w_ih, d_w_hh, d_bias, d_scale, d_shift, None, None, None


def covers(x: Tensor, weights: Weights, low: torch.dtype) -> bool:
    """Whether the compiled steps can run x (time, batch, input), and are faster than the loop.

    They cannot without a C compiler, with a projection, or without a row. They are not faster for
    large layers without layer norm in 16 bits. The first call compiles them.
    """
    if x.device.type != "cpu" or weights.w_hr is not None or not x.numel():
        return False
    normed = weights.scale is not None
    return pays(low, weights.w_hh.size(1), normed) and is_right()


def pays(low: torch.dtype, hidden: int, layer_norm: bool) -> bool:
    """Whether the compiled steps are faster than the loop with products in `low`.

    They compute a step's products in 32 bits. Of large layers these take longer than in 16.
    """
    return low in DTYPES or (low.itemsize == 2 and (layer_norm or hidden <= WIDEST))


@cache
def is_right() -> bool:
    """Whether the steps could be compiled, and compute what the formula says, on two tiny cases."""
    if compiler.load() is None:
        return False
    shapes = (1, 7, 3), (7, 19), (7, 19), (76, 3), (76, 19)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad(), torch.autocast("cpu", enabled=False):
        for dtype in DTYPES:
            x, h, c, w_ih, w_hh = (
                torch.randn(shape, generator=generator, dtype=dtype, device="cpu")
                for shape in shapes
            )
            given = (x, h, c, w_ih, w_hh, None, None, None, None, False, dtype)
            wanted_h, wanted_c = torch.lstm_cell(x[0], (h, c), w_ih, w_hh)
            _, found_h, found_c = CompiledRecurrence.apply(*given)
            off = max((found_h - wanted_h).abs().max(), (found_c - wanted_c).abs().max())
            if not off < CLOSE:
                log.warning("the compiled steps of the LSTM are off by %g: Python runs them", off)
                return False
    return True


def _parts(batch: int) -> int:
    """Return in how many parts a batch is shared out: one for each thread, if it has enough rows."""
    return max(1, min(batch, torch.get_num_threads()))


def _packed(weight: Tensor) -> Tensor:
    """Return room for a weight (4 * hidden, hidden) with its units filled up to whole vectors."""
    hidden = weight.size(1)
    return weight.new_empty(4 * hidden * (hidden + 64))


def _call(name: str, job: Job, dtype: torch.dtype) -> None:
    """Call a function of `lstm.c`; other threads of Python may run meanwhile."""
    library = compiler.load()
    assert library is not None
    call = getattr(library, f"lstm_{name}_{DTYPES[dtype]}")
    openmp = torch_private.openmp()
    call(ctypes.byref(job), None if openmp is None else openmp.GOMP_parallel)
