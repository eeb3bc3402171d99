"""A linear-chain conditional random field: the best sequence of labels, not the best label of each
step (Lafferty, McCallum and Pereira 2001; over an LSTM: Huang, Xu and Yu 2015).

    score(path) = start[y_1] + sum_t emissions[t, y_t] + sum_t transitions[y_t, y_t+1] + end[y_T]
    P(path)     = exp(score(path)) / sum over all paths of exp(score)

The sum over all paths is computed exactly, step by step: a path is known by its last label alone.
All rows of a batch are computed together; `real` (batch, time) is True up to a row's end.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

APART = 16  # steps after which what all paths share is put aside
FORBIDDEN_SCORE = -1e4  # added to what is ruled out; exp of it is exactly 0


class CRF(nn.Module):
    """Transitions between `size` labels, and their first and last ones.

    barred: (size + 1, size) bool, True where label j must not follow label i; the last row is for
    labels that must not come first. None rules nothing out.
    """

    forbidden: Tensor

    def __init__(self, size: int, barred: Tensor | None = None) -> None:
        super().__init__()
        self.transitions = nn.Parameter(torch.empty(size, size))  # (before, after)
        self.start = nn.Parameter(torch.empty(size))
        self.end = nn.Parameter(torch.empty(size))
        if barred is None:
            barred = torch.zeros(size + 1, size, dtype=torch.bool)
        self.register_buffer("forbidden", barred | _unreached(barred), persistent=False)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Small and random: nearly every sequence is as good as any other."""
        for weight in self.parameters():
            nn.init.uniform_(weight, -0.1, 0.1)

    def allowed(self) -> tuple[Tensor, Tensor]:
        """`start` (size,) and `transitions` (size, size) without what is ruled out."""
        start = self.start.masked_fill(self.forbidden[-1], FORBIDDEN_SCORE)
        return start, self.transitions.masked_fill(self.forbidden[:-1], FORBIDDEN_SCORE)

    def score(self, emissions: Tensor, labels: Tensor, real: Tensor) -> Tensor:
        """(batch,): of one path a row. emissions (batch, time, size), labels (batch, time) int64;
        what stands beyond a row's end is not looked at."""
        start, transitions = self.allowed()
        labels = labels.masked_fill(~real, 0)
        steps = emissions.gather(2, labels.unsqueeze(2)).squeeze(2)  # (batch, time)
        moves = transitions[labels[:, :-1], labels[:, 1:]]  # (batch, time - 1)
        last = labels.gather(1, (real.sum(1, keepdim=True) - 1).clamp(min=0)).squeeze(1)
        ends = torch.where(real[:, 0], start[labels[:, 0]] + self.end[last], 0)
        return ends + (steps * real).sum(1) + (moves * real[:, 1:]).sum(1)

    def log_partition(self, emissions: Tensor, real: Tensor) -> Tensor:
        """(batch,): the logarithm of the sum over all paths of exp(score); 0 for an empty row."""
        start, transitions = self.allowed()
        so_far = start + emissions[:, 0]  # (batch, size): of all paths that end in this label
        total = so_far.new_zeros(len(so_far), 1)  # kept apart: in a large sum small ones are lost
        steps = zip(emissions.unbind(1)[1:], real.unbind(1)[1:], strict=True)
        for number, (step, now) in enumerate(steps, 1):
            longer = (so_far.unsqueeze(2) + transitions).logsumexp(1) + step
            so_far = torch.where(now.unsqueeze(1), longer, so_far)
            if number % APART == 0:
                share = so_far.logsumexp(1, keepdim=True)
                total, so_far = total + share, so_far - share
        return torch.where(real[:, 0], total[:, 0] + (so_far + self.end).logsumexp(1), 0)

    def loss(self, emissions: Tensor, labels: Tensor, real: Tensor) -> Tensor:
        """(batch,): -log P of the labels."""
        return self.log_partition(emissions, real) - self.score(emissions, labels, real)

    @torch.no_grad()
    def decode(self, emissions: Tensor, real: Tensor) -> Tensor:
        """The best path of each row, (batch, time), 0 beyond its end (Viterbi 1967)."""
        start, transitions = self.allowed()
        best = start + emissions[:, 0]  # (batch, size): of the best path that ends in this label
        size, stay = best.size(1), torch.arange(best.size(1), device=best.device)
        origins = []  # (batch, size) each: the label before, on that path
        for step, now in zip(emissions.unbind(1)[1:], real.unbind(1)[1:], strict=True):
            longer, origin = (best.unsqueeze(2) + transitions).max(1)
            best = torch.where(now.unsqueeze(1), longer + step, best)
            origins.append(torch.where(now.unsqueeze(1), origin, stay.expand(len(best), size)))
        label = (best + self.end).argmax(1, keepdim=True)  # (batch, 1)
        path = [label]
        for origin in reversed(origins):  # beyond a row's end the label stays what it is
            label = origin.gather(1, label)
            path.append(label)
        return torch.cat(path[::-1], 1).masked_fill(~real, 0)

    def marginals(self, emissions: Tensor, real: Tensor) -> Tensor:
        """(batch, time, size): the probability of each label at each step, all paths considered;
        it is the gradient of the log-partition. 0 beyond a row's end."""
        with torch.enable_grad():
            free = emissions.detach().requires_grad_()
            (found,) = torch.autograd.grad(self.log_partition(free, real).sum(), free)
        return found


def _unreached(barred: Tensor) -> Tensor:
    """(size,): labels that no allowed path comes to; what leads from one to another is barred too."""
    reached = ~barred[-1]
    for _ in range(len(reached)):
        reached = reached | (reached.unsqueeze(1) & ~barred[:-1]).any(0)
    return ~reached


class IndependentLabels(nn.Module):
    """What a CRF does, without transitions: the best label of each step for itself."""

    def __init__(self, label_smoothing: float = 0.0) -> None:
        super().__init__()
        self.label_smoothing = label_smoothing  # of the loss, in training

    def loss(self, emissions: Tensor, labels: Tensor, real: Tensor) -> Tensor:
        """(batch,): the sum over a row's steps of the cross entropy."""
        smoothing = self.label_smoothing if self.training else 0.0
        labels = labels.masked_fill(~real, 0)
        each = F.cross_entropy(
            emissions.transpose(1, 2), labels, reduction="none", label_smoothing=smoothing
        )
        return (each * real).sum(1)  # (batch, time) to (batch,)

    def decode(self, emissions: Tensor, real: Tensor) -> Tensor:
        """The best label of each step, (batch, time), 0 beyond a row's end."""
        return emissions.argmax(-1).masked_fill(~real, 0)

    def marginals(self, emissions: Tensor, real: Tensor) -> Tensor:
        """(batch, time, size): the probability of each label at each step, 0 beyond a row's end."""
        return emissions.softmax(-1) * real.unsqueeze(-1)
