"""The inputs of `predict`: texts, rows, lists, tables and arrays become rows.

Tables are told by what they can do; neither pandas nor Polars is imported. A value that cannot be
used is an error with its place: `inputs[3]`, counted from 0 as Python counts.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AnySet
from typing import Any

import numpy as np

from zoo.data import labelled_words
from zoo.data.readers import Row, column
from zoo.errors import InputError, RowError

NUMBERED = "label", "labels"  # columns whose values may be numbers
LISTS = "words", "labels"  # columns that hold a list in each row
MISSING = "NAType", "NaTType"  # classes of pandas for a value that is not there
SHOWN = 40  # characters of a value in an error


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
            row[name] = checked(row, name, ("text", "source", "prompt"))
        yield row


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


def input_columns(row: Mapping[str, Any], columns: Sequence[str], splitter: str = "words") -> Row:
    """Return the columns of a row that a task reads. Plain "text" becomes the first of them.

    `splitter` splits it into words for tasks that read words: see `zoo.data.labelled_words`.
    """
    if not isinstance(row, Row):
        row = Row(dict(row), "input")
    if "words" in columns:
        return Row({"words": labelled_words.words_of(row, splitter)}, row.source)
    first = columns[0]
    if "text" in row and first not in row:
        row = Row(row | {first: row["text"]}, row.source)
    return Row({name: _input(row, name) for name in columns}, row.source)


def _input(row: Row, name: str) -> Any:
    """Return a column of a row: numbers and lists as they are, anything else as text.

    Raises RowError.
    """
    value = row.get(name)
    return column(row, name) if value is None or isinstance(value, str) else value


def _of_table(table: Mapping[str, Any], columns: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Yield the rows of a table with the columns that a task reads, or with "text"."""
    names = [name for name in columns if name in table]
    if len(names) < len(columns):
        names = [name for name in ("text",) if name in table]
    if not names:
        raise InputError(no_column("inputs", columns[0], table))
    for row in zip(*(listed(table[name], "inputs", name) for name in names), strict=True):
        yield dict(zip(names, row, strict=True))


def listed(values: Any, place: str, column: str = "") -> list[Any]:
    """Return a column, or rows, as a list. Raises InputError for what is none."""
    where = f"{place}: column {column!r}" if column else place
    if column and table_of(values, place) is not None:
        raise InputError(f"{where} is a table or a dict, not a list")
    return [*_iterated(values, where)]


def _iterated(values: Any, where: str) -> Iterable[Any]:
    """Return values that can be iterated in an order. Raises InputError for others."""
    if isinstance(values, str):
        raise InputError(f"{where} is one text, {shown(values)}: put it into a list, […]")
    if isinstance(values, AnySet):
        raise InputError(f"{where} is a set, which has no order: give a list")
    scalar = getattr(values, "ndim", None) == 0  # an array without axes
    if scalar or isinstance(values, (bytes, bytearray)) or not isinstance(values, Iterable):
        raise InputError(f"{where} is {shown(values)}: a list is needed")
    return values


def _is_list(value: Any) -> bool:
    return isinstance(value, (list, tuple)) or hasattr(value, "tolist")


def checked(row: Row, name: str, texts: Sequence[str]) -> Any:
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
    holds = f"column {named!r} holds {shown(value)}"
    if value is None or (isinstance(value, float) and math.isnan(value)):
        raise RowError(row.source, f"{holds}, no value: fill it, or remove the row")
    parts = [_plain(part) for part in value] if isinstance(value, (list, tuple)) else [value]
    if isinstance(value, (list, tuple)):
        value = parts
    allowed = (str, int, float) if name in NUMBERED else (str,)
    for part in parts:
        if not isinstance(part, allowed) or (isinstance(part, float) and math.isnan(part)):
            raise RowError(row.source, f"column {named!r} holds {shown(part)}{_cure(part, name)}")
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


def shown(value: Any) -> str:
    """Return a value as an error shows it: short, on one line."""
    text = " ".join(repr(value).split())
    return text if len(text) <= SHOWN else f"{text[: SHOWN - 1]}…"


def no_column(place: str, name: str, found: Iterable[str]) -> str:
    return f"{place}: no column {name!r}; there are: {', '.join(found)}"
