"""Corpora of time series: one's own tables, ETT by name, and the embedded CO2 of Mauna Loa."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from zoo.data.corpora.paths import PathSetting
from zoo.data.corpora.splits import Splits
from zoo.data.readers import Row, Rows
from zoo.data.series.cells.times import check_format
from zoo.data.series.collection import Collection, Fill, cut_by_time, split_rows
from zoo.data.series.tables import Columns, Table
from zoo.errors import InputError
from zoo.messages import _

log = logging.getLogger("zoo")

Some = list[str] | str | None
Shares = tuple[
    Annotated[float, Field(gt=0, lt=1)],
    Annotated[float, Field(gt=0, lt=1)],
    Annotated[float, Field(gt=0, lt=1)],
]
PARTS = "train", "valid", "test"
HOURS = 24 * 30  # of a month of ETT
MONTHS = {"train": (0, 12), "valid": (12, 16), "test": (16, 20)}
CO2 = Path(__file__).resolve().parents[1] / "series" / "co2.csv"


def series(
    path: PathSetting,
    time: str | None = None,
    target: Some = None,
    past: Some = None,
    future: Some = None,
    static: Some = None,
    series: str | None = None,
    split: Shares = (0.7, 0.1, 0.2),
    fill: Fill = "none",
    sort: bool = False,
    decimal: Literal[".", ","] = ".",
    encoding: str | None = None,
    date_format: str | None = None,
) -> Splits:
    """Open the time series of a table: .csv, .tsv, .jsonl, or .parquet with pyarrow.

    `target` are the columns that are forecast, by default all of numbers. `past` and `future`
    are covariates that are known up to now, or ahead. With the column `series` a table is long.
    The splits follow each other in time. `date_format` is `dmy` or `mdy` of dates with the year
    last, where no day above 12 tells, or a format of `strptime`. Raises InputError.
    """
    if abs(sum(split) - 1) > 1e-6:
        raise InputError(f"data.split={[*split]}: the three shares of the time must sum to 1")
    columns = chosen_columns(time, target, past, future, static, series)
    check_format(date_format)
    table = Table(existing(path), columns, decimal, encoding, date_format)

    def parts(found: Collection) -> dict[str, list[tuple[int, int]]]:
        return cut_by_time(found, dict(zip(PARTS, split, strict=True)))

    return _splits(table, fill, sort, parts)


def ett(path: PathSetting, file: str = "ETTh1", target: Some = None) -> Splits:
    """Open the electricity transformers of Zhou et al. (2021): FOLDER/ETTh1.csv or another file.

    The usual split: 12 months of 30 days for training, 4 for validation and 4 for the test.
    """
    table = Table(existing(str(Path(path) / f"{file}.csv")), Columns("date", None, listed(target)))

    def parts(found: Collection) -> dict[str, list[tuple[int, int]]]:
        hour = 4 if file.startswith("ETTm") else 1  # values in an hour
        bounds = {name: [month * HOURS * hour for month in both] for name, both in MONTHS.items()}
        if found.series[0].length < bounds["test"][1]:
            raise InputError(f"{table.path}: too short for the split of 12, 4 and 4 months")
        return {name: [(first, end)] for name, (first, end) in bounds.items()}

    return _splits(table, "none", False, parts)


def co2(split: Shares = (0.7, 0.1, 0.2)) -> Splits:
    """Open the weekly CO2 of the air at Mauna Loa, 1958 to 2001; weeks without a value are filled."""
    return series(str(CO2), time="date", split=split, fill="last")


def _splits(
    table: Table,
    fill: Fill,
    sort: bool,
    parts: Callable[[Collection], dict[str, list[tuple[int, int]]]],
) -> Splits:
    """Return the splits of a table, which is read once, when the first row is asked for."""

    @cache
    def read() -> dict[str, Rows]:
        found = Collection(table, fill, sort)
        lengths = [one.length for one in found.series]
        span = f"{min(lengths):,}"
        if len(lengths) > 1:
            span = _("{least:,} to {most:,}", least=min(lengths), most=max(lengths))
        log.info(
            _(
                "{path}: {count:,} series of {steps} steps of {frequency}, {columns} columns",
                path=table.path,
                count=len(lengths),
                steps=span,
                frequency=found.frequency,
                columns=len(found.columns.values),
            )
        )
        for what, count in found.notes.items():
            log.info(_("{path}: {count:,} {what}", path=table.path, count=count, what=what))
        return split_rows(found, parts(found))

    def of(name: str) -> Rows:
        def rows() -> Iterator[Row]:
            return iter(read()[name])

        return Rows(rows, f"{table.path} ({name})")

    return Splits(*(of(name) for name in PARTS))


def existing(path: str) -> Path:
    """Return the path of a file. Raises InputError if it does not exist."""
    if Path(path).is_dir():
        raise InputError(_("{path}: a folder: name one file of it", path=path))
    if not Path(path).is_file():
        raise InputError(_("{path}: No such file or directory", path=path))
    return Path(path)


def listed(names: Some) -> tuple[str, ...]:
    """Return one name, several, or none as a tuple."""
    if names is None:
        return ()
    return (names,) if isinstance(names, str) else tuple(names)


def chosen_columns(
    time: str | None, target: Some, past: Some, future: Some, static: Some, series: str | None
) -> Columns:
    """Return the columns that settings name."""
    return Columns(time, series, listed(target), listed(past), listed(future), listed(static))
