"""Words as character ids, with EOS behind each word."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Iterable
from pathlib import Path
from typing import ClassVar

import numpy as np

from zoo.errors import InputError
from zoo.files import read_json, write_text
from zoo.text.special_ids import EOS, SPECIALS, UNK

LONGEST = 32  # characters of a word; longer words lose their middle


class Alphabet:
    """Map characters to ids; 0..3 are PAD, UNK, BOS and EOS, as in every tokenizer."""

    kind: ClassVar[str] = "alphabet"
    suffix: ClassVar[str] = ".json"

    def __init__(self, characters: str) -> None:
        """Raises ValueError for a character that occurs twice."""
        if len(set(characters)) != len(characters):
            raise ValueError("an alphabet holds each character once")
        self.characters = characters
        self.ids = {character: i for i, character in enumerate(characters, len(SPECIALS))}

    @classmethod
    def load(cls, path: Path) -> Alphabet:
        """Load the alphabet from a file: its characters as one JSON string. Raises InputError."""
        characters = read_json(path)
        if not isinstance(characters, str):
            raise InputError(f"{path}: not an alphabet: a string of characters")
        try:
            return cls(characters)
        except ValueError as error:
            raise InputError(f"{path}: {error}") from None

    def save(self, path: Path) -> None:
        """Write the alphabet to a file."""
        write_text(path, json.dumps(self.characters, ensure_ascii=False) + "\n")

    def __len__(self) -> int:
        return len(SPECIALS) + len(self.ids)

    def encode(self, words: Iterable[str]) -> list[int]:
        """Return the character ids of all words in one list, with EOS after each word."""
        letters: list[int] = []
        for word in words:
            if len(word) > LONGEST:
                word = word[: LONGEST // 2] + word[-LONGEST // 2 :]
            letters += [self.ids.get(character, UNK) for character in word]
            letters.append(EOS)
        return letters

    def made_up(self, word: np.ndarray, random: np.ndarray) -> np.ndarray:
        """Return the ids of a made-up word, with EOS, of 12 random numbers from 0 below 1.

        It begins and goes on with letters of the same Unicode category as the first and the last
        letter of `word`; a third of them are UNK. A word without letters stays as it is.
        """
        known = [self.characters[i - len(SPECIALS)] for i in word if i >= len(SPECIALS)]
        if not known or not (known[0].isalpha() and known[-1].isalpha()):
            return np.append(word, EOS)
        length = 2 + int(random[0] * 9)
        drawn = [self._alike(known[0], random[1])]
        drawn += [self._alike(known[-1], number) for number in random[2 : 1 + length]]
        return np.array([*drawn, EOS], np.int64)

    def _alike(self, letter: str, number: float) -> int:
        """Return a letter of the same category, chosen by a number from 0 below 1, or UNK."""
        kind = unicodedata.category(letter)
        alike = [i for c, i in self.ids.items() if unicodedata.category(c) == kind]
        place = int(number * 1.5 * len(alike))
        return alike[place] if place < len(alike) else UNK

    def decode(self, letters: Iterable[int]) -> list[str]:
        """Return the words of character ids; an unknown character is U+FFFD."""
        words = [""]
        for letter in letters:
            if letter == EOS:
                words.append("")
            else:
                known = letter >= len(SPECIALS)
                words[-1] += self.characters[letter - len(SPECIALS)] if known else "\ufffd"
        return words[:-1] if words[-1] == "" else words
