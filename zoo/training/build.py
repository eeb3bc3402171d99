"""From settings and rows to what can be trained: a task, and its rows as ids on disk."""

from __future__ import annotations

import inspect
import logging
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch

from zoo.config import Settings, arguments
from zoo.data import labelled_words
from zoo.data.corpora import Splits, open_corpus
from zoo.data.corpora.splits import SETTINGS
from zoo.data.dataset import Dataset
from zoo.data.readers import Row, Rows
from zoo.errors import InputError, RowError
from zoo.evaluation.perplexity import PerplexityConfig
from zoo.generation.config import GenerationConfig
from zoo.loading import load
from zoo.nn.backbone import Backbone
from zoo.nn.directions import DROPOUTS, with_directions
from zoo.registry import find
from zoo.task import Task
from zoo.text.sentencepiece import SentencePieceOptions
from zoo.text.tokenizers import TOKENIZERS, Tokenizer
from zoo.training import embedding_init

log = logging.getLogger("zoo")


def build(
    settings: Settings, splits: Splits, kept: Sequence[Tokenizer] = (), rows: int | None = None
) -> Task:
    """An untrained task, with what is learned from the first `rows` training rows: tokenizers,
    unless they are `kept` from elsewhere, and labels. Raises InputError."""
    kind, options, shape = check_options(settings)
    source = Rows(lambda: islice(splits.train, rows), splits.train.name)
    origin = None if settings.init is None else load(settings.init)
    options |= kind.learn(source)
    if origin is not None:
        tokenizer, backbone, others = origin.tokenizer, _begun(origin, settings, shape), []
        if origin.target_tokenizer is not None and isinstance(origin, kind):
            others = [origin.target_tokenizer]
    else:
        tokenizer, *others = kept or learn_tokenizers(settings, source, kind)
        backbone = Backbone(vocabulary_size=len(tokenizer), **shape)
    if others:
        options["target_tokenizer"] = others[0]
    try:
        task = kind(backbone, tokenizer, **options)
    except ValueError as error:  # settings that are right alone and wrong together
        raise InputError(f"task={kind.__name__.lower()}: {error}") from None
    configure(task, settings)
    return task


def _begun(origin: Task, settings: Settings, shape: dict[str, Any]) -> Backbone:
    """The backbone of another training, with the dropouts of this one, turned as it was asked."""
    backbone = origin.backbone
    both = {"kept": backbone.lstm.bidirectional}.get(
        settings.directions, settings.directions == "both"
    )
    try:
        backbone = with_directions(backbone, both, **{name: shape[name] for name in DROPOUTS})
    except ValueError as error:
        raise InputError(f"init={settings.init}: {error}") from None
    way = "in both directions" if both else "to the right alone; directions=both adds the other way"
    log.info("init=%s: its backbone reads %s", settings.init, way)
    return backbone


def learn_tokenizers(settings: Settings, source: Rows, kind: type[Task]) -> list[Tokenizer]:
    """One tokenizer for all texts of a row, or with `tokenizer.shared=false` one for each."""
    wanted, trainer = settings.tokenizer, TOKENIZERS[settings.tokenizer.kind]
    sides: list[slice] = [slice(None)]
    if not wanted.shared:
        count = len(kind.tokenizer_texts(next(iter(source))))
        sides = [slice(side, side + 1) for side in range(count)]
    pieces = SentencePieceOptions(wanted.coverage, wanted.nfkc, wanted.split_digits, wanted.blanks)
    tokenizers: list[Tokenizer] = []
    for side in sides:
        texts = (text for row in source for text in kind.tokenizer_texts(row)[side])
        tokenizers.append(trainer.train(texts, wanted.size, wanted.min_count, pieces))
        if wanted.kind == "subwords" and len(tokenizers[-1]) < wanted.size:
            note = f"tokenizer.size={wanted.size}: the texts give {len(tokenizers[-1])} subwords"
            if settings.strict:
                raise InputError(note)
            log.info("%s", note)
    return tokenizers


def configure(task: Task, settings: Settings) -> None:
    """How the task looks for its answers, and what it is measured by. Raises InputError where it
    has no such choice."""
    options = arguments(GenerationConfig, settings.generation, "generation")
    try:
        task.generation = GenerationConfig(**options)
    except ValueError as error:
        raise InputError(f"generation: {error}") from None
    if task.generation != GenerationConfig() and not task.generates:
        raise InputError(f"generation.…: {task.name} does not generate its answers: leave it out")
    training = settings.mode == "train"  # its seed is not a part of the model
    if task.generation.sample and task.generation.seed is None and not training:
        task.generation = replace(task.generation, seed=settings.seed)
    task.word_splitter = settings.tokens
    if task.word_splitter != Task.word_splitter and "words" not in task.input_columns:
        raise InputError(f"tokens=…: {task.name} reads texts, not words: leave it out")
    task.perplexity_config = PerplexityConfig(
        **arguments(PerplexityConfig, settings.evaluate, "evaluate")
    )
    if task.perplexity_config != PerplexityConfig() and task.metric != "perplexity":
        raise InputError(f"evaluate.…: {task.name} has no perplexity: leave it out")


def check_options(settings: Settings) -> tuple[type[Task], dict[str, Any], dict[str, Any]]:
    """The task's class, its options, and the backbone's, each against its own signature."""
    options = dict(settings.task)
    kind = find(str(options.pop("name", "")))
    parameters = inspect.signature(kind.__init__).parameters.values()
    unset = {p.name for p in parameters if p.default is p.empty}  # learned, or made here
    given = {"self", "vocabulary_size", "input_size"}
    return (
        kind,
        arguments(kind.__init__, options, "task", unset),
        arguments(Backbone.__init__, settings.backbone, "backbone", given),
    )


class ValidRows(Rows):
    """The rows that a task can be trained on, or measured by.

    Each is looked at as it is read: the columns must be there; rows that the task calls unusable
    are left out and counted in `skipped`, or with `strict` are an error. Raises RowError, and
    InputError when no rows are left.
    """

    def __init__(
        self, rows: Rows, kind: type[Task], strict: bool = False, settings: Collection[str] = ()
    ) -> None:
        """`settings` are the names of the corpus's own, for the error message."""
        super().__init__(rows.read, rows.name)
        self.kind, self.strict, self.settings = kind, strict, settings
        self.skipped: Counter[str] = Counter()  # reason -> rows, of the last time

    def __iter__(self) -> Iterator[Row]:
        skipped: Counter[str] = Counter()
        none = True
        for row in self.read():
            if "text" in self.kind.training_columns() and "text" not in row and "words" in row:
                row = Row(row | {"text": " ".join(labelled_words.words(row))}, row.source)
            for name in self.kind.training_columns():
                if row.get(name) is None:
                    there = ", ".join(row)
                    raise RowError(row.source, f"no {name!r}, there are {there}{self.cure(name)}")
            reason = self.kind.reject(row)
            if reason is not None and self.strict:
                raise RowError(row.source, f"{reason}; strict=false skips such rows")
            if reason is None:
                none = False
                yield row
            else:
                skipped[reason] += 1
        self.skipped = skipped
        if none:
            raise InputError(f"{self.name}: holds no rows that can be used{self.note()}")

    def cure(self, name: str) -> str:
        """What to do about a column that is not there; not all corpora have settings for columns."""
        setting = SETTINGS.get(name, name)
        by_column = {"text", "label", setting} <= {*self.settings} or setting == "column"
        return f": set data.{setting}=COLUMN" if by_column else "; see data=files"

    def note(self) -> str:
        """What was skipped the last time, "" for nothing."""
        counts = ", ".join(f"{count} with {reason}" for reason, count in self.skipped.items())
        return f"; skipped are {counts}" if counts else ""


def note_skipped(rows: Rows, count: int) -> None:
    """Log what was left out when `count` rows were read, if anything was."""
    if isinstance(rows, ValidRows) and rows.skipped:
        log.info("%s: %d rows%s", rows.name, count, rows.note())


def open_rows(settings: Settings, kind: type[Task]) -> Splits:
    """The corpus of the settings, as far as its rows can be used."""
    splits = open_corpus(settings.data, kind.input_columns[0])
    train = splits.train
    if settings.train.fraction < 1:
        train = Rows(
            lambda: _some(splits.train, settings.train.fraction, settings.seed), train.name
        )
    parts = (train, splits.valid, splits.test)
    return Splits(*(ValidRows(rows, kind, settings.strict, settings.data) for rows in parts))


def _some(rows: Rows, share: float, seed: int) -> Iterator[Row]:
    """About a share of the rows, the same ones whenever the seed is the same."""
    generator = np.random.default_rng(seed)
    return (row for row in rows if generator.random() < share)


def encode(task: Task, rows: Rows, folder: Path) -> Dataset:
    """The rows of one split as a Store in `folder`. Says how many were skipped, and cut."""
    store = task.dataset_class.write(rows, task.encode, folder)
    note_skipped(rows, len(store))
    if cut := store.count_truncated():
        share = 100 * cut / len(store)
        log.info("%s: %d of %d texts (%.1f %%) are cut", rows.name, cut, len(store), share)
    return store


def start_from_vectors(task: Task, dataset: Dataset) -> None:
    """Put word vectors learned from the training rows where the embedding has random ones."""
    embedding = task.backbone.embedding
    assert embedding is not None
    found = embedding_init.learn(dataset, embedding.num_embeddings, embedding.embedding_dim)
    with torch.no_grad():
        known = found.any(1, keepdim=True)  # the others keep their random start
        embedding.weight.copy_(torch.where(known, found, embedding.weight))
    log.info("word vectors for %d of %d ids", int(known.sum()), len(known))
