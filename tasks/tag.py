"""Sequence labelling: one label for each word.

An LSTM offers three things: `output` (every step), `h_n` and `c_n` (after the last step). A label
for each word needs a vector for each word, and that is `output`, in both directions: at a word's
step the forward one has read all that stands before it, the backward one all that stands behind it.

What enters is as telling as what is read. A word that was never seen still has characters: they are
read by a small LSTM of their own, and there the answer to the zoo's question is another one: one
vector for the whole word, so the final `h_n` of both directions.
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

KINDS = {"word+char": ("lowercase", "whitespace"), "subword": ("subwords", "characters")}
SHOWN = 3  # test sentences that are printed after a training


class Tag(Task):
    """Labels for words: (embedding + characters) -> LSTM -> `output` at every word -> linear."""

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
        """`labels` in the order of the logits; they, `alphabet`, `seen` and `exceptions` are what
        `zoo.data.labelled_words.learn` finds in the training rows. `seen` words are told from unseen ones in
        scores; `exceptions` are labels that follow each other although BIO has it otherwise, which
        a CRF then does not rule out."""
        super().__init__(
            backbone, tokenizer, labels=labels, alphabet=alphabet, seen=seen, exceptions=exceptions,
            words=words, crf=crf, dropout=dropout, character_embedding=character_embedding,
            character_hidden=character_hidden, character_dropout=character_dropout,
            singleton_dropout=singleton_dropout, label_smoothing=label_smoothing,
        )  # fmt: skip
        if backbone.embedding is None:
            raise ValueError("tag reads ids: its backbone needs a vocabulary")
        if tokenizer.kind not in KINDS[words]:
            raise ValueError(f"task.words={words} needs tokenizer.kind={' or '.join(KINDS[words])}")
        if crf and label_smoothing:
            raise ValueError("label_smoothing is of single labels: a CRF has none")
        self.labels, self.words = labels, words
        self.ids = {label: i for i, label in enumerate(labels)}
        self.seen = frozenset(seen.split("\n"))
        if bio.are_spans(labels):
            self.metric = "f1"
        self.dropout, self.singleton_dropout = dropout, singleton_dropout
        self.alphabet, self.speller, self.by_ids = Alphabet(alphabet), None, words == "subword"
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
        self.register_buffer("singletons", nothing, persistent=False)  # of the training words

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
        """Of words their "ids" and the "letters" they are spelt with; of pieces theirs, and the
        "first" one of each word."""
        words = labelled_words.words(row)
        pieces = [self.tokenizer.encode(word) or [UNK] for word in words]
        example: dict[str, Any] = {"ids": [piece for word in pieces for piece in word]}
        if self.speller is not None:
            example["letters"] = self.alphabet.encode(words)
        else:
            ends = accumulate(map(len, pieces))
            example["first"] = [end - len(word) for end, word in zip(ends, pieces, strict=True)]
            example["ids"] += self.end_ids
        return example | (
            {"target": labelled_words.label_ids(row, self.ids)} if "labels" in row else {}
        )

    def prepare(self, dataset: Dataset) -> None:
        self.singletons = labelled_words.singletons(dataset, len(self.tokenizer)).to(self.device)

    def inputs(self, batch: Batch) -> Tensor:
        """Of words: their embedding and what their characters say, added (Dozat et al. 2017)."""
        ids = token_dropout.some(batch.ids, self.singletons, self.singleton_dropout, self.training)
        if self.speller is None:
            return ids
        assert batch.characters is not None
        return self.backbone.embed(ids) + self.speller(batch.characters)

    def read(self, encoded: Encoded) -> Tensor:
        return encoded.output

    def forward(self, batch: Batch) -> Tensor:
        """Logits (batch, words, labels) in fp32; with a CRF what it adds its transitions to."""
        output = self.read(self.backbone(self.inputs(batch), batch.lengths))
        if (
            batch.word_starts is not None
        ):  # of a word's pieces the first; both directions read all of it
            first = batch.word_starts.clamp(min=0).unsqueeze(-1)  # (batch, words, 1)
            output = output.gather(1, first.expand(-1, -1, output.size(-1)))
        return self.head(dropouts.dropout(output, self.dropout, self.training)).float()

    def word_mask(self, batch: Batch) -> Tensor:
        """Where there is a word (batch, words)."""
        if batch.word_starts is not None:
            return batch.word_starts >= 0
        steps = torch.arange(batch.ids.size(1), device=batch.ids.device)
        return steps < batch.lengths.to(steps.device).unsqueeze(1)

    def loss(self, batch: Batch) -> Tensor:
        """Mean over all words of the cross entropy, or of -log P of a row's labels together."""
        assert batch.target is not None
        real = batch.target_mask
        return self.chain.loss(self(batch), batch.target, real).sum() / real.sum()

    def count_tokens(self, batch: Batch) -> int:
        return int(self.word_mask(batch).sum())

    def predict_batch(self, batch: Batch) -> list[dict[str, Any]]:
        """{"labels": of its words, "probabilities": of these labels} per row, and with targets
        "nats": what they took."""
        logits, real = self(batch), self.word_mask(batch)  # (batch, words, labels), (batch, words)
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
        """Answers with the "words" that they are about."""
        rows, asked = tee(rows)
        for row, answer in zip(asked, super().predict_rows(rows, precision), strict=True):
            yield {"words": labelled_words.words(row), **answer}

    def predict(self, texts: str | Iterable[str]) -> list[list[tuple[str, str]]]:
        """(word, label) of every word of texts, in their order."""
        answers = super().predict(texts)
        return [list(zip(a["words"], a["labels"], strict=True)) for a in answers]

    def compute_metrics(
        self, answers: Sequence[dict[str, Any]], rows: Sequence[Row]
    ) -> dict[str, float]:
        wanted = [labelled_words.labels(row) for row in rows]
        unseen = [[word not in self.seen for word in labelled_words.words(row)] for row in rows]
        found, of_spans = [a["labels"] for a in answers], bio.are_spans(self.labels)
        values = metrics.tagging(found, wanted, unseen, of_spans)
        nats, count = sum(a["nats"] for a in answers), sum(map(len, wanted))
        return values | {"loss": nats / max(1, count)}

    def format(self, answer: dict[str, Any]) -> str:
        return " ".join(
            f"{word}/{label}" for word, label in zip(answer["words"], answer["labels"], strict=True)
        )

    def report(self, answers: Sequence[Any], rows: Sequence[Row], folder: Path) -> dict[str, Any]:
        """confusion.png and its counts, tables of the labels and of the spans, the surest mistakes."""
        wanted, found = [labelled_words.labels(row) for row in rows], [a["labels"] for a in answers]
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
