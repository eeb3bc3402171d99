"""Words as characters: each distinct word once, indexed at every step."""

from __future__ import annotations

import re

import numpy as np
import torch
from char_cases import ALPHABET, CASES, PLAIN, cases, letters, listed, spelt

from zoo.data.dataset import Dataset
from zoo.data.readers import Row
from zoo.nn.char_encoder import FEWEST, ROWS, SIZES, CharBatch
from zoo.text.characters import LONGEST, Alphabet
from zoo.text.special_ids import EOS, PAD, UNK


def test_ids_of_characters_begin_behind_the_specials():
    alphabet = Alphabet("abä")
    assert len(alphabet) == 7
    assert alphabet.encode(["ab", "äa"]) == [4, 5, EOS, 6, 4, EOS]
    assert alphabet.encode([]) == []
    assert alphabet.encode([""]) == [EOS]


def test_characters_that_are_not_in_the_alphabet_are_unknown():
    assert Alphabet("ab").encode(["aZb", "\N{PILE OF POO}"]) == [4, UNK, 5, EOS, UNK, EOS]
    assert Alphabet("").encode(["ab"]) == [UNK, UNK, EOS]


def test_long_words_keep_both_ends():
    word = "a" * 40 + "b" * 30
    assert ALPHABET.encode([word]) == [*letters("a" * 16 + "b" * 16), EOS]
    short = "a" * 15 + "bcd" + "e" * (LONGEST - 19)
    assert ALPHABET.encode([short]) == [*letters(short), EOS]
    exact = short + "e"
    assert ALPHABET.encode([exact]) == [*letters(exact), EOS]
    assert ALPHABET.encode(["x" + exact]) == [*letters("x" + exact[:15] + exact[-16:]), EOS]


@cases
def test_every_step_finds_its_own_letters(name):
    rows = CASES[name]
    spellings = spelt(rows)
    there = listed(spellings)
    assert spellings.word_index.shape == (len(rows), max(1, *map(len, rows)))
    for row, places in zip(rows, spellings.word_index.tolist(), strict=True):
        assert [there[place] for place in places[: len(row)]] == [letters(word) for word in row]
        assert all(0 <= place < len(there) for place in places)


@cases
def test_each_distinct_word_stands_once(name):
    spellings = spelt(CASES[name])
    wanted = {tuple(letters(word)) for row in CASES[name] for word in row}
    used = {
        p
        for r, places in zip(CASES[name], spellings.word_index.tolist(), strict=True)
        for p in places[: len(r)]
    }
    found = [tuple(word) for place, word in enumerate(listed(spellings)) if place in used]
    assert len(found) == len(wanted)
    assert {*found} == wanted
    assert not any(word for place, word in enumerate(listed(spellings)) if place not in used)


@cases
def test_blocks_have_few_shapes(name):
    blocks = spelt(CASES[name]).blocks
    distinct = {tuple(letters(word)) for row in CASES[name] for word in row}
    widths = [ids.size(1) for ids, _ in blocks]
    longest = max((len(word) for word in distinct), default=0)
    assert widths == sorted({*widths})
    assert {*widths} <= {*SIZES}
    assert widths[-1] == min(size for size in SIZES if size >= longest)
    below = -1
    for ids, real in blocks:
        count = sum(below < len(word) <= ids.size(1) for word in distinct)
        below = ids.size(1)
        assert count >= FEWEST or below == widths[-1]
        assert ids.size(0) == ROWS * max(1, -(-count // ROWS))
        assert (ids.dtype, real.dtype, real.shape) == (torch.int64, torch.int64, ids.shape[:1])
        beyond = torch.arange(ids.size(1)) >= real[:, None]
        assert (ids[beyond] == PAD).all()
        assert not (ids[~beyond] == PAD).any()


def test_words_that_only_differ_in_their_middle_are_one():
    one, other = ("a" * 16 + middle + "b" * 16 for middle in ("x", "yyy"))
    place = spelt([[one, other, "a" * 16 + "b" * 15 + "c"]]).word_index[0].tolist()
    assert place[0] == place[1] != place[2]


@cases
def test_memory_mapped_letters_are_as_good_as_lists(name, tmp_path):
    rows = CASES[name]
    made = [Row({"words": row}, f"a:{number}") for number, row in enumerate(rows)]

    def encode(row):
        return {"inputs": [5] * len(row["words"]), "letters": ALPHABET.encode(row["words"])}

    dataset = Dataset.write(made, encode, tmp_path / "dataset")
    examples = dataset.examples(np.arange(len(rows)))
    found, wanted = CharBatch.collate([e["letters"] for e in examples]), spelt(rows)
    assert torch.equal(found.word_index, wanted.word_index)
    assert len(found.blocks) == len(wanted.blocks)
    for block, other in zip(found.blocks, wanted.blocks, strict=True):
        assert all(map(torch.equal, block, other))


def test_to_moves_all_but_the_lengths():
    moved = spelt(PLAIN).to(torch.device("meta"))
    assert moved.word_index.device.type == "meta"
    for ids, lengths in moved.blocks:
        assert (ids.device.type, lengths.device.type) == ("meta", "cpu")


def test_a_made_up_word_keeps_the_case_of_its_ends():
    alphabet = Alphabet("abcABC12-.")
    generator = np.random.default_rng(1)
    seen = set()
    for _ in range(60):
        word = np.array(alphabet.encode(["Aab"]))[:-1]
        (found,) = alphabet.decode(alphabet.made_up(word, generator.random(12)).tolist())
        assert re.fullmatch(r"[ABC\ufffd][abc\ufffd]{1,9}", found)
        seen.add(found)
    assert len(seen) > 30
    assert {len(one) for one in seen} == {*range(2, 11)}
    for word in ("12", ".", "?"):
        letters = np.array(alphabet.encode([word]))
        assert alphabet.made_up(letters[:-1], generator.random(12)).tolist() == letters.tolist()
