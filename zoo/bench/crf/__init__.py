"""The training of a tagger with a CRF beside that of the same tagger without one.

    python -m zoo.bench crf [labels=23,200] [SETTING=VALUE ...]

Labels are made from the words: so many, whatever the corpus. The cost of a CRF grows with their
number squared, and does not depend on what they mean.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any
from zlib import crc32

import numpy as np
import torch

from zoo.bench.measure import compare, wait
from zoo.bench.sides import collated, precisions, prepared, start, step_of
from zoo.bench.tag import lengthened
from zoo.config import check, compose
from zoo.data.batch import Batch
from zoo.data.corpora.splits import Splits
from zoo.data.dataset import ExampleList
from zoo.data.readers import Row, Rows
from zoo.errors import InputError
from zoo.training.build import build
from zoo.training.options import options_of

LABELS = "23,200"
GIVEN = "labels="


def crf(arguments: Sequence[str], rounds: int) -> Iterator[dict[str, Any]]:
    """Yield a case for each number of labels and each precision: with the CRF against without.

    Both sides take the same steps over the same batches. Raises InputError for labels that are no
    positive numbers.
    """
    counts = [each.removeprefix(GIVEN) for each in arguments if each.startswith(GIVEN)] or [LABELS]
    settings = [each for each in arguments if not each.startswith(GIVEN)]
    for count in counts[-1].split(","):
        if not (count.isascii() and count.isdigit() and int(count)):
            raise InputError(f"{GIVEN}{counts[-1]}: give numbers of labels, such as {LABELS}")
    rows, _ = prepared(check(compose(["task=tag", *settings])))
    if not any(argument.startswith("data=") for argument in settings):
        rows = lengthened(rows, 1)
    for count in counts[-1].split(","):
        yield from _cases(settings, _labelled(rows, int(count)), int(count), rounds)


def _labelled(rows: Sequence[Row], count: int) -> list[Row]:
    """Return the rows with at most `count` labels, each of which follows from its word."""
    return [
        Row(
            {
                "words": row["words"],
                "labels": [f"L{crc32(word.encode()) % count}" for word in row["words"]],
            },
            row.source,
        )
        for row in rows
    ]


def _cases(
    arguments: Sequence[str], rows: Sequence[Row], count: int, rounds: int
) -> Iterator[dict[str, Any]]:
    """Yield the cases of the precisions."""
    given = Rows(lambda: rows, f"{count} labels")
    both = [
        check(compose(["task=tag", f"task.crf={str(chain).lower()}", *arguments]))
        for chain in (True, False)
    ]
    device = start(both[0])
    tasks = [build(options_of(each), each, Splits(given, given, given)).to(device) for each in both]
    examples = ExampleList([tasks[0].encode(row) for row in rows])
    words = sum(len(row["words"]) for row in rows)
    limits = both[0].train.batch_tokens, both[0].train.batch_rows
    generator = np.random.default_rng(both[0].seed)
    batches = [collated(tasks[0], examples, some) for some in examples.sampler(*limits, generator)]
    for precision in precisions(device):
        with_crf, without = (
            _side(step_of(task, each.train.grad_clip, precision), batches, device)
            for task, each in zip(tasks, both, strict=True)
        )
        name = f"training step with a CRF over {count} labels against none, {precision}"
        yield compare(name, "words/s", words, with_crf, without, rounds)


def _side(
    step: Callable[[Batch], None], batches: Sequence[Batch], device: torch.device
) -> Callable[[], None]:
    """Return a function that takes one step on each batch."""

    def run() -> None:
        for batch in batches:
            step(batch)
        wait(device)

    return run
