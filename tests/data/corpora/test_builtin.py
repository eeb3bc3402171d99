"""Built-in corpora: Python's reference, and the forms of Unicode CLDR."""

from __future__ import annotations

import itertools
import sys

import pytest
from corpus_cases import PARTS, disjoint, parts, texts

from zoo.data.cldr import documents, labelled_fields, translations
from zoo.data.corpora import open_corpus
from zoo.errors import InputError

CLDR = {"name": "cldr", "locales": ["sv", "ja"], "documents": 20, "items": (5, 9), "seed": 0}


@pytest.fixture(scope="module")
def pydoc():
    return open_corpus({"name": "pydoc"})


def paragraphs(rows):
    return ["\n".join(lines) for full, lines in itertools.groupby(rows, bool) if full]


def test_python_has_a_reference_that_is_the_same_each_time(pydoc):
    found = texts(pydoc)
    assert found == texts(open_corpus({"name": "pydoc"}))
    words = [sum(len(line.split()) for line in part) for part in found]
    assert words[0] > 30_000
    assert min(words[1:]) > 1000
    assert min(words[1:]) > 0.02 * sum(words)
    for part in found:
        assert sum(map(bool, part)) > len(part) / 2
        assert len({*part}) > len(part) / 2
        assert any(line.startswith("   ") for line in part)
        assert not any("\n" in line or line != line.rstrip() for line in part)


def test_no_paragraph_of_it_is_in_two_splits_or_in_one_twice(pydoc):
    found = [paragraphs(part) for part in texts(pydoc)]
    assert all(len({*part}) == len(part) > 50 for part in found)
    assert disjoint(found)


def test_no_topic_of_it_is_in_two_splits(pydoc):
    topics = [{row.source.split(":")[1] for row in rows} for rows in parts(pydoc)]
    assert disjoint(topics)
    assert len(topics[0]) > 5 * len(topics[2])
    assert next(iter(pydoc.test)).source.startswith("pydoc:")


def test_a_python_without_its_reference_is_one_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "pydoc_data.topics", None)
    with pytest.raises(InputError, match="data=pydoc: this Python comes without pydoc_data"):
        list(open_corpus({"name": "pydoc"}).train)


@pytest.mark.parametrize(
    ("options", "rows"),
    [
        ({}, lambda split: documents.documents(split, ["sv", "ja"], 20)),
        (
            {"form": "pairs", "phrases": 400},
            lambda split: translations.pairs(split, "en", "ja", 400),
        ),
        (
            {"form": "fields", "sentences": 20},
            lambda split: labelled_fields.fields(split, ["sv", "ja"], 20),
        ),
    ],
    ids=["documents", "pairs", "fields"],
)
def test_cldr_gives_the_form_that_is_asked_for(options, rows):
    splits = open_corpus(CLDR | options)
    for part in PARTS:
        found = list(getattr(splits, part))
        assert found == list(rows(part))
        assert found == list(getattr(splits, part))  # read again from the start
        assert found[0].source == f"cldr:{part}:1"


def test_a_wrong_locale_is_named_when_the_rows_are_read():
    splits = open_corpus(CLDR | {"form": "pairs", "source": "xx-"})
    with pytest.raises(InputError, match="no locale 'xx-'"):
        list(splits.train)
