"""Windows of series: past and future values around an origin, read from disk when they are needed."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from zoo.data.batch import Example
from zoo.data.dataset import Dataset
from zoo.data.readers import Row
from zoo.data.series.values import ValueFile
from zoo.errors import InputError
from zoo.messages import _

log = logging.getLogger("zoo")

CHUNK = 1 << 20  # steps that are hashed at a time


class Windows(Dataset):
    """A Dataset whose rows are series, and whose examples are all windows of these.

    A window has up to `input` past values and `horizon` future ones. The first origin of a row lies
    behind its past values; without any, behind `input` values. A batch of the sampler holds numbers
    of windows. An epoch has at most `most` of them; of more, each epoch draws some at random.
    """

    input: ClassVar[int] = 1
    horizon: ClassVar[int] = 1
    steps: ClassVar[int] = 1  # of the LSTM in a window
    most: ClassVar[int] = 1

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        values = self.values.pop(
            "inputs"
        )  # read through a file: mapped pages would count as memory
        self.columns = values.shape[1]
        self.file = ValueFile(folder / "inputs.bin", self.columns, np.float32)
        ends = np.asarray(self.ends["inputs"])
        self.begins = np.concatenate([[0], ends[:-1]]).astype(np.int64)
        past = np.asarray(self.values["past"]).astype(np.int64)
        self.first = np.where(past > 0, past, self.input)  # origin of a row's first window
        counts = np.maximum(0, ends - self.begins - self.first - self.horizon + 1)
        self.counts = counts.astype(np.int64)
        self.window_ends = np.cumsum(self.counts)

    @classmethod
    def of(cls, input: int, horizon: int, steps: int, most: int) -> type[Windows]:
        """Return the class of windows of these sizes."""
        sizes = {"input": input, "horizon": horizon, "steps": steps, "most": most}
        return type("Windows", (cls,), sizes)

    @classmethod
    def write(cls, rows: Iterable[Row], encode: Callable[[Row], Example], folder: Path) -> Dataset:
        """Encode the series into the new folder `folder`.

        Series that are too short for a window are named and counted. Raises InputError when all are.
        """
        short: list[str] = []

        def whole(row: Row) -> Example:
            example = encode(row)
            if "targets" not in example:
                raise InputError(f"{row.source}: no future values to learn from")
            past, future = example["inputs"], example["targets"]
            if len(past) + len(future) < (len(past) or cls.input) + cls.horizon:
                short.append(f"{row.source} ({row['series']})" if row.get("series") else row.source)
            joined = {"inputs": np.concatenate([past, future]), "past": len(past)}
            rest = {name: example[name] for name in example if name not in ("inputs", "targets")}
            return {**joined, **rest}

        dataset = super().write(rows, whole, folder)
        needed = _("{input} + {horizon} steps", input=cls.input, horizon=cls.horizon)
        if len(short) == len(dataset):
            said = _(
                "{place}: shorter than input + horizon, {needed}: lower task.input or task.horizon",
                place=short[0],
                needed=needed,
            )
            raise InputError(said)
        if short:
            shown = ", ".join(short[:3]) + (", …" if len(short) > 3 else "")
            log.info(
                _(
                    "{count:,} series shorter than {needed} are skipped: {shown}",
                    count=len(short),
                    needed=needed,
                    shown=shown,
                )
            )
        return dataset

    def __len__(self) -> int:
        return len(self.begins)

    @property
    def windows(self) -> int:
        """The number of all windows."""
        return int(self.window_ends[-1])

    def examples(self, rows: np.ndarray) -> list[Example]:
        """Return windows by their numbers: "inputs" (input, columns), "targets" (horizon, columns)."""
        series, origins = self.places(np.asarray(rows))
        return [
            self._example(*place) for place in zip(series.tolist(), origins.tolist(), strict=True)
        ]

    def places(self, windows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the row and the origin within its values of windows (windows,)."""
        series = np.searchsorted(self.window_ends, windows, "right")
        before = self.window_ends[series] - self.counts[series]
        return series, self.first[series] + windows - before

    def _example(self, series: int, origin: int) -> Example:
        begin = int(self.begins[series])
        first = max(0, origin - self.input)
        values = self.file.read(begin + first, begin + origin + self.horizon)
        example: dict[str, Any] = {
            "inputs": values[: origin - first],
            "targets": values[origin - first :],
        }
        if "static" in self.values:
            width = len(self.values["static"]) // len(self)
            example["static"] = self.values["static"][series * width : (series + 1) * width]
        return example

    def sampler(
        self, tokens: int, rows: int, generator: np.random.Generator | None = None
    ) -> Iterator[np.ndarray]:
        """Yield the numbers of the windows of each batch; `tokens` are steps of the LSTM."""
        size = max(1, min(rows, tokens // self.steps))
        if generator is None:
            order = np.arange(self.windows)
        elif self.windows <= self.most:
            order = generator.permutation(self.windows)
        else:
            order = generator.integers(0, self.windows, self.most)
        for start in range(0, len(order), size):
            yield order[start : start + size]

    def evenly(self, row: int, most: int | None) -> np.ndarray:
        """Return the numbers of a row's windows, or of `most` at even distances, the last among them."""
        count = int(self.counts[row])
        return int(self.window_ends[row]) - count + evenly(count, most)

    def progress(self, batch: np.ndarray | None = None) -> int:
        """Return the windows of a batch of the sampler; with None, those of an epoch."""
        return min(self.most, self.windows) if batch is None else len(batch)

    def describe_batch(self, batch: np.ndarray) -> str:
        """Return the source of a batch of the sampler, for an error message."""
        more = ", …" if len(batch) > 8 else ""
        return f"training windows {', '.join(map(str, batch[:8] + 1))}{more}"

    def fingerprint(self) -> str:
        """Return a hash of all stored values: equal for the same rows encoded in the same way."""
        if self._fingerprint is None:
            digest = hashlib.sha256()
            total = int(self.ends["inputs"][-1])
            for start in range(0, total, CHUNK):
                digest.update(self.file.read(start, min(total, start + CHUNK)).tobytes())
            for values in (*self.values.values(), *self.ends.values()):
                digest.update(np.asarray(values).tobytes())
            self._fingerprint = digest.hexdigest()
        return self._fingerprint


def evenly(count: int, most: int | None) -> np.ndarray:
    """Return the numbers of `count` windows, or of `most` at even distances, the last among them."""
    if most is None or most >= count:
        return np.arange(max(0, count))
    return count - 1 - (np.arange(most)[::-1] * count) // most
