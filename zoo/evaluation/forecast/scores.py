"""Scores of forecasts, and yardsticks without a neural network, on the same windows.

An answer to a series holds "origins" (windows,), counted from the end of its past, and "forecast"
(windows, horizon, targets). That of a single window has no origins, and plain lists.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from zoo.data.processors import SeriesScaler
from zoo.data.readers import Row
from zoo.data.series.framing import full
from zoo.data.series.learning import Sizes, learn_linear, matrix
from zoo.data.series.linear import LinearForecast, seasonal_naive
from zoo.data.series.windows import evenly
from zoo.messages import _

log = logging.getLogger("zoo")

Answer = Mapping[str, Any]
LEAST_SUM = 1e-12
BATCH = 4096  # windows of a yardstick


def scores(
    answers: Iterable[Answer], rows: Iterable[Row], scaler: SeriesScaler, levels: Sequence[float]
) -> dict[str, float]:
    """Return mae and mse in scaled units, both in units, mase, smape, and of quantiles wql and coverage.

    All are means over windows, steps and targets. mase divides by the error of the seasonal naive
    forecast in the past. wql is the mean over the levels of twice the pinball loss by the sum of
    absolute values. coverage is the share of the values between the outermost levels.
    """
    total = _Totals(levels)
    for answer, row in zip(answers, rows, strict=True):
        wanted = targets_of(answer, row, scaler)
        if len(wanted):
            total.add(answer, wanted, scaler, _naive_error(row, scaler))
    return total.scores()


def say_who_is_ahead(found: Mapping[str, float]) -> None:
    """Log whether the LSTM or the linear forecast that it starts from is ahead on the test."""
    if "mae_linear" in found:
        own, linear = found["mae"], found["mae_linear"]
        log.info(
            _(
                "test: mae {own:.4f}, of the linear forecast alone {linear:.4f}: {ahead}",
                own=own,
                linear=linear,
                ahead=_("the LSTM is ahead") if own < linear else _("the linear forecast is ahead"),
            )
        )


def targets_of(answer: Answer, row: Row, scaler: SeriesScaler) -> np.ndarray:
    """Return the true values (windows, horizon, targets) of the windows of an answer."""
    future = np.asarray(matrix(row, "future"), np.float64)[:, : scaler.targets]
    found = np.asarray(answer["forecast"]) if "forecast" in answer else np.empty((0, 1))
    if "origins" not in answer:
        return future[: len(found)][None]
    origins = np.asarray(answer["origins"])
    if not len(origins):
        return np.empty((0, 1, scaler.targets))
    return windows(future, found.shape[1])[origins]


def windows(values: np.ndarray, steps: int) -> np.ndarray:
    """Return all windows (windows, steps, columns) of values (time, columns), as a view."""
    return np.lib.stride_tricks.sliding_window_view(values, steps, 0).transpose(0, 2, 1)


class _Totals:
    """Sums of errors over windows."""

    def __init__(self, levels: Sequence[float]) -> None:
        self.levels = np.array(levels)
        self.sums: dict[str, float] = {}
        self.pinball = np.zeros(len(levels))

    def _add(self, name: str, values: np.ndarray | float, count: float = 1.0) -> None:
        self.sums[name] = self.sums.get(name, 0.0) + float(np.sum(values))
        self.sums[f"{name} count"] = self.sums.get(f"{name} count", 0.0) + count

    def add(
        self, answer: Answer, wanted: np.ndarray, scaler: SeriesScaler, naive: np.ndarray
    ) -> None:
        """Add the windows of an answer. wanted: (windows, horizon, targets); naive: (targets,)."""
        found = np.asarray(answer["forecast"], np.float64).reshape(wanted.shape)
        error = found - wanted
        size = error.size
        small = error / scaler.deviation[: scaler.targets]
        self._add("mae", np.abs(small), size)
        self._add("mse", small**2, size)
        if "base" in answer:
            alone = (np.asarray(answer["base"]) - wanted) / scaler.deviation[: scaler.targets]
            self._add("mae_linear", np.abs(alone), size)
            self._add("mse_linear", alone**2, size)
        self._add("mae_units", np.abs(error), size)
        self._add("mse_units", error**2, size)
        known = np.isfinite(naive)
        if known.any():
            by_target = (np.abs(error).mean((0, 1)) / naive)[known]
            self._add("mase", by_target.mean() * len(error), len(error))
        both = np.abs(found) + np.abs(wanted)
        self._add("smape", 200 * np.abs(error) / np.maximum(both, LEAST_SUM), size)
        if "loss" in answer:
            self._add("loss", answer["loss"], len(np.atleast_1d(answer["loss"])))
        if "quantiles" in answer and len(self.levels):
            self._add_quantiles(_quantiles(answer, wanted.shape), wanted)

    def _add_quantiles(self, found: np.ndarray, wanted: np.ndarray) -> None:
        """found: (windows, horizon, targets, levels)."""
        gap = wanted[..., None] - found
        losses = np.maximum(self.levels * gap, (self.levels - 1) * gap)
        self.pinball += losses.reshape(-1, len(self.levels)).sum(0)
        self._add("absolute", np.abs(wanted))
        inside = (wanted >= found[..., 0]) & (wanted <= found[..., -1])
        self._add("coverage", inside, inside.size)

    def scores(self) -> dict[str, float]:
        """Return the means."""
        names = ["mae", "mse", "mae_linear", "mse_linear"]
        names += ["mae_units", "mse_units", "mase", "smape"]
        found = {name: self._mean(name) for name in names if f"{name} count" in self.sums}
        if "coverage" in self.sums:
            wql = 2 * self.pinball / max(LEAST_SUM, self.sums["absolute"])
            found |= {"wql": float(wql.mean()), "coverage": self._mean("coverage")}
        if "loss" in self.sums:
            found["loss"] = self._mean("loss")
        return found or {"mae": float("nan")}

    def _mean(self, name: str) -> float:
        return self.sums[name] / max(1.0, self.sums[f"{name} count"])


def _quantiles(answer: Answer, shape: tuple[int, ...]) -> np.ndarray:
    found = answer["quantiles"]
    if isinstance(found, Mapping):
        found = np.stack([np.asarray(q, np.float64).reshape(shape) for q in found.values()], -1)
    return np.asarray(found, np.float64)


def _naive_error(row: Row, scaler: SeriesScaler) -> np.ndarray:
    """Return the mean error (targets,) of the seasonal naive forecast in the past; NaN if unknown."""
    past = np.asarray(matrix(row, "past"), np.float64)
    if past.size == 0:
        return np.full(scaler.targets, np.nan)
    past = past[:, : scaler.targets]
    season = scaler.season if len(past) > scaler.season else 1
    if len(past) <= season:
        return np.full(scaler.targets, np.nan)
    found = np.abs(past[season:] - past[:-season]).mean(0)
    return np.where(found > 0, found, np.nan)


def best_share(
    answers: Sequence[Answer],
    rows: Sequence[Row],
    scaler: SeriesScaler,
    shares: Sequence[float],
    now: float,
    squared: bool = False,
) -> float:
    """Return the share of what the LSTM adds to the base that has the least absolute error, or square.

    The answers were made with the share `now`, which is 1 unless a model was trained before.
    """
    errors = dict.fromkeys(shares, 0.0)
    for answer, row in zip(answers, rows, strict=True):
        wanted = targets_of(answer, row, scaler)
        for share in shares if len(wanted) else ():
            found = with_share(answer, share / (now or 1.0))["forecast"]
            error = np.abs(found - wanted) / scaler.deviation[: scaler.targets]
            errors[share] += float((error**2 if squared else error).sum())
    return min(shares, key=lambda share: (errors[share], share))


def with_share(answer: Answer, factor: float) -> Answer:
    """Return an answer with what was added to its base times a factor; the spreads stay."""
    if "base" not in answer:
        return answer
    change = (factor - 1) * (np.asarray(answer["forecast"]) - answer["base"])
    changed = {**answer, "forecast": answer["forecast"] + change}
    if "quantiles" in answer:
        changed["quantiles"] = answer["quantiles"] + change[..., None]
    return changed


Method = Callable[[np.ndarray], np.ndarray]


def of_season(answer: Answer, row: Row, scaler: SeriesScaler) -> Answer:
    """Return the seasonal naive forecasts of the windows of an answer, as an answer."""
    origins = np.asarray(answer["origins"])
    horizon = np.asarray(answer["forecast"]).shape[1] if len(origins) else 1
    if not len(origins):
        return answer
    past, _ = _around(row, origins, max(1, scaler.season), horizon, scaler.targets)
    flat = past.transpose(0, 2, 1).reshape(-1, past.shape[1])
    found = seasonal_naive(flat, horizon, scaler.season)
    shape = (len(origins), scaler.targets, horizon)
    return {"origins": origins, "forecast": found.reshape(shape).transpose(0, 2, 1)}


def yardsticks(
    rows: Iterable[Row],
    scaler: SeriesScaler,
    linear: LinearForecast,
    origins: Callable[[int], np.ndarray],
) -> dict[str, dict[str, float]]:
    """Return the scores of naive, seasonal naive and linear forecasts of the targets.

    `origins` gives the origins within a number of windows.
    """
    input, horizon = linear.weight.shape
    season = scaler.season
    methods: dict[str, Method] = {"naive": lambda past: seasonal_naive(past, horizon, 1)}
    if season > 1:
        methods[f"seasonal naive ({season})"] = lambda past: seasonal_naive(past, horizon, season)
    methods["NLinear in closed form"] = lambda past: linear.encode(past[:, -input:])
    totals = {name: _Totals(()) for name in methods}
    seconds = dict.fromkeys(methods, 0.0)
    count = scaler.targets
    for row in rows:
        future = matrix(row, "future")
        chosen = origins(len(future) - horizon + 1)
        naive = _naive_error(row, scaler)
        for start in range(0, len(chosen), BATCH):
            some = chosen[start : start + BATCH]
            past, wanted = _around(row, some, max(input, season), horizon, count)
            for name, method in methods.items():
                begun = time.perf_counter()
                flat = scaled_targets(past, scaler).transpose(0, 2, 1).reshape(-1, past.shape[1])
                found = method(flat).reshape(len(past), count, horizon).transpose(0, 2, 1)
                seconds[name] += time.perf_counter() - begun
                units = found * scaler.deviation[:count] + scaler.mean[:count]
                totals[name].add({"forecast": units}, wanted, scaler, naive)
    return {name: total.scores() | {"seconds": seconds[name]} for name, total in totals.items()}


def best_yardstick(
    train: Iterable[Row],
    test: Sequence[Row],
    scaler: SeriesScaler,
    linear: LinearForecast | None,
    sizes: Sizes,
    origins: int | None,
    most: int,
) -> dict[str, Any]:
    """Measure all yardsticks on the windows of `test`, log each, and return that of the least mae.

    `origins` are tested of each series, or all, at most about `most` windows.
    """
    start = time.perf_counter()
    asked = {} if origins is None else {"origins": origins}
    train = list(train)
    if linear is None:
        linear = learn_linear(train, scaler, sizes.input, sizes.horizon)
    count = sum(max(0, len(matrix(row, "future")) - sizes.horizon + 1) for row in test)
    if origins is None and count > most:
        origins = max(1, most // len(test))

    def chosen(windows: int) -> np.ndarray:
        return evenly(windows, origins)

    found = yardsticks(test, scaler, linear, chosen)
    for name, values in found.items():
        log.info(
            _(
                "yardstick {name}: mae {mae:.4f}, mse {mse:.4f}",
                name=name,
                mae=values["mae"],
                mse=values["mse"],
            )
        )
    best = min(found, key=lambda name: found[name]["mae"])
    passed = round(time.perf_counter() - start, 1)
    return {"method": best, **found[best], **asked, "rows": len(train), "seconds": passed}


def scaled_targets(values: np.ndarray, scaler: SeriesScaler) -> np.ndarray:
    """Return values (windows, steps, targets) scaled."""
    count = scaler.targets
    return (values - scaler.mean[:count]) / scaler.deviation[:count]


def _around(
    row: Row, origins: np.ndarray, steps: int, horizon: int, targets: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return the past (windows, steps, targets) and the future (windows, horizon, targets)."""
    past = np.asarray(matrix(row, "past")[-steps:], np.float64)
    first, last = int(origins.min()), int(origins.max())
    begin = max(0, first - steps)
    future = np.asarray(matrix(row, "future")[begin : last + horizon], np.float64)
    parts = [part for part in (past, future) if part.size]
    if begin:  # the past lies too far back
        parts, past = [future], past[:0]
    values = np.concatenate(parts)[:, :targets]
    front = max(0, steps - (len(past) + first - begin))
    values = full(values, len(values) + front)
    places = front + len(past) + origins - begin
    found = windows(values, steps + horizon)[places - steps]
    return found[:, :steps], found[:, steps:]


def by_horizon(
    answers: Iterable[Answer], rows: Iterable[Row], scaler: SeriesScaler
) -> np.ndarray | None:
    """Return the mean absolute scaled error at each step ahead, (horizon,); None without a window."""
    total, count = 0.0, 0
    for answer, row in zip(answers, rows, strict=True):
        wanted = targets_of(answer, row, scaler)
        if len(wanted):
            error = np.abs(np.asarray(answer["forecast"]).reshape(wanted.shape) - wanted)
            total = total + (error / scaler.deviation[: scaler.targets]).mean(2).sum(0)
            count += len(wanted)
    return None if not count else np.asarray(total) / count
