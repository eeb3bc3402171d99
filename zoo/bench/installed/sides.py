"""Our side of the comparisons with installed packages, and trainings of equal seconds."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch

from zoo.bench.measure import case, interleave
from zoo.bench.sides import collated, precisions, start, step_of
from zoo.config import Settings
from zoo.data.batch import Batch, Example
from zoo.data.dataset import ExampleList
from zoo.data.readers import Row
from zoo.device import find_precision
from zoo.task import Task, predict_rows
from zoo.text import word_splitter
from zoo.training.build import build
from zoo.training.options import options_of
from zoo.training.rows import open_rows

# With these sizes each task ends in under four minutes on one core.
SECONDS = 45.0  # of the trainings whose scores are compared
LEARNED = 20_000  # rows that such a training reads
TIMED = 256  # rows of a round of training
ASKED = 512  # rows of a round of prediction
JUDGED = 2_000  # validation rows that are scored
WORDS = 100  # of a text that is classified: what stands behind is cut off for all sides
CLIP = 5.0  # flair's own bound of the gradient


class Ours:
    """An untrained task, and the rows that it learns from.

    `words` is the number of words of the rows, however they are tokenized.
    """

    def __init__(self, settings: Settings, rows: Sequence[Row], task: Task, column: str) -> None:
        self.settings, self.task, self.rows = settings, task, list(rows)
        self.examples = ExampleList([task.encode(row) for row in rows])
        self.words = sum(count_words(row[column]) for row in rows)

    def batches(self, seed: int = 0) -> Iterator[Batch]:
        """Yield all rows as the batches of an epoch."""
        limits = self.settings.train.batch_tokens, self.settings.train.batch_rows
        plan = self.examples.sampler(*limits, np.random.default_rng(seed))
        for numbers in plan:
            yield collated(self.task, self.examples, numbers)

    def trainings(self) -> dict[str, Callable[[], None]]:
        """Return a function for each precision that takes a step for each batch of one epoch."""
        planned = [*self.batches()]  # before the clock starts
        found: dict[str, Callable[[], None]] = {}
        for precision in precisions(self.task.device):
            step = step_of(self.task, self.settings.train.grad_clip, precision)

            def epoch(step: Callable[[Batch], None] = step) -> None:
                for batch in planned:
                    step(batch)

            found[f"ours, {precision}"] = epoch
        return found

    def compare(
        self, theirs: Callable[[], None], work: float, unit: str, against: str, rounds: int
    ) -> Iterator[dict[str, Any]]:
        """Yield a case for each precision: our epoch beside `theirs`, an epoch of the same `work`."""
        sides: dict[str, Callable[[], Any]] = {"theirs": theirs, **self.trainings()}
        seconds = interleave(sides, rounds)
        peer = seconds.pop("theirs")
        for name, own in seconds.items():
            yield case(f"training step, {name}, against {against}", unit, work, own, peer)

    def steps(self) -> Iterator[Callable[[], None]]:
        """Yield training steps without end, in the precision that `auto` finds."""
        step = step_of(
            self.task, self.settings.train.grad_clip, find_precision("auto", self.task.device)
        )
        seed = 0
        while True:
            for batch in self.batches(seed):
                yield partial(step, batch)
            seed += 1

    @torch.no_grad()
    def perplexity(self, examples: Sequence[Example]) -> float:
        """Return the perplexity per target, in fp32."""
        self.task.eval()
        nats, count = 0.0, 0
        for first in range(0, len(examples), 64):
            batch = self.task.collate(examples[first : first + 64]).to(self.task.device)
            step = self.task.training_step(batch)
            nats += step.loss.item() * step.count
            count += step.count
        return math.exp(nats / count)

    def answers(self, rows: Sequence[Row]) -> list[Any]:
        """Return the task's answers to rows, in the precision that `auto` finds."""
        self.task.eval()
        return list(predict_rows(self.task, rows, find_precision("auto", self.task.device)))


def count_words(value: Any) -> int:
    """Return the number of words of a text, or of a list of words."""
    return len(value.split()) if isinstance(value, str) else len(value)


@dataclass(frozen=True)
class Corpus:
    """The rows that all sides learn from, those that are judged, and an untrained task."""

    learned: list[Row]
    judged: list[Row]
    task: Task


def corpus(settings: Settings) -> Corpus:
    """Draw rows from the whole splits, in random order, for a corpus may be sorted by its labels.

    Texts that are classified are cut to `WORDS` words.
    """
    device = start(settings)
    options = options_of(settings)
    splits = open_rows(settings, options.kind)
    learned = drawn(splits.train, LEARNED, settings.seed)
    judged = drawn(splits.valid, JUDGED, settings.seed)
    task = build(options, settings, splits).to(device)
    return Corpus([cut(row) for row in learned], [cut(row) for row in judged], task)


def drawn(rows: Iterable[Row], most: int, seed: int) -> list[Row]:
    """Return at most `most` random rows, in random order; the same seed draws the same rows."""
    found = list(rows)
    order = np.random.default_rng(seed).permutation(len(found))
    return [found[number] for number in order[:most]]


def cut(row: Row) -> Row:
    """Return a row whose text ends after `WORDS` words, with a blank between words.

    Sides that split at blanks and sides that split by rules then read the same words.
    """
    if "text" not in row:
        return row
    words = word_splitter.split(str(row["text"]))[:WORDS]
    return Row({**row, "text": " ".join(words)}, row.source)


def frequent(words: Iterable[str], task: Task) -> list[str]:
    """Return the most frequent words, as many as the task's own vocabulary has."""
    size = task.backbone.config.vocabulary_size
    return [word for word, _ in Counter(words).most_common(size)]


def train_for(seconds: float, steps: Iterator[Callable[[], None]]) -> int:
    """Take steps for so many seconds; return their number."""
    end, taken = time.perf_counter() + seconds, 0
    while time.perf_counter() < end:
        next(steps)()
        taken += 1
    return taken


def score(
    name: str, ours: float, peer: float, unit: str = "accuracy", lower_is_better: bool = False
) -> dict[str, Any]:
    """Return a case of two scores. A better `ours` has a ratio above 1; without a score it is 0."""
    better, worse = (peer, ours) if lower_is_better else (ours, peer)
    ratio = better / worse if worse else 0.0
    return {"name": name, "unit": unit, "ours": ours, "peer": peer, "ratio": ratio}


def shuffled(items: Sequence[Any], size: int) -> Iterator[list[Any]]:
    """Yield random batches of `size` items without end."""
    draw = np.random.default_rng(0)
    while True:
        order = draw.permutation(len(items))
        for first in range(0, len(order), size):
            yield [items[number] for number in order[first : first + size]]


def adam(parameters: Any) -> torch.optim.Optimizer:
    """Return the optimizer of both sides: Adam with the rate of `zoo.bench.sides.step_of`."""
    return torch.optim.Adam(parameters, lr=1e-3)
