"""What the tests of characters share: words in rows, their ids, and what stands in their blocks."""

from __future__ import annotations

import pytest

from zoo.nn.char_encoder import ROWS, SIZES, CharBatch
from zoo.text.characters import Alphabet
from zoo.text.special_ids import UNK

LETTERS = "abcdefghijklmnopqrstuvwxyz"
ALPHABET = Alphabet(LETTERS)
PLAIN = [["the", "cat", "sat", "on", "the", "mat"], ["a"], ["cat", "catalogue", "the"]]
LIMITS = [[LETTERS[i] * size for i, size in enumerate(SIZES)], [*(LETTERS[: s + 1] for s in SIZES)]]
CASES = {
    "plain": PLAIN,
    "limits": LIMITS,
    "one word": [["cat"]],
    "empty rows": [[], ["cat", "at"], [], ["cat"], []],
    "all empty": [[], [], []],
    "an empty word": [["", "cat", ""], ["a"]],
    "many": [[LETTERS[i % 26] + LETTERS[i // 26] for i in range(n, 100)] for n in range(0, 99, 7)],
    "three blocks": [
        [a + b for a in LETTERS[:9] for b in LETTERS[:9]],
        [a + b + "cdef" for a in LETTERS[:9] for b in LETTERS[:9]],
        [a + "cdefghijk" for a in LETTERS],
    ],
    "a full block": [[LETTERS[i] for i in range(ROWS)]],
    "a full block and one": [[LETTERS[i] for i in range(ROWS + 1)]],
    "prefixes": [["a", "ab", "abc", "ba", "aba"], ["ab", "a"]],
    "unknown": [["a!b", "a?b", "!", "???"]],
}
cases = pytest.mark.parametrize("name", CASES)


def letters(word):
    """The ids of a word's characters, without what ends it."""
    return [ALPHABET.ids.get(c, UNK) for c in word]


def spelt(rows, alphabet=ALPHABET):
    return CharBatch.collate([alphabet.encode(row) for row in rows])


def listed(spellings):
    """What stands in all rows of all blocks, the filled-up ones too."""
    return [
        row[:length]
        for ids, lengths in spellings.blocks
        for row, length in zip(ids.tolist(), lengths.tolist(), strict=True)
    ]
