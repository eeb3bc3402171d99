"""Sentences with a label per word: their words, labels, vocabulary and worst errors.

The columns `words` and `labels` are lists of the same length, or texts separated by blanks.
"""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from zoo.data import features
from zoo.data.processors import LabelEncoder, Processor, WordCounts
from zoo.data.readers import Row, check_value, column
from zoo.errors import InputError, RowError
from zoo.text import bio
from zoo.text.canonical import composed
from zoo.text.characters import Alphabet
from zoo.text.special_ids import UNK
from zoo.text.tokenizers import Tokenizer
from zoo.text.word_splitter import split

log = logging.getLogger("zoo")

# A list as Python or numpy prints it: ['EU', 'said'] or [1 0 2].
_PRINTED = re.compile(r"""\[\s*+(['"].*['"]|\d++(?:[\s,]++\d++)+)\s*+,?\s*+\]""", re.DOTALL)

LONGEST = 100_000  # words of a row; twice as many need 3 GB
KNOWN = 2  # distinct words that a character must occur in to enter the alphabet


def words(row: Row) -> list[str]:
    """Return the words of a row as a model reads them; blanks inside a word become "_".

    Raises RowError without a list of words, and for more of them than LONGEST.
    """
    found = _listed(row, "words")
    if len(found) > LONGEST:
        cure = f"at most {LONGEST:,} are read at once: put line ends between the sentences"
        raise RowError(row.source, f"{len(found):,} words: {cure}")
    return ["_".join(composed(word).split()) or "_" for word in found]


def given_words(row: Row) -> list[str]:
    """Return the words of a row as they were given, in one line each.

    A word without a letter or sign is "_". Raises RowError without a list of words.
    """
    return [_in_one_line(word) for word in _listed(row, "words")]


def _in_one_line(word: str) -> str:
    """Return a word without the tabs and line ends that would break a column file."""
    if word.strip() and not re.search(r"[\t-\r\x1c-\x1f\x85\u2028\u2029]", word):
        return word
    return " ".join(word.split()) or "_"


def labels(row: Row) -> list[str]:
    """Return the labels of a row without blanks around them.

    Raises RowError unless there is one for each word, with something in it.
    """
    found = [label.strip() for label in _listed(row, "labels")]
    count = len(_listed(row, "words"))
    if len(found) != count:
        raise RowError(row.source, f"{count} words and {len(found)} labels: each word needs one")
    if "" in found:
        raise RowError(row.source, f"label {found.index('') + 1} is empty: each word needs one")
    return found


def words_of(row: Row, splitter: str) -> list[str]:
    """Return the words of a row, or split its text into words.

    The splitter "whitespace" splits at blanks; any other uses `zoo.text.word_splitter`.
    Raises RowError without a column of words or text.
    """
    if "words" in row:
        return given_words(row)
    text = composed(column(row, "text"))
    return text.split() if splitter == "whitespace" else split(text)


def singletons(seen: WordCounts, tokenizer: Tokenizer) -> np.ndarray:
    """Return which ids occur exactly once in the training words, (vocabulary,) bool."""
    counts = np.zeros(len(tokenizer), np.int64)
    for word, count in seen.counts.items():
        for token in tokenizer.encode(word) or [UNK]:
            counts[token] += count
    return counts == 1


def _listed(row: Row, name: str) -> list[str]:
    """Return a column as a list of strings. Raises RowError if it is missing or no list."""
    if name not in row:
        raise RowError(row.source, f"no column {name!r}; there are: {', '.join(row)}")
    check_value(row, name)
    value = row[name]
    if name == "words" and features.are_steps(value):  # their words are the numbers of the steps
        return [str(step) for step in range(1, len(value) + 1)]
    if isinstance(value, str):
        if _PRINTED.fullmatch(value.strip()):
            cure = f"separate the {name} by blanks, or write lists in a .jsonl file"
            raise RowError(
                row.source, f"column {name!r} holds a printed list, {value[:30]}: {cure}"
            )
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

    Of float features it learns only "labels": they have no words. Raises InputError with fewer than two labels, RowError for a broken row.
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
    elif reason := bio.why_no_spans(found):
        log.info("labels are not read as spans, word by word instead: %s", reason)
    if bio.are_iob1(transitions):
        log.info("labels are IOB1: I- begins a span, B- one that follows another of its kind")
    else:
        _say_exceptions(exceptions, transitions)
    encoder = LabelEncoder(found, None, exceptions)
    if features.in_rows(rows, "words"):
        return {"labels": encoder}
    characters = Counter(character for word in seen for character in {*word})
    known = "".join(sorted(c for c, count in characters.items() if count >= KNOWN))
    return {
        "labels": encoder,
        "characters": Alphabet(known),
        "seen": WordCounts(dict(sorted(seen.items()))),
    }


def _say_exceptions(
    exceptions: Sequence[tuple[str, str]], transitions: dict[tuple[str, str], str]
) -> None:
    """Log each pair of labels that violates the rules, with the place of the first one."""
    for before, after in exceptions:
        behind = f"after {before}" if before else "at the beginning"
        log.info("%s: label %s %s, which is no BIO", transitions[before, after], after, behind)


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
