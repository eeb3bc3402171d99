"""Words as characters: what can be said of a word that was never seen.

A word is to its characters what a document is to its words: one vector that has read all of it, the
final `h_n` of both directions. A batch's distinct words are read once each.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from zoo.config import Count, Share
from zoo.nn.backbone import Backbone
from zoo.text.characters import CharBatch


class CharEncoder(nn.Module):
    """Vectors of words from their characters: merged final `h_n` of a small LSTM -> linear."""

    def __init__(
        self, alphabet: int, embedding_size: Count, hidden_size: Count, size: Count, dropout: Share
    ) -> None:
        """`alphabet`: how many characters; `size` of the vectors; `dropout`: share of the characters
        that become UNK in training."""
        super().__init__()
        self.backbone = Backbone(
            alphabet, embedding_size=embedding_size, hidden_size=hidden_size, word_dropout=dropout
        )
        self.project = nn.Linear(self.backbone.output_size, size, bias=False)

    def forward(self, spellings: CharBatch) -> Tensor:
        """(batch, time, size); what stands on padding is of no word in particular."""
        read = [self.backbone(ids, lengths).h_n for ids, lengths in spellings.blocks]
        merged = torch.cat([torch.cat([*h_n], -1) for h_n in read])  # (words, 2 * hidden)
        return nn.functional.embedding(spellings.word_index, self.project(merged))
