"""Sequence labelling: one label for each word.

An LSTM returns `output` (h at every step), `h_n` and `c_n` (both states after the last step). A
label for each word needs one vector for each word. That is `output`: at the step of a word the
forward direction has read all words up to it, the backward direction all words from the end to it.

A word that is not in the vocabulary still has characters. A second, small LSTM reads the characters
of each word. It needs one vector for the whole word, so it uses `h_n` of both directions.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate, chain, tee
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from zoo.config import Count, Share
from zoo.data import labelled_words
from zoo.data.dataset import Batch, Dataset, Example
from zoo.data.readers import Row
from zoo.evaluation import baselines, metrics, plots
from zoo.nn import token_dropout
from zoo.nn.backbone import Backbone, Encoded
from zoo.nn.char_encoder import CharEncoder
from zoo.nn.crf import CRF, IndependentLabels
from zoo.rnn import dropout as dropouts
from zoo.task import Task
from zoo.text import bio
from zoo.text.characters import Alphabet
from zoo.text.special_ids import UNK
from zoo.text.tokenizers import Tokenizer

# task.words -> the tokenizer kinds that it works with
KINDS = {"word+char": ("lowercase", "whitespace"), "subword": ("subwords", "characters")}
SHOWN = 3  # test sentences that are printed after a training


class Tag(Task):
    """A tagger: word embedding + character LSTM -> LSTM -> linear layer -> CRF or softmax."""

    target_columns = ("labels",)
    input_columns = ("words",)
    metric = "accuracy"
    reads = "output"
    why = (
        "a label for every word needs a vector for every word, with what stands on both sides of it"
    )
    shape = "batch, time, directions x hidden: one vector per step"
    logits = "batch, words, labels"

    def __init__(
        self,
        backbone: Backbone,
        tokenizer: Tokenizer,
        labels: list[str],
        alphabet: str,
        seen: str,
        exceptions: list[tuple[str, str]],
        words: Literal["word+char", "subword"] = "word+char",
        crf: bool = False,
        dropout: Share = 0.5,
        character_embedding: Count = 64,
        character_hidden: Count = 128,
        character_dropout: Share = 0.05,
        singleton_dropout: Share = 0.7,
        label_smoothing: Share = 0.0,
    ) -> None:
        """`labels` are in the order of the logits.

        `labels`, `alphabet`, `seen` and `exceptions` come from the training rows, see
        `zoo.data.labelled_words.learn`. `seen` are the training words; the metrics report unseen
        words separately. `exceptions` are pairs of labels that occur in sequence against the rules
        of BIO; a CRF allows them. Raises ValueError for options that do not fit together.
        """
        super().__init__(
            backbone,
            tokenizer,
            labels=labels,
            alphabet=alphabet,
            seen=seen,
            exceptions=exceptions,
            words=words,
            crf=crf,
            dropout=dropout,
            character_embedding=character_embedding,
            character_hidden=character_hidden,
            character_dropout=character_dropout,
            singleton_dropout=singleton_dropout,
            label_smoothing=label_smoothing,
        )
        if backbone.embedding is None:
            raise ValueError("tag reads ids: its backbone needs a vocabulary")
        if tokenizer.kind not in KINDS[words]:
            raise ValueError(f"task.words={words} needs tokenizer.kind={' or '.join(KINDS[words])}")
        if crf and label_smoothing:
            raise ValueError("label_smoothing is of single labels: a CRF has none")
        self.labels = labels
        self.label_ids = {label: i for i, label in enumerate(labels)}
        self.words = words
        self.seen = frozenset(seen.split("\n"))
        if bio.are_spans(labels):
            self.metric = "f1"
        self.dropout = dropout
        self.singleton_dropout = singleton_dropout
        self.alphabet = Alphabet(alphabet)
        self.by_ids = words == "subword"
        self.speller = None  # the LSTM over characters
        if words == "word+char":
            size = backbone.embedding.embedding_dim
            self.speller = CharEncoder(
                len(self.alphabet), character_embedding, character_hidden, size, character_dropout
            )
        self.head = nn.Linear(backbone.output_size, len(labels))
        self.chain: CRF | IndependentLabels
        if crf:
            self.chain = CRF(len(labels), bio.forbidden_transitions(labels, exceptions))
        else:
            self.chain = IndependentLabels(label_smoothing)
        self.singletons: Tensor
        nothing = torch.zeros(len(tokenizer), dtype=torch.bool)
        # (vocabulary,): True for words that occur once in the training rows
        self.register_buffer("singletons", nothing, persistent=False)

    @classmethod
    def learn(cls, rows: Iterable[Row]) -> dict[str, Any]:
        return labelled_words.learn(rows)

    @classmethod
    def tokenizer_texts(cls, row: Row) -> list[str]:
        return [" ".join(labelled_words.words(row))]

    @classmethod
    def reject(cls, row: Row) -> str | None:
        return None if labelled_words.words(row) else "no words"

    @classmethod
    def baseline(cls, train: Iterable[Row], test: Iterable[Row], kind: str) -> dict[str, Any]:
        return baselines.linear_tagger(train, test)

    def input_row(self, row: Row) -> Row:
        """The words of a row, or those of its plain text."""
        return Row({"words": labelled_words.words_of(row, self.word_splitter)}, row.source)

    def encode(self, row: Row) -> Example:
        """ "ids" of the words and "letters", the ids of their characters, with "target" labels.

        With `words=subword`, "ids" of the pieces and "first", the position of each word's first
        piece.
        """
        words = labelled_words.words(row)
        pieces = [self.tokenizer.encode(word) or [UNK] for word in words]
        example: dict[str, Any] = {"ids": [piece for word in pieces for piece in word]}
        if self.speller is not None:
            example["letters"] = self.alphabet.encode(words)
        else:
            ends = accumulate(map(len, pieces))
            example["first"] = [end - len(word) for end, word in zip(ends, pieces, strict=True)]
            example["ids"] += self.end_ids
        if "labels" in row:
            example["target"] = labelled_words.label_ids(row, self.label_ids)
        return example

    def prepare(self, dataset: Dataset) -> None:
        """Find the words that occur once in the training rows."""
        self.singletons = labelled_words.singletons(dataset, len(self.tokenizer)).to(self.device)

    def inputs(self, batch: Batch) -> Tensor:
        """Ids of pieces, or for words the sum (batch, time, embedding_size) of the embedding and
        the character LSTM's vector (Dozat et al. 2017)."""
        ids = token_dropout.some(batch.ids, self.singletons, self.singleton_dropout, self.training)
        if self.speller is None:
            return ids
        assert batch.characters is not None
        return self.backbone.embed(ids) + self.speller(batch.characters)

    def read(self, encoded: Encoded) -> Tensor:
        return encoded.output

    def forward(self, batch: Batch) -> Tensor:
        """Logits (batch, words, labels) in fp32; with a CRF its emission scores."""
        output = self.read(self.backbone(self.inputs(batch), batch.lengths))
        if batch.word_starts is not None:  # take the step of each word's first piece
            first = batch.word_starts.clamp(min=0).unsqueeze(-1)  # (batch, words, 1)
            output = output.gather(1, first.expand(-1, -1, output.size(-1)))
        return self.head(dropouts.dropout(output, self.dropout, self.training)).float()

    def word_mask(self, batch: Batch) -> Tensor:
        """True where there is a word, False for padding (batch, words)."""
        if batch.word_starts is not None:
            return batch.word_starts >= 0
        steps = torch.arange(batch.ids.size(1), device=batch.ids.device)
        return steps < batch.lengths.to(steps.device).unsqueeze(1)

    def loss(self, batch: Batch) -> Tensor:
        """Cross entropy of the labels, or with a CRF -log P of label sequences, per word."""
        assert batch.target is not None
        real = batch.target_mask
        return self.chain.loss(self(batch), batch.target, real).sum() / real.sum()

    def count_tokens(self, batch: Batch) -> int:
        return int(self.word_mask(batch).sum())

    def predict_batch(self, batch: Batch) -> list[dict[str, Any]]:
        """{"labels": of the words, "probabilities": of these labels} per row.

        With targets also "nats", the loss of the row, summed over its words.
        """
        logits = self(batch)  # (batch, words, labels)
        real = self.word_mask(batch)  # (batch, words)
        best = self.chain.decode(logits, real)
        sure = self.chain.marginals(logits, real).gather(2, best.unsqueeze(2)).squeeze(2)
        counts = real.sum(1).tolist()
        answers = [
            {"labels": [self.labels[i] for i in labels[:count]], "probabilities": shares[:count]}
            for labels, shares, count in zip(best.tolist(), sure.tolist(), counts, strict=True)
        ]
        if batch.target is not None:
            nats = self.chain.loss(logits, batch.target, real).tolist()
            return [a | {"nats": n} for a, n in zip(answers, nats, strict=True)]
        return answers

    def predict_rows(
        self, rows: Iterable[Row], precision: str = "fp32"
    ) -> Iterator[dict[str, Any]]:
        """Yield the answers in the order of the rows, each with its "words"."""
        rows, asked = tee(rows)
        for row, answer in zip(asked, super().predict_rows(rows, precision), strict=True):
            yield {"words": labelled_words.words(row), **answer}

    def predict(self, texts: str | Iterable[str]) -> list[list[tuple[str, str]]]:
        """A list of (word, label) for each text."""
        answers = super().predict(texts)
        return [list(zip(a["words"], a["labels"], strict=True)) for a in answers]

    def compute_metrics(
        self, answers: Sequence[dict[str, Any]], rows: Sequence[Row]
    ) -> dict[str, float]:
        wanted = [labelled_words.labels(row) for row in rows]
        unseen = [[word not in self.seen for word in labelled_words.words(row)] for row in rows]
        found = [a["labels"] for a in answers]
        values = metrics.tagging(found, wanted, unseen, bio.are_spans(self.labels))
        nats = sum(a["nats"] for a in answers)
        count = sum(map(len, wanted))
        return values | {"loss": nats / max(1, count)}

    def format(self, answer: dict[str, Any]) -> str:
        return " ".join(
            f"{word}/{label}" for word, label in zip(answer["words"], answer["labels"], strict=True)
        )

    def report(self, answers: Sequence[Any], rows: Sequence[Row], folder: Path) -> dict[str, Any]:
        """Draw confusion.png; returns its counts, scores per label and per span type, the most
        confident mistakes, and some tagged sentences."""
        wanted = [labelled_words.labels(row) for row in rows]
        found = [a["labels"] for a in answers]
        truth, given = (list(chain.from_iterable(side)) for side in (wanted, found))
        counts = plots.confusion(truth, given, self.labels, folder)
        tables = {"per_label": metrics.per_label(truth, given, self.labels)}
        if bio.are_spans(self.labels):
            tables["per_span"] = bio.table(wanted, found)
        some = [*zip(rows, answers, strict=True)][:: max(1, len(rows) // SHOWN)]
        shown = [{"words": labelled_words.words(row), **answer} for row, answer in some[:SHOWN]]
        return tables | {
            "confusion": {"labels": self.labels, "counts": counts},
            "mistakes": labelled_words.mistakes(rows, answers),
            "sentences": [{**answer, "shown": self.format(answer)} for answer in shown],
        }
