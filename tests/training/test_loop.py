"""fit and evaluate: it learns, it repeats, it goes on where it stopped, in one process or two."""

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
from conftest import ROOT, arguments, command, lines, settings, train
from safetensors.torch import load_file

from zoo.errors import InputError
from zoo.training import loop, pipeline, state
from zoo.training.loop import NotFinite


def weights(folder):
    return load_file(folder / "model.safetensors")


def same(first, second):
    left, right = weights(first), weights(second)
    return left.keys() == right.keys() and all(torch.equal(left[k], right[k]) for k in left)


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
    assert not [*trained.glob(".*")]


@pytest.mark.parametrize(
    "overrides",
    [
        (),
        ("backbone.num_layers=2", "train.ema_decay=0"),
        ("task.pool=attention", "train.init_embeddings=true"),
    ],
)
def test_the_same_seed_gives_the_same_bits(tmp_path, overrides):
    for name in "ab":
        train(tmp_path / name, *overrides)
    train(tmp_path / "c", *overrides, "seed=2")
    assert same(tmp_path / "a", tmp_path / "b")
    assert not same(tmp_path / "a", tmp_path / "c")


LONG = ("train.epochs=40", "train.patience=0")


def begin(folder, *overrides):
    """A training in a process of its own, slow enough to be interrupted."""
    return subprocess.Popen(
        [sys.executable, "-m", "zoo.run", *arguments(folder, *LONG, *overrides)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for(path, process):
    for _ in range(6000):
        if path.exists() and path.read_text().count("\n") >= 2:
            return
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)
    raise AssertionError(f"{path} did not come")


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The same training, never interrupted."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    done = command(*arguments(folder, *LONG))
    assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.parametrize("kind", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_an_interrupted_training_goes_on_to_the_same_bits(tmp_path, whole, kind):
    folder = tmp_path / "run"
    process = begin(folder)
    wait_for(folder / "metrics.jsonl", process)
    time.sleep(random.random() * 0.3)  # anywhere in an epoch
    process.send_signal(kind)
    _, errors = process.communicate(timeout=60)
    if kind != signal.SIGKILL:
        assert process.returncode == 2
        assert errors == f"error: interrupted; go on with: python -m zoo.run resume={folder}\n"
        assert not [*folder.glob("**/*.part")]
    assert not (folder / "model.safetensors").exists()
    refused = command("mode=predict", f"model={folder}", "text=x")
    assert refused.returncode == 2
    assert f"resume={folder}" in refused.stderr
    done = command(f"resume={folder}")
    assert done.returncode == 0, done.stderr
    assert same(folder, whole)
    losses = [[entry["loss"] for entry in lines(f / "metrics.jsonl")] for f in (folder, whole)]
    assert losses[0] == losses[1]
    assert not (folder / "checkpoint").exists()


def test_a_training_stopped_at_any_step_goes_on_to_the_same_bits(tmp_path, monkeypatch):
    """Every step of two epochs, in one process: the checkpoint holds all that matters."""
    train(tmp_path / "whole", "backbone.num_layers=2")
    for stop in (1, 3, 5, 6, 9):
        folder = tmp_path / f"stopped-{stop}"
        steps = iter(range(1, 100))
        real = state.TrainingState.__init__

        def begin(self, *given, real=real, steps=steps, stop=stop):
            real(self, *given)
            update = self.optimizer.step

            def step():
                update()
                if next(steps) == stop:
                    os.kill(os.getpid(), signal.SIGTERM)

            self.optimizer.step = step

        monkeypatch.setattr(state.TrainingState, "__init__", begin)
        with pytest.raises(InputError, match="interrupted"):
            train(folder, "backbone.num_layers=2")
        monkeypatch.undo()
        pipeline.run(settings(None, f"resume={folder}"), "", time.time())
        assert same(folder, tmp_path / "whole"), stop


def test_an_interruption_after_the_last_epoch_is_resumed_too(tmp_path, monkeypatch):
    train(tmp_path / "whole")

    def stop(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("zoo.evaluation.plots.learning_curve", stop)
        with pytest.raises(InputError, match=r"interrupted; go on with: .* resume=.*/run$"):
            train(tmp_path / "run")
    pipeline.run(settings(None, f"resume={tmp_path / 'run'}"), "", time.time())
    assert same(tmp_path / "run", tmp_path / "whole")


def test_an_interruption_before_the_first_step_leaves_nothing(tmp_path, monkeypatch):
    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("zoo.training.pipeline.encode", stop)
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "deep" / "run")
    assert not [*tmp_path.iterdir()]


def test_resume_refuses_what_it_cannot_go_on_with(tmp_path, trained):
    with pytest.raises(InputError, match="this run is finished"):
        pipeline.run(settings(None, f"resume={trained}"), "", time.time())
    with pytest.raises(InputError, match="nothing to go on with"):
        pipeline.run(settings(None, f"resume={tmp_path}"), "", time.time())
    (tmp_path / "checkpoint").mkdir()
    (tmp_path / "checkpoint" / "checkpoint.pt").write_bytes(b"PK\x03\x04 broken")
    with pytest.raises(InputError, match="not a checkpoint"):
        pipeline.run(settings(None, f"resume={tmp_path}"), "", time.time())


def test_a_pickle_in_the_checkpoints_place_is_not_run(tmp_path):
    class Bomb:
        def __reduce__(self):
            return (os.mkdir, (str(tmp_path / "executed"),))

    (tmp_path / "checkpoint").mkdir()
    torch.save({"model": Bomb()}, tmp_path / "checkpoint" / "checkpoint.pt")
    with pytest.raises(InputError, match="not a checkpoint"):
        pipeline.run(settings(None, f"resume={tmp_path}"), "", time.time())
    assert not (tmp_path / "executed").exists()


def test_changed_rows_are_noticed_at_resume(tmp_path):
    rows = tmp_path / "rows.jsonl"
    text = "".join(
        json.dumps({"text": f"text {i}", "label": "ab"[i % 2]}) + "\n" for i in range(200)
    )
    rows.write_text(text)
    process = begin(tmp_path / "run", f"data.train={rows}")
    wait_for(tmp_path / "run" / "metrics.jsonl", process)
    process.terminate()
    process.communicate(timeout=60)
    rows.write_text(text.replace("text 7", "another text 7"))
    done = command(f"resume={tmp_path / 'run'}")
    assert done.returncode == 2
    assert "the training rows are not those that the run began with" in done.stderr
    rows.write_text(text)
    assert command(f"resume={tmp_path / 'run'}").returncode == 0


def poisoned(epochs):
    """A Training whose loss is NaN from some epoch on."""
    real = state.LossModule.forward

    def forward(self, batch):
        poisoned.calls += 1
        loss = real(self, batch)
        return loss * float("nan") if poisoned.calls > epochs * 10 else loss

    poisoned.calls = 0
    return forward


def test_a_loss_that_is_no_number_stops_and_names_the_batch(tmp_path, monkeypatch):
    monkeypatch.setattr(state.LossModule, "forward", poisoned(0))
    with pytest.raises(NotFinite, match=r"loss is nan.* epoch 1, batch 1 \(training rows \d+"):
        train(tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_after_a_loss_that_is_no_number_the_last_good_model_is_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(state.LossModule, "forward", poisoned(2))
    with pytest.raises(NotFinite, match="the best epoch's model is kept in"):
        train(tmp_path / "run", "train.epochs=4")
    assert all(bool(w.isfinite().all()) for w in weights(tmp_path / "run").values())
    monkeypatch.undo()
    train(tmp_path / "good", "train.epochs=4")
    history = lines(tmp_path / "run" / "metrics.jsonl")
    assert history[0]["loss"] == lines(tmp_path / "good" / "metrics.jsonl")[0]["loss"]


def test_training_stops_when_no_epoch_is_better(tmp_path):
    report = train(tmp_path / "run", "train.epochs=40", "train.patience=2")
    assert report["epochs"] == report["best_epoch"] + 2 < 40


def torchrun(*words):
    """The same command in two processes, over gloo."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    return subprocess.run(
        [
            sys.executable,
            "-m",
            "torch.distributed.run",
            "--standalone",
            "--nproc-per-node",
            "2",
            "-m",
            "zoo.run",
            *words,
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
    done = torchrun(*arguments(tmp_path / "two", *exact))
    assert done.returncode == 0, done.stderr
    assert command(*arguments(tmp_path / "one", *exact)).returncode == 0
    one, two = weights(tmp_path / "one"), weights(tmp_path / "two")
    for name in one:
        torch.testing.assert_close(one[name], two[name], atol=2e-4, rtol=1e-3)
    reports = [json.loads((tmp_path / n / "report.json").read_text()) for n in ("one", "two")]
    assert reports[1]["processes"] == 2
    assert reports[0]["test"] == pytest.approx(reports[1]["test"], abs=1e-3)
    first = [lines(tmp_path / n / "metrics.jsonl")[0]["loss"] for n in ("one", "two")]
    assert first[0] == pytest.approx(first[1], rel=1e-5)


@pytest.mark.parametrize("limit", [1e-3, 1e6])
def test_the_gradient_is_no_longer_than_grad_clip(tmp_path, monkeypatch, limit):
    found, lengths, real, add = [], [], state.TrainingState.update, state.DeferredLosses.add

    def update(training):
        gradients = [w.grad for w in training.task.parameters() if w.grad is not None]
        lengths.append(torch.nn.utils.get_total_norm(gradients).item())
        real(training)

    def note(losses, record):
        found.append(float(record.norm))  # before it is clipped
        add(losses, record)

    monkeypatch.setattr(state.TrainingState, "update", update)
    monkeypatch.setattr(state.DeferredLosses, "add", note)
    train(tmp_path / "run", "train.epochs=1", f"train.grad_clip={limit}")
    assert len(lengths) > 1
    assert min(found) > 1e-2
    assert lengths == pytest.approx([min(length, limit) for length in found], rel=1e-3)


def test_the_loss_of_an_epoch_is_the_mean_over_its_rows(tmp_path, monkeypatch):
    seen, add = [], state.DeferredLosses.add

    def note(losses, record):
        seen.append((float(record.loss.detach()), record.size))
        add(losses, record)

    monkeypatch.setattr(state.DeferredLosses, "add", note)
    train(tmp_path / "run", "train.epochs=1", "train.batch_rows=20", "train.batch_tokens=9999")
    assert len({size for _, size in seen}) > 1
    (entry,) = lines(tmp_path / "run" / "metrics.jsonl")
    rows = sum(size for _, size in seen)
    assert entry["loss"] == pytest.approx(sum(loss * size for loss, size in seen) / rows)


def test_of_epochs_with_an_equal_metric_the_one_with_the_least_loss_is_kept(tmp_path, monkeypatch):
    script = iter([(0.5, 0.9), (0.5, 0.4), (0.5, 0.7), (0.25, 0.1)])
    real = loop.evaluate

    def evaluate(task, *others):
        metrics, answers = real(task, *others)
        values = next(script, None)
        return metrics | (
            {} if values is None else {task.metric: values[0], "loss": values[1]}
        ), answers

    monkeypatch.setattr(loop, "evaluate", evaluate)
    report = train(tmp_path / "run", "train.epochs=4", "train.patience=0")
    assert report["best_epoch"] == 2
