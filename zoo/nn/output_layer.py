"""The tokens that a model writes: as vectors that go in, and as logits and a loss that come out."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.nn.backbone import Backbone
from zoo.nn.cross_entropy import linear_cross_entropy, linear_losses
from zoo.text.special_ids import PAD


class OutputLayer(nn.Module):
    """Ids -> vectors of the backbone's embedding size, and vectors (…, size) -> logits
    (…, vocabulary).

    Tied, logits compare a vector with the very embeddings of the tokens (Press and Wolf 2017; Inan
    et al. 2017): one matrix less to learn. What is written shares the backbone's embedding unless
    it has its `own`. The backbone is handed in at each call: a Parameter that stood in two modules
    could not be saved.
    """

    weight: Tensor | None

    def __init__(self, vocabulary: int, size: int, own: bool = False, tied: bool = True) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, size, padding_idx=PAD) if own else None
        if self.embedding is not None:
            nn.init.normal_(self.embedding.weight, std=size**-0.5)
            with torch.no_grad():
                self.embedding.weight[PAD] = 0
        scores = None if tied else nn.Parameter(torch.randn(vocabulary, size) * size**-0.5)
        self.register_parameter("weight", scores)
        self.bias = nn.Parameter(torch.zeros(vocabulary))

    def embed(self, ids: Tensor, backbone: Backbone) -> Tensor:
        """Vectors (batch, time, size) of ids (batch, time), after the backbone's word dropout."""
        return backbone.embed(ids, self.embedding)

    def forward(self, vectors: Tensor, backbone: Backbone) -> Tensor:
        """Logits (…, vocabulary) of vectors (…, size)."""
        return F.linear(vectors, self.output_weight(backbone), self.bias)

    def loss(
        self, vectors: Tensor, backbone: Backbone, target: Tensor, label_smoothing: float = 0.0
    ) -> Tensor:
        """Mean cross entropy of vectors (n, size) and target ids (n,)."""
        return linear_cross_entropy(
            at_least_float32(vectors),
            self.output_weight(backbone),
            self.bias,
            target,
            label_smoothing,
        )

    def losses(self, vectors: Tensor, backbone: Backbone, target: Tensor) -> Tensor:
        """The cross entropy of each of vectors (n, size) and target ids (n,), without gradient."""
        return linear_losses(
            at_least_float32(vectors), self.output_weight(backbone), self.bias, target
        )

    def output_weight(self, backbone: Backbone) -> Tensor:
        """What vectors are compared with (vocabulary, size)."""
        if self.weight is not None:
            return self.weight
        embedding = self.embedding if self.embedding is not None else backbone.embedding
        assert embedding is not None
        return embedding.weight


def at_least_float32(vectors: Tensor) -> Tensor:
    """Vectors in float32 at least: sums over them are taken in that."""
    return vectors.to(torch.promote_types(vectors.dtype, torch.float32))
