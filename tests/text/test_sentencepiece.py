"""Sentencepiece: its options, sampling that a seed repeats, and errors that name the fix."""

from __future__ import annotations

import random
import subprocess
import sys
from collections import Counter

import pytest
from conftest import ROOT
from hypothesis import given
from hypothesis import strategies as st

from zoo.errors import InputError
from zoo.text import sentencepiece
from zoo.text.sentencepiece import SentencePieceOptions, sample
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


PETS = ["the cat sat on the mat", "cats and dogs", "that hat"] * 9


def test_a_seed_repeats_the_sampling():
    tokenizer = trained(PETS, 100)
    ids = tokenizer.encode("the cats and the dogs sat on the mat")

    def drawn(seed):
        generator = random.Random(seed)
        return [tokenizer.sample(ids, 0.5, generator) for _ in range(20)]

    assert drawn(1) == drawn(1)
    assert drawn(1) != drawn(2)
    assert len(set(map(tuple, drawn(1)))) > 5
    assert {tokenizer.decode(sampled) for sampled in drawn(1)} == {tokenizer.decode(ids)}


@pytest.mark.parametrize("options", [{}, {"blanks": True, "nfkc": False}, {"split_digits": True}])
@given(st.text(st.sampled_from(sorted({*"".join(PETS), *"  hat12"}))))
def test_the_merges_are_those_of_sentencepiece(options, text):
    tokenizer = trained([*PETS, "12   12  the  12"], 100, **options)
    ids = tokenizer.encode(text)
    assert tokenizer.sample(ids, 0.0, random.Random(1)) == ids
    assert tokenizer.sample(ids, 1e-12, random.Random(1)) == ids


@pytest.mark.parametrize("share", [0.1, 0.4])
def test_segmentations_are_as_probable_as_those_of_sentencepiece(share):
    tokenizer = trained(PETS, 100)
    text, count, generator = "the cats hat", 4000, random.Random(2)
    ids = tokenizer.encode(text)
    options = {"enable_sampling": True, "alpha": share, "nbest_size": -1}
    ours = Counter(tuple(tokenizer.sample(ids, share, generator)) for _ in range(count))
    theirs = Counter(tuple(tokenizer.processor.encode(text, **options)) for _ in range(count))
    for pieces in {*ours, *theirs}:
        spread = 5 * (max(ours[pieces], theirs[pieces]) * 2) ** 0.5
        assert abs(ours[pieces] - theirs[pieces]) < spread + 5


PROCESS = """
import hashlib, random, sys
from zoo.text import sentencepiece
from zoo.text.tokenizers import Subwords
sentencepiece.MOST_SENTENCES = 300
texts = [f"the {n} cats sat on {n % 77} mats of {n * n}" for n in range(1000)]
if sys.argv[1] == "second":  # what another task of the process has drawn before
    Subwords.train(texts, 60).processor.encode("a cat", enable_sampling=True, alpha=0.5)
tokenizer = Subwords.train(texts, 90)
generator = random.Random(4)
drawn = [tokenizer.sample(tokenizer.encode(text), 0.3, generator) for text in texts]
print(hashlib.sha256(tokenizer.model + str(drawn).encode()).hexdigest())
"""


def test_processes_draw_the_same_sentences_and_the_same_pieces():
    found = []
    for name in ("first", "second", "third"):
        words = [sys.executable, "-c", PROCESS, name]
        found.append(subprocess.check_output(words, cwd=ROOT, text=True))
    assert len({*found}) == 1


def test_of_many_sentences_each_is_as_likely_to_be_learned_from():
    assert sample("abc", 3) == ["a", "b", "c"]
    counts = Counter()
    for shift in range(300):
        chosen = sample([str((n + shift) % 300) for n in range(300)], 100)
        assert len({*chosen}) == 100
        counts.update(chosen)
    assert {*counts.values()} == {100}


def test_an_error_of_the_texts_is_passed_on():
    def texts():
        yield "the cat"
        raise InputError("line 2: broken")

    with pytest.raises(InputError, match=r"^line 2: broken$"):
        Subwords.train(texts(), 60)
    assert not hasattr(sentencepiece, "set_random_generator_seed")  # it seeds a thread once


def test_uncased_subwords_read_capitals_wide_letters_and_curly_quotes_alike():
    texts = ['i can\'t swim, "he" said', "at 10 テレビ"] * 8
    for uncased in (True, False):
        options = SentencePieceOptions(coverage=1.0, nfkc=False, uncased=uncased)
        tokenizer = Subwords.train(texts, 60, pieces=options)
        for plain, typed in (
            ("i can't swim", "I CAN’T Swim"),
            ('"he" said', "“He” Said"),
            ("at 10 テレビ", "Ａｔ １０ ﾃﾚﾋﾞ"),
        ):
            assert UNK not in tokenizer.encode(plain)
            assert (tokenizer.encode(plain) == tokenizer.encode(typed)) == uncased
            assert ("".join(tokenizer.surfaces(typed)) == plain) == uncased
        assert Subwords(tokenizer.model).uncased == uncased
