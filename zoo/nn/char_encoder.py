"""A character encoder: it makes vectors for words that were never seen in training.

A small LSTM reads a word's characters, as a classifier reads a document's words. The word's vector
comes from the final `h_n` of both directions. Each distinct word of a batch is read once.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from zoo.nn.backbone import Backbone, BackboneConfig
from zoo.option_classes import Count, Share
from zoo.text.characters import LONGEST
from zoo.text.special_ids import EOS, PAD

SIZES = (4, 8, 12, 16, 24, LONGEST)  # the widths of a block, in characters
FEWEST = 64  # words of a block, except the last: every block takes time, however few its words
LETTER = 4  # bytes of a character's id
ROWS = 16  # a block is padded to a multiple of this: each new shape compiles kernels


class CharEncoder(nn.Module):
    """Vectors of words from characters: final `h_n` of a small bidirectional LSTM -> linear."""

    def __init__(
        self,
        alphabet: int,
        embedding_size: Count,
        hidden_size: Count,
        size: Count,
        dropout: Share,
        cell: Literal["lstm", "gru"] = "lstm",
    ) -> None:
        """alphabet: the number of characters; size: that of the vectors.

        dropout: this share of the characters becomes UNK in training.
        """
        super().__init__()
        self.backbone = Backbone(
            BackboneConfig(
                vocabulary_size=alphabet,
                cell=cell,
                embedding_size=embedding_size,
                hidden_size=hidden_size,
                dropout=0.0,
                input_dropout=0.0,
                word_dropout=dropout,
            )
        )
        self.project = nn.Linear(self.backbone.output_size, size, bias=False)

    def forward(self, characters: CharBatch) -> Tensor:
        """Return word vectors (batch, time, size). Their values on padding have no meaning.

        A GPU reads all words as one block: there padding costs less than another block's launches.
        """
        blocks = (characters.joined(),) if characters.word_index.is_cuda else characters.blocks
        states = [self.backbone(ids, lengths).h_n for ids, lengths in blocks]
        merged = torch.cat([torch.cat([*h_n], -1) for h_n in states])  # (words, 2 * hidden)
        return nn.functional.embedding(characters.word_index, self.project(merged))


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

    def joined(self) -> tuple[Tensor, Tensor]:
        """Return all words as one block, as wide as the widest: ids and lengths, in their order."""
        widest = max(ids.size(1) for ids, _ in self.blocks)
        ids = [
            nn.functional.pad(each, (0, widest - each.size(1)), value=PAD)
            for each, _ in self.blocks
        ]
        return torch.cat(ids), torch.cat([lengths for _, lengths in self.blocks])

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
