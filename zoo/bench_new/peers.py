"""The step that the tutorials teach, written out to be measured against. Used by `zoo.bench` only."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pack_padded_sequence

from zoo.batches import Batch


class PackedClassifier(nn.Module):
    """Embedding -> packed bidirectional nn.LSTM -> final h of both directions -> linear."""

    def __init__(
        self, vocabulary: int, embedding: int, hidden: int, layers: int, labels: int
    ) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, embedding, padding_idx=0)
        self.lstm = nn.LSTM(embedding, hidden, layers, batch_first=True, bidirectional=True)
        self.dropout = nn.Dropout(0.5)
        self.head = nn.Linear(2 * hidden, labels)

    def forward(self, batch: Batch) -> Tensor:
        """Logits (batch, labels)."""
        embedded = self.embedding(batch.ids)
        packed = pack_padded_sequence(
            embedded, batch.lengths, batch_first=True, enforce_sorted=False
        )
        _, (h_n, _) = self.lstm(packed)
        return self.head(self.dropout(torch.cat([h_n[-2], h_n[-1]], -1)))


def packed_step(model: nn.Module, optimizer: torch.optim.Optimizer, batch: Batch) -> None:
    """Forward, backward, clip, Adam: all of it in fp32."""
    assert batch.target is not None
    optimizer.zero_grad()
    F.cross_entropy(model(batch), batch.target).backward()
    nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
