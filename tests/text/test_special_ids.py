"""The special ids: their numbers are stored in models, their names in vocabularies."""

from __future__ import annotations

from zoo.text.special_ids import BOS, EOS, PAD, SPECIALS, UNK


def test_the_ids_and_names_that_stored_models_hold():
    assert (PAD, UNK, BOS, EOS) == (0, 1, 2, 3)
    assert [SPECIALS[i] for i in (PAD, UNK, BOS, EOS)] == ["<pad>", "<unk>", "<bos>", "<eos>"]
    assert len(SPECIALS) == 4
