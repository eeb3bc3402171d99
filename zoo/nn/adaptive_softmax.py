"""Adaptive softmax: rare words form clusters, whose logits are computed only when needed."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from zoo.nn.backbone import Backbone
from zoo.nn.losses.cross_entropy import (
    keep_gradients,
    linear_losses,
    room_for,
    scaled_gradients,
    sum_and_gradients,
)
from zoo.nn.output_layer import OutputLayer, at_least_float32
from zoo.text.special_ids import EOS

PARTS = 16, 4  # by default the clusters begin after 1/16 and 1/4 of the vocabulary


def default_cutoffs(vocabulary: int) -> list[int]:
    """Return the default cutoffs: the first id of each cluster."""
    return sorted({max(EOS + 1, vocabulary // part) for part in PARTS})


class AdaptiveOutputLayer(OutputLayer):
    """An OutputLayer whose softmax takes two steps for rare tokens (Grave et al. 2017).

        P(token) = P_head(token)                            for an id below the first cutoff
        P(token) = P_head(cluster) * P_cluster(token)       for the others

    Ids must be in the order of their frequency, as in a vocabulary of words. Most tokens are
    frequent, so most of them need a softmax over the head only. The clusters split the output
    matrix of a full softmax by rows. So it can be tied to the embedding, and there is no
    projection. The results are exact log-probabilities.
    """

    def __init__(
        self,
        vocabulary: int,
        size: int,
        cutoffs: Sequence[int],
        own: bool = False,
        tied: bool = True,
    ) -> None:
        """`cutoffs`: the first id of each cluster, ascending. Raises ValueError otherwise."""
        if (
            not cutoffs
            or [*cutoffs] != sorted({*cutoffs})
            or not 0 < cutoffs[0] <= cutoffs[-1] < vocabulary
        ):
            raise ValueError(f"cutoffs {[*cutoffs]} must ascend within the {vocabulary} ids")
        super().__init__(vocabulary, size, own, tied)
        self.edges = [*cutoffs, vocabulary]
        self.clusters = nn.Parameter(torch.randn(len(cutoffs), size) * size**-0.5)
        self.cluster_bias = nn.Parameter(torch.zeros(len(cutoffs)))

    def join(self, products: Sequence[Tensor]) -> Tensor:
        """Return log-probabilities (…, vocabulary) from the product (…, rows) with each part."""
        head, *tails = (at_least_float32(each).log_softmax(-1) for each in products)
        parts = [head[..., : self.edges[0]]]
        for number, inside in enumerate(tails):
            parts.append(inside + head[..., self.edges[0] + number].unsqueeze(-1))
        return torch.cat(parts, -1)

    def loss(
        self, vectors: Tensor, backbone: Backbone, target: Tensor, label_smoothing: float = 0.0
    ) -> Tensor:
        """Return the mean cross entropy of vectors (n, size) and target ids (n,).

        Raises ValueError for label smoothing, which an adaptive softmax does not have.
        """
        if label_smoothing:
            raise ValueError("an adaptive softmax has no label smoothing")
        weights = self.output_weight(backbone), self.bias, self.clusters, self.cluster_bias
        wanted = torch.is_grad_enabled()
        vectors = at_least_float32(vectors)
        return _AdaptiveCrossEntropy.apply(vectors, *weights, target, self.edges, wanted)

    def losses(self, vectors: Tensor, backbone: Backbone, target: Tensor) -> Tensor:
        """Return the cross entropies (n,) of vectors (n, size) and target ids (n,), no gradient."""
        vectors = at_least_float32(vectors)
        found = vectors.new_zeros(len(target))
        parts = self.parts(backbone)
        for (rows, inside), (weight, bias) in zip(_split(target, self.edges), parts, strict=True):
            found[rows] += linear_losses(vectors[rows], weight, bias, inside)
        return found

    def parts(self, backbone: Backbone) -> list[tuple[Tensor, Tensor]]:
        """Return weight and bias of the head and of each cluster.

        The head ends with one row for each cluster.
        """
        weight = self.output_weight(backbone)
        return _parts(weight, self.bias, self.clusters, self.cluster_bias, self.edges)


class _AdaptiveCrossEntropy(torch.autograd.Function):
    """The mean cross entropy; the gradients of all parts are written into one matrix."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor,
        clusters: Tensor,
        cluster_bias: Tensor,
        target: Tensor,
        edges: Sequence[int],
        wanted: bool,
    ) -> Tensor:
        count = max(1, len(x))
        first = edges[0]
        weights = weight, bias, clusters, cluster_bias
        total = x.new_zeros(())
        of_x = torch.zeros_like(x)
        made = [room_for(each) for each in weights[:2]]
        sizes = [high - low for low, high in itertools.pairwise([0, *edges])]
        rooms = [*zip(*(each.split(sizes) for each in made), strict=True)]
        parts = _parts(*weights, edges)
        rooms[0] = (room_for(parts[0][0]), room_for(parts[0][1]))
        items = zip(_split(target, edges), parts, rooms, strict=True)
        for (rows, inside), part, room in items:
            if not len(inside):
                for each in room if wanted else ():
                    each.zero_()
                continue
            given = x[rows], *part, inside, 0.0, count
            loss, of_rows = sum_and_gradients(*given, room if wanted else None)
            total += loss
            if of_rows is not None:
                of_x[rows] += of_rows
        if wanted:
            for each, head in zip(made, rooms[0], strict=True):
                each[:first] = head[:first]
            made += [head[first:] for head in rooms[0]]
            keep_gradients(ctx, [x, *weights], [of_x, *made])
        return total / count

    @staticmethod
    def backward(ctx: Any, scale: Tensor) -> tuple:
        return *scaled_gradients(ctx, scale), None, None, None


def _parts(
    weight: Tensor, bias: Tensor, clusters: Tensor, cluster_bias: Tensor, edges: Sequence[int]
) -> list[tuple[Tensor, Tensor]]:
    """Return weight and bias of the head, which ends with a row for each cluster, and of the clusters."""
    sizes = [high - low for low, high in itertools.pairwise([0, *edges])]
    weights, biases = weight.split(sizes), bias.split(sizes)
    head = torch.cat([weights[0], clusters]), torch.cat([biases[0], cluster_bias])
    return [head, *zip(weights[1:], biases[1:], strict=True)]


def _split(target: Tensor, edges: Sequence[int]) -> Iterator[tuple[Tensor | slice, Tensor]]:
    """Yield, for the head and each cluster, the rows that need it and their targets within it."""
    firsts = torch.tensor(edges, device=target.device)
    cluster = torch.searchsorted(firsts, target, right=True)  # 0: in the head
    yield slice(None), torch.where(cluster == 0, target, edges[0] + cluster - 1)
    for number, edge in enumerate(edges[:-1], 1):
        rows = (cluster == number).nonzero().squeeze(1)
        yield rows, target[rows] - edge
