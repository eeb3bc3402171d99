"""The penalty of a linear bag of n-grams is chosen on rows that are held out."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import sparse

from zoo.data.dataset import Dataset
from zoo.data.readers import Row
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


def stored(folder, several: bool, count: int = 240) -> Dataset:
    """Rows of three labels, the third one rare: n-gram 2 L or 2 L + 1 is of label L, 6 of all."""
    draw = np.random.default_rng(0)
    labels = draw.choice(3, count, p=[0.45, 0.45, 0.1])

    def encode(row):
        label = int(labels[int(row["number"])])
        own = [2 * label, 2 * label + 1] if draw.random() < 0.5 else [2 * label]
        ids = np.array([*own, 6], np.int32)
        weights = np.full(len(ids), len(ids) ** -0.5, np.float32)
        targets = np.array([label], np.int32) if several else label
        return {"inputs": [1], "ngrams": ids, "ngram_weights": weights, "targets": targets}

    return Dataset.write([Row({"number": n}, "x") for n in range(count)], encode, folder)


@pytest.mark.parametrize("several", [False, True])
@pytest.mark.parametrize("balanced", [False, True])
def test_with_dropout_all_rows_are_read_in_batches(tmp_path, several, balanced):
    rows = stored(tmp_path / "rows", several)
    before = torch.get_rng_state()
    weights, biases = logistic.fit(rows, 7, 3, balanced, 0.5)
    assert (before == torch.get_rng_state()).all()  # the training draws as without a bag
    assert (weights.shape, weights.dtype, biases.shape) == ((7, 3), np.float32, (3,))
    assert weights[:6].argmax(1).tolist() == [0, 0, 1, 1, 2, 2]
    rare = biases[2] - biases[:2].mean()
    plain = logistic.fit(rows, 7, 3, False, 0.5)[1]
    assert rare > plain[2] - plain[:2].mean() if balanced else rare < 0
    assert (weights == logistic.fit(rows, 7, 3, balanced, 0.5)[0]).all()


def test_dropout_gives_both_n_grams_of_a_label_weight(tmp_path):
    rows = stored(tmp_path / "rows", several=False)
    shares = []
    for dropout in (0.01, 0.8):
        weights = logistic.fit(rows, 7, 3, False, dropout)[0]
        shares.append(weights[1, 0] / weights[0, 0])
    assert shares[1] > shares[0]
