"""Token dropout: which ids may become UNK, how many do, and when none does."""

from __future__ import annotations

import pytest
import torch

from zoo.nn import token_dropout
from zoo.text.special_ids import BOS, EOS, PAD, UNK

IDS = torch.tensor([BOS, EOS + 1, EOS + 2, EOS + 3, EOS, PAD])
CHOSEN = torch.zeros(EOS + 4, dtype=torch.bool)
CHOSEN[[EOS, EOS + 2]] = True


def test_all_words_are_dropped_and_pad_bos_and_eos_stay():
    found = token_dropout.words(IDS, 1.0)
    assert found.tolist() == [BOS, UNK, UNK, UNK, EOS, PAD]


def test_only_chosen_ids_are_dropped():
    found = token_dropout.some(IDS, CHOSEN, 1.0)
    assert found.tolist() == [BOS, EOS + 1, UNK, EOS + 3, UNK, PAD]


@pytest.mark.parametrize(("p", "training"), [(0.0, True), (1.0, False)])
def test_where_nothing_is_dropped_nothing_is_copied(p, training):
    assert token_dropout.words(IDS, p, training) is IDS
    assert token_dropout.some(IDS, CHOSEN, p, training) is IDS


def test_each_token_is_dropped_with_the_given_probability():
    torch.manual_seed(1)
    many = torch.full((100_000,), EOS + 2)
    for found in (token_dropout.words(many, 0.3), token_dropout.some(many, CHOSEN, 0.3)):
        assert (found == UNK).double().mean().item() == pytest.approx(0.3, abs=0.006)
        assert set(found.tolist()) == {UNK, EOS + 2}
