"""The hoisted LSTM on a GPU: a step is one matrix product and one kernel.

The kernel does the pointwise part of a step, for which `zoo.rnn.lstm_hoisted` needs some twenty
calls. A backward step is a kernel and a product as well. `zoo.rnn.cuda.lstm_triton` holds the
kernels. `zoo.rnn.cuda.cuda_graph` captures all steps in a CUDA graph, which runs without Python.

Products are computed in the precision of x. Cells, biases and norms are float32, and so is all
arithmetic inside a kernel.
"""

from __future__ import annotations

import logging
from contextlib import AbstractContextManager, nullcontext
from functools import cache
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor

from zoo.rnn.cuda.buffers import (
    Case,
    Given,
    Kept,
    backward_buffers,
    fill_backward,
    fill_forward,
    forward_buffers,
    zeros,
)
from zoo.rnn.cuda.cuda_graph import GraphCache
from zoo.rnn.cuda.steps import gradients, run_backward, run_forward

log = logging.getLogger("zoo")

DTYPES = (torch.float32, torch.float16, torch.bfloat16)
WIDEST = 4096  # the largest hidden size with layer norm: one program holds a row
CAPABILITY = (8, 0)  # the oldest devices that Triton compiles for


class PointwiseRecurrence(torch.autograd.Function):
    """Run all steps of one direction with kernels: the fields of `Given` -> output, h_n, c_n.

    Three arguments follow the tensors: a cache of CUDA graphs or None, whether to capture at the
    first call, and whether a backward may follow. Returns output (time, batch, hidden) and h_n
    (batch, hidden) in x's precision, and c_n (batch, hidden) in float32. On padding h and c keep
    their values, also in `output`. A second derivative raises RuntimeError.
    """

    @staticmethod
    def forward(ctx: Any, *arguments: Any) -> tuple[Tensor, Tensor, Tensor]:
        given = Given(*arguments[:9])
        graphs, at_once, keep = arguments[9:]
        with _on(given.x.device):
            kept = None if graphs is None else graphs.forward(given, at_once, keep)
            if kept is None:
                buffers = forward_buffers(given)
                fill_forward(buffers, given)
                run_forward(buffers)
                kept = Kept(buffers.h, buffers.c, buffers.sums, buffers.stats)
        ctx.graphs = graphs
        ctx.save_for_backward(*given, *(kept if keep else ()))
        return kept.h[1:], kept.h[-1].clone(), kept.c[-1].clone()

    @staticmethod
    def backward(ctx: Any, *d_results: Tensor) -> tuple[Tensor | None, ...]:
        if torch.is_grad_enabled():  # create_graph=True
            raise RuntimeError(
                "the hoisted engine has no second derivative: engine='reference' has"
            )
        saved = ctx.saved_tensors
        given = Given(*saved[:9])
        kept = Kept(*saved[9:])
        device = given.x.device
        with _on(device), torch.autocast(device.type, enabled=False):
            made = None if ctx.graphs is None else ctx.graphs.backward(given, kept, *d_results)
            if made is None:
                buffers = backward_buffers(given, kept)
                fill_backward(buffers, *d_results)
                run_backward(buffers)
                made = gradients(buffers)
            flat = made.d_sums.flatten(0, 1)
            wanted = ctx.needs_input_grad
            d_x = torch.mm(flat, given.w_ih).view_as(given.x) if wanted[0] else None
            d_w_ih = torch.mm(flat.t(), given.x.flatten(0, 1)) if wanted[3] else None
            d_w_hh = torch.mm(flat.t(), kept.h[:-1].flatten(0, 1)) if wanted[4] else None
            d_bias = flat.sum(0, dtype=torch.float32) if wanted[5] else None
        weights = (d_w_ih, d_w_hh, d_bias, made.d_scale, made.d_shift)
        return d_x, made.d_h, made.d_c, *weights, None, None, None, None


def run(given: Given, graphs: GraphCache | None, at_once: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Run one layer and direction. `PointwiseRecurrence` describes the results."""
    keep = torch.is_grad_enabled() and any(
        part is not None and part.requires_grad for part in given
    )
    return PointwiseRecurrence.apply(*given, graphs, at_once, keep)


def has_triton() -> bool:
    """Whether Triton can be imported. This check does not import it."""
    return find_spec("triton") is not None


def covers(case: Case, device: torch.device) -> bool:
    """Whether the kernels can compute a case on a device. The first call compiles them.

    A CPU is covered only in Triton's interpreter (TRITON_INTERPRET=1), which is for tests. If
    Triton fails on a device, one warning is logged, and that case is not covered.
    """
    if case.dtype not in DTYPES or not case.batch or not case.time or not has_triton():
        return False
    if case.layer_norm and case.hidden > WIDEST:
        return False
    if device.type == "cuda":
        old = torch.cuda.get_device_capability(device) < CAPABILITY
        if torch.version.cuda is None or old:
            return False
    elif device.type != "cpu" or not _interpreted():
        return False
    return _compiles(case._replace(time=1, batch=1), device)


@cache
def _interpreted() -> bool:
    from zoo.rnn.cuda.lstm_triton import INTERPRETED

    return INTERPRETED


@cache
def _compiles(case: Case, device: torch.device) -> bool:
    """Whether both kernels run one step of one row."""
    try:
        with torch.no_grad(), _on(device):
            given = zeros(case, device)
            buffers = forward_buffers(given)
            fill_forward(buffers, given)
            run_forward(buffers)
            kept = Kept(buffers.h, buffers.c, buffers.sums, buffers.stats)
            back = backward_buffers(given, kept)
            fill_backward(back, kept.h[1:], kept.h[0], kept.c[0])
            run_backward(back)
    except torch.OutOfMemoryError:
        raise
    except Exception as error:
        log.warning("Triton's kernels do not run here, the loop does: %s", error)
        return False
    return True


def _on(device: torch.device) -> AbstractContextManager[Any]:
    """Return a context in which the device is the current one, where Triton launches."""
    return torch.cuda.device(device) if device.type == "cuda" else nullcontext()
