"""The training loop: it repeats, it goes on where it stopped, on rows and on a stream."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch
from conftest import ROOT, build_task, lines, resume, same, scaled, settings, train
from safetensors.torch import load_file

from tasks.classify import Classify
from tasks.generate import Generate
from zoo.config import TrainConfig
from zoo.data.stream import Stream
from zoo.errors import InputError
from zoo.training import checkpoint, loop, pipeline, state
from zoo.training.loop import NotFinite, fit
from zoo.training.progress import Progress
from zoo.training.rows import encode_rows, open_rows


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


def test_a_training_stopped_at_any_step_goes_on_to_the_same_bits(tmp_path, monkeypatch):
    """Every step of two epochs, in one process: the checkpoint holds all that matters."""
    train(tmp_path / "whole", "backbone.num_layers=2")
    for stop, kind in (
        (1, signal.SIGTERM),
        (5, signal.SIGINT),
        (6, signal.SIGTERM),
        (9, signal.SIGINT),
    ):
        folder = tmp_path / f"stopped-{stop}"
        steps = iter(range(1, 100))
        real = state.TrainingState.__init__

        def begin(self, *given, real=real, steps=steps, stop=stop, kind=kind):
            real(self, *given)
            update = self.optimizer.step

            def step():
                update()
                if next(steps) == stop:
                    os.kill(os.getpid(), kind)

            self.optimizer.step = step

        monkeypatch.setattr(state.TrainingState, "__init__", begin)
        with pytest.raises(InputError, match="interrupted"):
            train(folder, "backbone.num_layers=2")
        monkeypatch.undo()
        resume(folder)
        assert same(folder, tmp_path / "whole"), stop


def test_a_loss_that_is_no_number_stops_and_names_the_batch(tmp_path, monkeypatch):
    real = state.StepModule.forward
    monkeypatch.setattr(
        state.StepModule, "forward", lambda self, *x: scaled(real(self, *x), float("nan"))
    )
    with pytest.raises(NotFinite, match=r"loss is nan.* epoch 1, batch 1 \(training rows \d+"):
        train(tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_training_stops_when_no_epoch_is_better(tmp_path):
    report = train(tmp_path / "run", "train.epochs=40", "train.patience=2")
    assert report["epochs"] == report["best_epoch"] + 2 < 40


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
    train(tmp_path / "run", "train.epochs=2", "train.batch_rows=20", "train.batch_tokens=9999")
    assert len({size for _, size in seen}) > 1
    half = len(seen) // 2
    entries = lines(tmp_path / "run" / "metrics.jsonl")
    for entry, steps in zip(entries, (seen[:half], seen[half:]), strict=True):
        rows = sum(size for _, size in steps)
        assert entry["loss"] == pytest.approx(sum(loss * size for loss, size in steps) / rows)


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


# a stream

WORDS = ("tokenizer.kind=words", "train.patience=0")


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("stream") / "run"
    train(folder, *WORDS, task="generate")
    return folder


def stopping(monkeypatch, last, stop):
    """Trainings call `stop` after their step number `last`."""
    real, steps = loop.step, iter(range(1, 100))

    def step(*given):
        done = real(*given)
        return stop() if next(steps) == last else done

    monkeypatch.setattr(loop, "step", step)


@pytest.mark.parametrize(
    ("last", "stop", "error", "place"),
    [
        (8, lambda: os.kill(os.getpid(), signal.SIGTERM), InputError, (1, 3)),
        (4, lambda: 1 / 0, ZeroDivisionError, (0, 2)),
    ],
)
def test_a_stream_goes_on_to_the_bits(tmp_path, monkeypatch, whole, last, stop, error, place):
    """Where it was told to stop, and of one that died from its last checkpoint."""
    stopping(monkeypatch, last, stop)
    with pytest.raises(error):
        train(tmp_path / "run", *WORDS, "train.checkpoint_steps=2", task="generate")
    monkeypatch.undo()
    held = checkpoint.load(tmp_path / "run" / "checkpoint")
    assert (held["progress"]["epoch"], held["progress"]["batch"]) == place
    assert [s.shape for s in held["carried"][0][""]] == [(1, 8, 16)] * 2
    resume(tmp_path / "run")
    assert same(tmp_path / "run", whole)


def in_columns(folder):
    """What an epoch without dropout finds, in 7 columns and in 1."""
    found = []
    for columns in (7, 1):
        exact = [f"backbone.{name}_dropout=0" for name in ("input", "output", "weight")]
        some = ["train.epochs=1", f"train.batch_rows={columns}"]
        chosen = settings(None, *WORDS, *exact, *some, task="generate")
        accelerator, _ = pipeline.set_up_process(chosen)
        splits, place = open_rows(chosen, Generate), folder / str(columns)
        task = build_task(chosen, splits)
        store = encode_rows(task, splits.train, place / "train")
        valid = encode_rows(task, splits.valid, place / "valid"), list(splits.valid)
        found += fit(task, store, valid, chosen.train, 1, accelerator, place).history
    return [accelerator.num_processes, *({"loss": e["loss"]} | e["valid"] for e in found)]


SCRIPT = """
import json, sys
from pathlib import Path
sys.path[:0] = ["tests", "tests/cases", "."]
from training.test_loop import in_columns
print(json.dumps(in_columns(Path(sys.argv[1]))))
"""


def test_two_processes_read_the_stream_that_one_does(tmp_path):
    """Each has its columns; of one column the second process has none."""
    place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(20_000 + os.getpid() % 20_000)}
    shared = os.environ | place | {"WORLD_SIZE": "2", "OMP_NUM_THREADS": "1"}
    running = [
        subprocess.Popen(
            [sys.executable, "-c", SCRIPT, str(tmp_path / rank)],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            env=shared | {"RANK": rank, "LOCAL_RANK": rank},
        )
        for rank in "01"
    ]
    processes, *one = in_columns(tmp_path / "one")
    assert (processes, len(one)) == (1, 2)
    for process in running:
        processes, *two = json.loads(process.communicate(timeout=120)[0])
        assert processes == 2
        for entry, other in zip(one, two, strict=True):
            assert entry == pytest.approx(other, rel=1e-5)


def test_the_epoch_with_the_lowest_perplexity_is_kept(tmp_path, monkeypatch):
    said, seen, real = iter([9.0, 5.0, 7.0]), [], Generate.compute_metrics

    def score(self, answers, rows):
        seen.append({name: weight.clone() for name, weight in self.state_dict().items()})
        return real(self, answers, rows) | {"perplexity": next(said, 8.0)}

    monkeypatch.setattr(Generate, "compute_metrics", score)
    folder = tmp_path / "run"
    report = train(folder, *WORDS, "train.epochs=5", "train.patience=1", task="generate")
    assert (report["best_epoch"], report["epochs"]) == (2, 3)
    assert (report["valid"]["perplexity"], report["test"]["perplexity"]) == (5, 8)
    found = load_file(folder / "model.safetensors")
    kept = [all(torch.equal(w, at[name]) for name, w in found.items()) for at in seen]
    assert kept[:3] == [False, True, False]
    assert all(kept[3:])  # the test, and its intervals


def test_a_loss_that_is_no_number_names_the_tokens(tmp_path, monkeypatch):
    real, batches = state.StepModule.forward, []

    def forward(self, batch, carried):
        batches.append(batch)
        return scaled(real(self, batch, carried), float("nan") if len(batches) == 3 else 1)

    windows, examples = [], Stream.examples
    monkeypatch.setattr(Stream, "examples", lambda s, w: windows.append(w) or examples(s, w))
    monkeypatch.setattr(state.StepModule, "forward", forward)
    with pytest.raises(NotFinite, match="the loss is nan") as caught:
        train(tmp_path / "run", *WORDS, task="generate")
    start, end, _ = windows[2][0]
    tokens = f"tokens {start + 1:,} to {end:,} of the training stream"
    place = f"{tokens}, and 7 columns beside"
    assert f"in epoch 1, batch 3 ({place}): lower train.learning_rate" in str(caught.value)


def test_a_sketch_after_an_epoch_changes_nothing(tmp_path, monkeypatch, caplog):
    shown, real = [], Generate.preview
    words = (*WORDS, "train.ema_decay=0")  # the model that is trained is the one that writes
    monkeypatch.setattr(Generate, "preview", lambda self: shown.append(real(self)) or shown[-1])
    with caplog.at_level("INFO", "zoo"):
        train(tmp_path / "with", *words, task="generate")
    said = [record.getMessage() for record in caplog.records]
    sketches = [text.splitlines() for text in said if text.startswith("    | ")]
    wanted = [text.strip("\n").splitlines() for text in shown]
    assert len(wanted) == 2
    assert sketches == [[f"    | {line}" for line in text] for text in wanted]
    monkeypatch.setattr(Generate, "preview", lambda self: None)
    train(tmp_path / "without", *words, task="generate")
    assert same(tmp_path / "with", tmp_path / "without")


def test_epochs_within_the_tolerance_are_chosen_by_their_loss():
    metrics = [(0.80, 0.9), (0.90, 0.7), (0.88, 0.5), (0.86, 0.4), (0.97, 0.8), (0.93, 0.1)]

    def best(tolerance):
        progress = Progress()
        training = SimpleNamespace(
            progress=progress,
            settings=TrainConfig(tolerance=tolerance),
            metric="accuracy",
            lower_is_better=False,
        )
        for number, (metric, loss) in enumerate(metrics):
            value = [metric, -loss]
            if not progress.best or loop._is_better(value, training):
                progress.best = {"epoch": number, "value": value}
            progress.history.append({"valid": {"accuracy": metric, "loss": loss}})
        return progress.best["epoch"]

    assert best(0.0) == 4
    assert best(0.03) == 4  # only those near the highest are equal
    assert best(0.05) == 5
    metrics.pop()
    assert best(0.05) == 4
    metrics.pop()
    assert best(0.03) == 2
    assert best(0.05) == 3


EPOCHS = [(0.5, 0.9, 0.2), (0.7, 0.8, 0.1), (0.6, 0.4, 0.4), (0.6, 0.5, 0.3)]


@pytest.mark.parametrize(
    ("overrides", "epoch", "chosen_by"),
    [
        ((), 2, "accuracy"),
        (("train.metric=loss",), 3, "loss"),
        (("train.metric=macro_f1",), 3, "macro_f1"),
        (("task.class_weights=balanced",), 3, "macro_f1"),
        (("task.class_weights=balanced", "train.metric=accuracy"), 2, "accuracy"),
    ],
)
def test_the_metric_that_is_named_chooses_the_best_epoch(
    tmp_path, monkeypatch, caplog, overrides, epoch, chosen_by
):
    tried = "train.metric" in " ".join(overrides)
    figures = iter([*EPOCHS[: int(tried)], *EPOCHS, EPOCHS[0]])
    names = "accuracy", "loss", "macro_f1"
    monkeypatch.setattr(
        Classify, "compute_metrics", lambda *_: dict(zip(names, next(figures), strict=True))
    )
    words = ("train.epochs=4", "train.patience=0", "baseline=false", *overrides)
    with caplog.at_level("INFO", "zoo"):
        report = train(tmp_path / "run", *words)
    assert (report["best_epoch"], report["chosen_by"]) == (epoch, chosen_by)
    card = (tmp_path / "run" / "README.md").read_text()
    assert f"- weights of epoch {epoch}, the best by validation {chosen_by}\n" in card
    way = "lowest" if chosen_by == "loss" else "highest"
    said = f"the best epoch is the one with the {way} validation {chosen_by}"
    assert (said in caplog.messages) == (chosen_by != "accuracy")


@pytest.mark.parametrize("task", ["classify", "tag", "translate", "generate"])
def test_a_metric_that_a_task_does_not_compute_is_refused_before_the_training(tmp_path, task):
    with pytest.raises(InputError, match=r"train.metric=los: .* computes .*; did you mean loss\?"):
        train(tmp_path / "run", "train.metric=los", task=task)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("ignored", [False, True])
def test_a_closed_terminal_saves_but_not_under_nohup(ignored):
    """SIGHUP is caught, and left ignored where it is."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN if ignored else signal.SIG_DFL)
    try:
        with loop.interruptions() as caught:
            os.kill(os.getpid(), signal.SIGHUP)
        assert caught == ([] if ignored else [signal.SIGHUP])
        after = signal.getsignal(signal.SIGHUP)
        assert after is (signal.SIG_IGN if ignored else signal.SIG_DFL)
    finally:
        signal.signal(signal.SIGHUP, before)
