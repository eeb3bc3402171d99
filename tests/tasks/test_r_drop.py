"""R-Drop in each task that has it: its loss is that of two passes with other dropout masks."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import tag_cases
import torch
import translate_cases
from conftest import DATA, train
from torch.nn import functional as F

from tasks.classify import Classify, ClassifyConfig
from zoo.data.batch import Batch
from zoo.data.processors import LabelEncoder, LabelSetEncoder
from zoo.data.readers import Row
from zoo.nn.backbone import Backbone, BackboneConfig
from zoo.nn.losses.r_drop import binary_divergence, divergence
from zoo.task import Task
from zoo.text.tokenizers import Words

TEXTS = ["one two three four", "two", "four four one two three one"]
WEIGHT = 3.0


def classify(encoder, labels, dropout) -> tuple[Classify, Batch]:
    torch.manual_seed(0)
    tokenizer = Words.train(TEXTS, 50)
    shape = BackboneConfig(vocabulary_size=len(tokenizer), embedding_size=6, hidden_size=5)
    processors = {"tokenizer": tokenizer, "labels": encoder}
    task = Classify(Backbone(shape), processors, ClassifyConfig(dropout=dropout, r_drop=WEIGHT))
    pairs = zip(TEXTS, labels, strict=True)
    rows = [Row({"text": text, "label": label}, "here") for text, label in pairs]
    return task, task.collate([task.encode(row) for row in rows])


def single(dropout: float) -> tuple[Task, Batch]:
    return classify(LabelEncoder(["a", "b", "c"]), "abc", dropout)


def several(dropout: float) -> tuple[Task, Batch]:
    return classify(
        LabelSetEncoder(["a", "b", "c"], [2, 1, 1], 3), [["a", "b"], [], ["c"]], dropout
    )


def tag(dropout: float) -> tuple[Task, Batch]:
    options = {**tag_cases.STILL, "dropout": dropout}
    task = tag_cases.tagger(scale=0.7, label_smoothing=0.1, r_drop=WEIGHT, **options)
    return task, tag_cases.batch(task, tag_cases.ROWS[:2])


def translate(dropout: float) -> tuple[Task, Batch]:
    task = translate_cases.translate(dropout=dropout, r_drop=WEIGHT)
    return task, translate_cases.batch(task)


def found(task: Task, batch: Batch) -> torch.Tensor:
    torch.manual_seed(5)
    return task.training_step(batch).loss


each = pytest.mark.parametrize("made", [single, several, tag, translate])


@each
def test_without_dropout_both_passes_agree(made):
    task, batch = made(dropout=0.5)
    task.eval()
    twice = task.training_step(batch)
    task.config = replace(task.config, r_drop=0.0)
    once = task.training_step(batch)
    torch.testing.assert_close(twice.loss, once.loss)
    assert twice.count == once.count


@each
def test_the_loss_is_that_of_two_passes(made):
    task, batch = made(dropout=0.5)
    task.train()
    loss = found(task, batch)
    torch.manual_seed(5)
    first, second = (task(batch) for _ in range(2))  # (rows, classes) or (rows, steps, classes)
    assert not torch.equal(first, second)
    if made is several:
        between, targets = binary_divergence, batch.extras["label_ids"]
        losses = [task.decision.losses(each, targets).mean() for each in (first, second)]
    else:
        between, targets = divergence, batch.targets
        if targets.dim() > 1:
            real = targets >= 0
            first, second, targets = first[real], second[real], targets[real]
        smoothing = task.config.label_smoothing
        losses = [
            F.cross_entropy(each, targets, label_smoothing=smoothing) for each in (first, second)
        ]
    apart = between(first, second)
    assert apart > 0
    torch.testing.assert_close(loss, sum(losses) / 2 + WEIGHT / 2 * apart)


@pytest.mark.parametrize("name", ["classify", "tag", "translate"])
def test_a_training_with_r_drop(tmp_path, name):
    words = [f"task={name}", "data=files", f"data.train={DATA / name}.jsonl"]
    train(tmp_path / "plain", *words, "train.epochs=2")
    train(tmp_path / "run", *words, "train.epochs=2", "task.r_drop=2")
    report = json.loads((tmp_path / "run" / "report.json").read_text())
    assert report["settings"]["task"]["r_drop"] == 2
    lines = (
        (tmp_path / each / "metrics.jsonl").read_text().splitlines() for each in ("plain", "run")
    )
    plain, both = ([json.loads(line)["loss"] for line in part] for part in lines)
    assert both != plain
