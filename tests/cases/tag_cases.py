"""Helpers for the tests of tagging: the sentences of PyTorch's tutorial, spans and small taggers."""

from __future__ import annotations

from itertools import product

import pytest
import torch

from tasks.tag import Tag, TagConfig
from zoo.config import TokenizerConfig
from zoo.data.batch import Batch
from zoo.data.readers import Row
from zoo.nn.backbone import Backbone, BackboneConfig
from zoo.task import input_row, predict_rows


def sentences(*pairs) -> list[Row]:
    """Rows of (words, labels), both separated by blanks."""
    return [
        Row({"words": words.split(), "labels": labels.split()}, f"rows:{number}")
        for number, (words, labels) in enumerate(pairs, 1)
    ]


TUTORIAL = sentences(
    ("The dog ate the apple", "DET NN V DET NN"), ("Everybody read that book", "NN V DET NN")
)
SPANS = sentences(
    ("Ann Lee saw New York", "B-PER I-PER O B-LOC I-LOC"),
    ("she went to Rome", "O O O B-LOC"),
    ("Bob Ray left", "B-PER I-PER O"),
    ("so did Ann", "O O B-PER"),
)
MORE = sentences(
    ("the cat", "DET NN"),
    ("Everybody ate that zebra book the dog read", "NN V DET NN NN DET NN V"),
    ("xylophones", "NN"),
)
ROWS = [*TUTORIAL, *MORE]
STILL = {"dropout": 0.0, "character_dropout": 0.0, "singleton_dropout": 0.0}
KINDS = {"word+char": "whitespace", "subword": "characters"}  # setting `words` -> tokenizer kind
each = pytest.mark.parametrize(("words", "crf"), [*product(KINDS, (False, True))])


def tagger(rows=TUTORIAL, words="word+char", kind=None, scale=0.0, learned=None, **options) -> Tag:
    """An untrained tagger with the labels of the rows; `scale` is the std of random weights.

    `learned` replaces some of the processors that the rows give.
    """
    torch.manual_seed(0)
    wanted = TokenizerConfig(kind=kind or KINDS[words], size=60, min_count=1, coverage=1.0)
    options = {"character_embedding": 6, "character_hidden": 5, "words": words} | options
    config = TagConfig(**options)
    processors = Tag.learn(rows, config, wanted, learned or {})
    size = len(processors["tokenizer"])
    task = Tag(small_backbone(vocabulary_size=size), processors, config).eval()
    if scale:
        with torch.no_grad():
            for weight in task.parameters():
                weight.normal_(std=scale)
    return task


def small_backbone(**options) -> Backbone:
    """A backbone of 8 units without dropout."""
    still = {"dropout": 0.0, "input_dropout": 0.0, "word_dropout": 0.0}
    return Backbone(BackboneConfig(embedding_size=8, hidden_size=8, **still, **options))


def batch(task: Tag, rows) -> Batch:
    return task.collate([task.encode(row) for row in rows])


def loss(task: Tag, made: Batch) -> torch.Tensor:
    return task.training_step(made).loss


def learn(task: Tag, rows, steps=120, rate=0.02) -> Tag:
    """Train the task for `steps` steps on the rows, and return it in evaluation mode."""
    optimizer = torch.optim.Adam(task.train().parameters(), rate)
    for _ in range(steps):
        optimizer.zero_grad()
        loss(task, batch(task, rows)).backward()
        optimizer.step()
    return task.eval()


def answers(task: Tag, rows) -> list[dict]:
    """The answers to the words of rows."""
    return [*predict_rows(task, [input_row(task, row) for row in rows])]


def found(task: Tag, rows) -> list[list[str]]:
    """The labels that the task predicts for the words of rows."""
    return [answer["labels"] for answer in answers(task, rows)]
