"""Sequence labelling: emissions become a label and its probability for each word."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate
from typing import Any, ClassVar, cast

import numpy as np

from zoo.data import features, labelled_words
from zoo.data.processors import LabelEncoder, Scaler
from zoo.data.readers import Row
from zoo.runtime.folder import ARRAYS, Folder
from zoo.runtime.model import Example, Model, log_softmax, padded
from zoo.text.characters import Alphabet
from zoo.text.special_ids import EOS, UNK


class Tag(Model):
    """An exported tagger, with the transitions of a CRF or without."""

    task: ClassVar[str] = "tag"
    columns: ClassVar[tuple[str, ...]] = ("words",)

    def __init__(self, folder: Folder, threads: int) -> None:
        super().__init__(folder, threads)
        self.labels = cast(LabelEncoder, folder.processors["labels"]).labels
        self.chain: Chain | None = None
        if self.options["crf"]:
            self.chain = Chain(*(folder.array(name) for name in ARRAYS))

    def predict(self, inputs: Any, splitter: str = "words") -> list[list[tuple[str, str]]]:
        """Return a list of (word, label) for each input: a text, or a row with "words".

        `splitter` splits texts into words: "words", or "whitespace" at blanks alone.
        """
        answers = self.answers(inputs, splitter)
        return [[*zip(a["words"], a["labels"], strict=True)] for a in answers]

    def answers(self, inputs: Any, splitter: str = "words") -> list[dict[str, Any]]:
        """Return {"words", "labels", "probabilities"} of each input."""
        return [*self.answer_rows(self.rows(inputs, splitter))]

    def answer_rows(self, rows: Iterable[Row], **options: Any) -> Iterator[dict[str, Any]]:
        listed = [*rows]
        for row, answer in zip(listed, super().answer_rows(listed, **options), strict=True):
            yield {"words": labelled_words.given_words(row), **answer}

    def encode(self, row: Row) -> Example:
        if self.of_features:
            scaler = cast(Scaler, self.folder.processors["scaler"])
            return {"inputs": features.encode(row, "words", scaler)}
        words = labelled_words.words(row)
        pieces = [self.tokenizer.encode(word) or [UNK] for word in words]
        example: Example = {"inputs": [piece for word in pieces for piece in word]}
        if "characters" in self.folder.processors and self.options["words"] == "word+char":
            alphabet = cast(Alphabet, self.folder.processors["characters"])
            example["letters"] = [tuple(alphabet.encode([word])[:-1]) for word in words]
        else:
            ends = accumulate(map(len, pieces))
            example["first"] = [end - len(word) for end, word in zip(ends, pieces, strict=True)]
            if self.options["append_eos"]:
                example["inputs"].append(EOS)
        return example

    def emissions(self, examples: Sequence[Example]) -> tuple[np.ndarray, np.ndarray]:
        """Return scores (batch, words, labels) and the number of words (batch,)."""
        inputs = self._inputs(examples)
        counts = inputs["lengths"]
        if "letters" in examples[0]:
            inputs |= _characters([example["letters"] for example in examples], inputs["ids"].shape)
        found = self.run(inputs)["emissions"]
        if "first" in examples[0]:
            first = [example["first"] for example in examples]
            counts = np.array([*map(len, first)], np.int64)
            places = padded(first, max(1, int(counts.max())))
            found = np.take_along_axis(found, places[..., None], 1)
        return found, counts

    def answer(self, examples: Sequence[Example], **options: Any) -> list[dict[str, Any]]:
        scores, counts = self.emissions(examples)
        if self.chain is None:
            best = scores.argmax(-1)
            shares = np.exp(log_softmax(scores.astype(np.float64)))
        else:
            real = np.arange(scores.shape[1]) < counts[:, None]
            best = self.chain.decode(scores, real)
            shares = self.chain.marginals(scores, real)
        sure = np.take_along_axis(shares, best[..., None], 2)[..., 0]
        return [
            {"labels": [self.labels[i] for i in row[:count]], "probabilities": own[:count]}
            for row, own, count in zip(
                best.tolist(), sure.astype(np.float32).tolist(), counts.tolist(), strict=True
            )
        ]


def _characters(
    rows: Sequence[Sequence[tuple[int, ...]]], shape: tuple[int, ...]
) -> dict[str, np.ndarray]:
    """Return the distinct words of a batch as character ids, and the word of each step."""
    known: dict[tuple[int, ...], int] = {}
    place = np.zeros(shape, np.int64)
    for own, words in zip(place, rows, strict=True):
        own[: len(words)] = [known.setdefault(word, len(known)) for word in words]
    words = [*known] or [()]
    lengths = np.array([*map(len, words)], np.int64)
    letters = padded(words, max(1, int(lengths.max())))
    return {
        "characters": letters,
        "character_lengths": np.maximum(lengths, 1),
        "word_index": place,
    }


class Chain:
    """The transitions of a CRF: see `zoo.nn.crf`. Forbidden ones have a score of -10,000."""

    def __init__(self, start: np.ndarray, transitions: np.ndarray, end: np.ndarray) -> None:
        self.start, self.transitions, self.end = start, transitions, end

    def decode(self, emissions: np.ndarray, real: np.ndarray) -> np.ndarray:
        """Return the best path of each row (Viterbi 1967): (batch, time)."""
        best = self.start + emissions[:, 0]  # (batch, size)
        origins = []
        stay = np.broadcast_to(np.arange(best.shape[1]), best.shape)
        for step in range(1, emissions.shape[1]):
            now = real[:, step, None]
            sums = best[:, :, None] + self.transitions  # (batch, before, after)
            origin = sums.argmax(1)
            longer = np.take_along_axis(sums, origin[:, None], 1)[:, 0] + emissions[:, step]
            best = np.where(now, longer, best)
            origins.append(np.where(now, origin, stay))
        label = (best + self.end).argmax(1)
        path = [label]
        rows = np.arange(len(label))
        for origin in reversed(origins):
            label = origin[rows, label]
            path.append(label)
        return np.stack(path[::-1], 1)

    def marginals(self, emissions: np.ndarray, real: np.ndarray) -> np.ndarray:
        """Return each label's marginal probability at each step, (batch, time, size)."""
        scores = emissions.astype(np.float64)
        near = np.exp(scores - scores.max(-1, keepdims=True))  # (batch, time, size)
        moves = np.exp(self.transitions.astype(np.float64))
        time = near.shape[1]
        forward = np.empty_like(near)
        forward[:, 0] = _scaled(np.exp(self.start.astype(np.float64)) * near[:, 0])
        for step in range(1, time):
            longer = _scaled((forward[:, step - 1] @ moves) * near[:, step])
            forward[:, step] = np.where(real[:, step, None], longer, forward[:, step - 1])
        backward = np.empty_like(near)
        backward[:] = np.exp(self.end.astype(np.float64))
        for step in range(time - 2, -1, -1):
            longer = _scaled((backward[:, step + 1] * near[:, step + 1]) @ moves.T)
            backward[:, step] = np.where(real[:, step + 1, None], longer, backward[:, step])
        return _scaled(forward * backward)


def _scaled(shares: np.ndarray) -> np.ndarray:
    """Return shares that sum to 1 along the last axis."""
    return shares / np.maximum(shares.sum(-1, keepdims=True), np.finfo(np.float64).tiny)
