"""A run goes on: interrupted or finished, with what may change, from any working folder."""

from __future__ import annotations

import json
import shutil
from contextlib import suppress

import pytest
import torch
from conftest import DATA, fails, lines, resume, same, train, weights

import zoo
import zoo.run
from zoo.config import check, compose
from zoo.errors import InputError
from zoo.training import checkpoint, pipeline
from zoo.training.resume.folder import Began
from zoo.training.resume.settings import _found_from

FLAT = ["train.schedule=constant", "train.warmup=0", "train.patience=0", "task.dropout=0.3"]


def stop_after_training(folder, *overrides, **more):
    """A run that is stopped between its last epoch and its test."""
    real = pipeline.fit

    def stop(*given):
        real(*given)
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(pipeline, "fit", stop)
        with pytest.raises(InputError, match="interrupted"):
            train(folder, *overrides, **more)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("finished") / "run"
    train(folder, *FLAT)
    return folder


def copied(folder, to):
    return shutil.copytree(folder, to)


def test_a_finished_run_goes_on_as_if_it_had_been_longer(tmp_path, finished, caplog):
    caplog.set_level("INFO", "zoo")
    folder = copied(finished, tmp_path / "run")
    model, report = zoo.train(f"resume={folder}", "train.epochs=5", "baseline=false")
    assert "train.epochs=5 instead of 2" in caplog.messages
    train(tmp_path / "whole", *FLAT, "train.epochs=5")
    assert same(folder, tmp_path / "whole")
    assert report["epochs"] == 5
    assert not (folder / "checkpoint").exists()
    assert model.predict("Gulls follow the trawler.")
    assert {p.name for p in (folder / "resume").iterdir()} >= {"checkpoint.pt", "settings.json"}
    assert not [*folder.glob("resume/encoded-*")]
    zoo.train(f"resume={folder}", "train.epochs=6")
    assert len(lines(folder / "metrics.jsonl")) == 6


def test_a_finished_run_says_what_its_learning_rate_does(tmp_path, caplog):
    caplog.set_level("INFO", "zoo")
    train(tmp_path / "run", "train.warmup=0.25", "train.learning_rate=0.02")
    zoo.train(f"resume={tmp_path / 'run'}", "train.epochs=4")
    line = "the learning rate goes on as in a training of 4 epochs: from 0.015, it had fallen to 0"
    assert line in caplog.messages
    (group, *_) = checkpoint.load(tmp_path / "run" / "resume")["optimizer"]["param_groups"]
    assert group["lr"] < 0.005


def test_killed_while_it_goes_on_a_finished_run_goes_on(tmp_path, finished, monkeypatch):
    folder = copied(finished, tmp_path / "run")

    def stop(*given):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(pipeline, "fit", stop)
        with suppress(KeyboardInterrupt, InputError):
            zoo.train(f"resume={folder}", "train.epochs=4")
    assert torch.equal(*(weights(at)["head.bias"] for at in (folder, finished)))
    resume(folder)
    train(tmp_path / "whole", *FLAT, "train.epochs=4")
    assert same(folder, tmp_path / "whole")


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ([], "this run is finished after 2 epochs: train.epochs=4 trains 2 more"),
        (["train.epochs=2"], "this run is finished after 2 epochs"),
        (["seed=7"], "seed=7 changes what the run trains, it began with 1: leave it out; only"),
        (["train.learning_rate=0.5"], "train.learning_rate=0.5 changes what the run trains"),
        (["backbone.hidden_size=8"], "backbone.hidden_size=8 changes what the run trains"),
        (["data=files", "data.train=other"], "data.train=other changes what the run trains"),
        (["task=tag"], "task.name=tag changes what the run trains, it began with classify"),
        (["train.epochs=9", "seed=7"], "seed=7 changes"),
    ],
)
def test_what_cannot_change_is_refused_by_name(capsys, finished, words, line):
    before = {path: path.stat().st_mtime_ns for path in finished.rglob("*")}
    assert line in fails(capsys, f"resume={finished}", *words)
    assert before == {path: path.stat().st_mtime_ns for path in finished.rglob("*")}


def test_a_run_that_had_no_better_epoch_needs_more_patience(capsys, tmp_path):
    train(tmp_path / "run", "train.epochs=9", "train.patience=1", "train.learning_rate=1e-9")
    assert len(lines(tmp_path / "run" / "metrics.jsonl")) < 9
    words = [f"resume={tmp_path / 'run'}", "train.epochs=12"]
    assert "add train.patience=0 or a number above 1" in fails(capsys, *words)
    zoo.train(*words, "train.patience=0")
    assert len(lines(tmp_path / "run" / "metrics.jsonl")) == 12


def test_another_working_folder(tmp_path, monkeypatch):
    work, other = tmp_path / "work", tmp_path / "other"
    work.mkdir()
    other.mkdir()
    shutil.copy(DATA / "classify.jsonl", work / "rows.jsonl")
    monkeypatch.chdir(work)
    stop_after_training("run", "data.train=rows.jsonl")
    train("whole", "data.train=rows.jsonl")
    monkeypatch.chdir(other)
    resume(work / "run")
    assert same(work / "run", work / "whole")
    assert not [*other.iterdir()]


def test_from_another_working_folder_names_stay_names(tmp_path, monkeypatch):
    """A corpus's names are no paths, even where the run's folder has files of these names."""
    for name in ("rows", "train", "udhr", "local"):
        (tmp_path / name).mkdir()

    def found(**data):
        settings = check(compose(["task=classify"])).model_copy(update={"data": data})
        return _found_from(Began(settings, "", str(tmp_path))).settings.data

    here = str(tmp_path / "rows")
    assert found(name="multi30k", path="rows", test="test_2016_flickr", source="en") == {
        "name": "multi30k",
        "path": here,
        "test": "test_2016_flickr",
        "source": "en",
    }
    assert found(name="sentences", path="rows", train="udhr", catalogs="missing") == {
        "name": "sentences",
        "path": here,
        "train": "udhr",
        "catalogs": str(tmp_path / "missing"),
    }
    assert found(name="hub", id="local", train="train") == {
        "name": "hub",
        "id": str(tmp_path / "local"),
        "train": "train",
    }
    assert found(name="hub", id="stanfordnlp/imdb")["id"] == "stanfordnlp/imdb"
    for name in ("files", "columns", "parallel", "text", "sequences"):
        split = found(name=name, train="rows", valid=None, test="/data/test.csv")
        assert split == {"name": name, "train": here, "valid": None, "test": "/data/test.csv"}
    for name in ("series", "ett", "imdb", "sst2", "enja", "ud_ewt", "wikitext2"):
        assert found(name=name, path="rows")["path"] == here


def rows_of(tmp_path):
    """Files of three splits; their rows and the settings that name them."""
    rows = [json.loads(line) for line in (DATA / "classify.jsonl").read_text().splitlines()]
    parts = {"train": rows[:40], "valid": rows[40:55], "test": rows[55:]}
    for name, part in parts.items():
        write(tmp_path, name, part)
    return parts, [f"data.{name}={tmp_path / name}.jsonl" for name in parts]


def write(tmp_path, name, rows):
    (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


CHANGES = {
    "added": (lambda rows: [*rows, {"text": "A new row.", "label": "sea"}], "is new"),
    "removed": (lambda rows: rows[1:], "is missing: 1 row was removed"),
    "reordered": (lambda rows: rows[::-1], "in another order"),
    "text": (lambda rows: [rows[0] | {"text": "Other."}, *rows[1:]], "row 1 .* has another text"),
    "label": (lambda rows: [rows[0] | {"label": "lake"}, *rows[1:]], "row 1 .* another label"),
}


def test_every_change_of_rows_is_named(tmp_path):
    parts, words = rows_of(tmp_path)
    stop_after_training(tmp_path / "run", *words)
    names = {"train": "training", "valid": "validation", "test": "test"}
    for part, rows in parts.items():
        for change, line in CHANGES.values():
            write(tmp_path, part, change(rows))
            start = f"resume={tmp_path / 'run'}: the {names[part]} rows are not those that the run"
            with pytest.raises(InputError, match=f"^{start} began with: .*{line}"):
                resume(tmp_path / "run")
        write(tmp_path, part, rows)
    resume(tmp_path / "run")
    train(tmp_path / "whole", *words)
    assert same(tmp_path / "run", tmp_path / "whole")


def test_files_of_a_checkpoint_that_were_changed_by_hand_are_named(tmp_path):
    stop_after_training(tmp_path / "run")
    state = tmp_path / "run" / "checkpoint"
    for name in ("settings.json", "processors.json", "tokenizer.json", "labels.json"):
        whole = (state / name).read_bytes()
        (state / name).write_bytes(whole.replace(b"s", b"S", 1))
        with pytest.raises(InputError, match=f"{name}: "):
            resume(tmp_path / "run")
        (state / name).write_bytes(whole)
    path = state / "settings.json"
    path.write_text(path.read_text().replace('"learning_rate": 0.02', '"learning_rate": 0.03'))
    line = r"settings.json: train.learning_rate is 0.03, and the run began with 0.02: write"
    with pytest.raises(InputError, match=line):
        resume(tmp_path / "run")


def test_a_baseline_can_be_left_out_at_a_resume(tmp_path):
    stop_after_training(tmp_path / "run", "baseline=true")
    words = [f"resume={tmp_path / 'run'}", "baseline=false"]
    assert zoo.run.main(words) == 0
    assert json.loads((tmp_path / "run" / "report.json").read_text())["baseline"] is None


def test_a_damaged_checkpoint_is_resumed_from_the_one_before(tmp_path, caplog):
    stop_after_training(tmp_path / "run")
    train(tmp_path / "whole")
    path = tmp_path / "run" / "checkpoint" / "checkpoint.pt"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.write_bytes(data)
    resume(tmp_path / "run")
    assert f"{path} is damaged: going on from the checkpoint before it" in caplog.messages
    assert same(tmp_path / "run", tmp_path / "whole")
    assert len(lines(tmp_path / "run" / "metrics.jsonl")) == 2
