"""Multitask models: several heads on one backbone, trained in turns and saved together."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from zoo.config import check, compose
from zoo.data import labelled_words
from zoo.data.dataset import Batch, Example, ExampleList
from zoo.data.interleave import InterleavedDataset
from zoo.data.readers import Row, column
from zoo.errors import InputError
from zoo.model_folder.verify import OWN
from zoo.nn.backbone import Backbone, Encoded, once
from zoo.registry import find
from zoo.task import Task
from zoo.text.special_ids import EOS
from zoo.text.tokenizers import Tokenizer
from zoo.training.loop import Stopped, fit
from zoo.training.pipeline import set_up_process

CHUNK = 256  # texts that `predict` encodes at a time
# Prefixes of the settings that `Multitask.fit` accepts.
FIT_SETTINGS = "train.", "seed=", "precision=", "device=", "threads=", "deterministic="
HEADS = "heads."  # prefix of the heads' parameters in the state dict


def multitask(backbone: Backbone, heads: Mapping[str, Task]) -> Multitask:
    """Combine tasks on one backbone into one model.

    Raises ValueError when a head has another backbone or tokenizer.

        backbone, tokenizer = language_model.backbone, language_model.tokenizer
        both = zoo.multitask(backbone, {
            "sentiment": Classify(backbone, tokenizer, labels=["bad", "good"]),
            "topic": Classify(backbone, tokenizer, labels=["films", "food"]),
        })
        both.fit({"sentiment": (train_rows, valid_rows), "topic": (…, …)}, "train.epochs=3")
        both.predict(["…"])    # {"sentiment": ["good"], "topic": ["films"]}
    """
    return Multitask(backbone, heads)


class Multitask(Task):
    """Several heads on one backbone. Each batch belongs to one head, `Batch.head`.

    The input of every head ends with EOS, so that all heads read the same ids. One pass of the
    backbone then serves all heads. Two kinds of heads need a pass of their own: a language model,
    which reads left to right from an EOS, and a tagger that also reads characters.
    """

    input_columns = ("text",)
    target_columns = ()
    metric = "loss"  # the mean of the heads' losses
    lower_is_better = True
    why = "each head takes from one pass what its own task needs"
    shape = "as each head has it"
    logits = "as each head has them"

    def __init__(self, backbone: Backbone, heads: Mapping[str, Task]) -> None:
        _check(backbone, heads)
        super().__init__(backbone, next(iter(heads.values())).tokenizer)
        self.heads = nn.ModuleDict(heads)
        self.reads = "; ".join(f"{name}: {head.reads}" for name, head in heads.items())
        targets = (head.target_tokenizer for head in heads.values())
        self.target_tokenizer = next(filter(None, targets), None)
        self.by_words = any("words" in head.input_columns for head in heads.values())
        self.augments_at_random = any(head.augments_at_random for head in heads.values())
        for head in heads.values():
            head.end_ids = [EOS]
        self.register_state_dict_post_hook(_without_copies)
        self.register_load_state_dict_pre_hook(_with_copies)

    @classmethod
    def task_name(cls) -> str:
        return "multitask"

    @classmethod
    def from_config(
        cls, config: dict[str, Any], backbone: Backbone, tokenizers: Sequence[Tokenizer]
    ) -> Multitask:
        heads = {}
        for name, own in config["options"]["heads"].items():
            if {*own} != OWN | {"writes"}:
                wrong = sorted({*own} ^ (OWN | {"writes"}))[0]
                raise ValueError(f"options.heads.{name}: {wrong!r}")
            both = tokenizers if own["writes"] else tokenizers[:1]
            heads[name] = find(own["task"]).from_config(own, backbone, both)
        return cls(backbone, heads)

    @property
    def config(self) -> dict[str, Any]:
        own = {name: head.target_tokenizer is not None for name, head in self.each()}
        heads = {name: head.config | {"writes": own[name]} for name, head in self.each()}
        return super().config | {"options": {"heads": heads}}

    def each(self) -> Iterator[tuple[str, Task]]:
        """Yield (name, head) of every head."""
        yield from self.heads.items()  # type: ignore[misc]

    def of(self, batch: Batch) -> Task:
        """The head that a batch belongs to."""
        return self.heads[batch.head]  # type: ignore[return-value]

    def encode(self, row: Row) -> Example:
        """The ids that all heads read."""
        return {"ids": [*self.tokenizer.encode(self.plain(column(row, "text"))), EOS]}

    def plain(self, text: str) -> str:
        """The text that all heads read: if one of them reads words, the words with blanks between."""
        if not self.by_words:
            return text
        return " ".join(labelled_words.words_of(Row({"text": text}, "text"), self.word_splitter))

    def read(self, encoded: Encoded) -> tuple[Tensor, ...]:
        """The parts of the backbone's result that the heads use, in the order of the heads."""
        taken = [head.read(encoded) for _, head in self.each()]
        return tuple(part for one in taken for part in (one if isinstance(one, tuple) else (one,)))

    def forward(self, batch: Batch) -> Tensor:
        return self.of(batch)(batch)

    def loss(self, batch: Batch) -> Tensor:
        return self.of(batch).loss(batch)

    def count_targets(self, batch: Batch) -> int:
        return self.of(batch).count_targets(batch)

    def count_tokens(self, batch: Batch) -> int:
        return self.of(batch).count_tokens(batch)

    def predict_batch(self, batch: Batch) -> list[Any]:
        return self.of(batch).predict_batch(batch)

    def predict_dataset(
        self,
        dataset: ExampleList,
        tokens: int = 1 << 15,
        rows: int = 256,
        rank: int = 0,
        world: int = 1,
    ) -> Iterator[tuple[int, Any]]:
        """Yield (row number, (head, answer)) of all rows, one head after the other."""
        assert isinstance(dataset, InterleavedDataset)
        before = 0
        for name, head in self.each():
            own = dataset.datasets[name]
            head.comparing_epochs = self.comparing_epochs
            try:
                for number, answer in head.predict_dataset(own, tokens, rows, rank, world):
                    yield before + number, (name, answer)
            finally:
                head.comparing_epochs = False
            before += len(own)

    def compute_metrics(self, answers: Sequence[Any], rows: Sequence[Row]) -> dict[str, float]:
        """The metrics of every head as HEAD.METRIC, and "loss", the mean of the heads' losses."""
        metrics: dict[str, float] = {}
        for name, head in self.each():
            own = [(a, row) for (whose, a), row in zip(answers, rows, strict=True) if whose == name]
            found = head.compute_metrics([a for a, _ in own], [row for _, row in own])
            metrics |= {f"{name}.{metric}": value for metric, value in found.items()}
        losses = [metrics[f"{name}.loss"] for name, _ in self.each()]
        return metrics | {"loss": sum(losses) / len(losses)}

    def format(self, answer: Any) -> str:
        name, own = answer
        return f"{name}: {self.heads[name].format(own)}"  # type: ignore[operator]

    def predict(self, texts: str | Iterable[str]) -> Any:
        """{head: its answers to all texts, as its own `predict` gives them}."""
        stream = iter([texts] if isinstance(texts, str) else texts)
        found: dict[str, list[Any]] = {name: [] for name, _ in self.each()}
        while chunk := [self.plain(text) for text in islice(stream, CHUNK)]:
            with once(self.backbone):
                for name, head in self.each():
                    found[name] += head.predict(chunk)
        return found

    def fit(
        self, rows: Mapping[str, tuple[Sequence[Row], Sequence[Row]]], *settings: str
    ) -> list[dict[str, Any]]:
        """Train all heads in turns; returns the losses and metrics of each epoch.

        `rows` are each head's training rows and validation rows. `settings` are written as on the
        command line: "train.epochs=3", "train.freeze=backbone", "seed=2". Raises ValueError for
        other heads or settings, InputError when interrupted.
        """
        if {*rows} != {*self.heads}:
            raise ValueError(f"rows are of {', '.join(rows)}, heads are {', '.join(self.heads)}")
        for setting in settings:
            if not setting.startswith(FIT_SETTINGS):
                raise ValueError(f"{setting}: fit takes {', '.join(FIT_SETTINGS)}")
        plain = check(compose(["data=files", "data.train=rows", *settings]))  # no recipe of a task
        accelerator, _ = set_up_process(plain)
        if accelerator.num_processes > 1:
            raise InputError("heads that take turns are trained in one process")
        parts = [
            {name: [*map(self._row, both[side])] for name, both in rows.items()} for side in (0, 1)
        ]
        with tempfile.TemporaryDirectory() as folder:
            train, valid = (
                self._encode(part, Path(folder) / str(side)) for side, part in enumerate(parts)
            )
            for name, head in self.each():
                head.prepare(train.datasets[name])
            every = [row for name, _ in self.each() for row in parts[1][name]]
            where = Path(folder)
            try:
                found = fit(
                    self, train, (valid, every), plain.train, plain.seed, accelerator, where
                )
            except Stopped:
                raise InputError("interrupted: the model is as in its best epoch so far") from None
        return found.history

    def _row(self, row: Row) -> Row:
        """A training row with its input as all heads read it."""
        read = [name for name in ("text", "source") if name in row]
        changed = {name: self.plain(column(row, name)) for name in read}
        return Row({**row, **changed}, getattr(row, "source", "a row"))

    def _encode(self, rows: Mapping[str, Sequence[Row]], folder: Path) -> InterleavedDataset:
        """Encode the rows of every head into `folder`."""
        datasets = {
            name: head.dataset_class.write(rows[name], head.encode, folder / name)
            for name, head in self.each()
        }
        return InterleavedDataset(datasets, {name: head.augment for name, head in self.each()})


def _check(backbone: Backbone, heads: Mapping[str, Task]) -> None:
    """Raise ValueError for heads that cannot be trained or saved together."""
    if not heads:
        raise ValueError("a shared backbone needs a head")
    tokenizer = next(iter(heads.values())).tokenizer
    for name, head in heads.items():
        if not re.fullmatch("[a-z][a-z0-9_]*", name):
            raise ValueError(f"{name!r}: a head's name is in lower case: [a-z][a-z0-9_]*")
        if hasattr(nn.ModuleDict(), name):
            raise ValueError(f"{name}: torch calls something of its own so: choose another name")
        if head.backbone is not backbone:
            raise ValueError(f"{name}: its backbone is another one: build it on the shared one")
        if head.tokenizer is not tokenizer:
            raise ValueError(f"{name}: its tokenizer is another one: all heads read the same ids")
    if sum(head.target_tokenizer is not None for head in heads.values()) > 1:
        raise ValueError("two heads with a target tokenizer of their own cannot be saved together")


def _is_copy(name: str) -> bool:
    """Whether a state dict's name is a head's second name of a backbone weight."""
    return name.startswith(HEADS) and name.split(".")[2] == "backbone"


def _without_copies(module: nn.Module, state: dict[str, Tensor], prefix: str, *_: Any) -> None:
    """Leave the heads' second names of the backbone's weights out of a state dict."""
    for name in [name for name in state if _is_copy(name.removeprefix(prefix))]:
        del state[name]


def _with_copies(module: Multitask, state: dict[str, Tensor], prefix: str, *_: Any) -> None:
    """Add the heads' second names of the backbone's weights to a state dict."""
    for name in [name for name in state if name.startswith(f"{prefix}backbone.")]:
        for head in module.heads:
            state[f"{prefix}{HEADS}{head}.{name.removeprefix(prefix)}"] = state[name]
