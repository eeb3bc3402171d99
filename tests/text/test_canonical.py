"""Canonical text: composed letters, one kind of blank, and tabs and line ends where they count."""

from __future__ import annotations

import sys
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zoo.text.canonical import canonical, composed

WHITE = [chr(i) for i in range(sys.maxunicode + 1) if chr(i).isspace()]
LINES = set("\t\n\v\f\r\x1c\x1d\x1e\x1f\x85\u2028\u2029")


def test_every_white_space_is_a_blank():
    assert len(WHITE) > 20
    assert {canonical(white) for white in WHITE} == {" "}
    assert canonical("a\u200bb_c") == "a\u200bb_c"  # a space of no width is none


def test_tabs_and_line_ends_can_be_kept():
    kept = {white for white in WHITE if canonical(white, keep_lines=True) != " "}
    assert kept == LINES


@pytest.mark.parametrize("text", ["cafe\u0301", "\u1112\u1161\u11ab", "\u212b", "が"])
def test_letters_are_composed(text):
    assert composed(text) == canonical(text) == unicodedata.normalize("NFC", text)


@pytest.mark.parametrize("text", ["½ ｆｕｌｌ ²", "plain, ascii\t", ""])
def test_what_only_resembles_stays(text):
    assert composed(text) == text


@given(st.text())
def test_canonical_text_stays_as_it_is(text):
    assert canonical(canonical(text)) == canonical(text)
