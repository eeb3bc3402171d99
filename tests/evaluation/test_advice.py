"""When the baseline is said to win, and what is named then."""

from __future__ import annotations

import pytest

from zoo import registry
from zoo.evaluation import advice
from zoo.evaluation.advice import baseline_wins
from zoo.task import Task

REPORT = {
    "task": "classify",
    "metric": "accuracy",
    "lower_is_better": False,
    "rows": {"train": 233, "test": 34},
    "cut": {"train": 0},
    "test": {"accuracy": 0.85},
    "intervals": {"accuracy": {"low": 0.70, "high": 0.93, "method": "Wilson"}},
    "baseline": {"method": "TF-IDF", "accuracy": 0.94},
    "best_epoch": 3,
    "epochs": 6,
    "settings": {
        "tokenizer": {"kind": "words"},
        "train": {"epochs": 8, "batch_rows": 64},
        "task": {"name": "classify"},
        "backbone": {},
        "init": None,
    },
}


def verdict(report):
    """The lines for a report, with what its task advises; a task from outside has no advice."""
    kind = Task if report["task"] == "other" else registry.find(report["task"])
    return advice.verdict(report, kind._advise(report))


@pytest.mark.parametrize(
    ("baseline", "wins"), [({"accuracy": 0.94}, True), ({"accuracy": 0.92}, False), (None, False)]
)
def test_only_a_lead_beyond_the_interval_counts(baseline, wins):
    assert baseline_wins(REPORT | {"baseline": baseline}) == wins
    assert bool(verdict(REPORT | {"baseline": baseline})) == wins


def test_lower_can_be_better_and_without_an_interval_a_margin_counts():
    report = REPORT | {"metric": "perplexity", "lower_is_better": True, "intervals": {}}
    report["test"] = {"perplexity": 100.0}
    assert baseline_wins(report | {"baseline": {"perplexity": 98.0}})
    assert not baseline_wins(report | {"baseline": {"perplexity": 99.5}})
    assert not baseline_wins(report | {"baseline": {"perplexity": 120.0}})


def test_the_two_likeliest_settings_are_named():
    first, *two = verdict(REPORT)
    assert first.startswith(
        "the baseline is ahead: accuracy 0.9400, the LSTM 0.8500, by more than noise"
    )
    assert [line.split(":")[0].strip() for line in two] == [
        "tokenizer.kind=subwords tokenizer.size=800",
        "train.batch_rows=8",
    ]
    told = REPORT | {"cut": {"train": 100}, "best_epoch": 8, "epochs": 8}
    told["settings"] = REPORT["settings"] | {"tokenizer": {"kind": "subwords"}}
    assert [line.split(":")[0].strip() for line in verdict(told)[1:]] == [
        "task.max_length=800",
        "train.epochs=24",
    ]


@pytest.mark.parametrize("task", ["classify", "tag", "translate", "generate", "forecast", "other"])
def test_there_are_always_two(task):
    report = REPORT | {"task": task, "rows": {"train": 10**6, "test": 34}, "cut": {}}
    report["settings"] = {}
    assert len(verdict(report)) == 3
