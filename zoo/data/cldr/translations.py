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
PATIENCE = 2000  # consecutive draws without a new phrase before the locales are given up


def pairs(
    split: str, source: str, target: str, phrases: int = 20_000, seed: int = 0
) -> Iterator[Row]:
    """Yield rows {"source", "target"}: `phrases` in train, a twentieth of that in valid and test.

    The same arguments give the same rows. Raises InputError at once for wrong settings, and while
    iterating for locales with too few common phrases.
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
    source_locale = locale_of(source)
    target_locale = locale_of(target)
    seen: set[str] = set()
    idle = 0
    while len(seen) < size:
        key = _draw(draw, source, target)
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


def _draw(draw: random.Random, source: str, target: str) -> Key:
    """Draw a key; a list becomes a date if the locales have too few common names."""
    kind = draw.choice(KINDS)
    if kind == "list":
        listable = _listable(source, target)
        if listable:
            listed = draw.choice(listable)
            names = draw.sample(_names(source, target, listed), draw.randint(2, SHORTEST))
            return kind, listed, " ".join(names)
        kind = "date"
    style = draw.choice(STYLES[kind])
    if kind == "date":
        value = str(FIRST_DAY + datetime.timedelta(draw.randrange(DAYS)))
    elif kind == "time":
        minute = draw.randrange(1440)
        second = draw.randrange(60) if style == "medium" else 0
        value = f"{minute // 60:02}:{minute % 60:02}:{second:02}"
    elif kind in ("amount", "measure"):
        value = str(draw.randint(2, 10 ** draw.randint(1, 5)))
    else:
        count = draw.randint(2, PERIODS[style][1])
        value = str(count * (draw.choice((1, -1)) if kind == "relative" else 1))
    return kind, value, style


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
