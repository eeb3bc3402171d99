"""Sequence labelling: one label for each word.

An LSTM returns `output` (h at every step), `h_n` and `c_n` (both states after the last step). A
label for each word needs one vector for each word. That is `output`: at the step of a word the
forward direction has read all words up to it, the backward direction all words from the end to it.

A row whose `words` are float features, (steps, features), gets a label for each step.

A word that is not in the vocabulary still has characters. A second, small LSTM reads the characters
of each word. It needs one vector for the whole word, so it uses `h_n` of both directions.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import accumulate, chain, pairwise
from pathlib import Path
from typing import Any, ClassVar, Literal, cast

import numpy as np
import torch
from torch import Tensor, nn

from zoo.config import TokenizerConfig
from zoo.data import batch as batches
from zoo.data import labelled_words
from zoo.data.batch import IGNORE_INDEX, Batch, Example
from zoo.data.processors import LabelEncoder, Processor, WordCounts
from zoo.data.readers import Row
from zoo.errors import InputError
from zoo.evaluation import advice, baselines, metrics, plots
from zoo.evaluation.attribution import Question, hidden
from zoo.generation.config import GenerationConfig
from zoo.messages import _
from zoo.nn import token_dropout
from zoo.nn.backbone import Backbone, Encoded
from zoo.nn.char_encoder import CharBatch, CharEncoder
from zoo.nn.crf import CRF, IndependentLabels
from zoo.nn.losses.r_drop import divergence, r_drop_loss
from zoo.nn.output_layer import at_least_float32
from zoo.option_classes import NotNegative, Share, Size, checked_dataclass
from zoo.rnn import dropout as dropouts
from zoo.rnn.stack import State
from zoo.task import Baseline, FeatureTask, Step, TaskConfig, input_rows, noted, predict_rows
from zoo.text import bio
from zoo.text.characters import Alphabet
from zoo.text.special_ids import EOS, UNK

log = logging.getLogger("zoo")

# task.words -> the tokenizer kinds that it works with
KINDS = {"word+char": ("lowercase", "whitespace"), "subword": ("subwords", "characters")}
LEARNED = ("labels", "characters", "seen")  # the processors besides the tokenizer
PIECE = 20_000  # words of a piece, of a row that is read in pieces
CONTEXT = 200  # words before and behind a piece, which it reads without answering them
NO_WORD = -1  # padding of the extra "word_starts"
MOST_LABELS = 5_000  # of a CRF, which scores each pair of labels at each step
SHOWN = 3  # test sentences that are printed after a training


@checked_dataclass
class TagConfig(TaskConfig):
    """The options of `task=tag`.

    >>> TagConfig(crf=True).words
    'word+char'
    """

    words: Literal["word+char", "subword"] = "word+char"
    """word+char: words and their characters; subword: the first piece of each word."""
    crf: bool = False
    """A CRF: predict the best label sequence, not the best label of each word."""
    dropout: Share = 0.5
    """Dropout before the linear layer."""
    character_embedding: Size = 64
    """Size of the vectors of characters."""
    character_hidden: Size = 128
    """Hidden size of the character LSTM, in each direction."""
    character_dropout: Share = 0.05
    """Share of the characters that become unknown in training."""
    singleton_dropout: Share = 0.7
    """Share of the words (or pieces) seen once that become <unk> in training."""
    unseen_words: Share = 0.0
    """Share of the words that are made up in training: <unk>, with other letters of the same case."""
    label_smoothing: Share = 0.0
    """Share of the target probability that is spread over all labels; not with a CRF."""
    r_drop: NotNegative = 0.0
    """Weight of R-Drop: two passes with other dropout masks shall predict the same; not with a CRF."""
    append_eos: bool = False
    """Subword: EOS stands behind the pieces, as heads on a shared backbone need it."""


class Tag(FeatureTask):
    """A tagger: word embedding + character LSTM -> LSTM -> linear layer -> CRF or softmax.

    Logits are (batch, words, labels).

    >>> import zoo
    >>> zoo.Tag.from_pretrained("tag/ewt-upos").predict("The cat sat")
    [[('The', 'DET'), ('cat', 'NOUN'), ('sat', 'VERB')]]
    """

    config: TagConfig
    config_class = TagConfig
    input_columns = ("words",)
    target_columns = ("labels",)
    text_columns = ("words",)
    not_empty = ("words",)
    metric = "accuracy"
    example = "The cat sat on the mat."
    reads = "output"
    why = (
        "a label for every word needs a vector for every word, with what stands on both sides of it"
    )
    shape = "batch, time, directions x hidden: one vector per step"
    logits = "batch, words, labels"
    label_axes: ClassVar[Mapping[str, tuple[int, ...]]] = {
        "head.weight": (0,),
        "head.bias": (0,),
        "chain.transitions": (0, 1),
        "chain.start": (0,),
        "chain.end": (0,),
    }
    baseline: ClassVar[Baseline | None] = staticmethod(baselines.linear_tagger)
    feature_baseline = staticmethod(baselines.step_tagger)

    def __init__(
        self,
        backbone: Backbone,
        processors: Mapping[str, Processor],
        config: TagConfig | None = None,
    ) -> None:
        """`processors` are "tokenizer", "labels", "characters" and "seen".

        "labels" is a LabelEncoder in the order of the logits; a CRF allows its exceptions from the
        rules of BIO. "characters" is the Alphabet of the character LSTM. "seen" holds the training
        words: the metrics report unseen words separately. Raises ValueError for options that do
        not fit together.
        """
        super().__init__(backbone, processors, config)
        options = self.config
        encoder = cast(LabelEncoder, self.processors["labels"])
        if not self.of_features:
            self._check_units()
        if options.crf and options.label_smoothing:
            raise ValueError("label_smoothing is of single labels: a CRF has none")
        if options.crf and options.r_drop:
            raise ValueError("r_drop compares single labels: a CRF has none")
        self.labels = encoder.labels
        self.metric = self._metric_of(options, self.labels)
        self.shares_pass = options.words == "subword"
        if options.unseen_words and options.words != "word+char":
            raise ValueError("unseen_words needs words=word+char")
        self.speller = None  # an LSTM or a GRU over characters
        if options.words == "word+char" and backbone.embedding is not None:
            self.speller = CharEncoder(
                len(self._alphabet),
                options.character_embedding,
                options.character_hidden,
                backbone.embedding.embedding_dim,
                options.character_dropout,
                backbone.config.cell,
            )
        self.augments = options.unseen_words > 0 and self.speller is not None
        self.head = nn.Linear(backbone.output_size, len(self.labels))
        self.chain: CRF | IndependentLabels
        if options.crf:
            if len(self.labels) > MOST_LABELS:
                raise ValueError(f"crf=true: {len(self.labels):,} labels, at most {MOST_LABELS:,}")
            barred = bio.forbidden_transitions(self.labels, encoder.exceptions)
            self.chain = CRF(len(self.labels), None if barred is None else torch.from_numpy(barred))
        else:
            self.chain = IndependentLabels(options.label_smoothing)
        self.singletons: Tensor
        # (vocabulary,): True for words, or pieces of words, that occur once in the training rows
        once = torch.zeros(0, dtype=torch.bool)
        if not self.of_features:
            once = torch.from_numpy(labelled_words.singletons(self._seen, self.tokenizer))
        self.register_buffer("singletons", once, persistent=False)

    def _check_units(self) -> None:
        """Raise ValueError unless backbone and tokenizer fit the words or pieces that are read."""
        units = self.config.words
        if self.backbone.embedding is None:
            raise ValueError("tag reads ids: its backbone needs a vocabulary")
        if self.tokenizer.kind not in KINDS[units]:
            kinds = " or ".join(KINDS[units])
            raise ValueError(f"task.words={units} needs tokenizer.kind={kinds}")

    @classmethod
    def _metric_of(
        cls, config: TaskConfig, labels: Collection[str] = (), several: bool = False
    ) -> str:
        return "f1" if bio.are_spans(labels) else cls.metric

    # --- what is read from the LSTM, and learned

    def read(self, encoded: Encoded) -> Tensor:
        return encoded.output

    def forward(self, batch: Batch, *, encoded: Encoded | None = None) -> Tensor:
        """Return logits (batch, words, labels) in fp32; with a CRF its emission scores."""
        if encoded is None:
            encoded = self._run_backbone(batch)
        output = self.read(encoded)
        if "word_starts" in batch.extras:  # take the step of each word's first piece
            first = batch.extras["word_starts"].clamp(min=0).unsqueeze(-1)  # (batch, words, 1)
            output = output.gather(1, first.expand(-1, -1, output.size(-1)))
        output = dropouts.dropout(output, self.config.dropout, self.training)
        return at_least_float32(self.head(output))

    def training_step(self, batch: Batch, state: State | None = None) -> Step:
        """Return the cross entropy of the labels, or with a CRF -log P of the sequences, per word.

        With `r_drop` it is that of two passes, and how far they differ.
        """
        assert batch.targets is not None
        targets, real = batch.targets, batch.target_mask

        def loss(logits: Tensor) -> Tensor:
            return self.chain.loss(logits, targets, real).sum() / real.sum()

        def apart(first: Tensor, second: Tensor) -> Tensor:
            return divergence(first[real], second[real])

        mean = r_drop_loss(lambda: self(batch), loss, self.config.r_drop, apart)
        return Step(mean, batch.count_steps())

    def predict_batch(
        self, batch: Batch, *, encoded: Encoded | None = None
    ) -> list[dict[str, Any]]:
        """Return {"labels": of the words, "probabilities": of these labels} per row.

        With targets also "nats", the loss of the row, summed over its words; 0 for a row with a
        label that the training rows lack.
        """
        logits = self(batch, encoded=encoded)  # (batch, words, labels)
        real = _word_mask(batch)
        answers = self._decoded(logits, real)
        if batch.targets is not None:
            known = (batch.target_mask | ~real).all(1)  # (batch,)
            losses = self.chain.loss(logits, batch.targets.clamp(min=0), real)
            nats = losses.masked_fill(~known, 0).tolist()
            return [a | {"nats": n} for a, n in zip(answers, nats, strict=True)]
        return answers

    def _decoded(self, logits: Tensor, real: Tensor) -> list[dict[str, Any]]:
        """Return answers of logits (batch, words, labels); `real` is False on padding."""
        best = self.chain.decode(logits, real)
        sure = self.chain.marginals(logits, real).gather(2, best.unsqueeze(2)).squeeze(2)
        counts = real.sum(1).tolist()
        return [
            {"labels": [self.labels[i] for i in labels[:count]], "probabilities": shares[:count]}
            for labels, shares, count in zip(best.tolist(), sure.tolist(), counts, strict=True)
        ]

    def _run_backbone(self, batch: Batch, state: State | None = None) -> Encoded:
        """Run the backbone over ids of pieces, or for words over sums of two vectors.

        These are the embedding and the character LSTM's vector, (batch, time, embedding_size) each
        (Dozat et al. 2017). `state` is that after the words before the batch.
        """
        return self.backbone(self._vectors(batch), batch.lengths, state)

    def _vectors(self, batch: Batch) -> Tensor:
        """Return what the backbone reads: ids, or vectors where there are other parts than ids."""
        if batch.inputs.is_floating_point():
            return batch.inputs
        p = self.config.singleton_dropout
        inputs = token_dropout.some(batch.inputs, self.singletons, p, self.training)
        if self.speller is None:
            return inputs
        return self.backbone.embed(inputs) + self.speller(batch.extras["characters"])

    # --- from rows to batches

    @classmethod
    def learn(
        cls,
        rows: Iterable[Row],
        config: TaskConfig,
        tokenizer: TokenizerConfig,
        kept: Mapping[str, Processor] | None = None,
    ) -> dict[str, Processor]:
        """Learn the tokenizer, the labels, the characters and the words. Raises InputError."""
        kept = kept or {}
        if not {*LEARNED} <= {*kept}:
            kept = {**labelled_words.learn(rows), **kept}
        return super().learn(rows, config, tokenizer, kept)

    @property
    def _seen(self) -> WordCounts:
        return cast(WordCounts, self.processors["seen"])

    @property
    def _alphabet(self) -> Alphabet:
        return cast(Alphabet, self.processors["characters"])

    def encode(self, row: Row) -> Example:
        """Return "inputs", the ids of the words, and "targets", the numbers of their labels.

        "letters" are the ids of the words' characters. With `words=subword` "inputs" are the ids of
        pieces, and "first" is the position of each word's first piece. A label that the training
        rows lack has the target IGNORE_INDEX: every answer is a mistake. Raises RowError.
        """
        if self.of_features:
            return {"inputs": self._encode_input(row), **self._targets(row)}
        words = labelled_words.words(row)
        pieces = [self.tokenizer.encode(word) or [UNK] for word in words]
        example: dict[str, Any] = {"inputs": [piece for word in pieces for piece in word]}
        if self.speller is not None:
            example["letters"] = self._alphabet.encode(words)
        else:
            ends = accumulate(map(len, pieces))
            example["first"] = [end - len(word) for end, word in zip(ends, pieces, strict=True)]
            if self.config.append_eos:
                example["inputs"].append(EOS)
        return {**example, **self._targets(row)}

    def _targets(self, row: Row) -> dict[str, list[int]]:
        """Return the numbers of a row's labels as "targets", nothing without labels."""
        if "labels" not in row:
            return {}
        encoder = cast(LabelEncoder, self.processors["labels"])
        given = labelled_words.labels(row)
        return {"targets": [encoder.ids.get(label, IGNORE_INDEX) for label in given]}

    def collate(self, examples: Sequence[Example], augment: bool = False) -> Batch:
        """Pad examples to a batch with an extra for each step or word.

        "characters" is a CharBatch; with `words=subword` instead "word_starts" (batch, words) is
        the first step of each word, NO_WORD on padding.
        """
        extras: dict[str, Any] = {}
        if augment and self.augments:
            examples = [self._make_up(example) for example in examples]
        if self.speller is not None:
            extras["characters"] = CharBatch.collate([example["letters"] for example in examples])
        elif not self.of_features:
            first = [example["first"] for example in examples]
            extras["word_starts"] = batches.pad(first, NO_WORD)
        batch = batches.collate(examples)
        return replace(batch, extras={**batch.extras, **extras})

    def _make_up(self, example: Example) -> Example:
        """Replace a share of the words by <unk> with random letters of the same case.

        All words of a span are replaced together (mention replacement, Dai and Adel 2020), words
        outside of spans four times less. So a tagger of few names learns from the words around.
        """
        letters = np.asarray(example["letters"], np.int64)
        words = np.split(letters, np.flatnonzero(letters == EOS) + 1)[:-1]  # each with its EOS
        labels = [self.labels[int(target)] for target in example["targets"]]
        inputs = [*map(int, example["inputs"])]
        spans, share = bio.are_spans(self.labels), self.config.unseen_words
        made_up = False
        for number, (word, label) in enumerate(zip(words, labels, strict=True)):
            if not (spans and bio.parts(label)[0] in bio.GO_ON):
                rare = 0.25 if spans and label == bio.OUTSIDE else 1.0
                made_up = bool(torch.rand(()) < share * rare)
            if made_up:
                inputs[number] = UNK
                words[number] = self._alphabet.made_up(word[:-1], torch.rand(12).numpy())
        return {**example, "inputs": inputs, "letters": np.concatenate(words)}

    # --- answers and their scores

    def predict(self, inputs: Any, splitter: str = "words") -> list[list[tuple[str, str]]]:
        """Return a list of (word, label) for each input: a text, or a row with "words".

        Of float features an input is an array (steps, features), and a word the number of a step.
        `splitter` splits texts into words: "words", or "whitespace" at blanks alone.
        """
        answers = predict_rows(self, input_rows(self, inputs, splitter))
        return [self._short(answer, None) for answer in answers]

    def format(self, answer: dict[str, Any]) -> str:
        return " ".join(
            f"{word}/{label}" for word, label in zip(answer["words"], answer["labels"], strict=True)
        )

    def _short(
        self, answer: dict[str, Any], config: GenerationConfig | None
    ) -> list[tuple[str, str]]:
        return [*zip(answer["words"], answer["labels"], strict=True)]

    def _pieces(self, row: Row) -> list[Row]:
        """Return a row of more than LONGEST words in pieces, which share CONTEXT words at each side.

        One direction reads such a row itself, see `_read_on`.
        """
        words = row["words"]
        if not isinstance(words, list) or len(words) <= labelled_words.LONGEST:
            return [row]
        both = self.backbone.config.bidirectional
        if both:
            known = f"a label knows {CONTEXT} words before and behind"
        elif self.config.crf:
            known = f"a label knows all words before, and {CONTEXT} labels before and behind"
        else:
            known = "a label knows all words before"
        log.info(
            "%s: %s words are read in pieces of %s: %s",
            row.source,
            f"{len(words):,}",
            f"{PIECE:,}",
            known,
        )
        if not both:
            return []
        return [Row({"words": words[some]}, row.source) for some in _windows(len(words))]

    def _joined(self, answers: list[dict[str, Any]], row: Row) -> dict[str, Any]:
        answers = answers or self._read_on(row)
        if len(answers) == 1:
            return answers[0]
        joined: dict[str, Any] = {"labels": [], "probabilities": []}
        for number, answer in enumerate(answers):
            start = CONTEXT if number else 0
            for name, values in joined.items():
                values += answer[name][start : start + PIECE]
        return joined

    @torch.no_grad()
    def _read_on(self, row: Row) -> list[dict[str, Any]]:
        """Return answers to the pieces of a row, which one direction reads with the state carried.

        The labels are decided as if the row were read at once; a CRF looks CONTEXT words around.
        """
        logits: list[Tensor] = []  # of each piece (1, words, labels)
        state: State | None = None
        count = len(row["words"])
        for start in range(0, count, PIECE):
            piece = Row({"words": row["words"][start : start + PIECE]}, row.source)
            example = self.encode(piece)
            if self.config.append_eos and start + PIECE < count:
                del example["inputs"][-1]
            batch = self.collate([example]).to(self.device)
            encoded = self._run_backbone(batch, state)
            state = encoded.state
            logits.append(self(batch, encoded=encoded))
        whole = torch.cat(logits, 1)
        parts = [whole[:, some] for some in _windows(count)]
        return [self._decoded(part, part.new_ones(part.shape[:2]).bool())[0] for part in parts]

    def _complete(self, answer: dict[str, Any], row: Row) -> dict[str, Any]:
        return {"words": labelled_words.given_words(row), **answer}

    def compute_metrics(
        self, answers: Sequence[dict[str, Any]], rows: Sequence[Row]
    ) -> dict[str, float]:
        """Return accuracies, of spans also precision, recall and f1, and "loss" per word in nats.

        The loss is over the sentences whose labels all occur in training.
        """
        wanted = [labelled_words.labels(row) for row in rows]
        unseen = None  # features have no words
        if not self.of_features:
            seen = self._seen
            unseen = [[word not in seen for word in labelled_words.words(row)] for row in rows]
        found = [a["labels"] for a in answers]
        values = metrics.tagging(found, wanted, unseen, bio.are_spans(self.labels))
        nats = sum(a["nats"] for a in answers)
        known = cast(LabelEncoder, self.processors["labels"]).ids.keys()
        count = sum(len(labels) for labels in wanted if known >= {*labels})
        return values | {"loss": nats / max(1, count)}

    def report(self, answers: Sequence[Any], rows: Sequence[Row], folder: Path) -> dict[str, Any]:
        """Draw confusion.png. Return what it shows, and scores per label and per span type.

        The most confident mistakes and some tagged sentences are returned as well.
        """
        wanted = [labelled_words.labels(row) for row in rows]
        found = [a["labels"] for a in answers]
        truth, given = (list(chain.from_iterable(side)) for side in (wanted, found))
        labels = [*self.labels, *sorted({*truth} - {*self.labels})]
        tables: dict[str, Any] = {"per_label": metrics.per_label(truth, given, labels)}
        with noted("confusion.png", tables):
            tables["confusion"] = plots.confusion(truth, given, labels, folder)
        if bio.are_spans(self.labels):
            tables["per_span"] = bio.table(wanted, found)
        some = [*zip(rows, answers, strict=True)][:: max(1, len(rows) // SHOWN)]
        shown = [self._complete(answer, row) for row, answer in some[:SHOWN]]
        return tables | {
            "mistakes": labelled_words.mistakes(rows, answers),
            "sentences": [{**answer, "shown": self.format(answer)} for answer in shown],
        }

    @classmethod
    def _advise(cls, report: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        own = []
        if not advice.options(report).get("crf"):
            own = [("task.crf=true", _("neighbouring labels depend on each other"))]
        yield from advice.general(report, own)

    # --- why an answer was given

    def question(self, row: Row, answer: Any, target: Any = None) -> Question:
        """Ask about the label of each word; `target` is the number of a word, from 0, or the word."""
        return WordQuestion(self, row, answer, target)

    def _float_parts(self, batch: Batch) -> dict[str, Tensor]:
        return {"inputs": self.backbone.embed_inputs(self._vectors(batch))}


class WordQuestion(Question):
    """Asks what each word says for the labels of all words, or of the word `target` alone."""

    lists_parts = True

    def __init__(self, task: Tag, row: Row, answer: Mapping[str, Any], target: Any) -> None:
        self.task = task
        words = answer["words"]
        self.example = task.encode(Row({"words": row["words"]}, row.source))
        if task.of_features:
            self.tokens = task._step_names(row)
        else:
            self.tokens = [" " * (number > 0) + word for number, word in enumerate(words)]
        count = len(self.example["inputs"]) - int(task.config.append_eos)
        starts = self.example.get("first", range(count))  # the first step of each word
        self.steps = [range(*pair) for pair in pairwise([*starts, count])]
        self.numbers = [*range(len(words))]  # of the words that are asked about
        if target is not None:
            self.numbers = [_word_number(target, words)]
        self.parts = [words[number] for number in self.numbers]
        self.target = [answer["labels"][number] for number in self.numbers]
        ids = cast(LabelEncoder, task.processors["labels"]).ids
        self.labels = torch.tensor([[ids[label] for label in answer["labels"]]], dtype=torch.int64)

    def hide(self, tokens: Sequence[int]) -> Example:
        steps = [step for word in tokens for step in self.steps[word]]
        example = {**self.example, "inputs": hidden(self.example["inputs"], steps)}
        if "letters" in example:
            letters = np.array(example["letters"], np.int64)
            own = np.cumsum(letters == EOS) - (letters == EOS)  # the word of each letter
            letters[np.isin(own, [*tokens]) & (letters != EOS)] = UNK
            example["letters"] = letters
        return example

    def run(self, batch: Batch) -> tuple[Tensor, Tensor]:
        return self.task(batch), _word_mask(batch)

    def score(self, found: tuple[Tensor, Tensor], parts: Tensor) -> Tensor:
        logits, real = found
        labels = self.labels.to(logits.device)
        words = torch.tensor(self.numbers)[parts].to(logits.device)  # (rows, parts)
        return self.task.chain.log_marginals(logits, real, words, labels[0][words])

    def score_all(self, found: tuple[Tensor, Tensor]) -> Tensor:
        """Return the log-probability of all labels, (rows,), per word; of one word, its own."""
        logits, real = found
        count = len(self.tokens)
        if len(self.numbers) < count:
            return super().score_all(found)
        labels = self.labels.to(logits.device).expand(len(logits), -1)
        return -self.task.chain.loss(logits, labels, real) / max(1, count)

    def step_names(self) -> list[str]:
        if "first" not in self.example:
            return [*self.tokens]
        return self.task.tokenizer.pieces(self.example["inputs"])


def _word_number(target: Any, words: Sequence[str]) -> int:
    """Return the number of a word that is given by its number or itself. Raises InputError."""
    number = words.index(target) if target in words else target
    try:
        number = int(number)
    except (TypeError, ValueError):
        number = -1
    if not 0 <= number < len(words):
        raise InputError(f"target={target}: no word of this text, which has {len(words)}, from 0")
    return number


def _windows(count: int) -> list[slice]:
    """Return the pieces of so many words, each with CONTEXT words before and behind."""
    starts = range(0, count, PIECE)
    return [slice(max(0, start - CONTEXT), start + PIECE + CONTEXT) for start in starts]


def _word_mask(batch: Batch) -> Tensor:
    """Return True where there is a word, False on padding (batch, words)."""
    if "word_starts" in batch.extras:
        return batch.extras["word_starts"] >= 0
    steps = torch.arange(batch.inputs.size(1), device=batch.inputs.device)
    return steps < batch.lengths.to(steps.device).unsqueeze(1)
