"""Successive halving: many candidates are trained briefly, the best third longer, its best longest.

The time is divided between three rungs. Within a rung all candidates get the same epochs, the same
training rows and the same views; a view is a pair of training and validation rows. Where few rows
are held out for validation, one split would choose by luck: each rung then looks at other folds,
and the last rung at as many as the time allows.

Candidates are compared on what they share: the splits of the second and the third rung together.
Metrics closer than one standard error are equal: among these the lower loss is better. The run's
own settings stay in until the end, and are kept unless another candidate beats them: by more than
one standard error, or with no worse metric by a lower loss on each of several splits.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass

from zoo.tuning.candidates import Changes, Proposals

ENDS = (0.4, 0.7, 1.0)  # of the rungs, as shares of the time
KEPT = 3  # one candidate in so many goes on to the next rung
FEWEST_EPOCHS = 5
FEWEST_TRIED = 8  # candidates in the first rung for which the training rows are reduced
PROBED = 2000  # rows on which the speed is measured
FEWEST_ROWS = 500
SHARE_DEVIATION = 0.3  # of a row's answer, right or wrong, at an accuracy of 0.9
OVERTIME = 2.0  # a trial may take so many times what the run's own settings take


@dataclass(frozen=True)
class Work:
    """What a candidate is trained on."""

    changes: Changes
    rung: int  # 0 is the first one; -1 measures the speed
    view: int
    epochs: int
    rows: int

    @property
    def key(self) -> str:
        """A text that is the same for the same work."""
        return json.dumps(asdict(self), sort_keys=True)


@dataclass(frozen=True)
class Result:
    """What came of it. After an error there are no figures."""

    work: Work
    metric: float | None = None
    epochs: int = 0  # that were trained
    loss: float | None = None
    valid: int = 0  # validation rows
    seconds: float = 0.0
    epoch_seconds: float = 0.0
    elapsed: float = 0.0  # of the whole search, at the end of this trial
    name: str = ""  # of the metric
    error: str | None = None


Train = Callable[[Work, float], Result]  # with the most seconds


@dataclass(frozen=True)
class Speed:
    """What the run's own settings take."""

    fixed: float  # seconds of a trial before its first epoch
    per_row: float  # seconds of an epoch, of each row

    def seconds(self, epochs: int, rows: int) -> float:
        return self.fixed + epochs * rows * self.per_row


class Halving:
    """A search among candidates that lasts about `seconds`.

    Trials whose results are `known` are not trained again, and the time that they took counts.
    """

    def __init__(
        self,
        seconds: float,
        epochs: int,
        rows: int,
        views: int,
        lower_is_better: bool,
        train: Train,
        known: Iterable[Result] = (),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.total, self.epochs, self.rows, self.views = seconds, epochs, rows, views
        self.lower_is_better = lower_is_better
        self.train = train
        self.known = {result.work.key: result for result in known}
        self.clock = clock
        self.base = 0.0  # seconds before `mark`
        self.mark: float | None = None if self.known else clock()
        self.results: list[Result] = []
        self.speed = Speed(0.0, 0.0)

    @property
    def spent(self) -> float:
        """Seconds of the search so far, those of earlier runs included."""
        return self.base + (0.0 if self.mark is None else self.clock() - self.mark)

    def run(self, proposals: Proposals) -> list[Changes]:
        """Return the candidates of the last rung, the best one first.

        Without a candidate that could be trained, the run's own settings are the only one.
        """
        stream = iter(proposals)
        own = next(stream)
        epochs, rows = self._measure(own, len(proposals.written))
        ranked = self._first(own, stream, proposals, epochs, rows)
        view = 1
        for rung in range(1, len(ENDS)):
            if len(ranked) < 2:
                break
            kept = ranked[: max(2, math.ceil(len(ranked) / KEPT))]
            if own in ranked:  # the first one, because the time may end before the last one
                kept = [own, *(changes for changes in kept if changes != own)]
            found, view = self._later(rung, kept, epochs, rows, view, own)
            if len(found) < 2:
                break
            ranked = found
        return ranked or [own]

    def _measure(self, own: Changes, written: int) -> tuple[int, int]:
        """Measure the speed of the run's own settings; returns the first rung's epochs and rows."""
        self._note_speed(self._trial(own, -1, 0, 2, min(self.rows, PROBED), self.total))
        least = min(self.epochs, max(FEWEST_EPOCHS, math.ceil(self.epochs / 4)))
        each = ENDS[0] * self.total / max(1, min(written, FEWEST_TRIED))
        rows = self._fitting_rows(each, least)
        if rows < self.rows:
            return least, rows
        least = self._fitting_epochs(each, FEWEST_EPOCHS, least)
        each = ENDS[0] * self.total / max(1, written)
        return self._fitting_epochs(each, least), rows

    def _fitting_rows(self, seconds: float, epochs: int) -> int:
        if not self.speed.per_row:
            return self.rows
        rows = int((seconds - self.speed.fixed) / (epochs * self.speed.per_row))
        return min(self.rows, max(FEWEST_ROWS, rows))

    def _fitting_epochs(self, seconds: float, least: int, most: int | None = None) -> int:
        most = self.epochs if most is None else most
        if not self.speed.per_row:
            return most
        epochs = int((seconds - self.speed.fixed) / (self.rows * self.speed.per_row))
        return min(most, max(least, epochs))

    def _note_speed(self, own: Result) -> None:
        """Take the speed from a trial of the run's own settings; the machine may be shared."""
        if own.error is None:
            each = own.epoch_seconds
            fixed = own.seconds - own.epochs * each
            self.speed = Speed(max(0.0, fixed), each / max(1, own.work.rows))

    def _first(
        self, own: Changes, stream: Iterable[Changes], proposals: Proposals, epochs: int, rows: int
    ) -> list[Changes]:
        """Train candidates until the first rung's time is over; returns them ranked."""
        end = ENDS[0] * self.total
        candidate: Changes | None = own
        results: list[Result] = []
        while candidate is not None:
            result = self._trial(candidate, 0, 0, epochs, rows, self.total - self.spent)
            if candidate == own:
                self._note_speed(result)
            if result.metric is not None:
                results.append(result)
                proposals.tell(candidate, result.metric)
            if self.spent >= end:
                break
            candidate = next(iter(stream), None)
        return [each.work.changes for each in self.rank([[r] for r in results])]

    def _later(
        self, rung: int, kept: Sequence[Changes], epochs: int, rows: int, view: int, own: Changes
    ) -> tuple[list[Changes], int]:
        """Train the candidates of a later rung longer, on one view after the other.

        Returns those that were trained on all these views, ranked, and the next view.
        """
        end = ENDS[rung] * self.total
        each = (end - self.spent) / len(kept)
        rows = max(rows, self._fitting_rows(each, epochs))
        if rows == self.rows:
            epochs = self._fitting_epochs(each, epochs)
        expected = self.speed.seconds(epochs, rows)
        done: dict[str, list[Result]] = {}
        first = view
        while view < first + self.views and self.spent + expected / 2 < end:
            found = []
            for changes in kept:
                if self.spent + expected / 2 >= end:
                    break
                found.append(self._trial(changes, rung, view, epochs, rows, OVERTIME * expected))
            whole = len(found) == len(kept)
            if not (whole or view == first):
                break  # what not all were trained on is no comparison
            for result in found:
                if result.metric is not None:
                    done.setdefault(_name(result.work.changes), []).append(result)
            view += 1
            if not whole:
                break
        return self._challenged(self._comparable(done), own), view

    def _challenged(self, candidates: Sequence[list[Result]], own: Changes) -> list[Changes]:
        """Return the candidates, the best first; the run's own settings stay first if unbeaten."""
        ranked = [each.work.changes for each in self.rank(candidates)]
        if own not in ranked[1:]:
            return ranked
        results = {_name(each[-1].work.changes): each for each in candidates}
        if self._beats(results[_name(ranked[0])], results[_name(own)]):
            return ranked
        return [own, *(changes for changes in ranked if changes != own)]

    def _beats(self, others: Sequence[Result], own: Sequence[Result]) -> bool:
        """Return whether a candidate is better than the run's own settings, by more than chance."""
        sign = -1 if self.lower_is_better else 1
        gaps = [
            sign * ((a.metric or 0.0) - (b.metric or 0.0)) for a, b in zip(others, own, strict=True)
        ]
        if _mean(gaps) > self._error([others, own], gaps):
            return True
        losses = [(a.loss, b.loss) for a, b in zip(others, own, strict=True)]
        lower = [a is not None and b is not None and a < b for a, b in losses]
        return len(gaps) > 1 and _mean(gaps) >= 0 and all(lower)

    @staticmethod
    def _error(candidates: Sequence[Sequence[Result]], gaps: Sequence[float]) -> float:
        """Return the standard error of a mean gap: of a share, else of what the splits differ by."""
        if _are_shares(candidates, [_mean_loss(results) for results in candidates]):
            rows = sum(result.valid for result in candidates[0])
            return SHARE_DEVIATION / math.sqrt(max(1, rows))
        if len(gaps) < 2:
            return 0.0
        mean = _mean(gaps)
        variance = sum((gap - mean) ** 2 for gap in gaps) / (len(gaps) - 1)
        return math.sqrt(variance / len(gaps))

    def _comparable(self, done: dict[str, list[Result]]) -> list[list[Result]]:
        """Return the results of each candidate of a rung on the views that all of them share.

        Results of this rung stand last; those of the first rung are too short to count.
        """
        most = max(map(len, done.values()), default=0)
        names = [name for name, results in done.items() if len(results) == most]
        found: dict[str, dict[int, Result]] = {name: {} for name in names}
        for result in self.results:
            name = _name(result.work.changes)
            if name in found and result.work.rung > 0 and result.metric is not None:
                found[name][result.work.view] = result
        shared = set.intersection(*map(set, found.values())) if found else set()
        return [[found[name][view] for view in sorted(shared)] for name in names]

    def _trial(
        self, changes: Changes, rung: int, view: int, epochs: int, rows: int, most: float
    ) -> Result:
        """Train a candidate, or return what is known of it."""
        work = Work(changes, rung, view, epochs, rows)
        known = self.known.get(work.key)
        if known is not None:
            self.base = max(self.base, known.elapsed)
            self.results.append(known)
            return known
        if self.mark is None:  # from here on nothing is known
            self.base = max((r.elapsed for r in self.known.values()), default=0.0)
            self.mark = self.clock()
        result = self.train(work, max(most, 1.0))
        self.results.append(result)
        return result

    def rank(self, candidates: Sequence[Sequence[Result]]) -> list[Result]:
        """Return one result of each candidate, the best candidate first."""
        if not candidates:
            return []
        sign = -1 if self.lower_is_better else 1
        means = [_mean([sign * (r.metric or 0.0) for r in results]) for results in candidates]
        losses = [_mean_loss(results) for results in candidates]
        rows = sum(result.valid for result in candidates[0])
        error = (
            SHARE_DEVIATION / math.sqrt(max(1, rows)) if _are_shares(candidates, losses) else 0.0
        )
        least = max(means) - error

        def place(number: int) -> tuple[bool, float, float]:
            equal = means[number] >= least
            loss = losses[number]
            by_loss = error > 0 and equal and loss is not None
            return (not equal, loss if by_loss and loss is not None else -means[number], 0.0)

        order = sorted(range(len(candidates)), key=place)
        return [candidates[number][-1] for number in order]


def _are_shares(candidates: Sequence[Sequence[Result]], losses: Sequence[float | None]) -> bool:
    """Return whether the metric is a share, whose standard error is known, beside a loss."""
    values = [result.metric or 0.0 for results in candidates for result in results]
    return all(loss is not None for loss in losses) and 0 <= min(values) <= max(values) <= 1


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _mean_loss(results: Sequence[Result]) -> float | None:
    losses = [result.loss for result in results if result.loss is not None]
    return _mean(losses) if len(losses) == len(results) else None


def _name(changes: Changes) -> str:
    return json.dumps(changes, sort_keys=True)
