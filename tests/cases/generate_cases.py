"""What the language-model tests share: an untrained model with large weights, and prompts."""

from __future__ import annotations

from functools import cache

import pytest
import torch
from backbone_cases import make_backbone

from tasks.generate import Generate, GenerateConfig
from zoo.data.batch import Batch
from zoo.data.readers import Row
from zoo.text.sentencepiece import SentencePieceOptions
from zoo.text.special_ids import EOS
from zoo.text.tokenizers import TOKENIZERS

TEXTS = [
    "the old cat reads a book.",
    "a small dog finds two apples\nand our teacher finds the map",
    "my sister paints the river at noon.",
    "the river\n  the old map\n  a small book",
]
PROMPTS = ["", "the old cat", "a", "my sister paints\nthe river", "a small dog finds", "the\n"]
streams = pytest.mark.parametrize("stream", [True, False], ids=["stream", "rows"])


@cache
def learned(kind):
    return TOKENIZERS[kind].train(TEXTS, 60, pieces=SentencePieceOptions(coverage=1.0, blanks=True))


def language(kind="words", end=0.0, **options) -> Generate:
    """Return an untrained float64 model with random weights. `end` is the bias of EOS."""
    torch.manual_seed(0)
    tokenizer = learned(kind)
    backbone = make_backbone(
        len(tokenizer), embedding_size=8, hidden_size=16, num_layers=2, bidirectional=False
    )
    task = Generate(backbone, {"tokenizer": tokenizer}, GenerateConfig(**options)).double().eval()
    with torch.no_grad():
        for name, weight in task.named_parameters():
            weight.normal_(std=0.0 if "bias" in name else 1.5)
        task.tokens.bias[EOS] = end
    return task


def asked(task, prompts=PROMPTS) -> Batch:
    return task.collate([task.encode(Row({"prompt": prompt}, "here")) for prompt in prompts])


@torch.no_grad()
def continued(task, batch, config) -> list[list[tuple[str, float]]]:
    """Return, for each prompt of a batch, its texts with their scores."""
    answers = task.predict_batch(batch, config=config)
    return [[(found["text"], found["score"]) for found in answer["n_best"]] for answer in answers]


def continuation(task, prompt, config) -> list[str]:
    """Return the pieces that a model adds to a prompt, by sampling or greedy search."""
    first, *pieces = task.stream(prompt, config)
    assert first == prompt
    return pieces
