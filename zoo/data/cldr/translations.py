"""`data=cldr data.form=pairs`: the same phrase in two locales, for translation.

    pairs("train", "en", "ja")   Row {"source": "Saturday, May 17, 2031",
                                      "target": "2031年5月17日土曜日"}, …

The phrases are random dates, times, durations, amounts, measures and lists of names. The source
text decides the split: no phrase is in two splits, though its words are. The source locale may write
two styles or units alike which the target locale distinguishes: English "May 3, 2031" is both long
and medium, Japanese is not. Only the first of them is used, so that a source has one right answer.
"""

from __future__ import annotations

import datetime
import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Literal

from babel import Locale

from zoo.data.cldr.documents import LONGEST_ITEM, check_locale, check_split, split_of
from zoo.data.cldr.phrases import (
    CURRENCIES,
    DAYS,
    FALLBACK,
    FIRST_DAY,
    MEASURES,
    PERIODS,
    Key,
    borrowed,
    locale_of,
    say,
)
from zoo.data.readers import Row
from zoo.errors import InputError

STYLES: dict[str, tuple[str, ...]] = {  # kind -> the styles or units of a value
    "date": ("full", "long", "medium"),
    "time": ("short", "medium"),
    "amount": CURRENCIES,
    "measure": MEASURES,
    "duration": tuple(PERIODS),
    "relative": tuple(PERIODS),
}
LISTED = ("territories", "languages", "currencies")
NAMES = 60  # names of each kind that lists are made of
SHORTEST = 4  # minimum names of a kind; a list has two names up to this many
KINDS = ("date", "date", "time", "duration", "relative", "amount", "measure", "list", "list")
YEARS = (FIRST_DAY.year, (FIRST_DAY + datetime.timedelta(DAYS - 1)).year)
MOST_DIGITS = 12  # of an amount: up to 10^12
PATIENCE = 2000  # consecutive draws without a new phrase before the locales are given up

Amounts = Literal["whole", "any"]


@dataclass(frozen=True)
class Ranges:
    """What is drawn: kinds of phrases (none: all), the first and last year, and amounts.

    Amounts that are "whole" have 2 to 99,999 units. "any" are -10^12 to 10^12, half of them with
    two decimals, a quarter negative.
    """

    kinds: tuple[str, ...] = ()
    years: tuple[int, int] = YEARS
    amounts: Amounts = "whole"

    def check(self) -> None:
        """Raise InputError for an unknown kind, and for years that no date has."""
        if unknown := sorted({*self.kinds} - {*KINDS}):
            known = ", ".join(dict.fromkeys(KINDS))
            raise InputError(f"cldr: no phrases of kind {unknown[0]!r}; there are: {known}")
        first, last = self.years
        if not datetime.MINYEAR <= first <= last <= datetime.MAXYEAR:
            raise InputError(
                f"cldr: years={[first, last]}: needed are the first and the last year, "
                f"{datetime.MINYEAR} to {datetime.MAXYEAR}"
            )


def pairs(
    split: str,
    source: str,
    target: str,
    phrases: int = 20_000,
    seed: int = 0,
    ranges: Ranges = Ranges(),
) -> Iterator[Row]:
    """Yield rows {"source", "target"}: `phrases` in train, a twentieth of that in valid and test.

    The same arguments give the same rows. Raises InputError at once for wrong settings, and while
    iterating for locales with too few common phrases.
    """
    ranges.check()
    check_split(split)
    for locale in (source, target):
        check_locale(locale)
    if source == target:
        raise InputError(f"cldr: source and target are both {source}: choose two locales")
    size = phrases if split == "train" else max(1, phrases // 20)
    return _rows(split, source, target, size, seed, ranges)


def _rows(
    split: str, source: str, target: str, size: int, seed: int, ranges: Ranges
) -> Iterator[Row]:
    draw = random.Random(f"{seed}:{split}:{source}:{target}")
    source_locale = locale_of(source)
    target_locale = locale_of(target)
    seen: set[str] = set()
    idle = 0
    while len(seen) < size:
        key = _draw(draw, source, target, ranges)
        text = _own(source_locale, key)
        said = _own(target_locale, key)
        fits = text and said and max(len(text), len(said)) <= 2 * LONGEST_ITEM
        unusable = split_of(text) != split or text in seen
        if not fits or unusable or _ambiguous(source_locale, key, text):
            idle += 1
            if idle > PATIENCE:
                raise InputError(
                    f"cldr: {source} and {target} have {len(seen)} phrases for {split}, not {size}: "
                    "lower data.phrases"
                )
            continue
        idle = 0
        seen.add(text)
        yield Row({"source": text, "target": said}, f"cldr:{split}:{len(seen)}")


def _draw(draw: random.Random, source: str, target: str, ranges: Ranges) -> Key:
    """Draw a key; a list becomes a date if the locales have too few common names."""
    kind = draw.choice(ranges.kinds or KINDS)
    if kind == "list":
        listable = _listable(source, target)
        if listable:
            listed = draw.choice(listable)
            names = draw.sample(_names(source, target, listed), draw.randint(2, SHORTEST))
            return kind, listed, " ".join(names)
        kind = "date"
    style = draw.choice(STYLES[kind])
    if kind == "date":
        value = str(_day(draw, *ranges.years))
    elif kind == "time":
        minute = draw.randrange(1440)
        second = draw.randrange(60) if style == "medium" else 0
        value = f"{minute // 60:02}:{minute % 60:02}:{second:02}"
    elif kind == "amount" and ranges.amounts == "any":
        value = _any_amount(draw)
    elif kind in ("amount", "measure"):
        value = str(draw.randint(2, 10 ** draw.randint(1, 5)))
    else:
        count = draw.randint(2, PERIODS[style][1])
        value = str(count * (draw.choice((1, -1)) if kind == "relative" else 1))
    return kind, value, style


def _day(draw: random.Random, first: int, last: int) -> datetime.date:
    """Draw a day; where years have different lengths, half of the days have a length drawn first.

    Else hardly a year from 1 to 2999 would have one or two digits.
    """
    lengths = range(len(str(first)), len(str(last)) + 1)
    if len(lengths) > 1 and draw.random() < 0.5:
        length = draw.choice(lengths)
        first, last = max(first, 10 ** (length - 1)), min(last, 10**length - 1)
    start = datetime.date(first, 1, 1)
    days = (datetime.date(last, 12, 31) - start).days + 1
    return start + datetime.timedelta(draw.randrange(days))


def _any_amount(draw: random.Random) -> str:
    """Draw an amount of up to 10^12, some with two decimals, some negative."""
    number = draw.randint(1, 10 ** draw.randint(1, MOST_DIGITS))
    cents = f".{draw.randrange(100):02}" if draw.random() < 0.5 else ""
    sign = "-" if draw.random() < 0.25 else ""
    return f"{sign}{number}{cents}"


def _own(locale: Locale, key: Key) -> str:
    """Return a key's text in the locale's own words, "" if they are those of CLDR's root."""
    text = say(locale, key)
    return "" if borrowed(text, say(locale_of(FALLBACK), key)) else text


def _listable(source: str, target: str) -> list[str]:
    """Return the kinds for which both locales have enough names; there may be none."""
    return [kind for kind in LISTED if len(_names(source, target, kind)) >= SHORTEST]


@cache
def _names(source: str, target: str, kind: str) -> tuple[str, ...]:
    """Return codes that both locales have names for, always the same ones."""
    both = [getattr(locale_of(locale), kind) for locale in (source, target)]
    codes = [c for c in sorted(both[0]) if c in both[1] and not {both[0][c], both[1][c]} & {c}]
    counts = Counter(both[0].values())  # two codes may have the same name
    short = [c for c in codes if len(both[0][c]) <= 16 and " " not in c and counts[both[0][c]] == 1]
    return tuple(random.Random(kind).sample(short, min(NAMES, len(short))))


def _ambiguous(locale: Locale, key: Key, text: str) -> bool:
    """Return whether an earlier style, unit or direction of the value has the same text."""
    kind, value, style = key
    if kind == "list":
        return False
    keys = [(kind, value, other) for other in STYLES[kind]]
    if kind in ("duration", "relative"):
        count = value.removeprefix("-")
        ways = (("duration", count), ("relative", count), ("relative", f"-{count}"))
        keys = [(*way, period) for way in ways for period in PERIODS]
    earlier = keys[: keys.index((kind, value, style))]
    return any(say(locale, other) == text for other in earlier)
