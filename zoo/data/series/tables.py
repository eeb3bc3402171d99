"""Tables of time series: csv, tsv, jsonl or parquet, wide or long, as chunks of numbers.

wide   a column for each series          date, HUFL, HULL, OT
long   a row for each series and time    date, shop, sales
"""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain, islice, pairwise
from pathlib import Path
from typing import Any, Literal

import numpy as np

from zoo.data import readers
from zoo.data.readers import Row, Rows
from zoo.data.series.cells import dates, times
from zoo.data.series.cells.numbers import PointsSeen, cure_of, number
from zoo.errors import InputError, RowError
from zoo.messages import _
from zoo.text.decoding import Once, Say

ROWS = 50_000  # rows of a chunk
TIME_NAMES = "time", "date", "datetime", "timestamp", "ds", "day", "month", "year"
NUMBERED = "none"  # data.time of rows that are numbered steps


@dataclass(frozen=True)
class Columns:
    """Which columns of a table are what."""

    time: str | None = None  # None: the rows are numbered steps
    series: str | None = None  # None: one series
    target: tuple[str, ...] = ()
    past: tuple[str, ...] = ()
    future: tuple[str, ...] = ()
    static: tuple[str, ...] = ()

    @property
    def values(self) -> tuple[str, ...]:
        """All columns of numbers: targets, past and future covariates, static ones."""
        return (*self.target, *self.past, *self.future, *self.static)

    def plain(self) -> dict[str, Any]:
        """Return the names of the columns of each role as plain data."""
        roles = ("target", "past", "future", "static")
        return {"time": self.time} | {role: [*getattr(self, role)] for role in roles}


@dataclass(frozen=True)
class Chunk:
    """Neighbouring rows of a table as numbers."""

    series: list[str]  # empty: all of one series
    times: np.ndarray  # (rows,) int64
    lines: np.ndarray  # (rows,) int64: numbers of the lines in the file
    values: np.ndarray  # (rows, columns) float64; NaN is no value


@dataclass
class Table:
    """A file of series. `columns` is complete once the header is read; `dated` after the rows."""

    path: Path
    columns: Columns
    decimal: Literal[".", ","] = "."
    encoding: str | None = None
    date_format: str | None = None  # None: the year first, or what the column itself tells
    say: Say = field(default_factory=Once)
    dated: bool | None = None
    zoned: bool | None = None  # whether its times name their zone
    by_line: bool = True
    others: tuple[str, ...] = ()  # columns without a role
    points: dict[str, PointsSeen] = field(default_factory=lambda: defaultdict(PointsSeen))

    def chunks(self) -> Iterator[Chunk]:
        """Read the file in chunks. Raises RowError and InputError."""
        if self.path.suffix.lower() in (".parquet", ".pq"):
            yield from self._parquet()
            return
        rows = Rows(lambda: readers.read(self.path, self.encoding, self.say), str(self.path))
        yield from self.of_rows(rows)

    def of_rows(self, rows: Iterable[Row]) -> Iterator[Chunk]:
        """Turn rows into chunks of numbers. `rows` may be read a second time."""
        stream = iter(rows)
        first = [*islice(stream, readers.PROBED)]
        if not first:
            raise InputError(
                _(
                    "{path}: holds no rows; needed: {needed}",
                    path=self.path,
                    needed=_("one at least"),
                )
            )
        both = _date_and_clock(self.columns, first, self.date_format)
        if both is not None:
            self._say_together(both)
            first = [_together(row, both) for row in first]
            stream = (_together(row, both) for row in stream)
            self.columns = replace(self.columns, time=both[0])
        self.columns = complete(self.columns, first, self.path, self.date_format)
        self._note_others(first)
        if self.columns.time is not None and _has_year_last(first[0][self.columns.time]):
            self._find_order(rows)
        stream = chain(first, stream)
        before = 0
        while some := list(islice(stream, ROWS)):
            yield self._numbers(some, before)
            before += len(some)
        self._say_points()

    def _say_points(self) -> None:
        """Say where points that seem to stand between thousands were read as decimal points."""
        for name, seen in self.points.items():
            if not seen.between_thousands:
                continue
            said = _(
                "{place}: column {name!r} holds {cell!r}, read as {value:g}: if the point stands "
                "between thousands, add data.decimal=,",
                place=seen.place,
                name=name,
                cell=seen.cell,
                value=number(seen.cell),
            )
            self.say(said)

    def _say_together(self, both: tuple[str, str]) -> None:
        self.say(
            _(
                "{file}: the days of {date!r} and the times of {clock!r} are read together",
                file=self.path,
                date=both[0],
                clock=both[1],
            )
        )

    def _note_others(self, rows: Sequence[Row]) -> None:
        """Keep the columns without a role; log one that numbers the rows."""
        taken = {self.columns.time, self.columns.series, *self.columns.values}
        self.others = tuple(name for name in rows[0] if name not in taken)
        for name in self.others:
            if _numbers_the_rows(rows, name):
                self.say(
                    _(
                        "{file}: column {name!r} numbers the rows: it is not forecast",
                        file=self.path,
                        name=name,
                    )
                )

    def place(self, line: int) -> str:
        """Return the place of a line, for messages."""
        return f"{self.path}:{line}" if self.by_line else f"{self.path}, row {line}"

    def _numbers(self, rows: Sequence[Row], before: int) -> Chunk:
        chosen = self.columns
        names = chosen.values
        found = np.empty((len(rows), len(names)))
        stamps = np.arange(before, before + len(rows), dtype=np.int64)
        lines = np.empty(len(rows), np.int64)
        series = []
        for at, row in enumerate(rows):
            lines[at] = int(row.source.rpartition(":")[2] or 0)
            if chosen.time is not None:
                stamps[at] = self._time(row)
            if chosen.series is not None:
                series.append(_series(row, chosen.series))
            found[at] = [self._value(row, name) for name in names]
        return Chunk(series, stamps, lines, found)

    def _find_order(self, rows: Iterable[Row]) -> None:
        """Find whether dates with the year last begin with the day or the month; log it.

        The first number above 12 tells. Raises InputError where there is none.
        """
        name = self.columns.time
        if name is None or self.date_format is not None:
            return
        example = None
        for row in rows:
            order = times.order_of(row.get(name))
            example = example if order is None else example or row[name]
            if order:
                self.date_format = order
                self.say(
                    _(
                        "{path}: dates are read as {order}: {source} holds {cell!r}",
                        path=self.path,
                        order=times.ORDERS[order],
                        source=row.source,
                        cell=row[name],
                    )
                )
                return
        if example is not None:
            said = _(
                "{path}: column {name!r} holds {cell!r}, and no number above 12 in it tells day from "
                "month: set data.date_format=dmy or data.date_format=mdy",
                path=self.path,
                name=name,
                cell=str(example).strip(),
            )
            raise InputError(said)

    def _time(self, row: Row) -> int:
        name = self.columns.time
        assert name is not None
        parsed = times.parse(row.get(name), self.date_format)
        if parsed is None:
            cure = _(
                "write 2016-07-01 13:00, the year first, or numbers of steps; "
                "data.date_format=%d.%m.%y names another form"
            )
            if self.date_format is not None:
                form = times.ORDERS.get(self.date_format, self.date_format)
                cure = _("dates are read as {form}; data.date_format= changes that", form=form)
            cell = row.get(name)
            said = _(
                "column {name!r} holds {cell!r}, no time: {cure}", name=name, cell=cell, cure=cure
            )
            raise RowError(row.source, said)
        stamp, dated = parsed
        if self.dated is None:
            self.dated = dated
        if dated != self.dated:
            kinds = _("a date, numbers before it") if dated else _("a number, dates before it")
            said = _(
                "column {name!r} holds {cell!r}: {kinds}", name=name, cell=row[name], kinds=kinds
            )
            raise RowError(row.source, said)
        if dated:
            self._check_zone(row, name)
        return stamp

    def _check_zone(self, row: Row, name: str) -> None:
        """Raise RowError if one time names its zone, and another one does not."""
        zoned = times.has_zone(row[name])
        if self.zoned is None:
            self.zoned = zoned
        if zoned != self.zoned:
            said = _(
                "column {name!r} holds {cell!r}: it names no time zone, times before it do: write all "
                "in one way",
                name=name,
                cell=str(row[name]),
            )
            if zoned:
                said = _(
                    "column {name!r} holds {cell!r}: it names its time zone, times before it do not: "
                    "write all in one way",
                    name=name,
                    cell=str(row[name]),
                )
            raise RowError(row.source, said)

    def _value(self, row: Row, name: str) -> float:
        cell = row.get(name)
        if cell is None and name not in row:
            said = _("no column {name!r}; there are: {columns}", name=name, columns=", ".join(row))
            raise RowError(row.source, said)
        found = number(cell, self.decimal)
        if found is None:
            cure = cure_of(str(cell).strip())
            said = _(
                "column {name!r} holds {cell!r}, no number{cure}", name=name, cell=cell, cure=cure
            )
            raise RowError(row.source, said)
        if math.isinf(found):
            said = _("column {name!r} holds {cell!r}, no finite number", name=name, cell=cell)
            raise RowError(row.source, said)
        if self.decimal == "." and isinstance(cell, str):
            self.points[name].add(cell, row.source)
        return found

    def _parquet(self) -> Iterator[Chunk]:
        """Read a parquet file, a batch of rows at a time."""
        try:
            import pyarrow
            from pyarrow import compute, parquet
        except ImportError:
            raise InputError(
                f"{self.path}: needs the package pyarrow: pip install pyarrow"
            ) from None
        try:
            file = parquet.ParquetFile(
                self.path, pre_buffer=False
            )  # else all of it stays in memory
        except (OSError, pyarrow.ArrowInvalid) as error:
            raise InputError(f"{self.path}: {str(error).splitlines()[0]}") from None
        self.by_line = False
        probe = next(file.iter_batches(readers.PROBED), None)
        if probe is None or not len(probe):
            raise InputError(
                _(
                    "{path}: holds no rows; needed: {needed}",
                    path=self.path,
                    needed=_("one at least"),
                )
            )
        first = [Row(row, f"{self.path}:{n}") for n, row in enumerate(probe.to_pylist(), 1)]
        self.columns = complete(self.columns, first, self.path, self.date_format)
        chosen = self.columns
        if chosen.time is not None and _has_year_last(first[0][chosen.time]):
            self._find_order(self._times_of(file, chosen.time))
        wanted = [c for c in (chosen.time, chosen.series, *chosen.values) if c is not None]
        before = 0
        for batch in file.iter_batches(ROWS, columns=[*dict.fromkeys(wanted)]):
            lines = np.arange(before + 1, before + len(batch) + 1)
            stamps = lines - 1
            if chosen.time is not None:
                stamps = self._arrow_times(batch.column(chosen.time), lines, compute, pyarrow)
            values = np.empty((len(batch), len(chosen.values)))
            for place, name in enumerate(chosen.values):
                column = batch.column(name)
                try:
                    values[:, place] = column.cast(pyarrow.float64()).to_numpy(zero_copy_only=False)
                except (pyarrow.ArrowInvalid, pyarrow.ArrowNotImplementedError):
                    raise InputError(
                        f"{self.path}: column {name!r} holds {column.type}, no numbers"
                    ) from None
            series = []
            if chosen.series is not None:
                coded = batch.column(chosen.series).dictionary_encode()
                names = [str(one) for one in coded.dictionary.to_pylist()]
                if coded.null_count:
                    line = int(lines[np.flatnonzero(coded.is_null().to_numpy(False))[0]])
                    raise RowError(self.place(line), f"column {chosen.series!r} is empty")
                series = [names[code] for code in coded.indices.to_pylist()]
            yield Chunk(series, stamps, lines, values)
            before += len(batch)

    def _times_of(self, file: Any, name: str) -> Iterator[Row]:
        """Yield the column of times of a parquet file as rows."""
        number = 0
        for batch in file.iter_batches(ROWS, columns=[name]):
            for cell in batch.column(name).to_pylist():
                number += 1
                yield Row({name: cell}, self.place(number))

    def _arrow_times(
        self, column: Any, lines: np.ndarray, compute: Any, pyarrow: Any
    ) -> np.ndarray:
        """Return a column of dates, texts or whole numbers as stamps."""
        kinds = pyarrow.types
        if column.null_count:
            line = int(lines[np.flatnonzero(column.is_null().to_numpy(False))[0]])
            raise RowError(self.place(line), f"column {self.columns.time!r} is empty")
        if kinds.is_timestamp(column.type) or kinds.is_date(column.type):
            self.dated = True
            as_time = column.cast(pyarrow.timestamp("us"))
            return as_time.cast(pyarrow.int64()).to_numpy(zero_copy_only=False)
        if kinds.is_integer(column.type):
            self.dated = False
            return column.cast(pyarrow.int64()).to_numpy(zero_copy_only=False)
        name = self.columns.time
        rows = zip(column.to_pylist(), lines.tolist(), strict=True)
        found = [self._time(Row({name: cell}, self.place(line))) for cell, line in rows]
        return np.array(found, np.int64)


def _held(name: str, cell: Any) -> str:
    """Return what a column without numbers holds, and how it becomes one."""
    return _("; {name!r} holds {cell!r}{cure}", name=name, cell=cell, cure=cure_of(str(cell)))


def _first_text(rows: Sequence[Row], name: str) -> Row:
    """Return the first row whose cell is no number; the first of all if each is one."""
    return next((row for row in rows if number(row.get(name)) is None), rows[0])


def _series(row: Row, name: str) -> str:
    if row.get(name) is None or not str(row[name]).strip():
        raise RowError(row.source, _("column {name!r} is empty: which series is it of?", name=name))
    return str(row[name]).strip()


def complete(
    columns: Columns, rows: Sequence[Row], path: Path, date_format: str | None = None
) -> Columns:
    """Return the columns with the time found, and with all other columns of numbers as targets.

    Raises InputError for a column that does not exist, and without a time or a target.
    """
    there = [*rows[0]]
    roles: Mapping[str, Any] = columns.plain() | {"series": columns.series}
    for role, names in roles.items():
        for name in [names] if isinstance(names, str) else names or ():
            if name not in there and name != NUMBERED:
                said = _(
                    "{path}: no column {name!r}; there are: {columns}: set data.{role}=…",
                    path=path,
                    name=name,
                    columns=", ".join(there),
                    role=role,
                )
                raise InputError(said)
    chosen = [*columns.past, *columns.future, *columns.static]
    time = columns.time
    if time == NUMBERED:
        time = None
    elif time is None:
        free = [name for name in there if name not in (*columns.target, *chosen, columns.series)]
        named = [name for name in free if name.lower() in TIME_NAMES]
        dated = [name for name in free if _is_date(rows[0][name], date_format)]
        time = next(iter([*named, *dated]), None)
        if time is None:
            said = _(
                "{path}: no column of times; there are: {columns}: set data.time=COLUMN, "
                "or data.time=none for rows that are numbered steps",
                path=path,
                columns=", ".join(there),
            )
            raise InputError(said)
    target = columns.target
    if not target:
        taken = {time, columns.series, *chosen}
        target = tuple(
            name
            for name in there
            if name not in taken and _is_numeric(rows, name) and not _numbers_the_rows(rows, name)
        )
    if not target:
        other = next((n for n in there if n not in (time, columns.series, *chosen)), None)
        wrong = rows[0] if other is None else _first_text(rows, other)
        said = _(
            "{path}: no column of numbers to forecast{first}: set data.target=COLUMN",
            path=path if wrong is rows[0] else wrong.source,
            first="" if other is None else _held(other, wrong[other]),
        )
        raise InputError(said)
    twice = [name for name in target if name in chosen]
    if twice:
        said = _(
            "{path}: column {name!r} is a target and a covariate: choose one",
            path=path,
            name=twice[0],
        )
        raise InputError(said)
    double = next((name for name in chosen if chosen.count(name) > 1), None)
    if double is not None:
        said = _(
            "{path}: column {name!r} is named twice among the covariates: choose one",
            path=path,
            name=double,
        )
        raise InputError(said)
    return Columns(time, columns.series, target, columns.past, columns.future, columns.static)


def _is_date(cell: Any, date_format: str | None) -> bool:
    found = times.parse(cell, date_format)
    return found[1] if found is not None else _has_year_last(cell)


def _has_year_last(cell: Any) -> bool:
    """Return whether a cell is a date whose year stands last."""
    return times.order_of(cell) is not None


def _numbers_the_rows(rows: Sequence[Row], name: str) -> bool:
    """Return whether a column without a name counts the rows, as pandas writes its index."""
    if name and not re.fullmatch(r"Unnamed: \d+", name):
        return False
    cells = [number(row.get(name)) for row in rows]
    return all(cell is not None and cell == (cells[0] or 0) + n for n, cell in enumerate(cells))


def _date_and_clock(
    columns: Columns, rows: Sequence[Row], date_format: str | None
) -> tuple[str, str] | None:
    """Return the column of days and that of times of day, if a table has two, as `DATE,TIME`."""
    if columns.time == NUMBERED or date_format not in (None, *times.ORDERS):
        return None
    taken = {columns.series, *columns.values}
    free = [name for name in rows[0] if name not in taken]
    clocks = [name for name in free if all(dates.is_clock(row.get(name)) for row in rows)]
    days = [name for name in free if columns.time in (None, name)]
    for day in days:
        if not all(_is_day(row.get(day), date_format) for row in rows):
            continue
        for clock in clocks:
            pairs = [(row[day], row[clock]) for row in rows]
            if any(a[0] == b[0] and a[1] != b[1] for a, b in pairwise(pairs)):
                return day, clock
    return None


def _is_day(cell: Any, date_format: str | None) -> bool:
    """Return whether a cell is a date without a time."""
    return (
        isinstance(cell, str)
        and ":" not in cell
        and "時" not in cell
        and _is_date(cell, date_format)
    )


def _together(row: Row, both: tuple[str, str]) -> Row:
    """Return a row whose column of days holds the time of day, too."""
    day, clock = both
    if row.get(clock) is None:
        return row
    return Row({**row, day: f"{row[day]} {row[clock]}"}, row.source, row.names)


def _is_numeric(rows: Sequence[Row], name: str) -> bool:
    cells = [row.get(name) for row in rows]
    found = [number(cell) for cell in cells]
    commas = [number(cell, ",") for cell in cells]
    return all(a is not None or b is not None for a, b in zip(found, commas, strict=True))
