"""Split plain text into words: `split("Don't!")` is ["Do", "n't", "!"].

letters, digits and their marks   one word: 17th, naïve, O'Brien; a hyphen is its own word
numbers, times, dates             one word: 1,234.5  14:05  5/17/2031
English contractions              split as in treebanks: Do n't, we 'll, John 's
abbreviations, addresses          one word: U.S.  e.g.  https://a.org/b  me@a.org
scripts without blanks            one word per character and its marks: 土 曜 日
Hangul                            separate from other scripts: 2031 년
other signs                       one word per sign, or per run of the same sign: …  !!!  --
"""

from __future__ import annotations

from functools import cache, lru_cache
from typing import Any

from zoo.errors import InputError

UNSPACED = r"\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}\p{Tibetan}"

_LETTER = rf"[[\p{{L}}\p{{N}}_]--[{UNSPACED}\p{{Hangul}}]][\p{{M}}\u200c\u200d]*+"
_MAIL = rf"[[\w.+-]--[{UNSPACED}]]"
_HOST = rf"[[\w-]--[{UNSPACED}]]"
_WORD = rf"""
      (?:https?://|www\.)[\S--[{UNSPACED}]]*[^\s\p{{P}}{UNSPACED}]/?  # addresses
    | (?<!{_MAIL}){_MAIL}++@{_HOST}+(?:\.{_HOST}+)+
    | \p{{Nd}}+(?:[.,:/’']\p{{Nd}}+)+                 # numbers, times, dates
    | [{UNSPACED}]\p{{M}}*
    | (?:\p{{Hangul}}\p{{M}}*)+
    | (?:{_LETTER})+?(?=n['’]t\b)                     # do|n't
    | n['’]t\b
    | ['’](?:s|m|d|re|ve|ll)\b                        # 's
    | (?:{_LETTER}\.){{2,}}                           # U.S.
    | (?:{_LETTER})+(?:['’](?!(?:s|m|d|re|ve|ll)\b)(?:{_LETTER})+)*
    | ([^\w\s])\1+(?![\p{{M}}\p{{EMod}}\u200d])         # ... !!! --
    | \X
"""


def split(text: str) -> list[str]:
    """Return the words of a text in order; only blanks are dropped."""
    return [word for part in text.split() for word in _split(part)]


@lru_cache(1 << 16)
def _split(part: str) -> tuple[str, ...]:
    return tuple(match[0] for match in _pattern().finditer(part))


@cache
def _pattern() -> Any:
    """Return the compiled pattern of a word. Only here regex is needed."""
    try:
        import regex
    except ImportError:  # of a runtime without torch, which needs it here alone
        cure = "pip install regex, or give lists of words"
        raise InputError(f"splitting text into words needs regex: {cure}") from None
    return regex.compile(_WORD, regex.VERBOSE | regex.VERSION1 | regex.IGNORECASE)
