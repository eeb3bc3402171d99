"""The tagger of the tutorials, which the benchmark compares with ours."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from zoo.data.batch import Batch
from zoo.nn.char_encoder import CharBatch
from zoo.text.characters import LONGEST
from zoo.text.special_ids import PAD


@dataclass(frozen=True)
class Spelt:
    """A batch as tutorials lay it out: the characters of every word, row after row."""

    inputs: Tensor  # (batch, time) ids
    lengths: Tensor  # (batch,)
    letters: Tensor  # (words, characters)
    letter_lengths: Tensor  # (words,)
    targets: Tensor | None

    @classmethod
    def of(cls, batch: Batch) -> Spelt:
        """Lay out a batch of a tagger that reads words by character."""
        characters: CharBatch = batch.extras["characters"]
        padded = [
            (F.pad(ids, (0, LONGEST - ids.size(1)), value=PAD), n) for ids, n in characters.blocks
        ]
        table, sizes = (torch.cat(parts) for parts in zip(*padded, strict=True))
        real = torch.arange(batch.inputs.size(1)) < batch.lengths.unsqueeze(1)
        words = characters.word_index[real]
        lengths = sizes[words]
        letters = table[words][:, : int(lengths.max())]
        return cls(batch.inputs, batch.lengths, letters, lengths, batch.targets)

    def to(self, device: torch.device) -> Spelt:
        targets = None if self.targets is None else self.targets.to(device)
        inputs = self.inputs.to(device)
        return replace(self, inputs=inputs, letters=self.letters.to(device), targets=targets)


class PackedTagger(nn.Module):
    """Word embedding + character encoder -> packed bidirectional nn.LSTM -> linear.

    The character encoder projects the final h of a packed bidirectional nn.LSTM over a word's
    characters to the size of the embedding.
    """

    def __init__(
        self,
        vocabulary: int,
        embedding: int,
        hidden: int,
        layers: int,
        characters: int,
        character_embedding: int,
        character_hidden: int,
        labels: int,
    ) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, embedding, padding_idx=PAD)
        self.characters = nn.Embedding(characters, character_embedding, padding_idx=PAD)
        both = {"batch_first": True, "bidirectional": True}
        self.speller = nn.LSTM(character_embedding, character_hidden, **both)
        self.mix = nn.Linear(2 * character_hidden, embedding)
        self.lstm = nn.LSTM(embedding, hidden, layers, **both)
        self.dropout = nn.Dropout(0.5)
        self.head = nn.Linear(2 * hidden, labels)

    def forward(self, batch: Spelt) -> Tensor:
        """Return logits (batch, time, labels)."""
        _, (h_n, _) = self.speller(_packed(self.characters(batch.letters), batch.letter_lengths))
        spelt = self.mix(torch.cat([h_n[-2], h_n[-1]], -1))  # (words, embedding)
        x = self.embedding(batch.inputs)
        real = torch.arange(x.size(1), device=x.device) < batch.lengths.to(x.device).unsqueeze(1)
        x = x + torch.zeros_like(x).masked_scatter(real.unsqueeze(-1), spelt)
        output, _ = pad_packed_sequence(self.lstm(_packed(x, batch.lengths))[0], batch_first=True)
        return self.head(self.dropout(output))


def _packed(x: Tensor, lengths: Tensor) -> PackedSequence:
    return pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
