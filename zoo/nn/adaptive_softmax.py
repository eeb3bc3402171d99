"""Adaptive softmax: rare words form clusters, whose logits are computed only when needed."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from zoo.nn.backbone import Backbone
from zoo.nn.cross_entropy import linear_cross_entropy, linear_losses
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
        vectors = at_least_float32(vectors)
        total = vectors.new_zeros(())
        for rows, (weight, bias), inside in self._split_target(backbone, target):
            share = len(inside) / max(1, len(target))
            total = total + share * linear_cross_entropy(vectors[rows], weight, bias, inside)
        return total

    def losses(self, vectors: Tensor, backbone: Backbone, target: Tensor) -> Tensor:
        """Return the cross entropies (n,) of vectors (n, size) and target ids (n,), no gradient."""
        vectors = at_least_float32(vectors)
        found = vectors.new_zeros(len(target))
        for rows, (weight, bias), inside in self._split_target(backbone, target):
            found[rows] += linear_losses(vectors[rows], weight, bias, inside)
        return found

    def _split_target(
        self, backbone: Backbone, target: Tensor
    ) -> Iterator[tuple[Tensor | slice, tuple[Tensor, Tensor], Tensor]]:
        """Yield, for the head and each cluster, the target rows that belong to it.

        Each item has these rows, the part's weight and bias, and the rows' targets within the part.
        """
        head, *tails = self.parts(backbone)
        edges = torch.tensor(self.edges, device=target.device)
        cluster = torch.searchsorted(edges, target, right=True)  # 0: in the head
        yield slice(None), head, torch.where(cluster == 0, target, self.edges[0] + cluster - 1)
        for number, tail in enumerate(tails, 1):
            rows = (cluster == number).nonzero().squeeze(1)
            yield rows, tail, target[rows] - self.edges[number - 1]

    def parts(self, backbone: Backbone) -> list[tuple[Tensor, Tensor]]:
        """Return weight and bias of the head and of each cluster.

        The head ends with one row for each cluster.

        One split makes all parts. Its backward is one copy; that of a slice fills a whole matrix.
        """
        edges = [0, *self.edges]
        sizes = [high - low for low, high in itertools.pairwise(edges)]
        weights, biases = self.output_weight(backbone).split(sizes), self.bias.split(sizes)
        head = torch.cat([weights[0], self.clusters]), torch.cat([biases[0], self.cluster_bias])
        return [head, *zip(weights[1:], biases[1:], strict=True)]
