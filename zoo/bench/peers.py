"""What the tutorials teach, written out to be measured against."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

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


class NaiveLSTM(nn.Module):
    """Eight Linear layers, called one by one at every step: x (time, batch, input) -> output."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.hidden_size = hidden_size
        self.from_input = nn.ModuleList(nn.Linear(input_size, hidden_size) for _ in range(4))
        self.from_hidden = nn.ModuleList(nn.Linear(hidden_size, hidden_size) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        h = c = x.new_zeros(x.size(1), self.hidden_size)
        outputs = []
        for step in x:
            i, f, g, o = (
                a(step) + b(h) for a, b in zip(self.from_input, self.from_hidden, strict=True)
            )
            c = f.sigmoid() * c + i.sigmoid() * g.tanh()
            h = o.sigmoid() * c.tanh()
            outputs.append(h)
        return torch.stack(outputs)


class LayerNormLSTM(nn.Module):
    """Two Linear layers and five LayerNorms at every step: x (time, batch, input) -> output."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.hidden_size = hidden_size
        self.from_input = nn.Linear(input_size, 4 * hidden_size, bias=False)
        self.from_hidden = nn.Linear(hidden_size, 4 * hidden_size)
        self.norms = nn.ModuleList(nn.LayerNorm(hidden_size) for _ in range(5))

    def forward(self, x: Tensor) -> Tensor:
        h = c = x.new_zeros(x.size(1), self.hidden_size)
        outputs = []
        for step in x:
            sums = (self.from_input(step) + self.from_hidden(h)).chunk(4, 1)
            i, f, g, o = (norm(part) for norm, part in zip(self.norms, sums, strict=False))
            c = f.sigmoid() * c + i.sigmoid() * g.tanh()
            h = o.sigmoid() * self.norms[4](c).tanh()
            outputs.append(h)
        return torch.stack(outputs)


class PackedLSTM(nn.Module):
    """torch's LSTM over packed rows: x (time, batch, input) and lengths -> padded output."""

    def __init__(self, lstm: nn.LSTM, lengths: Tensor) -> None:
        super().__init__()
        self.lstm, self.lengths = lstm, lengths

    def forward(self, x: Tensor) -> Tensor:
        packed = pack_padded_sequence(x, self.lengths, enforce_sorted=False)
        return pad_packed_sequence(self.lstm(packed)[0], total_length=len(x))[0]
