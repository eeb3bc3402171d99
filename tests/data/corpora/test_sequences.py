"""Float sequences of unequal length: three forms of files, one classifier, exact padding."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from conftest import fails, write

import zoo
from zoo import run
from zoo.data.corpora import open_corpus
from zoo.data.readers import Row
from zoo.errors import InputError

SMALL = ["backbone.hidden_size=8", "train.epochs=10", "train.batch_rows=8", "device=cpu"]
SMALL += ["train.learning_rate=2e-2", "train.ema_decay=0.9", "precision=fp32"]


def sequences(count=60):
    """Sequences that rise or fall, of 3 to 9 steps of two features."""
    generator = np.random.default_rng(0)
    found = []
    for number in range(count):
        steps = np.arange(3 + number % 7)
        sign = 1 if number % 2 else -1
        x = sign * steps + generator.normal(0, 0.2, len(steps))
        found.append(
            (np.stack([x, generator.normal(size=len(steps))], 1), ["down", "up"][number % 2])
        )
    return found


def rows(path, **settings):
    splits = open_corpus({"name": "sequences", "train": str(path), "test": str(path), **settings})
    return [*splits.test]


def test_the_three_forms_hold_the_same_rows(tmp_path):
    given = sequences(20)
    lists = write(
        tmp_path / "lists.jsonl",
        [{"x": v[:, 0].tolist(), "y": v[:, 1].tolist(), "kind": label} for v, label in given],
    )
    whole = write(
        tmp_path / "whole.jsonl", [{"v": v.tolist(), "kind": label} for v, label in given]
    )
    lines = ["id,kind,x,y"]
    for number, (values, label) in enumerate(given):
        lines += [f"{number},{label},{x!r},{y!r}" for x, y in values.tolist()]
    long = tmp_path / "long.csv"
    long.write_text("\n".join(lines) + "\n")
    packed = tmp_path / "packed.npz"
    np.savez(
        packed,
        values=np.concatenate([values for values, _ in given]),
        lengths=[len(values) for values, _ in given],
        labels=[label for _, label in given],
    )
    wanted = [(values.tolist(), label) for values, label in given]
    for path, settings in (
        (lists, {"features": ["x", "y"], "label": "kind"}),
        (whole, {"features": "v", "label": "kind"}),
        (long, {"features": ["x", "y"], "label": "kind", "series": "id"}),
        (packed, {}),
    ):
        assert [(row["text"], row["label"]) for row in rows(path, **settings)] == wanted


@pytest.mark.parametrize(
    ("made", "settings", "said"),
    [
        (
            [{"x": [1], "y": [1, 2], "label": "a"}],
            ["x", "y"],
            ":1: features of different lengths: x 1, y 2",
        ),
        ([{"x": [1], "label": "a"}], ["z"], ":1: no column 'z'; there are: x, label"),
        ([{"x": 3, "label": "a"}], ["x"], ":1: features are lists of numbers, one a step"),
        ([{"x": [1], "label": "a"}], None, ": which columns? set data.features=[…] of x, label"),
    ],
)
def test_a_fault_is_named(tmp_path, made, settings, said):
    path = write(tmp_path / "rows.jsonl", made)
    with pytest.raises(InputError) as caught:
        rows(path, features=settings)
    assert str(caught.value) == f"{path}{said}"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sequences")
    path = write(folder / "rows.jsonl", [{"v": v.tolist(), "label": k} for v, k in sequences()])
    words = ["task=classify", "data=sequences", f"data.train={path}", "data.features=v", *SMALL]
    assert run.main([*words, f"out={folder / 'run'}", "threads=1"]) == 0
    return folder


def test_a_classifier_of_floats_learns_and_keeps_its_scaler(folder):
    report = json.loads((folder / "run" / "report.json").read_text())
    assert report["test"]["accuracy"] >= 0.8
    assert report["baseline"]["method"] == "logistic regression (mean, deviation, first, last)"
    config = json.loads((folder / "run" / "config.json").read_text())
    assert config["processors"] == {"labels": "labels", "scaler": "scaler"}
    assert config["backbone"]["input_size"] == 2


@torch.no_grad()
def test_padding_has_no_influence(folder):
    model = zoo.load(folder / "run")
    some = [values for values, _ in sequences(14)]
    together = model.predict(some, probabilities=True)
    for values, shares in zip(some, together, strict=True):
        [alone] = model.predict(values, probabilities=True)
        assert alone == pytest.approx(shares, abs=1e-6)
    assert model.predict(some)[:2] == ["down", "up"]
    batch = model.collate([model.encode(Row({"text": v}, "here")) for v in some])
    batch.inputs[batch.inputs == 0] = 1e6  # what stands on padding is not read
    assert torch.equal(
        model(batch), model(model.collate([model.encode(Row({"text": v}, "here")) for v in some]))
    )


def test_wrong_sequences_are_one_line(folder, capsys):
    model = zoo.load(folder / "run")
    with pytest.raises(InputError, match="column 'text': 1 features, the model knows 2"):
        model.predict([[[1.0], [2.0]]])
    with pytest.raises(InputError, match="step 1, feature 2 is no finite number"):
        model.predict([[[1.0, float("nan")]]])
    words = [
        "task=classify",
        "data=sequences",
        f"data.train={folder / 'rows.jsonl'}",
        "data.features=v",
    ]
    said = fails(capsys, *words, "task.ngrams=words", f"out={folder / 'new'}")
    assert "float features have none" in said or "task.ngrams=words" in said


def test_digits_are_built_in():
    splits = open_corpus({"name": "digits"})
    sizes = [len([*part]) for part in (splits.train, splits.valid, splits.test)]
    assert sizes == [1079, 359, 359]
    assert np.shape(next(iter(splits.train))["text"]) == (8, 8)


def states(count=80):
    """Random steps, each labelled by whether their sum so far is positive."""
    generator = np.random.default_rng(0)
    found = []
    for number in range(count):
        steps = generator.normal(size=(4 + number % 9, 1))
        found.append((steps, ["high" if total > 0 else "low" for total in steps.cumsum()]))
    return found


def test_a_tagger_labels_each_step(tmp_path):
    given = states()
    path = write(tmp_path / "rows.jsonl", [{"x": v[:, 0].tolist(), "state": k} for v, k in given])
    long = tmp_path / "long.csv"
    lines = ["id,x,state"]
    for number, (values, labels) in enumerate(given):
        steps = zip(values[:, 0].tolist(), labels, strict=True)
        lines += [f"{number},{value!r},{label}" for value, label in steps]
    long.write_text("\n".join(lines) + "\n")
    settings = {"name": "sequences", "features": ["x"], "label": "state"}
    pair = [
        [(row["words"], row["labels"]) for row in open_corpus(all_settings, "words").train]
        for all_settings in (
            {**settings, "train": str(path)},
            {**settings, "train": str(long), "series": "id"},
        )
    ]
    assert pair[0] == pair[1]
    words = ["task=tag", "data=sequences", f"data.train={path}", "data.features=[x]", *SMALL]
    words += ["data.label=state", f"out={tmp_path / 'run'}", "train.batch_tokens=64", "threads=1"]
    assert run.main(words) == 0
    report = json.loads((tmp_path / "run" / "report.json").read_text())
    assert report["test"]["accuracy"] > 0.75
    assert "accuracy_unseen" not in report["test"]
    assert report["baseline"]["method"] == "logistic regression, step by step"
    model = zoo.load(tmp_path / "run")
    some = [values for values, _ in given[:9]]
    together = model.predict(some)
    assert [len(answer) for answer in together] == [len(values) for values in some]
    assert together == [model.predict(values)[0] for values in some]
    assert together[0][0][0] == "1"


def test_the_features_of_a_model_are_found_in_rows_to_predict(folder, capsys):
    model = f"model={folder / 'run'}"
    capsys.readouterr()
    assert run.main(["mode=predict", model, f"input={folder / 'rows.jsonl'}"]) == 0
    said = [json.loads(line)["predicted_label"] for line in capsys.readouterr().out.splitlines()]
    assert said == zoo.load(folder / "run").predict([values for values, _ in sequences()])
    path = write(folder / "other.jsonl", [{"w": [[0.5, 1.0]]}])
    assert "no column 'v'; there are: w" in fails(capsys, "mode=predict", model, f"input={path}")
