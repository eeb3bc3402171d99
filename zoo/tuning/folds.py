"""Stratified folds of a run's rows; the test rows are in none of them and are not read.

Equal inputs stay in one fold, and each label has its share in every fold. A fold's rows are scored
once; a tenth of the others is held out to find the best epoch, unless validation rows are given.
"""

from __future__ import annotations

import json
import logging
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Any

from zoo.config import Settings
from zoo.data.corpora import Splits, in_memory
from zoo.data.corpora.splits import TENTH_OF, complete
from zoo.data.readers import Row, Rows
from zoo.errors import InputError
from zoo.messages import _
from zoo.task import Task
from zoo.training.rows import labels_of

log = logging.getLogger("zoo")

SHOWN = 5  # labels that a log line names


def holds_out(settings: Settings, splits: Splits) -> bool:
    """Return whether the validation rows are a part of the user's training rows."""
    if settings.data["name"] == in_memory.NAME:
        return splits.valid.name.endswith(TENTH_OF)
    return "valid" in settings.data and settings.data["valid"] is None


def unread(name: str) -> Rows:
    """Return rows that stand for the test rows; reading them raises AssertionError."""

    def read() -> Iterable[Row]:
        raise AssertionError("test rows are not read before the final training is tested")

    return Rows(read, name)


def pool(splits: Splits, settings: Settings) -> list[Row]:
    """Return the rows that folds are made of: training rows, and validation rows held out of them."""
    if holds_out(settings, splits):
        return [*splits.train, *splits.valid]
    return list(splits.train)


def stratified(
    rows: list[Row], kind: type[Task], count: int, seed: int
) -> Iterator[tuple[list[Row], list[Row]]]:
    """Yield the rows outside and inside of each of `count` folds, in their order.

    Raises InputError for fewer distinct inputs than folds.
    """
    from sklearn.model_selection import KFold, StratifiedKFold

    numbers: dict[str, int] = {}  # distinct input -> its number
    inputs = [numbers.setdefault(_input(row, kind), len(numbers)) for row in rows]
    if len(numbers) < count:
        raise InputError(
            _("{rows} distinct rows are too few for {folds} folds", rows=len(numbers), folds=count)
        )
    strata = [""] * len(numbers)
    labels = [labels_of(row, kind) for row in rows]
    frequency = Counter(chain.from_iterable(map(set, labels)))
    for number, own in zip(inputs, labels, strict=True):
        if own:
            strata[number] = min(own, key=lambda label: (frequency[label], label))
    counts = Counter(strata)
    shuffled = {"n_splits": count, "shuffle": True, "random_state": seed}
    splitter = StratifiedKFold(**shuffled)
    if max(counts.values()) < count:  # there is nothing to stratify
        splitter = KFold(**shuffled)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # labels with fewer rows: `say_rare`
        parts = list(splitter.split(strata, strata))
    for _outside, inside in parts:
        chosen = {*inside.tolist()}
        both: tuple[list[Row], list[Row]] = ([], [])
        for row, number in zip(rows, inputs, strict=True):
            both[number in chosen].append(row)
        yield both


def say_rare(rows: list[Row], kind: type[Task], count: int) -> None:
    """Log the labels that have fewer rows than there are folds."""
    counts = Counter(chain.from_iterable({*labels_of(row, kind)} for row in rows))
    rare = [f"{label!r} ({n})" for label, n in sorted(counts.items()) if n < count]
    if rare:
        more: str = ""
        if len(rare) > SHOWN:
            more = _(" and {count} more", count=len(rare) - SHOWN)
        named = ", ".join(rare[:SHOWN])
        log.info(_("labels with fewer rows than folds: {labels}{more}", labels=named, more=more))


def with_valid(
    outside: list[Row], inside: list[Row], splits: Splits, settings: Settings, by: str
) -> Splits:
    """Return the splits of one fold: `inside` is its test part.

    The validation rows are the given ones, else a tenth of `outside`, held out by column `by`.
    """
    parts = {"train": _rows(outside, splits.train.name), "test": _rows(inside, "the fold")}
    if not holds_out(settings, splits):
        parts["valid"] = splits.valid
    return complete(parts, by)


def _rows(rows: list[Row], name: str) -> Rows:
    return Rows(lambda: rows, name)


def _input(row: Row, kind: type[Task]) -> str:
    """Return a row's input as a text."""
    return json.dumps([row.get(name) for name in kind.input_columns], default=str)


def describe(values: Iterable[float]) -> dict[str, Any]:
    """Return mean, sample standard deviation, least and greatest value."""
    found = list(values)
    mean = sum(found) / len(found)
    variance = sum((value - mean) ** 2 for value in found) / max(1, len(found) - 1)
    return {"mean": mean, "deviation": variance**0.5, "least": min(found), "greatest": max(found)}
