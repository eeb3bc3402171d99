"""Multitask models: several heads on one backbone, trained in turns and saved together."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from operator import itemgetter
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from zoo.config import check, compose
from zoo.data import labelled_words
from zoo.data.batch import Batch, Example
from zoo.data.dataset import ExampleList
from zoo.data.interleave import InterleavedDataset
from zoo.data.processors import Processor
from zoo.data.python.inputs import inputs as rows_of_inputs
from zoo.data.readers import Row, column
from zoo.errors import InputError
from zoo.evaluation.config import EvaluationConfig
from zoo.generation.config import GenerationConfig
from zoo.nn.backbone import Backbone, Encoded
from zoo.registry import find_saved
from zoo.rnn.stack import State
from zoo.task import Stage, Step, Task, input_row
from zoo.text.special_ids import EOS
from zoo.training.loop import Stopped, fit
from zoo.training.pipeline import set_up_process
from zoo.training.state import host_kept

# Prefixes of the settings that `Multitask.fit` accepts.
FIT_SETTINGS = "train.", "seed=", "precision=", "device=", "threads=", "deterministic="
HEADS = "heads."  # prefix of the heads' parameters in the state dict

Passes = dict[tuple, Encoded]  # results of the backbone, by the ids that it read


def multitask(backbone: Backbone, heads: Mapping[str, Task]) -> Multitask:
    """Combine tasks on one backbone into one model.

    Raises ValueError when a head has another backbone or tokenizer.

    >>> import zoo
    >>> from zoo.data.processors import LabelEncoder
    >>> language_model = zoo.load("generate/pydoc")
    >>> backbone, tokenizer = language_model.backbone, language_model.tokenizer
    >>> config = zoo.Classify.config_class(append_eos=True)
    >>> def head(*labels):
    ...     processors = {"tokenizer": tokenizer, "labels": LabelEncoder([*labels])}
    ...     return zoo.Classify(backbone, processors, config)
    >>> both = zoo.multitask(backbone, {"mood": head("bad", "good"), "topic": head("art", "food")})
    >>> sorted(both.predict(["A text"]))  # the untrained heads; both.fit trains them
    ['mood', 'topic']
    """
    return Multitask(backbone, heads)


class Multitask(Task):
    """Several heads on one backbone. Each batch belongs to one head, `extras["head"]`.

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
        super().__init__(backbone, {"tokenizer": next(iter(heads.values())).tokenizer})
        self.heads = nn.ModuleDict(heads)
        self.reads = "; ".join(f"{name}: {head.reads}" for name, head in heads.items())
        self.by_words = any("words" in head.input_columns for head in heads.values())
        self.augments = any(head.augments for head in heads.values())
        self.register_state_dict_post_hook(_without_copies)
        self.register_load_state_dict_pre_hook(_with_copies)

    @classmethod
    def _restore(
        cls, config: dict[str, Any], backbone: Backbone, processors: Mapping[str, Processor]
    ) -> Multitask:
        heads = {}
        for name, own in config["heads"].items():
            if {*own} != {"task", "config"}:
                wrong = sorted({*own} ^ {"task", "config"})[0]
                raise ValueError(f"config.heads.{name}: {wrong!r}")
            prefix = f"{name}."
            parts = {"tokenizer": processors["tokenizer"]} | {
                key.removeprefix(prefix): each
                for key, each in processors.items()
                if key.startswith(prefix)
            }
            heads[name] = find_saved(own["task"])._restore(own["config"], backbone, parts)
        return cls(backbone, heads)

    def _plain_config(self) -> dict[str, Any]:
        heads = {
            name: {"task": head.name, "config": head._plain_config()} for name, head in self.each()
        }
        return {"heads": heads}

    def _saved_processors(self) -> dict[str, Processor]:
        """Return the shared tokenizer, and each head's own processors as HEAD.NAME."""
        own = {
            f"{name}.{key}": processor
            for name, head in self.each()
            for key, processor in head.processors.items()
            if key != "tokenizer"
        }
        return self.processors | own

    def each(self) -> Iterator[tuple[str, Task]]:
        """Yield (name, head) of every head."""
        yield from self.heads.items()  # type: ignore[misc]

    def of(self, batch: Batch) -> Task:
        """Return the head that a batch belongs to."""
        return self.heads[batch.extras["head"]]  # type: ignore[return-value]

    def encode(self, row: Row) -> Example:
        """Return the ids that all heads read."""
        return {"inputs": [*self.tokenizer.encode(self.plain(column(row, "text"))), EOS]}

    def plain(self, text: str, splitter: str = "words") -> str:
        """Return the text that all heads read: if one of them reads words, with blanks between."""
        if not self.by_words:
            return text
        return " ".join(labelled_words.words_of(Row({"text": text}, "text"), splitter))

    def collate(self, examples: Sequence[Example], augment: bool = False) -> Batch:
        """Pad the examples of one head; `extras["head"]` is its name."""
        name = examples[0]["head"]
        head: Task = self.heads[name]  # type: ignore[assignment]
        batch = head.collate(examples, augment)
        return replace(batch, extras={**batch.extras, "head": name})

    def read(self, encoded: Encoded) -> tuple[Tensor, ...]:
        """Return the parts of the backbone's result that the heads use, in the order of the heads."""
        taken = [head.read(encoded) for _, head in self.each()]
        return tuple(part for one in taken for part in (one if isinstance(one, tuple) else (one,)))

    def forward(self, batch: Batch, *, encoded: Encoded | None = None) -> Tensor:
        return self.of(batch)(batch, encoded=encoded)

    def training_step(self, batch: Batch, state: State | None = None) -> Step:
        return self.of(batch).training_step(batch, state)

    def predict_batch(self, batch: Batch, *, encoded: Encoded | None = None) -> list[Any]:
        return self.of(batch).predict_batch(batch, encoded=encoded)

    def _answers(
        self,
        dataset: ExampleList,
        evaluation: EvaluationConfig,
        stage: Stage,
        rank: int,
        world: int,
    ) -> Iterator[tuple[int, Any]]:
        """Yield (row number, (head, answer)) of all rows, one head after the other."""
        assert isinstance(dataset, InterleavedDataset)
        before = 0
        for name, head in self.each():
            own = dataset.datasets[name]
            for number, answer in head._answers(own, evaluation, stage, rank, world):
                yield before + number, (name, answer)
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

    def _calibrate(self, answers: list[Any], rows: Sequence[Row]) -> list[Any]:
        found = [*answers]
        for name, head in self.each():
            places = [i for i, (whose, _) in enumerate(answers) if whose == name]
            own = head._calibrate([answers[i][1] for i in places], [rows[i] for i in places])
            for place, answer in zip(places, own, strict=True):
                found[place] = name, answer
        return found

    def format(self, answer: Any) -> str:
        name, own = answer
        return f"{name}: {self.heads[name].format(own)}"  # type: ignore[operator]

    @torch.no_grad()
    def predict(self, texts: str | Iterable[str], splitter: str = "words") -> Any:
        """Return {head: its answers to all texts, as its own `predict` gives them}.

        `splitter` splits texts into words where a head reads words.
        """
        evaluation = EvaluationConfig()
        if self.training:
            self.eval()
        stream = rows_of_inputs(texts, ("text",))
        found: dict[str, list[Any]] = {name: [] for name, _ in self.each()}
        while chunk := list(islice(stream, evaluation.batch_rows)):
            rows = [Row({"text": self.plain(column(r, "text"), splitter)}, r.source) for r in chunk]
            passes: Passes = {}
            for name, head in self.each():
                inputs = [input_row(head, row, splitter) for row in rows]
                found[name] += self._answer_rows(head, inputs, evaluation, passes)
        return found

    def explain(
        self, input: Any, *, target: Any = None, config: GenerationConfig | None = None
    ) -> dict[str, Any]:
        """Return {head: the explanation of its answer to one text}; see `Estimator.explain`."""
        given = self.plain(input) if isinstance(input, str) else input
        return {
            name: head.explain(given, target=target, config=config) for name, head in self.each()
        }

    def _answer_rows(
        self, head: Task, rows: Sequence[Row], evaluation: EvaluationConfig, passes: Passes
    ) -> list[Any]:
        """Return a head's answers. `passes` holds results of the backbone, and gets new ones."""
        dataset = ExampleList([head.encode(row) for row in rows])
        answers: list[tuple[int, Any]] = []
        for numbers in dataset.sampler(evaluation.batch_tokens, evaluation.batch_rows):
            batch = head.collate(dataset.examples(numbers)).to(self.device)
            encoded = self._run_once(batch, passes) if head.shares_pass else None
            found = head.predict_batch(batch, encoded=encoded)
            answers += zip(map(int, numbers), found, strict=True)
        ordered = [answer for _, answer in sorted(answers, key=itemgetter(0))]
        completed = (head._complete(a, row) for a, row in zip(ordered, rows, strict=True))
        return [head._short(answer, None) for answer in completed]

    def _run_once(self, batch: Batch, passes: Passes) -> Encoded:
        """Run the backbone, unless `passes` holds its result for the same ids."""
        ids = batch.inputs.cpu().numpy()
        key = ids.shape, ids.tobytes(), batch.lengths.numpy().tobytes()
        if key not in passes:
            passes[key] = self._run_backbone(batch)
        return passes[key]

    @host_kept()
    def fit(  # type: ignore[override]  # of heads that exist, each with rows of its own
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
                head._initialize(train.datasets[name])
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
        return InterleavedDataset(datasets)


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
        if head.shares_pass and not _ends_with_eos(head):
            raise ValueError(f"{name}: heads read an EOS behind the text: set its append_eos=True")


def _ends_with_eos(head: Task) -> bool:
    """Return whether the ids that a head reads of a text end with EOS."""
    row = input_row(head, Row({"text": "a"}, "text"))
    return head.encode(row)["inputs"][-1] == EOS


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
