"""Tagging: a whole small training, its report, its repetition, and rows that cannot be used."""

from __future__ import annotations

import json
import os
import signal
import time

import pytest
import torch
from conftest import DATA, SMALL, lines, pipeline, settings, train, write
from safetensors.torch import load_file
from tag_cases import SPANS

import zoo
from tasks.tag import Tag
from zoo import run
from zoo.data.readers import Row
from zoo.errors import InputError
from zoo.training import state

ROWS = [{"words": [*row["words"]], "labels": [*row["labels"]]} for row in SPANS]
TOYS = lines(DATA / "tag.jsonl")
FIGURES = ["accuracy", "accuracy_unseen", "sentence_accuracy", "precision", "recall", "f1", "loss"]
TINY = ("train.epochs=1", "backbone.hidden_size=8", "task.character_hidden=8")


def parts(folder, rows=ROWS, valid=ROWS, test=ROWS) -> list[str]:
    """The settings of rows in three files."""
    folder.mkdir(exist_ok=True)
    named = {"train": rows, "valid": valid, "test": test}
    return [f"data.{part}={write(folder / f'{part}.jsonl', some)}" for part, some in named.items()]


def report(folder) -> dict:
    return json.loads((folder / "report.json").read_text("utf-8"))


def same(first, second) -> bool:
    left, right = (load_file(folder / "model.safetensors") for folder in (first, second))
    return left.keys() == right.keys() and all(torch.equal(left[k], right[k]) for k in left)


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    """The folder of a finished training on the toy rows."""
    out = tmp_path_factory.mktemp("tag") / "run"
    words = ["task=tag", "data=files", f"data.train={DATA / 'tag.jsonl'}", f"out={out}", *SMALL]
    assert run.main([*words, "train.epochs=20", "train.patience=0", "baseline=true"]) == 0
    return out


def test_a_training_reports_and_draws_what_it_found(toy):
    found = report(toy)
    assert [*found["test"]] == ["accuracy", "accuracy_unseen", "sentence_accuracy", "loss"]
    assert found["test"]["accuracy"] >= 0.9
    assert found["baseline"]["accuracy"] >= 0.8
    assert found["reads"] == "output"
    assert sum(found["rows"].values()) == len(TOYS)
    counts = found["confusion"]["counts"]
    total = sum(map(sum, counts))
    names = found["confusion"]["labels"]
    assert names == ["ADJ", "AUX", "DET", "NOUN", "PROPN", "PUNCT", "VERB"]
    right = sum(row[place] for place, row in enumerate(counts))
    assert found["test"]["accuracy"] == pytest.approx(right / total)
    assert {row["label"]: row["count"] for row in found["per_label"]} == {
        label: sum(row) for label, row in zip(names, counts, strict=True) if sum(row)
    }
    assert "per_span" not in found
    for sentence in found["sentences"]:
        pairs = zip(sentence["words"], sentence["labels"], strict=True)
        assert sentence["shown"] == " ".join(f"{word}/{label}" for word, label in pairs)
    for name in ("confusion.png", "learning_curve.png"):
        assert (toy / name).read_bytes().startswith(b"\x89PNG")
    assert zoo.load(toy).metric == "accuracy"


def test_of_spans_f1_is_measured_and_chosen_by(tmp_path):
    out = tmp_path / "run"
    found = train(out, *parts(tmp_path), "train.epochs=8", "task.crf=true", task="tag")
    assert [*found["test"]] == FIGURES
    assert {row["label"] for row in found["per_span"]} == {"PER", "LOC"}
    assert {row["label"]: row["count"] for row in found["per_label"]} == {
        "B-LOC": 2,
        "B-PER": 3,
        "I-LOC": 1,
        "I-PER": 2,
        "O": 7,
    }
    history = lines(out / "metrics.jsonl")
    best = max(history, key=lambda entry: (entry["valid"]["f1"], -entry["valid"]["loss"]))
    assert found["best_epoch"] == best["epoch"]
    assert zoo.load(out).metric == "f1"


def test_scores_and_mistakes_are_those_counted_by_hand(tmp_path):
    test = [
        {"words": ["Ann", "saw", "Paris"], "labels": ["B-PER", "O", "B-LOC"]},
        {"words": ["Zoe", "left", "Oslo"], "labels": ["B-PER", "O", "B-LOC"]},
    ]
    out = tmp_path / "run"
    train(out, *parts(tmp_path, test=test), *TINY, task="tag")
    task = zoo.load(out)
    assert isinstance(task, Tag)
    assert task.seen == {word for row in ROWS for word in row["words"]}
    rows = [Row(row, f"test:{place}") for place, row in enumerate(test, 1)]
    labels = [["B-PER", "O", "B-LOC"], ["B-LOC", "O", "B-LOC"]]
    answers = [
        {"labels": labels[0], "probabilities": [0.9, 0.8, 0.7], "nats": 1.0},
        {"labels": labels[1], "probabilities": [0.6, 0.8, 0.7], "nats": 2.0},
    ]
    expected = {
        "accuracy": 5 / 6,
        "accuracy_unseen": 2 / 3,
        "sentence_accuracy": 1 / 2,
        "precision": 3 / 4,
        "recall": 3 / 4,
        "f1": 3 / 4,
        "loss": 3 / 6,
    }
    assert task.compute_metrics(answers, rows) == pytest.approx(expected)
    assert task.report(answers, rows, tmp_path)["mistakes"] == [
        {
            "place": "test:2",
            "label": "B-PER",
            "answer": "B-LOC",
            "probability": 0.6,
            "text": "[Zoe] left Oslo",
        }
    ]
    known = {"words": ["she", "went"], "labels": ["O", "O"]}
    values = task.compute_metrics([{"labels": ["O", "O"], "nats": 0.0}], [Row(known, "here")])
    assert values["accuracy_unseen"] == 0


def test_an_evaluation_gives_the_figures_of_the_report(toy, tmp_path, capsys):
    words = ["mode=evaluate", f"model={toy}", "data=files", f"data.train={DATA / 'tag.jsonl'}"]
    assert run.main([*words, f"out={tmp_path}", "device=cpu", "precision=fp32"]) == 0
    assert report(tmp_path)["test"] == report(toy)["test"]
    shown = [f"{name} {value:.4f}" for name, value in report(toy)["test"].items()]
    assert capsys.readouterr().out.splitlines() == shown


OPTIONS = {
    "words": ("task.crf=true", "backbone.input_dropout=0.2"),
    "pieces": ("task.words=subword", "tokenizer.kind=characters", "train.ema_decay=0"),
}


@pytest.mark.parametrize("overrides", OPTIONS.values(), ids=OPTIONS)
def test_the_same_seed_gives_the_same_bits(tmp_path, overrides):
    rows = parts(tmp_path, TOYS[:40], TOYS[40:50], TOYS[40:50])
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        train(tmp_path / name, *rows, *TINY, *overrides, f"seed={seed}", task="tag")
    assert same(tmp_path / "a", tmp_path / "b")
    assert not same(tmp_path / "a", tmp_path / "c")


@pytest.mark.parametrize("overrides", OPTIONS.values(), ids=OPTIONS)
def test_an_interrupted_training_goes_on_to_the_same_bits(tmp_path, monkeypatch, overrides):
    rows = parts(tmp_path, TOYS[:40], TOYS[40:50], TOYS[40:50])
    words = [*rows, *TINY, "train.epochs=2", *overrides]
    train(tmp_path / "whole", *words, task="tag")
    real, steps = state.TrainingState.__init__, iter(range(1, 100))

    def begin(self, *given):
        real(self, *given)
        update = self.optimizer.step

        def step():
            update()
            if next(steps) == 7:  # in the second epoch
                os.kill(os.getpid(), signal.SIGTERM)

        self.optimizer.step = step

    monkeypatch.setattr(state.TrainingState, "__init__", begin)
    with pytest.raises(InputError, match="interrupted"):
        train(tmp_path / "run", *words, task="tag")
    monkeypatch.undo()
    pipeline.run(settings(None, f"resume={tmp_path / 'run'}", task="tag"), "", time.time())
    assert same(tmp_path / "run", tmp_path / "whole")


@pytest.mark.parametrize("crf", ["false", "true"])
def test_a_very_long_sentence_is_trained_on_and_answered(tmp_path, crf):
    short = {"words": ["a", "b", "c", "d", "e"], "labels": ["X", "Y", "Z", "X", "Y"]}
    long = [{name: column * 1000 for name, column in short.items()}]
    rows = parts(tmp_path, [*long, *[short] * 40], [short], long)
    words = [*rows, *TINY, f"task.crf={crf}", "train.learning_rate=0.1", "train.ema_decay=0"]
    train(tmp_path / "run", *words, "task.dropout=0", "train.epochs=2", task="tag")
    (answer,) = zoo.load(tmp_path / "run").predict_rows([Row({"words": long[0]["words"]}, "here")])
    assert len(answer["labels"]) == len(answer["probabilities"]) == 5000
    right = sum(a == b for a, b in zip(answer["labels"], long[0]["labels"], strict=True))
    assert right > 4000


def test_another_label_set_starts_from_a_taggers_backbone(toy, tmp_path):
    words = [
        f"init={toy}",
        *parts(tmp_path),
        "train.epochs=1",
        "train.learning_rate=1e-9",
        "baseline=false",
        "device=cpu",
        "precision=fp32",
    ]
    assert run.main(["task=tag", "data=files", *words, f"out={tmp_path / 'run'}"]) == 0
    origin, begun = zoo.load(toy), zoo.load(tmp_path / "run")
    assert begun.labels == ["B-LOC", "B-PER", "I-LOC", "I-PER", "O"]
    assert begun.tokenizer.tokens == origin.tokenizer.tokens
    for name, weight in origin.backbone.state_dict().items():
        torch.testing.assert_close(begun.backbone.state_dict()[name], weight, atol=1e-5, rtol=0)
