"""mode=predict with a tagger: what is read, how the answers are written; and mode=explain."""

from __future__ import annotations

import io
import json
import re
import sys

import pytest
from conftest import SMALL, fails, lines, train, write
from tag_cases import SPANS

import zoo
from zoo import run
from zoo.data import readers

TEXT = "Ann Lee didn't go to Rome"
WORDS = ["Ann", "Lee", "did", "n't", "go", "to", "Rome"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A tagger of spans that knows its training rows by heart."""
    place = tmp_path_factory.mktemp("predict")
    more = [{"words": WORDS, "labels": ["B-PER", "I-PER", "O", "O", "O", "O", "B-LOC"]}]
    data = write(place / "rows.jsonl", [*SPANS, *more] * 4)
    parts = [f"data.{part}={data}" for part in ("train", "valid", "test")]
    words = [
        "train.epochs=20",
        "train.patience=0",
        "task.crf=true",
        "task.dropout=0",
        "backbone.word_dropout=0",
    ]
    assert train(place / "run", *parts, *words, task="tag")["test"]["accuracy"] == 1
    return place / "run"


def predicted(capsysbinary, folder, *words) -> str:
    assert (
        run.main(["mode=predict", f"model={folder}", "device=cpu", "precision=fp32", *words]) == 0
    )
    return capsysbinary.readouterr().out.decode()


def piped(monkeypatch, capsysbinary, folder, text, *words) -> str:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text.encode())))
    return predicted(capsysbinary, folder, *words)


SHARE = re.compile(r"[01]\.\d+")


LABELS = "Ann/B-PER Lee/I-PER did/O n't/O go/O to/O Rome/B-LOC\n"
CONLL = "Ann\tB-PER\nLee\tI-PER\ndid\tO\nn't\tO\ngo\tO\nto\tO\nRome\tB-LOC\n\n"


def test_a_text_is_answered_in_each_form(folder, capsysbinary, monkeypatch):
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert predicted(capsysbinary, folder, f"text={TEXT}") == LABELS
    assert predicted(capsysbinary, folder, f"text={TEXT}", "format=conll") == CONLL
    found = json.loads(predicted(capsysbinary, folder, f"text={TEXT}", "format=json"))
    assert [*found] == ["words", "labels", "probabilities"]
    assert found["words"] == WORDS
    assert found["labels"] == ["B-PER", "I-PER", "O", "O", "O", "O", "B-LOC"]
    assert all(0.5 < share <= 1.001 for share in found["probabilities"])
    shown = predicted(capsysbinary, folder, f"text={TEXT}", "format=colour")
    assert shown.count("\n") == 1
    for part in (" Ann Lee ", " PER", " did n't go to ", " Rome ", " LOC"):
        assert part in shown
    assert "\x1b[" in shown
    assert " Lee  PER" not in shown  # its colour ends before the name's begins


def test_words_are_found_in_a_text_or_stand_between_its_blanks(folder, capsysbinary):
    asked = ("format=json", "text=Ann Lee didn't go, to  Rome!")
    found = json.loads(predicted(capsysbinary, folder, *asked))
    assert found["words"] == [*WORDS[:5], ",", "to", "Rome", "!"]
    found = json.loads(predicted(capsysbinary, folder, *asked, "tokens=whitespace"))
    assert found["words"] == ["Ann", "Lee", "didn't", "go,", "to", "Rome!"]
    assert len(found["labels"]) == 6


@pytest.mark.parametrize("form", ["label", "json", "conll", "colour"])
def test_lines_are_answered_in_their_order_and_empty_ones_with_nothing(
    folder, capsysbinary, monkeypatch, form
):
    asked = ["she went to Rome", "", TEXT, "  ", "she went to Rome"]
    text = "\n".join(asked) + "\n"
    found = piped(monkeypatch, capsysbinary, folder, text, f"format={form}")
    alone = {one: predicted(capsysbinary, folder, f"text={one}", f"format={form}") for one in asked}
    expected = "".join(alone[one] for one in asked)
    assert SHARE.sub("", found) == SHARE.sub("", expected)
    shares = [[*map(float, SHARE.findall(text))] for text in (found, expected)]
    assert shares[0] == pytest.approx(shares[1], abs=1e-5)
    assert alone[""] == alone["  "] == ("null\n" if form == "json" else "\n")
    assert alone[TEXT] != alone[asked[0]]
    assert piped(monkeypatch, capsysbinary, folder, "", f"format={form}") == ""


def test_what_is_written_as_conll_can_be_read_and_trained_on(folder, tmp_path, capsysbinary):
    asked = write(
        tmp_path / "asked.jsonl", [{"text": TEXT}, {"text": ""}, {"text": "Bob Ray left"}]
    )
    words = [f"input={asked}", f"output={tmp_path / 'answers.conll'}", "format=conll"]
    assert predicted(capsysbinary, folder, *words) == ""
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
def test_files_with_words_are_answered_word_by_word(folder, tmp_path, capsysbinary, name):
    (tmp_path / name).write_text(FILES[name])
    assert predicted(capsysbinary, folder, f"input={tmp_path / name}") == LABELS


def test_words_with_blanks_inside_are_one_column(folder, tmp_path, capsysbinary):
    asked = write(tmp_path / "asked.jsonl", [{"words": ["New York", "left"]}, {"words": []}])
    found = predicted(capsysbinary, folder, f"input={asked}", "format=conll")
    assert [line.split("\t")[0] for line in found.splitlines()] == ["New_York", "left", "", ""]


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


def test_python_gives_words_with_their_labels(folder):
    task = zoo.load(folder)
    assert task.predict([TEXT, ""]) == [
        [
            ("Ann", "B-PER"),
            ("Lee", "I-PER"),
            ("did", "O"),
            ("n't", "O"),
            ("go", "O"),
            ("to", "O"),
            ("Rome", "B-LOC"),
        ],
        [],
    ]
    task.word_splitter = "whitespace"
    assert [word for word, _ in task.predict(TEXT)[0]] == TEXT.split()


def test_explain_shows_what_is_read_and_the_gates_over_a_text(folder, tmp_path, capsys):
    words = ["mode=explain", f"model={folder}", f"text={TEXT}", f"out={tmp_path}", "device=cpu"]
    assert run.main(words) == 0
    printed = capsys.readouterr().out
    assert "tag reads output: a label for every word needs a vector for every word" in printed
    assert "read from output" in printed
    assert printed.count("(1, 7, 32)") == 2  # output, and what is read
    assert "(1, 7, 5)" in printed  # logits: a step of five labels for each word
    assert (tmp_path / "gates.png").read_bytes().startswith(b"\x89PNG")


def test_pieces_are_explained_and_answered_too(tmp_path, capsysbinary):
    data = write(tmp_path / "rows.jsonl", SPANS)
    parts = [f"data.{part}={data}" for part in ("train", "valid", "test")]
    words = ["task.words=subword", "tokenizer.kind=subwords", "tokenizer.size=30"]
    assert (
        run.main(["task=tag", "data=files", *parts, *SMALL, *words, f"out={tmp_path / 'run'}"]) == 0
    )
    capsysbinary.readouterr()
    found = json.loads(predicted(capsysbinary, tmp_path / "run", f"text={TEXT}", "format=json"))
    assert found["words"] == WORDS
    assert len(found["labels"]) == 7
    words = ["mode=explain", f"model={tmp_path / 'run'}", f"text={TEXT}", f"out={tmp_path}"]
    assert run.main(words) == 0
    assert (tmp_path / "gates.png").exists()
    assert len(lines(tmp_path / "run" / "metrics.jsonl")) == 2
