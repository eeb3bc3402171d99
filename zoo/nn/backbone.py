"""Backbone: ids or features -> output, h_n, c_n. One class, shared by all tasks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from zoo.config import Count, Share
from zoo.nn import token_dropout
from zoo.rnn.dropout import locked_dropout as apply_locked_dropout
from zoo.rnn.dropout import types as drop_types
from zoo.rnn.lstm import LSTM
from zoo.text.special_ids import PAD


@dataclass(frozen=True)
class Encoded:
    """The results of an LSTM. Tasks differ in which of the three they use."""

    output: Tensor  # (batch, time, directions * hidden): the top layer's h at every step
    h_n: Tensor  # (layers * directions, batch, hidden): h after each row's last step
    c_n: Tensor  # (layers * directions, batch, hidden): the cell after each row's last step
    lengths: Tensor  # (batch,): real steps of each row; output is zero beyond


class Backbone(nn.Module):
    """An embedding and an LSTM.

    Give `vocabulary_size` for ids, or `input_size` for float features. All dropout masks are drawn
    outside the fused kernel:

    word_dropout: this share of the tokens becomes UNK.
    embedding_dropout: this share of the vocabulary's vectors is zero.
    input_dropout: this share of the LSTM's input features is zero, the same ones at every step of
        a row (locked dropout).
    dropout, output_dropout, weight_dropout: between layers, on the last layer's `output`, and on
        the recurrent weights.

    `zoo.LSTM` describes these three and the other options.
    """

    def __init__(
        self,
        vocabulary_size: Count | None = None,
        input_size: Count | None = None,
        embedding_size: Count = 128,
        hidden_size: Count = 128,
        num_layers: Count = 1,
        bidirectional: bool = True,
        dropout: Share = 0.0,
        input_dropout: Share = 0.0,
        word_dropout: Share = 0.0,
        output_dropout: Share = 0.0,
        weight_dropout: Share = 0.0,
        locked_dropout: bool = False,
        layer_norm: bool = False,
        learned_state: bool = False,
        embedding_dropout: Share = 0.0,
    ) -> None:
        super().__init__()
        if (vocabulary_size is None) == (input_size is None):
            raise ValueError("a backbone reads ids or features: give vocabulary_size or input_size")
        self.options: dict[str, Any] = {
            "vocabulary_size": vocabulary_size,
            "input_size": input_size,
            "embedding_size": embedding_size,
            "hidden_size": hidden_size,
            "num_layers": num_layers,
            "bidirectional": bidirectional,
            "dropout": dropout,
            "input_dropout": input_dropout,
            "word_dropout": word_dropout,
            "output_dropout": output_dropout,
            "weight_dropout": weight_dropout,
            "locked_dropout": locked_dropout,
            "layer_norm": layer_norm,
            "learned_state": learned_state,
            "embedding_dropout": embedding_dropout,
        }
        self.embedding = None
        if vocabulary_size is not None:
            self.embedding = nn.Embedding(vocabulary_size, embedding_size, padding_idx=PAD)
        self.lstm = LSTM(
            input_size or embedding_size,
            hidden_size,
            num_layers,
            batch_first=True,
            dropout=dropout if num_layers > 1 else 0.0,
            bidirectional=bidirectional,
            layer_norm=layer_norm,
            weight_dropout=weight_dropout,
            locked_dropout=locked_dropout,
            output_dropout=output_dropout,
            learned_state=learned_state,
            forget_bias=1.0,
        )
        self.input_dropout = input_dropout
        self.word_dropout = word_dropout
        self.embedding_dropout = embedding_dropout
        self.reset_parameters()

    @property
    def output_size(self) -> int:
        """The size of one step of `output`: both directions concatenated."""
        return self.lstm.hidden_size * (2 if self.lstm.bidirectional else 1)

    def reset_parameters(self) -> None:
        """Draw new weights: orthogonal recurrence, and forget bias 1 (Jozefowicz et al. 2015)."""
        if self.embedding is not None:
            nn.init.normal_(self.embedding.weight, std=self.embedding.embedding_dim**-0.5)
            with torch.no_grad():
                self.embedding.weight[PAD] = 0
        for name, weight in self.lstm.named_parameters():
            if name.startswith("bias_"):
                nn.init.zeros_(weight)
            elif name.startswith("weight_hh"):
                for gate in weight.chunk(4):  # i, f, g, o
                    nn.init.orthogonal_(gate)
            elif name.startswith("weight_ih"):
                nn.init.xavier_uniform_(weight)
        self.lstm.set_forget_bias(1.0)

    def forward(
        self,
        x: Tensor,
        lengths: Tensor | None = None,
        state: tuple[Tensor, Tensor] | None = None,
    ) -> Encoded:
        """Read whole rows.

        x: ids (batch, time) int64, or float vectors (batch, time, size) of the embedding size or
        `input_size`. lengths: (batch,); None means all steps. state: h_0 and c_0, each
        (layers * directions, batch, hidden). Raises ValueError for ids outside the vocabulary.
        """
        x = self.embed_inputs(x)
        by_time = x.transpose(0, 1)  # (time, batch, size)
        x = apply_locked_dropout(by_time, self.input_dropout, self.training).transpose(0, 1)
        output, (h_n, c_n) = self.lstm(x, state, lengths)
        if lengths is None:
            lengths = torch.full((x.size(0),), x.size(1))
        return Encoded(output, h_n, c_n, lengths)

    def embed_inputs(self, x: Tensor) -> Tensor:
        """Return the LSTM's input (batch, time, size): embed ids, keep float vectors."""
        return x if self.embedding is None or x.is_floating_point() else self.embed(x)

    def embed(self, ids: Tensor, embedding: nn.Embedding | None = None) -> Tensor:
        """Return vectors (batch, time, embedding_size) of ids (batch, time).

        `embedding` replaces the backbone's own. Word and embedding dropout apply. Raises ValueError
        for ids outside the vocabulary; on CUDA the kernel asserts instead.
        """
        embedding = self.embedding if embedding is None else embedding
        assert embedding is not None
        checked = ids.device.type == "cpu" and not torch.compiler.is_exporting()
        if checked and ids.numel():  # on CUDA the kernel itself asserts
            low, high = (int(i) for i in ids.aminmax())
            if low < 0 or high >= embedding.num_embeddings:
                wrong = low if low < 0 else high
                raise ValueError(
                    f"id {wrong} is outside the vocabulary of {embedding.num_embeddings}"
                )
        ids = token_dropout.words(ids, self.word_dropout, self.training)
        vectors = embedding(ids)  # (batch, time, embedding_size)
        return drop_types(vectors, ids, embedding.weight, self.embedding_dropout, self.training)


@contextmanager
def once(backbone: Backbone) -> Iterator[list[Encoded]]:
    """In this context, the backbone reads equal ids only once. Yields the list of its passes."""
    passes: list[Encoded] = []
    known: dict[tuple, Encoded] = {}
    real = backbone.forward
    outer = backbone.__dict__.get("forward")

    def forward(x: Tensor, lengths: Tensor | None = None, state: Any = None) -> Encoded:
        if x.is_floating_point() or lengths is None or state is not None:
            passes.append(real(x, lengths, state))
            return passes[-1]
        key = x.shape, x.cpu().numpy().tobytes(), lengths.cpu().numpy().tobytes()
        if key not in known:
            known[key] = real(x, lengths)
            passes.append(known[key])
        return known[key]

    backbone.forward = forward  # type: ignore[method-assign]
    try:
        yield passes
    finally:
        del backbone.forward  # the class's own method is visible again
        if outer is not None:
            backbone.forward = outer  # type: ignore[method-assign]
