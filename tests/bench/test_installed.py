"""The comparisons with installed packages: what is measured, with a package that is made up."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch

from zoo.bench import installed
from zoo.bench.__main__ import main
from zoo.bench.installed import of_fasttext, sides
from zoo.config import check, compose
from zoo.data.readers import Row

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
LABELS = ("good", "poor")
PAIRS = [
    "task=translate",
    "data.phrases=300",
    *SMALL[3:6],
    "threads=1",
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
        for begin in ("validation accuracy after", "training, ours, fp32", "prediction")
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
    assert main(["installed", "task=translate"]) == 2
    assert capsys.readouterr().err == (
        "error: none of joeynmt is here: pip install joeynmt, in an environment of its own\n"
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


def test_all_sides_read_random_rows_of_a_sorted_corpus(tmp_path, monkeypatch):
    """IMDb's rows are sorted by label: its first rows would have one label."""
    for name in ("train", "valid", "test"):
        texts = [("poor" if row < 60 else "good") + f" film's {row} end" * 9 for row in range(120)]
        rows = [{"text": text, "label": text[:4]} for text in texts]
        lines = (json.dumps(row) + "\n" for row in rows)
        (tmp_path / f"{name}.jsonl").write_text("".join(lines), "utf-8")
    monkeypatch.setattr(sides, "LEARNED", 50)
    monkeypatch.setattr(sides, "JUDGED", 20)
    files = [f"data.{name}={tmp_path}/{name}.jsonl" for name in ("train", "valid", "test")]
    settings = check(compose(["task=classify", "data=files", *files, *SMALL[3:]]))
    found = sides.corpus(settings)
    assert (len(found.learned), len(found.judged)) == (50, 20)
    for rows in (found.learned[:10], found.judged):
        assert {row["label"] for row in rows} == {*LABELS}
    assert sides.corpus(settings).learned == found.learned  # the same seed


def test_texts_are_cut_to_the_same_words_for_all_sides(monkeypatch):
    monkeypatch.setattr(sides, "WORDS", 4)
    row = sides.cut(Row({"text": "It isn't\nbad, or?", "label": "a"}, "f:3"))
    assert row == {"text": "It is n't bad", "label": "a"}
    assert sides.cut(Row({"words": ["a"] * 9}, "f:1"))["words"] == ["a"] * 9


def test_a_lower_perplexity_is_the_better_score():
    assert sides.score("x", 20.0, 80.0, "per token", lower_is_better=True)["ratio"] == 4
    assert sides.score("x", 0.8, 0.4)["ratio"] == 2
    assert sides.score("x", 0.8, 0.0)["ratio"] == 0  # not 800,000,000


def test_our_perplexity_weighs_each_target():
    torch.manual_seed(1)
    settings = check(compose([*PAIRS]))
    rows = sides.corpus(settings)
    ours = sides.Ours(settings, rows.learned, rows.task, "target")
    examples = [rows.task.encode(row) for row in rows.judged]
    each = [ours.perplexity([example]) for example in examples]
    counts = [len(example["targets"]) for example in examples]
    nats = sum(math.log(one) * count for one, count in zip(each, counts, strict=True))
    assert ours.perplexity(examples) == pytest.approx(math.exp(nats / sum(counts)), rel=1e-4)
    assert not rows.task.training


def test_flair_learns_and_answers(monkeypatch):
    pytest.importorskip("flair")
    from zoo.bench.installed import of_flair

    for name, value in {"SECONDS": 1.0, "TIMED": 20, "ASKED": 5}.items():
        monkeypatch.setattr(of_flair, name, value)
    monkeypatch.setattr(sides, "LEARNED", 40)
    settings = check(compose(SMALL))
    found = [*of_flair.cases(settings, 1, sides.corpus(settings))]
    assert len(found) >= 3
