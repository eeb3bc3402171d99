"""mode=predict: one answer per row, in order, written as soon as it is computed.

Rows of a table come back with their answer beside their columns; lines of text become lines.
"""

from __future__ import annotations

import codecs
import io
import json
import logging
import queue
import sys
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import IO, Any, NamedTuple

from zoo.cli import tagged_text
from zoo.config import Settings
from zoo.data import labelled_words, readers
from zoo.data.processors import LabelEncoder
from zoo.data.readers import Row
from zoo.device import find_precision
from zoo.errors import InputError, RowError
from zoo.evaluation.config import EvaluationConfig
from zoo.files.output import check_output, is_terminal, opened_output
from zoo.files.own_files import check_new_in
from zoo.generation.config import GenerationConfig
from zoo.messages import _
from zoo.prediction import answer_rows, processes
from zoo.prediction.answer_rows import ROWS, AnswerColumns, RowFormat
from zoo.prediction.processes import Processes
from zoo.task import FeatureTask, Generative, Task, input_row
from zoo.text.decoding import check_encoding, is_plain_utf8

log = logging.getLogger("zoo")

MOST = 1024  # rows per call of the model
TABLES = "csv", "tsv"  # forms that Excel reads
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
    the model's own. Processes that torchrun started share the rows out; the first one writes.
    """
    with processes.started() as shared:
        _predict(shared, task, settings, generation, evaluation)


def _predict(
    shared: Processes,
    task: Task,
    settings: Settings,
    generation: GenerationConfig | None,
    evaluation: EvaluationConfig | None,
) -> None:
    """Write the answers as `predict` does, with the rows shared out to processes."""
    if settings.text is not None and shared.rank:
        return  # one text is answered by one process
    answer_table: Any = getattr(task, "answer_table", None)
    if answer_table is not None and settings.text is None and settings.input != "-":
        check_output(settings.output, settings.input, settings.format)
        precision = find_precision(settings.precision, task.device)
        with _opened(shared, settings) as file:
            for piece in answer_table(settings, precision, shared.map):
                file.write(piece.encode())
        _say_shares(shared)
        return
    form = _form(task, settings)
    given = settings.input if settings.text is None else "-"
    check_output(settings.output, given, settings.format)
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
        source = shared.same(_arriving_whole(shared, encoding))
    else:
        source = _chunks(_rows_of_file(task, settings, encoding))
    answering = _Answering(task, settings, generation, evaluation, form)
    with _opened(shared, settings) as file:
        blocks = answering.blocks(source)
        for answered in shared.map(answering.answer, blocks, lambda block: len(block.rows)):
            answering.count(answered)
            file.write(answered.text)
            file.flush()
    answering.say()
    _say_shares(shared)


class _Block(NamedTuple):
    """Rows that are answered together."""

    rows: list[Row]
    before: int  # rows before the first of them


class _Answered(NamedTuple):
    """The answers to a block."""

    rows: int
    text: bytes  # as the output holds it
    cut: list[str]  # places of the rows that were not read to their end
    blanked: int  # cells in which blanks replace tabs and line ends


class _Answering:
    """Turns blocks of rows into the text of their answers, and counts what has to be said."""

    def __init__(
        self,
        task: Task,
        settings: Settings,
        generation: GenerationConfig | None,
        evaluation: EvaluationConfig | None,
        form: str,
    ) -> None:
        self.task = task
        self.settings = settings
        self.generation = generation
        self.evaluation = evaluation
        self.form = form
        self.precision = find_precision(settings.precision, task.device)
        separator = settings.data.get("separator")
        self.columns = AnswerColumns(task, settings.top, settings.threshold, generation, separator)
        between = self.columns.separator if self.columns.several else " "
        self.format = RowFormat(form, self.columns.names, between)
        conllu = settings.input.lower().removesuffix(".gz").endswith(".conllu")
        self.exact = form == "conll" and conllu
        self.whole = form in ROWS and not (form == "conll" and settings.format == "conll")
        self.rows = self.cut = self.blanked = 0
        self.first_cut = ""

    def blocks(self, source: Iterable[list[Row]]) -> Iterator[_Block]:
        """Yield the chunks of `source` as blocks; the first row decides the columns."""
        before = 0
        for chunk in source:
            if not before and self.whole:
                self.format.begin(chunk[0])
            yield _Block(chunk, before)
            before += len(chunk)

    def answer(self, block: _Block) -> _Answered:
        """Return the text of the answers to a block. Raises RowError."""
        task, settings = self.task, self.settings
        own = [answer_rows.with_own_columns(task, row, settings.data) for row in block.rows]
        inputs = [input_row(task, row, settings.tokens) for row in own]
        cut: list[str] = []
        blanked = self.format.blanked
        answers = answer_rows.answers(
            task, inputs, self.precision, self.evaluation, self.generation, cut
        )
        text = [self.format.head() if self.whole and not block.before else ""]
        numbered = enumerate(zip(block.rows, inputs, answers, strict=True), block.before + 1)
        for number, (given, row, answer) in numbered:
            if self.exact and answer is not None and isinstance(given.get("words"), list):
                answer = answer | {"words": given["words"]}  # blanks inside a word stay
            if self.whole:
                text.append(self.format.lines(given, self.columns.values(answer)))
            else:
                text.append(_line(task, answer, self.form, self.columns) + "\n")
            drawn = settings.out is not None and answer is not None and number <= DRAWN
            if drawn and isinstance(task, Generative):
                task.plot(row, answer, Path(str(settings.out)) / f"answer-{number}.png")
        if cut and settings.strict:
            raise RowError(cut[0], _("longer than the model reads; strict=false cuts it"))
        lines = "".join(text).encode()
        return _Answered(len(block.rows), lines, cut, self.format.blanked - blanked)

    def count(self, answered: _Answered) -> None:
        """Count the rows of an answered block, and what was cut and replaced in them."""
        self.rows += answered.rows
        self.first_cut = self.first_cut or next(iter(answered.cut), "")
        self.cut += len(answered.cut)
        self.blanked += answered.blanked

    def say(self) -> None:
        """Say in one line each what was cut, renamed or replaced."""
        if self.cut:
            number = {"cut": self.cut, "count": self.rows, "place": self.first_cut}
            if self.cut == 1:
                log.info(
                    _(
                        "1 of {count} inputs is longer than the model reads, and cut: {place}",
                        **number,
                    )
                )
            else:
                log.info(
                    _(
                        "{cut} of {count} inputs are longer than the model reads, and cut; "
                        "the first is {place}",
                        **number,
                    )
                )
        for name, new in self.format.renamed.items():
            log.info(
                _(
                    "the rows have a column {name!r}: the answer is the column {new!r}",
                    name=name,
                    new=new,
                )
            )
        if self.blanked:
            log.info("tabs and line ends in %d cells are blanks: .csv keeps them", self.blanked)


def _rows_of_file(task: Task, settings: Settings, encoding: str | None) -> Iterator[Row]:
    """Read the rows of the input; of a tagger, rows of one word each are joined to sentences."""
    read = partial(readers.read, settings.input, encoding)
    if "words" not in task.input_columns or (isinstance(task, FeatureTask) and task.of_features):
        return read()
    settings_of = {"text": "text", "words": "words", "labels": "column"}
    names = {name: settings.data.get(own) or name for name, own in settings_of.items()}
    sentence = settings.data.get("sentence")
    return labelled_words.joined(read, names, sentence, log.info, labelled=False)


@contextmanager
def _opened(shared: Processes, settings: Settings) -> Iterator[IO[bytes]]:
    """Open the output in process 0; what others write is lost.

    A table begins with a byte order mark if the input is of Excel, which reads no UTF-8 without it.
    """
    if shared.rank:
        yield io.BytesIO()
        return
    output = settings.output
    tables = (
        settings.text is None and settings.input != "-" and answer_rows.form_of(output) in TABLES
    )
    marked = tables and not is_plain_utf8(Path(settings.input))
    with opened_output(output) as file:
        if marked:
            file.write(codecs.BOM_UTF8)
        yield file
    if marked:
        log.info(_("{output}: UTF-8 with a byte order mark, which Excel needs", output=output))


def _say_shares(shared: Processes) -> None:
    """Say how many rows each of several processes has answered."""
    if shared.world > 1:
        counts = ", ".join(f"{count:,}" for count in shared.counts)
        log.info("rows answered by each of %d processes: %s", shared.world, counts)


def _arriving_whole(shared: Processes, encoding: str | None) -> Iterator[list[Row]]:
    """Yield the rows of standard input; for several processes in chunks as large as those of a file."""
    if shared.rank:
        return iter(())
    if sys.stdin is None:
        raise InputError(_("standard input is closed: add input=FILE or text=…"))
    source = arriving(sys.stdin.buffer, encoding)
    return source if shared.world == 1 else _chunks(chain.from_iterable(source))


def _form(task: Task, settings: Settings) -> str:
    """Return the output format. Word labels are in colour on a terminal.

    Raises InputError for a format of word labels with a task that has none, and for settings of
    labels with a task that has none.
    """
    labels_words = "words" in task.input_columns
    labelled = "label" in task.target_columns and not labels_words
    if settings.format in ("conll", "colour") and not labels_words:
        said = _(
            "format={form}: {task} labels no words: label or json",
            form=settings.format,
            task=task.name,
        )
        raise InputError(said)
    if (settings.top > 1 or settings.threshold > 0) and not labelled:
        raise InputError(
            _("top=…, threshold=…: {task} has no label for a whole text", task=task.name)
        )
    if settings.format != "label":
        return settings.format
    given = settings.input if settings.text is None else "-"
    form = answer_rows.form_of(settings.output, given)
    if form == "conll" and not labels_words:
        raise InputError(
            _("{task} labels no words: add output=FILE.jsonl, .csv or .tsv", task=task.name)
        )
    in_colour = labels_words and settings.output == "-" and is_terminal()
    return "colour" if in_colour and form == "label" else form


def _can_stream(settings: Settings, generation: GenerationConfig) -> bool:
    """Return whether only the text of one answer is written, so that it can be streamed."""
    return settings.output == "-" and settings.out is None and generation.n_best == 1


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
