"""Perplexity: per word whatever the tokens are; and what a compressor makes of the same text."""

from __future__ import annotations

import math
import random

import pytest

from tasks.generate import Generate
from zoo.data.readers import Row
from zoo.evaluation import baselines, metrics
from zoo.nn.backbone import Backbone
from zoo.text.special_ids import EOS, SPECIALS, UNK
from zoo.text.tokenizers import TOKENIZERS, Whitespace, lines

TEXTS = ["the cat sat", "", "a\n b\r\nc", " the  end\n"]
ODD = ["one\u2028two", "a\u00a0b\tc", "x\x0by\x1cz", "tab\tend \n", "\r", "\n\r\n\r"]
LN2 = math.log(2)


def answers(*nats, tokens=1, unknown=0):
    """One for each text, under measures that cost 1, 2, … times as much."""
    return [
        {"nats": {"": one, "_twice": 2 * one}, "tokens": tokens, "unknown": unknown} for one in nats
    ]


@pytest.mark.parametrize(("text", "wanted"), [
    ("", [""]), ("a", ["a"]), ("a\n", ["a", ""]), ("\n", ["", ""]), ("a\nb", ["a", "b"]),
    ("a\r\nb", ["a", "b"]), ("a\rb", ["a", "b"]), ("a\n\rb", ["a", "", "b"]), ("a\r\r\n", ["a", "", ""]),
    (" a \n b", [" a ", " b"]), ("a\u2028b\x0bc\x85d\x1ce", ["a\u2028b\x0bc\x85d\x1ce"]),
])  # fmt: skip
def test_lines_end_at_line_ends_alone(text, wanted):
    assert lines(text) == wanted


@pytest.mark.parametrize(
    ("by_line", "words", "characters"),
    [
        (True, 3 + 1 + 0 + 1 + 3 + 3 + 2 + 2, 11 + 1 + 0 + 1 + 4 + 3 + 9 + 2),
        (False, 3 + 1 + 0 + 1 + 3 + 1 + 2 + 1, 11 + 1 + 0 + 1 + 7 + 1 + 10 + 1),
    ],
)
def test_words_and_characters_are_counted_with_their_ends(by_line, words, characters):
    found = metrics.perplexity(answers(5.0, 1.0, 7.0, 2.5, tokens=4), TEXTS, by_line)
    assert found == pytest.approx(
        {
            "perplexity": math.exp(15.5 / words),
            "perplexity_twice": math.exp(31 / words),
            "bits_per_character": 15.5 / LN2 / characters,
            "loss": 15.5 / 16,
            "unknown": 0,
        }
    )


def test_unknown_is_the_share_of_all_tokens():
    mixed = [*answers(1.0, tokens=6, unknown=3), *answers(1.0, tokens=2, unknown=1), *answers(0.0)]
    assert metrics.perplexity(mixed, ["a", "b", "c"], False)["unknown"] == 4 / 9


def test_what_is_counted_of_a_row_are_its_tokens_and_those_that_are_unknown():
    found = metrics.likelihood({"": 2.5, "_cache": 1.0}, iter([4, UNK, 0, EOS, UNK]))
    assert found == {"nats": {"": 2.5, "_cache": 1.0}, "tokens": 5, "unknown": 2}


@pytest.mark.parametrize("nats", [1e6, 1e300, math.inf])
def test_a_hopeless_model_has_a_huge_perplexity_and_no_error(nats):
    found = metrics.perplexity(answers(nats), ["a b"], False)
    assert 1e300 < found["perplexity"] == found["perplexity_twice"] < math.inf
    assert found["loss"] == nats


def test_a_perplexity_below_the_bound_is_exact():
    assert metrics.perplexity(answers(2 * 699.0), ["a"], False)["perplexity"] == math.exp(699)


@pytest.mark.parametrize("by_line", [False, True])
def test_no_rows_have_no_perplexity_and_cost_nothing(by_line):
    found = metrics.perplexity([], [], by_line)
    assert found == {"bits_per_character": 0, "loss": 0, "unknown": 0}


def test_tokens_do_not_count_where_the_nats_are_the_same():
    few, many = (metrics.perplexity(answers(30.0, tokens=n), ["a cat sat"], True) for n in (4, 10))
    assert (few.pop("loss"), many.pop("loss")) == (7.5, 3)
    assert few == many


def generate(kind, stream):
    tokenizer = TOKENIZERS[kind].train([*TEXTS, *ODD], 60)
    return Generate(Backbone(len(tokenizer), bidirectional=False), tokenizer, stream)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("kind", ["whitespace", "characters"])
def test_what_has_a_token_to_a_word_or_character_is_scored_by_its_tokens(stream, kind):
    task = generate(kind, stream)
    rows = [Row({"text": text}, "row") for text in [*TEXTS, *ODD]]
    targets = [task.encode(row)["target"] for row in rows]
    found = task.compute_metrics([metrics.likelihood({"": 3.0 * len(t)}, t) for t in targets], rows)
    assert found["loss"] == pytest.approx(3)
    bits = found["bits_per_character"]
    each = {"whitespace": math.log(found["perplexity"]), "characters": bits * LN2}
    assert each[kind] == pytest.approx(3)


def test_whitespace_keeps_words_as_they_are():
    tokenizer = Whitespace.train(["The the the , . don't  É\tx\ny"] * 2, 40)
    text = "the The , don't É . x y"
    assert len({*tokenizer.encode(text)}) == 8
    assert tokenizer.decode(tokenizer.encode(f" {text}\n")) == text
    assert tokenizer.encode("THE don 't é the,") == [UNK] * 5


@pytest.mark.parametrize("name", SPECIALS)
def test_a_special_in_a_text_of_words_is_unknown(name):
    tokenizer = Whitespace.train([f"a {name} {name} {name} b", "a"], 40)
    assert tokenizer.tokens == [*SPECIALS, "a", "b"]
    assert tokenizer.encode(f"a {name} b") == [4, UNK, 5]
    assert tokenizer.decode([4, UNK, EOS, 5]) == "a <unk> b"


def rows(*texts):
    return [Row({"text": text}, "row") for text in texts]


def noise(count, seed=0):
    """Letters of 4 bits each, and no word ends."""
    return "".join(random.Random(seed).choices("abcdefghijklmnop", k=count))


def test_noise_costs_its_bits_and_what_is_known_next_to_nothing():
    text = noise(20_000)
    found = [
        baselines.lzma_compression(rows(known), rows(text))["bits_per_character"]
        for known in ("", noise(20_000, 1), text)
    ]
    assert found[0] == pytest.approx(4.1, abs=0.1)
    assert found[1] == pytest.approx(4.1, abs=0.1)
    assert found[2] < 0.05


def test_a_text_that_repeats_itself_costs_little():
    assert baselines.lzma_compression([], rows(*["the cat sat"] * 500))["bits_per_character"] < 0.1


@pytest.mark.parametrize("texts", [["é à la ü " * 40], TEXTS * 10, [noise(50) + " x"] * 3])
def test_the_figures_of_a_compressor_describe_the_same_nats(texts):
    found = baselines.lzma_compression(rows("a b c", "d"), rows(*texts))
    words = sum(len(line.split()) + 1 for text in texts for line in lines(text))
    characters = sum(len(line) + 1 for text in texts for line in lines(text))
    bits = found["bits_per_character"] * characters
    assert math.log2(found["perplexity"]) * words == pytest.approx(bits)
    assert bits > 0
    assert round(bits, 6) % 8 == pytest.approx(0, abs=1e-6)
    assert found["method"] == "LZMA"
    assert found["rows"] == 2


def test_a_compressor_keeps_so_many_rows_and_says_so(monkeypatch):
    monkeypatch.setattr(baselines, "MOST_ROWS", 2)
    known, read = rows(noise(900, 1), noise(900, 2), noise(900, 3)), []
    first, last = (
        baselines.lzma_compression((read.append(row) or row for row in known), [row])
        for row in (known[0], known[2])
    )
    assert (first["rows"], len(read)) == (2, 4)
    assert first["bits_per_character"] < 0.5 < 4 < last["bits_per_character"]
