"""Framing: windows of scaled series -> what an LSTM reads, and from where its forecast starts.

Arrays of numpy alone: an exported model frames its windows without torch.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from zoo.data.series.linear import LinearForecast

Normalization = Literal["none", "last", "reversible"]
Channels = Literal["independent", "mixed"]
EPSILON = 1e-5


@dataclass(frozen=True)
class Framing:
    """How windows become a batch.

    Independent channels are rows of their own: a window of seven targets is seven rows. In a row
    `segment` neighbouring values are one step. Each window is normalised by its own past.
    """

    input: int
    horizon: int
    segment: int
    channels: Channels
    normalization: Normalization
    targets: int
    past: int = 0
    future: int = 0
    static: int = 0

    @property
    def own(self) -> int:
        """The target columns of a row."""
        return 1 if self.channels == "independent" else self.targets

    @property
    def features(self) -> int:
        """The features of a step: the values of a segment, and what is static."""
        return self.segment * (self.own + self.past + self.future) + self.static

    @property
    def segments(self) -> int:
        """The segments of the future."""
        return math.ceil(self.horizon / self.segment)

    @property
    def steps(self) -> int:
        """The segments of a whole input."""
        return math.ceil(self.input / self.segment)

    def arrays(
        self, examples: Sequence[Mapping[str, Any]], linear: LinearForecast | None = None
    ) -> dict[str, Any]:
        """Return windows as the arrays of a batch; with `linear` its forecast is where the LSTM starts.

        inputs: (rows, segments, features) float32, zero behind a window. lengths: (rows,) int64.
        base, scale: (rows, horizon or 1, own), so that a forecast is base + scale * output. known:
        (rows, segments, segment * future), the covariates known ahead. targets: (rows, horizon,
        own), None unless every window has them. channels: the rows of a window.
        """
        framed = [self._one(example, linear) for example in examples]
        inputs, base, scale, known, targets = zip(*framed, strict=True)
        lengths = np.array([len(rows[0]) for rows in inputs]).repeat(len(inputs[0]))
        longest = max(1, int(lengths.max()))
        padded = np.zeros((len(lengths), longest, self.features), np.float32)
        row = 0
        for rows in inputs:
            padded[row : row + len(rows), : rows.shape[1]] = rows
            row += len(rows)
        complete = all(target is not None for target in targets)
        return {
            "inputs": padded,
            "lengths": lengths,
            "base": np.concatenate(base),
            "scale": np.concatenate(scale),
            "known": np.concatenate(known),
            "targets": np.concatenate(targets) if complete else None,
            "channels": len(inputs[0]),
        }

    def in_units(
        self, values: np.ndarray, channels: int, mean: np.ndarray, deviation: np.ndarray
    ) -> np.ndarray:
        """Return scaled values (rows, horizon, own, k) as (windows, horizon, targets, k) in units.

        `channels` are the rows of a window; mean and deviation those of the columns.
        """
        rows, horizon, own, count = values.shape
        windows = values.reshape(rows // channels, channels, horizon, own, count)
        by_target = windows.transpose(0, 2, 1, 3, 4).reshape(-1, horizon, self.targets, count)
        units = by_target.astype(np.float64)
        return units * deviation[: self.targets, None] + mean[: self.targets, None]

    def _one(self, example: Mapping[str, Any], linear: LinearForecast | None) -> tuple:
        """Return the parts of one window, each with a row for each channel."""
        values = np.asarray(example["inputs"], np.float32)  # (steps, columns)
        own = values[:, : self.targets]
        offset, scale = self._normalizers(own)
        normal = (own - offset) / scale
        others = values[:, self.targets :]
        rows = [normal] if self.channels == "mixed" else [*normal.T[:, :, None]]
        static = np.asarray(example.get("static", ()), np.float32)
        inputs = np.stack([self._segments(np.concatenate([r, others], 1), static) for r in rows])
        base = np.broadcast_to(offset, (self.horizon, self.targets))
        if linear is not None and len(own):
            base = linear.encode(full(own, self.input).T).T
        future = example.get("targets")
        target = None
        known = np.zeros((self.segments, self.segment * self.future), np.float32)
        if future is not None:
            future = np.asarray(future, np.float32)
            wanted = future[: self.horizon, : self.targets]
            if len(wanted) == self.horizon and np.isfinite(wanted).all():
                target = self._by_row(wanted)
            if self.future:
                known = self._known(future)
        known = known[None].repeat(len(rows), 0)
        return inputs, self._by_row(base), self._by_row(scale[None]), known, target

    def _normalizers(self, own: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the offset and the scale (targets,) of a window's past (steps, targets)."""
        zero, one = np.zeros(self.targets, np.float32), np.ones(self.targets, np.float32)
        if self.normalization == "none" or not len(own):
            return zero, one
        if self.normalization == "last":
            return own[-1], one
        return own.mean(0), np.sqrt(own.var(0) + EPSILON)

    def _by_row(self, values: np.ndarray) -> np.ndarray:
        """Return (steps, targets) as (rows, steps, own)."""
        values = values.astype(np.float32)
        return values[None] if self.channels == "mixed" else values.T[:, :, None].copy()

    def _segments(self, values: np.ndarray, static: np.ndarray) -> np.ndarray:
        """Return values (steps, columns) as segments (segments, features).

        The first segment is filled in front with the first value.
        """
        count = math.ceil(len(values) / self.segment)
        filled = full(values, count * self.segment)
        width = values.shape[1]
        by_column = filled.reshape(count, self.segment, width).transpose(0, 2, 1)
        features = by_column.reshape(count, self.segment * width)
        return np.concatenate([features, np.tile(static, (count, 1))], 1).astype(np.float32)

    def _known(self, future: np.ndarray) -> np.ndarray:
        """Return the covariates known ahead by segment; the last segment is filled at its end."""
        known = future[: self.horizon, self.targets + self.past :]
        end = self.segments * self.segment
        filled = np.concatenate([known, known[-1:].repeat(end - len(known), 0)])
        return filled.reshape(self.segments, self.segment, -1).reshape(self.segments, -1)


def full(values: np.ndarray, steps: int) -> np.ndarray:
    """Return the last `steps` of values (time, columns); in front of fewer, the first is repeated."""
    if len(values) >= steps:
        return values[len(values) - steps :]
    return np.concatenate([values[:1].repeat(steps - len(values), 0), values])
