"""Perplexity per word with tokenizers of words and of characters; their lines and unknown words."""

from __future__ import annotations

import math

import pytest

from tasks.generate import Generate
from zoo.data.readers import Row
from zoo.evaluation import metrics
from zoo.nn.backbone import Backbone
from zoo.text.special_ids import EOS, SPECIALS, UNK
from zoo.text.tokenizers import TOKENIZERS, Whitespace, lines

TEXTS = ["the cat sat", "", "a\n b\r\nc", " the  end\n"]
ODD = ["one\u2028two", "a\u00a0b\tc", "x\x0by\x1cz", "tab\tend \n", "\r", "\n\r\n\r"]
LN2 = math.log(2)


@pytest.mark.parametrize(("text", "wanted"), [
    ("", [""]), ("a", ["a"]), ("a\n", ["a", ""]), ("\n", ["", ""]), ("a\nb", ["a", "b"]),
    ("a\r\nb", ["a", "b"]), ("a\rb", ["a", "b"]), ("a\n\rb", ["a", "", "b"]), ("a\r\r\n", ["a", "", ""]),
    (" a \n b", [" a ", " b"]), ("a\u2028b\x0bc\x85d\x1ce", ["a\u2028b\x0bc\x85d\x1ce"]),
])  # fmt: skip
def test_lines_end_at_line_ends_alone(text, wanted):
    assert lines(text) == wanted


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
