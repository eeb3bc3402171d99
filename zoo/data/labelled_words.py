"""Sentences with a label per word: their words, labels, vocabulary and worst errors.

The columns `words` and `labels` are lists of the same length, or texts separated by blanks.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor

from zoo.data.processors import LabelEncoder, Processor, WordCounts
from zoo.data.readers import Row, column
from zoo.errors import InputError, RowError
from zoo.text import bio
from zoo.text.characters import Alphabet
from zoo.text.special_ids import UNK
from zoo.text.tokenizers import Tokenizer
from zoo.text.word_splitter import split

log = logging.getLogger("zoo")

KNOWN = 2  # distinct words that a character must occur in to enter the alphabet


def words(row: Row) -> list[str]:
    """Return the words of a row; blanks inside a word become "_".

    Raises RowError without a list of words.
    """
    return ["_".join(word.split()) or "_" for word in _listed(row, "words")]


def labels(row: Row) -> list[str]:
    """Return the labels of a row. Raises RowError unless there is one for each word."""
    found = _listed(row, "labels")
    count = len(_listed(row, "words"))
    if len(found) != count:
        raise RowError(row.source, f"{count} words and {len(found)} labels: each word needs one")
    return found


def label_ids(row: Row, encoder: LabelEncoder) -> list[int]:
    """Return the labels of a row as ids. Raises RowError for a label without an id."""
    given = labels(row)
    for number, label in enumerate(given, 1):
        if label not in encoder.ids:
            which = f"label {label!r} of word {number}, {words(row)[number - 1]!r},"
            raise RowError(row.source, f"{which} does not occur in the training rows")
    return [encoder.encode(label) for label in given]


def words_of(row: Row, splitter: str) -> list[str]:
    """Return the words of a row, or split its text into words.

    The splitter "whitespace" splits at blanks; any other uses `zoo.text.word_splitter`.
    Raises RowError without a column of words or text.
    """
    if "words" in row:
        return words(row)
    text = column(row, "text")
    return text.split() if splitter == "whitespace" else split(text)


def singletons(seen: WordCounts, tokenizer: Tokenizer) -> Tensor:
    """Return which ids occur exactly once in the training words, (vocabulary,) bool."""
    counts = np.zeros(len(tokenizer), np.int64)
    for word, count in seen.counts.items():
        for token in tokenizer.encode(word) or [UNK]:
            counts[token] += count
    return torch.from_numpy(counts == 1)


def _listed(row: Row, name: str) -> list[str]:
    """Return a column as a list of strings. Raises RowError if it is missing or no list."""
    if name not in row:
        raise RowError(row.source, f"no column {name!r}; there are: {', '.join(row)}")
    value = row[name]
    if isinstance(value, str):
        return value.split()
    if not isinstance(value, (list, tuple)) or not all(isinstance(v, (str, int)) for v in value):
        shown = repr(value)[:60]
        raise RowError(row.source, f"column {name!r} holds {shown}, not a list of {name}")
    return [str(v) for v in value]


def learn(rows: Iterable[Row]) -> dict[str, Processor]:
    """Learn the processors of a tagger from the training sentences.

    "labels"      the labels, sorted, and the pairs that violate the rules of `zoo.text.bio`
    "characters"  the characters that occur in at least two distinct words
    "seen"        all distinct words and their counts

    Raises InputError with fewer than two labels, RowError for a broken row.
    """
    seen: Counter[str] = Counter()
    transitions: dict[tuple[str, str], str] = {}  # (label, next label) -> source of the first one
    for row in rows:
        seen.update(words(row))
        for pair in pairwise(["", *labels(row)]):
            transitions.setdefault(pair, row.source)
    found = sorted({after for _, after in transitions})
    if len(found) < 2:
        raise InputError(f"all training words have the label {found}: two or more are needed")
    exceptions = []
    if bio.are_spans(found):
        exceptions = [pair for pair in sorted(transitions) if not bio.may_follow(*pair, found)]
    for before, after in exceptions:
        behind = f"after {before}" if before else "at the beginning"
        log.info("%s: label %s %s, which is no BIO", transitions[before, after], after, behind)
    characters = Counter(character for word in seen for character in {*word})
    known = "".join(sorted(c for c, count in characters.items() if count >= KNOWN))
    return {
        "labels": LabelEncoder(found, None, exceptions),
        "characters": Alphabet(known),
        "seen": WordCounts(dict(sorted(seen.items()))),
    }


def mistakes(
    rows: Sequence[Row], answers: Sequence[dict[str, Any]], most: int = 10
) -> list[dict[str, Any]]:
    """Return the `most` wrong labels with the highest probability, each word in its context."""
    wrong = []
    for row, answer in zip(rows, answers, strict=True):
        given = zip(labels(row), answer["labels"], answer["probabilities"], strict=True)
        for position, (label, found, probability) in enumerate(given):
            if label != found:
                wrong.append((probability, position, label, found, row))
    wrong.sort(key=lambda mistake: -mistake[0])
    return [
        {
            "place": row.source,
            "label": label,
            "answer": found,
            "probability": probability,
            "text": _marked(words(row), position),
        }
        for probability, position, label, found, row in wrong[:most]
    ]


def _marked(sentence: Sequence[str], position: int, context: int = 5) -> str:
    """Return a word in brackets with up to `context` words on each side."""
    left = sentence[max(0, position - context) : position]
    right = sentence[position + 1 : position + 1 + context]
    return " ".join([*left, f"[{sentence[position]}]", *right])
