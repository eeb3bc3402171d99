"""Backbone: ids or features -> output, h_n and, of an LSTM, c_n. One class, shared by all tasks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal, cast

import torch
from pydantic import Field
from torch import Tensor, nn

from zoo.nn import token_dropout
from zoo.option_classes import Count, Share, Size, checked_dataclass
from zoo.rnn.dropout import locked_dropout as apply_locked_dropout
from zoo.rnn.dropout import types as drop_types
from zoo.rnn.gru.gru import GRU
from zoo.rnn.lstm import LSTM
from zoo.rnn.stack import State
from zoo.text.special_ids import PAD


@dataclass(frozen=True)
class Encoded:
    """The results of an LSTM or a GRU. Tasks differ in which of them they use.

    >>> import torch, zoo
    >>> backbone = zoo.Backbone(zoo.BackboneConfig(vocabulary_size=100, hidden_size=16))
    >>> encoded = backbone(torch.tensor([[5, 6, 7], [8, 9, 0]]), torch.tensor([3, 2]))
    >>> encoded.output.shape, encoded.h_n.shape  # both directions, at three steps and at the end
    (torch.Size([2, 3, 32]), torch.Size([2, 2, 16]))
    """

    output: Tensor  # (batch, time, directions * hidden): the top layer's h at every step
    h_n: Tensor  # (layers * directions, batch, hidden): h after each row's last step
    c_n: Tensor | None  # the cell after each row's last step, as h_n; None of a GRU: it has no cell
    lengths: Tensor  # (batch,): real steps of each row; output is zero beyond

    @property
    def state(self) -> State:
        """What the recurrent layer needs to read on: h_n and c_n, of a GRU h_n alone."""
        return (self.h_n,) if self.c_n is None else (self.h_n, self.c_n)


@checked_dataclass
class BackboneConfig:
    """The options of a backbone. A run takes the same defaults, unless a recipe sets others.

    All dropout masks are drawn outside the fused kernel. `zoo.LSTM` describes the options of the
    LSTM at length. Raises InputError, a ValueError, for a value of a wrong type or range.

    >>> import zoo
    >>> zoo.BackboneConfig(vocabulary_size=100, num_layers=2).bidirectional
    True
    >>> zoo.BackboneConfig(hidden_size=0)
    Traceback (most recent call last):
    zoo.errors.InputError: backbone.hidden_size=0: Input should be greater than or equal to 1
    """

    section: ClassVar[str] = "backbone"

    vocabulary_size: Count | None = None
    """Number of ids that it reads; None for float features."""

    input_size: Size | None = None
    """Number of features at each step; None for ids."""

    embedding_size: Size = 128
    """Size of the vectors of ids."""

    cell: Literal["lstm", "gru"] = "lstm"
    """The recurrent layer: LSTM, or GRU, which has no cell state c."""

    hidden_size: Size = 128
    """Size of h, and of an LSTM's c, in each direction."""

    num_layers: Annotated[int, Field(ge=1, le=64)] = 1
    """Recurrent layers."""

    bidirectional: bool = True
    """Whether it reads in both directions."""

    dropout: Share = 0.3
    """Dropout between layers."""

    input_dropout: Share = 0.2
    """Share of the recurrent layer's input features that are zero, the same ones at all steps of a row."""

    word_dropout: Share = 0.1
    """Share of the tokens that become <unk> in training."""

    embedding_dropout: Share = 0.0
    """Share of the vocabulary whose vectors are zero in a training step."""

    output_dropout: Share = 0.0
    """Dropout of the last layer's `output`."""

    weight_dropout: Share = 0.0
    """Share of the recurrent weights that are zero in a training step."""

    locked_dropout: bool = False
    """Whether dropout and output_dropout drop the same features at all steps of a row."""

    layer_norm: bool = False
    """Layer normalisation of the gates and the cell; of an LSTM only."""

    learned_state: bool = False
    """Whether the initial state is learned instead of zero."""

    def __post_init__(self) -> None:
        if self.layer_norm and self.cell == "gru":
            raise ValueError("layer_norm is an LSTM's: set cell=lstm or layer_norm=false")


GATES = {"lstm": 4, "gru": 3}  # matrices of a layer and direction


def count_parameters(config: BackboneConfig) -> int:
    """Return the number of weights of a backbone, without building it."""
    directions = 2 if config.bidirectional else 1
    hidden = config.hidden_size
    count = (config.vocabulary_size or 0) * config.embedding_size
    size = config.input_size or config.embedding_size
    for _ in range(config.num_layers):
        own = GATES[config.cell] * hidden * (size + hidden + 2)
        if config.layer_norm:
            own += 2 * 5 * hidden
        if config.learned_state:
            own += (2 if config.cell == "lstm" else 1) * hidden
        count += directions * own
        size = directions * hidden
    return count


def _options(config: BackboneConfig) -> dict[str, Any]:
    """Return the arguments that `zoo.LSTM` and `zoo.GRU` have in common."""
    return {
        "batch_first": True,
        "dropout": config.dropout if config.num_layers > 1 else 0.0,
        "bidirectional": config.bidirectional,
        "weight_dropout": config.weight_dropout,
        "locked_dropout": config.locked_dropout,
        "output_dropout": config.output_dropout,
        "learned_state": config.learned_state,
    }


class Backbone(nn.Module):
    """An embedding and an LSTM or a GRU. It reads ids, or float features without an embedding.

    >>> import torch, zoo
    >>> backbone = zoo.Backbone(zoo.BackboneConfig(input_size=3, hidden_size=16))
    >>> backbone(torch.randn(2, 7, 3)).output.shape  # (batch, time, both directions)
    torch.Size([2, 7, 32])
    """

    lstm: LSTM  # with cell=lstm
    gru: GRU  # with cell=gru

    def __init__(self, config: BackboneConfig) -> None:
        """Raises ValueError unless `config` has one of `vocabulary_size` and `input_size`."""
        super().__init__()
        self.config = config
        if (config.vocabulary_size is None) == (config.input_size is None):
            raise ValueError("a backbone reads ids or features: give vocabulary_size or input_size")
        self.embedding = None
        if config.vocabulary_size is not None:
            self.embedding = nn.Embedding(
                config.vocabulary_size, config.embedding_size, padding_idx=PAD
            )
        size, options = config.input_size or config.embedding_size, _options(config)
        if config.cell == "gru":
            self.gru = GRU(size, config.hidden_size, config.num_layers, **options)
        else:
            options |= {"layer_norm": config.layer_norm, "forget_bias": 1.0}
            self.lstm = LSTM(size, config.hidden_size, config.num_layers, **options)
        self.reset_parameters()

    @property
    def rnn(self) -> LSTM | GRU:
        """The recurrent layer, whose name in a state dict is that of its kind: `lstm` or `gru`."""
        return self.gru if self.config.cell == "gru" else self.lstm

    @property
    def output_size(self) -> int:
        """The size of one step of `output`: both directions concatenated."""
        return self.rnn.hidden_size * (2 if self.rnn.bidirectional else 1)

    def reset_parameters(self) -> None:
        """Draw new weights: orthogonal recurrence, in an LSTM forget bias 1 (Jozefowicz et al. 2015)."""
        if self.embedding is not None:
            nn.init.normal_(self.embedding.weight, std=self.embedding.embedding_dim**-0.5)
            with torch.no_grad():
                self.embedding.weight[PAD] = 0
        for name, weight in self.rnn.named_parameters():
            if name.startswith("bias_"):
                nn.init.zeros_(weight)
            elif name.startswith("weight_hh"):
                for gate in weight.chunk(GATES[self.config.cell]):  # i, f, g, o, or r, z, n
                    nn.init.orthogonal_(gate)
            elif name.startswith("weight_ih"):
                nn.init.xavier_uniform_(weight)
        if self.config.cell == "lstm":
            self.lstm.set_forget_bias(1.0)

    def forward(
        self,
        x: Tensor,
        lengths: Tensor | None = None,
        state: State | None = None,
    ) -> Encoded:
        """Read whole rows.

        x: ids (batch, time) int64, or float vectors (batch, time, size) of the embedding size or
        `input_size`. lengths: (batch,); None means all steps. state: h_0 and, of an LSTM, c_0, each
        (layers * directions, batch, hidden). Raises ValueError for ids outside the vocabulary.
        """
        x = self.embed_inputs(x)
        by_time = x.transpose(0, 1)  # (time, batch, size)
        x = apply_locked_dropout(by_time, self.config.input_dropout, self.training).transpose(0, 1)
        output, last = self.rnn(x, None if state is None else self.rnn.hx_of(state), lengths)
        if lengths is None:
            lengths = torch.full((x.size(0),), x.size(1))
        h_n, *cell = self.rnn.state_of(last)
        return Encoded(output, h_n, cell[0] if cell else None, lengths)

    def embed_inputs(self, x: Tensor) -> Tensor:
        """Return the recurrent layer's input (batch, time, size): embed ids, keep float vectors.

        Float vectors get the dtype of the weights, unless autocast chooses it.
        """
        if self.embedding is not None and not x.is_floating_point():
            return self.embed(x)
        kind = cast(Tensor, self.rnn.weight_hh_l0).dtype
        if x.dtype == kind or torch.is_autocast_enabled(x.device.type):
            return x
        return x.to(kind)

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
        ids = token_dropout.words(ids, self.config.word_dropout, self.training)
        vectors = embedding(ids)  # (batch, time, embedding_size)
        return drop_types(
            vectors, ids, embedding.weight, self.config.embedding_dropout, self.training
        )
