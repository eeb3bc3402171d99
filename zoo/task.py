"""Task: the base class of every task in `tasks/`."""

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

from zoo.config import arguments
from zoo.data.dataset import Batch, Dataset, Example, ExampleList, shard
from zoo.data.readers import Row, column
from zoo.device import autocast
from zoo.errors import InputError
from zoo.evaluation.perplexity import PerplexityConfig
from zoo.generation.config import GenerationConfig
from zoo.model_folder.format import Model, Saved, read_model, save_model
from zoo.model_folder.quantize import Form
from zoo.model_folder.verify import OWN, line_of
from zoo.nn.backbone import Backbone, Encoded
from zoo.rnn.stack import State
from zoo.text.tokenizers import Tokenizer

CHUNK = 1024  # rows that `predict_rows` encodes at a time


class Task(nn.Module, ABC):
    """A head on a backbone.

        row --encode--> Example --Batch--> forward --> logits
                                           loss: the scalar that training minimizes
                                           predict_batch: one answer per row, plain Python
                                           compute_metrics(answers, rows): metrics

    A subclass implements encode, read, forward, predict_batch, compute_metrics and format.
    Only `read` reads the result of the backbone. `reads` names the part that it reads, `why` says
    why.
    """

    # Columns that a row needs for a prediction, and the further ones that it needs for training.
    input_columns: ClassVar[tuple[str, ...]] = ("text",)
    target_columns: ClassVar[tuple[str, ...]]

    # The metric by which the best epoch is selected, one of `compute_metrics`.
    metric: str
    lower_is_better: ClassVar[bool] = False

    # Which field of Encoded the task reads ("h_n", "output", …), and why, in one sentence.
    reads: str
    why: str

    # The shapes that `read` and `forward` return, in words.
    shape: ClassVar[str]
    logits: ClassVar[str]

    # Whether it generates text; how it does so; what else measures its perplexity.
    generates: ClassVar[bool] = False
    generation: GenerationConfig = GenerationConfig()
    perplexity_config: PerplexityConfig = PerplexityConfig()

    # The class that stores the encoded rows: one example per row, or one stream.
    dataset_class: type[Dataset] = Dataset
    # Of a stream: the state after the last window, from which the next window starts.
    carried_state: State | None = None

    # Whether token ids are the only input of the backbone.
    by_ids: bool = True
    # Ids appended to every input, where several heads share the backbone.
    end_ids: Sequence[int] = ()
    # How plain text is split into words, for tasks that read words.
    word_splitter: str = "words"
    # The tokenizer of the target side, where it has its own.
    target_tokenizer: Tokenizer | None = None

    # Whether `augment` draws random numbers.
    augments_at_random: bool = False
    # True while epochs are compared: faster, approximate predictions are enough.
    comparing_epochs: bool = False
    # Of a loaded model: its metrics, data, command, …
    metadata: dict[str, Any] | None = None

    def __init__(self, backbone: Backbone, tokenizer: Tokenizer, **options: Any) -> None:
        """`options` are the subclass's keyword arguments; `save` stores them to rebuild the task."""
        super().__init__()
        self.backbone = backbone
        self.tokenizer = tokenizer
        self.options = options

    @classmethod
    def learn(cls, rows: Iterable[Row]) -> dict[str, Any]:
        """Learn options from the training rows, like the labels. Raises InputError."""
        return {}

    @classmethod
    def training_columns(cls) -> tuple[str, ...]:
        """The columns that a row needs for training."""
        return (*cls.input_columns, *cls.target_columns)

    @classmethod
    def tokenizer_texts(cls, row: Row) -> list[str]:
        """The texts of a row that the tokenizer is trained on.

        With `tokenizer.shared=false` each of them gets its own tokenizer.
        """
        return [column(row, "text")]

    def input_row(self, row: Row) -> Row:
        """The input columns of a row. Plain text becomes the first input column."""
        if "text" in row and self.input_columns[0] not in row:
            row = Row(row | {self.input_columns[0]: row["text"]}, row.source)
        return Row({name: column(row, name) for name in self.input_columns}, row.source)

    @classmethod
    def reject(cls, row: Row) -> str | None:
        """The reason to skip a row that has all its columns, or None to use it."""
        return None

    @classmethod
    def baseline(
        cls, train: Iterable[Row], test: Iterable[Row], kind: str
    ) -> dict[str, Any] | None:
        """The metrics of a well-known method without a neural network on the same rows, or None.

        `kind` is the kind of the task's tokenizer, so that both use the same units.
        """
        return None

    @abstractmethod
    def encode(self, row: Row) -> Example:
        """Turn a row into lists of ids.

        "ids" are the input, "target" is there if the row has one, "cut" is 1 if the row was
        truncated. Raises RowError.
        """

    @abstractmethod
    def read(self, encoded: Encoded) -> Tensor | tuple[Tensor, ...]:
        """Select the part of the backbone's result that this task uses."""

    @abstractmethod
    def forward(self, batch: Batch) -> Tensor:
        """The logits of a batch."""

    @abstractmethod
    def predict_batch(self, batch: Batch) -> list[Any]:
        """One answer per row of the batch, as plain Python values."""

    @abstractmethod
    def compute_metrics(self, answers: Sequence[Any], rows: Sequence[Row]) -> dict[str, float]:
        """Metrics of the answers, compared with the original rows."""

    @abstractmethod
    def format(self, answer: Any) -> str:
        """An answer as one line of text, for `mode=predict`."""

    def preview(self) -> str | None:
        """A sample of the model's work, logged after each epoch in a few lines, or None."""
        return None

    def plot(self, row: Row, answer: Any, path: Path) -> bool:
        """Draw how an answer came about into the .png `path`; False if there is nothing to draw."""
        return False

    def prepare(self, dataset: Dataset) -> None:
        """Collect what is needed from the encoded training rows, once before the first step."""

    def inputs(self, batch: Batch) -> Tensor:
        """The input of the backbone: ids (batch, time), or vectors (batch, time, embedding_size)."""
        return batch.ids

    def augment(self, examples: Sequence[Example]) -> Sequence[Example]:
        """Change the examples of one training step; by default they stay as they are."""
        return examples

    def to_json(self, answer: Any) -> dict[str, Any]:
        """An answer as a JSON object, for `mode=predict format=json`."""
        return dict(answer) if isinstance(answer, dict) else {"answer": self.format(answer)}

    def loss(self, batch: Batch) -> Tensor:
        """Mean cross entropy of the logits over the targets, a scalar."""
        assert batch.target is not None
        return F.cross_entropy(self(batch).float().flatten(0, -2), batch.target.flatten())

    def count_targets(self, batch: Batch) -> int:
        """The number of predictions that `loss` averages: rows, or steps that have a target."""
        by_step = batch.target is not None and batch.target.dim() == 2
        return int(batch.target_mask.sum()) if by_step else len(batch)

    def count_tokens(self, batch: Batch) -> int:
        """The number of tokens of a batch, for the training speed in tokens per second."""
        return int(batch.lengths.sum())

    def report(self, answers: Sequence[Any], rows: Sequence[Row], folder: Path) -> dict[str, Any]:
        """Write this task's own pictures to `folder`; returns its entries of report.json."""
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
        """The tokenizer, followed by the target side's own one, if any."""
        if self.target_tokenizer is None:
            return [self.tokenizer]
        return [self.tokenizer, self.target_tokenizer]

    @property
    def config(self) -> dict[str, Any]:
        """The task's part of a model folder's config: name, options, generation and end ids.

        Of the generation config only values that differ from the defaults are stored.
        """
        default = GenerationConfig()
        return {
            "task": self.name,
            "options": self.options,
            "generation": {
                name: value
                for name, value in vars(self.generation).items()
                if value != getattr(default, name)
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
        """Yield (row number, answer) of every row, in the order in which they are computed.

        A batch has at most `tokens` tokens and `rows` rows. Of `world` processes, process `rank`
        answers its share.
        """
        self.eval()
        for numbers in dataset.sampler(tokens, rows):
            numbers = shard(numbers, rank, world)
            if not len(numbers):
                continue
            answers = self.predict_batch(dataset.batch(numbers).to(self.device))
            yield from zip(map(int, numbers), answers, strict=True)

    def predict_rows(self, rows: Iterable[Row], precision: str = "fp32") -> Iterator[Any]:
        """Yield the answers to rows without targets, in the order of the rows."""
        stream = iter(rows)
        while chunk := list(islice(stream, CHUNK)):
            examples = ExampleList([self.encode(row) for row in chunk])
            with autocast(self.device, precision):
                answers = sorted(self.predict_dataset(examples), key=itemgetter(0))
                yield from (answer for _, answer in answers)

    def stream_answer(self, row: Row) -> Iterator[str]:
        """Yield the answer to one row as text, in pieces as they are produced."""
        yield self.format(next(self.predict_rows([self.input_row(row)])))

    def predict(self, texts: str | Iterable[str]) -> list[Any]:
        """The answers to texts, in the order of the texts."""
        texts = [texts] if isinstance(texts, str) else texts
        rows = (Row({"text": t}, f"text {i}") for i, t in enumerate(texts, 1))
        return list(self.predict_rows(map(self.input_row, rows)))

    def predict_with(
        self, config: GenerationConfig | None, texts: str | Iterable[str]
    ) -> list[Any]:
        """Generate one text for each of `texts`, or with `n_best` above 1 a list of the best.

        `config` is by default the task's own `generation`.
        """
        before = self.generation
        config = config or before
        self.generation = config
        try:
            answers = Task.predict(self, texts)
        finally:
            self.generation = before
        if config.n_best > 1:
            return [[hypothesis["text"] for hypothesis in a["n_best"]] for a in answers]
        return [a["text"] for a in answers]

    def save(
        self,
        folder: str | Path,
        metadata: dict[str, Any] | None = None,
        weights: Form = "fp32",
        expected: Sequence[dict[str, Any]] = (),
    ) -> None:
        """Write a model folder that `zoo.load` reads: see `zoo.model_folder.format.save_model`.

        `metadata` is by default that of the folder from which the model was loaded.
        """
        model = Model(
            self.config,
            self.backbone.options,
            self.state_dict(),
            self.tokenizers,
            self.reads,
            self.why,
            self.parameter_count,
        )
        save_model(
            model, folder, self.metadata if metadata is None else metadata, weights, expected
        )

    @classmethod
    def from_pretrained(cls, name: str | Path) -> Self:
        """Load a model folder, or a shipped model by name.

        Raises InputError when it is a model of another task.
        """
        saved = read_model(name)
        if saved.config["task"] != cls.task_name():
            raise InputError(
                f"{name}: a model of task {saved.config['task']}, not of {cls.__name__}"
            )
        return cls.from_saved(saved)

    @classmethod
    def from_saved(cls, saved: Saved, device: str = "cpu") -> Self:
        """Build the model of a model folder that was read, in eval mode. Raises InputError."""
        tokenizers = saved.tokenizers
        shape = saved.config["backbone"]
        try:
            backbone = Backbone(**arguments(Backbone.__init__, shape, "backbone", {"self"}))
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
        """Build the task of a config, with weights that are not loaded yet."""
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
