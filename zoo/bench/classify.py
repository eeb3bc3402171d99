"""Compare training and prediction of a document classifier with the tutorials' packed loop."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, cast

import numpy as np
import torch

from zoo.bench import peers
from zoo.bench.measure import compare, matrix_rate
from zoo.bench.sides import collated, prepared, training
from zoo.config import check, compose
from zoo.data.dataset import ExampleList
from zoo.data.processors import LabelEncoder
from zoo.data.readers import Row
from zoo.device import find_precision
from zoo.task import Task, predict_rows

TEXTS = 512  # number of texts in a round of prediction


def classify(arguments: Sequence[str], rounds: int) -> Iterator[dict[str, Any]]:
    """Measure training steps in the precisions of `sides.precisions`, and prediction.

    Our side takes batches of like length and dense kernels. The tutorials' side takes random
    batches, packed, in fp32. Both see each row once in a round, in batches of equally many rows.
    """
    settings = check(compose(["task=classify", *arguments]))
    rows, task = prepared(settings)
    examples = ExampleList([task.encode(row) for row in rows])
    tokens = sum(len(example["inputs"]) for example in examples.encoded)
    size, lstm = settings.train.batch_rows, task.backbone.rnn
    peer = peers.PackedClassifier(
        len(task.tokenizer),
        lstm.input_size,
        lstm.hidden_size,
        lstm.num_layers,
        len(cast(LabelEncoder, task.processors["labels"])),
    ).to(task.device)
    order = np.random.default_rng(settings.seed).permutation(len(examples))
    starts = range(0, len(order), size)
    batches = [collated(task, examples, order[i : i + size]) for i in starts]
    trained = training(
        task, peer, batches, examples, settings, "packed fp32", "tokens/s", tokens, rounds
    )
    for precision, case in trained:
        yield case | _share(task, precision, case["ours"])
    yield _prediction(task, peer, rows[:TEXTS], rounds)


def _prediction(task: Task, peer: torch.nn.Module, rows: list[Row], rounds: int) -> dict[str, Any]:
    """Time prediction from text to label, tokenizer included. The peer takes one text at a time."""
    asked = [Row({"text": row["text"]}, row.source) for row in rows]
    precision = find_precision("auto", task.device)

    @torch.no_grad()
    def theirs() -> None:
        peer.eval()
        for row in asked:
            batch = task.collate([task.encode(row)]).to(task.device)
            peer(batch).argmax(-1).item()

    def ours() -> None:
        list(predict_rows(task, asked, precision))

    return compare(
        "prediction, against one text at a time", "texts/s", len(rows), ours, theirs, rounds
    )


def _share(task: Task, precision: str, tokens_per_second: float) -> dict[str, float]:
    """Return the rate of the LSTM's operations, and its share of a plain matrix product's rate."""
    lstm = task.backbone.rnn
    weights = sum(w.numel() for name, w in lstm.named_parameters() if "weight" in name)
    reached = 3 * 2 * weights * tokens_per_second  # the backward pass costs two forward passes
    peak = matrix_rate(task.device, precision)
    return {"gflops": reached / 1e9, "matrix_product_share": reached / peak}
