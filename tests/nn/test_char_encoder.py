"""Words as characters: each distinct word once, found again at every step, read as torch reads."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from zoo.data.dataset import Store
from zoo.data.readers import Row
from zoo.nn.char_encoder import Speller
from zoo.text.characters import FEWEST, LONGEST, ROWS, SIZES, Alphabet, Spellings
from zoo.text.special_ids import EOS, PAD, UNK

LETTERS = "abcdefghijklmnopqrstuvwxyz"
ALPHABET = Alphabet(LETTERS)
PLAIN = [["the", "cat", "sat", "on", "the", "mat"], ["a"], ["cat", "catalogue", "the"]]
LIMITS = [[LETTERS[i] * size for i, size in enumerate(SIZES)], [*(LETTERS[: s + 1] for s in SIZES)]]
CASES = {
    "plain": PLAIN,
    "limits": LIMITS,
    "one word": [["cat"]],
    "empty rows": [[], ["cat", "at"], [], ["cat"], []],
    "all empty": [[], [], []],
    "an empty word": [["", "cat", ""], ["a"]],
    "many": [[LETTERS[i % 26] + LETTERS[i // 26] for i in range(n, 100)] for n in range(0, 99, 7)],
    "three blocks": [
        [a + b for a in LETTERS[:9] for b in LETTERS[:9]],
        [a + b + "cdef" for a in LETTERS[:9] for b in LETTERS[:9]],
        [a + "cdefghijk" for a in LETTERS],
    ],
    "a full block": [[LETTERS[i] for i in range(ROWS)]],
    "a full block and one": [[LETTERS[i] for i in range(ROWS + 1)]],
    "prefixes": [["a", "ab", "abc", "ba", "aba"], ["ab", "a"]],
    "unknown": [["a!b", "a?b", "!", "???"]],
}
cases = pytest.mark.parametrize("name", CASES)


def letters(word):
    """The ids of a word's characters, without what ends it."""
    return [ALPHABET.ids.get(c, UNK) for c in word]


def spelt(rows, alphabet=ALPHABET):
    return Spellings.of([alphabet.encode(row) for row in rows])


def listed(spellings):
    """What stands in all rows of all blocks, the filled-up ones too."""
    return [
        row[:length]
        for ids, lengths in spellings.blocks
        for row, length in zip(ids.tolist(), lengths.tolist(), strict=True)
    ]


def speller(dropout=0.0):
    torch.manual_seed(0)
    found = Speller(len(ALPHABET), 5, 7, 6, dropout).eval()
    for name, part in found.named_parameters():
        if "bias" in name:
            nn.init.normal_(part)
    return found


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
    assert spellings.place.shape == (len(rows), max(1, *map(len, rows)))
    for row, places in zip(rows, spellings.place.tolist(), strict=True):
        assert [there[place] for place in places[: len(row)]] == [letters(word) for word in row]
        assert all(0 <= place < len(there) for place in places)


@cases
def test_each_distinct_word_stands_once(name):
    spellings = spelt(CASES[name])
    wanted = {tuple(letters(word)) for row in CASES[name] for word in row}
    used = {p for r, places in zip(CASES[name], spellings.place.tolist(), strict=True)
            for p in places[: len(r)]}  # fmt: skip
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
    place = spelt([[one, other, "a" * 16 + "b" * 15 + "c"]]).place[0].tolist()
    assert place[0] == place[1] != place[2]


@cases
def test_memory_mapped_letters_are_as_good_as_lists(name, tmp_path):
    rows = CASES[name]
    made = [Row({"words": row}, f"a:{number}") for number, row in enumerate(rows)]

    def encode(row):
        return {"ids": [5] * len(row["words"]), "letters": ALPHABET.encode(row["words"])}

    store = Store.write(made, encode, tmp_path / "store")
    found, wanted = store.batch(np.arange(len(rows))).spellings, spelt(rows)
    assert torch.equal(found.place, wanted.place)
    assert len(found.blocks) == len(wanted.blocks)
    for block, other in zip(found.blocks, wanted.blocks, strict=True):
        assert all(map(torch.equal, block, other))


def test_to_moves_all_but_the_lengths():
    moved = spelt(PLAIN).to(torch.device("meta"))
    assert moved.place.device.type == "meta"
    for ids, lengths in moved.blocks:
        assert (ids.device.type, lengths.device.type) == ("meta", "cpu")


def alone(model, word):
    """A word read by torch's own LSTM with the same weights: (size,)."""
    lstm = nn.LSTM(5, 7, batch_first=True, bidirectional=True)
    lstm.load_state_dict(model.backbone.lstm.state_dict())
    if not word:
        return torch.zeros(6)
    ids = torch.tensor([ALPHABET.encode([word])[:-1]])
    _, (h_n, _) = lstm(model.backbone.embedding(ids))
    return model.project.weight @ torch.cat([h_n[0, 0], h_n[1, 0]])


@cases
@torch.no_grad()
def test_a_word_is_read_as_torch_reads_it_alone(name):
    model, rows = speller(), CASES[name]
    found = model(spelt(rows))
    assert found.shape == (len(rows), max(1, *map(len, rows)), 6)
    for row, vectors in zip(rows, found, strict=True):
        for word, vector in zip(row, vectors, strict=False):
            torch.testing.assert_close(vector, alone(model, word), rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_a_word_is_the_same_in_any_company():
    model = speller()
    every = [word for rows in CASES.values() for row in rows for word in row]
    together = model(spelt([every]))[0]
    for rows in CASES.values():
        found = model(spelt(rows))
        for row, vectors in zip(rows, found, strict=True):
            for word, vector in zip(row, vectors, strict=False):
                wanted = together[every.index(word)]
                torch.testing.assert_close(vector, wanted, rtol=1e-5, atol=1e-5)


def test_gradients_reach_the_speller():
    model, rows = speller(), [["cat", "at"], ["cat"]]
    spellings = spelt(rows)
    found = model(spellings)
    weights = [*model.parameters()]
    real = torch.tensor([[True, True], [True, False]])
    gradients = torch.autograd.grad(found[real].pow(2).sum(), weights)
    vectors = torch.stack([alone_with_gradient(model, word) for word in ("cat", "at", "cat")])
    wanted = torch.autograd.grad(vectors.pow(2).sum(), weights)
    assert all(gradient.any() for gradient in gradients)
    torch.testing.assert_close(gradients, wanted, rtol=1e-4, atol=1e-6)


def alone_with_gradient(model, word):
    ids = torch.tensor([ALPHABET.encode([word])[:-1]])
    lstm = model.backbone.lstm
    weights = [getattr(lstm, name) for names in lstm._all_weights for name in names]
    zero = torch.zeros(2, 1, 7)
    _, h_n, _ = torch.lstm(
        model.backbone.embedding(ids), (zero, zero), weights, True, 1, 0.0, False, True, True
    )
    return model.project.weight @ h_n.flatten()


@torch.no_grad()
def test_characters_are_only_lost_in_training():
    model, spellings = speller(dropout=0.6), spelt(PLAIN)
    assert torch.equal(model(spellings), model(spellings))
    torch.testing.assert_close(model(spellings), speller()(spellings))
    model.train()
    assert not torch.equal(model(spellings), model(spellings))
    unknown = speller()(spelt([["???", "?????"]]))
    torch.testing.assert_close(speller(0.9999).train()(spelt([["cat", "fruit"]])), unknown)
