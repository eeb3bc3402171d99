"""Tagging: rows that do not fit are named, and rows without words left out."""

from __future__ import annotations

import json

import pytest
from conftest import SMALL, fails, train, write
from tag_cases import SPANS

from zoo import run

ROWS = [{"words": [*row["words"]], "labels": [*row["labels"]]} for row in SPANS]
PLAIN = [{"words": ["no", "one"], "labels": ["O", "O"]}]
TINY = ("train.epochs=1", "backbone.hidden_size=8", "task.character_hidden=8")


def training(folder, rows=ROWS, valid=ROWS, test=ROWS) -> list[str]:
    """The command line of a small training on rows in three files."""
    named = {"train": rows, "valid": valid, "test": test}
    data = [f"data.{name}={write(folder / f'{name}.jsonl', some)}" for name, some in named.items()]
    return ["task=tag", "data=files", *data, *SMALL, *TINY, f"out={folder / 'run'}"]


@pytest.mark.parametrize(
    ("row", "line"),
    [
        ({"words": ["a", "b"], "labels": ["O"]}, "2 words and 1 labels: each word needs one"),
        ({"words": "a b", "labels": "O O O"}, "2 words and 3 labels: each word needs one"),
        ({"words": 5, "labels": ["O"]}, "column 'words' holds 5, not a list of words"),
        ({"words": {"a": 1}, "labels": ["O"]}, "'words' holds {'a': 1}, not a list of words"),
        ({"words": ["a", None], "labels": ["O", "O"]}, "holds ['a', None], not a list of words"),
        ({"words": ["a"], "labels": [0.5]}, "column 'labels' holds [0.5], not a list of labels"),
        ({"words": ["a"]}, "no 'labels', there are words: set data.column=COLUMN"),
        ({"words": ["a"], "labels": None}, "there are words, labels: set data.column=COLUMN"),
        ({"labels": ["O"]}, "no 'words', there are labels: set data.words=COLUMN"),
        (
            {"words": ["Ann", "b"], "labels": ["O", "B-X"]},
            "label 'B-X' of word 2, 'b', does not occur in the training rows",
        ),
    ],
)
@pytest.mark.parametrize("part", ["rows", "test"])
def test_a_row_that_does_not_fit_is_named(capsys, tmp_path, part, row, line):
    if "does not occur" in line and part == "rows":
        part = "valid"
    error = fails(capsys, *training(tmp_path, **{part: [*ROWS, row]}))
    assert f"{'train' if part == 'rows' else part}.jsonl:5: " in error
    assert line in error
    assert not (tmp_path / "run").exists()


def test_an_unknown_label_at_an_evaluation_is_named(capsys, tmp_path):
    assert run.main(training(tmp_path)) == 0
    capsys.readouterr()
    other = write(tmp_path / "other.jsonl", [ROWS[0], {"words": ["x"], "labels": ["B-MISC"]}])
    words = ["mode=evaluate", f"model={tmp_path / 'run'}", "data=files", f"data.train={other}"]
    error = fails(capsys, *words, f"data.valid={other}", f"data.test={other}")
    assert error.endswith(
        "other.jsonl:2: label 'B-MISC' of word 1, 'x', does not occur in the training rows"
    )


def test_one_label_is_too_few(capsys, tmp_path):
    error = fails(capsys, *training(tmp_path, rows=PLAIN))
    assert error == "all training words have the label ['O']: two or more are needed"


def test_a_tokenizer_that_does_not_fit_is_one_line(capsys, tmp_path):
    error = fails(capsys, *training(tmp_path), "tokenizer.kind=words")
    assert error.startswith("task=tag: task.words=word+char needs tokenizer.kind=lowercase or ")


EMPTY = {"words": [], "labels": []}


def test_rows_without_words_are_skipped_and_counted(capsys, tmp_path):
    words = training(tmp_path, [EMPTY, *ROWS, EMPTY], [*ROWS, EMPTY], [EMPTY, *ROWS])
    assert run.main(words) == 0
    found = json.loads((tmp_path / "run" / "report.json").read_text())
    assert found["rows"] == {"train": 4, "valid": 4, "test": 4}
    printed = capsys.readouterr().out
    assert "train.jsonl: 4 rows; skipped are 2 with no words" in printed
    assert "test.jsonl: 4 rows; skipped are 1 with no words" in printed
    (tmp_path / "run").rename(tmp_path / "before")
    assert fails(capsys, *words, "strict=true").endswith(
        "train.jsonl:1: no words; strict=false skips such rows"
    )


def test_a_text_of_blanks_is_a_row_without_words(tmp_path):
    words = training(tmp_path, [*ROWS, {"words": " ", "labels": " "}], ROWS, ROWS)
    assert run.main([*words, "train.batch_rows=1"]) == 0
    found = json.loads((tmp_path / "run" / "report.json").read_text())
    assert found["rows"]["train"] == 4


def test_validation_rows_without_a_span_can_be_trained_by(tmp_path):
    assert run.main(training(tmp_path, valid=PLAIN)) == 0


def test_test_rows_without_a_span_have_all_figures(tmp_path):
    assert run.main(training(tmp_path, test=PLAIN)) == 0
    found = json.loads((tmp_path / "run" / "report.json").read_text())
    assert {"f1", "precision", "recall"} <= {*found["test"]}


def test_words_and_labels_may_be_texts_and_blanks_inside_words_are_no_trouble(tmp_path):
    rows = [
        {"words": "Ann saw Rome", "labels": "B-PER O B-LOC"},
        {"words": ["New York", "", " \t", "10 000"], "labels": ["B-LOC", "O", "O", "O"]},
    ]
    found = train(tmp_path / "out", *training(tmp_path, rows, rows, rows)[2:5], *TINY, task="tag")
    (second,) = [s for s in found["sentences"] if len(s["words"]) == 4]
    assert second["words"] == ["New_York", "_", "_", "10_000"]
    assert found["test"]["accuracy_unseen"] == 0
