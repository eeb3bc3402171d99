"""CLDR sentences with labelled dates, amounts and measures."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from datetime import datetime
from itertools import pairwise

import pytest
from babel import Locale
from conftest import ROOT

from zoo.data.cldr import documents, labelled_fields
from zoo.data.corpora import open_corpus
from zoo.errors import InputError
from zoo.text import bio
from zoo.text.word_splitter import split as split_words

SOME = ("en", "ja", "de", "ar")
MOMENT = datetime(2031, 5, 17, 14, 5)


@pytest.fixture(scope="module")
def corpus():
    return {split: list(labelled_fields.fields(split, SOME, 300)) for split in documents.SPLITS}


def of(parts) -> str:
    """Labelled words, as word/label."""
    return " ".join(
        f"{word}/{label}" for word, label in labelled_fields.label(*labelled_fields.said(parts))
    )


DATES = [  # as CLDR writes 17 May 2031, a Saturday
    ("en", "full", "Saturday/B-weekday ,/O May/B-month 17/B-day ,/O 2031/B-year"),
    ("en", "yMMMEd", "Sat/B-weekday ,/O May/B-month 17/B-day ,/O 2031/B-year"),
    ("ja", "full", "2031/B-year 年/O 5/B-month 月/O 17/B-day 日/O "
     "土/B-weekday 曜/I-weekday 日/I-weekday"),
    ("ja", "Ed", "17/B-day 日/O (/O 土/B-weekday )/O"),
    ("de", "full", "Samstag/B-weekday ,/O 17/B-day ./O Mai/B-month 2031/B-year"),
    ("de", "Ed", "Sa/B-weekday ./I-weekday ,/O 17/B-day ./O"),
    ("ko", "full", "2031/B-year 년/O 5/B-month 월/I-month 17/B-day 일/O 토요일/B-weekday"),
]  # fmt: skip


@pytest.mark.parametrize(("locale", "style", "labelled"), DATES)
def test_the_parts_of_a_date_are_labelled_as_its_pattern_names_them(locale, style, labelled):
    assert of(labelled_fields.date(Locale.parse(locale), MOMENT, style)) == labelled


@pytest.mark.parametrize(
    ("locale", "width", "labelled"),
    [
        ("en", "medium", "2:05:00/B-time PM/I-time"),
        ("de", "short", "14:05/B-time"),
        ("ja", "short", "14:05/B-time"),
    ],
)
def test_a_time_is_one_span(locale, width, labelled):
    assert of(labelled_fields.time(Locale.parse(locale), MOMENT, width)) == labelled


@pytest.mark.parametrize(
    ("locale", "number", "code", "style", "labelled"),
    [
        ("en", 1234, "EUR", "name", "1,234/B-number euros/B-currency"),
        ("en", 1234, "JPY", "name", "1,234/B-number Japanese/B-currency yen/I-currency"),
        ("en", 1234, "EUR", "standard", "€/B-currency 1,234.00/B-number"),
        ("ja", 12, "EUR", "name", "12/B-number ユ/B-currency ー/I-currency ロ/I-currency"),
        ("ko", 1234, "EUR", "name", "1,234/B-number 유로/B-currency"),
        ("en", 12, "SEK", "standard", ""),  # its code is no symbol
        ("aa", 12, "JPY", "name", ""),
    ],
)
def test_an_amount_is_a_number_and_a_currency(locale, number, code, style, labelled):
    assert of(labelled_fields.amount(Locale.parse(locale), number, code, style)) == labelled


@pytest.mark.parametrize(
    ("locale", "unit", "labelled"),
    [
        ("en", "length-kilometer", "1,500/B-number kilometers/B-unit"),
        ("en", "area-square-kilometer", "1,500/B-number square/B-unit kilometers/I-unit"),
        ("de", "duration-hour", "1.500/B-number Stunden/B-unit"),
        ("ja", "length-meter", "1,500/B-number メ/B-unit ー/I-unit ト/I-unit ル/I-unit"),
        ("ko", "length-kilometer", "1,500/B-number 킬로미터/B-unit"),
    ],
)
def test_a_measure_is_a_number_and_a_unit(locale, unit, labelled):
    assert of(labelled_fields.measure(Locale.parse(locale), 1500, unit)) == labelled


def test_said_makes_blanks_plain_and_knows_where_fields_are():
    parts = [("\u200f1\u202f234\u00a0", "number"), ("", "unit"), ("€", "currency"), (" ", "day")]
    assert labelled_fields.said(parts) == ("1 234 €", [(0, 6, "number"), (6, 7, "currency")])
    assert labelled_fields.said([]) == ("", [])


def test_a_word_that_is_only_in_part_in_a_field_drops_the_phrase():
    assert labelled_fields.label("17th", [(0, 2, "day")]) == []
    assert labelled_fields.label("17.05", [(0, 2, "day"), (3, 5, "month")]) == []
    touching = [(0, 2, "day"), (2, 3, "day")]
    assert labelled_fields.label("5 7", touching) == [("5", "B-day"), ("7", "B-day")]
    assert labelled_fields.label("17 th", [(0, 2, "day")]) == [("17", "B-day"), ("th", "O")]
    assert of(labelled_fields.date(Locale.parse("de"), MOMENT, "medium")) == ""  # 17.05.2031


def test_words_and_labels_are_as_long_as_each_other_in_rows_of_their_sizes(corpus):
    for split, rows in corpus.items():
        assert len(rows) == (1200 if split == "train" else 120)
        assert [row.source for row in rows] == [f"cldr:{split}:{n + 1}" for n in range(len(rows))]
        assert {row["locale"] for row in rows} == {*SOME}
        for row in rows:
            assert [*row] == ["words", "labels", "locale"]
            assert len(row["words"]) == len(row["labels"]) > 0
            assert all(word and word == "".join(word.split()) for word in row["words"])
    assert len([*labelled_fields.fields("test", ["en"], 5)]) == 1


def test_labels_are_bio_of_eight_fields_which_all_occur(corpus):
    counts = Counter(label for row in corpus["train"] for label in row["labels"])
    assert {label[2:] for label in counts} - {""} == {*labelled_fields.FIELDS}
    assert {f"B-{field}" for field in labelled_fields.FIELDS} < counts.keys()
    assert len(labelled_fields.FIELDS) == 8
    for rows in corpus.values():
        for row in rows:
            assert {*row["labels"]} <= counts.keys()
            moves = pairwise(["", *row["labels"]])
            assert all(bio.may_follow(*move, counts) for move in moves)
    both = {
        pair for row in corpus["train"] for pair in zip(row["words"], row["labels"], strict=True)
    }
    assert {("日", "O"), ("日", "I-weekday"), ("Saturday", "B-weekday"), ("Mai", "B-month")} <= both


def test_no_phrase_of_a_split_is_in_another_one_and_sentences_are_made_of_them(monkeypatch):
    phrases: list[list] = []
    label, texts = labelled_fields.label, {}

    def noted(text, where):
        labelled = label(text, where)
        words = " ".join(word for word, _ in labelled)
        if words and documents.split_of(words) == split:
            phrases.append(labelled)
            texts.setdefault(split, set()).add(words.casefold())
        return labelled

    monkeypatch.setattr(labelled_fields, "label", noted)
    joins: set[str] = set()
    lengths = Counter()
    for split in documents.SPLITS:
        for row in labelled_fields.fields(split, ("en", "ja"), 200 if split == "train" else 600):
            made = [phrase for phrase in phrases if phrase]
            phrases.clear()
            lengths[len(made)] += 1
            rest = [*zip(row["words"], row["labels"], strict=True)]
            for place, phrase in enumerate(made):
                if place and rest[: len(phrase)] != phrase:
                    assert rest[0][1] == "O"
                    joins.add(rest.pop(0)[0])
                assert rest[: len(phrase)] == phrase
                rest = rest[len(phrase) :]
            assert not rest
    assert joins == {",", ";", "–", "/"}
    assert lengths.keys() == {1, 2, 3}
    assert min(lengths.values()) > 100
    assert not texts["train"] & texts["test"] | texts["train"] & texts["valid"]
    assert not texts["valid"] & texts["test"]


def test_the_words_of_a_phrase_are_in_one_split(monkeypatch):
    monkeypatch.setattr(labelled_fields, "KINDS", ("amount",))
    seen: dict[tuple, set] = {}
    for split in documents.SPLITS:
        for row in labelled_fields.fields(split, ["en", "sw"], 300 if split == "train" else 2000):
            if row["labels"].count("B-number") == 1:
                seen.setdefault(tuple(row["words"]), set()).add(split)
    assert len(seen) > 300
    assert {len(splits) for splits in seen.values()} == {1}


def test_names_are_outside_of_all_fields(monkeypatch):
    monkeypatch.setattr(labelled_fields, "KINDS", ("name",))
    rows = list(labelled_fields.fields("train", ["en"], 50))
    assert {label for row in rows for label in row["labels"]} == {"O"}
    names = " ".join(item.text for item in documents.items_of("en"))
    known = {*split_words(names), ",", ";", "–", "/"}
    assert {word for row in rows for word in row["words"]} <= known


def test_the_same_arguments_give_the_same_rows_and_another_seed_other_rows(corpus):
    again = list(labelled_fields.fields("valid", SOME, 300))
    assert again == corpus["valid"]
    other = {tuple(row["words"]) for row in labelled_fields.fields("valid", SOME, 300, seed=1)}
    assert len(other & {tuple(row["words"]) for row in again}) < 12
    data = {
        "name": "cldr",
        "form": "fields",
        "locales": [*SOME],
        "documents": 1,
        "items": [1, 1],
        "seed": 0,
        "sentences": 300,
    }
    assert list(open_corpus(data, "words").valid) == again


@pytest.mark.parametrize(
    "locale",
    [
        "de",
        "ar",
    ],
)
def test_rows_do_not_depend_on_what_a_process_did_before(locale):
    code = (
        "import sys; from zoo.data.cldr.labelled_fields import fields; "
        "[*map(list, [fields('train', [name], 60) for name in sys.argv[2:]])]; "
        "print(ascii([*fields('train', [sys.argv[1]], 60)]))"
    )
    made = [
        subprocess.run(
            [sys.executable, "-W", "error", "-c", code, locale, *before],
            cwd=ROOT,
            check=True,
            capture_output=True,
            text=True,
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": "."},
        ).stdout
        for seed, before in (("1", []), ("2", ["ja"]))
    ]
    assert made[0] == made[1]


def test_every_default_locale_has_something_to_say_in_each_split():
    for split in documents.SPLITS:
        rows = list(labelled_fields.fields(split, sentences=1))
        assert [row["locale"] for row in rows] == [*documents.LOCALES]


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (("dev", ["en"]), "cldr: split 'dev' is none of train, valid, test"),
        (("train", ["en", "pt-BR"]), "cldr: no locale 'pt-BR' in CLDR; did you mean pt_BR?"),
        (("train", []), "cldr: no locale chosen; leave `locales` out for the default ones"),
    ],
)
def test_settings_that_cannot_be_used_are_named_at_once(arguments, line):
    with pytest.raises(InputError) as caught:
        labelled_fields.fields(*arguments)
    assert str(caught.value) == line


def test_a_locale_with_too_little_to_say_is_given_up(monkeypatch):
    monkeypatch.setattr(labelled_fields, "_parts", lambda *_: [])
    with pytest.raises(InputError, match=r"^cldr: locale en has too little to say for test$"):
        next(labelled_fields.fields("test", ["en"]))
