"""The loop over the steps on a GPU, forward and backward: a product and a kernel each."""

from __future__ import annotations

import torch

from zoo.rnn.cuda.buffers import BackwardBuffers, ForwardBuffers, Gradients


def run_forward(buffers: ForwardBuffers) -> None:
    """Run all steps. A CUDA graph can capture it: it neither allocates nor synchronises."""
    from zoo.rnn.cuda.lstm_triton import forward_step

    turned = buffers.w_hh.t()
    for t, h in enumerate(buffers.h[:-1].unbind()):
        torch.mm(h, turned, out=buffers.read)
        forward_step(buffers, t)


def run_backward(buffers: BackwardBuffers) -> None:
    """Run all steps backward. A CUDA graph can capture it too.

    At the end, the gradient of h_0 is the sum of `read` and `passed`; that of c_0 is `d_c`.
    """
    from zoo.rnn.cuda.lstm_triton import backward_step

    for sums in (buffers.passed, buffers.d_scale, buffers.d_shift):
        if sums is not None:
            sums.zero_()
    for t, d_sums in reversed(list(enumerate(buffers.d_sums.unbind()))):
        backward_step(buffers, t)
        torch.mm(d_sums, buffers.w_hh, out=buffers.read)


def gradients(buffers: BackwardBuffers) -> Gradients:
    """Return the gradients after `run_backward`. `d_sums` and `d_c` share the buffers' memory."""
    d_h = buffers.read.to(torch.float32, copy=True)  # the next call writes into `read`
    if buffers.passed is not None:
        d_h = d_h + buffers.passed
    norms = (None if each is None else each.sum(0) for each in (buffers.d_scale, buffers.d_shift))
    return Gradients(buffers.d_sums, d_h, buffers.d_c, *norms)
