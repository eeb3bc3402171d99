"""Series that a model is asked about: values, frames, or a table whose times go on."""

from __future__ import annotations

import csv
import io
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, Literal

import numpy as np

from zoo.data import readers
from zoo.data.processors import SeriesScaler
from zoo.data.readers import Row
from zoo.data.series.cells.times import check_format, parse, write
from zoo.data.series.collection import Collection, Fill
from zoo.data.series.learning import matrix
from zoo.data.series.tables import NUMBERED, Columns, Table
from zoo.errors import InputError, RowError
from zoo.messages import _

log = logging.getLogger("zoo")


def rows_of_table(
    path: Path,
    scaler: SeriesScaler,
    series: str | None = None,
    fill: Fill = "none",
    sort: bool = False,
    decimal: Literal[".", ","] = ".",
    encoding: str | None = None,
    date_format: str | None = None,
    rows: Iterable[Row] | None = None,
) -> Iterator[Row]:
    """Yield each series of a table as a row: `past`, and `future` if covariates are known ahead.

    The forecast begins behind the last value of the targets. Rows behind it hold only what is known
    ahead. Raises RowError and InputError.
    """
    if rows is None and path.name.lower().removesuffix(".gz").endswith(".jsonl"):
        stream = readers.read(path, encoding)
        first = next(stream)
        if "past" in first:  # a row for each series
            yield from map(_with_past, chain([first], stream))
            return
    check_format(date_format)
    names = scaler.columns
    roles = [tuple(names[role]) for role in ("target", "past", "future", "static")]
    time = names.get("time") or NUMBERED
    table = Table(path, Columns(time, series, *roles), decimal, encoding, date_format)
    found = Collection(table, fill, sort, rows, ahead=bool(scaler.future))
    if found.frequency != scaler.frequency and any(one.length > 1 for one in found.series):
        said = _(
            "{path}: a value every {frequency}, the model knows one every {known}",
            path=path,
            frequency=found.frequency,
            known=scaler.frequency,
        )
        raise InputError(said)
    for one in found.series:
        row = found.rows(one, 0, one.length - one.ahead, one.length)
        if not one.ahead:
            del row["future"]
        yield _with_past(row)


def rows_of_values(values: Any, scaler: SeriesScaler) -> list[Row]:
    """Return rows of values: one series (steps,) or (steps, columns), or a list of such.

    A frame of pandas is a table. A row, {"past": …}, is taken as it is. Raises InputError.
    """
    if isinstance(values, Mapping) and "past" in values:
        return [_with_past(Row(dict(values), "input 1"))]
    if hasattr(values, "to_dict") and hasattr(values, "index"):
        return [*_rows_of_frame(values, scaler)]
    if isinstance(values, (list, tuple)) and values:
        rows = [isinstance(one, (Mapping, str)) for one in values]
        several = all(a or np.ndim(b) >= 1 for a, b in zip(rows, values, strict=True))
        if several and (any(rows) or not _is_matrix(values, scaler)):
            return [
                _with_past(
                    Row(dict(one) if isinstance(one, Mapping) else {"past": one}, f"input {number}")
                )
                for number, one in enumerate(values, 1)
            ]
    return [_with_past(Row({"past": values}, "input 1"))]


def _with_past(row: Row) -> Row:
    """Return a row that has a value of the past at least. Raises RowError for another."""
    if not np.asarray(matrix(row, "past")[-1:]).size:
        raise RowError(row.source, _("no past value: a forecast needs one at least"))
    return row


def _is_matrix(values: Sequence[Any], scaler: SeriesScaler) -> bool:
    """Return whether a list of lists is one series: a list for each step, a number a column."""
    if scaler.varying == 1 and any(np.ndim(one) != 1 or len(one) != 1 for one in values):
        return False
    return all(np.ndim(one) == 1 and len(one) == scaler.varying for one in values)


def _rows_of_frame(frame: Any, scaler: SeriesScaler) -> Iterator[Row]:
    names = scaler.columns
    if getattr(frame, "ndim", 2) == 1:
        frame = frame.to_frame(names["target"][0])
    time = names.get("time")
    if time is not None and time not in frame:
        frame = frame.reset_index(names=time)
    records = frame.to_dict("records")
    plain = [Row(_plain(record), f"frame:{n}") for n, record in enumerate(records, 1)]
    return rows_of_table(Path("frame"), scaler, rows=plain)


def _plain(record: Mapping[Any, Any]) -> dict[str, Any]:
    """Return a record with dates of Python, and NaN for what is missing."""
    found = {}
    for name, value in record.items():
        as_date = getattr(value, "to_pydatetime", None)
        found[str(name)] = as_date() if as_date is not None else value
    return found


def go_on(row: Row, answer: Mapping[str, Any], scaler: SeriesScaler) -> Row:
    """Return a row whose past goes on with a forecast, to forecast what follows it.

    Raises InputError for a model that reads covariates: theirs are not forecast.
    """
    if scaler.past or scaler.future:
        raise InputError(
            "horizon=… beyond that of the model: it reads covariates, which it does not forecast"
        )
    past = np.asarray(matrix(row, "past"), np.float64).reshape(-1, scaler.varying)
    made = np.asarray(answer["forecast"], np.float64).reshape(-1, scaler.targets)
    kept = {name: value for name, value in row.items() if name not in ("past", "future")}
    return Row({**kept, "past": np.concatenate([past, made])}, row.source)


def answers_of(
    forecast: np.ndarray, quantiles: np.ndarray, levels: Sequence[float]
) -> list[dict[str, Any]]:
    """Return the answer to each window: {"forecast": values, "quantiles": {level: values}}.

    forecast: (windows, horizon, targets). quantiles: (windows, horizon, targets, levels). Values are
    a list of numbers, or of lists with a number for each target.
    """
    answers = []
    for window, values in enumerate(forecast):
        answer: dict[str, Any] = {"forecast": _listed(values)}
        if levels:
            by_level = np.moveaxis(quantiles[window], -1, 0)
            answer["quantiles"] = dict(zip(map(str, levels), map(_listed, by_level), strict=True))
        answers.append(answer)
    return answers


def _listed(values: np.ndarray) -> list[Any]:
    """Return values (horizon, targets) as a list of numbers, or of lists if there are targets."""
    return (values[:, 0] if values.shape[1] == 1 else values).tolist()


def named(answer: dict[str, Any], row: Row, scaler: SeriesScaler) -> dict[str, Any]:
    """Return an answer with the name of the series and its times, if they are known.

    "time" of the row is that of its first past value: a stamp, or a date as text. Raises RowError.
    """
    known: dict[str, Any] = {}
    if row.get("series"):
        known["series"] = row["series"]
    if "time" in row:
        frequency = scaler.frequency
        begins = parse(row["time"])
        if begins is None:
            raise RowError(
                row.source, f"time: {row['time']!r} is no date, such as 2016-07-01 13:00"
            )
        first = frequency.step(begins[0], len(matrix(row, "past")))
        steps = range(len(answer["forecast"]))
        known["times"] = [write(frequency.step(first, n), frequency) for n in steps]
    return known | answer


def forecasts(
    rows: Iterable[Row],
    answer: Callable[[list[Row]], Iterable[dict[str, Any]]],
    scaler: SeriesScaler,
    reads: int,
    own: int,
    horizon: int | None = None,
) -> Iterator[tuple[Row, dict[str, Any]]]:
    """Yield each row with the forecast of its next `horizon` values, by default the model's `own`.

    `answer` gives the answers of the model, which reads so many values; a longer horizon is reached
    by reading its own forecast. Raises InputError for a horizon below 1.
    """
    if horizon is not None and horizon < 1:
        raise InputError(f"horizon={horizon}: Input should be greater than or equal to 1")
    kept = list(rows)
    _say_short(kept, reads)
    for row, found in zip(kept, answer(kept), strict=True):
        steps, longer = horizon or own, dict(found)
        while len(longer["forecast"]) < steps:
            after = go_on(row, longer, scaler)
            longer = _joined(longer, next(iter(answer([after]))))
        yield row, _cut(longer, steps)


def _say_short(rows: Sequence[Row], reads: int) -> None:
    """Log how many series have fewer values than are read."""
    lengths = [len(matrix(row, "past")) for row in rows]
    short = [n for n, length in enumerate(lengths) if length < reads]
    if short:
        log.info(
            "%s: %d values, %d are read: the first is repeated before it%s",
            rows[short[0]].source,
            lengths[short[0]],
            reads,
            f"; so for {len(short) - 1:,} more series" if len(short) > 1 else "",
        )


def _joined(first: dict[str, Any], then: Mapping[str, Any]) -> dict[str, Any]:
    """Return a forecast with the one that goes on from its end."""
    joined = dict(first)
    for name in ("forecast", "times"):
        if name in first:
            joined[name] = [*first[name], *then[name]]
    if "quantiles" in first:
        levels = first["quantiles"]
        joined["quantiles"] = {q: [*levels[q], *then["quantiles"][q]] for q in levels}
    return joined


def _cut(answer: dict[str, Any], steps: int) -> dict[str, Any]:
    """Return the first steps of a forecast."""
    shorter = {n: v[:steps] if n in ("forecast", "times") else v for n, v in answer.items()}
    if "quantiles" in answer:
        shorter["quantiles"] = {q: values[:steps] for q, values in answer["quantiles"].items()}
    return shorter


def table_of(
    answers: Iterable[tuple[Row, Mapping[str, Any]]],
    scaler: SeriesScaler,
    series: str | None,
    form: str,
) -> Iterator[str]:
    """Yield a table of forecasts as text, piece by piece: csv, tsv or jsonl.

    A row holds the series, the time, and for each target the forecast and its quantiles, as
    `load` and `load_0.1`.
    """
    import json

    targets = scaler.columns["target"]
    time = scaler.columns.get("time") or "step"
    header: list[str] | None = None
    for row, answer in answers:
        steps = len(answer["forecast"])
        stamps = answer.get("times") or [*range(1, steps + 1)]
        columns: dict[str, Sequence[Any]] = {}
        if series is not None:
            columns[series] = [row.get("series", "")] * steps
        columns[time] = stamps
        parts = {"": answer["forecast"]}
        parts |= {f"_{level}": values for level, values in answer.get("quantiles", {}).items()}
        for place, name in enumerate(targets):
            for suffix, values in parts.items():
                by_target = np.asarray(values).reshape(steps, len(targets))[:, place]
                columns[name + suffix] = [float(f"{value:.7g}") for value in by_target]
        lines = [
            dict(zip(columns, cells, strict=True)) for cells in zip(*columns.values(), strict=True)
        ]
        if form == "jsonl":
            yield "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
            continue
        text = io.StringIO()
        writer = csv.writer(text, delimiter="\t" if form == "tsv" else ",", lineterminator="\n")
        if header is None:
            header = [*columns]
            writer.writerow(header)
        writer.writerows([*line.values()] for line in lines)
        yield text.getvalue()
