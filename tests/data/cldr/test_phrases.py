"""Phrases: what CLDR says for a key, in the locale's own words."""

from __future__ import annotations

import datetime

import pytest
from babel import Locale, localedata

from zoo.data.cldr import phrases

KNOWN = [  # looked up in CLDR by hand: key, locale, text, locale, text
    (("date", "2031-05-17", "full"), "en", "Saturday, May 17, 2031", "ja", "2031年5月17日土曜日"),
    (("date", "1989-11-09", "long"), "de", "9. November 1989", "fr", "9 novembre 1989"),
    (("amount", "1234", "JPY"), "en", "1,234 Japanese yen", "ja", "1,234円"),
    (("amount", "1234", "EUR"), "de", "1.234 Euro", "fr", "1 234 euros"),
    (("relative", "3", "day"), "en", "in 3 days", "ja", "3 日後"),
    (("relative", "-5", "hour"), "de", "vor 5 Stunden", "fr", "il y a 5 heures"),
    (("duration", "4", "week"), "de", "4 Wochen", "zh", "4周"),
    (
        ("list", "territories", "JP DE FR"),
        "en",
        "Japan, Germany, and France",
        "ja",
        "日本、ドイツ、フランス",
    ),
    (("list", "languages", "sv ja"), "de", "Schwedisch und Japanisch", "fr", "suédois et japonais"),
    (("time", "14:05:00", "short"), "en", "2:05 PM", "ja", "14:05"),
    (("time", "14:05:09", "medium"), "ar", "2:05:09 م", "zh", "14:05:09"),
    (("measure", "1500", "length-kilometer"), "de", "1.500 Kilometer", "fr", "1 500 kilomètres"),
]


@pytest.mark.parametrize(("key", "one", "text", "other", "said"), KNOWN, ids=lambda v: None)
def test_a_phrase_is_said_as_cldr_says_it(key, one, text, other, said):
    assert phrases.say(Locale.parse(one), key) == text
    assert phrases.say(Locale.parse(other), key) == said


@pytest.mark.parametrize(
    ("locale", "key"),
    [
        ("zh", ("measure", "3", "length-kilometer")),
        ("aa", ("amount", "3", "JPY")),
        ("en", ("list", "territories", "DE ??")),
        ("aa", ("list", "languages", "sv ja")),
    ],
)
def test_a_locale_without_a_pattern_says_nothing(locale, key):
    assert phrases.say(Locale.parse(locale), key) == ""


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        (" 1\u00a0234\u202f€ ", "1 234 €"),
        ("\u200f\u061c12\u200e", "12"),
        ("e\u0301\n\tx", "é x"),
        ("\u200e", ""),
    ],
)
def test_blanks_marks_and_accents_become_plain(text, wanted):
    assert phrases.plain(text) == wanted


@pytest.mark.parametrize(
    ("text", "root", "wanted"),
    [("3 d", "3 d", True), ("3 d", "4 d", False), ("14:05", "14:05", False), ("3 d", None, False)],
)
def test_a_text_with_letters_is_borrowed_if_the_root_says_it(text, root, wanted):
    assert phrases.borrowed(text, root) is wanted


def test_a_locale_has_its_own_copy_of_its_data():
    own = phrases.locale_of("de")
    assert own is phrases.locale_of("de")
    assert own == Locale.parse("de")
    assert own._data._data is not localedata.load("de")
    data = {"a": {"b": (1, {"c": 2})}}
    copied = phrases._copied(data)
    assert copied == data
    assert copied["a"] is not data["a"]
    assert copied["a"]["b"][1] is not data["a"]["b"][1]


def test_the_keys_are_always_the_same_and_within_their_ranges():
    keys = phrases.some()
    assert keys == phrases.some.__wrapped__()
    assert {key[0] for key in keys} == {"date", "time", "duration", "relative", "amount", "measure"}
    last = phrases.FIRST_DAY + datetime.timedelta(phrases.DAYS)
    assert last == datetime.date(2050, 1, 1)
    for kind, value, style in keys:
        if kind == "date":
            assert phrases.FIRST_DAY <= datetime.date.fromisoformat(value) < last
        elif kind in ("duration", "relative"):
            assert 2 <= abs(int(value)) <= phrases.PERIODS[style][1]
