"""The models of the tutorials, which the benchmarks compare with ours."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from zoo.data.batch import Batch
from zoo.text.special_ids import BOS, PAD


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
        """Return logits (batch, labels)."""
        embedded = self.embedding(batch.inputs)
        packed = pack_padded_sequence(
            embedded, batch.lengths, batch_first=True, enforce_sorted=False
        )
        _, (h_n, _) = self.lstm(packed)
        return self.head(self.dropout(torch.cat([h_n[-2], h_n[-1]], -1)))


def packed_step(model: nn.Module, optimizer: torch.optim.Optimizer, batch: Batch) -> None:
    """Take one training step in fp32: forward, backward, clip, Adam."""
    assert batch.targets is not None
    optimizer.zero_grad()
    F.cross_entropy(model(batch).flatten(0, -2), batch.targets.flatten()).backward()
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


class StepwiseTranslator(nn.Module):
    """A packed bidirectional encoder, and a decoder with input feeding (Luong et al. 2015).

    The decoder runs one step after the other, as toolkits and tutorials write it. Input feeding
    gives each step the attentional vector of the step before.
    """

    def __init__(self, vocabulary: int, embedding: int, hidden: int, size: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, embedding, padding_idx=PAD)
        self.encoder = nn.LSTM(embedding, hidden, batch_first=True, bidirectional=True)
        self.bridge_h, self.bridge_c = nn.Linear(2 * hidden, size), nn.Linear(2 * hidden, size)
        self.decoder = nn.LSTM(2 * embedding, size, batch_first=True)
        self.key = nn.Linear(2 * hidden, size, bias=False)
        self.mix = nn.Linear(2 * hidden + size, embedding)
        self.dropout = nn.Dropout(0.3)
        self.head = nn.Linear(embedding, vocabulary)

    def read(self, batch: Batch) -> tuple[Tensor, Tensor, tuple[Tensor, Tensor]]:
        """Return the encoder's output (batch, read, 2 * hidden), its padding, the decoder's state."""
        packed = pack_padded_sequence(
            self.embedding(batch.inputs), batch.lengths, batch_first=True, enforce_sorted=False
        )
        packed, (h_n, c_n) = self.encoder(packed)
        output, _ = pad_packed_sequence(packed, batch_first=True)
        h_0 = self.bridge_h(torch.cat([*h_n], -1)).tanh().unsqueeze(0)
        c_0 = self.bridge_c(torch.cat([*c_n], -1)).unsqueeze(0)
        return output, batch.inputs == PAD, (h_0, c_0)

    def step(
        self,
        ids: Tensor,
        fed: Tensor,
        state: tuple[Tensor, Tensor],
        output: Tensor,
        padding: Tensor,
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """Return the vector (batch, 1, embedding) and the state after one token, ids (batch, 1)."""
        x = torch.cat([self.embedding(ids), fed], -1)
        h, state = self.decoder(x, state)  # (batch, 1, size)
        scores = h @ self.key(output).transpose(1, 2)  # (batch, 1, read)
        weights = scores.masked_fill(padding.unsqueeze(1), -torch.inf).softmax(-1)
        context = weights @ output
        return self.dropout(self.mix(torch.cat([context, h], -1)).tanh()), state

    def forward(self, batch: Batch) -> Tensor:
        """Return teacher-forced logits (batch, written, vocabulary)."""
        assert batch.targets is not None
        output, padding, state = self.read(batch)
        before = F.pad(batch.targets[:, :-1].clamp(min=PAD), (1, 0), value=BOS)
        fed = output.new_zeros(len(before), 1, self.mix.out_features)
        vectors = []
        for column in before.split(1, 1):
            fed, state = self.step(column, fed, state, output, padding)
            vectors.append(fed)
        return self.head(torch.cat(vectors, 1))

    @torch.no_grad()
    def greedy(self, batch: Batch, length: int) -> list[int]:
        """Return `length` greedy tokens for a batch of one row."""
        output, padding, state = self.read(batch)
        ids = batch.inputs.new_full((1, 1), BOS)
        fed = output.new_zeros(1, 1, self.mix.out_features)
        written = []
        for _ in range(length):
            fed, state = self.step(ids, fed, state, output, padding)
            ids = self.head(fed).argmax(-1)
            written.append(int(ids))
        return written


class WordLanguageModel(nn.Module):
    """torch's word_language_model example: embedding -> nn.LSTM -> linear -> log_softmax.

    It has a dropout of 0.2 between all of them. Time comes first.
    """

    def __init__(self, vocabulary: int, size: int, layers: int) -> None:
        super().__init__()
        self.drop = nn.Dropout(0.2)
        self.encoder = nn.Embedding(vocabulary, size)
        self.rnn = nn.LSTM(size, size, layers, dropout=0.2)
        self.decoder = nn.Linear(size, vocabulary)

    def forward(
        self, ids: Tensor, state: tuple[Tensor, Tensor] | None
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """Return log-probabilities (time * batch, vocabulary) after ids (time, batch), and the state."""
        output, state = self.rnn(self.drop(self.encoder(ids)), state)
        decoded = self.decoder(self.drop(output))
        return F.log_softmax(decoded.view(-1, decoded.size(-1)), dim=1), state

    def learn(
        self, ids: Tensor, target: Tensor, state: tuple[Tensor, Tensor] | None, rate: float
    ) -> tuple[Tensor, Tensor]:
        """Train on one window (time, batch) as the example does: SGD by hand, clipped, in fp32.

        Returns the state after the window.
        """
        self.train()
        self.zero_grad()
        if state is not None:
            state = (state[0].detach(), state[1].detach())
        logs, state = self(ids, state)
        F.nll_loss(logs, target.flatten()).backward()
        nn.utils.clip_grad_norm_(self.parameters(), 0.25)
        with torch.no_grad():
            for weight in self.parameters():
                assert weight.grad is not None
                weight.add_(weight.grad, alpha=-rate)
        return state

    @torch.no_grad()
    def draw(self, batch: int, count: int) -> Tensor:
        """Sample ids (count, batch), one token after the other."""
        self.eval()
        device = self.decoder.weight.device
        state = None
        drawn = []
        ids = torch.full((1, batch), BOS, device=device)
        for _ in range(count):
            logs, state = self(ids, state)
            ids = logs.exp().multinomial(1).view(1, batch)
            drawn.append(ids)
        return torch.cat(drawn)
