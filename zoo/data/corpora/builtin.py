"""Built-in corpora: Unicode CLDR, which Babel contains, and Python's own reference."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache, partial
from typing import Literal

from zoo.data.cldr import documents as _cldr
from zoo.data.cldr import labelled_fields, translations
from zoo.data.corpora.splits import Splits
from zoo.data.readers import Row, Rows
from zoo.errors import InputError
from zoo.option_classes import Count


def cldr(
    locales: list[str] | None,
    documents: Count,
    items: tuple[Count, Count],
    seed: int,
    form: Literal["documents", "pairs", "fields"] = "documents",
    source: str = "en",
    target: str = "ja",
    phrases: Count = 20_000,
    sentences: Count = 150,
    kinds: list[str] | None = None,
    years: tuple[Count, Count] = translations.YEARS,
    amounts: translations.Amounts = "whole",
) -> Splits:
    """Open names, dates and amounts of the world's locales, from Unicode CLDR.

    form=documents  texts labelled with their locale, to classify
    form=pairs      the same phrase in two locales, to translate
    form=fields     words labelled as weekday, month, number, …, to tag

    Of pairs, `kinds`, `years` and `amounts` say which phrases are drawn.
    """
    drawn = translations.Ranges(tuple(kinds or ()), years, amounts)

    def read(split: str) -> Callable[[], Iterator[Row]]:
        if form == "pairs":
            return partial(translations.pairs, split, source, target, phrases, seed, drawn)
        if form == "fields":
            cached_rows = cache(
                lambda: list(labelled_fields.fields(split, locales, sentences, seed))
            )
            return lambda: iter(cached_rows())
        return partial(_cldr.documents, split, locales, documents, items, seed)

    return Splits(*(Rows(read(split), f"cldr:{split}") for split in _cldr.SPLITS))


def pydoc() -> Splits:
    """Open Python's own reference, as `help()` shows it: a row per line.

    It has about 65,000 words, depending on the version of Python. One topic in ten is for
    validation and one for the test. Topics quote each other at length, so a repeated paragraph is
    kept only once: no paragraph is in two splits.
    """

    def read(split: str) -> Iterator[Row]:
        try:
            from pydoc_data.topics import topics
        except ImportError:
            raise InputError("data=pydoc: this Python comes without pydoc_data.topics") from None
        seen: set[str] = set()
        parts = {"test": (9,), "valid": (4,), "train": (0, 1, 2, 3, 5, 6, 7, 8)}
        for part, digits in parts.items():
            for number, name in enumerate(sorted(topics)):
                paragraphs = topics[name].rstrip().split("\n\n") if number % 10 in digits else []
                for place, paragraph in enumerate(paragraphs, 1):
                    if part == split and paragraph not in seen:
                        for line in [*paragraph.splitlines(), ""]:
                            yield Row({"text": line.rstrip()}, f"pydoc:{name}:{place}")
                    seen.add(paragraph)

    return Splits(*(Rows(partial(read, split), f"pydoc:{split}") for split in _cldr.SPLITS))
