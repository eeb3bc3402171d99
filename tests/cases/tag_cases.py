"""Helpers for the tests of tagging: the sentences of PyTorch's tutorial, spans and small taggers."""

from __future__ import annotations

from itertools import product

import pytest
import torch

from tasks.tag import Tag
from zoo.data.dataset import Batch
from zoo.data.readers import Row
from zoo.nn.backbone import Backbone
from zoo.text.sentencepiece import SentencePieceOptions
from zoo.text.tokenizers import TOKENIZERS


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


def tagger(rows=TUTORIAL, words="word+char", kind=None, scale=0.0, **options) -> Tag:
    """An untrained tagger with the labels of the rows; `scale` is the std of random weights."""
    torch.manual_seed(0)
    texts = [text for row in rows for text in Tag.tokenizer_texts(row)]
    tokenizer = TOKENIZERS[kind or KINDS[words]].train(
        texts, 60, pieces=SentencePieceOptions(coverage=1.0)
    )
    backbone = Backbone(len(tokenizer), embedding_size=8, hidden_size=8)
    options = {"character_embedding": 6, "character_hidden": 5} | options
    task = Tag(backbone, tokenizer, **(Tag.learn(rows) | options), words=words).eval()
    if scale:
        with torch.no_grad():
            for weight in task.parameters():
                weight.normal_(std=scale)
    return task


def batch(task: Tag, rows) -> Batch:
    return Batch.collate([task.encode(row) for row in rows], range(len(rows)))


def learn(task: Tag, rows, steps=120, rate=0.02) -> Tag:
    """Train the task for `steps` steps on the rows, and return it in evaluation mode."""
    optimizer = torch.optim.Adam(task.train().parameters(), rate)
    for _ in range(steps):
        optimizer.zero_grad()
        task.loss(batch(task, rows)).backward()
        optimizer.step()
    return task.eval()


def found(task: Tag, rows) -> list[list[str]]:
    """The labels that the task predicts for the words of rows."""
    return [answer["labels"] for answer in task.predict_rows(map(task.input_row, rows))]
