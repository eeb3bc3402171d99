"""What the tests of translation share: four pairs, and small models that answer them."""

from __future__ import annotations

import torch
from backbone_cases import make_backbone

from tasks.translate import Translate, TranslateConfig
from zoo.data.batch import Batch
from zoo.data.readers import Row
from zoo.task import input_row
from zoo.text.special_ids import EOS
from zoo.text.tokenizers import Words

ENGLISH = [
    "two small birds stand on old houses",
    "four",
    "new cats sleep",
    "old birds sleep on four",
]
GERMAN = [
    "zwei kleine Vögel stehen auf alten Häusern",
    "vier",
    "neue Katzen schlafen",
    "alte Vögel schlafen auf vier",
]
ROWS = [Row({"source": s, "target": t}, "here") for s, t in zip(ENGLISH, GERMAN, strict=True)]
SHAPE = {"num_layers", "layer_norm", "bidirectional", "input_dropout"}  # of the backbone's options


def translate(kind=Words, own=False, scale=0.7, end=0.0, **options) -> Translate:
    """An untrained model with random weights; `own`: a tokenizer for each side; `end` is added to
    the logit of EOS. With scale=2, end=4 it gives each row its own answer, and ends some early."""
    torch.manual_seed(0)
    tokenizer = kind.train(ENGLISH if own else ENGLISH + GERMAN, 70)
    processors = {"tokenizer": tokenizer}
    if own:
        processors["target_tokenizer"] = kind.train(GERMAN, 60)
    shape = {name: options.pop(name) for name in SHAPE & {*options}}
    backbone = make_backbone(len(tokenizer), embedding_size=8, hidden_size=6, **shape)
    task = Translate(backbone, processors, TranslateConfig(**options)).eval()
    with torch.no_grad():
        for weight in task.parameters():
            weight.normal_(std=scale)
        task.tokens.bias[EOS] += end
    return task


def batch(task: Translate, rows=ROWS) -> Batch:
    return task.collate([task.encode(row) for row in rows])


def asked(task: Translate, rows=ROWS) -> Batch:
    """The rows without their targets."""
    return batch(task, [input_row(task, row) for row in rows])
