"""Values of series in a file, read from it on demand, so that memory does not grow with the file."""

from __future__ import annotations

import hashlib
import os
import weakref
from pathlib import Path
from typing import Any

import numpy as np

CHUNK = 1 << 18  # steps that are hashed at a time


class ValueFile:
    """A file of float64 or float32 values, (steps, columns), that several threads may read."""

    def __init__(self, path: Path, columns: int, dtype: Any = np.float64) -> None:
        self.columns = columns
        self.dtype = np.dtype(dtype)
        self.descriptor = os.open(path, os.O_RDONLY)
        weakref.finalize(self, os.close, self.descriptor)

    def read(self, start: int, end: int) -> np.ndarray:
        """Return the steps from `start` to `end`, (steps, columns), as a copy."""
        found = np.empty((max(0, end - start), self.columns), self.dtype)
        wanted = memoryview(found.reshape(-1).view(np.uint8))  # type: ignore[arg-type]
        place, done = start * self.columns * self.dtype.itemsize, 0
        while done < len(wanted):
            count = os.preadv(self.descriptor, [wanted[done:]], place + done)
            if not count:
                raise EOFError(f"the file of values ends before step {end}")
            done += count
        return found


class Values:
    """Steps of one series, (steps, columns). `numpy.asarray` and `read` read them from the file."""

    def __init__(self, file: ValueFile, start: int, end: int) -> None:
        self.file = file
        self.start = start
        self.end = end

    def __len__(self) -> int:
        return self.end - self.start

    def __getitem__(self, part: slice) -> Values:
        """Return a part of the steps, without reading it."""
        first, last, step = part.indices(len(self))
        assert step == 1
        return Values(self.file, self.start + first, self.start + max(first, last))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return self.file.read(self.start, self.end).astype(dtype or self.file.dtype, copy=False)

    def digest(self) -> str:
        """Return a hash of the values: equal for the same values, wherever they are stored."""
        found = hashlib.blake2b(digest_size=16)
        for start in range(self.start, self.end, CHUNK):
            found.update(self.file.read(start, min(self.end, start + CHUNK)).tobytes())
        return found.hexdigest()

    @property
    def columns(self) -> int:
        """The number of columns."""
        return self.file.columns

    def after(self, steps: int) -> Values:
        """Return the steps behind the first ones."""
        return self[min(steps, len(self)) :]
