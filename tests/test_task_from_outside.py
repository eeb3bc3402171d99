"""A task on floats in a file outside the zoo: it trains, saves, loads, predicts, explains, exports.

The task is `tests/cases/toy_forecast.py`. Nothing in the zoo knows of it.
"""

from __future__ import annotations

import json
import math
import shutil
from importlib import import_module

import numpy as np
import pytest
import torch
from conftest import ROOT, SMALL, fails, lines, write

import zoo
from zoo import registry, run
from zoo.errors import InputError
from zoo.export import onnx, program
from zoo.task import predict_rows

FILE = ROOT / "tests" / "cases" / "toy_forecast.py"
TASK = f"task={FILE}"
TRAINING = [
    *(words for words in SMALL if not words.startswith("tokenizer.")),
    "train.epochs=12",
    "train.patience=0",
    "threads=1",
]


def waves(count: int) -> list[dict]:
    """Rows of sine waves of unequal length, each with the two values that follow."""
    rows = []
    for number in range(count):
        steps = 8 + number % 9
        values = [10 + 5 * math.sin(number + step / 2) for step in range(steps + 2)]
        rows.append({"past": values[:steps], "future": values[steps:]})
    return rows


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with rows and a model that was trained on them by the command line."""
    folder = tmp_path_factory.mktemp("outside")
    write(folder / "rows.jsonl", waves(90))
    data = ["data=files", f"data.train={folder / 'rows.jsonl'}", f"out={folder / 'run'}"]
    assert run.main([TASK, *data, *TRAINING]) == 0
    return folder


def test_it_trains_and_learns(folder):
    history = lines(folder / "run" / "metrics.jsonl")
    assert history[-1]["loss"] < history[0]["loss"] / 2
    report = json.loads((folder / "run" / "report.json").read_text())
    best = min(history, key=lambda entry: entry["valid"]["mae"])
    assert (report["task"], report["reads"]) == ("toy_forecast", "h_n")
    assert report["best_epoch"] == best["epoch"]
    assert report["valid"] == best["valid"]
    assert set(report["test"]) == {"mae"}


def test_its_folder_holds_the_scaler_and_names_no_code(folder):
    config = json.loads((folder / "run" / "config.json").read_text())
    assert config["processors"] == {"scaler": "scaler"}
    assert config["config"] == {"horizon": 2}
    assert (config["task"], config["backbone"]["input_size"]) == ("toy_forecast", 1)
    scaler = json.loads((folder / "run" / "scaler.json").read_text())
    assert scaler["mean"][0] == pytest.approx(10, abs=1)
    names = {path.name for path in (folder / "run").iterdir()}
    assert not [name for name in names if name.endswith((".py", ".pkl", ".pt"))]
    assert "h_n" in (folder / "run" / "README.md").read_text()


def test_it_loads_and_predicts_in_python(folder):
    model = zoo.load(folder / "run")
    rows = waves(5)
    together = model.predict(rows)
    assert [len(answer["future"]) for answer in together] == [2] * 5
    for row, answer in zip(rows, together, strict=True):
        alone = model.predict(row)[0]["future"]
        assert alone == pytest.approx(answer["future"], abs=1e-4)
        assert answer["future"] == pytest.approx(row["future"], abs=4)
    inputs = [{"past": np.array(row["past"], np.float32)} for row in rows]
    assert model.predict(inputs) == together


def test_it_answers_on_the_command_line(folder, capsys):
    asked = write(folder / "asked.jsonl", [{"past": row["past"]} for row in waves(3)])
    words = [TASK, "mode=predict", f"model={folder / 'run'}", f"input={asked}", "precision=fp32"]
    capsys.readouterr()
    assert run.main([*words, "format=json"]) == 0
    answers = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert answers == zoo.load(folder / "run").predict(waves(3))
    assert run.main(words) == 0
    shown = [json.loads(line)["answer"] for line in capsys.readouterr().out.splitlines()]
    assert shown == [" ".join(f"{v:.2f}" for v in answer["future"]) for answer in answers]


def test_it_is_measured_again(folder, capsys):
    data = ["data=files", f"data.train={folder / 'rows.jsonl'}"]
    report = json.loads((folder / "run" / "report.json").read_text())
    capsys.readouterr()
    words = ["mode=evaluate", f"model={folder / 'run'}", "precision=fp32", "threads=1"]
    assert run.main([TASK, *words, *data]) == 0
    printed = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert f"mae {report['test']['mae']:.4f} " in printed


def test_explain_shows_its_features_and_what_it_reads(folder, capsys):
    data = ["data=files", f"data.train={folder / 'rows.jsonl'}"]
    for words in ([f"model={folder / 'run'}", *data], [*data, *TRAINING]):
        capsys.readouterr()
        assert run.main([TASK, "mode=explain", *words]) == 0
        out = capsys.readouterr().out
        assert "features" in out
        assert "read from h_n" in out
        assert "toy_forecast reads h_n: the final h of each direction" in out


def test_help_shows_its_options(capsys):
    assert run.main(["--help", TASK]) == 0
    out = capsys.readouterr().out
    assert "task=toy_forecast: Forecast the next values of a series" in out
    assert "task.horizon=2" in out
    assert "Values that are predicted." in out


def test_its_options_are_checked(folder, capsys):
    data = ["data=files", f"data.train={folder / 'rows.jsonl'}"]
    said = fails(capsys, TASK, *data, "task.horizon=0", f"out={folder / 'new'}")
    assert said == "task.horizon=0: Input should be greater than or equal to 1"
    said = fails(capsys, TASK, *data, "task.horizont=3", f"out={folder / 'new'}")
    assert said == "task.horizont: no such setting; did you mean task.horizon?"
    said = fails(capsys, TASK, *data, "task.horizon=3", f"out={folder / 'new'}")
    assert said == f"{folder / 'rows.jsonl'}:1: 2 values, not 3"
    assert not (folder / "new").exists()


@torch.no_grad()
def test_it_exports(folder, tmp_path):
    model = zoo.load(folder / "run")
    assert program.save(model, tmp_path / "model.pt2") < 1e-5
    assert program.save(model, tmp_path / "model.onnx") < 1e-5
    assert (tmp_path / "model.onnx").stat().st_size > 1000
    assert callable(onnx.write)


def test_a_model_of_a_task_that_is_not_registered_says_the_cure(folder, monkeypatch):
    monkeypatch.setattr(registry, "_registered", {})
    with pytest.raises(InputError, match=r"toy_forecast.*zoo\.register\(MyTask\)"):
        zoo.load(folder / "run")


def test_a_registered_class_trains_to_the_same_model(folder, tmp_path, monkeypatch):
    """Its module is a copy: Python would take one file for one module, and pydantic its docstrings."""
    shutil.copy(FILE, tmp_path / "own_forecast.py")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(registry, "_registered", {})
    ToyForecast = import_module("own_forecast").ToyForecast
    assert zoo.register(ToyForecast) is ToyForecast
    data = ["data=files", f"data.train={folder / 'rows.jsonl'}"]
    model, report = zoo.train("task=toy_forecast", *data, *TRAINING)
    assert type(model) is ToyForecast
    rows = lines(folder / "rows.jsonl")[:3]
    answers = model.predict(rows)
    model.save(folder / "again")
    assert zoo.load(folder / "again").predict(rows) == answers
    assert ToyForecast.from_pretrained(folder / "run").predict(rows) == answers
    assert report["test"] == json.loads((folder / "run" / "report.json").read_text())["test"]
    assert answers == list(predict_rows(zoo.load(folder / "run"), waves(3)))
