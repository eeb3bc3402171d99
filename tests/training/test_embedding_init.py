"""Word vectors from the rows themselves."""

from __future__ import annotations

from threading import Event

import numpy as np
import pytest
import torch
from conftest import train

from zoo.data.dataset import Dataset
from zoo.data.readers import Row
from zoo.training import embedding_init, pipeline

GROUPS = (range(4, 12), range(12, 20))  # ids that stand together


@pytest.fixture
def store(tmp_path):
    generator = np.random.default_rng(0)
    ids = [generator.choice(GROUPS[i % 2], 8).tolist() for i in range(400)]
    return Dataset.write((Row({"inputs": row}, "") for row in ids), dict, tmp_path / "store")


def test_words_in_like_company_get_like_vectors(store):
    found = embedding_init.learn(store, 21, 6)
    likeness = found @ found.T
    within = likeness[4:12, 4:12].mean()
    across = likeness[4:12, 12:20].mean()
    assert within > across + 0.3
    torch.testing.assert_close(found[4:20].norm(dim=1), torch.ones(16))


def test_specials_and_lonely_ids_have_no_vector(store):
    found = embedding_init.learn(store, 21, 6)
    assert bool((found[:4] == 0).all())
    assert bool((found[20] == 0).all())


def test_the_same_rows_give_the_same_vectors(store):
    assert torch.equal(embedding_init.learn(store, 21, 6), embedding_init.learn(store, 21, 6))


def test_a_vocabulary_smaller_than_a_vector_fills_up_with_zeros(store):
    found = embedding_init.learn(store, 21, 50)
    assert found.shape == (21, 50)
    assert bool((found[:, 20:] == 0).all())


def test_rows_are_no_neighbours_of_each_other(tmp_path):
    rows = [Row({"inputs": ids}, "") for ids in ([4, 5], [6, 7])] * 5
    store = Dataset.write(rows, dict, tmp_path / "store")
    pairs = embedding_init._neighbours(store, 8).toarray()
    assert pairs[4, 5] == pairs[5, 4] == 5
    assert pairs[5, 6] == pairs[4, 6] == 0


def test_nearer_neighbours_count_more(tmp_path):
    store = Dataset.write([Row({"inputs": [4, 5, 6]}, "")], dict, tmp_path / "store")
    pairs = embedding_init._neighbours(store, 7).toarray()
    assert pairs[4, 5] == 1
    assert pairs[4, 6] == 0.5


def test_a_thread_learns_the_same_vectors(store):
    assert torch.equal(
        embedding_init.begin(store, 21, 6).result(), embedding_init.learn(store, 21, 6)
    )
    with pytest.raises(ValueError, match="negative"):
        embedding_init.begin(store, -1, 6).result()


def test_vectors_are_learned_while_the_other_splits_are_encoded(tmp_path, monkeypatch):
    encoded, seen = Event(), []
    learn, encode_rows = embedding_init.learn, pipeline.encode_rows

    def learn_behind(*given):
        seen.append(encoded.wait(20))
        return learn(*given)

    def encode(task, rows, folder, hashes):
        dataset = encode_rows(task, rows, folder, hashes)
        if folder.name == "test":
            encoded.set()
        return dataset

    monkeypatch.setattr(embedding_init, "learn", learn_behind)
    monkeypatch.setattr(pipeline, "encode_rows", encode)
    train(tmp_path / "run", "train.epochs=1", "train.init_embeddings=true")
    assert seen == [True]
