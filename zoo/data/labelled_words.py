"""Rows that are sentences: their words, their labels, and what can be learned from both.

`words` and `labels` are lists as long as each other, or texts with blanks between.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor

from zoo.data.dataset import Dataset
from zoo.data.readers import Row, column
from zoo.errors import InputError, RowError
from zoo.text import bio
from zoo.text.word_splitter import split

log = logging.getLogger("zoo")

KNOWN = 2  # words that a character must occur in, to be told from an unknown one


def words(row: Row) -> list[str]:
    """The words of a row; blanks inside of one become "_". Raises RowError where there are none."""
    return ["_".join(word.split()) or "_" for word in _listed(row, "words")]


def labels(row: Row) -> list[str]:
    """The labels of a row. Raises RowError unless there is one for each word."""
    found, count = _listed(row, "labels"), len(_listed(row, "words"))
    if len(found) != count:
        raise RowError(row.source, f"{count} words and {len(found)} labels: each word needs one")
    return found


def label_ids(row: Row, ids: Mapping[str, int]) -> list[int]:
    """The labels of a row as ids. Raises RowError for a label that has none."""
    given = labels(row)
    for number, label in enumerate(given, 1):
        if label not in ids:
            which = f"label {label!r} of word {number}, {words(row)[number - 1]!r},"
            raise RowError(row.source, f"{which} does not occur in the training rows")
    return [ids[label] for label in given]


def words_of(row: Row, splitter: str) -> list[str]:
    """The words of a row, or of its text: what stands between the blanks with "whitespace", else
    what `zoo.text.word_splitter` finds."""
    if "words" in row:
        return words(row)
    text = column(row, "text")
    return text.split() if splitter == "whitespace" else split(text)


def singletons(dataset: Dataset, count: int) -> Tensor:
    """Which of `count` ids occur once in encoded rows, (count,) bool."""
    ids, chunk, counts = dataset.values["ids"], 1 << 20, np.zeros(count, np.int64)
    for start in range(0, len(ids), chunk):
        counts += np.bincount(ids[start : start + chunk], minlength=count)
    return torch.from_numpy(counts == 1)


def _listed(row: Row, name: str) -> list[str]:
    if name not in row:
        raise RowError(row.source, f"no column {name!r}; there are: {', '.join(row)}")
    value = row[name]
    if isinstance(value, str):
        return value.split()
    if not isinstance(value, (list, tuple)) or not all(isinstance(v, (str, int)) for v in value):
        shown = repr(value)[:60]
        raise RowError(row.source, f"column {name!r} holds {shown}, not a list of {name}")
    return [str(v) for v in value]


def learn(rows: Iterable[Row]) -> dict[str, Any]:
    """What the training sentences hold: "labels", sorted; "alphabet", the characters of two words
    or more; "seen", all words, a line each; "exceptions", pairs of labels that follow each other
    against the rules of `zoo.text.bio` ("" before the first). Raises InputError, RowError."""
    seen: set[str] = set()
    moves: dict[tuple[str, str], str] = {}  # a label and the next one -> where that was first
    for row in rows:
        seen.update(words(row))
        for move in pairwise(["", *labels(row)]):
            moves.setdefault(move, row.source)
    found = sorted({after for _, after in moves})
    if len(found) < 2:
        raise InputError(f"all training words have the label {found}: two or more are needed")
    counts = Counter(character for word in seen for character in {*word})
    exceptions = []
    if bio.are_spans(found):
        exceptions = [move for move in sorted(moves) if not bio.may_follow(*move, found)]
    for before, after in exceptions:
        behind = f"after {before}" if before else "at the beginning"
        log.info("%s: label %s %s, which is no BIO", moves[before, after], after, behind)
    return {
        "labels": found,
        "alphabet": "".join(sorted(c for c, count in counts.items() if count >= KNOWN)),
        "seen": "\n".join(sorted(seen)),
        "exceptions": exceptions,
    }


def mistakes(
    rows: Sequence[Row], answers: Sequence[dict[str, Any]], most: int = 10
) -> list[dict[str, Any]]:
    """The wrong labels that were given with the highest probability, each word in its sentence."""
    wrong = []
    for row, answer in zip(rows, answers, strict=True):
        given = zip(labels(row), answer["labels"], answer["probabilities"], strict=True)
        for place, (label, found, sure) in enumerate(given):
            if label != found:
                wrong.append((sure, place, label, found, row))
    wrong.sort(key=lambda mistake: -mistake[0])
    return [
        {"place": row.source, "label": label, "answer": found, "probability": sure,
         "text": _marked(words(row), place)}
        for sure, place, label, found, row in wrong[:most]
    ]  # fmt: skip


def _marked(sentence: Sequence[str], place: int, beside: int = 5) -> str:
    """A word in brackets, and a few to both sides."""
    left, right = sentence[max(0, place - beside) : place], sentence[place + 1 : place + 1 + beside]
    return " ".join([*left, f"[{sentence[place]}]", *right])
