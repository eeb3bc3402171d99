"""Normal spacing of tokenized text: what a tokenizer took apart is put together again."""

from __future__ import annotations

import re
from collections.abc import Callable

_LATIN = r"[A-Za-zＡ-Ｚａ-ｚ]"
_INSIDE = re.compile(rf"(?<!{_LATIN})\s+|\s+(?!{_LATIN})")  # blanks but those between Latin words
_ENDS = {".", "?", "!"}  # a sentence begins after them
_CLOSING = {*_ENDS, ",", ";", ":", "...", "%", ")"}  # no blank stands before them
_QUOTES = {"''": '"', "'": "'"}  # a token and how it is written


def japanese(text: str) -> str:
    """Join the words of a tokenized Japanese text; blanks between Latin words stay.

    >>> japanese("私 は 「 ｔｈａｎｋ ｙｏｕ 」 と 言 っ た 。")
    '私は「ｔｈａｎｋ ｙｏｕ」と言った。'
    """
    return _INSIDE.sub("", text.strip())


def english(text: str) -> str:
    """Join signs and contractions of a lower-cased tokenized English text to their words.

    The word I and the first word of a sentence get their capital letter; names stay lower-cased.

    >>> english("he said , '' i can 't swim . ''")
    'He said, "I can\\'t swim."'
    """
    tokens = text.split()
    left = {sign: tokens.count(sign) for sign in _QUOTES}
    opened = dict.fromkeys(_QUOTES, False)
    parts: list[str] = []
    glued = starts = True
    before = ""
    for token in tokens:
        opens = closes = False
        if token in _QUOTES:
            opens = not opened[token] and left[token] > 1  # a last one alone closes nothing
            closes = not opens
            opened[token], left[token] = opens, left[token] - 1
        joined = closes or token in _CLOSING or (token.startswith("'") and not opens)
        word = _QUOTES.get(token, token)
        if word == "i" or word.startswith("i."):
            word = "I" + word[1:]
        elif starts:
            word = word[0].upper() + word[1:]
        parts.append(word if glued or joined else f" {word}")
        glued = opens or token == "$"
        starts = token in _ENDS or (opens and (starts or before == ","))
        before = token
    return "".join(parts)


LANGUAGES: dict[str, Callable[[str], str]] = {"en": english, "ja": japanese}
