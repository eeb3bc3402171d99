"""Words as character ids: each distinct word of a batch once, in blocks of similar length."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from zoo.errors import InputError
from zoo.files import read_json, write_text
from zoo.text.special_ids import EOS, PAD, SPECIALS, UNK

LONGEST = 32  # characters of a word; longer words lose their middle
SIZES = (4, 8, 12, 16, 24, LONGEST)  # the widths of a block, in characters
FEWEST = 64  # words of a block, except the last: every block takes time, however few its words
LETTER = 4  # bytes of a character's id
ROWS = 16  # a block is padded to a multiple of this: each new shape compiles kernels


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


@dataclass(frozen=True)
class CharBatch:
    """The distinct words of a batch as character ids, in blocks of similar length."""

    blocks: tuple[tuple[Tensor, Tensor], ...]  # ids (words, characters), lengths (words,)
    word_index: Tensor  # (batch, time) int64: index of each step's word, counted over all blocks

    @classmethod
    def collate(cls, rows: Sequence[Any]) -> CharBatch:
        """Build the batch from rows that `Alphabet.encode` returned."""
        known: dict[bytes, int] = {}
        word_numbers = [
            [known.setdefault(word, len(known)) for word in _words(np.asarray(row, np.int32))]
            for row in rows
        ]
        words = [*known]
        lengths = np.array([len(word) for word in words], np.int64) // LETTER
        by_length = np.argsort(lengths, kind="stable")
        rank = np.zeros(max(1, len(words)), np.int64)  # word number -> position in the blocks
        blocks = []
        filled = 0
        for longest, chosen in _grouped(by_length, lengths[by_length]):
            blocks.append(_block([words[i] for i in chosen], longest))
            rank[chosen] = filled + np.arange(len(chosen))
            filled += len(blocks[-1][1])
        word_index = np.zeros((len(rows), max(1, *map(len, word_numbers))), np.int64)
        for row, numbers in enumerate(word_numbers):
            word_index[row, : len(numbers)] = rank[numbers]
        return cls(tuple(blocks), torch.from_numpy(word_index))

    def to(self, device: torch.device, non_blocking: bool = False) -> CharBatch:
        """Copy all but the lengths to a device."""
        blocks = tuple((ids.to(device, non_blocking=non_blocking), n) for ids, n in self.blocks)
        return CharBatch(blocks, self.word_index.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> CharBatch:
        """Copy all but the lengths to pinned memory."""
        blocks = tuple((ids.pin_memory(), lengths) for ids, lengths in self.blocks)
        return CharBatch(blocks, self.word_index.pin_memory())


def _grouped(order: np.ndarray, lengths: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """Yield each block's width and the words of `order` that fit it; at least one block.

    Fewer than FEWEST words join the next wider block.
    """
    start = 0
    for longest in SIZES:
        end = int(np.searchsorted(lengths, longest, side="right"))
        if end == len(order) or end - start >= FEWEST:
            yield longest, order[start:end]
            start = end
        if end == len(order):
            return


def _words(letters: np.ndarray) -> Iterable[bytes]:
    """Yield the bytes of each word of an encoded row, without EOS."""
    row = letters.tobytes()
    start = 0
    for end in (np.flatnonzero(letters == EOS) * LETTER).tolist():
        yield row[start:end]
        start = end + LETTER


def _block(words: Sequence[bytes], longest: int) -> tuple[Tensor, Tensor]:
    """Return ids (words, characters) and lengths (words,), with rows padded up to ROWS."""
    count = -(-max(1, len(words)) // ROWS) * ROWS
    ids = np.full((count, longest), PAD, np.int64)
    lengths = np.zeros(count, np.int64)
    lengths[: len(words)] = [len(word) // LETTER for word in words]
    real = np.arange(longest) < lengths[:, None]  # (words, characters)
    ids[real] = np.frombuffer(b"".join(words), np.int32)
    return torch.from_numpy(ids), torch.from_numpy(lengths)
