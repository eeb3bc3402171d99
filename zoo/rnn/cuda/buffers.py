"""The buffers of the steps on a GPU: one set of tensors for each call, or for each graph."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor


class Case(NamedTuple):
    """What determines the buffers and the kernels of one layer and direction."""

    time: int
    batch: int
    hidden: int
    dtype: torch.dtype  # the dtype of x, h and the products
    bias: bool
    layer_norm: bool
    padded: bool

    @property
    def nbytes(self) -> int:
        """The approximate size of a graph's buffers, in bytes."""
        low = self.dtype.itemsize
        units = self.batch * self.hidden
        step = units * (4 * low + low + 4) + self.batch * 40 * self.layer_norm  # sums, h, c, stats
        once = units * (5 * low + 8 + 40 * self.layer_norm) + 4 * self.hidden**2 * low
        return self.time * step + once


class Given(NamedTuple):
    """The inputs of one layer and direction, in the precisions that the kernels need."""

    x: Tensor  # (time, batch, input)
    h_0: Tensor  # (batch, hidden), dtype of x
    c_0: Tensor  # (batch, hidden), float32
    w_ih: Tensor  # (4 * hidden, input), dtype of x
    w_hh: Tensor  # (4 * hidden, hidden), dtype of x
    bias: Tensor | None  # (4 * hidden,), float32
    scale: Tensor | None  # (5, hidden), float32
    shift: Tensor | None  # (5, hidden), float32
    pad: Tensor | None  # (time, batch), uint8, 1 on padding

    @property
    def case(self) -> Case:
        """The case of these tensors."""
        time, batch, _ = self.x.shape
        return Case(
            time,
            batch,
            self.c_0.size(1),
            self.x.dtype,
            bias=self.bias is not None,
            layer_norm=self.scale is not None,
            padded=self.pad is not None,
        )


@dataclass(frozen=True)
class ForwardBuffers:
    """The tensors that the forward steps read and write."""

    sums: Tensor  # (time, batch, 4 * hidden): before a step the product with x, then the whole sum
    read: Tensor  # (batch, 4 * hidden): the product with the last h
    h: Tensor  # (time + 1, batch, hidden): h[t] and c[t] are the state before step t
    c: Tensor  # (time + 1, batch, hidden), float32
    w_hh: Tensor
    bias: Tensor | None
    scale: Tensor | None
    shift: Tensor | None
    pad: Tensor | None
    stats: Tensor | None  # (time, batch, 10), float32: five means, five 1 / deviation


@dataclass(frozen=True)
class BackwardBuffers:
    """The tensors that the backward steps read and write."""

    sums: Tensor  # (time, batch, 4 * hidden)
    d_sums: Tensor  # (time, batch, 4 * hidden); may be `sums`
    c: Tensor  # (time + 1, batch, hidden), float32
    d_output: Tensor  # (time, batch, hidden)
    read: Tensor  # (batch, hidden): first the gradient of h_n, then that of each step's h
    d_c: Tensor  # (batch, hidden), float32
    w_hh: Tensor
    scale: Tensor | None
    shift: Tensor | None
    pad: Tensor | None
    stats: Tensor | None
    passed: Tensor | None  # (batch, hidden), float32: gradients of h that padding carries over
    d_scale: Tensor | None  # (batch, 5, hidden), float32: each row's sum over the steps
    d_shift: Tensor | None  # (batch, 5, hidden), float32


class Kept(NamedTuple):
    """The results of the forward steps. They belong to one call."""

    h: Tensor  # (time + 1, batch, hidden)
    c: Tensor  # (time + 1, batch, hidden)
    sums: Tensor | None  # (time, batch, 4 * hidden); None if no backward follows
    stats: Tensor | None  # (time, batch, 10), with layer norm; None if no backward follows


class Gradients(NamedTuple):
    """The results of the backward steps. They belong to one call."""

    d_sums: Tensor  # (time, batch, 4 * hidden), dtype of x
    d_h: Tensor  # (batch, hidden), float32, the gradient of h_0
    d_c: Tensor  # (batch, hidden), float32, the gradient of c_0
    d_scale: Tensor | None  # (5, hidden), float32
    d_shift: Tensor | None  # (5, hidden), float32


def forward_buffers(given: Given) -> ForwardBuffers:
    """Allocate buffers for the forward steps, not yet filled. The weights are those of `given`."""
    case = given.case
    like = given.x
    return ForwardBuffers(
        sums=like.new_empty(case.time, case.batch, 4 * case.hidden),
        read=like.new_empty(case.batch, 4 * case.hidden),
        h=like.new_empty(case.time + 1, case.batch, case.hidden),
        c=given.c_0.new_empty(case.time + 1, case.batch, case.hidden),
        w_hh=given.w_hh,
        bias=given.bias,
        scale=given.scale,
        shift=given.shift,
        pad=given.pad,
        stats=given.c_0.new_empty(case.time, case.batch, 10) if case.layer_norm else None,
    )


def backward_buffers(given: Given, kept: Kept, shared: bool = False) -> BackwardBuffers:
    """Allocate buffers for the backward steps, not yet filled.

    `kept` is read and not written. If it is `shared`, the gradients overwrite its sums and h.
    """
    case = given.case
    like = given.c_0
    assert kept.sums is not None
    shares = [like.new_empty(case.batch, 5, case.hidden) if case.layer_norm else None for _ in "ab"]
    return BackwardBuffers(
        sums=kept.sums,
        d_sums=kept.sums if shared else torch.empty_like(kept.sums),
        c=kept.c,
        d_output=kept.h[1:] if shared else torch.empty_like(kept.h[1:]),
        read=torch.empty_like(kept.h[0]),
        d_c=torch.empty_like(kept.c[0]),
        w_hh=given.w_hh,
        scale=given.scale,
        shift=given.shift,
        pad=given.pad,
        stats=kept.stats,
        passed=torch.empty_like(kept.c[0]) if case.padded else None,
        d_scale=shares[0],
        d_shift=shares[1],
    )


def fill_forward(buffers: ForwardBuffers, given: Given) -> None:
    """Put the product with x and the initial state into the buffers."""
    flat = buffers.sums.view(-1, buffers.sums.size(2))
    torch.mm(given.x.flatten(0, 1), given.w_ih.t(), out=flat)
    buffers.h[0].copy_(given.h_0)
    buffers.c[0].copy_(given.c_0)


def fill_backward(buffers: BackwardBuffers, d_output: Tensor, d_h: Tensor, d_c: Tensor) -> None:
    """Put the gradients of the results into the buffers."""
    buffers.d_output.copy_(d_output)
    buffers.read.copy_(d_h)
    buffers.d_c.copy_(d_c)


def zeros(case: Case, device: torch.device) -> Given:
    """Make the inputs of a case, all zero, with one input feature."""

    def make(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
        return torch.zeros(shape, dtype=dtype, device=device)

    low = case.dtype
    size = case.hidden
    return Given(
        make(case.time, case.batch, 1, dtype=low),
        make(case.batch, size, dtype=low),
        make(case.batch, size),
        make(4 * size, 1, dtype=low),
        make(4 * size, size, dtype=low),
        make(4 * size) if case.bias else None,
        make(5, size) if case.layer_norm else None,
        make(5, size) if case.layer_norm else None,
        make(case.time, case.batch, dtype=torch.uint8) if case.padded else None,
    )
