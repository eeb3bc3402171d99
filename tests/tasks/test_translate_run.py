"""Translations from the command line: every mode of one small model, and two tokenizers."""

from __future__ import annotations

import io
import json
import re
import signal
import sys
import time

import pytest
import torch
from conftest import DATA, fails, lines, settings, train, write
from safetensors.torch import load_file

import zoo
from zoo import run
from zoo.errors import InputError
from zoo.training import pipeline

TOYS = lines(DATA / "translate.jsonl")
TOY = ["data=files", f"data.train={DATA / 'translate.jsonl'}"]
WORDS = "tokenizer.kind=words"


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """The folder of a small training that has learned its rows."""
    folder = tmp_path_factory.mktemp("translate") / "run"
    train(
        folder,
        WORDS,
        "train.epochs=30",
        "train.patience=0",
        "train.warmup=0",
        "task.dropout=0",
        "backbone.input_dropout=0",
        "backbone.output_dropout=0",
        task="translate",
    )
    return folder


def answered(monkeypatch, capsys, model, text, *words) -> list[str]:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text.encode())))
    assert run.main(["mode=predict", f"model={model}", "device=cpu", *words]) == 0
    return capsys.readouterr().out.splitlines()


BIRDS, HOUSES = "two small birds stand", "four big houses sleep"
VÖGEL, HÄUSER = "zwei kleine vögel stehen", "vier große häuser schlafen"


def test_predict_answers_lines_rows_and_one_text(monkeypatch, capsys, tmp_path, model):
    assert answered(monkeypatch, capsys, model, f"{BIRDS}\n\n{HOUSES}\n") == [VÖGEL, "", HÄUSER]
    rows = [{"source": HOUSES, "target": "not read"}, {"source": ""}, {"text": BIRDS}]
    given = f"input={write(tmp_path / 'in.jsonl', rows)}"
    assert answered(monkeypatch, capsys, model, "", given) == [HÄUSER, "", VÖGEL]
    assert answered(monkeypatch, capsys, model, "", f"text={BIRDS}") == [VÖGEL]
    (tmp_path / "in.csv").write_text(f"source,target\n{BIRDS},\n")
    assert answered(monkeypatch, capsys, model, "", f"input={tmp_path}/in.csv") == [VÖGEL]
    write(tmp_path / "in.jsonl", [{"source": BIRDS}, {"quelle": BIRDS}])
    said = fails(capsys, "mode=predict", f"model={model}", given)
    assert said.endswith("in.jsonl:2: no column 'source'; there are: quelle")


def test_predict_as_json_gives_the_best_translations(monkeypatch, capsys, model):
    words = ["format=json", "generation.n_best=3"]
    found, empty = map(json.loads, answered(monkeypatch, capsys, model, f"{BIRDS}\n\n", *words))
    assert empty is None
    assert set(found) == {"translation", "n_best"}
    assert found["translation"] == found["n_best"][0]["text"] == VÖGEL
    assert len({each["text"] for each in found["n_best"]}) == 3
    scores = [each["score"] for each in found["n_best"]]
    assert scores == sorted(scores, reverse=True)
    (found,) = answered(monkeypatch, capsys, model, BIRDS, "format=json")
    assert len(json.loads(found)["n_best"]) == 1


def test_predict_draws_its_answers_where_a_folder_is_given(monkeypatch, capsys, tmp_path, model):
    out = tmp_path / "deep" / "out"
    answered(monkeypatch, capsys, model, f"{BIRDS}\n\n{HOUSES}\n", f"out={out}")
    assert sorted(path.name for path in out.iterdir()) == ["answer-1.png", "answer-3.png"]
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in out.iterdir())


def test_evaluate_gives_the_figures_of_the_training(capsys, tmp_path, model):
    words = ["mode=evaluate", f"model={model}", *TOY, "device=cpu", "precision=fp32"]
    assert run.main([*words, f"out={tmp_path}"]) == 0
    expected = json.loads((model / "report.json").read_text())["test"]
    assert f"bleu {expected['bleu']:.4f}\n" in capsys.readouterr().out
    assert json.loads((tmp_path / "report.json").read_text())["test"] == pytest.approx(expected)
    assert expected["bleu_lowercase"] > 60


def test_explain_prints_both_states_and_draws_gates_and_answer(capsys, tmp_path, model):
    assert run.main(["mode=explain", f"model={model}", *TOY]) == 0
    printed = capsys.readouterr().out
    assert re.search(r"read from h_n, c_n\W+\(1, 8, 32\)", printed)
    assert "translate reads h_n, c_n: the decoder continues from both states" in printed
    assert not [*tmp_path.iterdir()]
    assert run.main(["mode=explain", f"model={model}", f"text={BIRDS}", f"out={tmp_path}"]) == 0
    printed = capsys.readouterr().out
    for name in ("gates.png", "answer.png"):
        assert f": {tmp_path / name}\n" in printed
        assert (tmp_path / name).read_bytes().startswith(b"\x89PNG")


def test_a_corpus_without_the_columns_names_no_cure_that_is_none(capsys, model):
    said = fails(capsys, "mode=evaluate", f"model={model}", "data.form=documents")
    assert "no 'source', there are text, label" in said
    assert "data.source=COLUMN" not in said


def test_a_model_brings_its_task(capsys, model):
    said = fails(capsys, "mode=evaluate", f"model={model}", "task=classify")
    assert said == f"task=classify: {model} is a model of task=translate"


def test_two_tokenizers_are_trained_saved_loaded_and_resumed(tmp_path, monkeypatch, capsys):
    words = [WORDS, "tokenizer.shared=false", "train.epochs=4", "train.patience=0"]
    train(tmp_path / "whole", *words, task="translate")
    with monkeypatch.context() as patched:
        patched.setattr(
            "zoo.training.loop.Bar.epoch", lambda *_, **__: signal.raise_signal(signal.SIGTERM)
        )
        with pytest.raises(InputError, match=r"interrupted; go on with: .* resume=.*/run$"):
            train(tmp_path / "run", *words, task="translate")
    assert len(lines(tmp_path / "run" / "metrics.jsonl")) == 1
    with monkeypatch.context() as patched:
        patched.setattr("zoo.training.build.learn_tokenizers", None)  # they are kept
        pipeline.run(settings(None, f"resume={tmp_path / 'run'}"), "", time.time())
    one, two = (load_file(tmp_path / name / "model.safetensors") for name in ("run", "whole"))
    assert one.keys() == two.keys()
    assert all(torch.equal(one[name], two[name]) for name in one)
    task = zoo.load(tmp_path / "run")
    assert task.output_tokenizer is task.target_tokenizer is not None
    english, german = (
        {word for row in TOYS for word in row[side].lower().split()}
        for side in ("source", "target")
    )
    assert set(task.tokenizer.tokens[4:]) <= english
    assert set(task.target_tokenizer.tokens[4:]) <= german
    assert task.predict([BIRDS])
    words = ["mode=predict", f"model={tmp_path / 'run'}", f"text={BIRDS}"]
    assert run.main(words) == 0
    assert set(capsys.readouterr().out.split()) <= german
