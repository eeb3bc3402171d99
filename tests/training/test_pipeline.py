"""A whole training run: its files, its interruption and resumption, in one process or two."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time

import pytest
import torch
from conftest import DATA, ROOT, arguments, command, lines, resume, same, scaled, train, weights
from forked import Forked

from zoo import run
from zoo.errors import InputError
from zoo.training import pipeline, state
from zoo.training.loop import NotFinite


def test_a_training_learns_and_reports(trained):
    report = json.loads((trained / "report.json").read_text())
    assert report["test"]["accuracy"] >= 0.9
    for name in (
        "task",
        "data",
        "baseline",
        "train_seconds",
        "total_seconds",
        "tokens_per_second",
        "parameters",
        "seed",
        "versions",
    ):
        assert name in report
    history = lines(trained / "metrics.jsonl")
    assert [entry["epoch"] for entry in history] == list(range(1, 11))
    assert history[-1]["loss"] < history[0]["loss"] / 2
    best = max(history, key=lambda entry: (entry["valid"]["accuracy"], -entry["valid"]["loss"]))
    assert report["valid"] == best["valid"]
    assert report["best_epoch"] == best["epoch"]
    for picture in ("learning_curve.png", "confusion.png"):
        assert (trained / picture).read_bytes().startswith(b"\x89PNG")
    assert not (trained / "checkpoint").exists()
    assert [path.name for path in trained.glob(".*")] == [".zoo-run"]


LONG = ("train.epochs=20", "train.patience=0")


SIGNALS = [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGKILL]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The same training, never interrupted."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    done = command(*arguments(folder, *LONG))
    assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.parametrize("kind", SIGNALS)
def test_an_interrupted_training_goes_on_to_the_same_bits(tmp_path, whole, kind):
    folder = tmp_path / "run"
    process = Forked(arguments(folder, *LONG))
    process.wait_for(folder / "metrics.jsonl", 2)
    time.sleep(random.random() * 0.1)  # anywhere in an epoch
    process.send_signal(kind)
    process.wait(60)
    if kind != signal.SIGKILL:
        assert process.returncode == 2
        assert (
            process.stderr == f"error: interrupted; go on with: python -m zoo.run resume={folder}\n"
        )
        assert not [*folder.glob("**/*.part")]
    assert not (folder / "model.safetensors").exists()
    if kind == signal.SIGKILL:
        refused = command("mode=predict", f"model={folder}", "text=x")
        assert refused.returncode == 2
        assert f"resume={folder}" in refused.stderr
    done = command(f"resume={folder}")
    assert done.returncode == 0, done.stderr
    assert same(folder, whole)
    assert not (folder / "checkpoint").exists()


def test_an_interruption_after_the_last_epoch_is_resumed_too(tmp_path, monkeypatch):
    train(tmp_path / "whole")

    def stop(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("zoo.evaluation.plots.learning_curve", stop)
        with pytest.raises(InputError, match=r"interrupted; go on with: .* resume=.*/run$"):
            train(tmp_path / "run")
    resume(tmp_path / "run")
    assert same(tmp_path / "run", tmp_path / "whole")


def test_an_interruption_before_the_first_step_leaves_nothing(tmp_path, monkeypatch):
    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("zoo.training.pipeline.encode_rows", stop)
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "deep" / "run")
    assert not [*tmp_path.iterdir()]


def test_resume_refuses_what_it_cannot_go_on_with(tmp_path, trained):
    with pytest.raises(InputError, match="this run is finished"):
        resume(trained)
    with pytest.raises(InputError, match="nothing to go on with"):
        resume(tmp_path)
    (tmp_path / "checkpoint").mkdir()
    (tmp_path / "checkpoint" / "checkpoint.pt").write_bytes(b"PK\x03\x04 broken")
    with pytest.raises(InputError, match="not a checkpoint"):
        resume(tmp_path)


def test_a_pickle_in_the_checkpoints_place_is_not_run(tmp_path):
    class Bomb:
        def __reduce__(self):
            return (os.mkdir, (str(tmp_path / "executed"),))

    (tmp_path / "checkpoint").mkdir()
    torch.save({"model": Bomb()}, tmp_path / "checkpoint" / "checkpoint.pt")
    with pytest.raises(InputError, match="not a checkpoint"):
        resume(tmp_path)
    assert not (tmp_path / "executed").exists()


def test_changed_rows_are_noticed_at_resume(tmp_path, monkeypatch):
    rows = tmp_path / "rows.jsonl"
    text = "".join(
        json.dumps({"text": f"text {i}", "label": "ab"[i % 2]}) + "\n" for i in range(200)
    )
    rows.write_text(text)
    real = pipeline.fit

    def stop(*given):
        real(*given)
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(pipeline, "fit", stop)
        with pytest.raises(InputError, match="interrupted"):
            train(tmp_path / "run", f"data.train={rows}")
    rows.write_text(text.replace("text 7", "another text 7"))
    with pytest.raises(InputError, match="the training rows are not those that the run began with"):
        resume(tmp_path / "run")
    rows.write_text(text)
    resume(tmp_path / "run")
    assert (tmp_path / "run" / "manifest.json").is_file()


def torchrun(*runs):
    """Several command lines in the same two processes, over gloo."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    environment["PYTHONPATH"] = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    return subprocess.run(
        [
            sys.executable,
            "-m",
            "torch.distributed.run",
            "--standalone",
            "--nproc-per-node",
            "2",
            str(ROOT / "tests" / "cases" / "several_runs.py"),
            json.dumps(runs),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=240,
        env=environment,
    )


def test_two_processes_compute_what_one_does(tmp_path):
    exact = (
        "task.dropout=0",
        "backbone.input_dropout=0",
        "backbone.word_dropout=0",
        "train.batch_rows=7",
    )
    rows = [f"{n},text {n % 7} of a row{' longer' * (n % 5)},{n}" for n in range(2500)]
    (tmp_path / "rows.csv").write_text("\n".join(["id,text,label", *rows, ""]))
    (tmp_path / "bad.csv").write_text("\n".join(["id,text,label", *rows[:1500], "1,2,3,4", ""]))
    model, cpu = f"model={tmp_path / 'two'}", ["device=cpu", "precision=fp32", "threads=1"]
    test = [f"data.test={DATA / 'classify.jsonl'}", "data=files", "baseline=false"]

    def asked(rows, answers):
        return ["predict", model, *cpu, f"input={tmp_path / rows}", f"output={tmp_path / answers}"]

    def evaluated(out):
        return ["evaluate", model, *cpu, *test, "evaluate.batch_rows=7", f"out={tmp_path / out}"]

    done = torchrun(
        arguments(tmp_path / "two", *exact),
        evaluated("test-2"),
        asked("rows.csv", "2.csv"),
        asked("bad.csv", "3.csv"),
    )
    assert done.returncode, done.stdout
    for words in (
        arguments(tmp_path / "one", *exact),
        evaluated("test-1"),
        asked("rows.csv", "1.csv"),
    ):
        assert run.main(words) == 0
    assert (tmp_path / "1.csv").read_bytes() == (tmp_path / "2.csv").read_bytes()
    assert "rows answered by each of 2 processes: 1,476, 1,024\n" in done.stderr
    assert (tmp_path / "test-1" / "report.json").read_bytes() == (
        tmp_path / "test-2" / "report.json"
    ).read_bytes()
    assert done.stdout.count(", 96 test rows") == 1
    place = f"{tmp_path / 'bad.csv'}:1502: 4 cells, the header has 3"
    assert [line for line in done.stderr.splitlines() if line.startswith("error: ")] == [
        f"error: {place}: every row needs a cell for each column; "
        "a text that holds the separator stands in double quotes"
    ]
    assert not [path for path in tmp_path.iterdir() if "3.csv" in path.name]
    one, two = weights(tmp_path / "one"), weights(tmp_path / "two")
    for name in one:
        torch.testing.assert_close(one[name], two[name], atol=2e-4, rtol=1e-3)
    reports = [json.loads((tmp_path / n / "report.json").read_text()) for n in ("one", "two")]
    assert reports[1]["processes"] == 2
    assert reports[0]["test"] == pytest.approx(reports[1]["test"], abs=1e-3)
    first = [lines(tmp_path / n / "metrics.jsonl")[0]["loss"] for n in ("one", "two")]
    assert first[0] == pytest.approx(first[1], rel=1e-5)


def test_after_a_loss_that_is_no_number_the_last_good_model_is_kept(tmp_path, monkeypatch):
    real, batches = state.StepModule.forward, []

    def forward(self, batch, carried):
        batches.append(batch)
        return scaled(real(self, batch, carried), float("nan") if len(batches) > 20 else 1)

    monkeypatch.setattr(state.StepModule, "forward", forward)
    with pytest.raises(NotFinite, match="the best epoch's model is kept in"):
        train(tmp_path / "run", "train.epochs=4")
    assert all(bool(w.isfinite().all()) for w in weights(tmp_path / "run").values())
    monkeypatch.undo()
    train(tmp_path / "good", "train.epochs=4")
    history = lines(tmp_path / "run" / "metrics.jsonl")
    assert history[0]["loss"] == lines(tmp_path / "good" / "metrics.jsonl")[0]["loss"]
