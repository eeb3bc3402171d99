"""Compare training and prediction of a tagger with the tutorials' packed loop."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch

from zoo.bench import peer_tagger
from zoo.bench.measure import compare
from zoo.bench.sides import prepared, training
from zoo.config import Settings, check, compose
from zoo.data.dataset import ExampleList
from zoo.data.readers import Row
from zoo.device import find_precision
from zoo.errors import InputError
from zoo.task import predict_rows

SENTENCES = 512  # number of sentences in a round of prediction


def tag(arguments: Sequence[str], rounds: int) -> Iterator[dict[str, Any]]:
    """Measure training steps in the precisions of `sides.precisions`, and prediction.

    Our side takes batches of like length and dense kernels, and encodes each distinct word once.
    The tutorials' side takes random batches in fp32, and packs the rows and every word's
    characters. Neither side has a CRF. Both see each row once in a round, in batches of equally
    many rows. Without `data=…` the rows are embedded phrases, joined to the length of sentences.
    """
    settings = check(compose(["task=tag", "task.crf=false", *arguments]))
    rows, task = _word_by_word(settings)
    if not any(argument.startswith("data=") for argument in arguments):
        rows = lengthened(rows, settings.seed)
    examples = ExampleList([task.encode(row) for row in rows])
    words = sum(len(example["inputs"]) for example in examples.encoded)
    lstm, letters = task.backbone.rnn, task.speller.backbone.rnn
    peer = peer_tagger.PackedTagger(
        len(task.tokenizer),
        lstm.input_size,
        lstm.hidden_size,
        lstm.num_layers,
        len(task.processors["characters"]),
        letters.input_size,
        letters.hidden_size,
        len(task.labels),
    ).to(task.device)
    size = settings.train.batch_rows
    order = np.random.default_rng(settings.seed).permutation(len(examples))
    starts = range(0, len(order), size)
    batches = [
        peer_tagger.Spelt.of(task.collate(examples.examples(order[i : i + size]))).to(task.device)
        for i in starts
    ]
    trained = training(
        task, peer, batches, examples, settings, "packed fp32", "words/s", words, rounds
    )
    for _, case in trained:
        yield case
    yield _prediction(task, peer, rows[:SENTENCES], rounds)


def _word_by_word(settings: Settings) -> tuple[list[Row], Any]:
    """Return rows and task. Raises InputError for a task that does not read words by character."""
    task: Any
    rows, task = prepared(settings)
    if task.config.words != "word+char":
        raise InputError("zoo.bench tag: the tutorial's loop reads task.words=word+char")
    return rows, task


def lengthened(rows: list[Row], seed: int) -> list[Row]:
    """Join phrases to sentences about as long as those of treebanks.

    The target length is normally distributed with mean 17, clipped to 3 and 50 words.
    """
    draw = np.random.default_rng(seed)
    rest = deque(rows)
    sentences = []
    while rest:
        length = np.clip(draw.normal(17, 9), 3, 50)
        words: list[str] = []
        labels: list[str] = []
        while rest and len(words) < length:
            row = rest.popleft()
            words, labels = words + row["words"], labels + row["labels"]
        sentences.append(Row({"words": words, "labels": labels}, row.source))
    return sentences


def _prediction(task: Any, peer: torch.nn.Module, rows: list[Row], rounds: int) -> dict[str, Any]:
    """Time prediction from words to labels, encoding included. The peer takes one sentence at a time."""
    asked = [Row({"words": row["words"]}, row.source) for row in rows]
    words = sum(len(row["words"]) for row in asked)
    precision = find_precision("auto", task.device)

    @torch.no_grad()
    def theirs() -> None:
        peer.eval()
        for row in asked:
            batch = peer_tagger.Spelt.of(task.collate([task.encode(row)]))
            peer(batch.to(task.device)).argmax(-1).tolist()

    def ours() -> None:
        list(predict_rows(task, asked, precision))

    name = f"prediction, {precision}, against one sentence at a time"
    return compare(name, "words/s", words, ours, theirs, rounds)
