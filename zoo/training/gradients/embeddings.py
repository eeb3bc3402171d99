"""Gradients of embeddings of which a step needs few rows.

torch fills a matrix as large as the embedding with zeros in every step. Over 33,000 words that takes
longer than the embedding itself. Here one matrix is kept, and only the rows of the step before are
set to zero. For a weight that is also an output matrix, the rows are added to that gradient.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial

import torch
from torch import Tensor, nn

FEW = 4  # an embedding with so many rows for each token of a step


class EmbeddingGradients:
    """The gradients of a model's large embeddings, kept from step to step; the bits are torch's.

    >>> import torch
    >>> embedding = torch.nn.Embedding(100, 8)
    >>> gradients = EmbeddingGradients()
    >>> with gradients.sparse(embedding, steps=3):
    ...     embedding(torch.tensor([5, 7, 5])).sum().backward()
    >>> embedding.weight.grad.sum(1).nonzero().flatten()
    tensor([5, 7])
    """

    def __init__(self) -> None:
        self.kept: dict[Tensor, tuple[Tensor, Tensor | None]] = {}

    @contextmanager
    def sparse(self, module: nn.Module, steps: int) -> Iterator[None]:
        """Run forward and backward of one training step over `steps` tokens inside of this.

        A gradient must be None before the next step. It is overwritten then.
        """
        with ExitStack() as stack:
            for each in module.modules():
                if isinstance(each, nn.Embedding) and _large(each, steps):
                    each.sparse = True
                    stack.callback(setattr, each, "sparse", False)
                    for hook in (
                        each.register_forward_hook(_sum_by_row),
                        each.weight.register_post_accumulate_grad_hook(self._make_dense),
                    ):
                        stack.callback(hook.remove)
            yield

    def _make_dense(self, weight: Tensor) -> None:
        """Replace a gradient of rows by a dense one, in the memory that is kept."""
        found = weight.grad
        if found is None or not found.is_sparse:  # an output layer or an earlier step made it dense
            self.kept.pop(weight, None)
            return
        dense, before = self.kept.get(weight, (None, None))
        if dense is None:
            dense = torch.zeros_like(weight)
        elif before is not None:
            dense.index_fill_(0, before, 0)
        found = found.coalesce()  # each row is there once, but torch has forgotten it
        rows = found.indices()[0]
        dense.index_copy_(0, rows, found.values())
        self.kept[weight] = dense, rows
        weight.grad = dense


def _sum_by_row(module: nn.Module, given: tuple[Tensor, ...], vectors: Tensor) -> None:
    """Let the gradient of an embedding have each row once, summed in the order of the tokens.

    torch's own sum of equal rows is in any order, and so has other bits than a dense gradient.
    """
    if isinstance(module, nn.Embedding) and vectors.grad_fn is not None:
        vectors.grad_fn.register_hook(partial(_summed, module, given[0]))


def _summed(
    embedding: nn.Embedding, ids: Tensor, found: Sequence[Tensor], above: Sequence[Tensor]
) -> tuple[Tensor, ...]:
    """Return the gradient of the weight, from that of the vectors `above` (…, size)."""
    ids = ids.flatten()
    real = ids != (-1 if embedding.padding_idx is None else embedding.padding_idx)
    rows, places = ids[real].unique(return_inverse=True)
    values = above[0].flatten(0, -2)[real]
    sums = values.new_zeros(len(rows), values.size(1)).index_add_(0, places, values)
    shape = embedding.weight.shape
    made = torch.sparse_coo_tensor(
        rows.unsqueeze(0), sums, shape, check_invariants=False, is_coalesced=True
    )
    return (made, *found[1:])


def _large(embedding: nn.Embedding, steps: int) -> bool:
    """Whether an embedding on a CPU has many rows for each token of a step."""
    weight = embedding.weight
    many = len(weight) >= FEW * max(1, steps) and not embedding.sparse
    return many and weight.requires_grad and weight.device.type == "cpu" and weight.is_leaf
