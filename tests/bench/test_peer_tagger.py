"""The tutorials' tagger computes what ours does, and spells the same words."""

from __future__ import annotations

import pytest
import torch
from conftest import DATA, settings

from zoo.bench.peer_tagger import PackedTagger, Spelt
from zoo.data import readers
from zoo.data.batch import Batch
from zoo.training.build import build
from zoo.training.options import options_of
from zoo.training.rows import open_rows


@pytest.fixture(scope="module")
def task():
    torch.manual_seed(0)
    chosen = settings(None, task="tag")
    options = options_of(chosen)
    return build(options, chosen, open_rows(chosen, options.kind)).eval()


def batch(task, count=9) -> Batch:
    some = list(readers.read(DATA / "tag.jsonl"))[:count]
    return task.collate([task.encode(row) for row in some])


def test_the_tutorials_way_spells_every_word_where_it_stands(task):
    some = batch(task)
    spelt = Spelt.of(some)
    assert len(spelt.letters) == int(some.lengths.sum())
    words = [w for row in list(readers.read(DATA / "tag.jsonl"))[:9] for w in row["words"]]
    for word, letters, length in zip(words, spelt.letters, spelt.letter_lengths, strict=True):
        assert letters[:length].tolist() == task.processors["characters"].encode([word])[:-1]
        assert not letters[length:].any()


@torch.no_grad()
def test_with_the_same_weights_both_sides_give_the_same_logits(task):
    some, letters = batch(task), task.speller.backbone
    lstm = task.backbone.lstm
    peer = PackedTagger(
        len(task.tokenizer),
        lstm.input_size,
        lstm.hidden_size,
        lstm.num_layers,
        len(task.processors["characters"]),
        letters.lstm.input_size,
        letters.lstm.hidden_size,
        len(task.labels),
    ).eval()
    peer.embedding.load_state_dict(task.backbone.embedding.state_dict())
    peer.characters.load_state_dict(letters.embedding.state_dict())
    peer.speller.load_state_dict(letters.lstm.state_dict())
    peer.lstm.load_state_dict(lstm.state_dict())
    peer.head.load_state_dict(task.head.state_dict())
    peer.mix.weight.copy_(task.speller.project.weight)
    peer.mix.bias.zero_()
    found, wanted = peer(Spelt.of(some)), task(some)
    real = some.target_mask
    torch.testing.assert_close(found[real], wanted[real], atol=1e-5, rtol=1e-5)
