"""R-Drop: two passes over a batch, with other dropout masks, shall predict the same.

Liang et al. 2021, R-Drop: Regularized Dropout for Neural Networks.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor


def divergence(first: Tensor, second: Tensor) -> Tensor:
    """Return the mean of KL(P, Q) and KL(Q, P) of logits (n, classes), over the rows, ().

    Their sum is that of (p - q)(log p - log q) over the classes. Without rows it is 0.
    """
    p, q = first.log_softmax(-1), second.log_softmax(-1)
    return ((p.exp() - q.exp()) * (p - q)).sum() / (2 * max(1, len(first)))


def binary_divergence(first: Tensor, second: Tensor) -> Tensor:
    """Return the same of logits of independent labels, over rows and labels, ().

    Of one label the sum is (p - q) times the difference of the logits.
    """
    each = (first.sigmoid() - second.sigmoid()) * (first - second)
    return each.sum() / (2 * max(1, each.numel()))


def r_drop_loss(
    logits: Callable[[], Tensor],
    loss: Callable[[Tensor], Tensor],
    weight: float,
    divergence: Callable[[Tensor, Tensor], Tensor] = divergence,
) -> Tensor:
    """Return the mean loss of two passes plus `weight` / 2 times their divergence, ().

    `logits` runs one pass and returns logits (n, classes) in float32 or wider. `loss` is the mean
    loss of such logits. `weight` is the paper's alpha: there the losses of both passes are summed.
    With weight 0 it is the loss of one pass.
    """
    if not weight:
        return loss(logits())
    first, second = logits(), logits()
    return (loss(first) + loss(second)) / 2 + weight / 2 * divergence(first, second)
