"""Tables of folds and of trials: in the user's language where printed, in English where kept."""

from __future__ import annotations

import re
from types import SimpleNamespace

import pytest
from rich.cells import cell_len

from zoo.tuning import cross_validation, tune
from zoo.tuning.halving import Result, Work


def of_folds():
    metrics = {"accuracy": 0.5, "f1": 0.25}
    fold = {"rows": 1000, "metrics": metrics, "baseline": metrics, "seconds": 2.0}
    summary = dict.fromkeys(metrics)
    report = {"folds": [fold, fold], "metric": "accuracy", "summary": summary}
    return cross_validation._table(report | {"task": "classify", "data": "files"})


def of_trials():
    tried = [{}, *({"train.learning_rate": rate / 1000} for rate in range(tune.SHOWN))]
    works = [Work(changes, 0, 0, 2, 100) for changes in tried]
    results = [Result(work, 0.5, 2, 1.5, name="accuracy") for work in works]
    halving = SimpleNamespace(results=results, spent=3.0)
    return tune._table(SimpleNamespace(halving=halving), tried)


@pytest.fixture
def speak(monkeypatch):
    """Choose the user's language."""

    def choose(tag):
        monkeypatch.setenv("LC_ALL", "C.UTF-8")
        monkeypatch.setenv("LANGUAGE", tag)

    return choose


WORDS = {of_folds: {"classify", "files", "accuracy", "f1"}}
WORDS[of_trials] = {"train", "learning_rate", "accuracy"}
both = pytest.mark.parametrize("table", [of_folds, of_trials])


@both
@pytest.mark.parametrize(
    ("tag", "said"),
    [
        ("ja", {of_folds: "標準偏差", of_trials: "検証accuracy"}),
        ("zh_TW", {of_folds: "標準差", of_trials: "驗證accuracy"}),
    ],
)
def test_a_printed_table_is_translated_and_its_columns_stay_aligned(speak, table, tag, said):
    speak(tag)
    shown = table().shown()
    assert said[table] in shown
    assert {*re.findall(r"[A-Za-z]\w+", shown)} == WORDS[table]
    drawn = [line for line in shown.splitlines() if line[:1] in "┏┃┡│└"]
    assert len({cell_len(line) for line in drawn}) == 1
    assert cell_len(drawn[0]) <= 100
    assert len({len(line) for line in drawn}) > 1  # characters of two columns


@both
def test_a_kept_table_is_english_and_has_no_colours(speak, table, monkeypatch):
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    before = table().kept()
    assert "\033" in table().shown()
    speak("ja")
    assert table().kept() == before
    assert before.isascii() is False  # the lines of the table
    assert not re.search("[\u3040-\u9fff\033]", before)
    assert "seconds" in before


def test_texts_are_shown_as_they_are():
    table = tune.Table("[b]", ["[red]", "name"], [["[1]", ""]], bold=0)
    assert all(text in table.kept() for text in ("[b]", "[red]", "[1]"))
