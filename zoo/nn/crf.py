"""A linear-chain conditional random field, which scores whole sequences of labels.

Sources: Lafferty, McCallum and Pereira 2001; over an LSTM: Huang, Xu and Yu 2015.

    score(path) = start[y_1] + sum_t emissions[t, y_t] + sum_t transitions[y_t, y_t+1] + end[y_T]
    P(path)     = exp(score(path)) / sum over all paths of exp(score)

The forward algorithm computes the sum over all paths exactly: a step is a matrix product of
exponentials, which is rescaled to a sum of 1. The backward algorithm runs beside it, and both give
the gradient (Rabiner 1989). Rows whose exponentials span more than the precision holds are
computed in logarithms. All rows of a batch are computed together. `real` (batch, time) is True up
to a row's end.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.nn.output_layer import at_least_float32
from zoo.torch_private import in_func_transform

RESCALE_STEPS = 16  # in logarithms: after so many steps all paths' common score is moved out
FORBIDDEN_SCORE = -1e4  # the score of a forbidden transition; exp of it is exactly 0
PAIRS = {"cpu": 1 << 19, "cuda": 1 << 26}  # pairs of labels that a Viterbi step scores at once


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
        emissions, start, transitions, end = self._scores(emissions)
        labels = labels.masked_fill(~real, 0)
        steps = emissions.gather(2, labels.unsqueeze(2)).squeeze(2)  # (batch, time)
        moves = transitions[labels[:, :-1], labels[:, 1:]]  # (batch, time - 1)
        last = labels.gather(1, (real.sum(1, keepdim=True) - 1).clamp(min=0)).squeeze(1)
        ends = torch.where(real[:, 0], start[labels[:, 0]] + end[last], 0)
        return ends + steps.masked_fill(~real, 0).sum(1) + (moves * real[:, 1:]).sum(1)

    def log_partition(self, emissions: Tensor, real: Tensor) -> Tensor:
        """Return the log (batch,) of the sum of exp(score) over all paths; 0 for an empty row.

        It is in float32 or wider, under autocast too.
        """
        scores = self._scores(emissions)
        if in_func_transform():  # torch.func needs operations that it knows
            return _in_logs(scores, real)
        total, exact = _LogPartition.apply(*scores, real)
        if exact.all():
            return total
        rows = (~exact).nonzero().squeeze(1)
        return total.index_copy(0, rows, _in_logs(_of_rows(scores, rows), real[rows]))

    def loss(self, emissions: Tensor, labels: Tensor, real: Tensor) -> Tensor:
        """Return -log P (batch,) of the labels."""
        emissions = at_least_float32(emissions)
        # P stays the same, and the two terms stay small: their difference keeps its digits.
        emissions = emissions - emissions.detach().amax(2, keepdim=True)
        return self.log_partition(emissions, real) - self.score(emissions, labels, real)

    @torch.no_grad()
    def decode(self, emissions: Tensor, real: Tensor) -> Tensor:
        """Return the best path of each row (Viterbi 1967): (batch, time), 0 beyond its end."""
        emissions, start, transitions, end = self._scores(emissions)
        size = len(start)
        count = max(1, PAIRS.get(emissions.device.type, PAIRS["cuda"]) // size**2)
        parts = zip(emissions.split(count), real.split(count), strict=True)
        arrivals = transitions.t().contiguous()  # (after, before)
        return torch.cat([_best_paths(x, now, start, arrivals, end) for x, now in parts])

    @torch.no_grad()
    def marginals(self, emissions: Tensor, real: Tensor) -> Tensor:
        """Return each label's marginal probability at each step, (batch, time, size).

        It is 0 beyond a row's end.
        """
        scores = self._scores(emissions)
        found = _forward_backward(scores, real)
        marginals = found.marginals.transpose(0, 1).contiguous()
        if not found.exact.all():
            rows = (~found.exact).nonzero().squeeze(1)
            marginals[rows] = _marginals_in_logs(_of_rows(scores, rows), real[rows])
        return marginals

    def log_marginals(
        self, emissions: Tensor, real: Tensor, steps: Tensor, labels: Tensor
    ) -> Tensor:
        """Return log-probabilities of labels at steps, (batch, n); both are (batch, n) int64.

        They have a gradient if gradients are recorded: log P = log Z(with this label) - log Z, one
        pass for each. Otherwise one pass of `marginals` gives them all.
        """
        if not torch.is_grad_enabled():
            rows = torch.arange(len(emissions), device=emissions.device).unsqueeze(1)
            shares = self.marginals(emissions, real)[rows, steps, labels]
            return shares.clamp(min=torch.finfo(shares.dtype).tiny).log()
        emissions = at_least_float32(emissions)
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

    def _scores(self, emissions: Tensor) -> Scores:
        """Return emissions, start, transitions and end in one precision, float32 or wider."""
        start, transitions = self.allowed()
        both = torch.promote_types(emissions.dtype, start.dtype)
        wide = torch.promote_types(both, torch.float32)
        return emissions.to(wide), start.to(wide), transitions.to(wide), self.end.to(wide)


# emissions (batch, time, size), start (size,), transitions (size, size), end (size,)
Scores = tuple[Tensor, Tensor, Tensor, Tensor]


@dataclass(frozen=True)
class ForwardBackward:
    """The results of both recursions. Beyond a row's end, and where it is not exact, all are 0."""

    log_partition: Tensor  # (batch,)
    exact: Tensor  # (batch,) bool: nothing that counts was too small for the precision
    marginals: Tensor  # (time, batch, size)
    forward: Tensor  # (time, batch, size): sums of 1
    backward: Tensor  # (time, batch, size): what `forward` at the step before is multiplied by
    moves: Tensor  # (size, size): exp(transitions), at most 1


def _forward_backward(scores: Scores, real: Tensor) -> ForwardBackward:
    """Run the forward algorithm on the rows and the backward algorithm on the reversed rows.

    Rows are reversed within their lengths. So both directions take the same steps together.
    """
    with torch.autocast(real.device.type, enabled=False):
        emissions, start, transitions, end = scores
        batch, time, size = emissions.shape
        lengths = real.sum(1)
        real = real.t().unsqueeze(2)  # (time, batch, 1)
        emissions = emissions.transpose(0, 1).masked_fill(~real, 0)
        tops = emissions.amax(2, keepdim=True)
        weights = (emissions - tops).exp_()  # (time, batch, size)
        opposite, last = _reversed(lengths, time)
        turned = weights.view(-1, size).index_select(0, opposite.flatten()).view_as(weights)
        top = transitions.amax()
        moves = (transitions - top).exp_()
        firsts = torch.stack(((start - start.amax()).exp_(), (end - end.amax()).exp_()))
        reached, entered, sums = _recur(
            torch.stack((weights, turned), 1), firsts, torch.stack((moves, moves.t()))
        )
        # The second direction, in the order of time: its rows stand behind those of the first.
        places = opposite + batch * (1 + opposite // batch)
        ahead = entered.view(-1, size).index_select(0, places.flatten()).view_as(weights)
        forward, sums = reached[:, 0], sums[:, 0]
        marginals = forward * ahead
        shares = marginals.sum(2, keepdim=True)
        product = sums * shares
        exact = ((product >= torch.finfo(product.dtype).tiny ** 0.5) | ~real).all(0).squeeze(1)
        kept = real & exact.unsqueeze(1)
        marginals = (marginals / shares).masked_fill_(~kept, 0)
        backward = (ahead * weights).div_(product).masked_fill_(~kept, 0)
        forward = forward.masked_fill(~kept, 0)
        total = (sums.log() + tops).masked_fill_(~real, 0).sum(0).squeeze(1)
        final = shares.view(-1).index_select(0, last).log()
        total = total + final + start.amax() + end.amax() + (lengths - 1) * top
        total = total.masked_fill_(lengths == 0, 0)
    return ForwardBackward(total, exact, marginals, forward, backward, moves)


def _reversed(lengths: Tensor, time: int) -> tuple[Tensor, Tensor]:
    """Return places in (time, batch): of the reversed rows' steps, and (batch,) of last steps.

    Places beyond a row's end are their own. The last step of an empty row is its first.
    """
    steps = torch.arange(time, device=lengths.device).unsqueeze(1)
    rows = torch.arange(len(lengths), device=lengths.device)
    steps = torch.where(steps < lengths, lengths - 1 - steps, steps)  # (time, batch)
    return steps * len(lengths) + rows, (lengths - 1).clamp(min=0) * len(lengths) + rows


def _recur(weights: Tensor, firsts: Tensor, moves: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return what each step reaches, what enters it, and the sums by which it was divided.

    weights (time, directions, batch, size), firsts (directions, size), moves (directions, size,
    size). The results have the shape of weights, the sums (time, directions, batch, 1).
    """
    entered, reached = torch.empty_like(weights), torch.empty_like(weights)
    sums = weights.new_empty(*weights.shape[:3], 1)
    entered[0] = firsts.unsqueeze(1)
    steps = zip(*(each.unbind(0) for each in (weights, entered, reached, sums)), strict=True)
    before: Tensor | None = None
    for weight, into, out, total in steps:
        if before is not None:
            torch.bmm(before, moves, out=into)
        torch.mul(into, weight, out=out)
        torch.sum(out, 2, keepdim=True, out=total)
        out.div_(total)
        before = out
    return reached, entered, sums


class _LogPartition(torch.autograd.Function):
    """The log-partition (batch,), and whether it is exact (batch,)."""

    @staticmethod
    def forward(
        ctx: Any, emissions: Tensor, start: Tensor, transitions: Tensor, end: Tensor, real: Tensor
    ) -> tuple[Tensor, Tensor]:
        scores = emissions, start, transitions, end
        found = _forward_backward(scores, real)
        parts = found.marginals, found.forward, found.backward, found.moves
        ctx.save_for_backward(*scores, real, *parts)
        ctx.mark_non_differentiable(found.exact)
        return found.log_partition, found.exact

    @staticmethod
    def backward(ctx: Any, grad: Tensor, *_: None) -> tuple:
        *scores, real, marginals, forward, backward, moves = ctx.saved_tensors
        if torch.is_grad_enabled():  # the gradient itself is differentiated
            emissions, start, transitions, end = scores
            total = _in_logs((emissions, start, transitions, end), real)
            wanted = [score for score in scores if score.requires_grad]
            found = iter(torch.autograd.grad(total, wanted, grad, create_graph=True))
            return *(next(found) if score.requires_grad else None for score in scores), None
        with torch.autocast(real.device.type, enabled=False):
            size = len(moves)
            d_emissions = marginals.transpose(0, 1) * grad.view(-1, 1, 1)
            d_start = grad @ marginals[0]
            last = _reversed(real.sum(1), real.size(1))[1]
            d_end = grad @ marginals.view(-1, size).index_select(0, last)
            after = backward[1:] * grad.unsqueeze(1)
            before = forward[:-1].reshape(-1, size)
            d_transitions = moves * (before.t() @ after.view(-1, size))
        return d_emissions, d_start, d_transitions, d_end, None


def _masked(start: Tensor, transitions: Tensor, forbidden: Tensor) -> tuple[Tensor, Tensor]:
    """Return start (size,) and transitions (size, size) with forbidden entries masked."""
    masked = start.masked_fill(forbidden[-1], FORBIDDEN_SCORE)
    return masked, transitions.masked_fill(forbidden[:-1], FORBIDDEN_SCORE)


def _of_rows(scores: Scores, rows: Tensor) -> Scores:
    """Return the scores of some rows of a batch."""
    emissions, start, transitions, end = scores
    return emissions[rows], start, transitions, end


def _in_logs(scores: Scores, real: Tensor) -> Tensor:
    """Return the log-partition (batch,), computed in logarithms; 0 for an empty row.

    It is slower, but holds scores of any range, and has a gradient of its gradient.
    """
    emissions, start, transitions, end = scores
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


def _marginals_in_logs(scores: Scores, real: Tensor) -> Tensor:
    """Return the gradient of `_in_logs` by the emissions, (batch, time, size).

    Inside `torch.inference_mode()` it is computed from copies, as tensors of that mode have no
    gradient.
    """
    with torch.inference_mode(False), torch.enable_grad():
        emissions, start, transitions, end = (score.detach().clone() for score in scores)
        emissions.requires_grad_()
        total = _in_logs((emissions, start, transitions, end), real.clone())
        (found,) = torch.autograd.grad(total.sum(), emissions)
    return found


def _best_paths(
    emissions: Tensor, real: Tensor, start: Tensor, arrivals: Tensor, end: Tensor
) -> Tensor:
    """Return the best paths (batch, time). `arrivals` (after, before) are the transitions.

    The previous labels are found on the way back, for the labels of the best paths alone.
    """
    time = emissions.size(1)
    best = emissions.transpose(0, 1).masked_fill(~real.t().unsqueeze(2), 0)
    best[0] += start  # (time, batch, size): of the best path that ends in this label
    scores = best.new_empty(*best.shape[1:], len(start))  # (batch, after, before)
    highest = torch.empty_like(best[0])
    for step in range(1, time):
        torch.add(best[step - 1].unsqueeze(1), arrivals, out=scores)
        torch.amax(scores, 2, out=highest)
        best[step] += highest
    last = (real.sum(1) - 1).clamp(min=0)
    rows = torch.arange(len(real), device=real.device)
    label = (best[last, rows] + end).argmax(1)  # (batch,)
    path = [label]
    for before, now in zip(best[:-1].flip(0), real.t()[1:].flip(0), strict=True):
        origin = (before + arrivals[label]).argmax(1)
        label = torch.where(now, origin, label)  # beyond a row's end the label does not change
        path.append(label)
    return torch.stack(path[::-1], 1).masked_fill(~real, 0)


def _unreachable(barred: Tensor) -> Tensor:
    """Return a mask (size,) of the labels that no allowed path reaches."""
    reached = ~barred[-1]
    if barred.is_meta:  # a model that is built to count its weights
        return reached
    while True:
        further = reached | (reached.unsqueeze(1) & ~barred[:-1]).any(0)
        if torch.equal(further, reached):
            return ~reached
        reached = further


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
