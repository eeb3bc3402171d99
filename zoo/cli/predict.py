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
from zoo.data.readers import Row
from zoo.device import find_precision
from zoo.errors import InputError
from zoo.files import atomic
from zoo.task import Task

MOST = 1024  # rows per call of the model
DRAWN = 20  # answers that are plotted


def predict(task: Task, settings: Settings) -> None:
    """Write the answers to `text`, or to the rows of `input`, into `output`.

    Standard input is read as it arrives, because a program may wait for each answer. An empty line
    has an empty answer. An output file appears when it is complete. With `out` the first DRAWN
    answers are also plotted into that folder, if the task has a plot.
    """
    precision = find_precision(settings.precision, task.device)
    form = _form(task, settings)
    if settings.text and form == "label" and _can_stream(settings):
        for piece in task.stream_answer(Row({"text": settings.text}, "text")):
            print(piece, end="", flush=True)
        print()
        return
    if settings.text is not None:
        source: Iterator[list[Row]] = iter([[Row({"text": settings.text}, "text")]])
    elif settings.input == "-":
        source = arriving(sys.stdin.buffer)
    else:
        source = _chunks(readers.read(settings.input))
    number = 0
    with _output(settings.output) as file:
        for chunk in source:
            for row, answer in _answers(task, chunk, precision):
                number += 1
                file.write(_line(task, answer, form).encode() + b"\n")
                if settings.out is not None and answer is not None and number <= DRAWN:
                    task.plot(row, answer, Path(settings.out) / f"answer-{number}.png")
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


def _can_stream(settings: Settings) -> bool:
    """Return whether only the text of one answer is written, so that it can be streamed."""
    single = settings.generation.get("n_best", 1) == 1
    return settings.output == "-" and settings.out is None and single


def _answers(task: Task, chunk: list[Row], precision: str) -> Iterator[tuple[Row, Any]]:
    """Yield each row with its answer, None for an empty row."""
    inputs = [task.input_row(row) for row in chunk]
    empty = [not any(row.values()) for row in inputs]
    asked = (row for row, is_empty in zip(inputs, empty, strict=True) if not is_empty)
    answers = task.predict_rows(asked, precision)
    for row, is_empty in zip(inputs, empty, strict=True):
        yield row, None if is_empty else next(answers)


def _line(task: Task, answer: Any, form: str) -> str:
    """Return an answer in the output format; empty or null for None."""
    if form == "json":
        details = None if answer is None else task.to_json(answer)
        return json.dumps(details, ensure_ascii=False)
    if answer is None:
        return ""
    if form == "label":
        return task.format(answer)
    words = answer["words"]
    labels = answer["labels"]
    if form == "conll":
        return tagged_text.conll(words, labels)
    return tagged_text.ansi(tagged_text.coloured(words, labels, task.options["labels"]))


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
