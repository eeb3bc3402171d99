"""Sentences with a label per word: their words, labels, vocabulary and worst errors.

The columns `words` and `labels` are lists of the same length, or texts separated by blanks. A table may
have a row for each word: `joined` makes sentences of them.
"""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, islice, pairwise
from typing import Any

import numpy as np

from zoo.data import features
from zoo.data.processors import LabelEncoder, Processor, WordCounts
from zoo.data.readers import Row, check_value, column
from zoo.errors import InputError, RowError
from zoo.messages import _
from zoo.text import bio
from zoo.text.canonical import composed
from zoo.text.characters import Alphabet
from zoo.text.decoding import Say
from zoo.text.special_ids import UNK
from zoo.text.tokenizers import Tokenizer
from zoo.text.word_splitter import split

log = logging.getLogger("zoo")

# A list as Python or numpy prints it: ['EU', 'said'] or [1 0 2].
_PRINTED = re.compile(r"""\[\s*+(['"].*['"]|\d++(?:[\s,]++\d++)+)\s*+,?\s*+\]""", re.DOTALL)

LONGEST = 100_000  # words of a row; twice as many need 3 GB
PROBED = 1000  # rows of a table from which its form is told
FEWEST = 5  # rows of one word that make a table one of words
# Usual names of the columns of a table with a row for each word, in small letters, without signs.
NAMES = {
    "sentence": (
        *(
            "sentence",
            "sentenceid",
            "sentenceno",
            "sentencenumber",
            "sentenceidx",
            "sentid",
            "sentno",
        ),
        *("文", "文番号", "文id", "句子", "句子編號", "句子id"),
    ),
    "words": ("words", "word", "tokens", "token", "単語", "トークン", "詞", "詞語", "詞元"),
    "labels": (
        "labels",
        "label",
        "tags",
        "tag",
        "nertags",
        "nertag",
        "ner",
        "ラベル",
        "タグ",
        "標籤",
    ),
}
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


@dataclass(frozen=True)
class _Columns:
    """The columns of a table with a row for each word."""

    words: str
    labels: str | None  # rows that are to be answered need none
    sentence: str | None  # without one, empty rows stand between sentences


def joined(
    read: Callable[[], Iterable[Row]],
    names: Mapping[str, str],
    sentence: str | None = None,
    say: Say | None = None,
    labelled: bool = True,
) -> Iterator[Row]:
    """Yield the rows of a table; where each holds one word, those of a sentence become one row.

    `names["words"]` and `names["labels"]` are the columns of the words and labels, or usual names of
    them; `sentence` is the one that numbers the sentences. A sentence begins where its cell is
    another one and not empty, or behind an empty row. Each column becomes a list. Only `labelled`
    rows need labels. Raises RowError for a missing column, and where nothing tells the sentences
    apart.
    """
    rows = iter(read())
    first = next(rows, None)
    if first is None:
        return
    rows = chain([first], rows)
    found = _columns(first, names, sentence, labelled)
    if found is not None:
        probe = [*islice(rows, PROBED)]
        rows = chain(probe, rows)
        found = found if _are_words(probe, found) else None
    if found is None:
        yield from rows
        return
    if say is not None:
        file = first.source.rpartition(":")[0]
        said = _(
            "{file}: a row for each word: the words are {words!r}", file=file, words=found.words
        )
        if labelled:
            said += _(", the labels {labels!r}", labels=found.labels)
        if found.sentence is not None:
            said += _(", the sentences {sentence!r}", sentence=found.sentence)
        say(said)
    lists = {found.words: names["words"]}
    if found.labels is not None:
        lists[found.labels] = names["labels"]
    for words in _sentences(rows, found):
        columns = [name for name in words[0] if name != found.sentence]
        made = {lists.get(name, name): [_cell(row, name) for row in words] for name in columns}
        yield Row(made, words[0].source)


def _sentences(rows: Iterable[Row], columns: _Columns) -> Iterator[list[Row]]:
    """Yield the rows of each sentence."""
    gathered: list[Row] = []
    current = ""
    line = 0
    for row in rows:
        number = "" if columns.sentence is None else _cell(row, columns.sentence)
        before, line = line, _line(row)
        behind_gap = columns.sentence is None and line > before + 1
        empty = not _cell(row, columns.words)
        if gathered and (empty or behind_gap or (number and number != current)):
            yield gathered
            gathered = []
        current = number or current
        if not empty:
            gathered.append(row)
        elif columns.labels is not None and _cell(row, columns.labels):
            raise RowError(row.source, _("a label without a word"))
    if gathered:
        yield gathered


def _columns(
    row: Row, names: Mapping[str, str], sentence: str | None, labelled: bool
) -> _Columns | None:
    """Return the columns that a table with a row for each word has; None without them."""
    if sentence is not None and sentence not in row:
        said = _("no column {name!r}; there are: {columns}", name=sentence, columns=", ".join(row))
        raise RowError(row.source, said)
    words, labels = (_usual(row, name, names[name]) for name in ("words", "labels"))
    missing = words is None or (labelled and labels is None)
    if words is None or missing or (names["text"] in row and sentence is None):
        return None
    return _Columns(words, labels, sentence or _usual(row, "sentence", "sentence"))


def _are_words(rows: Sequence[Row], columns: _Columns) -> bool:
    """Return whether each of some rows holds one word. Raises RowError if nothing parts sentences."""
    full = [row for row in rows if str(row.get(columns.words)).strip()]
    checked = [name for name in (columns.words, columns.labels) if name is not None]
    if not all(_is_one(row.get(name)) for row in full for name in checked):
        return False
    if columns.sentence is not None:
        return True
    if len(full) < FEWEST:
        return False
    if len(full) == len(rows) and all(_line(b) == _line(a) + 1 for a, b in pairwise(rows)):
        raise RowError(
            rows[0].source,
            _(
                "each row holds one word, and nothing tells the sentences apart: name the column that "
                "numbers them, data.sentence=COLUMN, or leave an empty line between them"
            ),
        )
    return True


def _usual(row: Row, kind: str, given: str) -> str | None:
    """Return the column of a name that is given, or with a usual one of its kind; None without."""
    if given in row:
        return given
    if given != kind:
        return None
    plain = {re.sub(r"[\W_]+", "", name).casefold(): name for name in reversed(row)}
    return next((plain[name] for name in NAMES[kind] if name in plain), None)


def _cell(row: Row, name: str) -> str:
    """Return a cell as text without blanks around it. Raises RowError if the row has none."""
    return column(row, name).strip()


def _is_one(cell: Any) -> bool:
    """Return whether a cell is a text of one word."""
    return isinstance(cell, str) and len(cell.split()) == 1


def _line(row: Row) -> int:
    """Return the number of a row's line, 0 if its source has none."""
    number = row.source.rpartition(":")[2]
    return int(number) if number.isdecimal() else 0


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
