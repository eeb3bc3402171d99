"""Word vectors learned from the training rows, in seconds, to initialize an embedding.

Words with similar neighbours get similar vectors. The method counts neighbours, weighted by
distance, turns the counts into positive pointwise mutual information with smoothed contexts, and
factorizes that with a truncated singular value decomposition (Levy, Goldberg and Dagan 2015,
"Improving distributional similarity with lessons learned from word embeddings").
"""

from __future__ import annotations

import logging
from concurrent.futures import Future
from threading import Thread
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from zoo.data.dataset import Dataset
from zoo.messages import _
from zoo.text.special_ids import SPECIALS

if TYPE_CHECKING:
    from scipy import sparse

log = logging.getLogger("zoo")

WINDOW = 5  # steps to either side
SMOOTHING = 0.75  # exponent of the context counts: lowers the weight of rare contexts
MOST_TOKENS = 10_000_000  # tokens that are read of a large corpus


def learn(dataset: Dataset, count: int, size: int) -> Tensor:
    """Vectors (count, size) of length 1, in float32; an id without neighbours has a zero vector.

    `count` is the size of the vocabulary. If it is at most `size`, the last columns are zero.
    The same rows give the same vectors.
    """
    from scipy import sparse  # the import takes a second or two
    from sklearn.utils.extmath import randomized_svd

    pairs = _neighbours(dataset, count)
    ids = np.asarray(pairs.sum(1)).ravel()
    contexts = ids**SMOOTHING
    contexts /= max(contexts.sum(), 1e-12)
    pairs = pairs.tocoo()
    information = np.log(pairs.data / (ids[pairs.row] * contexts[pairs.col]))
    kept = information > 0
    matrix = sparse.csr_matrix(
        (information[kept], (pairs.row[kept], pairs.col[kept])), (count, count), np.float32
    )
    rank = min(size, count - 1)
    left, strength, _ = randomized_svd(matrix, rank, n_iter=3, random_state=0)
    found = np.zeros((count, size), np.float32)
    found[:, :rank] = left * np.sqrt(strength)
    found[ids == 0] = 0  # ids without neighbours: only rounding errors
    lengths = np.linalg.norm(found, axis=1, keepdims=True)
    return torch.from_numpy(found / np.maximum(lengths, 1e-6))


def _neighbours(dataset: Dataset, count: int) -> sparse.csr_matrix:
    """Count pairs of ids within WINDOW steps of a row, weighted by 1 / distance: (count, count)."""
    from scipy import sparse

    ids = np.asarray(dataset.values["inputs"][:MOST_TOKENS])
    ends = np.asarray(dataset.ends["inputs"])
    row = np.searchsorted(ends, np.arange(len(ids)), side="right")  # of each token
    pairs = sparse.csr_matrix((count, count), dtype=np.float64)
    for distance in range(1, WINDOW + 1):
        left, right = ids[:-distance], ids[distance:]
        beside = row[:-distance] == row[distance:]
        beside &= (left >= len(SPECIALS)) & (right >= len(SPECIALS))
        left, right = left[beside], right[beside]
        weights = np.full(len(left), 1 / distance)
        pairs = pairs + sparse.csr_matrix((weights, (left, right)), (count, count))
    return pairs + pairs.T


def begin(dataset: Dataset, count: int, size: int) -> Future[Tensor]:
    """Learn vectors as `learn` does, in a thread of its own that ends with the program.

    What it computes needs hardly any Python, so that the caller can go on.
    """
    found: Future[Tensor] = Future()

    def work() -> None:
        try:
            found.set_result(learn(dataset, count, size))
        except BaseException as error:  # raised where the result is asked for
            found.set_exception(error)

    Thread(target=work, name="word vectors", daemon=True).start()
    return found


def initialize(embedding: nn.Embedding, found: Tensor) -> None:
    """Initialize an embedding with word vectors (ids, size) of `learn`."""
    with torch.no_grad():
        known = found.any(1, keepdim=True)  # the other ids keep their random vectors
        embedding.weight.copy_(torch.where(known, found, embedding.weight))
    said = _("word vectors for {known} of {count} ids", known=int(known.sum()), count=len(known))
    log.info(said)
