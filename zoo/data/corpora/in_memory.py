"""Rows from Python values: lists, columns, tables, arrays and iterators, for `fit` and `predict`.

    ["a text", "another"], ["x", "y"]         a list for each column of the task
    {"text": [...], "label": [...]}           columns by name; also a table of pandas, Polars, Arrow
    [{"text": "a text", "label": "x"}, ...]   rows
    [("a text", "x"), ...]                    rows, in the order of the task's columns

Tables are told by what they can do; neither pandas nor Polars is imported. A value that cannot be
used is an error with its place: `rows[3]`, counted from 0 as Python counts.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AnySet
from typing import Any

import numpy as np

from zoo.data.corpora.files import named, renamed
from zoo.data.corpora.splits import SETTINGS, TENTH, Splits, complete, last_parts
from zoo.data.readers import Row, Rows
from zoo.errors import InputError, RowError
from zoo.option_classes import arguments
from zoo.text.decoding import Once

log = logging.getLogger("zoo")

NAME = "memory"  # of this corpus, in `data.name`
NUMBERED = "label", "labels"  # columns whose values may be numbers
LISTS = "words", "labels"  # columns that hold a list in each row
MISSING = "NAType", "NaTType"  # classes of pandas for a value that is not there
SHOWN = 40  # characters of a value in an error

Given = tuple[Any, ...]  # one table or list of rows, or a list for each column


def settings_of(given: Mapping[str, Any]) -> dict[str, str]:
    """Return the settings of `data` for rows in memory, defaults included. Raises InputError."""

    def columns(
        text: str = "text",
        label: str = "label",
        source: str = "source",
        target: str = "target",
        words: str = "words",
        column: str = "labels",
    ) -> None: ...

    return arguments(columns, dict(given), "data")


def splits(
    parts: Mapping[str, Given],
    settings: Mapping[str, str],
    columns: Sequence[str],
    texts: Sequence[str],
    by: str,
) -> Splits:
    """Return the splits of Python values; a missing one is held out, by column `by`.

    `parts` holds "train" and, if given, "valid" and "test". `settings` are those of `settings_of`.
    `columns` are those that a row needs, `texts` those that hold texts. A single text is running
    text: a row per line, held out at its end. Raises InputError with the place of a wrong value.
    """
    names = named(**settings)
    opened = {part: _open(given, names, columns, texts, part) for part, given in parts.items()}
    train = opened["train"]
    missing = [part for part in ("test", "valid") if part not in opened]
    if missing and len({str(row.get(by, row)) for row in train}) < TENTH:
        cure = " and ".join(f"{part}=…" for part in missing)
        raise InputError(f"rows: too few distinct ones to hold some out: give {cure}")
    if missing and isinstance(parts["train"][0], str):
        log.info("no %s text is given: a tenth is held out at its end", " and no ".join(missing))
        return Splits(**{**opened, **last_parts(train, missing)})
    return complete(opened, by)


def _open(
    given: Given, names: dict[str, str], columns: Sequence[str], texts: Sequence[str], part: str
) -> Rows:
    """Return the checked rows of one split."""
    place = "rows" if part == "train" else part
    raw = _rows(given, names, columns, place)
    kept = {*names, *columns}
    rows = []
    for row in renamed(lambda: iter(raw), names, Once()):
        own = Row({name: row[name] for name in row if name in kept}, row.source, row.names)
        for name in own:
            own[name] = _checked(own, name, texts)
        rows.append(own)
    _say_numbers(rows)
    return Rows(lambda: rows, place)


def _rows(given: Given, names: Mapping[str, str], columns: Sequence[str], place: str) -> list[Row]:
    """Return Python values as rows, not checked yet."""
    if len(given) == len(columns) > 1:
        table = {
            name: _listed(column, place, name) for name, column in zip(columns, given, strict=True)
        }
    elif len(given) != 1:
        needed = ", ".join(columns)
        raise InputError(f"{place}: {len(given)} lists are given; needed: {needed}, or one table")
    elif (found := table_of(given[0], place)) is not None:
        wanted = [names.get(name, name) for name in columns]
        lost = [name for name in wanted if name not in found]
        if lost and "words" not in found:  # they are a text, too
            column = next(name for name in columns if names.get(name, name) == lost[0])
            cure = f"name it, data={{{SETTINGS.get(column, column)!r}: 'COLUMN'}}"
            raise InputError(f"{_no_column(place, lost[0], found)}; {cure}")
        kept = {*names.values(), *columns}
        table = {name: _listed(found[name], place, name) for name in found if name in kept}
    else:
        return [*_single(given[0], columns, place)]
    counts = {name: len(values) for name, values in table.items()}
    if len({*counts.values()}) > 1:
        shown = ", ".join(f"{name!r} has {count:,}" for name, count in counts.items())
        raise InputError(f"{place}: the columns differ in length: {shown}")
    if not any(counts.values()):
        raise InputError(f"{place}: no rows are given; needed: one at least")
    numbered = enumerate(zip(*table.values(), strict=True))
    return [Row(dict(zip(table, row, strict=True)), f"{place}[{i}]") for i, row in numbered]


def _no_column(place: str, name: str, found: Iterable[str]) -> str:
    return f"{place}: no column {name!r}; there are: {', '.join(found)}"


def _single(one: Any, columns: Sequence[str], place: str) -> Iterator[Row]:
    """Yield the rows of a list of rows, of one column, or of the lines of a running text."""
    if isinstance(one, str) and columns == ("text",):
        values: list[Any] = one.splitlines()
    else:
        values = _listed(one, place)
    if not values:
        raise InputError(f"{place}: no rows are given; needed: one at least")
    wanted = " and ".join(map(repr, columns))
    for number, value in enumerate(values):
        source = f"{place}[{number}]"
        if isinstance(value, Mapping):
            yield Row({str(name): column for name, column in value.items()}, source)
        elif len(columns) == 1:
            yield Row({columns[0]: value}, source)
        elif isinstance(value, tuple) and len(value) == len(columns):
            yield Row(dict(zip(columns, value, strict=True)), source)
        else:
            cure = f"give a list for each of {wanted}, or rows that hold them"
            raise RowError(source, f"{_shown(value)} is no row: {cure}")


def table_of(value: Any, place: str) -> dict[str, Any] | None:
    """Return the columns of a table or of a dict of columns by their names, None for other values.

    Raises InputError for a table of Polars that is not computed yet.
    """
    if isinstance(value, Mapping):
        return {str(name): value[name] for name in value}
    kind = type(value)  # not the value: a column may have any of these names
    if hasattr(kind, "collect"):
        raise InputError(f"{place} is a table that is not computed yet: call its collect() first")
    if hasattr(kind, "column_names"):  # of Arrow and of Hugging Face's datasets
        names = value.column_names
    elif hasattr(kind, "columns") and hasattr(kind, "__getitem__"):  # of pandas and Polars
        names = value.columns
    else:
        return None
    if not all(isinstance(name, str) for name in names):
        names = [*names]
        if len({*map(str, names)}) < len(names):
            raise InputError(f"{place}: two columns have one name: {', '.join(map(str, names))}")
    return {str(name): value[name] for name in names}


def inputs(values: Any, columns: Sequence[str]) -> Iterator[Row]:
    """Yield the rows of one input or of several, as `predict` takes them.

    An input is a text, a row, or a list of words for a task that reads words. `columns` are those
    that the task reads. Raises InputError with the place of a wrong value.
    """
    several = values
    if isinstance(values, (str, Mapping)):
        several = [values]
    elif (table := table_of(values, "inputs")) is not None:
        several = _of_table(table, columns)
    else:
        several = _iterated(values, "inputs")
    for number, one in enumerate(several):
        source = f"inputs[{number}]"
        found = {"words": one} if "words" in columns and _is_list(one) else {"text": one}
        row = Row(dict(one) if isinstance(one, Mapping) else found, source)
        for name in {*columns, "text"} & {*row}:
            row[name] = _checked(row, name, ("text", "source", "prompt"))
        yield row


def _of_table(table: Mapping[str, Any], columns: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Yield the rows of a table with the columns that a task reads, or with "text"."""
    names = [name for name in columns if name in table]
    if len(names) < len(columns):
        names = [name for name in ("text",) if name in table]
    if not names:
        raise InputError(_no_column("inputs", columns[0], table))
    for row in zip(*(_listed(table[name], "inputs", name) for name in names), strict=True):
        yield dict(zip(names, row, strict=True))


def _listed(values: Any, place: str, column: str = "") -> list[Any]:
    """Return a column, or rows, as a list. Raises InputError for what is none."""
    where = f"{place}: column {column!r}" if column else place
    if column and table_of(values, place) is not None:
        raise InputError(f"{where} is a table or a dict, not a list")
    return [*_iterated(values, where)]


def _iterated(values: Any, where: str) -> Iterable[Any]:
    """Return values that can be iterated in an order. Raises InputError for others."""
    if isinstance(values, str):
        raise InputError(f"{where} is one text, {_shown(values)}: put it into a list, […]")
    if isinstance(values, AnySet):
        raise InputError(f"{where} is a set, which has no order: give a list")
    if isinstance(values, (bytes, bytearray)) or not isinstance(values, Iterable):
        raise InputError(f"{where} is {_shown(values)}: a list is needed")
    return values


def _is_list(value: Any) -> bool:
    return isinstance(value, (list, tuple)) or hasattr(value, "tolist")


def _checked(row: Row, name: str, texts: Sequence[str]) -> Any:
    """Return a value of a row as plain Python. Raises RowError for one that cannot be used.

    Texts and labels are checked; values of other columns are as they were given.
    """
    value = row[name]
    is_text = name in texts and name not in LISTS
    if not is_text and name not in (*LISTS, *NUMBERED):
        return value
    named = row.names.get(name, name)
    if (
        name == "label"
        and hasattr(value, "dtype")
        and np.ndim(value)
        and value.dtype.kind in "biuf"
    ):
        cure = "give a list of the names of its labels"
        raise RowError(row.source, f"column {named!r} holds an array of numbers: {cure}")
    value = _plain(value)
    holds = f"column {named!r} holds {_shown(value)}"
    if value is None or (isinstance(value, float) and math.isnan(value)):
        raise RowError(row.source, f"{holds}, no value: fill it, or remove the row")
    parts = [_plain(part) for part in value] if isinstance(value, (list, tuple)) else [value]
    if isinstance(value, (list, tuple)):
        value = parts
    allowed = (str, int, float) if name in NUMBERED else (str,)
    for part in parts:
        if not isinstance(part, allowed) or (isinstance(part, float) and math.isnan(part)):
            raise RowError(row.source, f"column {named!r} holds {_shown(part)}{_cure(part, name)}")
    if is_text and isinstance(value, list):
        raise RowError(row.source, f"{holds}, a list, not a text: give one row for each")
    return value


def _cure(value: Any, name: str) -> str:
    """Return the end of an error about a value that is no text or label."""
    what = "label" if name in NUMBERED else "word" if name in LISTS else "text"
    if isinstance(value, (bytes, bytearray)):
        return f", not a {what}: decode it first, .decode()"
    if isinstance(value, (int, float)) and value == value:
        return f", not a {what}: convert it first, str(…)"
    return f", not a {what}"


def _plain(value: Any) -> Any:
    """Return a value without the types of numpy, pandas and Polars; None if it is missing."""
    if type(value).__name__ in MISSING:
        return None
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, str):
        return str(value)
    for method in ("as_py", "tolist", "to_list"):  # of Arrow; of arrays; of a series of Polars
        if hasattr(value, method):
            return getattr(value, method)()
    return value


def _shown(value: Any) -> str:
    """Return a value as an error shows it: short, on one line."""
    text = " ".join(repr(value).split())
    return text if len(text) <= SHOWN else f"{text[: SHOWN - 1]}…"


def _say_numbers(rows: Sequence[Row]) -> None:
    """Say that labels which are numbers become texts."""
    for name in NUMBERED:
        values = rows[0].get(name) if rows else None
        first = next(iter(values), None) if isinstance(values, list) else values
        if isinstance(first, (int, float)):
            log.info("labels are numbers, and are read as texts: %r is %r", first, str(first))
