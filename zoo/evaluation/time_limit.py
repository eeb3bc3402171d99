"""A limit on the time of a baseline: it learns from fewer rows when all would take too long."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from zoo.data.readers import Row
from zoo.evaluation.baselines import MOST_ROWS
from zoo.messages import _

log = logging.getLogger("zoo")

PROBE = 1000  # training rows of the trial that measures how fast a baseline is
BLOCK = 20  # rows that stay together: neighbours can belong to one text
LEAST_SECONDS = 5.0  # a baseline may always take

Baseline = Callable[[Iterable[Row], Iterable[Row], str], dict[str, Any]]


def within(
    baseline: Baseline,
    train: Iterable[Row],
    test: Iterable[Row],
    kind: str,
    rows: int,
    seconds: float,
) -> dict[str, Any]:
    """Run a baseline on `rows` training rows so that it takes about `seconds` at most.

    A trial on the same share of training and test rows measures its speed. If all training rows
    would take too long, it learns from a part that is spread over them; a line says so. It always
    answers all test rows. Returns what the baseline returns.
    """
    seconds = max(seconds, LEAST_SECONDS)
    used = min(rows, MOST_ROWS)
    if used <= PROBE:
        return baseline(train, test, kind)
    share = PROBE / used
    start = time.perf_counter()
    try:
        baseline(spread(train, PROBE / rows), spread(test, share), kind)
    except ValueError:  # too few rows for it
        return baseline(train, test, kind)
    expected = (time.perf_counter() - start) / share
    if expected <= seconds:
        return baseline(train, test, kind)
    part = max(PROBE, round(used * seconds / expected))
    log.info(
        _(
            "baseline: it learns from about {part:,} of {rows:,} training rows, to take no longer "
            "than the training",
            part=part,
            rows=rows,
        )
    )
    return baseline(spread(train, part / rows), test, kind)


def spread(rows: Iterable[Row], share: float) -> Iterator[Row]:
    """Yield about a share of the rows, in blocks at even distances; always the first block."""
    for number, row in enumerate(rows):
        block = number // BLOCK
        if math.ceil((block + 1) * share) > math.ceil(block * share):
            yield row
