"""Multi-label classification from the file to the answers: lists, cells with several labels, folders."""

from __future__ import annotations

import csv
import json
import random

import pytest
import torch
from conftest import SMALL, fails

import zoo
from tasks.classify import Classify, ClassifyConfig
from zoo import run
from zoo.config import check, compose
from zoo.data.processors import LabelEncoder, LabelSetEncoder, learn_labels
from zoo.data.readers import Row
from zoo.errors import InputError, RowError
from zoo.evaluation import baselines
from zoo.evaluation.label_sets import LabelSets
from zoo.export import program
from zoo.hub.retrain import examples
from zoo.nn.backbone import Backbone, BackboneConfig
from zoo.registry import find
from zoo.text.tokenizers import Words
from zoo.training.rows import open_rows

WORDS = {
    "sea": ["wave", "tide", "gull"],
    "hill": ["rock", "slope", "peak"],
    "town": ["road", "bus"],
}
TRAINING = [*SMALL, "task=classify", "train.epochs=30", "train.batch_rows=8"]
TRAINING += ["train.learning_rate=0.01", "tokenizer.kind=words", "tokenizer.min_count=1"]
TRAINING += ["train.init_embeddings=true", "task.pool=max", "backbone.hidden_size=16"]
TRAINING += ["task.dropout=0", "backbone.input_dropout=0", "backbone.word_dropout=0", "threads=1"]


def some(count: int, seed: int = 0) -> list[dict]:
    generator = random.Random(seed)
    rows = []
    for number in range(count):
        labels = [name for name in WORDS if generator.random() < 0.45]
        words = [generator.choice(WORDS[name]) for name in labels] + ["the", f"n{number % 7}"]
        generator.shuffle(words)
        rows.append({"text": " ".join([*words, str(number)]), "labels": labels})
    return rows


def write_jsonl(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A model that was trained on a table with `;` between the labels, and its report."""
    folder = tmp_path_factory.mktemp("sets")
    with open(folder / "rows.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "label"])
        writer.writerows([row["text"], " ; ".join(row["labels"])] for row in some(300))
    given = [*TRAINING, f"data.train={folder / 'rows.csv'}", "data.separator=;"]
    status = run.main(["data=files", *given, "baseline=true", f"out={folder / 'run'}"])
    assert status == 0
    return folder, json.loads((folder / "run" / "report.json").read_text())


def test_a_model_learns_which_labels_a_text_has(trained):
    folder, report = trained
    assert report["metric"] == report["chosen_by"] == "micro_f1"
    assert report["test"]["micro_f1"] > 0.95
    assert {"micro_f1", "macro_f1", "exact_match"} <= {*report["baseline"]} & {*report["test"]}
    assert {*report["intervals"]} == {"micro_f1", "macro_f1", "exact_match"}
    assert {row["label"] for row in report["per_label"]} == {*WORDS}
    assert all(0 < row["threshold"] < 1 for row in report["per_label"])
    assert report["notes"] == []
    card = (folder / "run" / "README.md").read_text()
    assert "| micro_f1 |" in card
    assert "the best by validation micro_f1" in card


def test_predict_answers_lists_from_python(trained):
    folder, report = trained
    model = zoo.load(folder / "run")
    assert model.predict(["the wave 3", "bus the rock", "the 5"]) == [["sea"], ["hill", "town"], []]
    (shares,) = model.predict("the tide", probabilities=True)
    assert {*shares} == {*WORDS}
    least = dict(zip(model.labels, model.decision.thresholds.tolist(), strict=True))
    assert least == {row["label"]: row["threshold"] for row in report["per_label"]}
    zoo.load(folder / "run").save(folder / "again", weights="int8")
    again = zoo.load(folder / "again")
    assert again.decision.thresholds.tolist() == model.decision.thresholds.tolist()
    assert again.predict(["bus the rock"]) == [["hill", "town"]]
    assert examples(model, ["the wave"]) == [{"input": "the wave", "answer": "sea"}]


def test_rows_are_written_back_in_their_columns(trained, tmp_path, capsys):
    folder, _ = trained
    given = tmp_path / "new.csv"
    given.write_text("id,text\n1,the wave rock\n2,the 5\n")
    words = ["mode=predict", f"model={folder / 'run'}", f"input={given}"]
    assert run.main([*words, f"output={tmp_path / 'out.csv'}"]) == 0
    rows = [*csv.DictReader((tmp_path / "out.csv").read_text().splitlines())]
    assert [(row["id"], row["label"]) for row in rows] == [("1", "hill;sea"), ("2", "")]
    assert len(rows[0]["probability"].split(";")) == 2
    assert run.main([*words, f"output={tmp_path / 'out.jsonl'}"]) == 0
    first = json.loads((tmp_path / "out.jsonl").read_text().splitlines()[0])
    assert first["label"] == ["hill", "sea"]
    assert len(first["probability"]) == 2
    capsys.readouterr()
    text = ["mode=predict", f"model={folder / 'run'}", "text=the wave rock"]
    assert run.main([*text, "threshold=0.00001"]) == 0
    assert capsys.readouterr().out == "hill;sea;town\n"
    assert run.main([*text, "threshold=1", "format=json"]) == 0
    assert json.loads(capsys.readouterr().out)["labels"] == []
    assert run.main([*text, "top=2"]) == 0
    assert {*capsys.readouterr().out.split()[::2]} == {"hill", "sea"}


def test_a_model_is_evaluated_on_its_own_columns_and_on_others(trained, tmp_path, capsys):
    folder, report = trained
    words = ["mode=evaluate", f"model={folder / 'run'}", "baseline=false", "precision=fp32"]
    assert run.main([*words, f"out={tmp_path / 'own'}"]) == 0
    own = json.loads((tmp_path / "own" / "report.json").read_text())
    assert own["rows"]["test"] == report["rows"]["test"]
    assert "│ sea " in capsys.readouterr().out  # its line in the table of labels
    assert [row["count"] for row in own["per_label"]] == [r["count"] for r in report["per_label"]]
    assert own["test"]["micro_f1"] == pytest.approx(report["test"]["micro_f1"], abs=0.05)
    other = write_jsonl(tmp_path / "other.jsonl", some(40, seed=3))
    assert run.main([*words, f"data.test={other}", f"out={tmp_path / 'other'}"]) == 0
    assert json.loads((tmp_path / "other" / "report.json").read_text())["test"]["micro_f1"] > 0.85


def test_a_model_is_explained_and_exported(trained, tmp_path, capsys):
    folder, _ = trained
    assert (
        run.main(["mode=explain", f"model={folder / 'run'}", "text=the wave", f"out={tmp_path}"])
        == 0
    )
    pytest.importorskip("onnxruntime")
    model = zoo.load(folder / "run")
    assert program.save(model, tmp_path / "model.onnx") < 1e-4
    assert program.save(model, tmp_path / "model.pt2") < 1e-5


def learned(*labels):
    return learn_labels([Row({"text": "x", "label": label}, "here") for label in labels])


def test_lists_make_it_multi_label_and_plain_labels_do_not(caplog):
    plain = learned("b", "a", 3)
    assert type(plain) is LabelEncoder
    assert (plain.labels, plain.counts) == (["3", "a", "b"], [1, 1, 1])
    with caplog.at_level("INFO", "zoo"):
        several = learned(["b", "a", "b"], [], "a")
    assert isinstance(several, LabelSetEncoder)
    assert (several.labels, several.counts, several.rows) == (["a", "b"], [2, 1], 3)
    assert "multi-label: 2 labels, 1.00 a row, 1 of 3 rows have none" in caplog.messages
    assert "1 of 3 rows have a plain label: it is read as a list of one" in caplog.messages


def test_labels_that_look_like_several_are_said(caplog):
    with caplog.at_level("INFO", "zoo"):
        learned("bug", "billing", "bug; billing", "and/or", "a|b")
    said = (
        "labels such as 'bug; billing' look like several in one: data.separator=';' reads them so"
    )
    assert caplog.messages == [said]


def test_labels_that_tell_nothing_apart_are_refused():
    with pytest.raises(InputError, match="no training row has a label"):
        learned([], [])
    with pytest.raises(InputError, match="nothing to decide"):
        learned(["a"], ["a"])
    assert learned(["a"], []).labels == ["a"]


def rows_of(path, *settings):
    chosen = check(compose(["data=files", f"data.train={path}", "task=classify", *settings]))
    splits = open_rows(chosen, find("classify"))
    return [row["label"] for row in splits.train]


def test_cells_are_split_and_empty_ones_have_no_label(tmp_path):
    path = tmp_path / "rows.csv"
    path.write_text("text,labels\none,a | b|\ntwo,\nthree,c\n")
    given = (f"data.valid={path}", f"data.test={path}")
    assert rows_of(path, *given, "data.separator=|") == [["a", "b"], [], ["c"]]
    named = tmp_path / "named.csv"
    named.write_text("text,topics\none,a;b\n")
    assert rows_of(named, *given, "data.separator=;", "data.label=topics") == [["a", "b"]]


@pytest.mark.parametrize(
    ("value", "line"),
    [
        ([""], "has the label ''"),
        ([None], "has the label None"),
        ([float("nan")], "has the label nan"),
        ([["a"]], r"has the label \['a'\]"),
        (None, "is null"),
        ("['a', 'b']", "is a printed list: write"),
    ],
)
def test_what_is_no_list_of_labels_is_an_error_of_its_row(tmp_path, value, line):
    rows = [{"text": "one", "label": ["a"]}, {"text": "two", "label": value}]
    path = write_jsonl(tmp_path / "rows.jsonl", rows)
    with pytest.raises(RowError, match=rf"rows.jsonl:2: .*{line}"):
        rows_of(path, f"data.valid={path}", f"data.test={path}")


def test_labels_that_training_lacks_are_mistakes(tmp_path, capsys):
    train = write_jsonl(tmp_path / "train.jsonl", some(60))
    odd = [row | {"labels": [*row["labels"], "new"]} for row in some(20, seed=5)]
    other = write_jsonl(tmp_path / "other.jsonl", odd)
    data = ["data=files", f"data.train={train}", f"data.valid={other}", f"data.test={other}"]
    words = [*data, *TRAINING, "train.epochs=2", "baseline=false"]
    assert run.main([*words, f"out={tmp_path / 'run'}"]) == 0
    out = capsys.readouterr().out
    assert "20 labels that the training rows lack count as mistakes: 'new' (20)" in out
    report = json.loads((tmp_path / "run" / "report.json").read_text())
    assert report["test"]["exact_match"] == 0
    assert "'new' does not occur in the training rows" in fails(
        capsys, *words, "strict=true", f"out={tmp_path / 'strict'}"
    )


def test_thresholds_are_chosen_on_validation_rows_and_balanced_weights_choose_by_macro_f1(
    tmp_path, monkeypatch
):
    calls = []
    real = LabelSets.calibrate

    def note(self, answers, rows):
        calls.append({row.source for row in rows})
        return real(self, answers, rows)

    monkeypatch.setattr(LabelSets, "calibrate", note)
    path = write_jsonl(tmp_path / "rows.jsonl", some(80))
    words = ["data=files", f"data.train={path}", *TRAINING, "train.epochs=1", "baseline=false"]
    words += ["task.class_weights=balanced", "task.label_smoothing=0.1", f"out={tmp_path / 'run'}"]
    assert run.main(words) == 0
    report = json.loads((tmp_path / "run" / "report.json").read_text())
    assert report["chosen_by"] == "macro_f1"
    chosen = check(compose(words))
    splits = open_rows(chosen, find("classify"))
    assert calls == [{row.source for row in splits.valid}]  # after the only epoch, not at the test


def test_the_baseline_decides_by_thresholds_too():
    rows = [Row(row | {"label": row["labels"]}, "here") for row in some(400)]
    found = baselines.tfidf(rows[:300], rows[300:], "words")
    assert found["micro_f1"] > 0.95
    assert found["rows"] == 300
    many = [
        Row({"text": f"w{n % 40} x", "label": [f"L{n % 40}", "all"]}, "here") for n in range(400)
    ]
    assert baselines.tfidf(many[:300], many[300:], "words")["micro_f1"] > 0.85


def test_a_checkpoint_and_the_same_seed_keep_the_thresholds(tmp_path):
    path = write_jsonl(tmp_path / "rows.jsonl", some(80))
    words = ["data=files", f"data.train={path}", *TRAINING, "train.epochs=2", "baseline=false"]
    for name in "ab":
        assert run.main([*words, f"out={tmp_path / name}"]) == 0
    one, other = ((tmp_path / name / "model.safetensors").read_bytes() for name in "ab")
    assert one == other


def test_a_head_on_a_shared_backbone_has_its_thresholds(tmp_path):
    rows = [Row({"text": r["text"], "label": r["labels"]}, "here") for r in some(60)]
    plain = [Row(row | {"label": str(bool(row["label"]))}, "here") for row in rows]
    tokenizer = Words.train([row["text"] for row in rows], 300, 1)
    shape = BackboneConfig(vocabulary_size=len(tokenizer), embedding_size=8, hidden_size=8)
    backbone = Backbone(shape)
    heads = {
        name: Classify(
            backbone,
            {"tokenizer": tokenizer, "labels": learn_labels(of)},
            ClassifyConfig(append_eos=True),
        )
        for name, of in (("topics", rows), ("any", plain))
    }
    both = zoo.multitask(backbone, heads)
    history = both.fit(
        {"topics": (rows, rows[:20]), "any": (plain, plain[:20])}, "train.epochs=1", "device=cpu"
    )
    assert {"topics.micro_f1", "topics.loss", "any.accuracy"} <= {*history[0]["valid"]}
    thresholds = both.heads["topics"].decision.thresholds
    assert not torch.equal(thresholds, torch.full((3,), 0.5))
    both.save(tmp_path / "both")
    again = zoo.load(tmp_path / "both")
    assert torch.equal(again.heads["topics"].decision.thresholds, thresholds)
    assert again.predict(["the wave"]) == both.predict(["the wave"])
    assert isinstance(again.predict(["the wave"])["topics"][0], list)
