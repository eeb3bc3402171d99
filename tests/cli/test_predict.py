"""mode=predict: chunks of a stream, and a tagger's answers to rows in each output format."""

from __future__ import annotations

import codecs
import io
import json
import re
import sys

import pytest
import run_cases
from conftest import fails, train, write
from run_cases import in_files
from tag_cases import SPANS

from zoo import run
from zoo.cli import predict as prediction
from zoo.cli.predict import arriving
from zoo.data import readers
from zoo.errors import InputError

TEXT = "Ann Lee didn't go to Rome"
WORDS = ["Ann", "Lee", "did", "n't", "go", "to", "Rome"]
LABELS = "Ann/B-PER Lee/I-PER did/O n't/O go/O to/O Rome/B-LOC\n"
CONLL = "Ann\tB-PER\nLee\tI-PER\ndid\tO\nn't\tO\ngo\tO\nto\tO\nRome\tB-LOC\n\n"
SHARE = re.compile(r"[01]\.\d+")


def test_lines_arrive_in_order_in_chunks_of_bounded_size(monkeypatch):
    monkeypatch.setattr(prediction, "MOST", 3)
    chunks = list(arriving(io.BytesIO(b"a\n\nb\nc\nd\ne\nf")))
    rows = [row for chunk in chunks for row in chunk]
    assert [row["text"] for row in rows] == ["a", "", "b", "c", "d", "e", "f"]
    assert rows[2].source == "input:3"
    assert all(1 <= len(chunk) <= 3 for chunk in chunks)


def test_an_empty_stream_has_no_chunks():
    assert list(arriving(io.BytesIO(b""))) == []


def test_undecodable_text_is_an_error_after_the_lines_before_it():
    chunks = arriving(io.BytesIO(b"a\nb\n\xff\xfe\n"))
    rows = []
    with pytest.raises(InputError, match="input"):
        rows.extend(row["text"] for chunk in chunks for row in chunk)
    assert rows == ["a", "b"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A tagger of spans that knows its training rows by heart."""
    place = tmp_path_factory.mktemp("predict")
    more = [{"words": WORDS, "labels": ["B-PER", "I-PER", "O", "O", "O", "O", "B-LOC"]}]
    parts = in_files(place, *[[*SPANS, *more] * 4] * 3)
    words = [
        "train.epochs=20",
        "train.patience=0",
        "task.crf=true",
        "task.dropout=0",
        "backbone.word_dropout=0",
    ]
    assert train(place / "run", *parts, *words, task="tag")["test"]["accuracy"] == 1
    return place / "run"


@pytest.fixture
def predicted(folder, monkeypatch, capsysbinary):
    """A function of settings and the lines `given`: what mode=predict prints."""

    def run(*words, given=""):
        words = (folder, "precision=fp32", *words)
        return run_cases.predict(monkeypatch, capsysbinary, *words, given=given)

    return run


def test_a_text_is_answered_in_each_form(predicted, monkeypatch):
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert predicted(f"text={TEXT}") == LABELS
    assert predicted(f"text={TEXT}", "format=conll") == CONLL
    found = json.loads(predicted(f"text={TEXT}", "format=json"))
    assert [*found] == ["words", "labels", "probabilities"]
    assert found["words"] == WORDS
    assert found["labels"] == ["B-PER", "I-PER", "O", "O", "O", "O", "B-LOC"]
    assert all(0.5 < share <= 1.001 for share in found["probabilities"])
    shown = predicted(f"text={TEXT}", "format=colour")
    assert shown.count("\n") == 1
    for part in (" Ann Lee ", " PER", " did n't go to ", " Rome ", " LOC"):
        assert part in shown
    assert "\x1b[" in shown
    assert " Lee  PER" not in shown  # its colour ends before the name's begins


def test_words_are_found_in_a_text_or_stand_between_its_blanks(predicted):
    asked = ("format=json", "text=Ann Lee didn't go, to  Rome!")
    found = json.loads(predicted(*asked))
    assert found["words"] == [*WORDS[:5], ",", "to", "Rome", "!"]
    found = json.loads(predicted(*asked, "tokens=whitespace"))
    assert found["words"] == ["Ann", "Lee", "didn't", "go,", "to", "Rome!"]
    assert len(found["labels"]) == 6


@pytest.mark.parametrize("form", ["label", "json", "conll", "colour"])
def test_lines_are_answered_in_their_order_and_empty_ones_with_nothing(predicted, form):
    asked = ["she went to Rome", "", TEXT, "  ", "she went to Rome"]
    text = "\n".join(asked) + "\n"
    found = predicted(f"format={form}", given=text)
    alone = {one: predicted(f"text={one}", f"format={form}") for one in asked}
    expected = "".join(alone[one] for one in asked)
    assert SHARE.sub("", found) == SHARE.sub("", expected)
    shares = [[*map(float, SHARE.findall(text))] for text in (found, expected)]
    assert shares[0] == pytest.approx(shares[1], abs=1e-5)
    assert alone[""] == alone["  "] == ("null\n" if form == "json" else "\n")
    assert alone[TEXT] != alone[asked[0]]
    assert predicted(f"format={form}") == ""


def test_what_is_written_as_conll_can_be_read_and_trained_on(predicted, tmp_path):
    asked = write(
        tmp_path / "asked.jsonl", [{"text": TEXT}, {"text": ""}, {"text": "Bob Ray left"}]
    )
    words = [f"input={asked}", f"output={tmp_path / 'answers.conll'}", "format=conll"]
    assert predicted(*words) == ""
    first, second = readers.read(tmp_path / "answers.conll")
    assert first["words"] == WORDS
    assert second == {"words": ["Bob", "Ray", "left"], "labels": ["B-PER", "I-PER", "O"]}
    assert sorted(p.name for p in tmp_path.iterdir()) == ["answers.conll", "asked.jsonl"]


REST = "_ X _ _ 0 dep _ _".replace(" ", "\t")
FILES = {
    "rows.conllu": f"# a comment\n1-2\tAnnLee\t{REST}\n"
    + "".join(f"{number}\t{word}\t{REST}\n" for number, word in enumerate(WORDS, 1)),
    "rows.conll": "".join(f"{word}\tX\n" for word in WORDS),
    "words.bio": "".join(f"{word}\n" for word in WORDS),
    "rows.jsonl": json.dumps({"words": WORDS}) + "\n",
    "texts.jsonl": json.dumps({"words": " ".join(WORDS), "text": "not this"}) + "\n",
}


@pytest.mark.parametrize("name", FILES)
def test_files_with_words_are_answered_word_by_word(predicted, tmp_path, name):
    (tmp_path / name).write_text(FILES[name])
    assert predicted(f"input={tmp_path / name}", f"output={tmp_path / 'labels.txt'}") == ""
    assert (tmp_path / "labels.txt").read_text() == LABELS


def test_rows_of_one_word_each_are_answered_sentence_by_sentence(predicted, tmp_path):
    """Each word by itself would have no context."""
    sentences = [row["words"] for row in SPANS]
    column, table = tmp_path / "asked.conll", tmp_path / "asked.csv"
    column.write_text("\n\n".join("\n".join(words) for words in sentences) + "\n", "utf-8")
    lines = [f"{n},{word}" for n, words in enumerate(sentences, 1) for word in words]
    table.write_text("\n".join(["Sentence #,Word", *lines]) + "\n", "utf-8")
    wanted = predicted(f"input={column}", "format=conll")
    assert wanted.count("\n\n") == len(SPANS)
    assert predicted(f"input={table}", "format=conll") == wanted


def test_words_with_blanks_inside_are_one_column(predicted, tmp_path):
    asked = write(tmp_path / "asked.jsonl", [{"words": ["New York", "left"]}, {"words": []}])
    found = predicted(f"input={asked}", "format=conll")
    assert [line.split("\t")[0] for line in found.splitlines()] == ["New York", "left", "", ""]


@pytest.mark.parametrize(
    ("row", "line"),
    [
        ({"text": 5.5, "words": 3}, "column 'words' holds 3, not a list of words"),
        ({"labels": ["O"]}, "no column 'text'; there are: labels"),
    ],
)
def test_a_row_that_cannot_be_asked_is_named(folder, tmp_path, capsys, row, line):
    asked = write(tmp_path / "asked.jsonl", [{"words": ["x"]}, row])
    error = fails(
        capsys, "mode=predict", f"model={folder}", f"input={asked}", f"output={tmp_path / 'out'}"
    )
    assert error == f"{asked}:2: {line}"
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("setting", "line"),
    [
        ("format=conll", "format=conll: classify labels no words: label or json"),
        ("format=colour", "format=colour: classify labels no words: label or json"),
        ("tokens=whitespace", "tokens=…: classify reads texts, not words: leave it out"),
    ],
)
def test_what_is_of_words_alone_is_refused_by_a_classifier(capsys, trained, setting, line):
    assert fails(capsys, "mode=predict", f"model={trained}", "text=x", setting) == line
    assert "Input should be" in fails(capsys, "mode=predict", f"model={trained}", "format=xml")


@pytest.mark.parametrize("name", ["rows.csv", "lines.txt"])
def test_rows_are_read_in_the_encoding_that_is_given(trained, tmp_path, name):
    text = "Gulls over the север sea"  # Cyrillic letters
    source, out = tmp_path / name, tmp_path / "out.jsonl"
    source.write_bytes(("text\n" * name.endswith("csv") + f"{text}\n").encode("cp1251"))
    words = ["mode=predict", f"model={trained}", f"input={source}", f"output={out}"]
    assert run.main([*words, "data.encoding=cp1251"]) == 0
    assert json.loads(out.read_text("utf-8"))["text"] == text


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp932"])
def test_a_table_of_excel_comes_back_as_one_that_excel_reads(trained, tmp_path, encoding):
    source, out = tmp_path / "rows.csv", tmp_path / "out.csv"
    source.write_bytes("番号,text\n一,海のそばのカモメ\n".encode(encoding))
    words = ["mode=predict", f"model={trained}", f"input={source}", f"output={out}"]
    assert run.main(words) == 0
    written = out.read_bytes()
    assert written.startswith("番号".encode() if encoding == "utf-8" else codecs.BOM_UTF8)
    assert [row["番号"] for row in readers.read(out)] == ["一"]


def test_an_unknown_encoding_is_refused(trained, capsys):
    words = ["mode=predict", f"model={trained}", "text=Gulls", "data.encoding=cp12519"]
    assert "cp12519" in fails(capsys, *words)


@pytest.mark.parametrize(
    ("stream", "words", "line"),
    [
        ("stdin", ["predict"], "standard input is closed: add input=FILE or text=…"),
        ("stdout", ["predict", "text=x"], "standard output is closed: add output=FILE"),
        ("stdin", ["chat"], "a chat needs standard input and output: one is closed; "),
        ("stdout", ["chat"], "a chat needs standard input and output: one is closed; "),
    ],
)
def test_a_closed_stream_is_one_line(trained, monkeypatch, capsys, stream, words, line):
    """Python has None for a stream that was closed before it started, as by `<&-`."""
    monkeypatch.setattr(sys, stream, None)
    assert run.main([*words, f"model={trained}"]) == 2
    assert capsys.readouterr().err.startswith(f"error: {line}")


def test_answers_in_a_file_need_no_streams(trained, monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "stdin", None)
    monkeypatch.setattr(sys, "stdout", None)
    out = tmp_path / "out.txt"
    assert run.main(["predict", f"model={trained}", "text=Gulls", f"output={out}"]) == 0
    assert out.read_text("utf-8").strip()


def test_a_text_and_a_file_are_not_both_answered(trained, tmp_path, capsys):
    given = tmp_path / "rows.txt"
    given.write_text("Gulls\n")
    words = ["mode=predict", f"model={trained}", "text=Gulls", f"input={given}"]
    assert fails(capsys, *words).startswith("text=… and input=…: one of them is answered")


@pytest.mark.parametrize(
    ("name", "cure"), [("a.XLSX", ".csv"), ("a.parquet", ".csv"), ("a.json.gz", ".jsonl")]
)
def test_no_table_is_written_into_a_file_of_another_kind(trained, tmp_path, capsys, name, cure):
    given = tmp_path / "rows.csv"
    given.write_text("text\nGulls\n")
    words = ["mode=predict", f"model={trained}", f"input={given}"]
    line = fails(capsys, *words, f"output={tmp_path / name}")
    assert line.endswith(f"files are not written: end the name with {cure}")
    assert [path.name for path in tmp_path.iterdir()] == ["rows.csv"]
    assert run.main([*words, "format=json", f"output={tmp_path / 'a.json'}"]) == 0
    assert "probabilities" in json.loads((tmp_path / "a.json").read_text("utf-8"))
