"""Task: the contract that every file in `tasks/` fulfils."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from operator import itemgetter
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo import device as machine
from zoo.config import arguments
from zoo.data.dataset import Batch, Dataset, Example, ExampleList, shard
from zoo.data.readers import Row, column
from zoo.errors import InputError
from zoo.evaluation.perplexity import PerplexityConfig
from zoo.generation.config import GenerationConfig
from zoo.model_folder.format import Model, Saved, read_model, save_model
from zoo.model_folder.quantize import Form
from zoo.model_folder.verify import OWN, line_of
from zoo.nn.backbone import Backbone, Encoded
from zoo.rnn.stack import State
from zoo.text.tokenizers import Tokenizer


class Task(nn.Module, ABC):
    """A head on a backbone. A subclass writes encode, read, forward, answer and score.

        row --encode--> lists --Batch--> forward --> logits       loss: what training lowers
                                                 answer: plain Python, one per row
                                                 score(answers, rows): metrics

    It reads the backbone's result in `read` alone, and says in `reads` and `why` what that is.
    """

    input_columns: ClassVar[tuple[str, ...]] = ("text",)  # what a row must have to be answered
    target_columns: ClassVar[tuple[str, ...]]  # what a row must also have for training
    metric: str  # of score's; the epoch where it is highest is kept
    lower_is_better: ClassVar[bool] = False  # … or lowest
    reads: str  # "h_n", "output", …: of Encoded's
    why: str  # one sentence
    shape: ClassVar[str]  # of what `read` returns, in words
    logits: ClassVar[str]  # of what `forward` returns, in words
    generates: ClassVar[bool] = False  # whether its answers are looked for, with `search`
    by_ids: bool = True  # whether ids are all that its backbone is given
    generation: GenerationConfig = GenerationConfig()
    perplexity_config: PerplexityConfig = PerplexityConfig()
    comparing_epochs: bool = (
        False  # while epochs are compared: answers that are found faster will do
    )
    augments_at_random: bool = False  # whether `vary` draws random numbers
    dataset_class: type[Dataset] = (
        Dataset  # how encoded rows are kept: each for itself, or as one stream
    )
    carried_state: State | None = None  # after a window of a stream, what the next one goes on from
    end_ids: Sequence[int] = ()  # ids that end what is read, where a backbone is shared
    word_splitter: str = "words"  # how a plain text becomes words, for tasks that read words
    target_tokenizer: Tokenizer | None = None  # of what is written, where that has its own
    metadata: dict[str, Any] | None = None  # of a loaded model: metrics, data, command, …

    def __init__(self, backbone: Backbone, tokenizer: Tokenizer, **options: Any) -> None:
        """`options` are the keyword arguments that `save` must write to build this task again."""
        super().__init__()
        self.backbone, self.tokenizer, self.options = backbone, tokenizer, options

    @classmethod
    def learn(cls, rows: Iterable[Row]) -> dict[str, Any]:
        """Options that come from the training rows, like the labels. Raises InputError."""
        return {}

    @classmethod
    def training_columns(cls) -> tuple[str, ...]:
        """The columns that a row must have for training."""
        return (*cls.input_columns, *cls.target_columns)

    @classmethod
    def tokenizer_texts(cls, row: Row) -> list[str]:
        """What the tokenizer learns from; with `tokenizer.shared=false` each has its own."""
        return [column(row, "text")]

    def input_row(self, row: Row) -> Row:
        """What of a row an answer is made from; a line of plain text is the first column."""
        if "text" in row and self.input_columns[0] not in row:
            row = Row(row | {self.input_columns[0]: row["text"]}, row.source)
        return Row({name: column(row, name) for name in self.input_columns}, row.source)

    @classmethod
    def reject(cls, row: Row) -> str | None:
        """Why a row that has all columns is left out of training and test, or None."""
        return None

    @classmethod
    def baseline(
        cls, train: Iterable[Row], test: Iterable[Row], kind: str
    ) -> dict[str, Any] | None:
        """What a well-known method without a network scores on the same rows, or None; `kind` is
        the tokenizer's, so that both look at the same units."""
        return None

    @abstractmethod
    def encode(self, row: Row) -> Example:
        """A row as lists: "ids", "target" where it has one, "cut": 1 if it is longer; or RowError."""

    @abstractmethod
    def read(self, encoded: Encoded) -> Tensor | tuple[Tensor, ...]:
        """What this task takes from the backbone."""

    @abstractmethod
    def forward(self, batch: Batch) -> Tensor:
        """Logits of a batch."""

    @abstractmethod
    def predict_batch(self, batch: Batch) -> list[Any]:
        """One plain Python answer per row of the batch."""

    @abstractmethod
    def compute_metrics(self, answers: Sequence[Any], rows: Sequence[Row]) -> dict[str, float]:
        """Metrics of the answers to the original rows."""

    @abstractmethod
    def format(self, answer: Any) -> str:
        """An answer as one line of text, for `mode=predict`."""

    def preview(self) -> str | None:
        """Something to look at after an epoch, in a few lines, or None."""
        return None

    def plot(self, row: Row, answer: Any, path: Path) -> bool:
        """Draw how an answer came about into a .png; False where there is nothing to draw."""
        return False

    def prepare(self, dataset: Dataset) -> None:
        """Look at the encoded training rows once, before the first step."""

    def inputs(self, batch: Batch) -> Tensor:
        """What the backbone is given: ids, or vectors (batch, time, embedding_size) in their place."""
        return batch.ids

    def augment(self, examples: Sequence[Example]) -> Sequence[Example]:
        """Examples as they are seen in one step of training, where that differs from step to step."""
        return examples

    def to_json(self, answer: Any) -> dict[str, Any]:
        """An answer as a JSON object, for `mode=predict format=json`."""
        return dict(answer) if isinstance(answer, dict) else {"answer": self.format(answer)}

    def loss(self, batch: Batch) -> Tensor:
        """Mean over the batch's `size` of the cross entropy of forward's logits."""
        assert batch.target is not None
        return F.cross_entropy(self(batch).float().flatten(0, -2), batch.target.flatten())

    def count_targets(self, batch: Batch) -> int:
        """How many decisions `loss` is the mean of: rows, or steps that have a target."""
        by_step = batch.target is not None and batch.target.dim() == 2
        return int(batch.target_mask.sum()) if by_step else len(batch)

    def count_tokens(self, batch: Batch) -> int:
        """The tokens that a training's speed is counted in."""
        return int(batch.lengths.sum())

    def report(self, answers: Sequence[Any], rows: Sequence[Row], folder: Path) -> dict[str, Any]:
        """Write this task's own pictures; returns what belongs into report.json."""
        return {}

    @classmethod
    def task_name(cls) -> str:
        """The name of the task's file: `classify`."""
        return cls.__module__.rpartition(".")[2]

    @property
    def name(self) -> str:
        return self.task_name()

    @property
    def tokenizers(self) -> list[Tokenizer]:
        """Its tokenizer, and the target side's own after it."""
        return [self.tokenizer, *([self.target_tokenizer] if self.target_tokenizer else [])]

    @property
    def config(self) -> dict[str, Any]:
        """What a model folder says of the task itself: which one, its options, and how it looks for
        its answers, as far as that is not the usual way."""
        usual = GenerationConfig()
        return {
            "task": self.name,
            "options": self.options,
            "generation": {
                name: value
                for name, value in vars(self.generation).items()
                if value != getattr(usual, name)
            },
            "end_ids": [*self.end_ids],
        }

    @property
    def parameter_count(self) -> int:
        return sum(p.numel() for p in self.parameters())

    @property
    def device(self) -> torch.device:
        return next(self.parameters()).device

    @torch.no_grad()
    def predict_dataset(
        self,
        dataset: ExampleList,
        tokens: int = 1 << 15,
        rows: int = 256,
        rank: int = 0,
        world: int = 1,
    ) -> Iterator[tuple[int, Any]]:
        """(row number, answer) of every row, or of process `rank`'s share, as they are computed."""
        self.eval()
        for numbers in dataset.sampler(tokens, rows):
            numbers = shard(numbers, rank, world)
            if not len(numbers):
                continue
            answers = self.predict_batch(dataset.batch(numbers).to(self.device))
            yield from zip(map(int, numbers), answers, strict=True)

    def predict_rows(self, rows: Iterable[Row], precision: str = "fp32") -> Iterator[Any]:
        """Answers to rows without targets, in their order, a thousand at a time."""
        stream = iter(rows)
        while chunk := list(islice(stream, 1024)):
            examples = ExampleList([self.encode(row) for row in chunk])
            with machine.autocast(self.device, precision):
                yield from (
                    answer
                    for _, answer in sorted(self.predict_dataset(examples), key=itemgetter(0))
                )

    def stream_answer(self, row: Row) -> Iterator[str]:
        """The answer to one row as text, in pieces as they come to be."""
        yield self.format(next(self.predict_rows([self.input_row(row)])))

    def predict(self, texts: str | Iterable[str]) -> list[Any]:
        """Answers to texts, in their order."""
        texts = [texts] if isinstance(texts, str) else texts
        rows = (Row({"text": t}, f"text {i}") for i, t in enumerate(texts, 1))
        return list(self.predict_rows(map(self.input_row, rows)))

    def predict_with(
        self, config: GenerationConfig | None, texts: str | Iterable[str]
    ) -> list[Any]:
        """What a search, by default the task's, finds for texts: a text each, or a list of the best."""
        before, self.generation = self.generation, config or self.generation
        try:
            answers, several = Task.predict(self, texts), self.generation.n_best > 1
        finally:
            self.generation = before
        return [[h["text"] for h in a["n_best"]] if several else a["text"] for a in answers]

    def save(
        self,
        folder: str | Path,
        metadata: dict[str, Any] | None = None,
        weights: Form = "fp32",
        expected: Sequence[dict[str, Any]] = (),
    ) -> None:
        """Write a model folder that `zoo.load` reads: see `zoo.model_folder.format.save_model`.

        Without `metadata` those of the folder that it was loaded from are written again.
        """
        model = Model(
            self.config, self.backbone.options, self.state_dict(), self.tokenizers, self.reads,
            self.why, self.parameter_count,
        )  # fmt: skip
        save_model(
            model, folder, self.metadata if metadata is None else metadata, weights, expected
        )

    @classmethod
    def from_pretrained(cls, name: str | Path) -> Self:
        """The model of a folder or a shipped one. Raises InputError when it is another task's."""
        saved = read_model(name)
        if saved.config["task"] != cls.task_name():
            raise InputError(
                f"{name}: a model of task {saved.config['task']}, not of {cls.__name__}"
            )
        return cls.from_saved(saved)

    @classmethod
    def from_saved(cls, saved: Saved, device: str = "cpu") -> Self:
        """The model of a folder that was read, ready to predict. Raises InputError."""
        tokenizers = saved.tokenizers
        given = saved.config["backbone"]
        try:
            backbone = Backbone(**arguments(Backbone.__init__, given, "backbone", {"self"}))
            config = {name: saved.config[name] for name in OWN}
            task = cls.from_config(config, backbone, tokenizers)
        except (
            ValueError,
            KeyError,
            TypeError,
            AttributeError,
            RuntimeError,
            MemoryError,
        ) as error:
            raise InputError(f"{saved.path}: {line_of(error)}") from None
        if backbone.options["vocabulary_size"] not in (None, len(tokenizers[0])):
            raise InputError(
                f"{saved.folder}: the tokenizer has {len(tokenizers[0])} ids, the backbone not"
            )
        saved.fill(task)
        task.metadata = saved.config["metadata"]
        return task.to(torch.device(device)).eval()

    @classmethod
    def from_config(
        cls, config: dict[str, Any], backbone: Backbone, tokenizers: Sequence[Tokenizer]
    ) -> Self:
        """This task as `config` says it, with weights that are still to be filled in."""
        given = {"self", "backbone", "tokenizer", "target_tokenizer"}
        options = arguments(cls.__init__, config["options"], "options", given)
        if tokenizers[1:]:
            options["target_tokenizer"] = tokenizers[1]
        task = cls(backbone, tokenizers[0], **options)
        task.generation = GenerationConfig(
            **arguments(GenerationConfig, config["generation"], "generation")
        )
        task.end_ids = [int(i) for i in config["end_ids"]]
        if not {*task.end_ids} <= {*range(len(task.tokenizer))}:
            raise ValueError(f"end_ids={task.end_ids}: not ids of the tokenizer")
        return task
