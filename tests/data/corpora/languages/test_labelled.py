"""Texts labelled with their language: splits, pieces, kinds of sources, and one-line errors."""

from __future__ import annotations

import json
import random
import re
from collections import Counter

import pytest
from corpus_cases import unreadable

from zoo.data.cldr import documents
from zoo.data.cldr.documents import texts_of
from zoo.data.corpora import languages, open_corpus

WORDS = {
    "de": [
        "Haus",
        "Baum",
        "Wasser",
        "Straße",
        "Himmel",
        "Garten",
        "Fenster",
        "Brücke",
        "Wolke",
        "Apfel",
    ],
    "sv": [
        "huset",
        "trädet",
        "vattnet",
        "gatan",
        "himlen",
        "trädgården",
        "fönstret",
        "bron",
        "molnet",
        "äpplet",
    ],
    "ja": ["家と木", "水の道", "空と庭", "窓の橋", "雲と林", "朝の月", "夜の星", "海と山"],
}
SETTINGS = {"name": "sentences", "path": "folder", "train": ["udhr", "django", "cldr"]}
SETTINGS |= {"test": ["udhr", "django"]}


def text_of(label: str, draw: random.Random) -> str:
    joiner = "" if label == "ja" else " "
    return joiner.join(draw.choices(WORDS[label], k=draw.randint(4, 9))) + "."


@pytest.fixture
def folder(write):
    """Three languages with both kinds of sources, and Danish with one kind."""
    draw = random.Random(1)
    rows = [
        {"text": text_of(label, draw), "label": label, "source": f"{kind}:{label}"}
        for kind in ("udhr", "django")
        for label in WORDS
        for _ in range(120)
    ]
    rows.append({"text": "Kun dansk her.", "label": "da", "source": "udhr:dan"})
    shared = "Server 500 error page"
    rows += [{"text": shared, "label": label, "source": "django:x"} for label in ("de", "sv")]
    write("folder/sentences.jsonl", "\n".join(json.dumps(row) for row in rows))
    return rows


def opened(**more):
    return open_corpus({**SETTINGS, **more})


def test_texts_that_begin_alike_are_in_one_split(folder):
    splits = opened(train=["udhr", "django"], pieces=0)
    parts = {name: [*getattr(splits, name)] for name in ("train", "valid", "test")}
    starts = {name: {row["text"][:12].casefold() for row in own} for name, own in parts.items()}
    assert not starts["train"] & starts["test"]
    assert not starts["train"] & starts["valid"]
    assert not starts["valid"] & starts["test"]
    found = Counter(row["label"] for own in parts.values() for row in own)
    assert found == Counter(row["label"] for row in folder if row["label"] != "da") - Counter(
        {"de": 1, "sv": 1}  # the text that both have
    )
    assert min(len(own) for own in parts.values()) > 30


def test_a_kind_that_is_not_trained_on_is_a_test_as_a_whole(folder):
    splits = opened(train=["udhr"], test=["django"])
    assert {row["label"] for row in splits.test} == {*WORDS}
    other = {row["text"] for row in opened(train=["udhr"], valid=["django"]).valid}
    assert len([*splits.test]) + len(other) == 360
    assert not other & {row["text"] for row in splits.test}
    known = {row["text"]: row["source"] for row in folder}
    assert {known[row["text"]].partition(":")[0] for row in splits.valid} == {"udhr"}


def test_pieces_are_of_training_texts_alone(folder):
    splits = opened(train=["udhr", "django"])
    held = {row["text"] for part in (splits.valid, splits.test) for row in part}
    whole = {row["text"] for row in folder}
    rows = [*splits.train]
    pieces = [row for row in rows if row["text"] not in whole]
    assert len(pieces) > len(rows) / 2
    assert not held & {row["text"] for row in rows}
    sizes = Counter(len(row["text"].split()) for row in pieces if row["label"] == "sv")
    assert {1, 2, 3, 4} <= {*sizes} <= {*range(1, 11)}
    assert [row["text"] for row in rows] == [row["text"] for row in splits.train]  # each time


def test_a_baseline_reads_every_language_first(folder):
    first = [row["label"] for row in opened().train][:60]
    assert {*first} == {*WORDS}


def test_names_of_cldr_are_of_one_language_alone(folder):
    splits = opened(train=["udhr", "cldr"], documents=30)
    names = [row for row in splits.train if row.source.startswith("cldr")]
    assert Counter(row["label"] for row in names) == dict.fromkeys(WORDS, 30)
    shared = {name.casefold() for name in texts_of("de", "train")}
    shared &= {name.casefold() for name in texts_of("sv", "train")}
    assert len(shared) > 100
    joined = re.compile("|".join(map(re.escape, documents.JOINERS)))
    said = {name.casefold() for row in names for name in joined.split(row["text"])}
    assert len(said) > 90
    assert not said & {name for name in shared if not joined.search(name)}


@pytest.mark.parametrize(("words", "label"), [((1, 3), "sv"), ((1, 2), "ja")])
def test_held_out_rows_are_cut_to_words(folder, words, label):
    whole = {row["text"] for row in opened(train=["udhr", "django"]).test}
    cut = list(opened(train=["udhr", "django"], words=[*words]).test)
    assert len(cut) == len(whole)
    own = [row["text"] for row in cut if row["label"] == label]
    width = [len(text) / 2 if label == "ja" else len(text.split()) for text in own]
    assert 0 < min(width) <= max(width) <= words[1]
    assert all(any(text in one for one in whole) for text in own)


def test_vowel_signs_stay_when_points_go():
    assert languages.without_points("នេះ, ជា 12 (ভাষা)!") == "នេះ ជា ভাষা"
    assert "".join(languages.split_words("one  two\nthree ")) == "one  two\nthree"
    assert languages.cut("one two", 3, 4, random.Random(1)) == ""


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"train": ["wiki"]}, "data.train=wiki: no such source; there are: udhr, django, cldr"),
        ({"test": ["udrh"]}, "data.test=udrh: no such source; there are: udhr, django, cldr"),
        ({"languages": ["de", "xx"]}, "data.languages: folder/sentences.jsonl has no row of xx"),
        ({"test": ["cldr"]}, "data.test=cldr: its rows have labels of their own: "),
        ({"words": [3, 1]}, "data.words=[3, 1]: at least and at most are needed, as [1,3]"),
    ],
)
def test_settings_that_cannot_be_are_one_line(folder, more, said):
    assert unreadable(**{**SETTINGS, **more}).startswith(said)


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"text": "a", "label": "de", "source": "eng"}, ":1: source 'eng': KIND:NAME is needed"),
        ({"text": "a", "label": "de"}, ":1: no column 'source'"),
    ],
)
def test_a_row_without_its_source_is_named(write, row, said):
    write("folder/sentences.jsonl", json.dumps(row))
    assert unreadable(**SETTINGS).startswith(f"folder/sentences.jsonl{said}")
