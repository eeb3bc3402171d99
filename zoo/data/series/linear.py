"""Closed-form forecasts: NLinear by ridge regression, the season of a series, and the naive ones."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np

from zoo.errors import InputError
from zoo.files import atomic

RIDGES = (1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0)  # times the mean square of the inputs
HELD_OUT = 0.2  # share of the windows, the latest, on which the ridge is chosen
LONGEST_SEASON = 1000
LEAST_CORRELATION = 0.2  # of a season
LEAST_DIP = 0.1  # of the autocorrelation before it
NEAR = 0.9  # a shorter season is chosen whose correlation is this share of the highest


class LinearForecast:
    """NLinear (Zeng et al. 2023) in closed form: future - last = (past - last) W + b.

    One map for all series, found by ridge regression.
    """

    kind: ClassVar[str] = "linear_forecast"
    suffix: ClassVar[str] = ".npz"

    def __init__(self, weight: Any, bias: Any) -> None:
        """weight: (input steps, horizon). bias: (horizon,). Raises ValueError for other shapes."""
        self.weight = np.asarray(weight, np.float32)
        self.bias = np.asarray(bias, np.float32)
        if self.weight.ndim != 2 or self.bias.shape != self.weight.shape[1:]:
            raise ValueError("weight: Input should be (input steps, horizon), bias (horizon,)")
        if not (np.isfinite(self.weight).all() and np.isfinite(self.bias).all()):
            raise ValueError("weight, bias: Input should be finite")

    @classmethod
    def learn(cls, batches: Iterable[tuple[np.ndarray, np.ndarray]]) -> Self:
        """Learn from batches of windows in order: past (windows, input) and future (windows, horizon).

        The ridge is chosen on the latest windows, then all are used. Raises InputError without any.
        """
        parts = [_Sums(past, future) for past, future in batches]
        if not parts:
            raise InputError("no window to learn a linear forecast from")
        held = max(1, round(HELD_OUT * len(parts))) if len(parts) > 1 else 0
        ridge = RIDGES[3]
        if held:
            early, late = sum(parts[:-held], _Sums()), sum(parts[-held:], _Sums())
            errors = [late.error(early.solve(ridge)) for ridge in RIDGES]
            ridge = RIDGES[int(np.argmin(errors))]
        solution = sum(parts, _Sums()).solve(ridge)
        return cls(solution[:-1], solution[-1])

    @classmethod
    def load(cls, path: Path) -> Self:
        """Load the map from a file. Raises InputError."""
        try:
            with np.load(path, allow_pickle=False) as parts:
                return cls(parts["weight"], parts["bias"])
        except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
            raise InputError(f"{path}: {error}") from None

    def save(self, path: Path) -> None:
        """Write the map to a file."""
        made = io.BytesIO()
        np.savez(made, weight=self.weight, bias=self.bias)
        with atomic(path) as file:
            file.write(made.getvalue())

    def encode(self, past: np.ndarray) -> np.ndarray:
        """Return the forecasts (windows, horizon) of past values (windows, input)."""
        last = past[:, -1:]
        return (past - last) @ self.weight + self.bias + last

    def decode(self, future: np.ndarray) -> np.ndarray:
        """Return the forecasts as they are."""
        return future


class _Sums:
    """The sums of products of windows that a regression and its error need."""

    def __init__(self, past: np.ndarray | None = None, future: np.ndarray | None = None) -> None:
        self.empty = past is None or future is None
        if past is None or future is None:
            return
        last = past[:, -1:].astype(np.float64)
        x = np.concatenate([past - last, np.ones((len(past), 1))], 1)
        y = future - last
        self.xx, self.xy, self.yy = x.T @ x, x.T @ y, float((y * y).sum())

    def __add__(self, other: _Sums) -> _Sums:
        if self.empty:
            return other
        total = _Sums()
        total.empty = False
        total.xx, total.xy = self.xx + other.xx, self.xy + other.xy
        total.yy = self.yy + other.yy
        return total

    def solve(self, ridge: float) -> np.ndarray:
        """Return weight and bias (input + 1, horizon)."""
        penalty = np.full(len(self.xx), ridge * max(1e-12, float(np.trace(self.xx[:-1, :-1]))))
        penalty /= max(1, len(self.xx) - 1)
        penalty[-1] *= 1e-6  # hardly any on the bias
        return np.linalg.solve(self.xx + np.diag(penalty + 1e-12), self.xy)

    def error(self, solution: np.ndarray) -> float:
        """Return the sum of squares of what a solution leaves."""
        return float(
            self.yy - 2 * (solution * self.xy).sum() + (solution * (self.xx @ solution)).sum()
        )


def season(series: np.ndarray) -> int:
    """Return the season of values (steps,), by the autocorrelation without their trend; 1 for none.

    The season is a peak of the autocorrelation behind a dip, the highest one around. Of several that
    are nearly the highest it is the shortest.
    """
    values = np.asarray(series, np.float64)
    count = len(values)
    longest = min(LONGEST_SEASON, count // 4)
    if longest < 2 or not np.ptp(values):
        return 1
    steps = np.linspace(-1, 1, count)
    values = values - np.polyval(np.polyfit(steps, values, 2), steps)
    size = 1 << (2 * count - 1).bit_length()
    found = np.fft.irfft(np.abs(np.fft.rfft(values, size)) ** 2, size)[: 2 * longest + 1]
    if found[0] <= 0:
        return 1
    found = found / found[0] * count / (count - np.arange(len(found)))
    peaks = []
    for lag in range(2, longest + 1):
        near = max(1, lag // 4)
        dip = found[lag] - found[1:lag].min()
        again = found[2 * lag] >= found[lag] / 2
        if found[lag] == found[lag - near : lag + near + 1].max() and dip >= LEAST_DIP and again:
            peaks.append(lag)
    peaks = [lag for lag in peaks if found[lag] >= LEAST_CORRELATION]
    highest = max((found[lag] for lag in peaks), default=0.0)
    return next((lag for lag in peaks if found[lag] >= NEAR * highest), 1)


def seasonal_naive(past: np.ndarray, horizon: int, season: int) -> np.ndarray:
    """Return the last season again and again, (windows, horizon), of past (windows, input)."""
    season = max(1, min(season, past.shape[1]))
    places = past.shape[1] - season + np.arange(horizon) % season
    return past[:, places]
