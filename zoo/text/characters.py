"""Words as ids of their characters: each distinct word of a batch once, in blocks of like length."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from zoo.text.special_ids import EOS, PAD, SPECIALS, UNK

LONGEST = 32  # characters; of longer words the middle is left out
SIZES = (4, 8, 12, 16, 24, LONGEST)  # characters of the words in a block, at most
FEWEST = 64  # words of a block, unless it is the last: each takes its time, however few they are
LETTER = 4  # bytes of a character's id
ROWS = 16  # a block's words are filled up to a multiple: kernels are prepared for each new shape


class Alphabet:
    """Characters to ids; 0..3 are PAD, UNK, BOS and EOS, as in every tokenizer."""

    def __init__(self, characters: str) -> None:
        self.ids = {character: i for i, character in enumerate(characters, len(SPECIALS))}

    def __len__(self) -> int:
        return len(SPECIALS) + len(self.ids)

    def encode(self, words: Iterable[str]) -> list[int]:
        """The characters of all words in a row, EOS behind each word."""
        letters: list[int] = []
        for word in words:
            if len(word) > LONGEST:
                word = word[: LONGEST // 2] + word[-LONGEST // 2 :]
            letters += [self.ids.get(character, UNK) for character in word]
            letters.append(EOS)
        return letters


@dataclass(frozen=True)
class CharBatch:
    """The distinct words of a batch, in characters. Words of like length stand in a block."""

    blocks: tuple[tuple[Tensor, Tensor], ...]  # ids (words, characters), lengths (words,)
    word_index: Tensor  # (batch, time) int64: which of all blocks' words stands at a step

    @classmethod
    def collate(cls, rows: Sequence[Any]) -> CharBatch:
        """From what `Alphabet.encode` made of each row."""
        known: dict[bytes, int] = {}
        places = [
            [known.setdefault(word, len(known)) for word in _words(np.asarray(row, np.int32))]
            for row in rows
        ]
        words = [*known]
        lengths = np.array([len(word) for word in words], np.int64) // LETTER
        by_length = np.argsort(lengths, kind="stable")
        rank = np.zeros(max(1, len(words)), np.int64)  # of each known word, its place in the blocks
        blocks, filled = [], 0
        for longest, chosen in _grouped(by_length, lengths[by_length]):
            blocks.append(_block([words[i] for i in chosen], longest))
            rank[chosen] = filled + np.arange(len(chosen))
            filled += len(blocks[-1][1])
        place = np.zeros((len(rows), max(1, *map(len, places))), np.int64)
        for row, some in enumerate(places):
            place[row, : len(some)] = rank[some]
        return cls(tuple(blocks), torch.from_numpy(place))

    def to(self, device: torch.device, non_blocking: bool = False) -> CharBatch:
        """On a device, but for the lengths."""
        blocks = tuple((ids.to(device, non_blocking=non_blocking), n) for ids, n in self.blocks)
        return CharBatch(blocks, self.word_index.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> CharBatch:
        """In pinned memory, but for the lengths."""
        blocks = tuple((ids.pin_memory(), lengths) for ids, lengths in self.blocks)
        return CharBatch(blocks, self.word_index.pin_memory())


def _grouped(order: np.ndarray, lengths: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """A size and those of `order` that are at most as long; where they are few, they stand with
    longer ones. At least one group."""
    start = 0
    for longest in SIZES:
        end = int(np.searchsorted(lengths, longest, side="right"))
        if end == len(order) or end - start >= FEWEST:
            yield longest, order[start:end]
            start = end
        if end == len(order):
            return


def _words(letters: np.ndarray) -> Iterable[bytes]:
    row, start = letters.tobytes(), 0
    for end in (np.flatnonzero(letters == EOS) * LETTER).tolist():
        yield row[start:end]
        start = end + LETTER


def _block(words: Sequence[bytes], longest: int) -> tuple[Tensor, Tensor]:
    count = -(-max(1, len(words)) // ROWS) * ROWS
    ids, lengths = np.full((count, longest), PAD, np.int64), np.zeros(count, np.int64)
    lengths[: len(words)] = [len(word) // LETTER for word in words]
    real = np.arange(longest) < lengths[:, None]  # (words, characters)
    ids[real] = np.frombuffer(b"".join(words), np.int32)
    return torch.from_numpy(ids), torch.from_numpy(lengths)
