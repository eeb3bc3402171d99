"""What a forecast learns from its training rows: scaler, season, linear forecast; and encoded rows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Any, Protocol

import numpy as np

from zoo.data.processors import Processor, Scaler, SeriesScaler
from zoo.data.readers import Row
from zoo.data.series.framing import Channels, Framing, Normalization, full
from zoo.data.series.linear import LinearForecast, season
from zoo.data.series.values import Values
from zoo.errors import InputError, RowError
from zoo.messages import _

CHUNK = 1 << 16  # steps that are read at a time
SEASON_SERIES = 20  # series whose season is looked for
SEASON_STEPS = 20_000  # steps of each of them
LINEAR_WINDOWS = 100_000  # windows from which the linear forecast learns, at most
BATCH = 4096  # windows of a sum of products
DEFAULT_COLUMNS: dict[str, Any] = {"past": [], "future": [], "static": []}


class Sizes(Protocol):
    """The options of a forecast that frame its windows."""

    @property
    def input(self) -> int: ...
    @property
    def horizon(self) -> int: ...
    @property
    def segment(self) -> int: ...
    @property
    def channels(self) -> Channels: ...
    @property
    def normalization(self) -> Normalization: ...
    @property
    def residual(self) -> str: ...


def framing(config: Sizes, scaler: SeriesScaler) -> Framing:
    """Return how the windows of a model are framed."""
    return _framing(config, scaler.targets, scaler.past, scaler.future, scaler.static)


def _framing(config: Sizes, *counts: int) -> Framing:
    return Framing(
        config.input, config.horizon, config.segment, config.channels, config.normalization, *counts
    )


def processors(
    rows: Iterable[Row], config: Sizes, kept: dict[str, Processor]
) -> dict[str, Processor]:
    """Learn the processors that `kept` lacks from training rows, which are read several times.

    Raises InputError without rows, for rows of different columns, and for values that are not finite.
    """
    if "scaler" not in kept:
        kept["scaler"] = learn_scaler(rows, config)
    scaler = kept["scaler"]
    assert isinstance(scaler, SeriesScaler)
    if config.residual == "linear" and "linear" not in kept:
        kept["linear"] = learn_linear(rows, scaler, config.input, config.horizon)
    return kept


def learn_scaler(rows: Iterable[Row], config: Sizes) -> SeriesScaler:
    """Learn mean and deviation of each column, and the season of the targets."""
    first = next(iter(rows), None)
    if first is None:
        raise InputError("there are no training rows")
    moments = Scaler.learn(chunk for row in rows for chunk in _chunks(row))
    names = [f"{n}" for n in range(1, moments.width + 1)]
    columns = first.get("columns") or DEFAULT_COLUMNS | {"target": names, "time": None}
    frequency = first.get("frequency") or ["steps", 1]
    mean, deviation = moments.mean, moments.deviation
    if columns["static"]:
        static = Scaler.learn(np.array([row["static"]], float) for row in rows)
        mean = np.concatenate([mean, static.mean])
        deviation = np.concatenate([deviation, static.deviation])
    counts = [len(columns[role]) for role in ("target", "past", "future", "static")]
    features = _framing(config, *counts).features
    found = _season(rows, counts[0], config.input + config.horizon)
    try:
        return SeriesScaler(mean, deviation, columns, frequency, found, features)
    except ValueError as error:
        raise InputError(f"{first.source}: {error}") from None


def _chunks(row: Row) -> Iterator[np.ndarray]:
    """Yield all values of a row, (steps, columns), a chunk at a time."""
    for name in ("past", "future"):
        values = matrix(row, name)
        for start in range(0, len(values), CHUNK):
            yield np.asarray(values[start : start + CHUNK], np.float64)


def _season(rows: Iterable[Row], targets: int, least: int) -> int:
    """Return the commonest season of the targets of the first series; of two, the longer one.

    Series below `least` steps are too short to have a window, and have no say, unless all are.
    """
    some = [*islice(rows, SEASON_SERIES)]
    long = [row for row in some if len(matrix(row, "past")) + len(matrix(row, "future")) >= least]
    found: list[int] = []
    for row in long or some:
        both = [np.asarray(matrix(row, n)[-SEASON_STEPS:], np.float64) for n in ("past", "future")]
        values = np.concatenate(both)[-SEASON_STEPS:]
        found += [season(values[:, column]) for column in range(targets)]
    lengths, counts = np.unique(found, return_counts=True)
    return int(lengths[counts == counts.max()].max())


def learn_linear(
    rows: Iterable[Row], scaler: SeriesScaler, input: int, horizon: int
) -> LinearForecast:
    """Learn the linear forecast of all targets from training rows, in scaled units."""
    total = sum(max(0, _windows(row, input, horizon)) for row in rows) * scaler.targets
    if not total:
        said = _(
            "no training series is as long as input + horizon, {input} + {horizon} steps: "
            "lower task.input or task.horizon",
            input=input,
            horizon=horizon,
        )
        raise InputError(said)
    every = -(-total // LINEAR_WINDOWS)
    return LinearForecast.learn(_pairs(rows, scaler, input, horizon, every))


def _windows(row: Row, input: int, horizon: int) -> int:
    past, future = len(matrix(row, "past")), len(matrix(row, "future"))
    return past + future - (past or input) - horizon + 1


def _pairs(
    rows: Iterable[Row], scaler: SeriesScaler, input: int, horizon: int, every: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield batches of every so many windows: past (windows, input) and future (windows, horizon)."""
    waiting: list[np.ndarray] = []
    number = 0
    for row in rows:
        count = _windows(row, input, horizon)
        if count <= 0:
            continue
        both = [np.asarray(matrix(row, name), np.float64) for name in ("past", "future")]
        values = scaled(np.concatenate(both), scaler)[:, : scaler.targets]
        first = len(both[0]) or input
        front = max(0, input - first)  # steps that a window lacks are its first value
        values = full(values, len(values) + front)
        places = np.arange(-number % every, count, every) + first + front - input
        number += count
        both_parts = np.lib.stride_tricks.sliding_window_view(values, input + horizon, 0)
        for start in range(0, len(places), BATCH):
            waiting.append(both_parts[places[start : start + BATCH]].reshape(-1, input + horizon))
            if sum(map(len, waiting)) >= BATCH:
                yield _cut(waiting, input)
                waiting = []
    if waiting:
        yield _cut(waiting, input)


def _cut(parts: list[np.ndarray], input: int) -> tuple[np.ndarray, np.ndarray]:
    windows = np.concatenate(parts)
    return windows[:, :input], windows[:, input:]


def scaled(values: np.ndarray, scaler: SeriesScaler) -> np.ndarray:
    """Return values (steps, columns) scaled, without a check: future values may be unknown."""
    count = scaler.varying
    return ((values - scaler.mean[:count]) / scaler.deviation[:count]).astype(np.float32)


def matrix(row: Row, name: str) -> Any:
    """Return a column of a row as values (steps, columns), read or not. Raises RowError."""
    value = row.get(name)
    if isinstance(value, Values):
        return value
    if value is None:
        value = []
    try:
        if isinstance(value, str):  # "3.5 3.7 4.1"
            value = [float(part) for part in value.replace(",", " ").split()]
        found = np.asarray(value, np.float64)
    except (ValueError, TypeError):
        found = np.empty((0, 0, 0))
    if found.ndim == 1:
        found = found[:, None]
    if found.ndim != 2:
        said = _("column {name!r} is no list of numbers, or of lists of numbers", name=name)
        raise RowError(row.source, said)
    return found


def encode(row: Row, scaler: SeriesScaler, input: int, horizon: int) -> dict[str, Any]:
    """Return "inputs", the last scaled values of the past, and "targets", all of the future.

    Both are (steps, columns) float32, "static" (columns,). Raises RowError.
    """
    count = scaler.varying
    past = np.asarray(matrix(row, "past")[-input:], np.float64)
    if not past.size:
        past = np.empty((0, count))
    _check(row, "past", past, count)
    wrong = np.argwhere(~np.isfinite(past))
    if len(wrong):
        number = int(wrong[0][0]) + 1
        raise RowError(row.source, _("past: value {number} is no finite number", number=number))
    with np.errstate(over="ignore"):
        example: dict[str, Any] = {"inputs": scaled(past, scaler)}
    if not np.isfinite(example["inputs"]).all():
        raise RowError(row.source, _("past: its largest value is out of the range of float32"))
    if "future" in row:
        future = np.asarray(matrix(row, "future"), np.float64)
        _check(row, "future", future, count)
        example["targets"] = scaled(future, scaler)
    if scaler.future and not _has_targets(example, scaler):
        _check_known(row, scaler, horizon)
    if scaler.static:
        if "static" not in row:
            raise RowError(row.source, "no static values: " + ", ".join(scaler.columns["static"]))
        static = np.asarray(row["static"], np.float64)
        mean, deviation = scaler.mean[count:], scaler.deviation[count:]
        example["static"] = ((static - mean) / deviation).astype(np.float32)
    return example


def _check(row: Row, name: str, values: np.ndarray, count: int) -> None:
    if values.size and values.shape[1] != count:
        said = _(
            "{name}: {columns} columns, the model knows {count}",
            name=name,
            columns=values.shape[1],
            count=count,
        )
        raise RowError(row.source, said)


def _has_targets(example: Mapping[str, Any], scaler: SeriesScaler) -> bool:
    """Return whether the future values of the targets are there, as in training."""
    future = example.get("targets", ())
    return len(future) > 0 and bool(np.isfinite(future[:, : scaler.targets]).all())


def _check_known(row: Row, scaler: SeriesScaler, horizon: int) -> None:
    """Raise RowError if a covariate that is known ahead ends before the horizon."""
    known = np.asarray(matrix(row, "future")[:horizon], np.float64)
    begin = scaler.targets + scaler.past
    for place, name in enumerate(scaler.columns["future"]):
        column = known[:, begin + place] if known.size else known.ravel()
        steps = int(np.isfinite(column).sum())
        if steps < horizon:
            said = _(
                "future covariate {name!r} ends too early: {steps} steps ahead, {horizon} are needed",
                name=name,
                steps=steps,
                horizon=horizon,
            )
            raise RowError(row.source, said)
