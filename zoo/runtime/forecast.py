"""Forecasts: windows of series are framed as in training, and the graph writes their future."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, ClassVar, cast

import numpy as np

from zoo.data.processors import SeriesScaler
from zoo.data.readers import Row
from zoo.data.series import asking, learning
from zoo.data.series.framing import Framing
from zoo.data.series.linear import LinearForecast
from zoo.runtime.folder import Folder
from zoo.runtime.model import Example, Model


class Forecast(Model):
    """An exported forecast of one series or of several, with their quantiles."""

    task: ClassVar[str] = "forecast"
    columns: ClassVar[tuple[str, ...]] = ("past",)

    def __init__(self, folder: Folder, threads: int) -> None:
        super().__init__(folder, threads)
        self.scaler = cast(SeriesScaler, folder.processors["scaler"])
        roles = "targets", "past", "future", "static"
        counts = {role: getattr(self.scaler, role) for role in roles}
        self.framing = Framing(**self.options["framing"], **counts)
        self.levels = self.options["quantiles"]
        self.linear = None
        if self.options["residual"] == "linear":
            self.linear = cast(LinearForecast, folder.processors["linear"])

    def predict(self, inputs: Any, horizon: int | None = None) -> list[dict[str, Any]]:
        """Return the forecasts of values (steps,) or (steps, columns), of several, or of a frame.

        Each is {"forecast", "quantiles"}, and "times" where they are known. A `horizon` beyond that
        of the model is reached by reading its own forecast. Raises InputError.
        """
        own, reads = self.framing.horizon, self.framing.input
        rows = self.rows(inputs)
        found = asking.forecasts(rows, self.answer_rows, self.scaler, reads, own, horizon)
        return [answer for _, answer in found]

    def rows(self, inputs: Any, splitter: str = "words") -> Iterator[Row]:
        """Yield the rows of one series or of several, as `zoo.load(…).predict` reads them."""
        yield from asking.rows_of_values(inputs, self.scaler)

    def answer_rows(self, rows: Iterable[Row], **options: Any) -> Iterator[dict[str, Any]]:
        """Yield the whole answer to each row, in their order."""
        kept = list(rows)
        for row, answer in zip(kept, super().answer_rows(kept), strict=True):
            yield asking.named(answer, row, self.scaler)

    def encode(self, row: Row) -> Example:
        return learning.encode(row, self.scaler, self.framing.input, self.framing.horizon)

    def answer(self, examples: Sequence[Example], **options: Any) -> list[dict[str, Any]]:
        made = self.framing.arrays(examples, self.linear)
        given = {"features": made["inputs"], "lengths": made["lengths"]}
        names = ("base", "scale", "known") if self.framing.future else ("base", "scale")
        found = self.run(given | {name: made[name] for name in names})
        units = {name: self._in_units(values, made["channels"]) for name, values in found.items()}
        forecast = units["forecast"][..., 0]
        return asking.answers_of(forecast, units.get("quantiles", forecast), self.levels)

    def _in_units(self, values: np.ndarray, channels: int) -> np.ndarray:
        return self.framing.in_units(values, channels, self.scaler.mean, self.scaler.deviation)
