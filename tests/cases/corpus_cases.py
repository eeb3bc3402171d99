"""What the tests of corpora share: opening them, what their splits hold, and small files."""

from __future__ import annotations

import gzip
import itertools

import pytest

from zoo.data.corpora import open_corpus
from zoo.errors import InputError

PARTS = ("train", "valid", "test")
GIVEN = {"valid": None, "test": None, "text": "text", "label": "label"}
PAIRS = [("one bird", "ein Vogel"), ("two cats", "zwei Katzen"), ("a, b", "„c“\t, d")]

SENTENCES = """-DOCSTART- -X- O O

EU NNP B-NP B-ORG
rejects VBZ B-VP O
# # O O

-DOCSTART- -X- O O
# NNP B-NP B-MISC
lamb\u200b NN I-NP O
"""
CONTENT = [
    {
        "words": ["EU", "rejects", "#"],
        "2": ["NNP", "VBZ", "#"],
        "3": ["B-NP", "B-VP", "O"],
        "labels": ["B-ORG", "O", "O"],
    },
    {
        "words": ["#", "lamb\u200b"],
        "2": ["NNP", "NN"],
        "3": ["B-NP", "I-NP"],
        "labels": ["B-MISC", "O"],
    },
]


def word(number, form="a", upos="NOUN", xpos="NN"):
    """A line of CoNLL-U."""
    return "\t".join([str(number), form, form.lower(), upos, xpos, "_", "0", "root", "_", "_"])


def files(train, valid=None, test=None, by="text", **columns):
    """The corpus `files`, its columns called text and label unless told otherwise."""
    own = {"name": "files", "train": train, "valid": valid, "test": test}
    return open_corpus(GIVEN | own | columns, by)


def parts(splits):
    """The rows of train, valid and test."""
    return [list(getattr(splits, part)) for part in PARTS]


def texts(splits):
    """The texts of train, valid and test."""
    return [[row["text"] for row in rows] for rows in parts(splits)]


def pairs_of(rows):
    """The (source, target) of rows."""
    return [(row["source"], row["target"]) for row in rows]


def disjoint(sets):
    """Whether no two sets share anything."""
    return not any(one & other for one, other in itertools.combinations(map(set, sets), 2))


def refused(call, *arguments, **settings):
    """The one line of the InputError that a call ends in."""
    with pytest.raises(InputError) as caught:
        call(*arguments, **settings)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def unreadable(**settings):
    """The one line of the error that a corpus ends in, when it is opened or when it is read."""
    return refused(lambda: parts(open_corpus(settings)))


def sides(folder, stem, rows, end="", names=("en", "de")):
    """Write a file STEM.NAME for each name, with a line of each row."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, column in zip(names, zip(*rows, strict=True), strict=True):
        data = "".join(text + "\n" for text in column).encode()
        (folder / f"{stem}.{name}{end}").write_bytes(gzip.compress(data) if end else data)
