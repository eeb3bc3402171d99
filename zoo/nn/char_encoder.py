"""A character encoder: it makes vectors for words that were never seen in training.

A small LSTM reads a word's characters, as a classifier reads a document's words. The word's vector
comes from the final `h_n` of both directions. Each distinct word of a batch is read once.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from zoo.nn.backbone import Backbone, BackboneConfig
from zoo.option_classes import Count, Share
from zoo.text.characters import CharBatch


class CharEncoder(nn.Module):
    """Vectors of words from characters: final `h_n` of a small bidirectional LSTM -> linear."""

    def __init__(
        self, alphabet: int, embedding_size: Count, hidden_size: Count, size: Count, dropout: Share
    ) -> None:
        """alphabet: the number of characters; size: that of the vectors.

        dropout: this share of the characters becomes UNK in training.
        """
        super().__init__()
        self.backbone = Backbone(
            BackboneConfig(
                vocabulary_size=alphabet,
                embedding_size=embedding_size,
                hidden_size=hidden_size,
                dropout=0.0,
                input_dropout=0.0,
                word_dropout=dropout,
            )
        )
        self.project = nn.Linear(self.backbone.output_size, size, bias=False)

    def forward(self, characters: CharBatch) -> Tensor:
        """Return word vectors (batch, time, size). Their values on padding have no meaning."""
        states = [self.backbone(ids, lengths).h_n for ids, lengths in characters.blocks]
        merged = torch.cat([torch.cat([*h_n], -1) for h_n in states])  # (words, 2 * hidden)
        return nn.functional.embedding(characters.word_index, self.project(merged))
