"""Build an untrained task from settings and rows, and encode its rows on disk."""

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
    """Build an untrained task. Raises InputError.

    Labels and tokenizers are learned from the first `rows` training rows, or from all. Tokenizers
    in `kept` are used as they are. With `init=` its model gives backbone and tokenizers.
    """
    kind, options, shape = check_options(settings)
    source = Rows(lambda: islice(splits.train, rows), splits.train.name)
    origin = None if settings.init is None else load(settings.init)
    options |= kind.learn(source)
    if origin is not None:
        tokenizer = origin.tokenizer
        backbone = _initial_backbone(origin, settings, shape)
        others = []
        if origin.target_tokenizer is not None and isinstance(origin, kind):
            others = [origin.target_tokenizer]
    else:
        tokenizer, *others = kept or learn_tokenizers(settings, source, kind)
        backbone = Backbone(vocabulary_size=len(tokenizer), **shape)
    if others:
        options["target_tokenizer"] = others[0]
    try:
        task = kind(backbone, tokenizer, **options)
    except ValueError as error:  # options that do not fit together
        raise InputError(f"task={kind.__name__.lower()}: {error}") from None
    configure(task, settings)
    return task


def _initial_backbone(origin: Task, settings: Settings, shape: dict[str, Any]) -> Backbone:
    """The backbone of `init=`, with this training's dropouts and directions."""
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
    """Train one tokenizer for all texts of a row, or with `tokenizer.shared=false` one for each."""
    wanted = settings.tokenizer
    trainer = TOKENIZERS[wanted.kind]
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
    """Set the task's generation config, word splitter and perplexity config.

    Raises InputError for settings that the task does not have.
    """
    options = arguments(GenerationConfig, settings.generation, "generation")
    try:
        task.generation = GenerationConfig(**options)
    except ValueError as error:
        raise InputError(f"generation: {error}") from None
    if task.generation != GenerationConfig() and not task.generates:
        raise InputError(f"generation.…: {task.name} does not generate its answers: leave it out")
    training = settings.mode == "train"  # a training's seed is not saved with the model
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
    """Check the options of task and backbone against the signatures of their classes.

    Returns the task's class, its options, and the options of the backbone. Raises InputError.
    """
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
    """The rows of a split that a task can use; each is checked as it is read.

    Raises RowError for a row without a needed column. Rows that the task rejects are skipped and
    counted in `skipped`; with `strict` they raise RowError. Raises InputError when no rows are left.
    """

    def __init__(
        self, rows: Rows, kind: type[Task], strict: bool = False, settings: Collection[str] = ()
    ) -> None:
        """`settings` are the names of the corpus's settings, for error messages."""
        super().__init__(rows.read, rows.name)
        self.kind, self.strict, self.settings = kind, strict, settings
        self.skipped: Counter[str] = Counter()  # reason -> rows, of the last pass

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
        """The end of an error message: how to name a missing column, if the corpus has such settings."""
        setting = SETTINGS.get(name, name)
        by_column = {"text", "label", setting} <= {*self.settings} or setting == "column"
        return f": set data.{setting}=COLUMN" if by_column else "; see data=files"

    def note(self) -> str:
        """The rows skipped in the last pass and why, "" for none."""
        counts = ", ".join(f"{count} with {reason}" for reason, count in self.skipped.items())
        return f"; skipped are {counts}" if counts else ""


def note_skipped(rows: Rows, count: int) -> None:
    """Log the skipped rows, if any, after `count` rows were read."""
    if isinstance(rows, ValidRows) and rows.skipped:
        log.info("%s: %d rows%s", rows.name, count, rows.note())


def open_rows(settings: Settings, kind: type[Task]) -> Splits:
    """Open the corpus of the settings; its splits hold only rows that the task can use."""
    splits = open_corpus(settings.data, kind.input_columns[0])
    train = splits.train
    if settings.train.fraction < 1:
        train = Rows(
            lambda: _some(splits.train, settings.train.fraction, settings.seed), train.name
        )
    parts = (train, splits.valid, splits.test)
    return Splits(*(ValidRows(rows, kind, settings.strict, settings.data) for rows in parts))


def _some(rows: Rows, share: float, seed: int) -> Iterator[Row]:
    """A random share of the rows; the same seed draws the same rows."""
    generator = np.random.default_rng(seed)
    return (row for row in rows if generator.random() < share)


def encode(task: Task, rows: Rows, folder: Path) -> Dataset:
    """Encode the rows of one split into `folder`. Logs how many were skipped or truncated."""
    dataset = task.dataset_class.write(rows, task.encode, folder)
    note_skipped(rows, len(dataset))
    cut = dataset.count_truncated()
    if cut:
        share = 100 * cut / len(dataset)
        log.info("%s: %d of %d texts (%.1f %%) are cut", rows.name, cut, len(dataset), share)
    return dataset


def start_from_vectors(task: Task, dataset: Dataset) -> None:
    """Initialize the embedding with word vectors learned from the training rows."""
    embedding = task.backbone.embedding
    assert embedding is not None
    found = embedding_init.learn(dataset, embedding.num_embeddings, embedding.embedding_dim)
    with torch.no_grad():
        known = found.any(1, keepdim=True)  # the other ids keep their random vectors
        embedding.weight.copy_(torch.where(known, found, embedding.weight))
    log.info("word vectors for %d of %d ids", int(known.sum()), len(known))
