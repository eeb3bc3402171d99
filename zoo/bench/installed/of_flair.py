"""Compare with flair: its SequenceTagger, and its TextClassifier over an LSTM."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from torch import nn

from zoo.bench.installed.sides import (
    ASKED,
    CLIP,
    SECONDS,
    TIMED,
    Corpus,
    Ours,
    adam,
    count_words,
    frequent,
    score,
    shuffled,
    train_for,
)
from zoo.bench.measure import case, interleave
from zoo.bench.sides import precisions
from zoo.config import Settings
from zoo.data.readers import Row
from zoo.loading import load
from zoo.task import Task

KIND = "label"  # flair's name of what is predicted
SHIPPED = "tag/ewt-upos"


def cases(settings: Settings, rounds: int, corpus: Corpus) -> Iterator[dict[str, Any]]:
    """Measure training steps, prediction, and the accuracy after equally many seconds."""
    import flair

    logging.getLogger("flair").setLevel("ERROR")
    rows, held, task = corpus.learned, corpus.judged, corpus.task
    flair.device = task.device
    side = _Tagger if "words" in task.input_columns else _Classifier
    ours = Ours(settings, rows, task, side.column)
    theirs = side(ours)
    known = [theirs.sentence(row, True) for row in rows]
    size = settings.train.batch_rows
    train_for(SECONDS, (partial(theirs.step, batch) for batch in shuffled(known, size)))
    train_for(SECONDS, ours.steps())
    found = [theirs.right(held, theirs.answers(held)), theirs.right(held, ours.answers(held))]
    what = f"validation accuracy after {SECONDS:.0f} s, against flair's {side.name}"
    yield score(what, found[1], found[0])

    some, ours = known[:TIMED], Ours(settings, rows[:TIMED], task, side.column)

    def epoch() -> None:
        for start in range(0, len(some), size):
            theirs.step(some[start : start + size])

    yield from ours.compare(epoch, ours.words, "words/s", f"flair's {side.name}", rounds)
    asked = [Row({side.column: row[side.column]}, row.source) for row in rows[:ASKED]]
    seconds = interleave(
        {"ours": lambda: ours.answers(asked), "theirs": lambda: theirs.answers(asked)}, rounds
    )
    words = sum(count_words(row[side.column]) for row in asked)
    what = f"prediction, against flair's {side.name}"
    yield case(what, "words/s", words, seconds["ours"], seconds["theirs"])
    if side is _Tagger:
        sides = {name: load(SHIPPED, str(task.device), name) for name in precisions(task.device)}
        yield from _from_texts(sides, Ours(settings, rows, sides["fp32"], side.column), rounds)


def _from_texts(tasks: Mapping[str, Task], ours: Ours, rounds: int) -> Iterator[dict[str, Any]]:
    """Compare `predict` of plain texts, of a shipped tagger in each precision, with flair's.

    flair's model has the shipped one's sizes. Each side splits the texts into words itself.
    """
    from flair.data import Sentence

    theirs = _Tagger(ours)
    theirs.model.eval()
    texts = [" ".join(row["words"]) for row in ours.rows[:ASKED]]

    def peer() -> None:
        theirs.model.predict([Sentence(text) for text in texts], mini_batch_size=32)

    sides = {name: partial(task.predict, texts) for name, task in tasks.items()}
    seconds = interleave({"theirs": peer, **sides}, rounds)
    words = sum(count_words(text) for text in texts)
    for name in tasks:
        what = f"predict of texts, {SHIPPED}, {name}, against flair's"
        yield case(what, "words/s", words, seconds[name], seconds["theirs"])


def _dictionary(items: Sequence[str]) -> Any:
    from flair.data import Dictionary

    found = Dictionary(add_unk=True)
    for item in dict.fromkeys(items):
        found.add_item(item)
    return found


class _Side:
    """A model of flair with the sizes of our task."""

    name: str
    column: str
    model: Any  # a module of flair, with methods of its own

    def optimize(self) -> None:
        self.optimizer = adam(self.model.parameters())

    def step(self, sentences: list[Any]) -> None:
        """Take one training step, as flair's own trainer does."""
        from flair.training_utils import store_embeddings

        self.model.train()
        self.optimizer.zero_grad()
        loss, count = self.model.forward_loss(sentences)
        (loss / max(1, count)).backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), CLIP)
        self.optimizer.step()
        store_embeddings(sentences, "none")

    def sentence(self, row: Row, labelled: bool) -> Any:
        raise NotImplementedError

    def read(self, sentence: Any) -> Any:
        raise NotImplementedError

    def right(self, rows: Sequence[Row], answers: Sequence[Any]) -> float:
        raise NotImplementedError

    def answers(self, rows: Sequence[Row]) -> list[Any]:
        """Return what flair predicts of rows; it sorts and batches them itself."""
        sentences = [self.sentence(row, False) for row in rows]
        self.model.eval()
        self.model.predict(sentences, mini_batch_size=32)
        return [self.read(sentence) for sentence in sentences]


class _Tagger(_Side):
    """Word vectors that are learned, a BiLSTM over characters, a BiLSTM over words."""

    name, column = "SequenceTagger", "words"

    def __init__(self, ours: Ours) -> None:
        from flair.embeddings import CharacterEmbeddings, OneHotEmbeddings, StackedEmbeddings
        from flair.models import SequenceTagger

        task: Any = ours.task
        letters, lstm = task.speller.backbone.lstm, task.backbone.lstm
        words = [word for row in ours.rows for word in row["words"]]
        known = frequent(words, task)
        size = task.backbone.config.embedding_size
        embeddings = StackedEmbeddings(
            [
                OneHotEmbeddings(_dictionary(known), embedding_length=size),
                CharacterEmbeddings(
                    _dictionary(sorted({*"".join(words)})), letters.input_size, letters.hidden_size
                ),
            ]
        )
        labels = _dictionary([label for row in ours.rows for label in row["labels"]])
        self.model = SequenceTagger(
            embeddings,
            labels,
            KIND,
            hidden_size=lstm.hidden_size,
            rnn_layers=lstm.num_layers,
            use_crf=task.config.crf,
            reproject_embeddings=False,
        ).to(task.device)
        self.optimize()

    def sentence(self, row: Row, labelled: bool) -> Any:
        from flair.data import Sentence

        found = Sentence([*row["words"]])
        if labelled:
            for token, label in zip(found, row["labels"], strict=True):
                token.set_label(KIND, label)
        return found

    def read(self, sentence: Any) -> list[str]:
        return [token.get_label(KIND).value for token in sentence]

    def right(self, rows: Sequence[Row], answers: Sequence[Any]) -> float:
        """Return the share of words with the right label."""
        found = [a["labels"] if isinstance(a, dict) else a for a in answers]
        pairs = [
            one == wanted
            for row, labels in zip(rows, found, strict=True)
            for one, wanted in zip(labels, row["labels"], strict=True)
        ]
        return sum(pairs) / len(pairs)


class _Classifier(_Side):
    """Word vectors that are learned, and a BiLSTM; both final states are read."""

    name, column = "TextClassifier", "text"

    def __init__(self, ours: Ours) -> None:
        from flair.embeddings import DocumentRNNEmbeddings, OneHotEmbeddings
        from flair.models import TextClassifier

        lstm, config = ours.task.backbone.lstm, ours.task.backbone.config
        words = (word for row in ours.rows for word in str(row["text"]).split())
        known = _dictionary(frequent(words, ours.task))
        document = DocumentRNNEmbeddings(
            [OneHotEmbeddings(known, embedding_length=config.embedding_size)],
            lstm.hidden_size,
            lstm.num_layers,
            reproject_words=False,
            bidirectional=lstm.bidirectional,
            rnn_type="LSTM",
        )
        self.model = TextClassifier(
            document,
            KIND,
            label_dictionary=_dictionary([str(row["label"]) for row in ours.rows]),
        ).to(ours.task.device)
        self.optimize()

    def sentence(self, row: Row, labelled: bool) -> Any:
        from flair.data import Sentence

        found = Sentence(str(row["text"]).split())
        if labelled:
            found.add_label(KIND, str(row["label"]))
        return found

    def read(self, sentence: Any) -> str:
        return sentence.get_label(KIND).value

    def right(self, rows: Sequence[Row], answers: Sequence[Any]) -> float:
        """Return the share of rows with the right label."""
        found = [a["label"] if isinstance(a, dict) else a for a in answers]
        return sum(a == str(r["label"]) for a, r in zip(found, rows, strict=True)) / len(rows)
