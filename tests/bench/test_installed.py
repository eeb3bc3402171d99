"""The comparisons with installed packages: what is measured, with a package that is made up."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

import pytest

from zoo.bench import installed
from zoo.bench.__main__ import main
from zoo.bench.installed import of_fasttext, sides

SMALL = [
    "task=classify",
    "data.locales=[de,ja]",
    "data.documents=20",
    "backbone.hidden_size=8",
    "backbone.embedding_size=8",
    "tokenizer.kind=characters",
    "threads=1",
    "precision=fp32",
]


class Majority:
    """Learns the label that occurs most often, as fastText's models answer."""

    def __init__(self, path, epoch):
        labels = [line.split()[0] for line in Path(path).read_text("utf-8").splitlines()]
        self.epochs = epoch
        self.label = max(labels, key=labels.count)

    def predict(self, texts):
        assert not any("\n" in text for text in texts)
        return [[self.label] for _ in texts], [[1.0] for _ in texts]


@pytest.fixture
def fasttext(monkeypatch):
    found = ModuleType("fasttext")
    found.train_supervised = lambda input, epoch, **_: Majority(input, epoch)
    monkeypatch.setitem(sys.modules, "fasttext", found)
    monkeypatch.setattr(installed, "find_spec", lambda name: name == "fasttext" or None)
    return found


def test_each_package_is_measured_beside_the_task(fasttext, monkeypatch):
    taken = []
    monkeypatch.setattr(of_fasttext, "train_for", lambda seconds, steps: taken.append(seconds))
    found = {case["name"]: case for case in installed.installed(SMALL, 1)}
    score, step, answers = (
        next(case for name, case in found.items() if name.startswith(begin))
        for begin in ("validation accuracy after", "training, an epoch, ours, fp32", "prediction")
    )
    assert score["peer"] == pytest.approx(0.5, abs=0.2)  # of two languages
    assert 0 <= score["ours"] <= 1
    assert len(taken) == 1  # as long as the package took
    for case in (step, answers):
        assert case["unit"] == "words/s"
        assert case["ratio"] == pytest.approx(case["ours"] / case["peer"])


def test_without_a_package_it_is_one_line(monkeypatch, capsys):
    monkeypatch.setattr(installed, "find_spec", lambda name: None)
    assert main(["installed", "task=tag"]) == 2
    assert capsys.readouterr().err == (
        "error: none of flair is here: pip install sequence-zoo[bench]\n"
    )
    assert main(["installed", "task=forecast"]) == 2
    assert "choose one of classify, tag, translate" in capsys.readouterr().err


def test_steps_end_with_their_time():
    calls = []
    assert sides.train_for(0.05, iter(lambda: lambda: calls.append(1), None)) == len(calls) > 1


def test_batches_of_a_peer_hold_every_row_once():
    batches = sides.shuffled(range(10), 4)
    epoch = [next(batches) for _ in range(3)]
    assert sorted(row for batch in epoch for row in batch) == [*range(10)]
    assert [len(batch) for batch in epoch] == [4, 4, 2]


def test_flair_learns_and_answers(monkeypatch):
    pytest.importorskip("flair")
    from zoo.bench.installed import of_flair

    for name, value in {"SECONDS": 1.0, "LEARNED": 40, "TIMED": 20, "ASKED": 5}.items():
        monkeypatch.setattr(of_flair, name, value)
    found = [*of_flair.cases(installed.check(installed.compose(SMALL)), 1)]
    assert len(found) >= 3
