"""`data=cldr data.form=fields`: sentences whose dates, amounts and measures are labelled.

    fields("train", ["en"])   Row {"words": ["Saturday", ",", "May", "17", ",", "2031", …],
                                   "labels": ["B-weekday", "O", "B-month", "B-day", "O", "B-year", …]}

Unicode CLDR says what each part of a pattern is: in "EEEE, MMMM d, y" the weekday, the month, the day
and the year. So every label is known, in any locale, and a script without blanks is labelled too:
土 曜 日 are three words, B-weekday I-weekday I-weekday. What is between the fields is O, and so are the
names of territories, languages and scripts that stand among the phrases. No phrase is in two splits.
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
LETTERS = {  # of CLDR's patterns
    "E": "weekday", "c": "weekday", "d": "day", "M": "month", "L": "month", "y": "year", "Y": "year",
} | dict.fromkeys("hHkKmsSabBzv", "time")  # fmt: skip
SKELETONS = ("MMMd", "MMMEd", "MMMMd", "yMMM", "yMMMM", "yMMMd", "yMMMEd", "Ed")
KINDS = ("date", "date", "date", "time", "both", "number", "amount", "amount", "measure", "name")
UNITS = (*MEASURES, *(f"duration-{period}" for period in PERIODS))
PATIENCE = 500  # draws in a row that bring nothing, before a locale is given up
OPEN, SHUT = 0xE000, "\uf8ff"  # private characters: a field's beginning by its number, and its end

Part = tuple[str, str]  # text, and its field or ""


def fields(
    split: str, locales: Iterable[str] | None = None, sentences: int = 150, seed: int = 0
) -> Iterator[Row]:
    """Rows {"words", "labels", "locale"}: `sentences` of each locale in train, a tenth of that in
    valid and in test, of one to three phrases each.

    The same arguments give the same rows. Raises InputError: settings at once, a locale with too
    little to say when its turn comes.
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
            for place in range(draw.randint(1, 3)):
                between = split_words(joiner) if place else []
                phrase = _phrase(draw, locale, split)
                words += between + [word for word, _ in phrase]
                labels += ["O"] * len(between) + [label for _, label in phrase]
            number += 1
            columns = {"words": words, "labels": labels, "locale": locale}
            yield Row(columns, f"cldr:{split}:{number}")


def _phrase(draw: random.Random, locale: str, split: str) -> list[Part]:
    """Words and labels of a phrase that belongs to this split."""
    found = locale_of(locale)
    for _ in range(PATIENCE):
        labelled = label(*said(_parts(draw, found, split)))
        if labelled and split_of(" ".join(word for word, _ in labelled)) == split:
            return labelled
    raise InputError(f"cldr: locale {locale} has too little to say for {split}")


def _parts(draw: random.Random, locale: Locale, split: str) -> list[Part]:
    """A phrase of any kind in its parts; nothing where the locale has no pattern for it."""
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
    """A date, by a width of CLDR's ("full") or a skeleton ("yMMMd"). Raises KeyError where the
    locale has none."""
    patterns = locale.datetime_skeletons if style in SKELETONS else locale.date_formats
    return _dated(locale, moment, patterns[style].pattern)


def time(locale: Locale, moment: datetime.datetime, width: str) -> list[Part]:
    """A time of day: one field, from its first part to its last."""
    parts = _dated(locale, moment, locale.time_formats[width].pattern)
    places = [place for place, (_, field) in enumerate(parts) if field]
    if not places:
        return []
    inside = parts[places[0] : places[-1] + 1]
    return [
        *parts[: places[0]],
        ("".join(text for text, _ in inside), "time"),
        *parts[places[-1] + 1 :],
    ]


def _dated(locale: Locale, moment: datetime.datetime, pattern: str) -> list[Part]:
    values, root = (
        dates.DateTimeFormat(moment, locale),
        dates.DateTimeFormat(moment, locale_of(FALLBACK)),
    )
    parts: list[Part] = []
    for _, value in dates.tokenize_pattern(pattern):
        if isinstance(value, str):  # what stands between the fields
            parts.append((value, ""))
            continue
        letter, count = value[0], int(value[1])
        text = values[letter * count]
        if locale.language != "en" and borrowed(text, root[letter * count]):
            return []  # not the locale's own: what CLDR's root says
        parts.append((text, LETTERS.get(letter, "")))
    return parts


def amount(locale: Locale, number: int, code: str, style: str) -> list[Part]:
    """An amount of money, with the currency's name or its symbol."""
    if style == "name":
        pattern, money = "#,##0", numbers.get_currency_name(code, number, locale)
        text = numbers.format_currency(
            number, code, pattern, locale, currency_digits=False, format_type="name"
        )
    else:
        money = numbers.get_currency_symbol(code, locale)
        text = numbers.format_currency(number, code, locale=locale)
    return [] if money == code else _around(text, money, "currency", "number")


def measure(locale: Locale, number: int, unit: str) -> list[Part]:
    """A number of units."""
    text = units.format_unit(number, unit, locale=locale)
    if unit in text or text == units.format_unit(number, unit, locale=locale_of(FALLBACK)):
        return []  # the locale has no words of its own for it
    return _around(text, numbers.format_decimal(number, locale=locale), "number", "unit")


def _around(text: str, inner: str, field: str, outer: str) -> list[Part]:
    """A text in which `inner` is one field, and what stands around it the other."""
    before, there, behind = text.partition(inner)
    return [(before, outer), (inner, field), (behind, outer)] if there else []


def _filled(pattern: str, inner: dict[str, list[Part]]) -> list[Part]:
    """A pattern "{1} at {0}" with parts in its places."""
    places = sorted((pattern.index(name), name) for name in inner)
    parts, end = [], 0
    for place, name in places:
        parts += [(pattern[end:place], ""), *inner[name]]
        end = place + len(name)
    return [*parts, (pattern[end:], "")]


def said(parts: Iterable[Part]) -> tuple[str, list[tuple[int, int, str]]]:
    """The text of parts, blanks and invisible marks in it made plain, and where in it each field
    begins and ends."""
    marked = "".join(
        f"{chr(OPEN + FIELDS.index(field))}{text}{SHUT}" if field and text.strip() else text
        for text, field in parts
    )
    text, spans, start, field = "", [], 0, ""
    for character in plain(marked):
        if OPEN <= ord(character) < OPEN + len(FIELDS):
            start, field = len(text), FIELDS[ord(character) - OPEN]
        elif character == SHUT:
            spans.append((start, len(text), field))
        else:
            text += character
    return text, spans


def label(text: str, spans: Iterable[tuple[int, int, str]]) -> list[Part]:
    """Words of a text, and their labels in BIO; nothing when a word is only in part in a field."""
    inside = [(-1, "")] * len(text)  # of each character the span it is in
    for number, (start, end, field) in enumerate(spans):
        inside[start:end] = [(number, field)] * (end - start)
    labelled: list[Part] = []
    end, before = 0, -1
    for word in split_words(text):
        start = text.index(word, end)
        end = start + len(word)
        of = {*inside[start:end]}
        if len(of) > 1:
            return []
        ((number, field),) = of
        labelled.append((word, f"{'I' if number == before else 'B'}-{field}" if field else "O"))
        before = number
    return labelled


@cache
def _names(locale: str, split: str) -> tuple[str, ...]:
    """What the locale calls territories, languages and scripts."""
    kinds = ("territory", "language", "script")
    return tuple(
        item.text for item in items_of(locale)
        if item.key[0] in kinds and split_of(item.text) == split
    )  # fmt: skip
