"""The rows of a run: which ones a task can use, and their encoded form on disk."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Collection, Iterator, Sized
from pathlib import Path
from typing import Any

import numpy as np

from zoo.config import Settings
from zoo.data import labelled_words
from zoo.data.corpora import Splits, open_corpus
from zoo.data.corpora.splits import SETTINGS
from zoo.data.dataset import Dataset
from zoo.data.readers import Row, Rows
from zoo.errors import InputError, RowError
from zoo.task import Task

log = logging.getLogger("zoo")


class ValidRows(Rows):
    """The rows of a split that a task can use; each is checked as it is read.

    Raises RowError for a row without a needed column. Rows with nothing in a column of
    `not_empty` are skipped and counted in `skipped`; with `strict` they raise RowError. Raises
    InputError when no rows are left.
    """

    def __init__(
        self, rows: Rows, kind: type[Task], strict: bool = False, settings: Collection[str] = ()
    ) -> None:
        """`settings` are the names of the corpus's settings, for error messages."""
        super().__init__(rows.read, rows.name)
        self.kind = kind
        self.strict = strict
        self.settings = settings
        self.skipped: Counter[str] = Counter()  # reason -> rows, of the last pass

    def __iter__(self) -> Iterator[Row]:
        skipped: Counter[str] = Counter()
        none = True
        columns = self.kind.training_columns
        for row in self.read():
            if "text" in columns and "text" not in row and "words" in row:
                row = Row(row | {"text": " ".join(labelled_words.words(row))}, row.source)
            for name in columns:
                if row.get(name) is None:
                    there = ", ".join(row)
                    raise RowError(row.source, f"no {name!r}, there are {there}{self.cure(name)}")
            empty = [name for name in self.kind.not_empty if _is_empty(row[name])]
            reason = "no words" if empty == ["words"] else f"an empty {' and '.join(empty)}"
            if empty and self.strict:
                raise RowError(row.source, f"{reason}; strict=false skips such rows")
            if empty:
                skipped[reason] += 1
            else:
                none = False
                yield row
        self.skipped = skipped
        if none:
            raise InputError(f"{self.name}: holds no rows that can be used{self.note()}")

    def cure(self, name: str) -> str:
        """Return the end of an error message: how to name a missing column, if it can be named."""
        setting = SETTINGS.get(name, name)
        by_column = {"text", "label", setting} <= {*self.settings} or setting == "column"
        return f": set data.{setting}=COLUMN" if by_column else "; see data=files"

    def note(self) -> str:
        """Return the rows skipped in the last pass and why, "" for none."""
        counts = ", ".join(f"{count} with {reason}" for reason, count in self.skipped.items())
        return f"; skipped are {counts}" if counts else ""


def _is_empty(value: Any) -> bool:
    """Return whether a column holds no text, or no items."""
    if isinstance(value, str):
        return not value.strip()
    return isinstance(value, Sized) and len(value) == 0


def open_rows(settings: Settings, kind: type[Task]) -> Splits:
    """Open the corpus of the settings; its splits hold only rows that the task can use."""
    splits = open_corpus(settings.data, kind.input_columns[0])
    train = splits.train
    if settings.train.fraction < 1:
        train = Rows(
            lambda: _some(splits.train, settings.train.fraction, settings.seed), train.name
        )
    parts = (train, splits.valid, splits.test)
    return Splits(*(ValidRows(rows, kind, settings.strict, settings.data) for rows in parts))


def _some(rows: Rows, share: float, seed: int) -> Iterator[Row]:
    """Yield a random share of the rows; the same seed draws the same rows."""
    generator = np.random.default_rng(seed)
    return (row for row in rows if generator.random() < share)


def encode_rows(task: Task, rows: Rows, folder: Path) -> Dataset:
    """Encode the rows of one split into `folder`. Logs how many were skipped or truncated."""
    dataset = task.dataset_class.write(rows, task.encode, folder)
    if isinstance(rows, ValidRows) and rows.skipped:
        log.info("%s: %d rows%s", rows.name, len(dataset), rows.note())
    cut = dataset.count_truncated()
    if cut:
        share = 100 * cut / len(dataset)
        log.info("%s: %d of %d texts (%.1f %%) are cut", rows.name, cut, len(dataset), share)
    return dataset
