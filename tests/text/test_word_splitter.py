"""Splitting text into words: as in treebanks, and only blanks are dropped."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zoo.text.word_splitter import split

# text -> its words, between blanks
CASES = {
    # the docstring's
    "Don't!": "Do n't !",
    "17th naïve O'Brien": "17th naïve O'Brien",
    "well-known": "well - known",
    "1,234.5 14:05 5/17/2031": "1,234.5 14:05 5/17/2031",
    "we'll John's": "we 'll John 's",
    "U.S. e.g. https://a.org/b me@a.org": "U.S. e.g. https://a.org/b me@a.org",
    "土曜日": "土 曜 日",
    "2031년": "2031 년",
    "… !!! --": "… !!! --",
    # contractions
    "don’t": "do n’t",
    "can't cannot won’t": "ca n't cannot wo n’t",
    "We’re I'm he’d you've it's": "We ’re I 'm he ’d you 've it 's",
    "DON'T HE'LL": "DO N'T HE 'LL",
    "shouldn't've": "should n't 've",
    "O’Brien’s o'clock l'homme": "O’Brien ’s o'clock l'homme",
    "the dogs' 'quoted'": "the dogs ' ' quoted '",
    "n't 's": "n't 's",
    "isn'ting": "isn'ting",
    # abbreviations and the ends of sentences
    "It is 5 p.m. now.": "It is 5 p.m. now .",
    "(i.e., the U.S.)": "( i.e. , the U.S. )",
    "The end of plan b.": "The end of plan b .",
    # addresses
    "See https://a.org/b?c=d&e=1#f.": "See https://a.org/b?c=d&e=1#f .",
    "(http://a.org/b/) www.a.org,": "( http://a.org/b/ ) www.a.org ,",
    "HTTP://A.ORG": "HTTP://A.ORG",
    "a.b+c@d-e.co.uk, me_2@a.org!": "a.b+c@d-e.co.uk , me_2@a.org !",
    "@you #me": "@ you # me",
    # numbers
    "1.234.567,89 3.14. 1’234.5": "1.234.567,89 3.14 . 1’234.5",
    "$5.00 50% 3.5kg +49": "$ 5.00 50 % 3.5 kg + 49",
    "2031-05-17 14:05:59": "2031 - 05 - 17 14:05:59",
    "17.05.2031, 1st": "17.05.2031 , 1st",
    "١٢/٥/٢٠٣١": "١٢/٥/٢٠٣١",
    # signs
    "wait... no??!": "wait ... no ?? !",
    "«a» “b” a--b": "« a » “ b ” a -- b",
    "x_y C++ a/b": "x_y C ++ a / b",
    # scripts
    "2031年5月17日（土）": "2031 年 5 月 17 日 （ 土 ）",
    "カタカナー です。": "カ タ カ ナ ー で す 。",
    "か\u3099き": "か\u3099 き",
    "ที่นี่ วัน": "ที่ นี่ วั น",
    "ភាសា": "ភា សា",
    "5월 17일 한국어abc": "5 월 17 일 한국어 abc",
    "\u1112\u1161\u11ab 가": "\u1112\u1161\u11ab 가",
    "हिन्दी में क्षत्रिय।": "हिन्दी में क्षत्रिय ।",
    "العربية كِتَابٌ، نعم؟": "العربية كِتَابٌ ، نعم ؟",
    "می\u200cخواهم": "می\u200cخواهم",
    "na\u0308ive e\u0301te\u0301": "na\u0308ive e\u0301te\u0301",
    "Ελληνικά русский עִבְרִית": "Ελληνικά русский עִבְרִית",
    # emoji
    "hi😀 😀😀": "hi 😀 😀😀",
    "👨\u200d👩\u200d👧 👍🏽 ❤\ufe0f 1\ufe0f\u20e3": "👨\u200d👩\u200d👧 👍🏽 ❤\ufe0f 1\ufe0f\u20e3",
    "🇩🇪🇯🇵": "🇩🇪 🇯🇵",
}


@pytest.mark.parametrize("text", CASES)
def test_words_are_cut_as_treebanks_cut_them(text):
    assert split(text) == CASES[text].split(" ")


@pytest.mark.parametrize("text", ["", " ", "\n\t \r\n", "\u3000\u00a0", "\u2028\x1c\x85"])
def test_of_blanks_there_are_no_words(text):
    assert split(text) == []


def test_all_kinds_of_blanks_part_words():
    assert split(" a\u00a0b\u3000c\td\ne\u2009f ") == ["a", "b", "c", "d", "e", "f"]


PIECES = (
    "a Z é n't ’t ' ’ 's 'll . , - -- ... ! @ / : 1 23 ٣ _ + https:// www. a@b.c U.S. 日 か ー ゙ "
    "ที่ ก 년 한 हि ् كِ \u0301 \u200d \u200c \ufe0f 👍 🏽 🇩 👩 ß ſ İ \u0000 \ufffd"
)
pieces = st.sampled_from([*PIECES.split(" "), *" \t\u00a0\u3000\n"])
texts = st.text() | st.lists(pieces, max_size=20).map("".join)


@given(texts)
def test_nothing_but_blanks_is_lost(text):
    words = split(text)
    assert "".join(words) == "".join(text.split())
    assert all(word and not any(map(str.isspace, word)) for word in words)


@given(texts, texts)
def test_what_stands_behind_a_blank_has_no_say(one, other):
    assert split(f"{one} {other}") == split(one) + split(other)


@pytest.mark.parametrize("text", ["a", "a'", "1:", "www.!", "n't", "😀", "-", "a.", "http://"])
def test_a_part_without_blanks_may_be_long(text):
    start = time.perf_counter()
    assert "".join(split(text * 3000)) == text * 3000
    assert time.perf_counter() - start < 2


def seconds(text, count):
    """The fastest of three runs that split `count` repetitions of a text."""
    found = []
    for more in range(3):
        part = text * (count + more)
        start = time.process_time()
        split(part)
        found.append(time.process_time() - start)
    return min(found)


@pytest.mark.parametrize("text", ["a-", "+-", "日"])
def test_four_times_as_much_takes_four_times_as_long(text):
    assert seconds(text, 480) < 8 * seconds(text, 120)


@pytest.mark.parametrize("text", ["👍 👍🏽", "❤ ❤\ufe0f", "👩 👩\u200d🚀"])
def test_a_repeated_sign_does_not_lose_its_mark(text):
    assert not any(word[0] in "🏽\ufe0f\u200d" for word in split(text.replace(" ", "")))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("連絡はme@a.orgへ。", "連 絡 は me@a.org へ 。"),
        ("https://a.org/bを見る。", "https://a.org/b を 見 る 。"),
    ],
)
def test_an_address_ends_where_japanese_begins(text, words):
    assert split(text) == words.split(" ")
