"""mode=predict: one answer per row, in order, written as soon as it is computed."""

from __future__ import annotations

import json
import queue
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import IO, Any

from zoo.cli import tagged_text
from zoo.config import Settings
from zoo.data import readers
from zoo.data.processors import LabelEncoder
from zoo.data.readers import Row
from zoo.device import find_precision
from zoo.errors import InputError
from zoo.evaluation.config import EvaluationConfig
from zoo.files import atomic
from zoo.generation.config import GenerationConfig
from zoo.task import Generative, Task, input_row, predict_rows

MOST = 1024  # rows per call of the model
DRAWN = 20  # answers that are plotted


def predict(
    task: Task,
    settings: Settings,
    generation: GenerationConfig | None = None,
    evaluation: EvaluationConfig | None = None,
) -> None:
    """Write the answers to `text`, or to the rows of `input`, into `output`.

    Standard input is read as it arrives, because a program may wait for each answer. An empty line
    has an empty answer. An output file appears when it is complete. With `out` the first DRAWN
    answers are also plotted into that folder, if the task has a plot. `generation` is by default
    the model's own.
    """
    form = _form(task, settings)
    if isinstance(task, Generative):
        generation = generation or task.config.generation
        if settings.text and form == "label" and _can_stream(settings, generation):
            for piece in task.stream(settings.text, generation):
                print(piece, end="", flush=True)
            print()
            return
    if settings.text is not None:
        source: Iterator[list[Row]] = iter([[Row({"text": settings.text}, "text")]])
    elif settings.input == "-":
        source = arriving(sys.stdin.buffer)
    else:
        source = _chunks(readers.read(settings.input))
    precision = find_precision(settings.precision, task.device)
    number = 0
    with _output(settings.output) as file:
        for chunk in source:
            inputs = [input_row(task, row, settings.tokens) for row in chunk]
            for row, answer in _answers(task, inputs, precision, evaluation, generation):
                number += 1
                file.write(_line(task, answer, form).encode() + b"\n")
                drawn = settings.out is not None and answer is not None and number <= DRAWN
                if drawn and isinstance(task, Generative):
                    task.plot(row, answer, Path(str(settings.out)) / f"answer-{number}.png")
            file.flush()


def _form(task: Task, settings: Settings) -> str:
    """Return the output format. Word labels are in colour on a terminal.

    Raises InputError for a format of word labels with a task that has none.
    """
    labels_words = "words" in task.input_columns
    if settings.format in ("conll", "colour") and not labels_words:
        raise InputError(f"format={settings.format}: {task.name} labels no words: label or json")
    in_colour = labels_words and settings.output == "-" and sys.stdout.isatty()
    return "colour" if in_colour and settings.format == "label" else settings.format


def _can_stream(settings: Settings, generation: GenerationConfig) -> bool:
    """Return whether only the text of one answer is written, so that it can be streamed."""
    return settings.output == "-" and settings.out is None and generation.n_best == 1


def _answers(
    task: Task,
    inputs: list[Row],
    precision: str,
    evaluation: EvaluationConfig | None,
    generation: GenerationConfig | None,
) -> Iterator[tuple[Row, Any]]:
    """Yield each input row with its answer, None for an empty row."""
    asked = (row for row in inputs if not _is_empty(row))
    answers = predict_rows(task, asked, precision, evaluation, generation)
    for row in inputs:
        yield row, None if _is_empty(row) else next(answers)


def _is_empty(row: Row) -> bool:
    """Return whether all columns of a row are texts or lists without anything in them."""
    return all(hasattr(value, "__len__") and len(value) == 0 for value in row.values())


def _line(task: Task, answer: Any, form: str) -> str:
    """Return an answer in the output format; empty or null for None."""
    if form == "json":
        return json.dumps(_shown(task, answer), ensure_ascii=False)
    if answer is None:
        return ""
    if form == "label":
        return task.format(answer)
    words = answer["words"]
    labels = answer["labels"]
    if form == "conll":
        return tagged_text.conll(words, labels)
    return tagged_text.ansi(tagged_text.coloured(words, labels, _labels(task, labels)))


def _shown(task: Task, answer: Any) -> Any:
    """Return what format=json shows of an answer."""
    if answer is None:
        return None
    if not isinstance(answer, dict):
        return {"answer": answer}
    return {key: value for key, value in answer.items() if key not in task.hidden_keys}


def _labels(task: Task, found: list[str]) -> list[str]:
    """Return all labels of a task, so that each has its colour; else those of the answer."""
    encoder = task.processors.get("labels")
    return encoder.labels if isinstance(encoder, LabelEncoder) else found


def arriving(file: IO[bytes]) -> Iterator[list[Row]]:
    """Yield the lines of a stream in chunks: all that have arrived, at least one, at most MOST.

    Raises InputError for undecodable text, after the lines before it.
    """
    waiting: queue.Queue[Any] = queue.Queue(maxsize=4 * MOST)

    def read() -> None:
        try:
            for number, line in enumerate(readers.decoded(file, "input"), 1):
                waiting.put(Row({"text": line}, f"input:{number}"))
            waiting.put(None)
        except ValueError as error:  # undecodable text: raised after the lines before it
            waiting.put(error)

    threading.Thread(target=read, daemon=True).start()
    while True:
        chunk, end = _drain(waiting)
        if chunk:
            yield chunk
        if isinstance(end, Exception):
            raise end
        if end is not False:
            return


def _drain(waiting: queue.Queue[Any]) -> tuple[list[Row], Any]:
    """Wait for a first row, then take all rows in the queue.

    Returns the rows and the end mark: None, an exception, or False if the end was not reached.
    """
    chunk = []
    item = waiting.get()
    while isinstance(item, Row):
        chunk.append(item)
        if len(chunk) == MOST or waiting.empty():
            return chunk, False
        item = waiting.get()
    return chunk, item


def _chunks(source: Iterator[Row]) -> Iterator[list[Row]]:
    while chunk := list(islice(source, MOST)):
        yield chunk


@contextmanager
def _output(name: str) -> Iterator[IO[bytes]]:
    """Open the output: standard output for "-", else a file that appears when complete."""
    if name == "-":
        yield sys.stdout.buffer
    else:
        with atomic(Path(name)) as file:
            yield file
