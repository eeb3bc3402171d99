"""`data=cldr`: real text in a hundred languages, without a network, from Unicode CLDR.

The package Babel carries CLDR: what each locale calls territories, languages, scripts, currencies
and units, and how it writes dates, times, durations, amounts and measures. Three layers:

    items_of("sv")      Item(key=("territory", "SE"), text="Sverige"), …
    split_of("Sverige") "train": by the text alone, so that splits never share a name or phrase
    documents("train")  Row {"text": "Sverige; 17 maj 2031; 3 dagar", "label": "sv"}, …

Keys are the same in all locales: join on them to translate, read them to tag. A single name is
often the same in related languages; several joined can be told apart. TF-IDF (character 1-3 grams)
with logistic regression gets, by `items` to a document: 2-6 0.905, 4-8 0.962, 5-9 0.975 (the
default; 93 characters on average), 6-10 0.983 of the test documents right.
"""

from __future__ import annotations

import difflib
import random
import zlib
from collections.abc import Iterable, Iterator
from functools import cache
from typing import NamedTuple

from babel import localedata

from zoo.data.cldr import phrases
from zoo.data.readers import Row
from zoo.errors import InputError

SPLITS = ("train", "valid", "test")
JOINERS = (", ", "; ", " – ", " / ", "\n")  # the same for all locales: they tell nothing
LONGEST_ITEM = 60  # characters; the few longer ones are explanations or a translator's notes
NAMES = ("territory", "language", "script", "currency")

FEWEST_NAMES, MOST_SHARED = 950, 0.4
# The rule behind the list (with Babel 2.18): locales without a territory that have FEWEST_NAMES
# distinct NAMES, beginning with the language of the most regional variants (then the shorter id,
# then by alphabet). One that shares more than MOST_SHARED of its names (of the smaller set) with
# one taken before is left out: Danish (Swedish), Croatian (Serbian), Indonesian (English), ….
# Written out, because labels must not change with Babel.
LOCALES = tuple(
    """
    am ar ast az bal_Latn be bew bg bn br brx ca ccp cs cv cy de dsb ee el en es et eu fa
    ff_Adlm fi fo fr ga gd gsw gu he hi hu hy is it ja ka kab kgp kk kk_Arab kn ko ks ky lo lt
    lv ml mn mr my nb ne nl or pa pl pt rm ro ru sc si sk sl so sq sr sr_Latn sv sw ta te th ti
    tk to tr ug uk ur vec vi yo yrl yue_Hans zh zh_Hant zu
    """.split()  # noqa: SIM905, easier to read than a hundred quoted names
)


class Item(NamedTuple):
    """A name or phrase of one locale: ("territory", "SE") or ("date", "2031-05-17", "full")."""

    key: tuple[str, ...]  # the same in every locale
    text: str


def documents(
    split: str,
    locales: Iterable[str] | None = None,
    documents: int = 150,
    items: tuple[int, int] = (5, 9),
    seed: int = 0,
) -> Iterator[Row]:
    """Rows {"text": …, "label": locale}, grouped by locale; places are cldr:train:1, 2, ….

    `documents` per locale in train, a tenth of that in valid and in test. Each joins `items`
    (least, most) different items of its locale and split by one of JOINERS. The same arguments give
    the same rows, and a locale's texts do not depend on which others are asked for.
    Raises InputError: settings at once, a locale with too little text when its turn comes.
    """
    check_split(split)
    least, most = items
    if documents < 1 or not 1 <= least <= most:
        given = f"documents={documents} items=({least}, {most})"
        raise InputError(f"cldr: {given}: needed are documents >= 1 and 1 <= least <= most")
    chosen = choose(locales)
    size = documents if split == "train" else max(1, documents // 10)
    return _rows(split, chosen, size, items, seed)


def _rows(
    split: str, locales: tuple[str, ...], size: int, items: tuple[int, int], seed: int
) -> Iterator[Row]:
    number = 0
    for locale in locales:
        pool = _pool(locale, split)
        if len(pool) < items[1]:
            found = f"{len(pool)} names and phrases for {split}"
            raise InputError(f"cldr: locale {locale} has {found}, too few for {items[1]} each")
        draw = random.Random(f"{seed}:{split}:{locale}")
        deck: list[str] = []
        for _ in range(size):
            count = draw.randint(*items)
            if len(deck) < count:  # every item is used once before any is used again
                deck = draw.sample(pool, len(pool))
            number += 1
            text = draw.choice(JOINERS).join(deck[-count:])
            del deck[-count:]
            yield Row({"text": text, "label": locale}, f"cldr:{split}:{number}")


def split_of(text: str) -> str:
    """The same for the same text (case aside) anywhere: one in ten "test", one in ten "valid"."""
    return {0: "test", 1: "valid"}.get(zlib.crc32(text.casefold().encode()) % 10, "train")


@cache
def _pool(locale: str, split: str) -> tuple[str, ...]:
    texts = dict.fromkeys(item.text for item in items_of(locale))  # one text may have two keys
    return tuple(text for text in texts if split_of(text) == split)


@cache
def items_of(locale: str) -> tuple[Item, ...]:
    """All names and phrases that CLDR has for this locale in its own words, in a fixed order.

    Left out is what stands in for a missing translation: a code ("SEK"), and text with letters that
    is the same in CLDR's root ("3 d"), which every locale falls back to.
    """
    check_locale(locale)
    fallback = _texts(phrases.FALLBACK)
    return tuple(
        Item(key, text)
        for key, text in _texts(locale).items()
        if 0 < len(text) <= LONGEST_ITEM
        and key[-1] != text
        and not phrases.borrowed(text, fallback.get(key))
    )


@cache
def _texts(locale: str) -> dict[tuple[str, ...], str]:
    found = phrases.locale_of(locale)
    texts: dict[tuple[str, ...], str] = {}
    named = (found.territories, found.languages, found.scripts, found.currencies)
    for kind, names in zip(NAMES, named, strict=True):
        texts.update({(kind, code): name for code, name in names.items()})
    for code, widths in found.unit_display_names.items():
        texts["unit", code] = widths.get("long") or widths.get("short", "")
    texts = {key: phrases.plain(text) for key, text in texts.items()}
    return texts | {key: phrases.say(found, key) for key in phrases.some()}


def choose(locales: Iterable[str] | None) -> tuple[str, ...]:
    """Locales, each once, or the default ones. Raises InputError for one that CLDR does not have."""
    chosen = tuple(dict.fromkeys(LOCALES if locales is None else locales))
    if not chosen:
        raise InputError("cldr: no locale chosen; leave `locales` out for the default ones")
    for locale in chosen:
        check_locale(locale)
    return chosen


def check_split(split: str) -> None:
    """Raises InputError for a split that is none."""
    if split not in SPLITS:
        raise InputError(f"cldr: split {split!r} is none of {', '.join(SPLITS)}")


def check_locale(locale: str) -> None:
    """Raises InputError for a locale that CLDR does not have."""
    known = localedata.locale_identifiers()
    if locale in known:
        return
    near = difflib.get_close_matches(str(locale).replace("-", "_"), known, 1)
    hint = f"did you mean {near[0]}?" if near else f"known are {LOCALES[0]}, {LOCALES[1]}, …"
    raise InputError(f"cldr: no locale {locale!r} in CLDR; {hint}")
