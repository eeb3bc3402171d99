"""Small untrained models of every task in `tasks/`, for tests of what all tasks promise."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import fields

import torch
from conftest import DATA, ROOT, build_task, settings

import zoo
from tasks.classify import Classify, ClassifyConfig
from tasks.generate import Generate, GenerateConfig
from tasks.tag import Tag, TagConfig
from tasks.translate import Translate, TranslateConfig
from zoo.data import labelled_words, readers
from zoo.data.batch import Batch
from zoo.data.processors import LabelEncoder
from zoo.data.readers import Row
from zoo.generation.config import GenerationConfig
from zoo.nn.backbone import Backbone, BackboneConfig
from zoo.registry import find
from zoo.shared_backbone import Multitask
from zoo.task import Task, input_row
from zoo.text.tokenizers import Subwords

TASKS = sorted(path.stem for path in (ROOT / "tasks").glob("[a-z]*.py"))
SMALL = ["backbone.embedding_size=8", "backbone.hidden_size=6"]


def toys(name: str) -> list[Row]:
    """Return the toy rows of a task."""
    return list(readers.read(DATA / f"{name}.jsonl"))


def still(name: str) -> list[str]:
    """Return settings that turn every dropout of a task and its backbone off."""
    options = [f"backbone.{field.name}" for field in fields(BackboneConfig)]
    options += [f"task.{field.name}" for field in fields(find(name).config_class)]
    return [f"{option}=0" for option in options if option.endswith("dropout")]


def untrained(name: str, *overrides: str, scale: float = 0.6) -> Task:
    """Return a small model in eval mode, without dropout unless `overrides` ask for it.

    Its weights are so large that answers differ from text to text.
    """
    torch.manual_seed(0)
    task = build_task(settings(None, *SMALL, *still(name), *overrides, task=name))
    return _wild(task, scale)


def untrained_heads(scale: float = 0.6, cell: str = "lstm") -> Multitask:
    """Return a multitask model with a head of each kind, in eval mode, without dropout."""
    torch.manual_seed(0)
    rows = {name: toys(name) for name in ("classify", "tag", "translate", "generate")}
    texts = [_text(value) for each in rows.values() for row in each for value in row.values()]
    shared = {"tokenizer": Subwords.train(texts, 200)}
    size = len(shared["tokenizer"])
    off = dict.fromkeys(("dropout", "input_dropout", "word_dropout"), 0.0)
    backbone = Backbone(
        BackboneConfig(vocabulary_size=size, embedding_size=8, hidden_size=8, cell=cell, **off)
    )
    labels = LabelEncoder(["mountain", "sea"])
    learned = labelled_words.learn(rows["tag"])
    plain = TagConfig(words="subword", append_eos=True, dropout=0.0, singleton_dropout=0.0)
    short = {"generation": GenerationConfig(beam_size=2, max_length=6)}
    heads: dict[str, Task] = {
        "topic": Classify(
            backbone, {**shared, "labels": labels}, ClassifyConfig(append_eos=True, dropout=0.0)
        ),
        "word": Tag(backbone, {**shared, **learned}, plain),
        "german": Translate(backbone, shared, TranslateConfig(dropout=0.0, **short)),
        "story": Generate(backbone, shared, GenerateConfig(**short)),
    }
    return _wild(zoo.multitask(backbone, heads), scale)


def _wild(task, scale: float):
    with torch.no_grad():
        for weight in task.parameters():
            weight.normal_(std=scale)
    return task.eval()


def heads_of(task: Task) -> Iterator[Task]:
    """Yield the heads of a multitask model; of any other model, itself."""
    if isinstance(task, Multitask):
        yield from (head for _, head in task.each())
    else:
        yield task


def asked(task: Task, rows: Sequence[Row]) -> list:
    """Return what `predict` is asked of toy rows: their texts, or the rows of other inputs."""
    return [_text(row.get(task.input_columns[0], row.get("text"))) or dict(row) for row in rows]


def _text(value) -> str | None:
    """Return a text, or words with blanks between; None for features."""
    if isinstance(value, str):
        return value
    words = isinstance(value, list) and all(isinstance(each, str) for each in value)
    return " ".join(value) if words else None


def training_batch(task: Task, rows: Sequence[Row]) -> Batch:
    """Return a batch of rows with targets."""
    return task.collate([task.encode(row) for row in rows])


def answering_batch(task: Task, texts: Sequence) -> Batch:
    """Return a batch of the inputs that `asked` gives, without targets."""
    rows = [Row({"text": text} if isinstance(text, str) else text, "here") for text in texts]
    return task.collate([task.encode(input_row(task, row)) for row in rows])
