"""The printed summary of a training: metrics, baseline, confusions, mistakes and next commands."""

from __future__ import annotations

from pathlib import Path

import pytest
from rich.cells import cell_len

from tasks.classify import Classify
from zoo import registry
from zoo.cli.summary import COMMON, training
from zoo.task import OF_ROWS

REPORT = {
    "task": "classify",
    "data": "toys",
    "reads": "h_n",
    "rows": {"train": 1000, "test": 2000},
    "baseline": None,
    "test": {"accuracy": 0.5, "loss": 1.25},
    "train_seconds": 3.4,
}


@pytest.fixture
def printed(capsys, monkeypatch):
    """Print the summary of a report with changes; return its lines without table borders."""
    monkeypatch.setenv("COLUMNS", "120")

    def show(**changes):
        report = REPORT | changes
        training(Path("runs/a b"), report, registry.find(report["task"]))
        lines = capsys.readouterr().out.splitlines()
        return [" ".join(line.replace("│", " ").replace("┃", " ").split()) for line in lines]

    return show


def test_metrics_and_the_next_commands_are_printed(printed):
    lines = printed()
    assert "classify on toys, 2,000 test rows" in lines
    assert "metric LSTM, reads h_n" in lines
    assert "accuracy 0.5000" in lines
    assert "loss 1.2500" in lines
    assert lines[-2] == "next: python -m zoo.run mode=predict model='runs/a b' text=\"…\""
    assert lines[-1] == "or: python -m zoo.run mode=chat model='runs/a b'"


def test_the_next_command_gives_what_the_task_reads(printed, capsys):
    """Of a forecast, of a model of features, and of a task from outside."""
    assert printed(task="forecast")[-1].endswith(" input=SERIES.csv output=FUTURE.csv")
    assert printed(predict=OF_ROWS)[-1].endswith(" input=ROWS.jsonl")
    outside = type("Outside", (Classify,), {"predict_example": "input=WAVES.jsonl"})
    training(Path("runs/a"), REPORT, outside, "toy.py")
    assert capsys.readouterr().out.endswith("task=toy.py input=WAVES.jsonl\n")


def test_a_baseline_has_its_column_and_a_note_of_fewer_rows(printed):
    baseline = {"method": "LZMA", "accuracy": 0.25, "rows": 100, "seconds": 2.0}
    lines = printed(baseline=baseline)
    assert "metric LSTM, reads h_n LZMA" in lines
    assert "accuracy 0.5000 0.2500" in lines
    assert "seconds 3 2" in lines
    assert "(the baseline learned from the first 100 rows)" in lines
    complete = printed(baseline=baseline | {"rows": 1000})
    assert not [line for line in complete if "learned from" in line]


def test_few_labels_have_a_matrix_and_many_their_commonest_confusions(printed):
    few = printed(confusion={"labels": ["a", "[b]"], "counts": [[3, 1], [0, 2]]})
    assert "truth a [b]" in few
    assert "a 3 1" in few
    labels = [f"L{n}" for n in range(9)]
    counts = [[5 if i == j else 0 for j in range(9)] for i in range(9)]
    counts[0][1] = 2
    counts[3][2] = 4
    many = printed(confusion={"labels": labels, "counts": counts})
    wanted = "predicted L2, was L3, 4 times; predicted L1, was L0, 2 times"
    assert f"commonest confusions: {wanted}" in many


def test_three_mistakes_and_the_commonest_labels_are_printed(printed):
    mistake = {"text": "some\n text", "probability": 0.9, "answer": "sea", "label": "land"}
    rows = [
        {"label": f"L{n}", "precision": 0.5, "recall": 0.25, "f1": 1 / 3, "count": n}
        for n in range(1, COMMON + 2)
    ]
    lines = printed(mistakes=[mistake] * 4, per_label=rows)
    assert lines.count("sea, 90% sure, is land: some text") == 3
    assert "label precision recall f1 count" in lines
    assert "L3 0.500 0.250 0.333 3" in lines
    assert not [line for line in lines if line.startswith(("L1 ", "L2 "))]  # the rarest ones
    assert "2 rarer labels, mean 0.500 0.250 0.333 3" in lines
    few = printed(per_label=[row | {"threshold": 0.25} for row in rows[:COMMON]])
    assert "label precision recall f1 threshold count" in few
    assert "L1 0.500 0.250 0.333 0.250 1" in few


def test_a_table_of_long_labels_fits_a_hundred_columns(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    row = {"label": "語" * 90, "precision": 1.0, "recall": 1.0, "f1": 1.0, "count": 10_000}
    report = REPORT | {"per_label": [row | {"threshold": 0.5}]}
    training(Path("runs/a"), report, registry.find("classify"))
    lines = [line for line in capsys.readouterr().out.splitlines() if "語" in line]
    assert len(lines) == 1
    assert cell_len(lines[0]) <= 100
