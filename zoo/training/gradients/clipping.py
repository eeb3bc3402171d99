"""Clipping of gradients by their norm."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor
from torch.nn.utils import clip_grads_with_norm_

LARGE = 1 << 22  # numbers of a gradient whose norm is computed as a product


def clip_gradients(weights: Iterable[Tensor], most: float) -> Tensor:
    """Scale the gradients so that their norm is at most `most`; return the norm before, ().

    The result has the bits of `torch.nn.utils.clip_grad_norm_`, unless a gradient has more than
    `LARGE` numbers. A norm that is small enough costs no pass over the gradients. The norm is read,
    so on a GPU this waits for the device.
    """
    given = [weight for weight in weights if weight.grad is not None]
    norms = [_norm(weight.grad) for weight in given if weight.grad is not None]
    norm = torch.linalg.vector_norm(torch.stack(norms)) if norms else torch.tensor(0.0)
    if not most / (norm + 1e-6) >= 1:  # as torch computes the factor; also for NaN
        clip_grads_with_norm_(given, most, norm)
    return norm


def _norm(grad: Tensor) -> Tensor:
    """Return the norm of a gradient, (). For large ones a product takes a third of the time."""
    if grad.numel() > LARGE and grad.is_contiguous():
        flat = grad.flatten()
        return flat.dot(flat).sqrt()
    return torch.linalg.vector_norm(grad)
