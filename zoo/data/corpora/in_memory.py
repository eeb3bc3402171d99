"""Rows from Python values: lists, columns, tables, arrays and iterators, for `fit`.

    ["a text", "another"], ["x", "y"]         a list for each column of the task
    {"text": [...], "label": [...]}           columns by name; also a table of pandas, Polars, Arrow
    [{"text": "a text", "label": "x"}, ...]   rows
    [("a text", "x"), ...]                    rows, in the order of the task's columns

A value that cannot be used is an error with its place: `rows[3]`, counted from 0 as Python counts.
`zoo.data.python.inputs` reads the values, and the inputs of `predict`.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from zoo.data.corpora.files import named, renamed
from zoo.data.corpora.splits import SETTINGS, TENTH, Splits, complete, last_parts
from zoo.data.python.inputs import NUMBERED, checked, listed, no_column, shown, table_of
from zoo.data.readers import Row, Rows
from zoo.errors import InputError, RowError
from zoo.option_classes import arguments
from zoo.text.decoding import Once

log = logging.getLogger("zoo")

NAME = "memory"  # of this corpus, in `data.name`

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
            own[name] = checked(own, name, texts)
        rows.append(own)
    _say_numbers(rows)
    return Rows(lambda: rows, place)


def _rows(given: Given, names: Mapping[str, str], columns: Sequence[str], place: str) -> list[Row]:
    """Return Python values as rows, not checked yet."""
    if len(given) == len(columns) > 1:
        table = {
            name: listed(column, place, name) for name, column in zip(columns, given, strict=True)
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
            raise InputError(f"{no_column(place, lost[0], found)}; {cure}")
        kept = {*names.values(), *columns}
        table = {name: listed(found[name], place, name) for name in found if name in kept}
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


def _single(one: Any, columns: Sequence[str], place: str) -> Iterator[Row]:
    """Yield the rows of a list of rows, of one column, or of the lines of a running text."""
    if isinstance(one, str) and columns == ("text",):
        values: list[Any] = one.splitlines()
    else:
        values = listed(one, place)
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
            raise RowError(source, f"{shown(value)} is no row: {cure}")


def _say_numbers(rows: Sequence[Row]) -> None:
    """Say that labels which are numbers become texts."""
    for name in NUMBERED:
        values = rows[0].get(name) if rows else None
        first = next(iter(values), None) if isinstance(values, list) else values
        if isinstance(first, (int, float)):
            log.info("labels are numbers, and are read as texts: %r is %r", first, str(first))
