"""Encoded rows, in memory or in memory-mapped files."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any

import numpy as np

from zoo.data.batch import Example
from zoo.data.readers import Row
from zoo.data.sampler import BucketSampler

FIELDS = "fields.json"  # dtype and width of each field


class ExampleList:
    """Encoded rows in memory. A torch `DataLoader` reads it with a batch sampler."""

    def __init__(self, encoded: Sequence[Example]) -> None:
        self.encoded = encoded

    def __len__(self) -> int:
        return len(self.encoded)

    def __getitem__(self, index: int) -> Example:
        return self.encoded[index]

    def __getitems__(self, rows: Any) -> list[Example]:
        """Return the examples of a batch of the sampler; a torch `DataLoader` calls this."""
        return self.examples(rows)

    def examples(self, rows: np.ndarray) -> list[Example]:
        """Return the examples of a batch of the sampler."""
        return [self[int(row)] for row in rows]

    def lengths(self, rows: np.ndarray) -> np.ndarray:
        """Return the input and target steps of rows, (rows, 2); 0 for a target that is no list."""
        examples = (self[int(row)] for row in rows)
        both = [(len(e["inputs"]), _length(e.get("targets", 0))) for e in examples]
        return np.array(both).reshape(-1, 2)

    def sampler(
        self, tokens: int, rows: int, generator: np.random.Generator | None = None
    ) -> Iterable[np.ndarray]:
        """Return the batches of one epoch, as row numbers for `examples`: see BucketSampler."""
        return BucketSampler(self, tokens, rows, generator)

    def progress(self, batch: np.ndarray | None = None) -> int:
        """Return the rows of a batch of the sampler; with None, the rows of an epoch."""
        return len(self) if batch is None else len(batch)

    def describe_batch(self, batch: np.ndarray) -> str:
        """Return the source of a batch of the sampler, for an error message."""
        more = ", …" if len(batch) > 8 else ""
        return f"training rows {', '.join(map(str, batch[:8] + 1))}{more}"


def _length(value: Any) -> int:
    """Return the length of a list or an array, 0 for a number."""
    return 0 if isinstance(value, (int, float)) else len(value)


class Dataset(ExampleList):
    """Encoded rows in memory-mapped files: memory does not grow with the corpus.

    Each field of `Task.encode` is a file NAME.bin of int32 ids or float32 values. A field of lists
    also has a file NAME.ends (int64) with the end of each list, in steps. `fields.json` holds each
    field's dtype and its width, the values at a step. An epoch holds only the order of the rows in
    memory, four bytes each.
    """

    def __init__(self, folder: Path) -> None:
        fields = json.loads((folder / FIELDS).read_text("utf-8"))
        self.values: dict[str, np.ndarray] = {}
        for name, (dtype, width) in fields.items():
            values = _mapped(folder / f"{name}.bin", np.dtype(dtype))
            self.values[name] = values if width is None else values.reshape(-1, width)
        self.ends = {f.stem: _mapped(f, np.int64) for f in sorted(folder.glob("*.ends"))}
        self._fingerprint: str | None = None

    @classmethod
    def write(cls, rows: Iterable[Row], encode: Callable[[Row], Example], folder: Path) -> Dataset:
        """Encode the rows one by one into the new folder `folder`.

        Raises FileExistsError if the folder exists. Raises ValueError if there are no rows, or if
        their fields, dtypes or widths differ. An error of `encode`, such as RowError, is passed on.
        """
        folder.mkdir(parents=True)
        fields: dict[str, _Field] = {}
        with ExitStack() as stack:

            def create(name: str) -> IO[bytes]:
                return stack.enter_context(open(folder / name, "wb"))

            for row in rows:
                example = encode(row)
                if fields and {*example} != {*fields}:
                    raise ValueError(f"{row.source}: other fields than in the rows before it")
                for name, value in example.items():
                    if name not in fields:
                        fields[name] = _Field(name, value, create)
                    wrong = fields[name].append(value)
                    if wrong is not None:
                        raise ValueError(f"{row.source}: {wrong}")
        if not fields:
            raise ValueError("no rows to encode")
        kinds = {name: (str(field.dtype), field.width) for name, field in sorted(fields.items())}
        (folder / FIELDS).write_text(json.dumps(kinds), "utf-8")
        return cls(folder)

    def __len__(self) -> int:
        return len(self.ends["inputs"])

    def __getitem__(self, index: int) -> Example:
        example: dict[str, Any] = {}
        for name, values in self.values.items():
            if name in self.ends:
                start = self.ends[name][index - 1] if index else 0
                example[name] = values[start : self.ends[name][index]]
            else:
                example[name] = values[index].item()
        return example

    def lengths(self, rows: np.ndarray) -> np.ndarray:
        """Return the input and target steps of rows, (rows, 2); 0 for a target that is no list."""
        return np.stack([self._sizes(rows, "inputs"), self._sizes(rows, "targets")], 1)

    def _sizes(self, rows: np.ndarray, name: str) -> np.ndarray:
        """Return the list lengths of a field, 0 if the field has no lists."""
        if name not in self.ends:
            return np.zeros(len(rows), np.int64)
        ends = self.ends[name]
        return ends[rows] - np.where(rows > 0, ends[rows - 1], 0)

    def count_truncated(self) -> int:
        """Return the number of rows that were truncated: their field "cut" is 1."""
        return int(self.values["cut"].sum()) if "cut" in self.values else 0

    def fingerprint(self) -> str:
        """Return a hash of all stored values: equal for the same rows encoded in the same way."""
        if self._fingerprint is None:
            digest = hashlib.sha256()
            for values in (*self.values.values(), *self.ends.values()):
                for start in range(0, len(values), 1 << 20):
                    digest.update(values[start : start + (1 << 20)].tobytes())
            self._fingerprint = digest.hexdigest()
        return self._fingerprint


class _Field:
    """The files of one field while a dataset is written."""

    def __init__(self, name: str, first: Any, create: Callable[[str], IO[bytes]]) -> None:
        """Create the files. Dtype and width are those of the `first` value."""
        array = np.asarray(first)
        floats = array.dtype.kind == "f" and (array.size > 0 or isinstance(first, np.ndarray))
        self.dtype = np.dtype(np.float32 if floats else np.int32)
        self.width = array.shape[1] if array.ndim == 2 else None
        self.is_list = array.ndim > 0
        self.values = create(f"{name}.bin")
        self.ends = create(f"{name}.ends") if self.is_list else None
        self.end = 0

    def append(self, value: Any) -> str | None:
        """Write the value of one row; return what is wrong if it is not like the first one."""
        array = np.asarray(value)
        width = array.shape[1] if array.ndim == 2 else None
        empty = array.size == 0
        if (array.ndim > 0) != self.is_list or (width != self.width and not empty):
            return "other shapes than in the rows before it"
        if array.dtype.kind == "f" and self.dtype.kind != "f" and not empty:
            return "floats, but ids in the rows before it"
        array.astype(self.dtype, copy=False).tofile(self.values)
        if self.ends is not None:
            self.end += len(array)
            np.int64(self.end).tofile(self.ends)
        return None


def _mapped(path: Path, kind: Any) -> np.ndarray:
    """Map a file to memory; an empty file cannot be mapped."""
    return np.memmap(path, kind, "r") if path.stat().st_size else np.zeros(0, kind)
