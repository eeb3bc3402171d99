"""Model: the base class of the exported models, one for each task."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, ClassVar, cast

import numpy as np

from zoo.data import features
from zoo.data.processors import Scaler
from zoo.data.python.inputs import input_columns
from zoo.data.python.inputs import inputs as rows_of_inputs
from zoo.data.readers import Row
from zoo.runtime.folder import Folder
from zoo.text.special_ids import PAD
from zoo.text.tokenizers import Tokenizer

CHUNK = 1024  # rows that are encoded at a time
ROWS = 32  # rows of a batch
STEPS = 8192  # steps of a batch, padding included

Example = dict[str, Any]


class Model(ABC):
    """An exported model. Texts and rows are read as `zoo.load` reads them.

    Of an int8 model each text is answered alone: its numbers are rounded by their range, and an
    answer must not depend on the texts beside it.
    """

    task: ClassVar[str]
    columns: ClassVar[tuple[str, ...]] = ("text",)  # that are read of a row

    def __init__(self, folder: Folder, threads: int) -> None:
        self.folder = folder
        self.options = folder.options
        self.metadata = folder.metadata
        self.reads, self.why = folder.reads, folder.why
        self.of_features = "scaler" in folder.processors
        self.run = folder.session("model.onnx", threads)

    @property
    def tokenizer(self) -> Tokenizer:
        """The tokenizer of the input."""
        return cast(Tokenizer, self.folder.processors["tokenizer"])

    @abstractmethod
    def encode(self, row: Row) -> Example:
        """Return the numbers of a row; "inputs" are its ids or features. Raises RowError."""

    @abstractmethod
    def answer(self, examples: Sequence[Example], **options: Any) -> list[dict[str, Any]]:
        """Return an answer for each example of a batch."""

    def rows(self, inputs: Any, splitter: str = "words") -> Iterator[Row]:
        """Yield the rows of one input or of several, as `zoo.load(…).predict` reads them."""
        if self.of_features:
            yield from features.as_rows(inputs, self.columns[0])
            return
        for row in rows_of_inputs(inputs, self.columns):
            yield input_columns(row, self.columns, splitter)

    def answer_rows(self, rows: Iterable[Row], **options: Any) -> Iterator[dict[str, Any]]:
        """Yield the whole answer to each row, in their order."""
        stream = iter(rows)
        while chunk := list(islice(stream, CHUNK)):
            examples = [self.encode(row) for row in chunk]
            found: list[Any] = [None] * len(chunk)
            for numbers in self._batches([len(example["inputs"]) for example in examples]):
                answers = self.answer([examples[i] for i in numbers], **options)
                for number, answer in zip(numbers, answers, strict=True):
                    found[number] = answer
            yield from found

    def _batches(self, lengths: Sequence[int]) -> Iterator[list[int]]:
        """Yield the numbers of the examples of each batch, of similar length."""
        most = ROWS if self.folder.form == "fp32" else 1
        batch: list[int] = []
        for number in sorted(range(len(lengths)), key=lambda i: lengths[i]):
            if batch and (len(batch) == most or (len(batch) + 1) * lengths[number] > STEPS):
                yield batch
                batch = []
            batch.append(number)
        if batch:
            yield batch

    def _inputs(self, examples: Sequence[Example]) -> dict[str, np.ndarray]:
        """Return the padded ids or features of a batch, and its lengths."""
        rows = [example["inputs"] for example in examples]
        lengths = np.array([*map(len, rows)], np.int64)
        time = max(1, int(lengths.max()))
        if not self.of_features:
            return {"ids": padded(rows, time), "lengths": lengths}
        scaler = cast(Scaler, self.folder.processors["scaler"])
        values = np.zeros((len(rows), time, scaler.width), np.float32)
        for own, row in zip(values, rows, strict=True):
            own[: len(row)] = row
        return {"features": values, "lengths": lengths}


def padded(rows: Sequence[Sequence[int]], width: int) -> np.ndarray:
    """Return ids (rows, width) int64, with PAD behind each row."""
    ids = np.full((len(rows), width), PAD, np.int64)
    for own, row in zip(ids, rows, strict=True):
        own[: len(row)] = row
    return ids


def log_softmax(values: np.ndarray) -> np.ndarray:
    """Return the logarithm of the softmax over the last axis, in the dtype of `values`."""
    shifted = values - values.max(-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))


def best_of(probabilities: Mapping[str, float], top: int | None) -> dict[str, float]:
    """Return the `top` most probable labels, the first one first; all as they are without `top`."""
    if top is None:
        return dict(probabilities)
    ranked = sorted(probabilities.items(), key=lambda pair: -pair[1])
    return dict(ranked[:top])
