"""Folds: each row is scored once, equal inputs and labels are divided as they should be."""

from __future__ import annotations

from collections import Counter

import pytest
from conftest import DATA, fails, lines, settings, write

from zoo import run
from zoo.data.readers import Row
from zoo.errors import InputError
from zoo.files import read_json
from zoo.registry import find
from zoo.training import pipeline
from zoo.training.rows import open_rows
from zoo.tuning import folds

CLASSIFY, TAG = find("classify"), find("tag")


def texts(count, label="ab"):
    return [Row({"text": f"t{i}", "label": label[i % len(label)]}, f"x:{i}") for i in range(count)]


def test_each_row_is_inside_one_fold_and_labels_have_their_share():
    rows = texts(40, "aaab")
    parts = list(folds.stratified(rows, CLASSIFY, 5, 1))
    inside = [row.source for _, part in parts for row in part]
    assert sorted(inside) == sorted(row.source for row in rows)
    for outside, part in parts:
        assert {r.source for r in outside}.isdisjoint(r.source for r in part)
        assert Counter(row["label"] for row in part) == {"a": 6, "b": 2}
    again = list(folds.stratified(rows, CLASSIFY, 5, 1))
    assert parts == again != list(folds.stratified(rows, CLASSIFY, 5, 2))


def test_equal_inputs_stay_in_one_fold():
    rows = texts(20) + texts(20)
    for outside, inside in folds.stratified(rows, CLASSIFY, 4, 1):
        assert {r["text"] for r in outside}.isdisjoint(r["text"] for r in inside)
        assert len(inside) == 10


def test_rare_labels_are_said_and_do_not_end_it(caplog):
    caplog.set_level("INFO", "zoo")
    rows = [*texts(30), Row({"text": "odd", "label": "rare"}, "x")]
    folds.say_rare(rows, CLASSIFY, 5)
    assert caplog.messages == ["labels with fewer rows than folds: 'rare' (1)"]
    assert len(list(folds.stratified(rows, CLASSIFY, 5, 1))) == 5
    every = [Row({"text": f"t{i}", "label": f"l{i}"}, "x") for i in range(12)]
    assert len(list(folds.stratified(every, CLASSIFY, 4, 1))) == 4
    with pytest.raises(InputError, match="3 distinct rows are too few for 5 folds"):
        list(folds.stratified(texts(3), CLASSIFY, 5, 1))


def test_sentences_are_divided_by_their_rarest_label():
    rows = [
        Row({"words": [f"w{i}", "x"], "labels": ["B" if i % 5 == 0 else "O", "O"]}, "x")
        for i in range(30)
    ]
    for _, inside in folds.stratified(rows, TAG, 3, 1):
        assert sum("B" in row["labels"] for row in inside) == 2


def test_given_validation_rows_are_in_no_fold(tmp_path):
    rows = [dict(row) for row in texts(40)]
    train, valid = write(tmp_path / "a.jsonl", rows), write(tmp_path / "b.jsonl", rows[:3])
    for more, count in (([f"data.valid={valid}", f"data.test={valid}"], 40), ([], 36)):
        chosen = settings(None, f"data.train={train}", *more)
        assert len(folds.pool(open_rows(chosen, CLASSIFY), chosen)) == count


WORDS = ["data=files", "threads=1", "from_data=false", "backbone.hidden_size=8", "train.epochs=2"]


@pytest.mark.parametrize("task", ["classify", "tag", "translate"])
def test_a_cross_validation_scores_every_fold_and_reads_no_test_row(tmp_path, capsys, task):
    rows = lines(DATA / f"{task}.jsonl")
    train = write(tmp_path / "train.jsonl", rows)
    test = tmp_path / "test.jsonl"
    test.write_text("this is no json\n")
    out = tmp_path / "run"
    words = [f"task={task}", *WORDS, f"data.train={train}", f"data.test={test}", f"out={out}"]
    assert run.main([*words, "folds=3"]) == 0
    printed = capsys.readouterr().out
    found = read_json(out / "folds.json")
    assert len(found["folds"]) == 3
    metric = found["metric"]
    values = [fold["metrics"][metric] for fold in found["folds"]]
    assert found["summary"][metric]["mean"] == pytest.approx(sum(values) / 3)
    assert [found["summary"][metric][n] for n in ("least", "greatest")] == [
        min(values),
        max(values),
    ]
    for word in ("mean", "deviation", "range", "baseline", "No model is kept"):
        assert word in printed
    assert all(len(line) <= 100 for line in printed.splitlines() if line[:1] in "┏┃│└")
    assert sorted(path.name for path in out.iterdir()) == [".zoo-run", "folds.json"]


def test_python_gets_the_figures_of_the_command_and_a_model(tmp_path, capsys):
    rows = lines(DATA / "classify.jsonl")
    train = f"data.train={write(tmp_path / 'train.jsonl', rows)}"
    folder = tmp_path / "run"
    assert run.main([*WORDS, train, f"out={folder}", "folds=3"]) == 0
    figures = _without_seconds(read_json(folder / "folds.json"))
    plain = {"threads": 1, "from_data": False, "backbone.hidden_size": 8, "train.epochs": 2}
    model = CLASSIFY.fit(rows, folds=3, out=tmp_path / "fit", **plain)
    found = model.metadata["folds"]
    assert "mean" in found.pop("table")
    assert _without_seconds(found) == figures | {"data": "memory"}
    assert _without_seconds(read_json(tmp_path / "fit" / "folds.json")) == figures | {
        "data": "memory"
    }
    assert model.metadata["test"] == CLASSIFY.fit(rows, **plain).metadata["test"]
    again, report = pipeline.train(*WORDS, train, "folds=3", "baseline=false")
    assert report["folds"]["summary"] == figures["summary"]
    assert report["test"] == model.metadata["test"] == again.metadata["test"]


def _without_seconds(figures):
    folds = [{n: v for n, v in fold.items() if n != "seconds"} for fold in figures["folds"]]
    for fold in folds:
        fold["baseline"] = fold["baseline"].get(figures["metric"])
    return {n: v for n, v in figures.items() if n != "command"} | {"folds": folds}


def test_given_rows_are_in_no_fold_of_python_either():
    rows = [dict(row) for row in texts(40)]
    model = CLASSIFY.fit(
        rows,
        valid=rows[:3],
        test=rows[:4],
        folds=2,
        baseline=False,
        **{"train.epochs": 1, "backbone.hidden_size": 8, "from_data": False},
    )
    assert [fold["rows"] for fold in model.metadata["folds"]["folds"]] == [20, 20]
    assert model.metadata["rows"] == {"train": 40, "valid": 3, "test": 4}


def test_describe_gives_the_sample_deviation():
    found = folds.describe([1.0, 2.0, 3.0])
    assert found == {"mean": 2.0, "deviation": 1.0, "least": 1.0, "greatest": 3.0}
    assert folds.describe([2.0])["deviation"] == 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["folds=1"], "folds=1: a fold is scored by a model of the others"),
        (["folds=3", "task=generate", "data=pydoc"], "folds=3: generate reads one long series"),
        (["folds=3", "mode=explain"], "folds=… trains: mode=explain takes no folds"),
    ],
)
def test_what_cannot_be_divided_is_refused(capsys, tmp_path, words, said):
    assert said in fails(capsys, *words, f"out={tmp_path / 'run'}")
    assert not [*tmp_path.iterdir()]


def test_an_interruption_says_how_many_folds_were_done(tmp_path, monkeypatch, capsys):
    def stop(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("zoo.tuning.trial.test", stop)
    words = [*WORDS, f"data.train={DATA / 'classify.jsonl'}", f"out={tmp_path / 'run'}", "folds=3"]
    assert fails(capsys, *words) == "interrupted after 0 of 3 folds: start it again"
    assert not [*tmp_path.iterdir()]


def test_a_folder_that_holds_a_run_is_refused(tmp_path, trained, capsys):
    words = [*WORDS, f"data.train={DATA / 'classify.jsonl'}", "folds=3", f"out={trained}"]
    assert "holds a run already" in fails(capsys, *words)
