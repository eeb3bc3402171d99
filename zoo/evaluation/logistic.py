"""Logistic regression on the weighted n-grams of a dataset: the start of a linear bag of n-grams.

Without dropout it is the exact solution by L-BFGS, on rows that fit in memory. With dropout of
n-grams, which regularises it, Adam reads all rows in batches.

scikit-learn is imported inside the functions, because prediction does not need it.
"""

from __future__ import annotations

import logging
import math
import warnings
from dataclasses import replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from zoo.data.dataset import Dataset
from zoo.messages import _, listed
from zoo.nn.output_layer import NgramBag, NgramBatch

log = logging.getLogger("zoo")

# The inverse of the L2 penalty. TF-IDF vectors of length 1 need large weights; labels with few rows
# need larger ones, where the words are clear. Rows that are held out choose.
STRENGTH = 10.0
STRENGTHS = (STRENGTH, 30.0, 100.0)
HELD_OUT = 5  # one row of a label in so many
MOST_CHOOSING = 4_000  # rows from which on nothing is chosen, because the fits would take long
FEW_OF_A_LABEL = 200  # rows of a label below which such a corpus gets the middle strength
MOST_STEPS = 60  # of L-BFGS
TOLERANCE = 1e-3  # of the gradient
MANY_LABELS = "The number of unique classes"  # a warning of scikit-learn
SURE = 5.0  # logit of a label that all rows have; its negative of one that none has
MOST_ROWS = 50_000  # training rows that are read, as of a baseline
# With dropout, as measured on validation rows of 87 languages:
EPOCHS = 6
STEPS = 60  # of an epoch, at least
MOST_BATCH = 2048  # rows
LEARNING_RATE = 0.5
BETAS = 0.9, 0.99  # of Adam: an n-gram is in few batches


def fit(
    dataset: Dataset, ngrams: int, labels: int, balanced: bool, dropout: float = 0.0
) -> tuple[Any, Any]:
    """Fit labels to the fields "ngrams" and "ngram_weights" of the first MOST_ROWS rows.

    With `dropout`, the share of n-grams that a row does without, it reads all rows.

    Targets are numbers of labels, or lists of them: then each label has a regression of its own.
    `balanced` weighs rare labels more. Returns weights (ngrams, labels) and biases (labels,) in
    float32. The same rows give the same result.
    """
    from scipy import sparse

    if dropout:
        return _by_batches(dataset, ngrams, labels, balanced, dropout)
    rows = min(len(dataset), MOST_ROWS)
    ends = np.concatenate([[0], dataset.ends["ngrams"][:rows]])
    values = dataset.values["ngram_weights"][: ends[-1]]
    features = sparse.csr_matrix(
        (values, dataset.values["ngrams"][: ends[-1]], ends), (rows, ngrams), np.float32
    )
    weights = np.zeros((ngrams, labels), np.float32)
    biases = np.zeros(labels, np.float32)
    if "targets" in dataset.ends:
        for label in range(labels):
            targets = np.array([label in dataset[row]["targets"] for row in range(rows)])
            if targets.all() or not targets.any():
                biases[label] = SURE if targets.all() else -SURE
                continue
            found = _regression(features, targets, balanced)
            weights[:, label], biases[label] = found[0][0], found[1][0]
        return weights, biases
    targets = np.asarray(dataset.values["targets"][:rows])
    known, own = np.unique(targets, return_inverse=True)
    strength = _strength(features, own, balanced)
    coefficients, intercepts = _regression(features, own, balanced, strength)
    if len(known) == 2:  # scikit-learn gives the difference of the two logits
        coefficients = np.concatenate([-coefficients, coefficients]) / 2
        intercepts = np.concatenate([-intercepts, intercepts]) / 2
    weights[:, known], biases[known] = coefficients.T, intercepts
    return weights, biases


def _by_batches(
    dataset: Dataset, ngrams: int, labels: int, balanced: bool, dropout: float
) -> tuple[Any, Any]:
    """Fit by Adam, EPOCHS times over all rows, with a learning rate that falls to 0.

    It draws from generators of its own: what a training draws does not depend on it.
    """
    draw = np.random.default_rng(0)
    kept = torch.Generator().manual_seed(0)
    targets = _targets(dataset, labels)  # (rows,) or (rows, labels)
    shares = _class_weights(targets, labels) if balanced else None
    bag = NgramBag(ngrams, labels)
    weights = [bag.weight.requires_grad_(), bag.bias.requires_grad_()]
    optimizer = torch.optim.Adam(weights, LEARNING_RATE, BETAS, fused=True)
    size = min(MOST_BATCH, max(1, len(dataset) // STEPS))
    total = EPOCHS * math.ceil(len(dataset) / size)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 - step / total)
    for _epoch in range(EPOCHS):
        order = draw.permutation(len(dataset))
        for rows in np.split(order, range(size, len(order), size)):
            batch = _batch(dataset, rows)
            keep = torch.rand(len(batch.weights), generator=kept) >= dropout
            logits = bag(replace(batch, weights=batch.weights * keep / (1 - dropout)))
            own = targets[torch.from_numpy(rows)]
            if own.dim() > 1:
                loss = F.binary_cross_entropy_with_logits(logits, own, pos_weight=shares)
            else:
                loss = F.cross_entropy(logits, own, shares)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return bag.weight.detach().numpy(), bag.bias.detach().numpy()


def _batch(dataset: Dataset, rows: np.ndarray) -> NgramBatch:
    """Return the n-grams of rows."""
    ends = dataset.ends["ngrams"]
    begins = np.where(rows > 0, ends[rows - 1], 0)
    spans = [slice(*pair) for pair in zip(begins, ends[rows], strict=True)]
    ids, weights = dataset.values["ngrams"], dataset.values["ngram_weights"]
    return NgramBatch.collate([ids[span] for span in spans], [weights[span] for span in spans])


def _targets(dataset: Dataset, labels: int) -> Tensor:
    """Return the number of each row's label, (rows,), or ones for its labels, (rows, labels)."""
    if "targets" not in dataset.ends:
        return torch.from_numpy(np.array(dataset.values["targets"], np.int64))
    several = torch.zeros(len(dataset), labels)
    sizes = np.diff(dataset.ends["targets"], prepend=0)
    rows = torch.from_numpy(np.repeat(np.arange(len(dataset)), sizes))
    several[rows, torch.from_numpy(np.array(dataset.values["targets"], np.int64))] = 1
    return several


def _class_weights(targets: Tensor, labels: int) -> Tensor:
    """Return weights that give rare labels more, as scikit-learn's `balanced` does."""
    if targets.dim() > 1:
        counts = targets.sum(0)
        return (len(targets) - counts) / counts.clamp(min=1)
    return len(targets) / (labels * targets.bincount(minlength=labels).clamp(min=1))


def _strength(features: Any, targets: np.ndarray, balanced: bool) -> float:
    """Return the strength with the lowest loss on every HELD_OUT-th row of each label."""
    if len(targets) >= MOST_CHOOSING:
        few = len(targets) < FEW_OF_A_LABEL * (1 + int(targets.max()))
        return STRENGTHS[1] if few else STRENGTH
    order = np.argsort(targets, kind="stable")
    begin = np.searchsorted(targets[order], targets[order])
    held = np.zeros(len(targets), bool)
    held[order] = (np.arange(len(targets)) - begin) % HELD_OUT == HELD_OUT - 1
    if not held.any():
        return STRENGTH
    known, own = np.unique(targets[~held], return_inverse=True)
    wanted = np.searchsorted(known, targets[held])
    losses = {}
    for strength in STRENGTHS:
        coefficients, intercepts = _regression(features[~held], own, balanced, strength)
        logits = features[held] @ coefficients.T + intercepts
        if len(known) == 2:
            logits = np.concatenate([-logits, logits], 1) / 2
        logits -= logits.max(1, keepdims=True)
        right = logits[np.arange(len(wanted)), wanted]
        losses[strength] = float((np.log(np.exp(logits).sum(1)) - right).mean())
    best = min(losses, key=lambda strength: losses[strength])
    compared = listed(
        _("{loss:.3f} with 1/{strength:g}", loss=loss, strength=strength)
        for strength, loss in losses.items()
    )
    log.info(
        _(
            "n-grams: L2 penalty 1/{best:g}, by the loss of {rows} rows: {compared}",
            best=best,
            rows=held.sum(),
            compared=compared,
        )
    )
    return best


def _regression(
    features: Any, targets: np.ndarray, balanced: bool, strength: float = STRENGTH
) -> tuple[Any, Any]:
    """Return coefficients (labels, n-grams) and intercepts (labels,); one row for two labels."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    weights = "balanced" if balanced else None
    model = LogisticRegression(C=strength, max_iter=MOST_STEPS, tol=TOLERANCE, class_weight=weights)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # nearly there is enough
        warnings.filterwarnings("ignore", MANY_LABELS)  # a training says so itself
        model.fit(features, targets)
    return model.coef_, model.intercept_
