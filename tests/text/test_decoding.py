"""Bytes to lines: encodings that can be told are read and said, others name the cure."""

from __future__ import annotations

import gzip
import io
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zoo.errors import InputError, RowError
from zoo.text.decoding import check_encoding, decoded

GERMAN = "Größe und Maß, für Mädchen schön\nÜber Öl läßt sich früh müßig grübeln\n" * 20
RUSSIAN = "Все люди рождаются свободными и равными\nОни наделены разумом и совестью\n" * 5
JAPANESE = (
    "すべての人間は、生まれながらにして自由である\n人間は、理性と良心とを授けられている\n" * 5
)
CHINESE = "人人生而自由，在尊严和权利上一律平等\n他们赋有理性和良心\n" * 5
TOLD = [
    (GERMAN, "cp1252"),
    (RUSSIAN, "cp1251"),
    (RUSSIAN, "koi8_r"),
    (JAPANESE, "cp932"),
    (JAPANESE, "euc_jp"),
    (JAPANESE, "iso2022_jp"),
    (CHINESE, "gb18030"),
    ("text,label\n" + JAPANESE, "utf-16-le"),
    ("text,label\n" + JAPANESE, "utf-16-be"),
    ("text,label\n" + JAPANESE.replace("、", "\u3000"), "utf-16-le"),
]


def read(data, name="a.txt", encoding=None):
    """The lines of bytes, and what is said about them."""
    said = []
    return list(decoded(io.BytesIO(data), name, encoding, said.append)), said


@pytest.mark.parametrize(("text", "encoding"), TOLD, ids=lambda v: v if len(v) < 12 else "")
def test_an_encoding_that_can_be_told_is_read_and_said_once(text, encoding):
    lines, said = read(text.encode(encoding))
    assert lines == text.splitlines()
    assert len(said) == 1
    assert said[0].startswith(f"a.txt: is read as {encoding}")


@pytest.mark.parametrize(("encoding", "told"), [("koi8_r", "koi8_r"), ("cp866", None)])
def test_cyrillic_letters_are_never_read_as_katakana_or_thai(encoding, told):
    text = "".join(
        f"этот {'фильм очень хороший' if n % 2 else 'ужин ужасно плохой'} отзыв {n},a\n"
        for n in range(40)
    )
    data = ("text,label\n" + text).encode(encoding)
    if told is None:
        with pytest.raises(RowError, match=r"^a\.txt:2: not UTF-8"):
            read(data)
    else:
        assert read(data)[0][1:] == text.splitlines()


@pytest.mark.parametrize("encoding", ["cp932", "euc_jp"])
@pytest.mark.parametrize(
    "text", ["荷物がまだ届きません。ご確認ください。", "パスワードをなくしました"]
)
def test_kana_tell_a_single_line_of_japanese(text, encoding):
    found, said = read(text.encode(encoding))
    assert (found, len(said)) == ([text], 1)
    assert encoding in said[0]


@pytest.mark.parametrize(
    ("encoding", "perhaps"),
    [("cp932", "cp932 / gb18030 / "), ("euc_jp", "cp932 / euc_jp / gb18030 / big5")],
)
def test_two_labels_do_not_tell_an_encoding_in_however_many_rows(encoding, perhaps):
    lines = [f"item {n} {'is late,悪い' if n % 2 else 'thanks,良い'}\n" for n in range(100)]
    with pytest.raises(RowError, match=rf"a\.txt:1: not UTF-8 .*, here perhaps {perhaps}"):
        read("".join(lines).encode(encoding))


def test_what_is_proposed_for_latin_letters_holds_the_commonest_encoding():
    lines = [
        f"{'très bon café numéro' if n % 2 else 'mauvais goût déçu'} {n}\n" for n in range(100)
    ]
    with pytest.raises(RowError, match="here perhaps cp1252 / "):
        read("".join(lines).encode("cp1252"))


def test_letters_of_korean_are_not_taken_for_kana():
    text = "오늘 정말 재밌다 ㅋㅋㅋㅋㅋㅋㅋㅋㅋㅋ 고마워요"
    assert read(text.encode("cp949"))[0] == [text]


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32", "utf-8-sig"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"], ids=ascii)
@pytest.mark.parametrize("given", [True, False])
def test_a_mark_tells_the_encoding_whatever_ends_the_lines(encoding, end, given):
    text = "text,label\nn\u00e4he \u65e5\u672c,a\n\u00fcber,b\n"
    data = text.replace("\n", end).encode(encoding)
    assert read(data, encoding=encoding if given else None)[0] == text.splitlines()


@pytest.mark.parametrize(("text", "encoding"), TOLD, ids=lambda v: v if len(v) < 12 else "")
def test_a_given_encoding_is_read_without_a_word(text, encoding):
    assert read(text.encode(encoding), encoding=encoding) == (text.splitlines(), [])


def test_plain_lines_before_the_first_other_one_change_nothing():
    data = ("plain\n" * 30_000 + GERMAN).encode("cp1252")
    lines, said = read(data)
    assert lines == ["plain"] * 30_000 + GERMAN.splitlines()
    assert len(said) == 1


FRENCH = "la fa\u00e7ade du ch\u00e2teau a \u00e9t\u00e9 r\u00e9nov\u00e9e\n"


@pytest.mark.parametrize(
    ("data", "line"),
    [
        (
            b"fine\nna\xefve\n",
            r"a\.txt:2: not UTF-8 \(byte 0xef at column 3\): save the file as UTF",
        ),
        (FRENCH.encode("cp1252"), "set data.encoding to what it is, here perhaps cp1252"),
        ("é\n".encode() + FRENCH.encode("cp1252"), r"a\.txt:2: not UTF-8 \(byte 0xe7"),
        (FRENCH.encode("cp1252") + "é\n".encode(), r"a\.txt:1: not UTF-8 \(byte 0xe7.*what it is$"),
        (b"a\nb\0c\n", r"a\.txt:2: a NUL byte.*UTF-16"),
    ],
)
def test_what_cannot_be_told_names_the_place_and_the_cure(data, line):
    with pytest.raises(RowError, match=line):
        read(data)


def test_a_line_that_the_encoding_lacks_is_named():
    with pytest.raises(RowError, match=r"^a\.txt:2: not cp1252 \(byte 0x81 at column 2\)"):
        read(b"a\nb\x81\n", encoding="cp1252")
    data = "é\n".encode("utf-16-le") * 50_000 + b"\0\xd8a\0"
    with pytest.raises(RowError, match=r"^a\.txt:50001: not utf-16-le"):
        read(data, encoding="utf-16-le")


@pytest.mark.parametrize("name", ["rot13", "base64", "latin-99", ""])
def test_an_encoding_that_is_none_is_named(name):
    with pytest.raises(InputError, match=rf"^data\.encoding={name}: no such encoding; there are"):
        check_encoding(name)


@pytest.mark.parametrize("name", [None, "cp932", "utf-16", "Latin-1", "shift_jis"])
def test_an_encoding_of_python_is_one(name):
    check_encoding(name)


def test_gzip_is_known_by_its_bytes():
    data = gzip.compress(b"one\ntwo\n")
    assert read(data, "a.csv") == (
        ["one", "two"],
        ["a.csv: is gzip'ed, although its name does not end in .gz"],
    )
    for name in ("a.csv.gz", "a.csv.GZ"):
        assert read(data, name) == (["one", "two"], [])


@pytest.mark.parametrize("encoding", ["utf-8", "cp1251"])
def test_cr_ends_lines_where_nothing_else_does(encoding):
    lines, said = read(RUSSIAN.replace("\n", "\r").encode(encoding))
    assert lines == RUSSIAN.splitlines()
    assert said[0] == "a.txt: CR ends its lines"


@pytest.mark.parametrize("data", [b"one\rtwo\nthree\n", b"one\rtwo\r\nthree\r\n"])
def test_cr_is_text_where_lf_ends_lines(data):
    assert read(data) == (["one\rtwo", "three"], [])


PIECES = st.sampled_from(
    [b"a", b",", b"\n", b"\r", b"\0", b"\xff\xfe", b"\xe9", b"\x1b$B", b"\x1f\x8b"]
)


@given(st.binary() | st.lists(PIECES).map(b"".join), st.sampled_from(["a.txt", "a.csv.gz"]))
def test_whatever_the_bytes_are_they_are_lines_or_one_line_of_an_error(data, name):
    lines, said = [], f"{name}:"
    try:
        lines, _ = read(data, name)
    except InputError as error:
        said = str(error)
    assert said.startswith(f"{name}:")
    assert "\n" not in "".join([said, *lines])


def test_a_pipe_is_read_as_it_arrives():
    reading, writing = os.pipe()
    with open(reading, "rb") as file, open(writing, "wb", buffering=0) as pipe:
        lines = decoded(file, "input")
        for text in ("one", "zw\u00f6lf"):
            pipe.write(f"{text}\n".encode())
            assert next(lines) == text


def test_a_pipe_with_another_encoding_does_not_wait_for_more():
    reading, writing = os.pipe()
    with open(reading, "rb") as file, open(writing, "wb", buffering=0) as pipe:
        lines = decoded(file, "input")
        pipe.write("zw\u00f6lf\n".encode("cp1252"))
        with pytest.raises(RowError, match=r"^input:1: not UTF-8"):
            next(lines)
