"""`data=cldr data.form=fields`: sentences with labelled dates, amounts and measures.

    fields("train", ["en"])   Row {"words": ["Saturday", ",", "May", "17", ",", "2031", …],
                                   "labels": ["B-weekday", "O", "B-month", "B-day", "O", "B-year", …]}

A pattern of Unicode CLDR names its fields: "EEEE, MMMM d, y" has weekday, month, day and year. So
every label is known in any locale, also in scripts without blanks: 土 曜 日 are three words, B-weekday
I-weekday I-weekday. Text between the fields is O, as are the names of territories, languages and
scripts, which are phrases too. No phrase is in two splits.
"""

from __future__ import annotations

import datetime
import random
from collections.abc import Iterable, Iterator
from contextlib import suppress
from functools import cache

from babel import Locale, dates, numbers, units

from zoo.data.cldr.documents import JOINERS, check_split, choose, items_of, split_of
from zoo.data.cldr.phrases import (
    CURRENCIES,
    DAYS,
    FALLBACK,
    FIRST_DAY,
    MEASURES,
    PERIODS,
    borrowed,
    locale_of,
    plain,
)
from zoo.data.readers import Row
from zoo.errors import InputError
from zoo.text.word_splitter import split as split_words

FIELDS = ("weekday", "day", "month", "year", "time", "number", "currency", "unit")
LETTERS = {  # letter of a CLDR pattern -> field
    "E": "weekday",
    "c": "weekday",
    "d": "day",
    "M": "month",
    "L": "month",
    "y": "year",
    "Y": "year",
} | dict.fromkeys("hHkKmsSabBzv", "time")
SKELETONS = ("MMMd", "MMMEd", "MMMMd", "yMMM", "yMMMM", "yMMMd", "yMMMEd", "Ed")
KINDS = ("date", "date", "date", "time", "both", "number", "amount", "amount", "measure", "name")
UNITS = (*MEASURES, *(f"duration-{period}" for period in PERIODS))
PATIENCE = 500  # consecutive draws without a phrase before a locale is given up
OPEN = 0xE000  # private character that begins field 0; field n begins with OPEN + n
SHUT = "\uf8ff"  # private character that ends a field

Part = tuple[str, str]  # text and its field, which is "" outside the fields


def fields(
    split: str, locales: Iterable[str] | None = None, sentences: int = 150, seed: int = 0
) -> Iterator[Row]:
    """Yield rows {"words", "labels", "locale"} of one to three phrases each.

    Train has `sentences` rows per locale, valid and test a tenth of that. The same arguments give
    the same rows. Raises InputError at once for wrong settings, and while iterating for a locale
    with too few phrases.
    """
    check_split(split)
    size = sentences if split == "train" else max(1, sentences // 10)
    return _rows(split, choose(locales), size, seed)


def _rows(split: str, locales: Iterable[str], size: int, seed: int) -> Iterator[Row]:
    number = 0
    for locale in locales:
        draw = random.Random(f"{seed}:{split}:{locale}")
        for _ in range(size):
            joiner = draw.choice((" ", *JOINERS)).replace("\n", " ")
            words: list[str] = []
            labels: list[str] = []
            for position in range(draw.randint(1, 3)):
                between = split_words(joiner) if position else []
                phrase = _phrase(draw, locale, split)
                words += between + [word for word, _ in phrase]
                labels += ["O"] * len(between) + [label for _, label in phrase]
            number += 1
            columns = {"words": words, "labels": labels, "locale": locale}
            yield Row(columns, f"cldr:{split}:{number}")


def _phrase(draw: random.Random, locale: str, split: str) -> list[Part]:
    """Draw a phrase of this split, as words and labels."""
    found = locale_of(locale)
    for _ in range(PATIENCE):
        labelled = label(*said(_parts(draw, found, split)))
        if labelled and split_of(" ".join(word for word, _ in labelled)) == split:
            return labelled
    raise InputError(f"cldr: locale {locale} has too little to say for {split}")


def _parts(draw: random.Random, locale: Locale, split: str) -> list[Part]:
    """Draw a phrase of any kind, as parts; none if the locale has no pattern for it."""
    kind = draw.choice(KINDS)
    day = FIRST_DAY + datetime.timedelta(draw.randrange(DAYS))
    moment = datetime.datetime.combine(day, datetime.time(draw.randrange(24), draw.randrange(60)))
    number = draw.randint(2, 10 ** draw.randint(1, 6))
    with suppress(LookupError, ValueError):
        if kind == "date":
            return date(locale, moment, draw.choice(("full", "long", "medium", *SKELETONS)))
        if kind == "time":
            return time(locale, moment, draw.choice(("short", "medium")))
        if kind == "both":
            width = draw.choice(("full", "long", "medium"))
            pattern = str(locale.datetime_formats[width]).replace("'", "")
            inner = {"{1}": date(locale, moment, width), "{0}": time(locale, moment, "short")}
            return _filled(pattern, inner) if all(inner.values()) else []
        if kind == "number":
            return [(numbers.format_decimal(number, locale=locale), "number")]
        if kind == "amount":
            return amount(
                locale, number, draw.choice(CURRENCIES), draw.choice(("name", "standard"))
            )
        if kind == "measure":
            return measure(locale, number % 1000 + 2, draw.choice(UNITS))
        return [(draw.choice(_names(str(locale), split)), "")]
    return []


def date(locale: Locale, moment: datetime.datetime, style: str) -> list[Part]:
    """Return a date in a CLDR width ("full") or skeleton ("yMMMd").

    Raises KeyError if the locale has no such pattern.
    """
    patterns = locale.datetime_skeletons if style in SKELETONS else locale.date_formats
    return _dated(locale, moment, patterns[style].pattern)


def time(locale: Locale, moment: datetime.datetime, width: str) -> list[Part]:
    """Return a time of day as one field, from its first part to its last."""
    parts = _dated(locale, moment, locale.time_formats[width].pattern)
    positions = [position for position, (_, field) in enumerate(parts) if field]
    if not positions:
        return []
    first = positions[0]
    end = positions[-1] + 1
    inside = "".join(text for text, _ in parts[first:end])
    return [*parts[:first], (inside, "time"), *parts[end:]]


def _dated(locale: Locale, moment: datetime.datetime, pattern: str) -> list[Part]:
    """Fill a date pattern; no parts if the locale borrows a text from CLDR's root."""
    values = dates.DateTimeFormat(moment, locale)
    root = dates.DateTimeFormat(moment, locale_of(FALLBACK))
    parts: list[Part] = []
    for _, value in dates.tokenize_pattern(pattern):
        if isinstance(value, str):  # text between the fields
            parts.append((value, ""))
            continue
        letter = value[0]
        count = int(value[1])
        text = values[letter * count]
        if locale.language != "en" and borrowed(text, root[letter * count]):
            return []
        parts.append((text, LETTERS.get(letter, "")))
    return parts


def amount(locale: Locale, number: int, code: str, style: str) -> list[Part]:
    """Return an amount of money with the currency's name or its symbol."""
    if style == "name":
        money = numbers.get_currency_name(code, number, locale)
        text = numbers.format_currency(
            number, code, "#,##0", locale, currency_digits=False, format_type="name"
        )
    else:
        money = numbers.get_currency_symbol(code, locale)
        text = numbers.format_currency(number, code, locale=locale)
    return [] if money == code else _around(text, money, "currency", "number")


def measure(locale: Locale, number: int, unit: str) -> list[Part]:
    """Return a number of units; no parts if the locale has no words of its own for them."""
    text = units.format_unit(number, unit, locale=locale)
    if unit in text or text == units.format_unit(number, unit, locale=locale_of(FALLBACK)):
        return []
    return _around(text, numbers.format_decimal(number, locale=locale), "number", "unit")


def _around(text: str, inner: str, field: str, outer: str) -> list[Part]:
    """Split a text into `inner`, labelled `field`, and its surroundings, labelled `outer`."""
    before, there, behind = text.partition(inner)
    return [(before, outer), (inner, field), (behind, outer)] if there else []


def _filled(pattern: str, inner: dict[str, list[Part]]) -> list[Part]:
    """Fill the placeholders of a pattern such as "{1} at {0}" with parts."""
    placeholders = sorted((pattern.index(name), name) for name in inner)
    parts = []
    end = 0
    for start, name in placeholders:
        parts += [(pattern[end:start], ""), *inner[name]]
        end = start + len(name)
    return [*parts, (pattern[end:], "")]


def said(parts: Iterable[Part]) -> tuple[str, list[tuple[int, int, str]]]:
    """Join parts to a text, normalised by `plain`, and the spans (start, end, field) in it."""
    marked = "".join(
        f"{chr(OPEN + FIELDS.index(field))}{text}{SHUT}" if field and text.strip() else text
        for text, field in parts
    )
    text = ""
    spans = []
    start = 0
    field = ""
    for character in plain(marked):
        if OPEN <= ord(character) < OPEN + len(FIELDS):
            start = len(text)
            field = FIELDS[ord(character) - OPEN]
        elif character == SHUT:
            spans.append((start, len(text), field))
        else:
            text += character
    return text, spans


def label(text: str, spans: Iterable[tuple[int, int, str]]) -> list[Part]:
    """Split a text into (word, BIO label); nothing if a word is only partly in a field."""
    inside = [(-1, "")] * len(text)  # span number and field of each character
    for number, (start, end, field) in enumerate(spans):
        inside[start:end] = [(number, field)] * (end - start)
    labelled: list[Part] = []
    end = 0
    before = -1  # the span number of the last word
    for word in split_words(text):
        start = text.index(word, end)
        end = start + len(word)
        word_spans = {*inside[start:end]}
        if len(word_spans) > 1:
            return []
        ((number, field),) = word_spans
        labelled.append((word, f"{'I' if number == before else 'B'}-{field}" if field else "O"))
        before = number
    return labelled


@cache
def _names(locale: str, split: str) -> tuple[str, ...]:
    """Return the locale's names of territories, languages and scripts in a split."""
    kinds = ("territory", "language", "script")
    return tuple(
        item.text
        for item in items_of(locale)
        if item.key[0] in kinds and split_of(item.text) == split
    )
