"""The hoisted LSTM on a GPU: a step is one matrix product and one kernel.

The kernel does the pointwise part of a step, which `zoo.rnn.lstm_hoisted` does in some twenty calls. Its
backward is a kernel and a product as well. `zoo.rnn.cuda.lstm_triton` holds the kernels. `zoo.rnn.cuda.cuda_graph`
records all steps in a CUDA graph, so that a step costs no Python.

Products are taken in the precision of x. Cells, biases and norms are float32, and so is all
arithmetic inside a kernel.
"""

from __future__ import annotations

import logging
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

if TYPE_CHECKING:
    from zoo.rnn.cuda.cuda_graph import GraphCache

log = logging.getLogger("zoo")

DTYPES = (torch.float32, torch.float16, torch.bfloat16)
WIDEST = 4096  # the largest hidden size with layer norm: one program holds a row
CAPABILITY = (8, 0)  # the oldest devices that Triton compiles for


class Case(NamedTuple):
    """What decides about the buffers and the kernels of one layer and direction."""

    time: int
    batch: int
    hidden: int
    dtype: torch.dtype  # of x, of h and of the products
    bias: bool
    layer_norm: bool
    padded: bool

    @property
    def nbytes(self) -> int:
        """About how many bytes a graph's buffers hold."""
        low, rows = self.dtype.itemsize, self.batch * self.hidden
        step = rows * (4 * low + low + 4) + self.batch * 40 * self.layer_norm  # sums, h, c, stats
        once = rows * (5 * low + 8 + 40 * self.layer_norm) + 4 * self.hidden**2 * low
        return self.time * step + once


class Given(NamedTuple):
    """What one layer and direction reads, in the precisions that the kernels want."""

    x: Tensor  # (time, batch, input)
    h_0: Tensor  # (batch, hidden), as x
    c_0: Tensor  # (batch, hidden), float32
    w_ih: Tensor  # (4 * hidden, input), as x
    w_hh: Tensor  # (4 * hidden, hidden), as x
    bias: Tensor | None  # (4 * hidden,), float32
    scale: Tensor | None  # (5, hidden), float32
    shift: Tensor | None  # (5, hidden), float32
    pad: Tensor | None  # (time, batch), uint8, 1 on padding

    @property
    def case(self) -> Case:
        """The case of these tensors."""
        time, batch, _ = self.x.shape
        has = (self.bias is not None, self.scale is not None, self.pad is not None)
        return Case(time, batch, self.c_0.size(1), self.x.dtype, *has)


@dataclass(frozen=True)
class ForwardBuffers:
    """What the steps forward read and write."""

    sums: Tensor  # (time, batch, 4 * hidden): before a step x's part, after it the whole sums
    read: Tensor  # (batch, 4 * hidden): the product with the last h
    h: Tensor  # (time + 1, batch, hidden): h[t] and c[t] stand before step t
    c: Tensor  # (time + 1, batch, hidden), float32
    w_hh: Tensor
    bias: Tensor | None
    scale: Tensor | None
    shift: Tensor | None
    pad: Tensor | None
    stats: Tensor | None  # (time, batch, 10), float32: five means, five 1 / deviation


@dataclass(frozen=True)
class BackwardBuffers:
    """What the steps backward read and write."""

    sums: Tensor  # (time, batch, 4 * hidden)
    d_sums: Tensor  # (time, batch, 4 * hidden); may be `sums`
    c: Tensor  # (time + 1, batch, hidden), float32
    d_output: Tensor  # (time, batch, hidden)
    read: Tensor  # (batch, hidden): at first the gradient of h_n, then of each step's h
    d_c: Tensor  # (batch, hidden), float32
    w_hh: Tensor
    scale: Tensor | None
    shift: Tensor | None
    pad: Tensor | None
    stats: Tensor | None
    passed: Tensor | None  # (batch, hidden), float32: gradients of h that pass by on padding
    d_scale: Tensor | None  # (batch, 5, hidden), float32: each row's sum over the steps
    d_shift: Tensor | None  # (batch, 5, hidden), float32


class Kept(NamedTuple):
    """What the steps forward leave behind. It belongs to one call."""

    h: Tensor  # (time + 1, batch, hidden)
    c: Tensor  # (time + 1, batch, hidden)
    sums: Tensor | None  # (time, batch, 4 * hidden), where a backward will follow
    stats: Tensor | None  # (time, batch, 10), there too, with layer norm


class Gradients(NamedTuple):
    """What the steps backward leave behind. It belongs to one call."""

    d_sums: Tensor  # (time, batch, 4 * hidden), as x
    d_h: Tensor  # (batch, hidden), of h_0
    d_c: Tensor  # (batch, hidden), float32, of c_0
    d_scale: Tensor | None  # (5, hidden), float32
    d_shift: Tensor | None  # (5, hidden), float32


def forward_buffers(given: Given) -> ForwardBuffers:
    """New buffers for the steps forward, not yet filled; the weights are those given."""
    case, like = given.case, given.x
    return ForwardBuffers(
        sums=like.new_empty(case.time, case.batch, 4 * case.hidden),
        read=like.new_empty(case.batch, 4 * case.hidden),
        h=like.new_empty(case.time + 1, case.batch, case.hidden),
        c=given.c_0.new_empty(case.time + 1, case.batch, case.hidden),
        w_hh=given.w_hh, bias=given.bias, scale=given.scale, shift=given.shift, pad=given.pad,
        stats=given.c_0.new_empty(case.time, case.batch, 10) if case.layer_norm else None,
    )  # fmt: skip


def backward_buffers(given: Given, kept: Kept, shared: bool = False) -> BackwardBuffers:
    """New buffers for the steps backward, not yet filled.

    `kept` is read and not written. If it is `shared`, the gradients overwrite its sums and h.
    """
    case, like = given.case, given.c_0
    assert kept.sums is not None
    shares = [like.new_empty(case.batch, 5, case.hidden) if case.layer_norm else None for _ in "ab"]
    return BackwardBuffers(
        sums=kept.sums, d_sums=kept.sums if shared else torch.empty_like(kept.sums), c=kept.c,
        d_output=kept.h[1:] if shared else torch.empty_like(kept.h[1:]), read=torch.empty_like(kept.h[0]),
        d_c=torch.empty_like(kept.c[0]), w_hh=given.w_hh, scale=given.scale, shift=given.shift,
        pad=given.pad, stats=kept.stats,
        passed=torch.empty_like(kept.c[0]) if case.padded else None,
        d_scale=shares[0], d_shift=shares[1],
    )  # fmt: skip


def fill_forward(buffers: ForwardBuffers, given: Given) -> None:
    """Put x's part of the sums and the first state into the buffers."""
    flat = buffers.sums.view(-1, buffers.sums.size(2))
    torch.mm(given.x.flatten(0, 1), given.w_ih.t(), out=flat)
    buffers.h[0].copy_(given.h_0)
    buffers.c[0].copy_(given.c_0)


def fill_backward(buffers: BackwardBuffers, d_output: Tensor, d_h: Tensor, d_c: Tensor) -> None:
    """Put the gradients of the results into the buffers."""
    buffers.d_output.copy_(d_output)
    buffers.read.copy_(d_h)
    buffers.d_c.copy_(d_c)


def run_forward(buffers: ForwardBuffers) -> None:
    """Run all steps. It allocates nothing and waits for nothing, so a graph can capture it."""
    from zoo.rnn.cuda.lstm_triton import forward_step

    turned = buffers.w_hh.t()
    for t, h in enumerate(buffers.h[:-1].unbind()):
        torch.mm(h, turned, out=buffers.read)
        forward_step(buffers, t)


def run_backward(buffers: BackwardBuffers) -> None:
    """Run all steps backward. A graph can capture it, as `run_forward`.

    At the end `read` and `passed` add up to the gradient of h_0, and `d_c` is that of c_0.
    """
    from zoo.rnn.cuda.lstm_triton import backward_step

    for sums in (buffers.passed, buffers.d_scale, buffers.d_shift):
        if sums is not None:
            sums.zero_()
    for t, d_sums in reversed(list(enumerate(buffers.d_sums.unbind()))):
        backward_step(buffers, t)
        torch.mm(d_sums, buffers.w_hh, out=buffers.read)


def gradients(buffers: BackwardBuffers) -> Gradients:
    """The gradients after `run_backward`; `d_sums` and `d_c` are the buffers' own tensors."""
    d_h = buffers.read.to(torch.float32, copy=True)  # the next call writes into `read`
    if buffers.passed is not None:
        d_h = d_h + buffers.passed
    norms = (None if each is None else each.sum(0) for each in (buffers.d_scale, buffers.d_shift))
    return Gradients(buffers.d_sums, d_h, buffers.d_c, *norms)


class PointwiseRecurrence(torch.autograd.Function):
    """All steps of one direction, by kernels: what is given -> output, h_n, c_n.

    The tensors are those of `Given`, in its order. Then follow a cache of CUDA graphs or None,
    whether a graph is captured at first sight, and whether a backward may follow. Returns output
    (time, batch, hidden) and h_n (batch, hidden) in x's precision, and c_n (batch, hidden) in
    float32. On padding h and c are carried on, also in `output`. A second derivative is a
    RuntimeError.
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
        given, kept = Given(*saved[:9]), Kept(*saved[9:])
        device = given.x.device
        with _on(device), torch.autocast(device.type, enabled=False):
            found = None if ctx.graphs is None else ctx.graphs.backward(given, kept, *d_results)
            if found is None:
                buffers = backward_buffers(given, kept)
                fill_backward(buffers, *d_results)
                run_backward(buffers)
                found = gradients(buffers)
            flat = found.d_sums.flatten(0, 1)
            wanted = ctx.needs_input_grad
            d_x = torch.mm(flat, given.w_ih).view_as(given.x) if wanted[0] else None
            d_w_ih = torch.mm(flat.t(), given.x.flatten(0, 1)) if wanted[3] else None
            d_w_hh = torch.mm(flat.t(), kept.h[:-1].flatten(0, 1)) if wanted[4] else None
            d_bias = flat.sum(0, dtype=torch.float32) if wanted[5] else None
        weights = (d_w_ih, d_w_hh, d_bias, found.d_scale, found.d_shift)
        return d_x, found.d_h, found.d_c, *weights, None, None, None, None


def run(given: Given, graphs: GraphCache | None, at_once: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Run one layer and direction; see `PointwiseRecurrence` for the results."""
    keep = torch.is_grad_enabled() and any(
        part is not None and part.requires_grad for part in given
    )
    return PointwiseRecurrence.apply(*given, graphs, at_once, keep)


def has_triton() -> bool:
    """Whether Triton can be imported. This does not import it."""
    return find_spec("triton") is not None


def covers(case: Case, device: torch.device) -> bool:
    """Whether the kernels compute a case on a device. They are compiled for it at first sight.

    A CPU is covered only in Triton's interpreter (TRITON_INTERPRET=1), which is for tests. If
    Triton fails on a device, a warning says so once, and that case is not covered.
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
    """Whether both kernels run on one step of one row."""
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


def zeros(case: Case, device: torch.device) -> Given:
    """Tensors of a case, all zero, with one input feature."""

    def make(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
        return torch.zeros(shape, dtype=dtype, device=device)

    low, size = case.dtype, case.hidden
    return Given(
        make(case.time, case.batch, 1, dtype=low), make(case.batch, size, dtype=low),
        make(case.batch, size), make(4 * size, 1, dtype=low), make(4 * size, size, dtype=low),
        make(4 * size) if case.bias else None, make(5, size) if case.layer_norm else None,
        make(5, size) if case.layer_norm else None,
        make(case.time, case.batch, dtype=torch.uint8) if case.padded else None,
    )  # fmt: skip


def _on(device: torch.device) -> AbstractContextManager[Any]:
    """Make the device the current one: Triton launches there."""
    return torch.cuda.device(device) if device.type == "cuda" else nullcontext()
