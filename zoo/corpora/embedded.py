"""Text that comes with the package, from Unicode CLDR through Babel."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Literal

from zoo import cldr as _cldr
from zoo import pairs
from zoo.config import Count
from zoo.corpora.splits import Splits
from zoo.rows import Row, Rows


def cldr(
    locales: list[str] | None, documents: Count, items: tuple[Count, Count], seed: int,
    form: Literal["documents", "pairs"] = "documents", source: str = "en", target: str = "ja",
    phrases: Count = 20_000,
) -> Splits:  # fmt: skip
    """Names, dates and amounts of the world's locales, from Unicode CLDR.

    `form=documents`: which locale wrote this? `form=pairs`: the same phrase in two locales.
    """

    def read(split: str) -> Callable[[], Iterator[Row]]:
        if form == "pairs":
            return partial(pairs.pairs, split, source, target, phrases, seed)
        return partial(_cldr.documents, split, locales, documents, items, seed)

    return Splits(*(Rows(read(split), f"cldr:{split}") for split in _cldr.SPLITS))
