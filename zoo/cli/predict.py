"""mode=predict: one answer per row, in order, written as soon as it is computed.

Rows of a table come back with their answer beside their columns; lines of text become lines.
"""

from __future__ import annotations

import json
import logging
import queue
import sys
import threading
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import IO, Any

from zoo.cli import answer_rows, tagged_text
from zoo.cli.answer_rows import ROWS, AnswerColumns, RowFormat
from zoo.config import Settings
from zoo.data import readers
from zoo.data.processors import LabelEncoder
from zoo.data.readers import Row
from zoo.device import find_precision
from zoo.errors import InputError, RowError
from zoo.evaluation.config import EvaluationConfig
from zoo.files.output import check_output, opened_output
from zoo.files.own_files import check_new_in
from zoo.generation.config import GenerationConfig
from zoo.task import Generative, Task, input_row, predict_rows
from zoo.text.decoding import check_encoding

log = logging.getLogger("zoo")

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
    answer_table: Any = getattr(task, "answer_table", None)
    if answer_table is not None and settings.text is None and settings.input != "-":
        check_output(settings.output, settings.input)
        with opened_output(settings.output) as file:
            for piece in answer_table(settings, find_precision(settings.precision, task.device)):
                file.write(piece.encode())
        return
    form = _form(task, settings)
    check_output(settings.output, settings.input if settings.text is None else "-")
    if settings.out is not None:
        pictures = [f"answer-{number}.png" for number in range(1, DRAWN + 1)]
        check_new_in(Path(settings.out), pictures, settings.overwrite)
    if isinstance(task, Generative):
        generation = generation or task.config.generation
        if settings.text and form == "label" and _can_stream(settings, generation):
            for piece in task.stream(settings.text, generation):
                print(piece, end="", flush=True)
            print()
            return
    encoding = settings.data.get("encoding")
    check_encoding(encoding)
    if settings.text is not None:
        source: Iterator[list[Row]] = iter([[Row({"text": settings.text}, "text")]])
    elif settings.input == "-":
        source = arriving(sys.stdin.buffer, encoding)
    else:
        source = _chunks(readers.read(settings.input, encoding))
    precision = find_precision(settings.precision, task.device)
    separator = settings.data.get("separator")
    columns = AnswerColumns(task, settings.top, settings.threshold, generation, separator)
    rows = RowFormat(form, columns.names, columns.separator if columns.several else " ")
    exact = form == "conll" and settings.input.lower().removesuffix(".gz").endswith(".conllu")
    cut = Cut()
    number = 0
    with opened_output(settings.output) as file:
        for chunk in source:
            own = [answer_rows.with_own_columns(task, row, settings.data) for row in chunk]
            inputs = [input_row(task, row, settings.tokens) for row in own]
            answers = _answers(task, inputs, precision, evaluation, generation, cut.places)
            for given, (row, answer) in zip(chunk, answers, strict=True):
                number += 1
                if exact and answer is not None and isinstance(given.get("words"), list):
                    answer = answer | {"words": given["words"]}  # blanks inside a word stay
                if form in ROWS and not (form == "conll" and settings.format == "conll"):
                    text = rows.lines(given, columns.values(answer))
                else:
                    text = _line(task, answer, form, columns) + "\n"
                file.write(text.encode())
                drawn = settings.out is not None and answer is not None and number <= DRAWN
                if drawn and isinstance(task, Generative):
                    task.plot(row, answer, Path(str(settings.out)) / f"answer-{number}.png")
            cut.count(settings.strict)
            file.flush()
    _say(cut, rows, number)


class Cut:
    """The rows that a model did not read to their end: how many, and the first."""

    def __init__(self) -> None:
        self.places: list[str] = []  # since the last count
        self.number = 0
        self.first = ""

    def count(self, strict: bool) -> None:
        """Count the places. Raises RowError for the first one with `strict`."""
        if self.places and strict:
            raise RowError(self.places[0], "longer than the model reads; strict=false cuts it")
        self.first = self.first or next(iter(self.places), "")
        self.number += len(self.places)
        self.places.clear()


def _say(cut: Cut, rows: RowFormat, number: int) -> None:
    """Say in one line each what was cut, renamed or replaced."""
    if cut.number:
        verb = "is" if cut.number == 1 else "are"
        log.info(
            "%d of %d inputs %s longer than the model reads, and cut; the first is %s",
            cut.number,
            number,
            verb,
            cut.first,
        )
    for name, new in rows.renamed.items():
        log.info("the rows have a column %r: the answer is the column %r", name, new)
    if rows.blanked:
        log.info("tabs and line ends in %d cells are blanks: .csv keeps them", rows.blanked)


def _form(task: Task, settings: Settings) -> str:
    """Return the output format. Word labels are in colour on a terminal.

    Raises InputError for a format of word labels with a task that has none, and for settings of
    labels with a task that has none.
    """
    labels_words = "words" in task.input_columns
    labelled = "label" in task.target_columns and not labels_words
    if settings.format in ("conll", "colour") and not labels_words:
        raise InputError(f"format={settings.format}: {task.name} labels no words: label or json")
    if (settings.top > 1 or settings.threshold > 0) and not labelled:
        raise InputError(f"top=…, threshold=…: {task.name} has no label for a whole text")
    if settings.format != "label":
        return settings.format
    given = settings.input if settings.text is None else "-"
    form = answer_rows.form_of(settings.output, given)
    if form == "conll" and not labels_words:
        raise InputError(f"{task.name} labels no words: add output=FILE.jsonl, .csv or .tsv")
    in_colour = labels_words and settings.output == "-" and sys.stdout.isatty()
    return "colour" if in_colour and form == "label" else form


def _can_stream(settings: Settings, generation: GenerationConfig) -> bool:
    """Return whether only the text of one answer is written, so that it can be streamed."""
    return settings.output == "-" and settings.out is None and generation.n_best == 1


def _answers(
    task: Task,
    inputs: list[Row],
    precision: str,
    evaluation: EvaluationConfig | None,
    generation: GenerationConfig | None,
    cut: list[str],
) -> Iterator[tuple[Row, Any]]:
    """Yield each input row with its answer, None for an empty row."""
    empty = [all(map(readers.is_empty, row.values())) for row in inputs]
    asked = (row for row, nothing in zip(inputs, empty, strict=True) if not nothing)
    answers = predict_rows(task, asked, precision, evaluation, generation, cut)
    for row, nothing in zip(inputs, empty, strict=True):
        yield row, None if nothing else next(answers)


def _line(task: Task, answer: Any, form: str, columns: AnswerColumns) -> str:
    """Return an answer in the output format; empty or null for None."""
    if form == "json":
        return json.dumps(columns.as_json(answer), ensure_ascii=False)
    if answer is None:
        return ""
    if form == "label":
        chosen = columns.top > 1 or columns.threshold > 0 or columns.several
        text = columns.line(answer) if chosen else task.format(answer)
        return " ".join(text.splitlines())  # one line an answer, whatever a label holds
    words = answer["words"]
    labels = answer["labels"]
    if form == "conll":
        return tagged_text.conll(words, labels)
    return tagged_text.ansi(tagged_text.coloured(words, labels, _labels(task, labels)))


def _labels(task: Task, found: list[str]) -> list[str]:
    """Return all labels of a task, so that each has its colour; else those of the answer."""
    encoder = task.processors.get("labels")
    return encoder.labels if isinstance(encoder, LabelEncoder) else found


def arriving(file: IO[bytes], encoding: str | None = None) -> Iterator[list[Row]]:
    """Yield the lines of a stream in chunks: all that have arrived, at least one, at most MOST.

    Without an `encoding` it is UTF-8, or what can be told from the bytes. Raises InputError for undecodable text, after the lines before it.
    """
    waiting: queue.Queue[Any] = queue.Queue(maxsize=4 * MOST)

    def read() -> None:
        try:
            for number, line in enumerate(readers.decoded(file, "input", encoding), 1):
                waiting.put(Row({"text": line}, f"input:{number}"))
            waiting.put(None)
        except OSError as error:  # nothing more can be read
            waiting.put(InputError(f"input: {error.strerror or error}"))
        except Exception as error:  # undecodable text: raised after the lines before it
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
