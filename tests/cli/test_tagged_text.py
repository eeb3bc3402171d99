"""Labelled words in CoNLL format and in colour."""

from __future__ import annotations

import pytest

from zoo.cli import tagged_text


def test_conll_is_a_word_and_its_label_to_a_line():
    assert tagged_text.conll(["Ann", "left"], ["B-P", "O"]) == "Ann\tB-P\nleft\tO\n"
    assert tagged_text.conll([], []) == ""
    with pytest.raises(ValueError, match="zip"):
        tagged_text.conll(["Ann", "left"], ["O"])


EVERY = ["B-L", "B-P", "I-L", "I-P", "O"]


def shown(words, labels, every=EVERY):
    """Return the plain text, and each styled part with its style."""
    text = tagged_text.coloured(words.split(), labels.split(), every)
    return text.plain, [(text.plain[s.start : s.end], str(s.style)) for s in text.spans]


def test_a_span_has_one_colour_and_one_name():
    text, styles = shown("Ann Lee saw the Rome", "B-P I-P O O B-L")
    assert text == " Ann Lee  P saw the  Rome  L"
    (person, colour), (place, other) = tagged_text.COLOURS[1::-1], tagged_text.COLOURS[:1] * 2
    assert styles == [
        (" Ann Lee ", f"black on {person}"),
        (" P", person),
        (" Rome ", f"black on {place}"),
        (" L", other),
    ]
    assert colour == place


@pytest.mark.parametrize(
    ("labels", "text"),
    [
        ("B-P B-P O", " a  P  b  P c"),
        ("B-P I-L I-L", " a  P  b c  L"),  # another kind begins another span
        ("O I-P I-P", "a  b c  P"),
        ("I-P O I-P", " a  P b  c  P"),
        ("S-P B-P E-P", " a  P  b c  P"),
        ("O O O", "a b c"),
    ],
)
def test_words_are_together_as_far_as_their_span_goes(labels, text):
    assert shown("a b c", labels)[0] == text


def test_a_label_has_the_same_colour_in_all_sentences():
    colours = {}
    for labels in ("B-P O B-L", "B-L B-P O", "O B-P I-P", "I-L O O"):
        for part, style in shown("x y z", labels)[1]:
            if "on" not in style.split():
                colours.setdefault(part, set()).add(style)
    assert colours == {" P": {tagged_text.COLOURS[1]}, " L": {tagged_text.COLOURS[0]}}


def test_labels_of_no_spans_are_a_colour_each_word_for_itself():
    text, styles = shown("a b c", "X X Y", ["Y", "X"])
    assert text == " a  X  b  X  c  Y"
    assert [style for _, style in styles[1::2]] == [
        *tagged_text.COLOURS[:1] * 2,
        tagged_text.COLOURS[1],
    ]
    many = [f"L{n:02}" for n in range(40)]  # more than there are colours
    assert len(shown(" ".join(many), " ".join(many), many)[1]) == 80


def test_a_terminal_gets_colours_and_no_line_is_broken(monkeypatch):
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("COLUMNS", "20")
    text = tagged_text.coloured(["[red]", *["word"] * 40, ":smile:"], ["B-P", *["O"] * 41], EVERY)
    found = tagged_text.ansi(text)
    assert found.startswith("\x1b[")
    assert "\n" not in found
    assert "[red]" in found  # words are no markup
    assert found.endswith("word :smile:")
    assert tagged_text.ansi(tagged_text.coloured([], [], EVERY)) == ""
