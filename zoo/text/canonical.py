"""Canonical text: what looks the same is read as the same.

Composed and decomposed letters (é as one or as two code points) become composed, by Unicode's NFC.
White space becomes U+0020, because a model that was trained on blanks knows no other.
"""

from __future__ import annotations

import re
import unicodedata

_HALF = re.compile("[\ud800-\udfff]")
_WHITE = re.compile(r"[^\S ]")  # all white space but U+0020
_WIDTHS = re.compile(r"[^\S \t-\r\x1c-\x1f\x85\u2028\u2029]")  # without tabs and line ends


def encodable(text: str) -> str:
    """Return a text with U+FFFD for each half of a surrogate pair, which no encoding can hold."""
    if text.isascii() or _HALF.search(text) is None:
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def composed(text: str) -> str:
    """Return a text with composed letters (NFC) that can be encoded."""
    text = encodable(text)
    if text.isascii() or unicodedata.is_normalized("NFC", text):
        return text
    return unicodedata.normalize("NFC", text)


def canonical(text: str, keep_lines: bool = False) -> str:
    """Return a text with composed letters, and with U+0020 for each white space.

    With `keep_lines` tabs and line ends stay what they are: in code they have a meaning.
    """
    return (_WIDTHS if keep_lines else _WHITE).sub(" ", composed(text))
