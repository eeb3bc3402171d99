"""Which scripts are written without blanks."""

from __future__ import annotations

from collections import Counter

import pytest

from zoo.text.scripts import unspaced_share


@pytest.mark.parametrize(
    ("text", "share"),
    [
        ("これは本です", 1.0),
        ("这是一本书", 1.0),
        ("นี่คือหนังสือ", 1.0),
        ("this is a book", 0.0),
        ("это книга, 12", 0.0),
        ("이것은 책이다", 0.0),
        ("हिन्दी में", 0.0),
        ("本ab", 1 / 3),
        ("", 0.0),
        ("12 !", 0.0),
    ],
)
def test_the_letters_of_scripts_without_blanks_are_counted(text, share):
    assert unspaced_share(Counter(text)) == pytest.approx(share)
