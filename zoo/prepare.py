"""From settings and rows to what can be trained: a task, and its rows as ids on disk."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import torch

from zoo import hub
from zoo.backbone import Backbone
from zoo.batches import Store
from zoo.config import Settings, arguments
from zoo.corpora import Splits
from zoo.errors import InputError, RowError
from zoo.rows import Row, Rows
from zoo.task import Task, find
from zoo.text import TOKENIZERS, Tokenizer

log = logging.getLogger("zoo")


def build(
    settings: Settings, splits: Splits, tokenizer: Tokenizer | None = None, rows: int | None = None
) -> Task:
    """An untrained task, with tokenizer and labels learned from the first `rows` training rows."""
    kind, options, shape = checked(settings)
    source = Rows(lambda: islice(required(splits.train, kind), rows), splits.train.name)
    origin = None if settings.init is None else hub.load(settings.init)
    options |= kind.learn(source)
    if origin is not None:
        return kind(origin.backbone, origin.tokenizer, **options)
    if tokenizer is None:
        wanted = settings.tokenizer
        texts = (text for row in source for text in kind.texts(row))
        tokenizer = TOKENIZERS[wanted.kind].train(texts, wanted.size, wanted.min_count)
    return kind(Backbone(vocabulary_size=len(tokenizer), **shape), tokenizer, **options)


def checked(settings: Settings) -> tuple[type[Task], dict[str, Any], dict[str, Any]]:
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


def required(rows: Rows, kind: type[Task]) -> Iterator[Row]:
    """The rows, each looked at: the columns that the task is trained on must be there."""
    row = None
    for row in rows:
        for name in kind.columns:
            if row.get(name) is None:
                there = ", ".join(row)
                raise RowError(row.place, f"no {name!r}, there are {there}: set data.{name}=COLUMN")
        yield row
    if row is None:
        raise InputError(f"{rows.name}: holds no rows")


def encode(task: Task, rows: Rows, folder: Path) -> Store:
    """The rows of one split as a Store in `folder`. Says how many texts were cut."""
    store = Store.write(required(rows, type(task)), task.encode, folder)
    if cut := store.cut():
        share = 100 * cut / len(store)
        log.info("%s: %d of %d texts (%.1f %%) are cut", rows.name, cut, len(store), share)
    return store


def start_from_vectors(task: Task, store: Store) -> None:
    """Put word vectors learned from the training rows where the embedding has random ones."""
    from zoo import vectors  # scipy and scikit-learn, where they are needed

    embedding = task.backbone.embedding
    assert embedding is not None
    found = vectors.learn(store, embedding.num_embeddings, embedding.embedding_dim)
    with torch.no_grad():
        known = found.any(1, keepdim=True)  # the others keep their random start
        embedding.weight.copy_(torch.where(known, found, embedding.weight))
    log.info("word vectors for %d of %d ids", int(known.sum()), len(known))
