"""Phrases: dates, times, durations, amounts, measures and lists in the words of any locale.

A key (kind, value, unit or style) names the content: ("date", "2031-05-17", "full") is "Saturday,
May 17, 2031" in English and "2031年5月17日土曜日" in Japanese. The patterns are those of Unicode CLDR,
which the package Babel contains.
"""

from __future__ import annotations

import datetime
import random
import re
import unicodedata
from collections.abc import Callable
from contextlib import suppress
from decimal import Decimal
from functools import cache, partial
from typing import Any, Literal

from babel import Locale, dates, lists, localedata, numbers, units

Key = tuple[str, ...]

FALLBACK = "root"  # the locale that every other one falls back to
FIRST_DAY = datetime.date(1950, 1, 1)
DAYS = 36525  # to the end of 2049
CURRENCIES = ("USD", "EUR", "GBP", "JPY", "CHF", "SEK", "INR", "CNY", "BRL", "ZAR", "TRY", "MXN")
MEASURES = (
    "length-kilometer",
    "length-meter",
    "length-centimeter",
    "length-mile",
    "mass-kilogram",
    "mass-gram",
    "volume-liter",
    "area-hectare",
    "area-square-kilometer",
    "digital-megabyte",
    "speed-kilometer-per-hour",
    "temperature-celsius",
    "power-watt",
    "energy-joule",
)
PERIODS = {  # seconds, and the highest count that Babel does not turn into a longer period
    "year": (365 * 86400, 80),
    "month": (30 * 86400, 11),
    "week": (7 * 86400, 4),
    "day": (86400, 6),
    "hour": (3600, 23),
    "minute": (60, 59),
    "second": (1, 59),
}


@cache
def locale_of(name: str) -> Locale:
    """Return a locale with its own copy of its data.

    Babel resolves references in place, in data that locales share. Without the copy the text of a
    locale would depend on earlier calls for other locales.
    """
    locale = Locale.parse(name)
    own = _copied(localedata.load(str(locale)))
    locale._Locale__data = localedata.LocaleDataDict(own)  # type: ignore[attr-defined]
    return locale


def _copied(data: Any) -> Any:
    """Copy nested dicts and tuples."""
    if isinstance(data, dict):
        return {key: _copied(value) for key, value in data.items()}
    return tuple(map(_copied, data)) if isinstance(data, tuple) else data


def say(locale: Locale, key: Key) -> str:
    """Return the text of a key, "" if the locale has no words of its own for it."""
    with suppress(LookupError):  # this locale and its parents have no pattern for it
        return plain(PHRASES[key[0]](locale, *key[1:]))
    return ""


def borrowed(text: str, root: str | None) -> bool:
    """Return whether a text has letters and is the same in CLDR's root ("3 d")."""
    return text == root and any(map(str.isalpha, text))


def plain(text: str) -> str:
    """Normalise a text: NFC, single plain blanks, no invisible direction marks."""
    text = unicodedata.normalize("NFC", text)
    return " ".join(re.sub("[\u061c\u200e\u200f]", "", text).split())


@cache
def some() -> tuple[Key, ...]:
    """Return a few hundred keys, always the same ones."""
    draw = random.Random("cldr")
    keys: list[Key] = []
    for width in ("full", "long", "medium"):
        for number in draw.sample(range(DAYS), 30):  # days from 1950 to 2049
            keys.append(("date", str(FIRST_DAY + datetime.timedelta(number)), width))
    for minute in draw.sample(range(1440), 20):
        keys.append(("time", f"{minute // 60:02}:{minute % 60:02}", "short"))
    for period, (_, most) in PERIODS.items():
        keys += [("duration", str(n), period) for n in draw.sample(range(2, most + 1), 3)]
        keys += [("relative", str(n), period) for n in draw.sample(range(2, most + 1), 3)]
        keys += [("relative", str(-n), period) for n in draw.sample(range(2, most + 1), 3)]
    for code in CURRENCIES:
        keys += [("amount", str(n), code) for n in draw.sample(range(2, 99999), 3)]
    for unit in MEASURES:
        keys += [("measure", str(n), unit) for n in draw.sample(range(2, 999), 3)]
    return tuple(keys)


def _date(locale: Locale, day: str, width: Literal["full", "long", "medium"]) -> str:
    return dates.format_date(datetime.date.fromisoformat(day), width, locale)


def _time(locale: Locale, time: str, width: Literal["short"]) -> str:
    return dates.format_time(datetime.time.fromisoformat(time), width, locale=locale)


def _duration(locale: Locale, count: str, period: str, relative: bool = False) -> str:
    delta = datetime.timedelta(seconds=int(count) * PERIODS[period][0])
    return dates.format_timedelta(delta, threshold=1, add_direction=relative, locale=locale)


def _amount(locale: Locale, count: str, code: str) -> str:
    pattern = "#,##0.00" if "." in count else "#,##0"
    text = numbers.format_currency(
        Decimal(count), code, pattern, locale, currency_digits=False, format_type="name"
    )
    return "" if code in text else text  # the code replaces a missing name


def _measure(locale: Locale, count: str, unit: str) -> str:
    text = units.format_unit(int(count), unit, locale=locale)
    return "" if unit in text else text


def _list(locale: Locale, kind: str, codes: str) -> str:
    names = getattr(locale, kind)
    return lists.format_list([names[code] for code in codes.split()], locale=locale)


PHRASES: dict[str, Callable[..., str]] = {
    "date": _date,
    "time": _time,
    "amount": _amount,
    "measure": _measure,
    "list": _list,
    "duration": _duration,
    "relative": partial(_duration, relative=True),
}
