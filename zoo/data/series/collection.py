"""Series of a table: grouped, ordered, checked, filled if asked, and written evenly spaced to disk.

A table larger than memory is no problem: its numbers go through files, a chunk at a time.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from zoo.data.readers import Row, Rows
from zoo.data.series.cells.times import STEPS, Frequency, find, write
from zoo.data.series.tables import Chunk, Table
from zoo.data.series.values import ValueFile, Values
from zoo.errors import InputError, RowError
from zoo.messages import _

REGULAR = 8  # equal distances that are another frequency, not gaps

Fill = Literal["none", "last", "linear"]


@dataclass(frozen=True)
class Series:
    """One evenly spaced series: where its values are, and the stamp of the first one."""

    name: str
    source: str  # file:line of its first row
    first: int  # step of `values`
    length: int
    time: int  # stamp of the first value
    static: tuple[float, ...]
    ahead: int = 0  # steps at the end that hold only what is known ahead


class Collection:
    """All series of a table: evenly spaced, without missing values, in a file of their own."""

    def __init__(
        self,
        table: Table,
        fill: Fill = "none",
        sort: bool = False,
        rows: Iterable[Row] | None = None,
        ahead: bool = False,
    ) -> None:
        """Read the table, or `rows` in its place; with `ahead` the targets may end earlier.

        Raises RowError and InputError with the line of what is wrong.
        """
        self.notes: dict[str, int] = {}
        self.frequency = STEPS
        self.series: list[Series] = []
        with tempfile.TemporaryDirectory(prefix="zoo-series-") as folder:
            # A file that is open outlives its name.
            self._read(table, Path(folder), fill, sort, rows, ahead)

    def _read(
        self,
        table: Table,
        folder: Path,
        fill: Fill,
        sort: bool,
        given: Iterable[Row] | None,
        ahead: bool,
    ) -> None:
        chunks = table.chunks() if given is None else table.of_rows(given)
        names, counts = _spool(table, chunks, folder / "rows")
        self.columns = table.columns
        kind = _record(len(self.columns.values))
        width = len(self.columns.values) - len(self.columns.static)
        ends = np.cumsum(counts)
        begun = 0
        found: Frequency | None = None if table.dated else STEPS
        with open(folder / "rows", "rb") as rows, open(folder / "values", "wb") as file:
            for name, count, end in zip(names, counts.tolist(), ends.tolist(), strict=True):
                rows.seek((end - count) * kind.itemsize)
                records = np.fromfile(rows, kind, count)
                one = _One(table, name, records, fill, sort, self.notes, ahead)
                if found is None and len(one.times) > 1:
                    found = find(one.times)
                values = one.evenly(found or STEPS)
                values[:, :width].astype(np.float64).tofile(file)
                static = one.static(width)
                self.series.append(
                    Series(name, one.source, begun, len(values), one.start, static, one.ahead)
                )
                begun += len(values)
        self.frequency = found or STEPS
        self.values = ValueFile(folder / "values", width)

    def rows(self, one: Series, first: int, origin: int, end: int) -> Row:
        """Return a series as a row: `past` up to `origin`, and `future` from there to `end`.

        Each is (steps, columns): targets, past and future covariates.
        """
        values = Values(self.values, one.first, one.first + one.length)
        columns: dict[str, Any] = {
            "past": values[first:origin],
            "future": values[origin:end],
            "series": one.name,
            "time": self.frequency.step(one.time, first),
            "frequency": [self.frequency.unit, self.frequency.count],
            "columns": self.columns.plain(),
        }
        if one.static:
            columns["static"] = [*one.static]
        return Row(columns, one.source)


class _One:
    """The rows of one series, while they are checked."""

    def __init__(
        self,
        table: Table,
        name: str,
        records: np.ndarray,
        fill: Fill,
        sort: bool,
        notes: dict[str, int],
        ahead: bool,
    ) -> None:
        self.table = table
        self.may_be_ahead = ahead
        self.ahead = 0
        self.fill = fill
        self.notes = notes
        self.named = _("series {name}: ", name=name) if name else ""
        self.source = table.place(int(records["line"][0]))
        self.dated = bool(table.dated)
        if (np.diff(records["time"]) < 0).any():
            if not sort:
                self._refuse_unsorted(records)
            records = records[np.argsort(records["time"], kind="stable")]
            self._count(_("series were sorted by time"))
        double = np.flatnonzero(np.diff(records["time"]) == 0)
        if len(double):
            line, again = (int(records["line"][double[0] + n]) for n in (0, 1))
            stamp = self._stamp(int(records["time"][double[0]]))
            said = _(
                "{stamp} stands twice, first in line {line}: remove one of them",
                stamp=stamp,
                line=line,
            )
            if table.columns.series is None:
                column = next(iter(table.others), "COLUMN")
                said += _(
                    "; of several series in one file: set data.series={column}", column=column
                )
            raise RowError(table.place(again), self.named + said)
        self.records = records
        self.times = records["time"]
        self.start = int(self.times[0])

    def _stamp(self, time: int) -> str:
        return write(time, Frequency("microseconds", 1) if self.dated else STEPS)

    def _refuse_unsorted(self, records: np.ndarray) -> None:
        place = int(np.flatnonzero(np.diff(records["time"]) < 0)[0])
        before, after = (self._stamp(int(records["time"][place + n])) for n in (0, 1))
        said = _(
            "{after} comes after {before}: sort the rows by time, or set data.sort=true",
            after=after,
            before=before,
        )
        raise RowError(self.table.place(int(records["line"][place + 1])), self.named + said)

    def _count(self, what: str, count: int = 1) -> None:
        self.notes[what] = self.notes.get(what, 0) + count

    def evenly(self, frequency: Frequency) -> np.ndarray:
        """Return the values (steps, columns) at every step from the first to the last."""
        places = frequency.positions(self.times)
        between = np.flatnonzero(places != np.round(places))
        if len(between):
            line = int(self.records["line"][between[0]])
            said = _(
                "{stamp} is not a whole number of steps of {frequency} after the first: "
                "one file has one frequency",
                stamp=self._stamp(int(self.times[between[0]])),
                frequency=frequency,
            )
            raise RowError(self.table.place(line), self.named + said)
        whole = places.astype(np.int64)
        missing = np.flatnonzero(np.diff(whole) > 1)
        if len(missing) and self.fill == "none":
            place = int(missing[0])
            count = int(whole[place + 1] - whole[place] - 1)
            after = self._stamp(int(self.times[place]))
            where = self.table.place(int(self.records["line"][place + 1]))
            self._refuse_a_second(frequency, np.diff(whole)[place:], where)
            steps = _("1 step") if count == 1 else _("{count} steps", count=count)
            said = _(
                "{steps} of {frequency} missing after {after}: "
                "data.fill=last or data.fill=linear fills gaps",
                steps=steps,
                frequency=frequency,
                after=after,
            )
            if frequency == STEPS:
                said += _("; if the numbers are dates: set data.date_format, such as %Y%m")
            raise RowError(where, self.named + said)
        values = self.records["values"]
        if len(missing):
            spread = np.full((int(whole[-1]) + 1, values.shape[1]), np.nan)
            spread[whole] = values
            self._count(_("missing steps were filled"), len(spread) - len(values))
            values = spread
        return self._without_holes(values, frequency, len(missing) > 0)

    def _refuse_a_second(self, frequency: Frequency, steps: np.ndarray, where: str) -> None:
        """Raise RowError if the distances from a line on, in steps, are those of another frequency."""
        other = steps == steps[0]
        if len(steps) >= REGULAR and other[:REGULAR].all():
            if frequency == STEPS:
                said = _(
                    "the times are numbers that rise by {step}, and numbers of steps rise by 1: "
                    "write dates, or set data.time=none",
                    step=int(steps[0]),
                )
                raise RowError(where, self.named + said)
            second = Frequency(frequency.unit, frequency.count * int(steps[0]))
            said = _(
                "values every {second} from here on, every {frequency} elsewhere: "
                "one file has one frequency",
                second=second,
                frequency=frequency,
            )
            raise RowError(where, self.named + said)

    def _without_holes(self, values: np.ndarray, frequency: Frequency, spread: bool) -> np.ndarray:
        """Fill the cells without a value, and cut the steps before all columns have one."""
        empty = np.isnan(values)
        if not empty.any():
            return values
        names = self.table.columns.values
        if self.may_be_ahead:
            targets = len(self.table.columns.target)
            told = np.flatnonzero(~empty[:, :targets].all(1))
            self.ahead = len(empty) - 1 - int(told[-1]) if len(told) else 0
            until = targets + len(self.table.columns.past)
            empty[len(empty) - self.ahead :, :until] = False
            if not empty.any():
                return values
        if self.fill == "none":
            step, column = (int(i) for i in np.argwhere(empty)[0])
            line = int(self.records["line"][step])
            what = self.named + _("column {name!r} has no value", name=names[column])
            filled = np.flatnonzero(~empty[:, column])
            if step == 0 and len(filled):
                starts = self.table.place(int(self.records["line"][filled[0]]))
                cure = _(
                    "it starts at {starts}; data.fill=last cuts the steps before", starts=starts
                )
            else:
                cure = _("data.fill=last or data.fill=linear fills it")
            raise RowError(self.table.place(line), _("{what}: {cure}", what=what, cure=cure))
        for column in np.flatnonzero(empty.all(0)).tolist():
            said = _("column {name!r} has no value at all", name=names[column])
            raise RowError(self.source, self.named + said)
        first = int((~empty).argmax(0).max())
        last = int((~empty)[::-1].argmax(0).max())
        if first or last:
            self._count(_("steps at an end were cut, where a column has no value"), first + last)
            self.start = frequency.step(self.start, first)
            values, empty = values[first : len(values) - last], empty[first : len(empty) - last]
            if not len(values):
                said = _("no step has a value in every column")
                raise RowError(self.source, self.named + said)
        values = values.copy()
        steps = np.arange(len(values))
        for column in np.flatnonzero(empty.any(0)).tolist():
            holes, known = empty[:, column], np.flatnonzero(~empty[:, column])
            if self.fill == "linear":
                values[holes, column] = np.interp(steps[holes], known, values[known, column])
            else:
                latest = known[np.searchsorted(known, steps[holes], "right") - 1]
                values[holes, column] = values[latest, column]
        if not spread:
            self._count(_("cells without a value were filled"), int(empty.sum()))
        return values

    def static(self, width: int) -> tuple[float, ...]:
        """Return the static values, which are the same in all rows."""
        values = self.records["values"][:, width:]
        differs = np.argwhere((values != values[:1]) & ~np.isnan(values))
        if len(differs):
            step, column = (int(i) for i in differs[0])
            name = self.table.columns.static[column]
            place = self.table.place(int(self.records["line"][step]))
            said = _("static column {name!r} changes within the series", name=name)
            raise RowError(place, self.named + said)
        return tuple(values[0].tolist())


def _record(columns: int) -> np.dtype:
    return np.dtype([("time", np.int64), ("line", np.int64), ("values", np.float64, (columns,))])


def _spool(table: Table, chunks: Iterable[Chunk], path: Path) -> tuple[list[str], np.ndarray]:
    """Write the rows of a table, series by series; return the names and the counts of rows."""
    numbers: dict[str, int] = {}
    counts: list[int] = []
    last, grouped = 0, True
    marks = path.with_suffix(".series")
    with open(path, "wb") as file, open(marks, "wb") as series:
        for chunk in chunks:
            of_rows = _numbers(chunk, numbers, counts)
            kind = _record(len(table.columns.values))
            records = np.empty(len(chunk.times), kind)
            records["time"], records["line"] = chunk.times, chunk.lines
            records["values"] = chunk.values
            grouped = grouped and last <= of_rows[0] and bool((np.diff(of_rows) >= 0).all())
            last = int(of_rows[-1])
            records.tofile(file)
            of_rows.tofile(series)
    if not counts:
        needed = _("one at least")
        said = _("{path}: holds no rows; needed: {needed}", path=table.path, needed=needed)
        raise InputError(said)
    total = np.array(counts)
    if not grouped:
        _group(path, marks, total, kind)
    marks.unlink()
    return [*numbers], total


def _numbers(chunk: Chunk, numbers: dict[str, int], counts: list[int]) -> np.ndarray:
    """Return the number of the series of each row, and count the rows of each."""
    names = chunk.series or [""] * len(chunk.times)
    found = np.array([numbers.setdefault(name, len(numbers)) for name in names], np.int32)
    counts += [0] * (len(numbers) - len(counts))
    for number, count in zip(*np.unique(found, return_counts=True), strict=True):
        counts[number] += int(count)
    return found


def _group(path: Path, marks: Path, counts: np.ndarray, kind: np.dtype) -> None:
    """Bring the rows of each series together; their order within a series stays."""
    places = np.cumsum(counts) - counts
    grouped = path.with_suffix(".grouped")
    chunk = max(1, (64 << 20) // kind.itemsize)
    with open(path, "rb") as rows, open(marks, "rb") as series, open(grouped, "wb") as file:
        while True:
            records = np.fromfile(rows, kind, chunk)
            if not len(records):
                break
            of_rows = np.fromfile(series, np.int32, len(records))
            order = np.argsort(of_rows, kind="stable")
            cuts = np.flatnonzero(np.diff(of_rows[order])) + 1
            for part in np.split(order, cuts):
                number = of_rows[part[0]]
                file.seek(int(places[number]) * kind.itemsize)
                file.write(records[part].tobytes())
                places[number] += len(part)
    grouped.replace(path)


def cut_by_time(
    collection: Collection, shares: Mapping[str, float]
) -> dict[str, list[tuple[int, int]]]:
    """Return for each split the first step and the end in each series, cut at the same times.

    `shares` are parts of the time from the first stamp of all series to the last one.
    """
    frequency = collection.frequency
    starts = np.array([one.time for one in collection.series])
    lengths = np.array([one.length for one in collection.series])
    earliest = int(starts.min())
    if frequency.unit == "months":
        months = starts.view("datetime64[us]").astype("datetime64[M]").astype(np.int64)
        offsets = (months - months.min()) // frequency.count
    else:
        offsets = -((earliest - starts) // frequency.count)  # rounded up
    total = int((offsets + lengths).max())
    cuts, passed = [0], 0.0
    for share in shares.values():
        passed += share
        cuts.append(round(total * min(1.0, passed)))
    cuts[-1] = total
    found: dict[str, list[tuple[int, int]]] = {}
    for name, first, end in zip(shares, cuts[:-1], cuts[1:], strict=True):
        low = np.clip(first - offsets, 0, lengths)
        high = np.clip(end - offsets, 0, lengths)
        found[name] = [*zip(low.tolist(), high.tolist(), strict=True)]
    return found


def split_rows(
    collection: Collection, parts: Mapping[str, list[tuple[int, int]]]
) -> dict[str, Rows]:
    """Return the rows of each split: a row for each series that reaches into it.

    The `past` of a training row is empty; that of a later split is all that came before.
    """

    def read(name: str) -> Iterator[Row]:
        for one, (first, end) in zip(collection.series, parts[name], strict=True):
            if end > first:
                yield collection.rows(one, 0, first, end)

    def rows(name: str, source: str) -> Rows:
        return Rows(lambda: read(name), source)

    path = str(collection.series[0].source).rpartition(":")[0]
    return {name: rows(name, f"{path} ({name})") for name in parts}
