"""Normal spacing of tokenized English and Japanese."""

from __future__ import annotations

import pytest

from zoo.data.corpora.spacing import english, japanese


@pytest.mark.parametrize(
    ("tokens", "text"),
    [
        ("i can 't tell , i 'm sure .", "I can't tell, I'm sure."),
        ("it 's nine o 'clock ; come !", "It's nine o'clock; come!"),
        ("no . so am i.", "No. So am I."),
        ("ten minutes ' walk ...", "Ten minutes' walk..."),
        ("'' what is it ? '' he wondered .", '"What is it?" he wondered.'),
        ("he said , ' let 's go . '", "He said, 'Let's go.'"),
        ("say '' no '' and '' yes '' .", 'Say "no" and "yes".'),
        ("here 's $ 5 or 1,000 .", "Here's $5 or 1,000."),
        ("a '' b", 'A" b'),  # it closes: nothing is taken apart
        ("1980 was part-time in the u.s. they say", "1980 was part-time in the u.s. they say"),
        ("", ""),
    ],
)
def test_english_signs_and_contractions_are_joined(tokens, text):
    assert english(tokens) == text


@pytest.mark.parametrize(
    ("tokens", "text"),
    [
        (" 私 は ５ 時 に 行 く 。 ", "私は５時に行く。"),
        ("「 thank you 」 と 言 う ｃｄ ｉｎ 店", "「thank you」と言うｃｄ ｉｎ店"),
        ("ａ 1 2 b", "ａ12b"),
        ("", ""),
    ],
)
def test_japanese_words_are_joined_but_latin_ones(tokens, text):
    assert japanese(tokens) == text
