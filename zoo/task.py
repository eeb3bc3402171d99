"""Task: the base class of every task in `tasks/`, and what uses a task to predict."""

from __future__ import annotations

import logging
import re
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from importlib import import_module
from itertools import islice
from operator import itemgetter
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple, Protocol, Self, cast

import numpy as np
import torch
from torch import Tensor, nn

from zoo.config import TokenizerConfig
from zoo.data import batch as batches
from zoo.data import features, labelled_words
from zoo.data.batch import Batch, Example
from zoo.data.dataset import Dataset, ExampleList
from zoo.data.processors import Processor, Scaler
from zoo.data.python.inputs import input_columns
from zoo.data.python.inputs import inputs as rows_of_inputs
from zoo.data.readers import Row, column
from zoo.device import autocast, find_precision
from zoo.errors import InputError
from zoo.evaluation import advice
from zoo.evaluation.attribution import LikeliestQuestion, Question
from zoo.evaluation.config import EvaluationConfig
from zoo.generation.config import GenerationConfig
from zoo.generation.step_model import Hypothesis
from zoo.model_folder.format import Model, Saved, read_model, save_model
from zoo.model_folder.quantize import Form
from zoo.model_folder.verify import line_of
from zoo.nn.backbone import Backbone, BackboneConfig, Encoded
from zoo.option_classes import checked_dataclass
from zoo.rnn.stack import State
from zoo.text.sentencepiece import SentencePieceOptions
from zoo.text.tokenizers import TOKENIZERS, Tokenizer

log = logging.getLogger("zoo")

# What answers are for. While epochs are compared ("validate"), faster approximate ones are enough.
Stage = Literal["validate", "test"]


class Baseline(Protocol):
    """A well-known method without a neural network."""

    def __call__(self, train: Iterable[Row], test: Iterable[Row], kind: str) -> dict[str, Any]:
        """Learn from `train`; return metrics on `test`. `kind` is that of the task's tokenizer."""


GREEDY = GenerationConfig(beam_size=1)  # generation while epochs are compared
ONE_TEXT, OF_ROWS = 'text="…"', "input=ROWS.jsonl"  # what `mode=predict` is given
LONGEST_NOTE = 300  # characters of an error in a note
CHUNK_BATCHES = 4  # batches of rows that `predict_rows` encodes at a time
TOKENIZER_NAMES = "tokenizer", "target_tokenizer"
TRAINER = "zoo.training.python.fit"  # by name: training stands above the tasks
EXPLAINER = "zoo.explanation.answer"  # by name, too


@checked_dataclass
class TaskConfig:
    """The options of a task. A subclass declares each with its default.

    >>> import zoo
    >>> from zoo.option_classes import Count, checked_dataclass
    >>> @checked_dataclass
    ... class TrendConfig(zoo.TaskConfig):
    ...     horizon: Count = 2
    >>> TrendConfig(horizon=0)
    Traceback (most recent call last):
    zoo.errors.InputError: task.horizon=0: Input should be greater than or equal to 1
    """

    section: ClassVar[str] = "task"


@checked_dataclass
class GenerativeConfig(TaskConfig):
    """The options of a task that generates text."""

    generation: GenerationConfig = GenerationConfig()
    """How the model generates unless a call says otherwise."""


class Step(NamedTuple):
    """The result of one training step."""

    loss: Tensor  # scalar: the mean over `count` targets
    count: int  # type: ignore[assignment]  # it hides tuple.count
    state: State | None = None  # of a stream: the state from which the next window starts


class Estimator(nn.Module):
    """What users call: fit, from_pretrained, predict, explain and save. Every `Task` is one."""

    # The name in `task=NAME` and in a model folder: `two_words` of the class `TwoWords`.
    task_name: ClassVar[str] = "task"
    # Of a loaded model: its metrics, data, command, …
    metadata: dict[str, Any] | None = None
    # In which `predict` computes: fp32, bf16 or fp16. The weights are fp32.
    precision: str = "fp32"

    @classmethod
    def fit(cls, *rows: Any, valid: Any = None, test: Any = None, **settings: Any) -> Self:
        """Train a new model on rows in memory; return the best epoch's, with its figures.

            model = Classify.fit(texts, labels, train={"epochs": 3}, seed=1)
            model.metadata["test"]["accuracy"]

        `rows` are a list for each of `training_columns`, or one table: a dict of columns, a frame
        of pandas or Polars, or a list of rows, which are dicts or tuples. `valid` and `test` are
        such tables, or a tuple of lists; without them a tenth of the rows is held out for each.
        `settings` are those of the command line: `out="DIR"` keeps the run folder, otherwise
        nothing stays on the disk; `{"train.epochs": 3}` is `train={"epochs": 3}`;
        `data={"text": "body"}` names a column. `tune=60` tries settings for a minute first, and
        `folds=5` cross-validates first: see `metadata["tuning"]` and `metadata["folds"]`. What is
        not given follows from the rows. The log is
        shown in a notebook and on a terminal, unless a program has set up logging. Raises
        InputError with the place of a wrong value, `rows[3]: …`, or with the name of a setting.
        """
        return cast(Self, import_module(TRAINER).fit(cls, rows, valid, test, settings))

    @classmethod
    def from_pretrained(cls, name: str | Path) -> Self:
        """Load a model folder, or a shipped model by name.

        Raises InputError when it is a model of another task.
        """
        saved = read_model(name)
        if saved.task != cls.task_name:
            raise InputError(f"{name}: a model of task {saved.task}, not of {cls.__name__}")
        return cast(Self, restore(cast(type[Task], cls), saved))

    def predict(self, inputs: Any) -> list[Any]:
        """Return the answers to inputs, in their order.

        An input is a text, or a row: a mapping with the task's input columns.
        """
        task = cast(Task, self)
        return [task._short(a, None) for a in predict_rows(task, input_rows(task, inputs))]

    def explain(
        self, input: Any, *, target: Any = None, config: GenerationConfig | None = None
    ) -> dict[str, Any]:
        """Return the answer to one input, what in it mattered, and what the LSTM did.

        `input` is one of those of `predict`. `target` chooses what is explained: another label, a
        word by its number, a step of a forecast, or a text that the model might have written.
        `config` is for tasks that generate. The keys are those of
        `zoo.explanation.answer.explain_answer`. Raises InputError.
        """
        return import_module(EXPLAINER).explain_answer(self, input, target=target, config=config)

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
        task = cast(Task, self)
        model = Model(
            task=task.name,
            config=task._plain_config(),
            backbone=asdict(task.backbone.config),
            processors=task._saved_processors(),
            weights=task.state_dict(),
            reads=task.reads,
            why=task.why,
            parameter_count=task.parameter_count,
        )
        save_model(
            model, folder, self.metadata if metadata is None else metadata, weights, expected
        )


class Task(Estimator, ABC):
    """A head on a backbone: what the author of a task implements.

        row --encode--> Example --collate--> Batch --forward--> logits
                                             training_step: the loss that training minimizes
                                             predict_batch: one answer per row, plain Python
                                             compute_metrics(answers, rows): metrics

    A subclass implements encode, read, forward, training_step, predict_batch, compute_metrics and
    format. Only `read` reads the result of the backbone. `reads` names the part that it reads,
    `why` says why. Nothing that belongs to one call is stored on the task. `Estimator` has what
    users call. `tasks/README.md` has a whole task of 50 lines.

    >>> import zoo
    >>> zoo.Tag.reads, zoo.Tag.shape
    ('output', 'batch, time, directions x hidden: one vector per step')
    """

    # Columns that a row needs for a prediction, and the further ones that it needs for training.
    input_columns: ClassVar[tuple[str, ...]] = ("text",)
    target_columns: ClassVar[tuple[str, ...]] = ()
    # All columns that a row needs for training; by default the input and target columns.
    training_columns: ClassVar[tuple[str, ...]] = ()
    # Columns on whose texts the tokenizers are trained; none for float features.
    text_columns: ClassVar[tuple[str, ...]] = ("text",)
    # Columns without which a training row is skipped when they are empty.
    not_empty: ClassVar[tuple[str, ...]] = ()

    # The metric by which the best epoch is selected, one of `compute_metrics`.
    metric: str
    lower_is_better: ClassVar[bool] = False

    # Which field of Encoded the task reads ("h_n", "output", …), and why, in one sentence.
    reads: str
    why: str

    # The shapes that `read` and `forward` return, in words.
    shape: ClassVar[str]
    logits: ClassVar[str]

    # The weights with axes over the labels, and which: {"head.weight": (0,)}.
    label_axes: ClassVar[Mapping[str, tuple[int, ...]]] = {}

    # The class of the options.
    config_class: ClassVar[type[TaskConfig]] = TaskConfig
    # What the model is compared with on the same rows.
    baseline: ClassVar[Baseline | None] = None
    # Keys of an answer that `mode=predict format=json` leaves out.
    hidden_keys: ClassVar[frozenset[str]] = frozenset()
    # The class that stores the encoded rows: one example per row, or one stream.
    dataset_class: type[Dataset] = Dataset
    # Whether its answers come from one pass of the backbone over the ids, which heads can share.
    shares_pass: bool = True
    # Whether `collate(…, augment=True)` draws random numbers.
    augments: bool = False
    # What `mode=predict` is given in the next command that a training prints; by default a text.
    predict_example: str = ONE_TEXT
    # An input to try, which a page shows: a text, or numbers; None: there is none.
    example: Any = None

    def __init__(
        self,
        backbone: Backbone,
        processors: Mapping[str, Processor],
        config: TaskConfig | None = None,
    ) -> None:
        """`processors` encode the rows: "tokenizer", "labels", "scaler", … `config` are options."""
        super().__init__()
        self.backbone = backbone
        self.processors = dict(processors)
        self.config = self.config_class() if config is None else config

    def __init_subclass__(cls, **arguments: Any) -> None:
        super().__init_subclass__(**arguments)
        if "training_columns" not in vars(cls):
            cls.training_columns = (*cls.input_columns, *cls.target_columns)
        if not cls.text_columns and "predict_example" not in vars(cls):
            cls.predict_example = OF_ROWS
        cls.task_name = re.sub(r"(?<!^)(?=[A-Z])", "_", cls.__name__).lower()

    @classmethod
    def learn(
        cls,
        rows: Iterable[Row],
        config: TaskConfig,
        tokenizer: TokenizerConfig,
        kept: Mapping[str, Processor] | None = None,
    ) -> dict[str, Processor]:
        """Learn the processors from the training rows. Raises InputError.

        Processors in `kept` are used as they are. Here these are the tokenizers of `text_columns`:
        one, or with `tokenizer.shared=false` one for each column. `rows` are read several times.
        """
        processors = dict(kept or {})
        columns = [cls.text_columns]
        if not tokenizer.shared:
            columns = [(name,) for name in cls.text_columns]
        if not cls.text_columns:
            columns = []
        for name, of_one in zip(TOKENIZER_NAMES, columns, strict=False):
            if name not in processors:
                written = not tokenizer.shared and of_one == cls.target_columns
                wanted = replace(tokenizer, uncased=False) if written else tokenizer
                processors[name] = _learn_tokenizer(rows, of_one, wanted)
        return processors

    @abstractmethod
    def encode(self, row: Row) -> Example:
        """Turn a row into numbers.

        "inputs" are a list of ids, or floats (time, features). "targets" are there if the row has
        them. "cut" is 1 if the row was truncated. Raises RowError.
        """

    def collate(self, examples: Sequence[Example], augment: bool = False) -> Batch:
        """Pad examples to a batch. With `augment` they may be changed first, for training."""
        return batches.collate(examples)

    @abstractmethod
    def read(self, encoded: Encoded) -> Tensor | tuple[Tensor, ...]:
        """Select the part of the backbone's result that this task uses."""

    @abstractmethod
    def forward(self, batch: Batch, *, encoded: Encoded | None = None) -> Tensor:
        """Return the logits of a batch. `encoded` is the backbone's result, if it is known."""

    @abstractmethod
    def training_step(self, batch: Batch, state: State | None = None) -> Step:
        """Return the loss of a batch. Of a stream, `state` is that after the window before."""

    @abstractmethod
    def predict_batch(self, batch: Batch, *, encoded: Encoded | None = None) -> list[Any]:
        """Return one answer per row of the batch, as plain Python values that JSON can hold."""

    @abstractmethod
    def compute_metrics(self, answers: Sequence[Any], rows: Sequence[Row]) -> dict[str, float]:
        """Return metrics of the answers, compared with the original rows."""

    @abstractmethod
    def format(self, answer: Any) -> str:
        """Return an answer as one line of text, for `mode=predict`."""

    def report(self, answers: Sequence[Any], rows: Sequence[Row], folder: Path) -> dict[str, Any]:
        """Write this task's own pictures to `folder`; return its entries of report.json.

        Each picture stands in a `noted` of its own: without it the other entries are still there.
        """
        return {}

    def question(self, row: Row, answer: Any, target: Any = None) -> Question:
        """Return what an explanation of the answer to an input row asks: see `Question`.

        `target` chooses another answer, or a part of it. By default the question is about the most
        probable class of each logit. Raises InputError for a target that there is not.
        """
        if target is not None:
            raise InputError(f"target={target}: task {self.name} explains its own answer alone")
        example = self.encode(row)
        inputs = example["inputs"]
        if np.asarray(inputs).dtype.kind == "f":
            return LikeliestQuestion(self, example, features.step_names(np.asarray(inputs)))
        return LikeliestQuestion(self, example, self.tokenizer.pieces(inputs))

    @property
    def name(self) -> str:
        """The name of the task, as in `task=NAME`."""
        return self.task_name

    @property
    def tokenizer(self) -> Tokenizer:
        """The tokenizer of the input."""
        return cast(Tokenizer, self.processors["tokenizer"])

    @property
    def parameter_count(self) -> int:
        """The number of weights."""
        return sum(p.numel() for p in self.parameters())

    @property
    def device(self) -> torch.device:
        """Where the weights lie."""
        return next(self.parameters()).device

    def _float_parts(self, batch: Batch) -> dict[str, Tensor]:
        """Return the parts of a batch by which an answer has a gradient.

        "inputs" are the vectors that the LSTM reads, (batch, time, size): a batch may hold them in
        the place of ids. Others are `extras` of the same name.
        """
        return {"inputs": self.backbone.embed_inputs(batch.inputs)}

    def _run_backbone(self, batch: Batch) -> Encoded:
        """Run the backbone over the inputs of a batch."""
        return self.backbone(batch.inputs, batch.lengths)

    def _answers(
        self,
        dataset: ExampleList,
        evaluation: EvaluationConfig,
        stage: Stage,
        rank: int,
        world: int,
    ) -> Iterator[tuple[int, Any]]:
        """Yield (row number, answer) for the rows of process `rank` of `world`."""
        yield from self._answer_batches(dataset, evaluation, rank, world)

    def _answer_batches(
        self,
        dataset: ExampleList,
        evaluation: EvaluationConfig,
        rank: int,
        world: int,
        **options: Any,
    ) -> Iterator[tuple[int, Any]]:
        """Yield (row number, answer), batch by batch; `options` are those of `predict_batch`.

        Process `rank` answers every `world`-th batch, each as one process would.
        """
        sampler = dataset.sampler(evaluation.batch_tokens, evaluation.batch_rows)
        for numbers in islice(sampler, rank, None, world):
            batch = self.collate(dataset.examples(numbers)).to(self.device)
            with torch.no_grad():  # here, for it costs time at each yield of a generator
                answers = self.predict_batch(batch, **options)
            yield from zip(numbers.tolist(), answers, strict=True)

    def _short(self, answer: Any, config: GenerationConfig | None) -> Any:
        """Return what `predict` shows of an answer; `config` is that of generated ones."""
        return answer

    @classmethod
    def _advise(cls, report: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        """Yield settings and why each may help where the baseline is ahead, the likeliest first."""
        yield from advice.general(report)

    @classmethod
    def _metric_of(
        cls, config: TaskConfig, labels: Collection[str] = (), several: bool = False
    ) -> str:
        """Return the name of the task's own metric, by its options and the labels of the rows.

        `several` is true where a row may have several labels.
        """
        return cls.metric

    def _initialize(self, dataset: Dataset) -> None:
        """Fit what is not trained step by step to the encoded training rows, before the first."""

    def _calibrate(self, answers: list[Any], rows: Sequence[Row]) -> list[Any]:
        """Learn on validation rows how answers are decided; return them decided so."""
        return answers

    def _as_row(self, value: Any, splitter: str = "words") -> Row:
        """Return one input of `predict` as a row. Raises InputError for what is none."""
        return next(input_rows(self, [value], splitter))

    def _pieces(self, row: Row) -> list[Row]:
        """Return the rows that are answered in the place of one that is too long to be read at once.

        None are returned if `_joined` reads the row itself.
        """
        return [row]

    def _joined(self, answers: list[Any], row: Row) -> Any:
        """Return the answer to a row, of the answers to its pieces."""
        return answers[0]

    def _complete(self, answer: Any, row: Row) -> Any:
        """Return the answer to a row with what is known of the row alone."""
        return answer

    def _plain_config(self) -> dict[str, Any]:
        """Return all options as plain data for config.json: defaults may change later."""
        return asdict(self.config)

    def _saved_processors(self) -> dict[str, Processor]:
        """Return the processors that a model folder holds."""
        return self.processors

    @classmethod
    def _restore(
        cls, config: dict[str, Any], backbone: Backbone, processors: Mapping[str, Processor]
    ) -> Self:
        """Build the task of a config, with weights that are not loaded yet."""
        return cls(backbone, processors, cls.config_class(**config))


class Generative(Task):
    """A task that generates text. How it does so is an argument of each call.

    Without one it is `config.generation`, which a model folder keeps.

    >>> import zoo
    >>> model = zoo.load("generate/pydoc")
    >>> isinstance(model, zoo.Generative)
    True
    >>> pieces = model.stream("The function", zoo.GenerationConfig(max_length=5, sample=True, seed=1))
    >>> "".join(pieces).startswith("The function")
    True
    """

    config: GenerativeConfig
    config_class: ClassVar[type[TaskConfig]] = GenerativeConfig

    @abstractmethod
    def generate(self, batch: Batch, config: GenerationConfig) -> list[list[Hypothesis]]:
        """Return hypotheses for each row, best first."""

    @abstractmethod
    def predict_batch(
        self,
        batch: Batch,
        *,
        encoded: Encoded | None = None,
        config: GenerationConfig | None = None,
    ) -> list[Any]:
        """Return one answer per row of the batch, generated as `config` says."""

    def stream(self, prompt: str, config: GenerationConfig | None = None) -> Iterator[str]:
        """Yield the answer to one text in pieces, as they are produced."""
        rows = input_rows(self, [prompt])
        yield self.format(next(predict_rows(self, rows, config=config)))

    def predict(self, inputs: Any, config: GenerationConfig | None = None) -> list[Any]:
        """Generate a text for each input, or with `n_best` above 1 a list of the best.

        `config` is by default the task's own.
        """
        rows = input_rows(self, inputs)
        return [self._short(answer, config) for answer in predict_rows(self, rows, config=config)]

    def preview(self) -> str | None:
        """Return a sample of the model's work, logged after each epoch, or None."""
        return None

    def plot(self, row: Row, answer: Any, path: Path) -> bool:
        """Draw how an answer came about into the .png `path`; False if there is nothing to draw."""
        return False

    def _short(self, answer: Any, config: GenerationConfig | None) -> Any:
        """Return the text, or with `n_best` above 1 the list of the best texts."""
        texts = [hypothesis["text"] for hypothesis in answer["n_best"]]
        return texts if (config or self.config.generation).n_best > 1 else texts[0]

    def _answers(
        self,
        dataset: ExampleList,
        evaluation: EvaluationConfig,
        stage: Stage,
        rank: int,
        world: int,
        config: GenerationConfig | None = None,
    ) -> Iterator[tuple[int, Any]]:
        if config is None:
            config = GREEDY if stage == "validate" else self.config.generation
        yield from self._answer_batches(dataset, evaluation, rank, world, config=config)


class FeatureTask(Task):
    """A task whose input column holds texts, or float features (steps, features).

    The rows decide: of features a "scaler" is learned in the place of a "tokenizer".
    """

    # What a model of features is compared with; `baseline` is for texts.
    feature_baseline: ClassVar[Baseline | None] = None

    def __init__(
        self,
        backbone: Backbone,
        processors: Mapping[str, Processor],
        config: TaskConfig | None = None,
    ) -> None:
        """With a "scaler" among the processors it reads features. Raises ValueError for an EOS there."""
        super().__init__(backbone, processors, config)
        self.of_features = "scaler" in self.processors
        if self.of_features:
            self.baseline = type(self).feature_baseline  # type: ignore[misc]
            self.predict_example = OF_ROWS
            self.example = None
            if getattr(self.config, "append_eos", False):
                raise ValueError("append_eos=true: float features have no EOS: leave it out")

    @classmethod
    def learn(
        cls,
        rows: Iterable[Row],
        config: TaskConfig,
        tokenizer: TokenizerConfig,
        kept: Mapping[str, Processor] | None = None,
    ) -> dict[str, Processor]:
        """Learn the scaler of rows with features, else the tokenizers. Raises InputError."""
        processors, name = dict(kept or {}), cls.input_columns[0]
        if not {"tokenizer", "scaler"} & {*processors} and features.in_rows(rows, name):
            processors["scaler"] = features.learn(rows, name)
        if "scaler" in processors:
            return processors
        return super().learn(rows, config, tokenizer, processors)

    def _encode_input(self, row: Row) -> Any:
        """Return the ids of a text, or scaled features (steps, features). Raises RowError."""
        name = self.input_columns[0]
        if self.of_features:
            return features.encode(row, name, cast(Scaler, self.processors["scaler"]))
        return self.tokenizer.encode(column(row, name))

    def _step_names(self, row: Row) -> list[str]:
        """Return what an explanation calls the steps of a row with features."""
        return features.step_names(features.of_row(row, self.input_columns[0]))


@contextmanager
def noted(what: str, report: dict[str, Any]) -> Iterator[None]:
    """Turn an error in what is not the model itself into a log line, and a note of the report."""
    try:
        yield
    except Exception as error:
        name = "" if isinstance(error, ValueError) else f"{type(error).__name__}: "
        line = f"no {what}: {name}{line_of(error)[:LONGEST_NOTE]}"
        report.setdefault("notes", []).append(line)
        log.warning("%s", line)


def _learn_tokenizer(
    rows: Iterable[Row], columns: Sequence[str], wanted: TokenizerConfig
) -> Tokenizer:
    """Train one tokenizer on the texts of some columns."""
    pieces = SentencePieceOptions(
        wanted.coverage, wanted.nfkc, wanted.split_digits, wanted.blanks, wanted.uncased
    )
    texts = (_text(row, name) for row in rows for name in columns)
    return TOKENIZERS[wanted.kind].train(texts, wanted.size, wanted.min_count, pieces)


def _text(row: Row, name: str) -> str:
    """Return a column as text; of words, with blanks between."""
    return " ".join(labelled_words.words(row)) if name == "words" else column(row, name)


def input_row(task: Task, row: Mapping[str, Any], splitter: str = "words") -> Row:
    """Return the input columns of a row. Plain "text" becomes the first input column.

    `splitter` splits it into words for tasks that read words: see `zoo.data.labelled_words`.
    """
    return input_columns(row, task.input_columns, splitter)


def input_rows(task: Task, inputs: Any, splitter: str = "words") -> Iterator[Row]:
    """Yield the input rows of one text or row, or of several: see `zoo.data.python.inputs`.

    Of a model of features an input is an array (steps, features).
    """
    if isinstance(task, FeatureTask) and task.of_features:
        yield from features.as_rows(inputs, task.input_columns[0])
        return
    for row in rows_of_inputs(inputs, task.input_columns):
        yield input_row(task, row, splitter)


def predict_dataset(
    task: Task,
    dataset: ExampleList,
    evaluation: EvaluationConfig | None = None,
    stage: Stage = "test",
    rank: int = 0,
    world: int = 1,
    config: GenerationConfig | None = None,
) -> Iterator[tuple[int, Any]]:
    """Yield (row number, answer) of every row, in the order in which they are computed.

    Of `world` processes, process `rank` answers its share. `config` is for tasks that generate.
    """
    if task.training:
        task.eval()
    options = {} if config is None else {"config": config}
    yield from task._answers(
        dataset, evaluation or EvaluationConfig(), stage, rank, world, **options
    )


def predict_rows(
    task: Task,
    rows: Iterable[Row],
    precision: str | None = None,
    evaluation: EvaluationConfig | None = None,
    config: GenerationConfig | None = None,
    cut: list[str] | None = None,
) -> Iterator[Any]:
    """Yield the answers to input rows, in the order of the rows.

    `precision` and `config`, which is for tasks that generate, are by default the task's own. The
    places of rows that are too long, and so are not read to their end, are added to `cut`.
    """
    evaluation = evaluation or EvaluationConfig()
    if task.training:
        task.eval()
    stream = iter(rows)
    while chunk := list(islice(stream, CHUNK_BATCHES * evaluation.batch_rows)):
        parts = [task._pieces(row) for row in chunk]
        pieces = [piece for own in parts for piece in own]
        encoded = [task.encode(row) for row in pieces]
        if cut is not None:
            cut += [r.source for r, e in zip(pieces, encoded, strict=True) if e.get("cut")]
        examples = ExampleList(encoded)
        with autocast(task.device, precision or task.precision):
            found = predict_dataset(task, examples, evaluation, config=config) if encoded else []
            answers = iter(sorted(found, key=itemgetter(0)))
            joined = [
                task._joined([next(answers)[1] for _ in own], row)
                for row, own in zip(chunk, parts, strict=True)
            ]
        for row, answer in zip(chunk, joined, strict=True):
            yield task._complete(answer, row)


def restore(kind: type[Task], saved: Saved, device: str = "cpu", precision: str = "fp32") -> Task:
    """Build the model of a model folder that was read, in eval mode. Raises InputError."""
    where = torch.device(device)
    precision = find_precision(precision, where)
    try:
        backbone = BackboneConfig(**saved.backbone)
    except (ValueError, TypeError) as error:
        raise InputError(f"{saved.path}: {line_of(error)}") from None
    saved.check_input(backbone.vocabulary_size, backbone.input_size)

    def make() -> Task:
        try:
            return kind._restore(saved.config, Backbone(backbone), saved.processors)
        except (ValueError, KeyError, TypeError, AttributeError, MemoryError) as error:
            raise InputError(f"{saved.path}: {line_of(error)}") from None

    try:
        task = saved.build(make)
    except RuntimeError as error:
        raise InputError(f"{saved.path}: {line_of(error)}") from None
    saved.fill(task)
    task.metadata = saved.metadata
    task.precision = precision
    return task.to(where).eval()
