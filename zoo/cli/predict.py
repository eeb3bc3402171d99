"""mode=predict: one answer per row, in order, each as soon as it is there."""

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

from zoo import device
from zoo.cli import tagged_text
from zoo.config import Settings
from zoo.data import readers
from zoo.data.readers import Row
from zoo.errors import InputError
from zoo.files import atomic
from zoo.task import Task

MOST = 1024  # rows that are answered together
DRAWN = 20  # answers of which pictures are drawn


def predict(task: Task, settings: Settings) -> None:
    """Answer `text`, or the rows of `input`, into `output`.

    A line at a time: standard input may be a program that waits for each answer. An empty line has
    an empty answer. An output file appears when it is complete. With `out` the first answers are
    also drawn into that folder, where the task has something to draw.
    """
    precision = device.find_precision(settings.precision, task.device)
    form = _form(task, settings)
    if settings.text and form == "label" and _alone(settings):
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
    """How answers are written: labelled words on a terminal in colours. Raises InputError for a
    form that is of words alone."""
    of_words = "words" in task.input_columns
    if settings.format in ("conll", "colour") and not of_words:
        raise InputError(f"format={settings.format}: {task.name} labels no words: label or json")
    for_the_eye = of_words and settings.output == "-" and sys.stdout.isatty()
    return "colour" if for_the_eye and settings.format == "label" else settings.format


def _alone(settings: Settings) -> bool:
    """Whether nothing but an answer's text is written: then it appears as it is produced."""
    one = settings.generation.get("n_best", 1) == 1
    return settings.output == "-" and settings.out is None and one


def _answers(task: Task, chunk: list[Row], precision: str) -> Iterator[tuple[Row, Any]]:
    """What was asked, and its answer; None for an empty row."""
    asked = [task.input_row(row) for row in chunk]
    empty = [not any(row.values()) for row in asked]
    answers = task.predict_rows((r for r, e in zip(asked, empty, strict=True) if not e), precision)
    for row, nothing in zip(asked, empty, strict=True):
        yield row, None if nothing else next(answers)


def _line(task: Task, answer: Any, form: str) -> str:
    if form == "json":
        details = None if answer is None else task.to_json(answer)
        return json.dumps(details, ensure_ascii=False)
    if answer is None:
        return ""
    if form == "label":
        return task.format(answer)
    words = answer["words"], answer["labels"]
    return (
        tagged_text.conll(*words)
        if form == "conll"
        else tagged_text.ansi(tagged_text.coloured(*words, task.options["labels"]))
    )


def arriving(file: IO[bytes]) -> Iterator[list[Row]]:
    """Lines of a stream, as many at a time as are there: at least one, at most MOST."""
    waiting: queue.Queue[Any] = queue.Queue(maxsize=4 * MOST)

    def read() -> None:
        try:
            for number, line in enumerate(readers.decoded(file, "input"), 1):
                waiting.put(Row({"text": line}, f"input:{number}"))
            waiting.put(None)
        except ValueError as error:  # a line that is no text: after the answers to those before it
            waiting.put(error)

    threading.Thread(target=read, daemon=True).start()
    while True:
        chunk, end = _drained(waiting)
        if chunk:
            yield chunk
        if isinstance(end, Exception):
            raise end
        if end is not False:
            return


def _drained(waiting: queue.Queue[Any]) -> tuple[list[Row], Any]:
    """What is in a queue now, waiting for the first; and the mark of its end, or False."""
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
    if name == "-":
        yield sys.stdout.buffer
    else:
        with atomic(Path(name)) as file:
            yield file
