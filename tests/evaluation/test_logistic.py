"""The penalty of a linear bag of n-grams is chosen on rows that are held out."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse

from zoo.evaluation import logistic


def rows(labels: int, clear: bool, each: int = 10) -> tuple[sparse.csr_matrix, np.ndarray]:
    """Rows of each label: a clear one has a feature of its own among common ones."""
    generator = np.random.default_rng(0)
    targets = np.repeat(np.arange(labels), each)
    own = np.eye(labels)[targets if clear else generator.permutation(targets)]
    common = generator.random((len(targets), 20))
    features = np.concatenate([own, common], 1)
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    return sparse.csr_matrix(features, dtype=np.float32), targets


@pytest.mark.parametrize("labels", [2, 30])
def test_clear_words_of_rare_labels_have_large_weights(labels, caplog):
    caplog.set_level("INFO", "zoo")
    assert logistic._strength(*rows(labels, clear=True), False) == max(logistic.STRENGTHS)
    assert caplog.messages[0].startswith("n-grams: L2 penalty 1/100, by the loss of")


@pytest.mark.parametrize("labels", [2, 30])
def test_words_that_tell_nothing_have_small_weights(labels):
    assert logistic._strength(*rows(labels, clear=False, each=40), False) == min(logistic.STRENGTHS)


def test_few_rows_of_each_label_are_not_held_out():
    features, targets = rows(4, clear=True, each=4)
    assert logistic._strength(features, targets, False) == logistic.STRENGTH


def test_in_a_large_corpus_the_rows_of_a_label_decide(monkeypatch):
    monkeypatch.setattr(logistic, "MOST_CHOOSING", 400)
    monkeypatch.setattr(logistic, "_regression", None)  # nothing is fitted
    for each, strength in ((200, logistic.STRENGTH), (199, logistic.STRENGTHS[1])):
        assert logistic._strength(*rows(3, clear=True, each=each), False) == strength
