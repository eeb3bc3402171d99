"""Words from their characters: read as torch reads them, alone or in company."""

from __future__ import annotations

import torch
from char_cases import ALPHABET, CASES, PLAIN, cases, spelt
from torch import nn

from zoo.nn.char_encoder import CharBatch, CharEncoder
from zoo.text.special_ids import SPECIALS


def speller(dropout=0.0):
    torch.manual_seed(0)
    found = CharEncoder(len(ALPHABET), 5, 7, 6, dropout).eval()
    for name, part in found.named_parameters():
        if "bias" in name:
            nn.init.normal_(part)
    return found


def alone(model, word):
    """A word as torch's own LSTM reads it with the same weights: (size,)."""
    if not word:
        return torch.zeros(6)
    lstm, zero = model.backbone.lstm, torch.zeros(2, 1, 7)
    weights = [getattr(lstm, name) for names in lstm._all_weights for name in names]
    ids = torch.tensor([ALPHABET.encode([word])[:-1]])
    _, h_n, _ = torch.lstm(
        model.backbone.embedding(ids), (zero, zero), weights, True, 1, 0.0, False, True, True
    )
    return model.project.weight @ h_n.flatten()


@cases
@torch.no_grad()
def test_a_word_is_read_as_torch_reads_it_alone(name):
    model, rows = speller(), CASES[name]
    found = model(spelt(rows))
    assert found.shape == (len(rows), max(1, *map(len, rows)), 6)
    for row, vectors in zip(rows, found, strict=True):
        for word, vector in zip(row, vectors, strict=False):
            torch.testing.assert_close(vector, alone(model, word), rtol=1e-5, atol=1e-5)


def test_gradients_reach_the_speller():
    model, rows = speller(), [["cat", "at"], ["cat"]]
    spellings = spelt(rows)
    found = model(spellings)
    weights = [*model.parameters()]
    real = torch.tensor([[True, True], [True, False]])
    gradients = torch.autograd.grad(found[real].pow(2).sum(), weights)
    vectors = torch.stack([alone(model, word) for word in ("cat", "at", "cat")])
    wanted = torch.autograd.grad(vectors.pow(2).sum(), weights)
    assert all(gradient.any() for gradient in gradients)
    torch.testing.assert_close(gradients, wanted, rtol=1e-4, atol=1e-6)


@torch.no_grad()
def test_characters_are_only_lost_in_training():
    model, spellings = speller(dropout=0.6), spelt(PLAIN)
    assert torch.equal(model(spellings), model(spellings))
    torch.testing.assert_close(model(spellings), speller()(spellings))
    model.train()
    assert not torch.equal(model(spellings), model(spellings))
    unknown = speller()(spelt([["???", "?????"]]))
    torch.testing.assert_close(speller(0.9999).train()(spelt([["cat", "fruit"]])), unknown)


@cases
def test_all_words_in_one_block_are_read_as_in_several(name):
    encoder = CharEncoder(len(ALPHABET.characters) + len(SPECIALS), 5, 6, 7, 0.1).double().eval()
    several = spelt(CASES[name])
    one = CharBatch((several.joined(),), several.word_index)
    torch.testing.assert_close(encoder(one), encoder(several), rtol=0, atol=1e-12)
    assert len(one.blocks[0][0]) == sum(len(ids) for ids, _ in several.blocks)
