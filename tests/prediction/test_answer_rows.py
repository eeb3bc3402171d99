"""mode=predict on tables: the rows come back with their answers, in the format of a file's name."""

from __future__ import annotations

import csv
import gzip
import json
import os
import threading
import tracemalloc

import pytest
from conftest import fails, lines, train, write
from every_task import untrained
from run_cases import in_files

import zoo
from zoo import run
from zoo.cli.predict import MOST
from zoo.data import readers
from zoo.prediction import answer_rows

SEA, LAND = "Gulls follow the trawler home.", "Snow lay on the summit ridge."


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A classifier of reviews whose columns have other names than the task's."""
    place = tmp_path_factory.mktemp("reviews")
    rows = [
        {"id": n, "review": f"{word} {n}", "stars": stars}
        for n in range(40)
        for word, stars in ((SEA, "sea"), (LAND, "land"))
    ]
    path = write(place / "rows.jsonl", rows)
    parts = [f"data.{part}={path}" for part in ("train", "valid", "test")]
    train(place / "run", *parts, "data.text=review", "data.label=stars", "train.epochs=6")
    return place / "run"


def table(path, header, *rows):
    with open(path, "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *rows])
    return path


def read_csv(path, **options):
    with open(path, newline="", encoding="utf-8") as file:
        return [*csv.DictReader(file, **options)]


def asked(model, *words):
    assert run.main(["mode=predict", f"model={model}", "device=cpu", "precision=fp32", *words]) == 0


@pytest.mark.parametrize(
    ("row", "named", "found"),
    [
        ({"Text": "x"}, {}, "x"),
        ({"REVIEW": "x", "n": 1}, {"text": "review"}, "x"),
        ({"review": "x", "Review": "y"}, {"text": "review"}, "x"),
        ({"Text": "x", "TEXT": "y"}, {}, None),
        ({"text": "x", "Text": "y"}, {}, "x"),
    ],
)
def test_columns_are_found_whatever_their_capitals(row, named, found):
    own = answer_rows.with_own_columns(untrained("classify"), readers.Row(row, "x:1"), named)
    assert own.get("text") == found


def test_rows_come_back_with_label_and_probability(capsys, tmp_path, model):
    cells = [["1", f'{SEA} "2"', "x, y"], ["2", "", "z"], ["3", f"{LAND}\n2", "日本"]]
    given = table(tmp_path / "new.csv", ["id", "review", "note"], *cells)
    asked(model, f"input={given}", f"output={tmp_path / 'out.csv'}")
    found = read_csv(tmp_path / "out.csv")
    assert [*found[0]] == ["id", "review", "note", "label", "probability"]
    assert [[row["id"], row["review"], row["note"]] for row in found] == cells
    assert [row["label"] for row in found] == ["sea", "", "land"]
    assert found[1]["probability"] == ""
    shares = zoo.load(model).predict([cells[0][1]], probabilities=True)[0]
    assert float(found[0]["probability"]) == pytest.approx(shares["sea"], abs=1e-4)
    asked(model, f"input={given}")  # without output: the format of the input
    printed = capsys.readouterr()
    assert printed.out == (tmp_path / "out.csv").read_text("utf-8")


@pytest.mark.parametrize("name", ["out.csv", "out.tsv", "out.jsonl", "out.csv.gz", "out.TSV"])
def test_each_format_holds_the_same_rows(tmp_path, model, name):
    given = table(tmp_path / "new.csv", ["review", "id"], [SEA, "7"], [LAND, "8"])
    out = tmp_path / name
    asked(model, f"input={given}", f"output={out}")
    if name.endswith(".gz"):
        (tmp_path / "plain.csv").write_bytes(gzip.decompress(out.read_bytes()))
        out = tmp_path / "plain.csv"
    if out.suffix == ".TSV":
        out = out.rename(tmp_path / "lower.tsv")
    rows = [*readers.read(out)]
    assert [row["label"] for row in rows] == ["sea", "land"]
    assert [row["id"] for row in rows] == ["7", "8"]
    assert [*rows[0]] == ["review", "id", "label", "probability"]


def test_json_keeps_numbers_and_lists_and_lines_of_text_are_lines(tmp_path, model):
    given = write(tmp_path / "new.jsonl", [{"review": SEA, "n": 3, "more": [1, None]}])
    asked(model, f"input={given}", f"output={tmp_path / 'out.jsonl'}")
    (row,) = lines(tmp_path / "out.jsonl")
    assert row.pop("probability") > 0.5
    assert row == {"review": SEA, "n": 3, "more": [1, None], "label": "sea"}
    (tmp_path / "new.txt").write_text(f"{SEA}\n \n{LAND}\n")
    asked(model, f"input={tmp_path / 'new.txt'}", f"output={tmp_path / 'out'}")
    assert (tmp_path / "out").read_text() == "sea\n\nland\n"
    asked(model, f"input={tmp_path / 'new.txt'}", f"output={tmp_path / 'out.csv'}")
    assert [row["text"] for row in read_csv(tmp_path / "out.csv")] == [SEA, " ", LAND]


def test_a_column_of_the_same_name_is_kept(capsys, tmp_path, model):
    given = table(tmp_path / "new.csv", ["review", "label"], [SEA, "mine"])
    asked(model, f"input={given}", f"output={tmp_path / 'out.csv'}")
    (row,) = read_csv(tmp_path / "out.csv")
    assert (row["label"], row["predicted_label"]) == ("mine", "sea")
    said = "the rows have a column 'label': the answer is the column 'predicted_label'"
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("form", ["csv", "tsv", "jsonl"])
def test_rows_that_were_answered_before_keep_all_their_answers(tmp_path, model, form):
    rows = [{"review": SEA, "label": "mine"}, {"review": LAND, "label": "own"}]
    asked(model, f"input={write(tmp_path / 'new.jsonl', rows)}", f"output={tmp_path / '1.jsonl'}")
    first = lines(tmp_path / "1.jsonl")
    names = ["label", "predicted_label", "probability"]
    for number in (2, 3):
        given, out = tmp_path / f"{number - 1}.{form}", tmp_path / f"{number}.{form}"
        if number == 2:
            given = tmp_path / "1.jsonl"
        asked(model, f"input={given}", f"output={out}")
        names += [f"predicted_{number}_label", "predicted_probability"]
        if number == 3:
            names[-1] = "predicted_2_probability"
    if form == "jsonl":
        found = lines(out)
    else:
        separator = "," if form == "csv" else "\t"
        with open(out, encoding="utf-8", newline="") as file:
            found = [*csv.DictReader(file, delimiter=separator)]
    assert [[*row] for row in found] == [["review", *names]] * 2
    for row, before in zip(found, first, strict=True):
        assert row["predicted_3_label"] == row["predicted_label"] == before["predicted_label"]
        assert float(row["probability"]) == before["probability"]


def test_columns_can_be_named_and_are_needed(capsys, tmp_path, model):
    given = table(tmp_path / "new.csv", ["body", "id"], [LAND, "1"])
    words = ["mode=predict", f"model={model}", f"input={given}", f"output={tmp_path / 'out.csv'}"]
    assert f"{given}:2: no column 'review', there are: body, id; set data.text=" in fails(
        capsys, *words
    )
    asked(model, *words[2:], "data.text=body")
    asked(model, *words[2:], "data=files", "data.text=body")
    assert [row["label"] for row in read_csv(tmp_path / "out.csv")] == ["land"]


def test_the_best_labels_and_the_threshold(capsys, tmp_path, model):
    given = table(tmp_path / "new.csv", ["review"], [SEA])
    asked(model, f"input={given}", f"output={tmp_path / 'out.csv'}", "top=3", "threshold=1")
    (row,) = read_csv(tmp_path / "out.csv")
    assert [*row][1:] == [
        "label",
        "probability",
        "label_2",
        "probability_2",
        "label_3",
        "probability_3",
    ]
    assert (row["label"], row["label_2"], row["label_3"]) == ("unsure", "land", "")
    total = float(row["probability"]) + float(row["probability_2"])
    assert total == pytest.approx(1, abs=1e-4)
    asked(model, f"text={SEA}", "top=2")
    label, share, other, rest = capsys.readouterr().out.strip().split("\t")
    assert (label, other) == ("sea", "land")
    assert float(share) > float(rest)
    asked(model, f"text={SEA}", "threshold=1")
    assert capsys.readouterr().out == "unsure\n"
    asked(model, f"text={SEA}", "threshold=1", "format=json")
    assert json.loads(capsys.readouterr().out)["label"] == "unsure"
    asked(model, f"text={SEA}", "threshold=1", "top=3", "format=json")
    found = json.loads(capsys.readouterr().out)
    assert (found["label"], [*found["probabilities"]]) == ("unsure", ["sea", "land"])


def test_an_input_is_never_replaced(capsys, tmp_path, model):
    given = table(tmp_path / "new.csv", ["review"], [SEA])
    os.symlink(given, tmp_path / "link.csv")
    for name in ("new.csv", "link.csv"):
        words = [f"input={given}", f"output={tmp_path / name}"]
        error = fails(capsys, "mode=predict", f"model={model}", *words)
        assert error == f"output={tmp_path / name} is the input: choose another name"
    assert read_csv(given) == [{"review": SEA}]


def test_a_link_and_a_pipe_stay_what_they_are(tmp_path, model):
    given = table(tmp_path / "new.csv", ["review"], [SEA])
    (tmp_path / "real.csv").write_text("old")
    os.symlink(tmp_path / "real.csv", tmp_path / "link.csv")
    asked(model, f"input={given}", f"output={tmp_path / 'link.csv'}")
    assert (tmp_path / "link.csv").is_symlink()
    assert read_csv(tmp_path / "real.csv")[0]["label"] == "sea"
    os.mkfifo(tmp_path / "pipe.csv")
    heard = []
    thread = threading.Thread(target=lambda: heard.append((tmp_path / "pipe.csv").read_text()))
    thread.start()
    asked(model, f"input={given}", f"output={tmp_path / 'pipe.csv'}")
    thread.join(10)
    assert heard == [(tmp_path / "real.csv").read_text()]


def test_long_inputs_are_counted(capsys, tmp_path, model):
    long = " ".join([SEA] * 200)
    given = table(tmp_path / "new.csv", ["review"], [SEA], [long], [long])
    words = [f"input={given}", f"output={tmp_path / 'out.csv'}"]
    asked(model, *words)
    line = f"2 of 3 inputs are longer than the model reads, and cut; the first is {given}:3\n"
    assert capsys.readouterr().err == line
    error = fails(capsys, "mode=predict", f"model={model}", *words, "strict=true")
    assert error == f"{given}:3: longer than the model reads; strict=false cuts it"


def test_many_rows_keep_their_order_in_bounded_memory(tmp_path, model):
    peaks = []
    for count in (2 * MOST, 8 * MOST):
        rows = ([str(n), (SEA, LAND)[n % 3 == 0]] for n in range(count))
        given = table(tmp_path / "many.csv", ["id", "review"], *rows)
        tracemalloc.start()
        asked(model, f"input={given}", f"output={tmp_path / 'out.csv'}")
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        found = read_csv(tmp_path / "out.csv")
        assert [row["id"] for row in found] == [str(n) for n in range(count)]
        assert [row["label"] == "land" for row in found] == [n % 3 == 0 for n in range(count)]
    assert peaks[1] < 1.5 * peaks[0] + 1e6


def test_a_tagger_writes_its_labels_behind_the_other_columns(tmp_path):
    rows = [{"words": ["Ann", "went"], "labels": ["B-PER", "O"]}] * 8
    parts = in_files(tmp_path, rows, rows, rows)
    train(tmp_path / "run", *parts, "train.epochs=1", task="tag")
    (tmp_path / "new.conll").write_text("Ann\tN\tX\nwent\tV\tY\n\nAnn\tN\tX\n\n")
    asked(tmp_path / "run", f"input={tmp_path / 'new.conll'}", f"output={tmp_path / 'out.conll'}")
    found = [line.split("\t") for line in (tmp_path / "out.conll").read_text().splitlines()]
    assert [cells[:3] for cells in found if cells != [""]] == [
        ["Ann", "N", "X"],
        ["went", "V", "Y"],
        ["Ann", "N", "X"],
    ]
    assert {len(cells) for cells in found} == {4, 1}
    given = write(tmp_path / "new.jsonl", [{"words": ["Ann"], "id": 1}])
    asked(tmp_path / "run", f"input={given}", f"output={tmp_path / 'out.jsonl'}")
    (row,) = lines(tmp_path / "out.jsonl")
    assert [*row] == ["words", "id", "labels"]
    assert len(row["labels"]) == 1


def test_translations_have_a_column(tmp_path):
    asked("translate/en-de", "text=A dog.", f"output={tmp_path / 'out.csv'}")
    assert [*read_csv(tmp_path / "out.csv")[0]] == ["text", "translation"]
    given = table(tmp_path / "new.csv", ["source", "id"], ["A dog.", "1"])
    asked(
        "translate/en-de", f"input={given}", f"output={tmp_path / 'two.csv'}", "generation.n_best=2"
    )
    assert [*read_csv(tmp_path / "two.csv")[0]] == ["source", "id", "translation", "translation_2"]


def test_settings_of_labels_are_refused_without_labels(capsys):
    error = fails(capsys, "mode=predict", "model=translate/en-de", "text=x", "top=2")
    assert error == "top=…, threshold=…: translate has no label for a whole text"


def test_the_form_follows_the_name():
    assert answer_rows.form_of("-", "a.csv") == "csv"
    assert answer_rows.form_of("b.jsonl", "a.csv") == "jsonl"
    assert answer_rows.form_of("answers", "a.TSV.GZ") == "tsv"
    assert answer_rows.form_of("b.txt", "a.csv") == "label"
    assert answer_rows.form_of("-", "-") == "label"
