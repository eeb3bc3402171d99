"""Decoder: an LSTM or a GRU that writes text from an initial state and, with attention, from a memory."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from zoo.nn.attention import Attention, AttentionKind, Memory
from zoo.nn.backbone import Backbone
from zoo.nn.output_layer import OutputLayer, at_least_float32
from zoo.rnn.dropout import dropout as apply_dropout
from zoo.rnn.matmul import compute_dtype
from zoo.rnn.stack import State
from zoo.text.special_ids import BOS, PAD, UNK

ROUNDED = 16  # see `DecoderStepModel._spare`


class DecoderState(NamedTuple):
    """The state of a decoder after a token."""

    h: Tensor  # (layers, batch, hidden)
    c: Tensor | None  # (layers, batch, hidden); None of a GRU
    fed_vector: Tensor | None  # (batch, size): the previous step's vector, with input feeding

    @property
    def of_backbone(self) -> State:
        """The part of the state that the recurrent layer reads: h and c, of a GRU h alone."""
        return (self.h,) if self.c is None else (self.h, self.c)

    def select(self, rows: Tensor) -> DecoderState:
        """Return the state of the rows with these indices (kept,)."""
        cell = None if self.c is None else self.c[:, rows]
        fed = None if self.fed_vector is None else self.fed_vector[rows]
        return DecoderState(self.h[:, rows], cell, fed)


class Decoder(nn.Module):
    """Vectors of the tokens so far -> LSTM -> attention -> one vector for the next token.

        vector = tanh(M [context; h])           (Luong et al. 2015), tanh(M h) without attention

    Without input feeding all steps of all rows go through the LSTM in one call, then through the
    attention in one product. With it, a step's vector is part of the next step's input. The steps
    are then computed one after the other, which is several times slower, and every dropout mask is
    drawn anew at each step.
    """

    def __init__(
        self,
        encoder: Backbone,
        hidden_size: int,
        attention: AttentionKind | Literal["none"] = "none",
        input_feeding: bool = False,
        dropout: float = 0.0,
    ) -> None:
        """Take the options of `encoder`, which reads ids, except for those given here.

        The vectors have the size of its embeddings. `dropout` applies to the vectors.
        """
        super().__init__()
        assert encoder.embedding is not None
        self.size = encoder.embedding.embedding_dim
        self.input_feeding = input_feeding
        self.dropout = dropout
        read = encoder.output_size
        config = replace(
            encoder.config,
            vocabulary_size=None,
            input_size=self.size * (2 if input_feeding else 1),
            hidden_size=hidden_size,
            bidirectional=False,
            learned_state=False,
        )
        self.backbone = Backbone(config)
        self.attention = None if attention == "none" else Attention(attention, hidden_size, read)
        self.mix = nn.Linear(hidden_size + (0 if self.attention is None else read), self.size)

    def start(self, h_0: Tensor, c_0: Tensor | None = None) -> DecoderState:
        """Return the state before the first token, from h_0 and c_0 (layers, batch, hidden).

        A GRU has no c_0. The state has the dtype of the decoder's weights.
        """
        kind = self.mix.weight.dtype  # the layer takes a state in the dtype of its weights
        h_0, c_0 = h_0.to(kind), None if c_0 is None else c_0.to(kind)
        fed = h_0.new_zeros(h_0.size(1), self.size) if self.input_feeding else None
        return DecoderState(h_0, c_0, fed)

    def forward(
        self, embedded: Tensor, state: DecoderState, memory: Memory | None
    ) -> tuple[Tensor, Tensor | None]:
        """Read all steps of embedded (batch, written, size), as in training.

        Returns vectors (batch, written, size) and the attention's weights (batch, written, read),
        None without attention.
        """
        if not self.input_feeding:
            encoded = self.backbone(embedded, state=state.of_backbone)
            return self._attend(encoded.output, memory)
        vectors, weights = [], []
        for step in embedded.unbind(1):  # (batch, size)
            vector, seen, state = self.step(step.unsqueeze(1), state, memory)
            vectors.append(vector)
            weights.append(seen)
        looked = [seen for seen in weights if seen is not None]
        return torch.cat(vectors, 1), torch.cat(looked, 1) if looked else None

    def step(
        self, embedded: Tensor, state: DecoderState, memory: Memory | None
    ) -> tuple[Tensor, Tensor | None, DecoderState]:
        """Read one more token of each prefix: embedded (texts, prefixes, size).

        The state has a row for each prefix of each text, the memory one for each text. Returns
        vectors (texts, prefixes, size), weights (texts, prefixes, read) and the new state.
        """
        x = embedded.flatten(0, 1).unsqueeze(1)  # (texts * prefixes, 1, size)
        if state.fed_vector is not None:
            x = torch.cat([x, state.fed_vector.unsqueeze(1).to(x.dtype)], -1)
        encoded = self.backbone(x, state=state.of_backbone)
        vectors, weights = self._attend(encoded.output.view(*embedded.shape[:2], -1), memory)
        fed = vectors.flatten(0, 1) if self.input_feeding else None
        return vectors, weights, DecoderState(encoded.h_n, encoded.c_n, fed)

    def _attend(self, output: Tensor, memory: Memory | None) -> tuple[Tensor, Tensor | None]:
        """Return vectors and attention weights for output (batch, steps, hidden)."""
        weights = None
        if self.attention is not None:
            assert memory is not None
            context, weights = self.attention(output, memory)
            output = torch.cat([context.to(output.dtype), output], -1)
        vectors = self.mix(output).tanh()
        return apply_dropout(vectors, self.dropout, self.training), weights


class DecoderStepModel:
    """A decoder as a `zoo.generation.step_model.StepModel`.

    The memory is computed once. Later steps only reorder it and the states.
    """

    def __init__(
        self,
        decoder: Decoder,
        state: DecoderState,
        memory: Memory | None,
        tokens: OutputLayer,
        encoder: Backbone,
    ) -> None:
        """`encoder` is the backbone that `tokens` may be tied to."""
        self.decoder = decoder
        self.state = state
        self.memory = memory
        self.tokens = tokens
        self.encoder = encoder
        self.width = 1  # the number of prefixes of each text
        self.texts = state.h.size(1)
        self.spare = 0  # texts behind them that are computed in vain, see `_spare`

    def step(self, ids: Tensor) -> Tensor:
        """Return log-probabilities (texts, prefixes, vocabulary) after ids (texts, prefixes)."""
        self.width = ids.size(1)
        if self.spare:
            ids = _with_spare(ids, self.spare)
        embedded = self.tokens.embed(ids, self.encoder)
        vectors, _, self.state = self.decoder.step(embedded, self.state, self.memory)
        found = at_least_float32(self.tokens(vectors, self.encoder)).log_softmax(-1)
        found[..., [PAD, UNK, BOS]] = -torch.inf  # never written; the others are not renormalised
        return found[: self.texts]

    def reorder(self, texts: Tensor, prefixes: Tensor) -> None:
        """Continue with these texts, and with these prefixes of each."""
        fewer = len(texts) < self.texts
        self.spare = self._spare(len(texts))
        self.texts = len(texts)
        if self.spare:
            texts, prefixes = (_with_spare(each, self.spare) for each in (texts, prefixes))
        if self.memory is not None and fewer:
            self.memory = self.memory.select(texts)
        self.state = self.state.select((texts.unsqueeze(1) * self.width + prefixes).flatten())

    def _spare(self, texts: int) -> int:
        """Return how many texts to compute in vain, so that `texts` is a multiple of ROUNDED.

        In bf16 on a CPU oneDNN makes kernels for each number of rows, and keeps their code: every
        validation of a translator took 20 to 50 MB more, as texts end in ever other numbers.
        """
        h = self.state.h
        if not texts or h.device.type != "cpu" or compute_dtype(h) != torch.bfloat16:
            return 0
        return min(-texts % ROUNDED, self.texts + self.spare - texts)


def _with_spare(rows: Tensor, count: int) -> Tensor:
    """Return rows (n, …), with the last one `count` times more."""
    return torch.cat((rows, rows[-1:].expand(count, *rows.shape[1:])))
