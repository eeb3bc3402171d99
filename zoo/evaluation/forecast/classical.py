"""ETS and Theta by statsmodels, on a few origins, because each is fitted anew for each."""

from __future__ import annotations

import importlib
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.util import find_spec
from typing import Any

import numpy as np

from zoo.data.processors import SeriesScaler
from zoo.data.readers import Row
from zoo.data.series.learning import matrix
from zoo.evaluation.forecast.scores import Answer, targets_of

ORIGINS = 5  # of each series
SERIES = 4
SECONDS = 5.0
MOST_STEPS = 1000  # of the past that a method is fitted to
MOST_SEASON = 60  # longer ones take too long

Fit = Callable[[np.ndarray, int, int], np.ndarray]


def is_there() -> bool:
    """Return whether statsmodels is installed."""
    return find_spec("statsmodels") is not None


def _ets(past: np.ndarray, season: int, horizon: int) -> np.ndarray:
    module = importlib.import_module("statsmodels.tsa.holtwinters")
    seasonal: dict[str, Any] = {}
    if 1 < season <= MOST_SEASON and len(past) > 2 * season:
        seasonal = {"seasonal": "add", "seasonal_periods": season}
    model = module.ExponentialSmoothing(past, trend="add", damped_trend=True, **seasonal)
    return np.asarray(model.fit().forecast(horizon))


def _theta(past: np.ndarray, season: int, horizon: int) -> np.ndarray:
    module = importlib.import_module("statsmodels.tsa.forecasting.theta")
    seasonal = season > 1 and len(past) > 2 * season
    model = module.ThetaModel(past, period=season if seasonal else 1, deseasonalize=seasonal)
    return np.asarray(model.fit().forecast(horizon))


METHODS: dict[str, Fit] = {"ETS": _ets, "Theta": _theta}


def compare(
    answers: Sequence[Answer], rows: Sequence[Row], scaler: SeriesScaler
) -> tuple[dict[str, float], int]:
    """Return the scaled mae of ETS, Theta and the model on the same few windows, and their number.

    A method that does not finish its windows in time, or cannot be fitted, is left out.
    """
    errors: dict[str, list[float]] = {name: [] for name in ("model", *METHODS)}
    end = time.perf_counter() + SECONDS
    count = 0
    for past, wanted, found, deviation in _chosen(answers, rows, scaler):
        if time.perf_counter() > end:
            break
        count += 1
        errors["model"].append(float(np.abs(found - wanted).mean() / deviation))
        for name, fit in METHODS.items():
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                try:
                    made = fit(past[-MOST_STEPS:], scaler.season, len(wanted))
                except (ValueError, np.linalg.LinAlgError):
                    continue
            errors[name].append(float(np.abs(made - wanted).mean() / deviation))
    whole = {name: values for name, values in errors.items() if len(values) == count and count}
    return {name: float(np.mean(values)) for name, values in whole.items()}, count


def _chosen(
    answers: Sequence[Mapping[str, Any]], rows: Sequence[Row], scaler: SeriesScaler
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray, float]]:
    """Yield past, true future and forecast of one target at a time, and its deviation."""
    for answer, row in list(zip(answers, rows, strict=True))[:SERIES]:
        wanted = targets_of(answer, row, scaler)
        if not len(wanted) or "origins" not in answer:
            continue
        places = np.unique(np.linspace(0, len(wanted) - 1, ORIGINS).round().astype(int))
        before = np.asarray(matrix(row, "past"), np.float64)
        future = np.asarray(matrix(row, "future"), np.float64)
        for place in places[::-1].tolist():
            origin = int(answer["origins"][place])
            past = np.concatenate([part for part in (before, future[:origin]) if part.size])
            for target in range(scaler.targets):
                truth, found = wanted[place, :, target], answer["forecast"][place, :, target]
                yield past[:, target], truth, found, float(scaler.deviation[target])
