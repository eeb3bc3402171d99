"""mode=predict: chunks of a stream, answers to rows and to empty rows, and output formats."""

from __future__ import annotations

import io
import json

import pytest
from conftest import settings

import zoo
from zoo.cli import predict as prediction
from zoo.cli.predict import arriving, predict
from zoo.errors import InputError


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


@pytest.fixture
def answers(tmp_path, trained):
    """Answer the lines of a file; return the lines of the output file."""

    def run(text, *options):
        (tmp_path / "in.txt").write_text(text)
        given = [f"input={tmp_path / 'in.txt'}", f"output={tmp_path / 'out.txt'}", *options]
        predict(zoo.load(trained), settings(None, *given))
        return (tmp_path / "out.txt").read_text().splitlines()

    return run


TEXTS = "Gulls follow the trawler home.\n\nSnow closed the pass for three days.\n"


def test_each_row_has_its_answer_and_an_empty_row_an_empty_one(answers):
    assert answers(TEXTS) == ["sea", "", "mountain"]


def test_json_has_an_object_for_each_row_and_null_for_an_empty_one(answers):
    first, empty, last = map(json.loads, answers(TEXTS, "format=json"))
    assert (first["label"], empty, last["label"]) == ("sea", None, "mountain")


@pytest.mark.parametrize("form", ["conll", "colour"])
def test_formats_of_labelled_words_need_a_task_that_labels_words(answers, form):
    with pytest.raises(InputError, match=f"format={form}: classify labels no words: label or json"):
        answers(TEXTS, f"format={form}")
