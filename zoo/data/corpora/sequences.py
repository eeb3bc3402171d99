"""Corpora of float sequences of unequal length: lists in jsonl, long tables, .npz; and digits."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from zoo.data import readers
from zoo.data.corpora.paths import PathSetting
from zoo.data.corpora.splits import Splits, complete
from zoo.data.readers import Row, Rows
from zoo.data.series.cells.numbers import number
from zoo.errors import InputError, RowError
from zoo.messages import _

TEXT = "text"  # the column that a classifier reads
FIFTH = 5  # one digit in five is for the test, and one for validation


def sequences(
    train: PathSetting,
    valid: PathSetting | None = None,
    test: PathSetting | None = None,
    features: list[str] | str | None = None,
    label: str = "label",
    series: str | None = None,
    by: str = TEXT,
) -> Splits:
    """Open float sequences, each with a label, in files of any of three forms.

    `by` is the column that the task reads. For a tagger, which reads "words", there is a label for
    each step: a list, one in each row of a long table, or `labels` of all steps.

    jsonl: `features` name columns of lists, one number a step, or one column of lists of numbers.
    A long table, csv or jsonl: the column `series` names the sequence of each row. npz: `values`
    (all steps, features), `lengths` and `labels`, one each a sequence. Raises InputError.
    """
    names = [features] if isinstance(features, str) else features
    parts = {"train": train, "valid": valid, "test": test}
    opened = {}
    for part, path in parts.items():
        if path is None:
            continue
        if not Path(path).is_file():
            raise InputError(_("{path}: No such file or directory", path=path))
        read: Callable[[], Iterator[Row]] = partial(_read, Path(path), names, label, series, by)
        opened[part] = Rows(read, path)
    return complete(opened, by)


def digits() -> Splits:
    """Open scikit-learn's 1,797 handwritten digits: 8 steps of 8 floats, a row of pixels each.

    One in five is for the test, and one in five for validation.
    """

    def read(places: tuple[int, ...]) -> Iterator[Row]:
        from sklearn.datasets import load_digits

        found = load_digits()
        for place, (image, label) in enumerate(zip(found.images, found.target, strict=True)):
            if place % FIFTH in places:
                yield Row({TEXT: image.tolist(), "label": str(label)}, f"digits:{place + 1}")

    parts = {"train": (0, 1, 2), "valid": (3,), "test": (4,)}
    return Splits(*(Rows(partial(read, p), f"digits ({name})") for name, p in parts.items()))


def _read(
    path: Path, names: list[str] | None, label: str, series: str | None, by: str
) -> Iterator[Row]:
    """Yield the rows of a file: the sequence in the column `by`, and its label, or a tagger's labels."""
    tagged = by != TEXT
    if path.suffix.lower() == ".npz":
        rows = _npz(path, tagged)
    elif series is not None:
        rows = _long(path, names, label, series, tagged)
    else:
        rows = _lists(path, names, label)
    for row in rows:
        if not tagged:
            yield row
        else:
            yield Row({by: row[TEXT], "labels": row["label"]}, row.source)


def _lists(path: Path, names: list[str] | None, label: str) -> Iterator[Row]:
    """Read a row for each sequence, its features in lists."""
    for row in readers.read(path):
        if names is None:
            raise InputError(f"{path}: which columns? set data.features=[…] of {', '.join(row)}")
        steps = steps_of(row, names)
        if label not in row:
            raise RowError(row.source, f"no column {label!r}; there are: {', '.join(row)}")
        yield Row({TEXT: steps, "label": row[label]}, row.source)


def steps_of(row: Row, names: Sequence[str]) -> list[Any]:
    """Return the steps of a row: columns of lists, a number a step, or one of lists of numbers.

    Raises RowError.
    """
    for name in names:
        if name not in row:
            raise RowError(row.source, f"no column {name!r}; there are: {', '.join(row)}")
    values = [row[name] for name in names]
    if any(not isinstance(value, list) for value in values):
        raise RowError(row.source, "features are lists of numbers, one a step")
    lengths = [len(value) for value in values]
    if len({*lengths}) > 1:
        counts = ", ".join(f"{n} {k}" for n, k in zip(names, lengths, strict=True))
        raise RowError(row.source, f"features of different lengths: {counts}")
    whole = len(values) == 1 and all(isinstance(step, list) for step in values[0])
    return values[0] if whole else [*map(list, zip(*values, strict=True))]


def _long(
    path: Path, names: list[str] | None, label: str, series: str, tagged: bool
) -> Iterator[Row]:
    """Read a row for each step; the rows of a sequence stand together."""
    seen: set[str] = set()

    def name_of(row: Row) -> str:
        if series not in row:
            there = ", ".join(row)
            raise RowError(row.source, f"no column {series!r}; there are: {there}")
        return str(row[series])

    for name, steps in groupby(readers.read(path), name_of):
        rows = [*steps]
        source = rows[0].source
        if name in seen:
            raise RowError(source, f"sequence {name} goes on behind others: sort by {series!r}")
        seen.add(name)
        columns = names or [c for c in rows[0] if c not in (series, label)]
        labels = {str(row.get(label)) for row in rows}
        if len(labels) > 1 and not tagged:
            raise RowError(
                source, f"sequence {name} has several labels: {', '.join(sorted(labels))}"
            )
        values = [[_cell(row, column) for column in columns] for row in rows]
        each = [row.get(label) for row in rows]
        yield Row({TEXT: values, "label": each if tagged else each[0], "series": name}, source)


def _cell(row: Row, name: str) -> float:
    if name not in row:
        raise RowError(row.source, f"no column {name!r}; there are: {', '.join(row)}")
    found = number(row[name])
    if found is None or not np.isfinite(found):
        raise RowError(row.source, f"column {name!r} holds {row[name]!r}, no finite number")
    return found


def _npz(path: Path, tagged: bool) -> Iterator[Row]:
    """Read arrays: values (all steps, features), lengths (rows,), labels (rows,) or of all steps."""
    try:
        with np.load(path, allow_pickle=False) as parts:
            found = {name: parts[name] for name in parts.files}
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise InputError(f"{path}: {error}") from None
    missing = [name for name in ("values", "lengths", "labels") if name not in found]
    if missing:
        there = ", ".join(found)
        raise InputError(f"{path}: no array {missing[0]!r}; there are: {there}")
    values, lengths, labels = (found[name] for name in ("values", "lengths", "labels"))
    values = values[:, None] if values.ndim == 1 else values
    wanted = len(values) if tagged else len(lengths)
    if wanted != len(labels) or int(lengths.sum()) != len(values):
        raise InputError(
            f"{path}: {len(values)} steps, lengths of {int(lengths.sum())}, {len(lengths)} lengths, "
            f"{len(labels)} labels: they do not fit together"
        )
    ends = np.cumsum(lengths)
    for place, (end, length) in enumerate(zip(ends.tolist(), lengths.tolist(), strict=True)):
        steps = values[end - length : end].tolist()
        own = [*map(str, labels[end - length : end])] if tagged else str(labels[place])
        yield Row({TEXT: steps, "label": own}, f"{path}:{place + 1}")
