"""A linear-chain conditional random field, which scores whole sequences of labels.

Sources: Lafferty, McCallum and Pereira 2001; over an LSTM: Huang, Xu and Yu 2015.

    score(path) = start[y_1] + sum_t emissions[t, y_t] + sum_t transitions[y_t, y_t+1] + end[y_T]
    P(path)     = exp(score(path)) / sum over all paths of exp(score)

The forward algorithm computes the sum over all paths exactly, one step at a time. All rows of a
batch are computed together. `real` (batch, time) is True up to a row's end.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

RESCALE_STEPS = 16  # after so many steps the common part of all paths' scores is moved out
FORBIDDEN_SCORE = -1e4  # the score of a forbidden transition; exp of it is exactly 0


class CRF(nn.Module):
    """Scores of transitions between `size` labels, and of first and last labels.

    barred: (size + 1, size) bool, True at [i, j] where label j must not follow label i. The last
    row is True for labels that must not come first. None forbids nothing.
    """

    forbidden: Tensor

    def __init__(self, size: int, barred: Tensor | None = None) -> None:
        super().__init__()
        self.transitions = nn.Parameter(torch.empty(size, size))  # (before, after)
        self.start = nn.Parameter(torch.empty(size))
        self.end = nn.Parameter(torch.empty(size))
        if barred is None:
            barred = torch.zeros(size + 1, size, dtype=torch.bool)
        self.register_buffer("forbidden", barred | _unreachable(barred), persistent=False)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw small random scores, so that at first nearly all sequences are equally likely."""
        for weight in self.parameters():
            nn.init.uniform_(weight, -0.1, 0.1)

    def allowed(self) -> tuple[Tensor, Tensor]:
        """Return `start` (size,) and `transitions` (size, size) with forbidden entries masked."""
        return _masked(self.start, self.transitions, self.forbidden)

    def score(self, emissions: Tensor, labels: Tensor, real: Tensor) -> Tensor:
        """Return the score (batch,) of one path for each row.

        emissions (batch, time, size), labels (batch, time) int64. Values beyond a row's end are
        ignored.
        """
        start, transitions = self.allowed()
        labels = labels.masked_fill(~real, 0)
        steps = emissions.gather(2, labels.unsqueeze(2)).squeeze(2)  # (batch, time)
        moves = transitions[labels[:, :-1], labels[:, 1:]]  # (batch, time - 1)
        last = labels.gather(1, (real.sum(1, keepdim=True) - 1).clamp(min=0)).squeeze(1)
        ends = torch.where(real[:, 0], start[labels[:, 0]] + self.end[last], 0)
        return ends + (steps * real).sum(1) + (moves * real[:, 1:]).sum(1)

    def log_partition(self, emissions: Tensor, real: Tensor) -> Tensor:
        """Return the log (batch,) of the sum of exp(score) over all paths; 0 for an empty row."""
        return _log_partition(emissions, real, *self.allowed(), self.end)

    def loss(self, emissions: Tensor, labels: Tensor, real: Tensor) -> Tensor:
        """Return -log P (batch,) of the labels."""
        return self.log_partition(emissions, real) - self.score(emissions, labels, real)

    @torch.no_grad()
    def decode(self, emissions: Tensor, real: Tensor) -> Tensor:
        """Return the best path of each row (Viterbi 1967): (batch, time), 0 beyond its end."""
        start, transitions = self.allowed()
        best = start + emissions[:, 0]  # (batch, size): the best path that ends in this label
        size = best.size(1)
        stay = torch.arange(size, device=best.device)
        origins = []  # each (batch, size): the previous label on that path
        for step, now in zip(emissions.unbind(1)[1:], real.unbind(1)[1:], strict=True):
            longer, origin = (best.unsqueeze(2) + transitions).max(1)
            best = torch.where(now.unsqueeze(1), longer + step, best)
            origins.append(torch.where(now.unsqueeze(1), origin, stay.expand(len(best), size)))
        label = (best + self.end).argmax(1, keepdim=True)  # (batch, 1)
        path = [label]
        for origin in reversed(origins):  # beyond a row's end the label does not change
            label = origin.gather(1, label)
            path.append(label)
        return torch.cat(path[::-1], 1).masked_fill(~real, 0)

    def marginals(self, emissions: Tensor, real: Tensor) -> Tensor:
        """Return each label's marginal probability at each step, (batch, time, size).

        It is the gradient of the log-partition by the emissions. It is 0 beyond a row's end. Inside
        `torch.inference_mode()` it is computed from copies, as tensors of that mode have no gradient.
        """
        with torch.inference_mode(False), torch.enable_grad():
            start, transitions = _masked(
                self.start.detach().clone(),
                self.transitions.detach().clone(),
                self.forbidden.clone(),
            )
            end = self.end.detach().clone()
            free = emissions.detach().clone().requires_grad_()
            total = _log_partition(free, real.clone(), start, transitions, end)
            (found,) = torch.autograd.grad(total.sum(), free)
        return found

    def log_marginals(
        self, emissions: Tensor, real: Tensor, steps: Tensor, labels: Tensor
    ) -> Tensor:
        """Return log-probabilities of labels at steps, (batch, n); both are (batch, n) int64.

        They have a gradient if gradients are recorded: log P = log Z(with this label) - log Z, one
        pass for each. Otherwise one pass of `marginals` gives them all.
        """
        if not torch.is_grad_enabled():
            rows = torch.arange(len(emissions), device=emissions.device).unsqueeze(1)
            least = torch.finfo(emissions.dtype).tiny
            return self.marginals(emissions, real)[rows, steps, labels].clamp(min=least).log()
        found = []
        every = self.log_partition(emissions, real)
        for step, label in zip(steps.unbind(1), labels.unbind(1), strict=True):
            rows = torch.arange(len(emissions), device=emissions.device)
            others = torch.zeros_like(emissions, dtype=torch.bool)
            others[rows, step] = True
            others[rows, step, label] = False
            fixed = emissions.masked_fill(others, FORBIDDEN_SCORE)
            found.append(self.log_partition(fixed, real) - every)
        return torch.stack(found, 1)


def _masked(start: Tensor, transitions: Tensor, forbidden: Tensor) -> tuple[Tensor, Tensor]:
    """Return start (size,) and transitions (size, size) with forbidden entries masked."""
    masked = start.masked_fill(forbidden[-1], FORBIDDEN_SCORE)
    return masked, transitions.masked_fill(forbidden[:-1], FORBIDDEN_SCORE)


def _log_partition(
    emissions: Tensor, real: Tensor, start: Tensor, transitions: Tensor, end: Tensor
) -> Tensor:
    """Return the log (batch,) of the sum of exp(score) over all paths; 0 for an empty row."""
    so_far = start + emissions[:, 0]  # (batch, size): all paths that end in this label
    total = so_far.new_zeros(len(so_far), 1)  # separate: a large sum loses small differences
    steps = zip(emissions.unbind(1)[1:], real.unbind(1)[1:], strict=True)
    for number, (step, now) in enumerate(steps, 1):
        longer = (so_far.unsqueeze(2) + transitions).logsumexp(1) + step
        so_far = torch.where(now.unsqueeze(1), longer, so_far)
        if number % RESCALE_STEPS == 0:
            share = so_far.logsumexp(1, keepdim=True)
            total, so_far = total + share, so_far - share
    return torch.where(real[:, 0], total[:, 0] + (so_far + end).logsumexp(1), 0)


def _unreachable(barred: Tensor) -> Tensor:
    """Return a mask (size,) of the labels that no allowed path reaches."""
    reached = ~barred[-1]
    for _ in range(len(reached)):
        reached = reached | (reached.unsqueeze(1) & ~barred[:-1]).any(0)
    return ~reached


class IndependentLabels(nn.Module):
    """The interface of a CRF without transitions: each step's label is predicted independently."""

    def __init__(self, label_smoothing: float = 0.0) -> None:
        super().__init__()
        self.label_smoothing = label_smoothing  # applies to the loss in training

    def loss(self, emissions: Tensor, labels: Tensor, real: Tensor) -> Tensor:
        """Return the cross entropy (batch,), summed over each row's steps."""
        smoothing = self.label_smoothing if self.training else 0.0
        labels = labels.masked_fill(~real, 0)
        each = F.cross_entropy(
            emissions.transpose(1, 2), labels, reduction="none", label_smoothing=smoothing
        )
        return (each * real).sum(1)  # (batch, time) to (batch,)

    def decode(self, emissions: Tensor, real: Tensor) -> Tensor:
        """Return the best label of each step, (batch, time), 0 beyond a row's end."""
        return emissions.argmax(-1).masked_fill(~real, 0)

    def marginals(self, emissions: Tensor, real: Tensor) -> Tensor:
        """Return label probabilities (batch, time, size), 0 beyond a row's end."""
        return emissions.softmax(-1) * real.unsqueeze(-1)

    def log_marginals(
        self, emissions: Tensor, real: Tensor, steps: Tensor, labels: Tensor
    ) -> Tensor:
        """Return log-probabilities of labels at steps, (batch, n); both are (batch, n) int64."""
        rows = torch.arange(len(emissions), device=emissions.device).unsqueeze(1)
        return emissions.log_softmax(-1)[rows, steps, labels]
