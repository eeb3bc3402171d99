"""`data=cldr data.form=pairs`: the same phrase in two locales, for translation.

    pairs("train", "en", "ja")   Row {"source": "Saturday, May 17, 2031",
                                      "target": "2031年5月17日土曜日"}, …

Dates, times, durations, amounts, measures and lists of names, drawn by chance. The splits are made
by the source text: no phrase is in two of them, though its words are. A phrase that is said alike
in two styles or units which the other locale tells apart (in English "May 3, 2031" is long and
medium, in Japanese not) is taken in the first of them only, so that a source has one right answer.
"""

from __future__ import annotations

import datetime
import random
from collections import Counter
from collections.abc import Iterator
from functools import cache

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

STYLES: dict[str, tuple[str, ...]] = {  # kind -> how, or in which unit, a value can be said
    "date": ("full", "long", "medium"), "time": ("short", "medium"), "amount": CURRENCIES,
    "measure": MEASURES, "duration": tuple(PERIODS), "relative": tuple(PERIODS),
}  # fmt: skip
LISTED = ("territories", "languages", "currencies")
NAMES = 60  # of each kind, that lists are made of
SHORTEST = 4  # names that a kind must have; lists are of two to so many
KINDS = ("date", "date", "time", "duration", "relative", "amount", "measure", "list", "list")
PATIENCE = 2000  # draws in a row that bring nothing new, before a locale is given up


def pairs(
    split: str, source: str, target: str, phrases: int = 20_000, seed: int = 0
) -> Iterator[Row]:
    """Rows {"source", "target"}: `phrases` of them in train, a twentieth of that in valid and test.

    The same arguments give the same rows. Raises InputError: settings at once, locales that have
    too little to say to each other when that is found out.
    """
    check_split(split)
    for locale in (source, target):
        check_locale(locale)
    if source == target:
        raise InputError(f"cldr: source and target are both {source}: choose two locales")
    size = phrases if split == "train" else max(1, phrases // 20)
    return _rows(split, source, target, size, seed)


def _rows(split: str, source: str, target: str, size: int, seed: int) -> Iterator[Row]:
    draw = random.Random(f"{seed}:{split}:{source}:{target}")
    here, there = locale_of(source), locale_of(target)
    seen: set[str] = set()
    idle = 0
    while len(seen) < size:
        key = _draw(draw, source, target)
        text, said = _own(here, key), _own(there, key)
        fits = text and said and max(len(text), len(said)) <= 2 * LONGEST_ITEM
        if not fits or split_of(text) != split or text in seen or _ambiguous(here, key, text):
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


def _draw(draw: random.Random, source: str, target: str) -> Key:
    kind = draw.choice(KINDS)
    if kind == "list":
        if listable := _listable(source, target):
            listed = draw.choice(listable)
            names = draw.sample(_names(source, target, listed), draw.randint(2, SHORTEST))
            return kind, listed, " ".join(names)
        kind = "date"
    style = draw.choice(STYLES[kind])
    if kind == "date":
        value = str(FIRST_DAY + datetime.timedelta(draw.randrange(DAYS)))
    elif kind == "time":
        minute, second = draw.randrange(1440), draw.randrange(60) if style == "medium" else 0
        value = f"{minute // 60:02}:{minute % 60:02}:{second:02}"
    elif kind in ("amount", "measure"):
        value = str(draw.randint(2, 10 ** draw.randint(1, 5)))
    else:
        count = draw.randint(2, PERIODS[style][1])
        value = str(count * (draw.choice((1, -1)) if kind == "relative" else 1))
    return kind, value, style


def _own(locale: Locale, key: Key) -> str:
    """What a locale says in its own words: not those of CLDR's root."""
    text = say(locale, key)
    return "" if borrowed(text, say(locale_of(FALLBACK), key)) else text


def _listable(source: str, target: str) -> list[str]:
    """The kinds of which both locales have enough names; there may be none."""
    return [kind for kind in LISTED if len(_names(source, target, kind)) >= SHORTEST]


@cache
def _names(source: str, target: str, kind: str) -> tuple[str, ...]:
    """Codes of things that both locales have names for, always the same ones."""
    both = [getattr(locale_of(locale), kind) for locale in (source, target)]
    codes = [c for c in sorted(both[0]) if c in both[1] and not {both[0][c], both[1][c]} & {c}]
    once = Counter(both[0].values())  # one name may be that of two things
    short = [c for c in codes if len(both[0][c]) <= 16 and " " not in c and once[both[0][c]] == 1]
    return tuple(random.Random(kind).sample(short, min(NAMES, len(short))))


def _ambiguous(locale: Locale, key: Key, text: str) -> bool:
    """Whether the same is said of the value in a style, unit or direction before this one."""
    kind, value, style = key
    if kind == "list":
        return False
    every = [(kind, value, other) for other in STYLES[kind]]
    if kind in ("duration", "relative"):
        count = value.removeprefix("-")
        ways = (("duration", count), ("relative", count), ("relative", f"-{count}"))
        every = [(*way, period) for way in ways for period in PERIODS]
    return any(say(locale, other) == text for other in every[: every.index((kind, value, style))])
