"""Logistic regression on the weighted n-grams of a dataset: the start of a linear bag of n-grams.

scikit-learn is imported inside the functions, because prediction does not need it.
"""

from __future__ import annotations

import logging
import warnings
from typing import Any

import numpy as np

from zoo.data.dataset import Dataset
from zoo.messages import _, listed

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


def fit(dataset: Dataset, ngrams: int, labels: int, balanced: bool) -> tuple[Any, Any]:
    """Fit labels to the fields "ngrams" and "ngram_weights" of the first MOST_ROWS rows.

    Targets are numbers of labels, or lists of them: then each label has a regression of its own.
    `balanced` weighs rare labels more. Returns weights (ngrams, labels) and biases (labels,) in
    float32. The same rows give the same result.
    """
    from scipy import sparse

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
