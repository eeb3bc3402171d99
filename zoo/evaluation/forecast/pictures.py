"""Pictures of forecasts: an example with its band, and the error at each step ahead."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from zoo.data.processors import SeriesScaler
from zoo.data.readers import Row
from zoo.data.series.learning import matrix
from zoo.evaluation.forecast import classical, scores
from zoo.evaluation.plots import drawable, new_axes, save_figure

log = logging.getLogger("zoo")

Answers = Sequence[Mapping[str, Any]]


def report(
    answers: Answers,
    naive: Answers,
    rows: Sequence[Row],
    scaler: SeriesScaler,
    levels: Sequence[float],
    steps: int,
    folder: Path,
) -> dict[str, Any]:
    """Draw forecast.png and error_by_horizon.png; return the errors at each step ahead.

    `naive` are the seasonal naive answers, `steps` the past values that are shown at most. With
    statsmodels the result also has the errors of ETS and Theta on a few windows.
    """
    found: dict[str, Any] = {}
    methods = {"LSTM": answers, f"seasonal naive ({scaler.season})": naive}
    errors = {name: scores.by_horizon(some, rows, scaler) for name, some in methods.items()}
    known = {name: values for name, values in errors.items() if values is not None}
    if known:
        by_horizon(folder / "error_by_horizon.png", known, str(scaler.frequency))
        found["by_horizon"] = {name: values.tolist() for name, values in known.items()}
    number = next((n for n, answer in enumerate(answers) if len(answer.get("origins", ()))), None)
    if number is not None:
        _first(answers[number], naive[number], rows[number], scaler, levels, steps, folder)
    if classical.is_there():
        errors_of, windows = classical.compare(answers, rows, scaler)
        if windows:
            values = ", ".join(f"{name} {error:.4f}" for name, error in errors_of.items())
            log.info("on %d windows (each method is fitted anew): mae of %s", windows, values)
            found["classical"] = errors_of | {"windows": windows}
    return found


def _first(
    answer: Mapping[str, Any],
    naive: Mapping[str, Any],
    row: Row,
    scaler: SeriesScaler,
    levels: Sequence[float],
    steps: int,
    folder: Path,
) -> None:
    """Draw the forecast in the middle of a series, of its last target."""
    place, target = len(answer["origins"]) // 2, scaler.targets - 1
    origin = int(answer["origins"][place])
    values = [np.asarray(matrix(row, name), np.float64) for name in ("past", "future")]
    before = np.concatenate([values[0].reshape(-1, scaler.varying), values[1][:origin]])
    band = None
    if levels and "quantiles" in answer:
        quantiles = answer["quantiles"][place, :, target]
        band = quantiles[:, 0], quantiles[:, -1]
    example(
        folder / "forecast.png",
        before[-steps:, target],
        values[1][origin : origin + answer["forecast"].shape[1], target],
        answer["forecast"][place, :, target],
        band,
        band_name(levels) if levels else "",
        {f"seasonal naive ({scaler.season})": naive["forecast"][place, :, target]},
        f"{row.get('series') or ''} {scaler.columns['target'][target]}".strip(),
    )


def example(
    path: Path,
    past: np.ndarray,
    future: np.ndarray | None,
    forecast: np.ndarray,
    band: tuple[np.ndarray, np.ndarray] | None,
    band_name: str,
    others: dict[str, np.ndarray],
    title: str,
) -> None:
    """Write a picture of one forecast (horizon,) behind its past (steps,) to `path`.

    `band` are its lower and upper edge; `others` are forecasts to compare, by their names.
    """
    figure, axes = new_axes(9, 4)
    ahead = np.arange(1, len(forecast) + 1)
    axes.plot(np.arange(1 - len(past), 1), past, color="black", label="history")
    if future is not None:
        axes.plot(ahead, future, color="black", linestyle=":", label="what came")
    if band is not None:
        axes.fill_between(ahead, *band, alpha=0.3, label=band_name, color="tab:blue")
    axes.plot(ahead, forecast, color="tab:blue", label="LSTM" if band is None else "LSTM, median")
    for number, (name, values) in enumerate(others.items(), 1):  # C0 is the forecast's colour
        axes.plot(ahead, values, linewidth=1, linestyle="--", label=name, color=f"C{number}")
    axes.axvline(0.5, color="grey", linewidth=0.8)
    axes.set(xlabel="steps after the origin", title=drawable(title, 80))
    figure.legend(loc="outside lower center", ncols=5, frameon=False, fontsize=8)
    save_figure(figure, path)


def by_horizon(path: Path, errors: dict[str, np.ndarray], unit: str) -> None:
    """Write the mean absolute error (horizon,) of each method at each step ahead to `path`."""
    figure, axes = new_axes(7, 4)
    for name, values in errors.items():
        axes.plot(np.arange(1, len(values) + 1), values, label=name)
    axes.set(xlabel=f"steps ahead ({unit})", ylabel="mean absolute error, scaled", ylim=(0, None))
    axes.legend()
    save_figure(figure, path)


def band_name(levels: Sequence[float]) -> str:
    """Return the name of the band between the outermost levels: `80 % band`."""
    return f"{100 * (levels[-1] - levels[0]):.0f} % band"
