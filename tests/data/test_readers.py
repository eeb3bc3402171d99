"""Rows: every format, silent normalisation, and one-line errors with source and fix."""

import csv
import gzip
import io
import json
import logging
import os
import re
import threading
import tracemalloc
from contextlib import suppress

import pytest
from corpus_cases import files
from hypothesis import given
from hypothesis import strategies as st

from zoo.data import readers
from zoo.errors import InputError, RowError

PLAIN = [("a good film", "pos"), ("bad, \N{SNOWMAN}", "neg"), ("", "neg")]
TABLE = [{"text": text, "label": label} for text, label in PLAIN]

FORMATS = {
    "a.jsonl": "".join(json.dumps(row) + "\n" for row in TABLE),
    "a.csv": 'text,label\na good film,pos\n"bad, \N{SNOWMAN}",neg\n,neg\n',
    "a.tsv": "text\tlabel\na good film\tpos\nbad, \N{SNOWMAN}\tneg\n\tneg\n",
}
PACKED = pytest.mark.parametrize("packed", [False, True], ids=["plain", "gz"])


def read(name):
    return [dict(row) for row in readers.read(name)]


def message(name):
    """The one line of the error that reading a file ends in."""
    with pytest.raises(InputError) as caught:
        list(readers.read(name))
    assert "\n" not in str(caught.value)
    return str(caught.value)


@PACKED
@pytest.mark.parametrize("name", FORMATS)
def test_tables_hold_equal_rows_in_every_format(write, name, packed):
    assert read(write(name + ".gz" * packed, FORMATS[name])) == TABLE


@PACKED
def test_a_text_file_holds_a_row_per_line(write, packed):
    name = write("a.txt" + ".gz" * packed, "one\n\n two \nlast without an end")
    assert [r["text"] for r in readers.read(name)] == ["one", "", " two ", "last without an end"]
    assert [r.source for r in readers.read(name)] == [f"{name}:{i}" for i in (1, 2, 3, 4)]


@PACKED
def test_parallel_files_are_read_line_by_line(write, packed):
    source = write("a.en" + ".gz" * packed, "\ufeffone\r\n\r\n")
    target = write("a.ja" + ".gz" * packed, "一\n空\n")
    pairs = list(readers.parallel(source, target))
    assert pairs == [{"source": "one", "target": "一"}, {"source": "", "target": "空"}]
    assert pairs[1].source == f"{source}:2"


@PACKED
def test_a_folder_holds_a_text_per_file_and_its_label(write, packed):
    write("f/notes.txt", "no label, no row")
    for number, (text, label) in enumerate(PLAIN):
        write(f"f/{label}/{number}.txt" + ".gz" * packed, "\ufeff" + text)
    assert read("f") == [TABLE[1], TABLE[2], TABLE[0]]
    write("f/pos/5.txt" + ".gz" * packed, "two\r\nlines\n")
    assert read("f")[-1] == {"text": "two\nlines", "label": "pos"}


def test_the_texts_of_a_folder_are_read_in_the_order_of_their_names(write):
    names = [write(f"f/{label}/{number}.txt", "") for label in "ypqa" for number in range(9)]
    assert [row.source for row in readers.read("f")] == sorted(names)


@pytest.mark.parametrize("name", FORMATS)
def test_byte_order_mark_and_crlf_change_nothing(write, name):
    text = FORMATS[name]
    plain = read(write(name, text))
    assert read(write(name, "\ufeff" + text.replace("\n", "\r\n"))) == plain


@pytest.mark.parametrize("text", ["NA", "null", "nan", "None", "1", "1e5", "true", " a "])
def test_texts_of_tables_stay_as_they_are_written(write, text):
    row = {"text": text, "label": "1"}
    assert read(write("a.csv", f"text,label\n{text},1\n")) == [row]
    assert read(write("a.tsv", f"text\tlabel\n{text}\t1\n")) == [row]
    assert read(write("a.txt", text + "\n")) == [{"text": text}]


def test_numbers_of_json_stay_numbers(write):
    name = write("a.jsonl", '{"text": "x", "label": 1}\n\n{"text": null, "label": 0.5}\n')
    assert read(name) == [{"text": "x", "label": 1}, {"text": None, "label": 0.5}]
    assert [row.source for row in readers.read(name)] == ["a.jsonl:1", "a.jsonl:3"]


def test_a_line_break_in_quotes_is_text_and_is_counted(write):
    name = write("a.csv", 'text,label\n"one\n\n""two""",a\n\nthree,b\n')
    first, second = readers.read(name)
    assert (first["text"], first.source) == ('one\n\n"two"', "a.csv:2")
    assert (second["text"], second.source) == ("three", "a.csv:6")


def test_quotation_marks_of_tsv_are_characters(write):
    assert read(write("a.tsv", 'text\tn\n"a\t"\n'))[0] == {"text": '"a', "n": '"'}


@pytest.mark.parametrize("mark", ["\u2028", "\u0085", "\u2029", "\f", "\v", "\x1c"])
def test_only_a_line_feed_ends_a_line(write, mark):
    text = f"a{mark}b"
    assert read(write("a.txt", text + "\n")) == [{"text": text}]
    assert read(write("a.csv", f"text\n{text}\n")) == [{"text": text}]
    assert read(write("a.jsonl", json.dumps({"text": text}, ensure_ascii=False)))[0]["text"] == text


TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\r\ufeff"))
# One name with ; | or a tab could as well be two names: no rule can tell.
ONE = TEXTS.map(str.strip).filter(lambda name: name and not set(name) & set(";|\t"))
NAMES = st.lists(ONE, min_size=1, max_size=4, unique=True).filter(lambda n: n[0][:4] != "sep=")


@given(names=NAMES, data=st.data())
def test_what_csv_and_json_write_comes_back_equal(tmp_path_factory, names, data):
    cells = st.lists(TEXTS, min_size=len(names), max_size=len(names))
    table = [dict(zip(names, r, strict=True)) for r in data.draw(st.lists(cells, min_size=1))]
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, names)
    writer.writeheader()
    writer.writerows(table)
    folder = tmp_path_factory.mktemp("t")
    (folder / "a.csv").write_bytes(buffer.getvalue().encode())
    assert read(folder / "a.csv") == table
    dumped = (json.dumps(r, ensure_ascii=i % 2 == 0) + "\n" for i, r in enumerate(table))
    (folder / "a.jsonl").write_bytes("".join(dumped).encode())
    assert read(folder / "a.jsonl") == table


TEN = "\t".join("1abcdefghi")
BROKEN = {  # name, content: how the error begins, and the cure it names
    ("a.csv", "a,b\n1,2\n3\n"): ("a.csv:3: ", "1 cells, .* 2: every row needs"),
    ("b.csv", "a,b\n1,2\n3,4,5\n"): ("b.csv:3: ", "3 cells, .* 2: every row needs"),
    ("c.csv", 'a,b\n"x\ny",2\n"3,4\n5,6\n'): ("c.csv:4: ", "not closed"),
    ("d.csv", 'a,b\n"x" y,2\n'): ("d.csv:2: ", "quotation mark"),
    ("e.csv", "a,b\nx\r,y\n"): ("e.csv:2: ", "end the lines with LF"),
    ("f.csv", "a,b\n"): ("f.csv: ", "no rows; needed"),
    ("g.csv", "text,a,text\n1,2,3\n"): ("g.csv:1: ", "text twice: rename"),
    ("a.tsv", "a\tb\n1\t2\n3\n"): ("a.tsv:3: ", "1 cells, .* 2"),
    ("b.tsv", "a\ta\n"): ("b.tsv:1: ", "a twice: rename"),
    ("a.txt", "fine\nna\xefve\n".encode("latin-1")): ("a.txt:2: ", "0xef at column 3.*UTF-8"),
    ("b.txt", "a\nb\0c\n"): ("b.txt:2: ", "NUL.*UTF-8"),
    ("c.txt", "text".encode("utf-16") + b"x"): (
        "c.txt:1: ",
        "utf-16-le .*truncated.*data.encoding",
    ),
    ("e.txt", "a\nb\n".encode("utf-16") + b"\0\xd8y\0"): ("e.txt:3: ", "utf-16-le"),
    ("z.csv", b"PK\x03\x04 and so on"): ("z.csv: ", "a zip archive or a spreadsheet.*save it as"),
    ("y.txt", b"BZh91AY&SY and so on"): ("y.txt: ", "compressed by bzip2"),
    ("é.txt", "né\n".encode() + b"na\xefve\n"): ("é.txt:2: ", "0xef at column 3"),
    ("h.csv", "text,label,text ,\n"): ("h.csv:1: ", "text twice: rename"),
    ("i.csv", "text,,,label\n"): ("i.csv:1: ", "nothing twice: rename"),
    ("d.txt", ""): ("d.txt: ", "no rows; needed"),
    ("d.txt.gz", ""): ("d.txt.gz: ", "no rows; needed"),
    ("a.jsonl", '{"a": 1}\n{"a": \n'): ("a.jsonl:2: ", "not JSON.*one object in each line"),
    ("b.jsonl", "{}\n\n[1]\n"): ("b.jsonl:3: ", "object is needed.*not a list"),
    ("c.jsonl", "[" * 100_000): ("c.jsonl:1: ", "not JSON"),
    ("d.jsonl", "1" * 5_000): ("d.jsonl:1: ", "not JSON"),
    ("a.conllu", f"{TEN}\n\n1\tb\tc\n"): ("a.conllu:3: ", "3 columns.*ten"),
    ("b.conllu", f"{TEN}\nx{TEN}\n"): ("b.conllu:2: ", "'x1'.*1, 3-4 or 8.1"),
    ("c.conllu", "# a comment\n\n"): ("c.conllu: ", "no rows"),
    ("a.zip", "x"): ("a.zip: ", r"; an archive: unpack it, or compress one file with gzip$"),
    ("a.json", "[]"): ("a.json: ", r"; JSON: one object in each line, and call the file \.jsonl$"),
    ("a.xlsx", "x"): (
        "a.xlsx: ",
        r"unknown format \.xlsx; known: \.jsonl.*; a spreadsheet: save it as \.csv$",
    ),
    ("noend", "x"): ("noend: ", "without a suffix; known"),
}


@pytest.mark.parametrize(("name", "content"), BROKEN, ids=lambda v: None)
def test_a_broken_file_gives_one_line_with_place_and_cure(write, name, content):
    place, cure = BROKEN[name, content]
    said = message(write(name, content))
    assert said.startswith(place)
    assert re.search(cure, said)


def test_what_is_no_row_is_an_input_error_and_a_row_a_row_error(write):
    with pytest.raises(RowError):
        list(readers.read(write("a.csv", "a,b\n1\n")))
    with pytest.raises(InputError, match=r"^none\.csv: No such file or directory$"):
        readers.read("none.csv")
    assert message("nowhere") == "nowhere: No such file or directory"


def test_a_folder_without_texts_says_what_it_needs(write):
    write("f/a.txt", "beside, not below")
    assert message("f").startswith("f: holds no rows; needed: LABEL/*.txt")


def test_rows_before_a_broken_one_are_read(write):
    stream = readers.read(write("a.csv", "a,b\n1,2\n3\n"))
    assert next(stream) == {"a": "1", "b": "2"}
    with pytest.raises(RowError, match=r"^a\.csv:3: "):
        next(stream)


@pytest.mark.parametrize(("source", "target"), [("a\nb\nc\n", "x\n"), ("x\n", "a\nb\nc\n")])
def test_parallel_files_of_different_length_are_named_with_their_counts(write, source, target):
    read, written = source.count("\n"), target.count("\n")
    with pytest.raises(InputError, match=f"^s has {read} lines, t {written}: line by line they"):
        list(readers.parallel(write("s", source), write("t", target)))


def test_parallel_files_without_lines_are_an_error(write):
    with pytest.raises(InputError, match=r"^s: holds no rows"):
        list(readers.parallel(write("s", ""), write("t", "")))


def test_broken_gzip_data_name_the_line_where_they_break(write):
    packed = gzip.compress(("line\n" * 10_000).encode())
    os.rename(write("a", packed[:-9]), "a.txt.gz")
    assert re.match(r"a\.txt\.gz:\d+: broken gzip data: .*ended before", message("a.txt.gz"))
    os.rename(write("b", "not packed"), "b.csv.gz")
    assert message("b.csv.gz").startswith("b.csv.gz:1: broken gzip data: Not a gzipped file")


@pytest.mark.parametrize("name", ["a.txt", "a.csv", "a.jsonl.gz"])
def test_a_line_of_100_megabytes_is_refused_without_reading_it_whole(write, name):
    write(name, b"ok\n" * (name == "a.csv") + b"x" * 100_000_000)
    tracemalloc.start()
    said = message(name)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert re.match(rf"{name}:[12]: a line of more than 16 MB: put line ends", said)
    assert peak < 60e6


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
@pytest.mark.parametrize("name", ["a.csv", "a.jsonl", "a.txt"])
def test_the_first_row_is_there_before_the_rest_is_read(tmp_path, name):
    path, written = tmp_path / name, 0
    os.mkfifo(path)

    def feed():
        nonlocal written
        block = (b"text\n" if name == "a.csv" else b"") + b'{"text": 1}\n' * 5000
        with suppress(BrokenPipeError), open(path, "wb", buffering=0) as pipe:
            while written < 100_000_000:
                written += pipe.write(block)

    thread = threading.Thread(target=feed, daemon=True)
    thread.start()
    stream = readers.read(path)
    assert next(stream)["text"] in (1, '{"text": 1}')
    del stream  # closes the pipe
    thread.join()
    assert written < 1_000_000


WANTED = [{"text": "a, good film", "label": "pos"}, {"text": "bad", "label": "neg"}]
SEPARATED = {  # name: content, and what is said
    "semicolons.csv": (
        "\ufefftext;label\r\na, good film;pos\r\nbad;neg\r\n",
        "semicolons separate",
    ),
    "tabs.csv": ("text\tlabel\na, good film\tpos\nbad\tneg\n", "tabs separate"),
    "bars.csv": ("text|label\na, good film|pos\nbad|neg\n", "vertical bars separate"),
    "sep.csv": ("sep=;\ntext;label\na, good film;pos\nbad;neg\n", "semicolons separate"),
    "sep_other.csv": ("sep=~\ntext~label\na, good film~pos\nbad~neg\n", "'~' separate"),
    "commas.tsv": ('text,label\n"a, good film",pos\nbad,neg\n', "commas separate"),
    "quoted.tsv": ('"text"\t"label"\n"a, good film"\t"pos"\n"bad"\t"neg"\n', "quotation marks"),
    "padded.csv": ('text, label\n"a, good film", pos\n"bad", neg\n', None),
    "padded_more.csv": ('"text" , "label"\n"a, good film" , "pos"\n"bad" , "neg"\n', None),
    "padded_names.csv": (' text ,label \n"a, good film",pos\nbad,neg\n', None),
    "trailing.csv": ('text,label,,\n"a, good film",pos,,\nbad,neg,,\n', None),
    "one_more.csv": ('text,label\n"a, good film",pos,\nbad,neg, \n', None),
    "UPPER.CSV": ('text,label\n"a, good film",pos\nbad,neg\n', None),
    "Upper.Csv.GZ": ('text,label\n"a, good film",pos\nbad,neg\n', None),
    "mac.csv": ('text,label\r"a, good film",pos\rbad,neg\r', "CR ends its lines"),
}


@pytest.mark.parametrize("name", SEPARATED)
def test_a_table_is_read_as_programs_write_it_and_findings_are_said(write, name):
    content, finding = SEPARATED[name]
    if name.endswith(".GZ"):
        content = gzip.compress(content.encode())
    said = []
    rows = list(readers.read(write(name, content), say=said.append))
    found = [{key: value.strip() for key, value in row.items()} for row in rows]
    assert found == WANTED
    assert [finding in line for line in said] == ([True] if finding else [])


def test_a_line_with_the_separator_counts_as_a_line(write):
    name = write("a.csv", "sep=;\ntext;label\na;pos\nb\n")
    assert next(readers.read(name)).source == "a.csv:3"
    assert message(name).startswith("a.csv:4: 1 cells, the header has 2")


@pytest.mark.parametrize(
    ("content", "first"),
    [
        ("text\na; b\nc\n", {"text": "a; b"}),
        ("text\na; b\nc; d\n", {"text": "a; b"}),
        ("text,note;x\na,b;c\nd,e\n", {"text": "a", "note;x": "b;c"}),
        ("text,label\na;b,c\n", {"text": "a;b", "label": "c"}),
    ],
)
def test_a_separator_counts_only_in_the_header_and_commas_go_first(write, content, first):
    assert read(write("a.csv", content))[0] == first


def test_columns_without_a_comma_inside_of_the_text_are_named(write):
    assert message(write("a.csv", "text,label\nGood, really,pos\n")).startswith("a.csv:2: 3 cells")


def test_a_finding_is_said_once_however_often_a_file_is_read(write, caplog):
    name = write("a.csv", "text;label\na;b \nc;d\t\n")
    splits = files(name, name, name)
    with caplog.at_level(logging.INFO, "zoo"):
        for _ in range(3):
            assert [row["label"] for row in splits.train] == ["b", "d"]
    said = [record.getMessage() for record in caplog.records]
    assert said == [
        "a.csv: semicolons separate its columns",
        "a.csv:2: blanks around labels, such as 'b ', are left out",
    ]


def test_what_nobody_sees_around_a_label_makes_no_other_label(write):
    name = write("a.csv", "text,label\na,良い\u200b\nb,\u3000良い\nc,\ufeff良い \u200b\n")
    assert [row["label"] for row in files(name, name, name).train] == ["良い"] * 3


def test_an_encoding_can_be_given(write):
    for name in ("a.csv", "a.jsonl", "a.txt", "a.conll"):
        text = {"a.csv": "text\né\n", "a.jsonl": '{"text": "é"}\n'}.get(name, "é\n")
        (row,) = readers.read(write(name, text.encode("cp1252")), "cp1252")
        assert row.get("text", row.get("words")) in ("é", ["é"])


@pytest.mark.parametrize(
    ("value", "said"),
    [(None, "is null"), (float("nan"), "is NaN, no value"), ("", "is empty"), (" \t", "is empty")],
)
def test_a_missing_value_is_an_error_that_names_the_column_of_the_file(value, said):
    row = readers.Row({"label": value}, "a.csv:7", {"label": "stars"})
    line = f"a.csv:7: column 'stars' {said}: fill it, or remove the row"
    with pytest.raises(RowError, match=f"^{re.escape(line)}$"):
        readers.check_value(row, "label", may_be_empty=False)
    if isinstance(value, str):
        readers.check_value(row, "label")
    else:
        with pytest.raises(RowError, match=re.escape(line)):
            readers.column(row, "label")


def test_neighbours_show_the_encoding_of_a_file_too_short_to_show_its_own(write):
    texts = ["請求金額が注文と合っていません。", "はい", "荷物がまだ届きません。ご確認ください。"]
    for number, text in enumerate(texts):
        write(f"f/支払い/{number}.txt", text.encode("cp932"))
    write("f/x/plain.txt", "höchstens".encode())
    said = []
    found = readers.read("f", say=said.append)
    assert [row["text"] for row in found] == ["höchstens", *texts]
    where = "f/支払い: is read as cp932, which is not UTF-8; data.encoding names another"
    assert said == [where] * 3
    write("f/x/other.txt", texts[1].encode("cp932"))  # its neighbour is UTF-8
    assert message("f").startswith("f/x/other.txt:1: not UTF-8 (byte 0x82 at column 1): ")


def test_a_folder_leaves_hidden_files_out_and_counts_the_others(write):
    for name in ("pos/1.txt", "pos/2.TXT", "neg/1.txt", ".ipynb_checkpoints/1.txt", "neg/.x.txt"):
        write(f"f/{name}", name)
    said = []
    rows = list(readers.read("f", say=said.append))
    assert [row["text"] for row in rows] == ["neg/1.txt", "pos/1.txt", "pos/2.TXT"]
    assert said == []
    write("f/pos/sub/3.txt", "below")
    write("f/notes.md", "beside")
    assert len(list(readers.read("f", say=said.append))) == 3
    assert said == ["f: 2 files are not read (such as notes.md): LABEL/*.txt are, a text per file"]


@pytest.mark.skipif(os.name != "posix", reason="names are bytes there alone")
def test_a_name_that_is_not_utf_8_is_refused(write, tmp_path):
    for odd in (b"caf\xe9.csv", b"folder/\xe9/1.txt"):
        path = os.path.join(os.fsencode(tmp_path), odd)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            file.write(b"text,label\na,b\n")
    write("folder/a/1.txt", "x")
    for name in (os.fsdecode(b"caf\xe9.csv"), "folder"):
        said = message(name)
        assert "\\xe9" in said
        assert said.endswith(": the name is not UTF-8: rename it")


CELLS = st.text(st.sampled_from('ab,;|\t"\n\r =sep'), max_size=40)


@given(CELLS, st.sampled_from(["a.csv", "a.tsv", "a.jsonl", "a.conll", "a.conllu"]))
def test_whatever_a_table_holds_it_is_rows_or_one_line_of_an_error(tmp_path_factory, text, name):
    path = tmp_path_factory.mktemp("t") / name
    path.write_bytes(text.encode())
    rows, said = [], str(path)
    try:
        rows = list(readers.read(path))
    except InputError as error:
        said = str(error)
    assert said.startswith(str(path))
    assert "\n" not in said
    assert all({*row} == {*rows[0]} for row in rows)


@pytest.mark.parametrize(
    ("value", "answer"),
    [("", True), (" \t\u00a0\u3000", True), ([], True), ("a", False), ([""], False), (0, False)],
)
def test_white_text_and_what_has_no_items_is_empty(value, answer):
    assert readers.is_empty(value) is answer
