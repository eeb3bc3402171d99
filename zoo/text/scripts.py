"""Scripts that are written without blanks between words."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping

MOSTLY_UNSPACED = 0.3  # share of such letters from which on words cannot be told apart

# The beginnings of the Unicode names of their letters.
NAMES = (
    "CJK",
    "HIRAGANA",
    "KATAKANA",
    "THAI",
    "LAO",
    "KHMER",
    "MYANMAR",
    "TIBETAN",
    "HALFWIDTH KATAKANA",
)


def unspaced_share(characters: Mapping[str, int]) -> float:
    """Return the share of the letters that belong to such scripts; `characters` holds counts."""
    letters = {c: count for c, count in characters.items() if unicodedata.category(c)[0] == "L"}
    unspaced = sum(
        count for c, count in letters.items() if unicodedata.name(c, "").startswith(NAMES)
    )
    return unspaced / max(1, sum(letters.values()))
