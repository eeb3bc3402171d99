"""Sentencepiece: its options, sampling that a seed repeats, and errors that name the fix."""

from __future__ import annotations

import pytest
import torch

from zoo.errors import InputError
from zoo.text.sentencepiece import SentencePieceOptions, seed_sampling
from zoo.text.special_ids import UNK
from zoo.text.tokenizers import Subwords

JAPANESE = ["日本語の文章を読む。", "東京は日本の首都です。", "日本の文章は東京で読む。"] * 4


def test_subwords_learn_japanese_without_blanks():
    tokenizer = Subwords.train(JAPANESE, 60)
    ids = tokenizer.encode(JAPANESE[0])
    assert tokenizer.decode(ids) == JAPANESE[0]
    assert UNK not in ids
    assert len(ids) < len(JAPANESE[0])  # pieces of more than a character


def test_a_size_too_small_for_the_characters_says_which_is_enough():
    with pytest.raises(InputError, match=r"^tokenizer\.size=8: .*tokenizer\.size=(\d+)") as caught:
        Subwords.train(JAPANESE, 8)
    enough = int(str(caught.value).rpartition("=")[2].split()[0])
    assert len(Subwords.train(JAPANESE, enough)) == enough
    with pytest.raises(InputError, match="set tokenizer"):
        Subwords.train(JAPANESE, enough - 1)


@pytest.mark.parametrize("texts", [[], [""], ["", " ", "\n\u2028\n"]])
def test_subwords_of_empty_texts_are_an_error_in_one_line(texts):
    with pytest.raises(InputError, match=r"^tokenizer.*the training texts are empty.*$"):
        Subwords.train(texts, 100)


def test_subwords_are_learned_from_the_whole_of_a_long_text():
    learned = Subwords.train(["ab " * 5000 + "xyz " * 5000], 100)
    assert UNK not in learned.encode("ab xyz")


CODE = ["def f(x):", "    if x:", "        return  x + 1", "    return   None", "\tdone"] * 8


def test_blanks_are_kept_where_they_matter():
    tokenizer = Subwords.train(
        CODE, 80, pieces=SentencePieceOptions(coverage=1.0, nfkc=False, blanks=True)
    )
    for line in [*CODE[:5], "   x", " x", "x    n", "", "    "]:
        ids = tokenizer.encode(line)
        assert UNK not in ids
        assert tokenizer.decode(ids) == line
    assert len(tokenizer.encode(" " * 8 + "return")) < 6  # a run of blanks is a piece
    without = Subwords.train(CODE, 60, pieces=SentencePieceOptions(coverage=1.0, nfkc=False))
    assert without.decode(without.encode(CODE[2])) == "return x + 1"


def trained(texts, size=60, **options):
    return Subwords.train(texts, size, pieces=SentencePieceOptions(coverage=1.0, **options))


def test_nfkc_reads_compatible_characters_as_one():
    texts = ["ｆｕｌｌ full ½"] * 9
    with_nfkc, without = trained(texts), trained(texts, nfkc=False)
    assert with_nfkc.encode("ｆｕｌｌ") == with_nfkc.encode("full")
    assert with_nfkc.decode(with_nfkc.encode("½")) == "1⁄2"
    assert without.decode(without.encode("ｆｕｌｌ ½")) == "ｆｕｌｌ ½"


def test_digits_are_pieces_if_they_are_split():
    texts = ["in 2031 and 2032"] * 9
    pieces = trained(texts, split_digits=True)
    assert [p for p in pieces.pieces(pieces.encode("2031")) if p.strip()] == ["2", "0", "3", "1"]
    whole = trained(texts)
    assert len(whole.encode("2031")) < len(pieces.encode("2031"))


def test_a_seed_of_torch_repeats_the_sampling():
    tokenizer = trained(["the cat sat on the mat", "cats and dogs"] * 9, 100)
    ids = tokenizer.encode("the cats and the dogs sat on the mat")

    def drawn(seed):
        torch.manual_seed(seed)
        seed_sampling()
        return [tokenizer.sample(ids, 0.5) for _ in range(20)]

    assert drawn(1) == drawn(1)
    assert drawn(1) != drawn(2)
    assert len(set(map(tuple, drawn(1)))) > 5
    assert {tokenizer.decode(sampled) for sampled in drawn(1)} == {tokenizer.decode(ids)}
