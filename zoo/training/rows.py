"""The rows of a run: which ones a task can use, and their encoded form on disk."""

from __future__ import annotations

import logging
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from zoo.config import Settings
from zoo.data import labelled_words
from zoo.data.corpora import Splits, in_memory, open_corpus
from zoo.data.corpora.splits import SETTINGS, TENTH_OF
from zoo.data.dataset import Dataset
from zoo.data.processors import LabelEncoder
from zoo.data.readers import Row, Rows, check_value, is_empty, label_set, lines_only
from zoo.errors import InputError, RowError
from zoo.messages import _, listed
from zoo.task import Task
from zoo.text.special_ids import UNK
from zoo.text.tokenizers import units
from zoo.training.resume.rows import RowHashes

log = logging.getLogger("zoo")

SHOWN = 5  # labels that a log line names
MOST_KNOWN = 0.05  # share of texts that may stand in the training rows without a word
FEW_LABELS = 10  # that rows may have without a word, however few the rows are
LONGEST_NAME = 3  # words of a column's name; more are a text, so the header is missing
SENTENCE = re.compile(r"[。！？]|[^\x00-\x7f]{20}")  # in a text of a script without blanks
FEW = 3  # tokens: a text with fewer is hardly a text
MOST_TOKENS = 1_000_000  # tokens that are looked at for a warning


class ValidRows(Rows):
    """The rows of a split that a task can use; each is checked as it is read.

    Raises RowError for a row without a needed column. Rows with nothing in a column of
    `not_empty` are skipped and counted in `skipped`; with `strict` they raise RowError. Raises
    InputError when no rows are left.
    """

    def __init__(
        self, rows: Rows, kind: type[Task], strict: bool = False, settings: Collection[str] = ()
    ) -> None:
        """`settings` are the names of the corpus's settings, for error messages."""
        super().__init__(rows.read, rows.name)
        self.kind = kind
        self.strict = strict
        self.settings = settings
        self.skipped: Counter[str] = Counter()  # reason -> rows, of the last pass

    def __iter__(self) -> Iterator[Row]:
        skipped: Counter[str] = Counter()
        none = True
        columns = self.kind.training_columns
        may_be_empty = {*self.kind.not_empty, *self.kind.text_columns}  # a line of a text, too
        for row in self.read():
            if "text" in columns and "text" not in row and "words" in row:
                row = Row(row | {"text": " ".join(labelled_words.words(row))}, row.source)
            for name in columns:
                check_value(row, name)
                if row.get(name) is None:
                    raise RowError(row.source, self.missing(row))
            empty = [name for name in self.kind.not_empty if is_empty(row[name])]
            reason = _("no words")
            if empty != ["words"]:
                named = (row.names.get(name, name) for name in empty)
                reason = _("an empty {columns}", columns=" and ".join(named))
            if empty and self.strict:
                cure = _("{reason}; strict=false skips such rows", reason=reason)
                raise RowError(row.source, cure)
            if empty:
                skipped[reason] += 1
                continue
            for name in self.kind.target_columns:
                if name == "label" and isinstance(row[name], (list, tuple)):
                    label_set(row)
                check_value(row, name, may_be_empty=name in may_be_empty)
            none = False
            yield row
        self.skipped = skipped
        if none:
            given = TENTH_OF not in self.name
            raise InputError(
                _(
                    "{name}: holds no rows that can be used{note}{cure}",
                    name=self.name,
                    note=self.note(),
                    cure="" if given else _("; give data.valid=FILE and data.test=FILE"),
                )
            )

    def missing(self, row: Row) -> str:
        """Return an error message: the columns that a row lacks, and how to name them."""
        lacks = [name for name in self.kind.training_columns if row.get(name) is None]
        names = _("no {column!r}", column=lacks[0])
        for name in lacks[1:]:
            names = _("{columns} and no {column!r}", columns=names, column=name)
        what = _("{missing}, there are {columns}", missing=names, columns=", ".join(row))
        settings = [SETTINGS.get(name, name) for name in lacks]
        if "future" in self.kind.target_columns:
            return _("{what}; data=series data.path=FILE reads a table of time series", what=what)
        if cure := lines_only(row):
            return what + ": " + cure
        if any(
            setting != "column" and not {"text", "label", setting} <= {*self.settings}
            for setting in settings
        ):
            return _("{what}; see data=files", what=what)
        columns = (_("data.{setting}=COLUMN", setting=setting) for setting in settings)
        given = listed(columns, " ")
        said: str = _("{what}: set {settings}", what=what, settings=given)
        if any(len(name.split()) > LONGEST_NAME or SENTENCE.search(name) for name in row):
            header = ",".join(self.kind.training_columns)
            said += _("; a file without a header needs one: {header}", header=header)
        return said

    def note(self) -> str:
        """Return the rows skipped in the last pass and why, "" for none."""
        if not self.skipped:
            return ""
        counts = listed(
            _("{count} with {reason}", count=count, reason=reason)
            for reason, count in self.skipped.items()
        )
        return _("; skipped are {counts}", counts=counts)


def say_labels(task: Task) -> None:
    """Log labels that differ in their spelling alone, and that nearly each row has a label of its own."""
    encoder = task.processors.get("labels")
    if not isinstance(encoder, LabelEncoder) or encoder.counts is None:
        return
    groups: dict[Any, list[str]] = {}
    for label, count in zip(encoder.labels, encoder.counts, strict=True):
        groups.setdefault(_spelling(label), []).append(f"{label!r} ({count})")
    alike = [" / ".join(found) for found in groups.values() if len(found) > 1]
    if alike:
        shown = listed(alike[:SHOWN]) + " …" * (len(alike) > SHOWN)
        log.warning(
            _(
                "labels that differ in their spelling alone are different ones: {labels}",
                labels=shown,
            )
        )
    rows = sum(encoder.counts)
    if "label" in task.target_columns and len(encoder) > max(FEW_LABELS, rows / 2):
        said: str = _(
            "{labels} labels of {rows} training rows: is data.label=COLUMN the right one?",
            labels=len(encoder),
            rows=rows,
        )
        if all(isinstance(spelling, float) for spelling in groups):
            said += " " + _("numbers that are measured are no classes")
        log.warning(said)


def say_known(rows: Rows, hashes: RowHashes, train: RowHashes) -> None:
    """Log how many rows of a split stand in the training rows, too, if they are more than a few."""
    count = 0 if hashes is train else hashes.known(train)
    if count > MOST_KNOWN * len(hashes):
        log.warning(
            _(
                "{name}: {count:,} of {rows:,} texts stand in the training rows, too: its figures "
                "flatter",
                name=rows.name,
                count=count,
                rows=len(hashes),
            )
        )


def _spelling(label: str) -> str | float:
    """Return what equal labels share: their number, or their letters without capitals and blanks."""
    with suppress(ValueError):
        if "_" not in label:
            return float(label)
    return re.sub(r"[\s_-]+", " ", unicodedata.normalize("NFKC", label)).strip().casefold()


def open_rows(settings: Settings, kind: type[Task], corpus: Splits | None = None) -> Splits:
    """Open the corpus of the settings; its splits hold only rows that the task can use.

    `corpus` are the rows of a training from Python. Raises InputError where they are missing.
    """
    if corpus is None and settings.data.get("name") == in_memory.NAME:
        raise InputError(
            _(
                "data={name}: its rows were values of a Python program: go on in Python, fit(…, "
                "resume=DIR)",
                name=in_memory.NAME,
            )
        )
    splits = open_corpus(settings.data, kind.input_columns[0]) if corpus is None else corpus
    train = splits.train
    if settings.train.fraction < 1:
        share, seed = settings.train.fraction, settings.seed
        kept = cache(lambda: _first_rows(splits.train, share, seed, kind))
        train = Rows(lambda: _some(splits.train, share, seed, kept), train.name)
    parts = (train, splits.valid, splits.test)
    return Splits(*(ValidRows(rows, kind, settings.strict, settings.data) for rows in parts))


def _some(rows: Rows, share: float, seed: int, kept: Callable[[], set[int]] = set) -> Iterator[Row]:
    """Yield a random share of the rows; the same seed draws the same rows.

    `kept` returns the numbers of the rows that are kept in any case.
    """
    generator = np.random.default_rng(seed)
    always = kept()
    for number, row in enumerate(rows):
        if generator.random() < share or number in always:
            yield row


def _first_rows(rows: Rows, share: float, seed: int, kind: type[Task]) -> set[int]:
    """Return the first row of each label that a random share of the rows would lose."""
    generator = np.random.default_rng(seed)
    first: dict[str, int] = {}
    drawn: set[str] = set()
    for number, row in enumerate(rows):
        labels = labels_of(row, kind)
        if generator.random() < share:
            drawn.update(labels)
        for label in labels:
            first.setdefault(label, number)
    lost = {number for label, number in first.items() if label not in drawn}
    if lost:
        log.info("%s: %d rows of labels that the share misses are kept", rows.name, len(lost))
    return lost


def labels_of(row: Row, kind: type[Task]) -> list[str]:
    """Return the labels of a row: one of a text, one for each word, or none of other tasks."""
    if kind.target_columns == ("label",) and row.get("label") is not None:
        return label_set(row)
    if kind.target_columns == ("labels",) and "words" in row and "labels" in row:
        return labelled_words.labels(row)
    return []


def encode_rows(task: Task, rows: Rows, folder: Path, hashes: RowHashes | None = None) -> Dataset:
    """Encode the rows of one split into `folder`; log how many are skipped, cut or unknown.

    The hashes of the rows are added to `hashes`. A label that the training rows lack counts as a
    mistake; with `strict` it raises RowError.
    """
    unknown: Counter[str] = Counter()
    strict = isinstance(rows, ValidRows) and rows.strict
    dataset = task.dataset_class.write(
        _noted(rows, task, unknown, strict, hashes), task.encode, folder
    )
    if isinstance(rows, ValidRows) and rows.skipped:
        said = _("{name}: {count} rows{note}", name=rows.name, count=len(dataset), note=rows.note())
        log.info(said)
    cut = dataset.count_truncated()
    if cut:
        share = 100 * cut / len(dataset)
        log.info(
            _(
                "{name}: {cut} of {count} texts ({share:.1f} %) are cut",
                name=rows.name,
                cut=cut,
                count=len(dataset),
                share=share,
            )
        )
    if unknown:
        shown = ", ".join(f"{label!r} ({count})" for label, count in unknown.most_common(SHOWN))
        more = _(" and {count} more", count=len(unknown) - SHOWN) if len(unknown) > SHOWN else ""
        log.info(
            _(
                "{name}: {count} labels that the training rows lack count as mistakes: "
                "{labels}{more}",
                name=rows.name,
                count=unknown.total(),
                labels=shown,
                more=more,
            )
        )
    _warn_of_tokens(task, dataset, rows.name)
    return dataset


def _noted(
    rows: Rows, task: Task, unknown: Counter[str], strict: bool, hashes: RowHashes | None
) -> Iterator[Row]:
    """Yield the rows; hash them; count their labels that the task does not know in `unknown`."""
    encoder = task.processors.get("labels")
    for row in rows:
        if isinstance(encoder, LabelEncoder):
            new = [label for label in labels_of(row, type(task)) if label not in encoder.ids]
            if new and strict:
                cure = "strict=false counts it as a mistake"
                reason = f"label {new[0]!r} does not occur in the training rows; {cure}"
                raise RowError(row.source, reason)
            unknown.update(new)
        if hashes is not None:
            hashes.add(row)
        yield row


def _warn_of_tokens(task: Task, dataset: Dataset, name: str) -> None:
    """Warn when most rows have under three tokens, or when most tokens are unknown."""
    if "tokenizer" not in task.processors or task.dataset_class is not Dataset:
        return
    kind = task.tokenizer.kind
    words = "words" in task.input_columns
    cure = ""
    if not words and kind != "characters":
        cure = _(": set tokenizer.kind=characters or subwords")
    ids = dataset.values["inputs"]
    ends = dataset.ends["inputs"]
    few = FEW + ("source" in task.input_columns)  # its inputs end with EOS
    short = float(np.mean(np.diff(ends, prepend=0) < few))
    if short > 0.5 and not words:
        log.warning(
            _(
                "{name}: {share:.0f} % of the texts have under {few} {kind}{cure}",
                name=name,
                share=100 * short,
                few=FEW,
                kind=units(kind),
                cure=cure,
            )
        )
    unknown = float(np.mean(ids[:MOST_TOKENS] == UNK)) if len(ids) else 0.0
    if unknown > 0.5:
        log.warning(
            _(
                "{name}: {share:.0f} % of the {kind} are unknown{cure}",
                name=name,
                share=100 * unknown,
                kind=units(kind),
                cure=cure,
            )
        )
