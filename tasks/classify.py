"""Document classification: one label for a whole text.

An LSTM returns `output` (h at every step), `h_n` and `c_n` (both states after the last step). A
label for a whole text needs one vector that has seen the whole text. That vector is `h_n`: the
forward direction ends at the last token, the backward direction at the first. The default,
`pool=merged`, concatenates the two.

The last step of `output` looks right, but is wrong for half of the vector: there the backward
direction has read only one token. `pool=last` does this, for comparison.

A row whose `text` holds float features, (steps, features), is read without an embedding.

Rows whose label is a list make it a multi-label classifier: the same logits go through a sigmoid
each, and `LabelSets` decides by a threshold for each label, chosen on validation rows. `SingleLabels`
takes the most probable label otherwise.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, cast

import torch
from pydantic import Field
from torch import Tensor, nn

from zoo.config import TokenizerConfig
from zoo.data.batch import Batch, Example
from zoo.data.dataset import Dataset
from zoo.data.processors import LabelEncoder, LabelSetEncoder, Processor, learn_labels
from zoo.data.readers import Row, column
from zoo.errors import InputError
from zoo.evaluation import advice, baselines, logistic, plots
from zoo.evaluation.attribution import Question, hidden
from zoo.evaluation.label_sets import LabelSets
from zoo.evaluation.single_labels import SingleLabels
from zoo.generation.config import GenerationConfig
from zoo.messages import _
from zoo.nn.backbone import Backbone, Encoded
from zoo.nn.losses.r_drop import binary_divergence, divergence, r_drop_loss
from zoo.nn.output_layer import NgramBag, NgramBatch, at_least_float32
from zoo.option_classes import Count, NotNegative, Share, Steps, checked_dataclass
from zoo.rnn.stack import State
from zoo.task import Baseline, FeatureTask, Step, TaskConfig, input_rows, noted, predict_rows
from zoo.text.ngrams import MOST_LONGEST, NgramVocabulary
from zoo.text.special_ids import EOS, SPECIALS
from zoo.text.tokenizers import units

log = logging.getLogger("zoo")

MOST_NGRAMS = 100_000  # n-grams of the linear bag
SHOWN_LABELS = 10  # in a message
HIDDEN = "\ufffd"  # a character in the place of a hidden one
NOT_BLANK = re.compile(r"\S")
MOST_NGRAM_WEIGHTS = 2_000_000  # n-grams x labels

NgramLength = Annotated[int, Field(ge=1, le=MOST_LONGEST)]
Pool = Literal["merged", "mean", "max", "last", "attention"]

WHY = {
    "merged": "the final h of each direction has read the whole text",
    "mean": "every step counts the same, however early it was read",
    "max": "each feature is taken at the step where it is largest",
    "last": "a common mistake: at the last step the backward direction has read one token",
    "attention": "a learned weight per step selects the steps that matter",
}


@checked_dataclass
class ClassifyConfig(TaskConfig):
    """The options of `task=classify`.

    >>> ClassifyConfig(pool="mean").dropout
    0.5
    >>> ClassifyConfig(pool="men")
    Traceback (most recent call last):
    zoo.errors.InputError: task.pool=men: Input should be 'merged', ... or 'attention'; did you mean mean?
    """

    pool: Pool = "merged"
    """One vector from all steps: merged (final h_n of both directions), mean, max, last, attention."""
    dropout: Share = 0.5
    """Dropout before the linear layer."""
    max_length: Steps = 400
    """Tokens that are read; longer texts are truncated."""
    class_weights: Literal["none", "balanced"] = "none"
    """Weights of the labels in the loss: balanced gives rare labels more; macro F1 chooses."""
    label_smoothing: Share = 0.0
    """Share of the target probability that is spread over all labels."""
    r_drop: NotNegative = 0.0
    """Weight of R-Drop: two passes with other dropout masks shall predict the same; 0: one pass."""
    append_eos: bool = False
    """EOS stands behind the text, as heads on a shared backbone need it."""
    ngrams: Literal["none", "words", "characters"] = "none"
    """Wide and deep: a linear bag of n-grams of words or characters joins the LSTM's logits."""
    ngram_share: Share = 0.6
    """Share of the bag of n-grams in the mean of both logits."""
    ngram_length: NgramLength | None = None
    """Words or characters of the longest n-gram; by default 2 words, 4 characters."""
    ngram_count: Count | None = None
    """Most n-grams, the most frequent ones; by default 100,000, with many labels fewer."""
    ngram_dropout: Share = 0.0
    """Share of a text's n-grams that the fit of the bag leaves out; above 0 it reads batches."""


class Classify(FeatureTask):
    """A text classifier: final h of both directions -> dropout -> linear layer -> softmax.

    It reads ids (batch, time), or float features (batch, time, size); logits are (batch, labels).

    >>> import zoo
    >>> texts = [f"{kind} film {number}" for number in range(20) for kind in ("good", "bad")]
    >>> model = zoo.Classify.fit(texts, ["plus", "minus"] * 20, train={"epochs": 1}, seed=1)
    >>> sorted(model.predict("a film", probabilities=True)[0])
    ['minus', 'plus']
    """

    config: ClassifyConfig
    config_class = ClassifyConfig
    target_columns = ("label",)
    not_empty = ("text",)
    metric = "accuracy"
    example = "A film to be seen twice: warm, funny and beautifully played."
    shape = "batch, directions x hidden: one vector per text"
    logits = "batch, labels"
    label_axes: ClassVar[Mapping[str, tuple[int, ...]]] = {
        "head.weight": (0,),
        "head.bias": (0,),
        "bag.weight": (1,),
        "bag.bias": (0,),
    }
    baseline: ClassVar[Baseline | None] = staticmethod(baselines.tfidf)
    feature_baseline = staticmethod(baselines.sequence_statistics)

    def __init__(
        self,
        backbone: Backbone,
        processors: Mapping[str, Processor],
        config: ClassifyConfig | None = None,
    ) -> None:
        """`processors` are "tokenizer" and "labels", a LabelEncoder in the order of the logits.

        `class_weights=balanced` needs the counts of the labels. Raises ValueError without them.
        """
        super().__init__(backbone, processors, config)
        pool = self.config.pool
        balanced = self.config.class_weights == "balanced"
        encoder = cast(LabelEncoder, self.processors["labels"])
        self.decision: SingleLabels | LabelSets  # loss, answers and scores
        smoothing = self.config.label_smoothing
        if isinstance(encoder, LabelSetEncoder):
            self.decision = LabelSets(encoder, balanced, smoothing)
        else:
            self.decision = SingleLabels(encoder, balanced, smoothing)
        several = isinstance(encoder, LabelSetEncoder)
        self.metric = self._metric_of(self.config, encoder.labels, several)
        self.labels = encoder.labels
        self.reads = "h_n" if pool == "merged" else "output"
        self.why = WHY[pool]
        self.attention = nn.Linear(backbone.output_size, 1) if pool == "attention" else None
        self.dropout = nn.Dropout(self.config.dropout)
        self.head = nn.Linear(backbone.output_size, len(self.labels))
        if isinstance(self.decision, LabelSets):
            self.head.bias.data = self.decision.prior()
        self.bag: NgramBag | None = None
        if self.config.ngrams != "none":
            if "ngrams" not in self.processors:
                raise ValueError(f"ngrams={self.config.ngrams} needs the n-grams of the texts")
            self.bag = NgramBag(len(self._ngrams), len(self.labels))
            self.why += "; a linear bag of n-grams joins it"

    @classmethod
    def _metric_of(
        cls, config: TaskConfig, labels: Collection[str] = (), several: bool = False
    ) -> str:
        assert isinstance(config, ClassifyConfig)
        if config.class_weights == "balanced":
            return "macro_f1"
        return LabelSets.metric if several else SingleLabels.metric

    # --- what is read from the LSTM, and learned

    def read(self, encoded: Encoded) -> Tensor:
        """One vector per text: (batch, directions * hidden)."""
        if self.config.pool == "merged":
            # h_n is (layers * directions, batch, hidden), the top layer is the last
            directions = 2 if self.backbone.rnn.bidirectional else 1
            return torch.cat([*encoded.h_n[-directions:]], -1).to(self.head.weight.dtype)
        output = encoded.output.to(self.head.weight.dtype)  # (batch, time, directions * hidden)
        lengths = encoded.lengths.to(output.device).clamp(min=1).unsqueeze(1)  # (batch, 1)
        if self.config.pool == "mean":
            return output.sum(1) / lengths
        if self.config.pool == "last":
            return output[torch.arange(output.size(0)), lengths.squeeze(1) - 1]
        padding = torch.arange(output.size(1), device=output.device) >= lengths  # (batch, time)
        if self.config.pool == "max":
            return output.masked_fill(padding.unsqueeze(-1), -1).amax(1)  # h is never below -1
        assert self.attention is not None
        scores = at_least_float32(self.attention(output.tanh()).squeeze(-1))  # (batch, time)
        weights = scores.masked_fill(padding, -torch.inf).softmax(1).to(output.dtype)
        return (weights.unsqueeze(1) @ output).squeeze(1)

    def forward(self, batch: Batch, *, encoded: Encoded | None = None) -> Tensor:
        """Return logits (batch, labels)."""
        if encoded is None:
            encoded = self._run_backbone(batch)
        deep = self._deep(encoded)
        if self.bag is None:
            return deep
        share = self.config.ngram_share
        return (1 - share) * deep + share * self._wide(batch)

    def _deep(self, encoded: Encoded) -> Tensor:
        """Return the logits (batch, labels) of the LSTM."""
        return self.head(self.dropout(self.read(encoded)))

    def _wide(self, batch: Batch) -> Tensor:
        """Return the logits (batch, labels) of the bag of n-grams."""
        assert self.bag is not None
        known = batch.extras.get("bag_logits")
        return self.bag(batch.extras["ngrams"]) if known is None else known

    def training_step(self, batch: Batch, state: State | None = None) -> Step:
        """Return the mean cross entropy of the labels, with class weights and label smoothing.

        Of multi-label rows it is the binary one, over all labels. With `r_drop` it is that of two
        passes, and how far they differ.
        """
        targets, decision = _targets(batch), self.decision
        assert targets is not None

        def logits() -> Tensor:
            fitted = self.bag is not None  # the bag is: only the LSTM learns
            found = self._deep(self._run_backbone(batch)) if fitted else self(batch)
            return at_least_float32(found)

        def loss(found: Tensor) -> Tensor:
            return decision.losses(found, targets).mean()

        apart = binary_divergence if isinstance(decision, LabelSets) else divergence
        mean = r_drop_loss(logits, loss, self.config.r_drop, apart)
        return Step(mean, len(batch))  # over the rows, whatever their weights

    def predict_batch(
        self, batch: Batch, *, encoded: Encoded | None = None
    ) -> list[dict[str, Any]]:
        """Return {"label": the most probable one, "probabilities": of the labels} per row.

        Multi-label answers are {"labels", "probabilities"}. With more than a hundred labels, only
        the most probable ones have a probability; with targets there is also "nats", the loss.
        """
        logits = at_least_float32(self(batch, encoded=encoded))
        return self.decision.answers(logits, _targets(batch))

    # --- from rows to batches

    @classmethod
    def learn(
        cls,
        rows: Iterable[Row],
        config: TaskConfig,
        tokenizer: TokenizerConfig,
        kept: Mapping[str, Processor] | None = None,
    ) -> dict[str, Processor]:
        """Learn the tokenizer and the labels. Raises InputError below two labels.

        Rows with lists of labels make it a multi-label classifier.
        """
        assert isinstance(config, ClassifyConfig)
        kept = dict(kept or {})
        if "labels" not in kept:
            kept["labels"] = learn_labels(rows)
        learned = super().learn(rows, config, tokenizer, kept)
        if config.ngrams != "none" and "ngrams" not in learned:
            if "scaler" in learned:
                raise InputError(
                    f"task.ngrams={config.ngrams}: float features have none: leave it out"
                )
            most = MOST_NGRAM_WEIGHTS // len(cast(LabelEncoder, learned["labels"]))
            texts = (column(row, "text") for row in rows)
            count = config.ngram_count or max(1, min(MOST_NGRAMS, most))
            length = config.ngram_length
            learned["ngrams"] = NgramVocabulary.learn(texts, config.ngrams, count, length)
        return learned

    @property
    def _ngrams(self) -> NgramVocabulary:
        return cast(NgramVocabulary, self.processors["ngrams"])

    def encode(self, row: Row) -> Example:
        """Return "inputs", ids of the text or features, and "targets", the number of its label.

        A label that the training rows lack has the target IGNORE_INDEX: every answer is a mistake.
        Multi-label targets are a list of numbers, of the labels that are known.
        """
        most = self.config.max_length
        steps = self._encode_input(row)
        inputs = [*steps[:most], EOS] if self.config.append_eos else steps[:most]
        example: dict[str, Any] = {"inputs": inputs, "cut": int(len(steps) > most)}
        if self.bag is not None:
            example["ngrams"], example["ngram_weights"] = self._ngrams.encode(column(row, "text"))
        if "label" in row:
            example["targets"] = self.decision.encode(row)
        return example

    def collate(self, examples: Sequence[Example], augment: bool = False) -> Batch:
        """Pad the examples; `extras` hold their n-grams and the numbers of several labels."""
        batch = super().collate(examples, augment)
        extras = dict(batch.extras)
        if self.bag is not None:
            ids = [example["ngrams"] for example in examples]
            weights = [example["ngram_weights"] for example in examples]
            extras["ngrams"] = NgramBatch.collate(ids, weights)
        targets = batch.targets
        if targets is not None and targets.dim() > 1:  # several of a text are of no single step
            extras["label_ids"], targets = targets, None
        return replace(batch, targets=targets, extras=extras)

    def _initialize(self, dataset: Dataset) -> None:
        """Fit the linear bag of n-grams by logistic regression; training does not change it."""
        if self.bag is None:
            return
        start = time.perf_counter()
        balanced = self.config.class_weights == "balanced"
        sizes = len(self._ngrams), len(self.labels)
        dropout = self.config.ngram_dropout
        self.bag.load(*logistic.fit(dataset, *sizes, balanced, dropout))
        seconds = time.perf_counter() - start
        count, kind = len(self._ngrams), self.config.ngrams
        log.info(
            _(
                "{count:,} n-grams of {kind}: a linear bag, fitted in {seconds:.1f} s",
                count=count,
                kind=units(kind),
                seconds=seconds,
            )
        )

    # --- answers and their scores

    def predict(self, inputs: Any, probabilities: bool = False) -> list[Any]:
        """Return the labels of texts, or with `probabilities` a {label: probability} of each.

        A multi-label classifier returns a list of labels for each text. Of float features an input is
        an array (steps, features).
        """
        if not probabilities:
            return super().predict(inputs)
        return [a["probabilities"] for a in predict_rows(self, input_rows(self, inputs))]

    def format(self, answer: dict[str, Any]) -> str:
        return self.decision.format(answer)

    def _short(self, answer: dict[str, Any], config: GenerationConfig | None) -> Any:
        return self.decision.short(answer)

    def compute_metrics(
        self, answers: Sequence[dict[str, Any]], rows: Sequence[Row]
    ) -> dict[str, float]:
        """Return accuracy, macro F1 and the mean negative log-likelihood ("loss", in nats).

        Multi-label rows have micro and macro F1, exact match and loss.
        """
        return self.decision.compute_metrics(answers, rows)

    def _calibrate(
        self, answers: list[dict[str, Any]], rows: Sequence[Row]
    ) -> list[dict[str, Any]]:
        """Choose the thresholds of a multi-label classifier on validation rows."""
        return self.decision.calibrate(answers, rows)

    def report(self, answers: Sequence[Any], rows: Sequence[Row], folder: Path) -> dict[str, Any]:
        """Draw confusion.png; return its counts, scores per label, and the surest mistakes.

        Multi-label rows have no confusion: any number of their labels may be right.
        """
        found = self.decision.report(answers, rows)
        if isinstance(self.decision, LabelSets):
            return found
        truth, said = [column(row, "label") for row in rows], [each["label"] for each in answers]
        labels = [*self.labels, *sorted({*truth} - {*self.labels})]
        with noted("confusion.png", found):
            found["confusion"] = plots.confusion(truth, said, labels, folder)
        return found

    @classmethod
    def _advise(cls, report: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        own = []
        if advice.options(report).get("pool", "merged") == "merged":
            why = _("single words decide, wherever in the text they stand")
            own = [("task.pool=max", why)]
        yield from advice.general(report, own, ClassifyConfig.max_length)

    # --- why an answer was given

    def question(self, row: Row, answer: Any, target: Any = None) -> Question:
        """Ask about the answered label, or of several about each; `target` names another one."""
        chosen = self.decision.explained(answer) if target is None else [str(target)]
        if unknown := [label for label in chosen if label not in self.decision.ids]:
            known = ", ".join(self.labels[:SHOWN_LABELS])
            more = ", …" if len(self.labels) > SHOWN_LABELS else ""
            raise InputError(f"target={unknown[0]}: no label of this model; it knows {known}{more}")
        return LabelQuestion(self, row, chosen)

    def _float_parts(self, batch: Batch) -> dict[str, Tensor]:
        """Return the vectors that the LSTM reads; of a bag, which is linear, its logits too."""
        parts = super()._float_parts(batch)
        return parts if self.bag is None else parts | {"bag_logits": self._wide(batch)}


class LabelQuestion(Question):
    """Asks what each token says for a label of a text; the n-grams that it is part of included."""

    def __init__(self, task: Classify, row: Row, labels: Sequence[str]) -> None:
        self.task = task
        self.parts = [*labels]
        self.target = labels[0] if len(labels) == 1 else [*labels]
        self.numbers = torch.tensor([task.decision.ids[label] for label in labels])
        self.example = task.encode(Row({"text": row["text"]}, row.source))
        self.steps = len(self.example["inputs"]) - int(task.config.append_eos)
        if task.of_features:
            self.tokens = task._step_names(row)
        else:
            self.tokens = task.tokenizer.surfaces(column(row, "text"))
        if task.bag is None:
            self.tokens = self.tokens[: self.steps]  # the bag alone reads what is behind them

    def hide(self, tokens: Sequence[int]) -> Example:
        steps = [number for number in tokens if number < self.steps]
        example = {**self.example, "inputs": hidden(self.example["inputs"], steps)}
        if self.task.bag is not None:
            shown = [*self.tokens]
            for number in tokens:
                shown[number] = NOT_BLANK.sub(HIDDEN, shown[number])
            found = self.task._ngrams.encode("".join(shown))
            example["ngrams"], example["ngram_weights"] = found
        return example

    def run(self, batch: Batch) -> Tensor:
        return self.task.decision.log_probabilities(at_least_float32(self.task(batch)))

    def score(self, found: Tensor, parts: Tensor) -> Tensor:
        return found.gather(1, self.numbers[parts].to(found.device))

    def step_names(self) -> list[str]:
        end = [SPECIALS[EOS]] if self.task.config.append_eos else []
        return [*self.tokens[: self.steps], *end]


def _targets(batch: Batch) -> Tensor | None:
    """Return the number of each row's label, (batch,), or the numbers of its labels, padded."""
    return batch.extras.get("label_ids", batch.targets)
