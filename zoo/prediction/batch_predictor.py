"""Answers to batches of rows: one callable for Ray Data, Hugging Face datasets and Spark.

    predictor = zoo.batch_predictor("tag/ewt-upos")
    rows.map_batches(predictor)                # Ray Data
    rows.map(predictor, batched=True)          # datasets
    frame.mapInPandas(predictor, schema)       # Spark

It is pickled without the model. Each process that it is sent to loads the model at its first batch.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from zoo.data.corpora.in_memory import table_of
from zoo.data.readers import Row
from zoo.device import find_device, find_precision
from zoo.errors import InputError, RowError
from zoo.evaluation.config import EvaluationConfig
from zoo.generation.config import GenerationConfig
from zoo.loading import load
from zoo.model_folder.data_settings import data_of
from zoo.model_folder.verify import locate, read_config
from zoo.prediction import answer_rows
from zoo.prediction.answer_rows import AnswerColumns
from zoo.task import Generative, Task, input_row

log = logging.getLogger("zoo")

PLACE = "batch"  # of a row in an error: batch[3]
MISSING = "NAType", "NaTType"  # classes of pandas for a value that is not there
TOO_LONG = "longer than the model reads; strict=False cuts it"
_turn = threading.Lock()  # threads of one process load a model once


@dataclass(frozen=True)
class BatchPredictor:
    """A callable that adds the columns of the answers to a batch: see `batch_predictor`."""

    model: str
    columns: Mapping[str, str] = field(default_factory=dict)
    generation: GenerationConfig | None = None
    evaluation: EvaluationConfig | None = None
    top: int = 1
    threshold: float = 0.0
    tokens: str = "words"
    strict: bool = False
    device: str = "auto"
    precision: str = "auto"

    def __call__(self, batch: Any) -> Any:
        """Return a batch with the columns of its answers; of an iterator of batches an iterator."""
        if isinstance(batch, Iterator):
            return map(self, batch)
        table = table_of(batch, PLACE)
        if table is None:
            kinds = "a dict of columns, a frame of pandas or a table of Arrow is needed"
            raise InputError(f"{PLACE}: is {type(batch).__name__}: {kinds}")
        task = _loaded(self.model, self.device)
        generation = self.generation
        if isinstance(task, Generative):
            generation = generation or task.config.generation
        columns = AnswerColumns(task, self.top, self.threshold, generation)
        values = self._values(task, columns, generation, table)
        renamed = answer_rows.predicted(columns.names, table)
        return _with_columns(
            batch, {renamed.get(name, name): found for name, found in values.items()}
        )

    def _values(
        self,
        task: Task,
        columns: AnswerColumns,
        generation: GenerationConfig | None,
        table: Mapping[str, Any],
    ) -> dict[str, list[Any]]:
        """Return a list for each column of the answers. Raises RowError."""
        named = {**_own_columns(self.model), **self.columns}
        rows = _rows(table, {*task.input_columns, *named.values(), "text", "words"})
        inputs = [
            input_row(task, answer_rows.with_own_columns(task, row, named), self.tokens)
            for row in rows
        ]
        cut: list[str] = []
        precision = find_precision(self.precision, task.device)
        answers = answer_rows.answers(task, inputs, precision, self.evaluation, generation, cut)
        found = [columns.values(answer) for answer in answers]
        if cut and self.strict:
            raise RowError(cut[0], TOO_LONG)
        if cut:
            log.info(
                "%d of %d inputs are longer than the model reads, and cut", len(cut), len(rows)
            )
        by_name = zip(*found, strict=True) if found else ([] for _ in columns.names)
        return {name: [*values] for name, values in zip(columns.names, by_name, strict=True)}


def batch_predictor(
    model: str | Path,
    columns: Mapping[str, str] | None = None,
    *,
    generation: GenerationConfig | None = None,
    evaluation: EvaluationConfig | None = None,
    top: int = 1,
    threshold: float = 0.0,
    tokens: str = "words",
    strict: bool = False,
    device: str = "auto",
    precision: str = "auto",
) -> BatchPredictor:
    """Return a callable that adds to each batch the columns that `mode=predict` adds to a table.

    `model` is a model folder, which every machine has, or a shipped model. `columns` names the
    columns of the batches, {"text": "review"}, as `data.text=review` does. A batch is a dict of
    columns, a frame of pandas or a table of Arrow; the result is of the same kind. `top` and
    `threshold` are of classifiers, `generation` is of tasks that generate, `tokens` is of tasks that
    read words. Inputs that are too long are cut, with `strict` they raise RowError. Raises
    InputError when there is no such model.

    >>> import zoo
    >>> predictor = zoo.batch_predictor("tag/ewt-upos")
    >>> predictor({"text": ["The cat sat"]})["labels"]
    [['DET', 'NOUN', 'VERB']]
    """
    folder = locate(model)
    name = str(model) if not Path(model).exists() else str(folder.resolve())
    task = read_config(name)["task"]
    if task in ("forecast", "multitask"):
        raise InputError(
            f"{model}: answers of {task} are no columns of their rows: use mode=predict, or "
            f"zoo.load({str(model)!r}).predict(…)"
        )
    return BatchPredictor(
        name,
        dict(columns or {}),
        generation,
        evaluation,
        top,
        threshold,
        tokens,
        strict,
        device,
        precision,
    )


def _loaded(model: str, device: str) -> Task:
    """Return a model; it is loaded once in a process."""
    with _turn:
        return _load(model, device)


@lru_cache(maxsize=4)
def _load(model: str, device: str) -> Task:
    return load(model, str(find_device(device)))


@lru_cache(maxsize=16)
def _own_columns(model: str) -> dict[str, str]:
    """Return the names of the columns on which a model was trained, as `mode=predict` takes them."""
    kept = data_of(read_config(model).get("metadata"))
    return {name: value for name, value in kept.items() if isinstance(value, str)}


def _rows(table: Mapping[str, Any], wanted: set[str]) -> list[Row]:
    """Return the rows of a table: the columns that are wanted, or all if none of them is there."""
    names = [name for name in table if name in wanted or name.partition(".")[0] in wanted]
    values = [[*map(_plain, table[name])] for name in names or table]
    cells = zip(*values, strict=True)
    return [
        Row(dict(zip(names or table, row, strict=True)), f"{PLACE}[{number}]")
        for number, row in enumerate(cells)
    ]


def _plain(value: Any) -> Any:
    """Return a value without the types of numpy, pandas and Arrow; None if it is missing."""
    if isinstance(value, str) or value is None:
        return value
    if type(value).__name__ in MISSING:
        return None
    for method in ("as_py", "tolist"):  # of Arrow; of numpy
        if hasattr(value, method):
            return getattr(value, method)()
    return value


def _with_columns(batch: Any, added: Mapping[str, list[Any]]) -> Any:
    """Return a batch of the same kind with more columns."""
    if hasattr(batch, "append_column"):  # of Arrow
        for name, values in added.items():
            batch = batch.append_column(name, [_arrow(name, values)])
        return batch
    if hasattr(batch, "assign"):  # of pandas
        return batch.assign(**{name: _array(values) for name, values in added.items()})
    of_arrays = any(isinstance(batch[name], np.ndarray) for name in batch)
    found = {name: batch[name] for name in batch}
    for name, values in added.items():
        found[name] = _array(values) if of_arrays else values
    return found


def _array(values: Sequence[Any]) -> np.ndarray:
    """Return floats, NaN for those that are missing, or an array of objects."""
    floats = [isinstance(value, float) for value in values]
    if any(floats) and all(f or v is None for f, v in zip(floats, values, strict=True)):
        return np.array(values, float)
    array = np.empty(len(values), object)
    for place, value in enumerate(values):  # lists of one length would become rows
        array[place] = value
    return array


def _arrow(name: str, values: Iterable[Any]) -> Any:
    import pyarrow

    found = pyarrow.array(values)
    if not pyarrow.types.is_null(found.type):
        return found
    kinds = {"probability": pyarrow.float64(), "labels": pyarrow.list_(pyarrow.string())}
    kind = name.removeprefix("predicted_").strip("_0123456789")
    return pyarrow.nulls(len(found), kinds.get(kind, pyarrow.string()))
