"""Output layers: of a model that writes tokens, and of a linear bag of n-grams."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.nn.backbone import Backbone
from zoo.nn.losses.cross_entropy import linear_cross_entropy, linear_losses
from zoo.text.special_ids import PAD


class OutputLayer(nn.Module):
    """Map ids to vectors (…, size), and vectors (…, size) to logits (…, vocabulary).

    `tied`: the output matrix is the embedding (Press and Wolf 2017; Inan et al. 2017), which saves
    one matrix. `own`: the layer has an embedding of its own; otherwise it uses the backbone's. The
    backbone is an argument of each call, because a Parameter in two modules could not be saved.
    """

    weight: Tensor | None

    def __init__(self, vocabulary: int, size: int, own: bool = False, tied: bool = True) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, size, padding_idx=PAD) if own else None
        if self.embedding is not None:
            nn.init.normal_(self.embedding.weight, std=size**-0.5)
            with torch.no_grad():
                self.embedding.weight[PAD] = 0
        weight = None if tied else nn.Parameter(torch.randn(vocabulary, size) * size**-0.5)
        self.register_parameter("weight", weight)
        self.bias = nn.Parameter(torch.zeros(vocabulary))

    def embed(self, ids: Tensor, backbone: Backbone) -> Tensor:
        """Return vectors (batch, time, size) of ids (batch, time), after the backbone's dropout."""
        return backbone.embed(ids, self.embedding)

    def forward(self, vectors: Tensor, backbone: Backbone) -> Tensor:
        """Return logits (…, vocabulary) of vectors (…, size)."""
        return self.join([F.linear(vectors, *part) for part in self.parts(backbone)])

    def parts(self, backbone: Backbone) -> list[tuple[Tensor, Tensor]]:
        """Return weight (rows, size) and bias (rows,) of each matrix product."""
        return [(self.output_weight(backbone), self.bias)]

    def join(self, products: Sequence[Tensor]) -> Tensor:
        """Return logits (…, vocabulary) from the product (…, rows) with each of `parts`."""
        return products[0]

    def loss(
        self, vectors: Tensor, backbone: Backbone, target: Tensor, label_smoothing: float = 0.0
    ) -> Tensor:
        """Return the mean cross entropy of vectors (n, size) and target ids (n,)."""
        return linear_cross_entropy(
            at_least_float32(vectors),
            self.output_weight(backbone),
            self.bias,
            target,
            label_smoothing,
        )

    def losses(self, vectors: Tensor, backbone: Backbone, target: Tensor) -> Tensor:
        """Return the cross entropies (n,) of vectors (n, size) and target ids (n,), no gradient."""
        return linear_losses(
            at_least_float32(vectors), self.output_weight(backbone), self.bias, target
        )

    def output_weight(self, backbone: Backbone) -> Tensor:
        """Return the output matrix (vocabulary, size)."""
        if self.weight is not None:
            return self.weight
        embedding = self.embedding if self.embedding is not None else backbone.embedding
        assert embedding is not None
        return embedding.weight


@dataclass(frozen=True)
class NgramBatch:
    """The n-grams of a batch of texts, as `torch.nn.EmbeddingBag` reads them."""

    ids: Tensor  # (n-grams of all texts,) int64
    offsets: Tensor  # (batch,) int64: where each text begins
    weights: Tensor  # (n-grams of all texts,) float32

    @classmethod
    def collate(cls, ids: Sequence[np.ndarray], weights: Sequence[np.ndarray]) -> NgramBatch:
        """Join the n-grams of the texts."""
        sizes = np.array([0, *map(len, ids)])
        return cls(
            torch.from_numpy(np.concatenate(ids).astype(np.int64)),
            torch.from_numpy(sizes.cumsum()[:-1]),
            torch.from_numpy(np.concatenate(weights).astype(np.float32)),
        )

    def to(self, device: torch.device, non_blocking: bool = False) -> NgramBatch:
        """Copy to a device."""
        parts = (self.ids, self.offsets, self.weights)
        return NgramBatch(*(part.to(device, non_blocking=non_blocking) for part in parts))

    def pin_memory(self) -> NgramBatch:
        """Copy to pinned memory."""
        parts = (self.ids, self.offsets, self.weights)
        return NgramBatch(*(part.pin_memory() for part in parts))


class NgramBag(nn.Module):
    """A linear bag of n-grams: the wide part of wide and deep (Cheng et al. 2016).

    Its logits are the weighted sum of a vector for each n-gram, and a bias.
    Weight (n-grams, labels) and bias (labels,) are buffers: they are fitted, not trained.
    """

    weight: Tensor
    bias: Tensor

    def __init__(self, ngrams: int, labels: int) -> None:
        super().__init__()
        self.register_buffer("weight", torch.zeros(ngrams, labels))
        self.register_buffer("bias", torch.zeros(labels))

    def load(self, weight: Any, bias: Any) -> None:
        """Take over fitted arrays, (n-grams, labels) and (labels,)."""
        self.weight.copy_(torch.from_numpy(weight))
        self.bias.copy_(torch.from_numpy(bias))

    def forward(self, ngrams: NgramBatch) -> Tensor:
        """Return logits (batch, labels)."""
        weights = ngrams.weights.to(self.weight.dtype)
        found = F.embedding_bag(
            ngrams.ids, self.weight, ngrams.offsets, mode="sum", per_sample_weights=weights
        )
        return found + self.bias


def at_least_float32(vectors: Tensor) -> Tensor:
    """Return vectors in float32 or wider, the precision for sums over them."""
    return vectors.to(torch.promote_types(vectors.dtype, torch.float32))
