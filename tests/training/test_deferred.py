"""Losses that are read late: the same bits, the same message, and no weight changed after it."""

from __future__ import annotations

import copy
import math
import re
from contextlib import nullcontext

import pytest
import torch
from conftest import lines, resume, same, scaled, train, weights
from torch import tensor

from zoo.training import deferred, loop, pipeline, state
from zoo.training.deferred import DeferredLosses, StepRecord
from zoo.training.loop import NotFinite

CPU = torch.device("cpu")
NAN, INF = math.nan, math.inf


def record(loss, norm=1.0, batch=0):
    return StepRecord(tensor(loss), tensor(norm), 2, 0, batch, None)


@pytest.mark.parametrize(
    ("loss", "norm", "overflow", "finite"),
    [
        (1.0, 1.0, False, True),
        (NAN, 1.0, False, False),
        (1.0, INF, False, False),
        (1.0, NAN, False, False),
        (1.0, INF, True, True),
        (-INF, 1.0, True, False),
    ],
)
def test_the_device_and_the_reader_agree_on_what_is_finite(loss, norm, overflow, finite):
    losses = DeferredLosses(CPU, overflow, 1000)
    losses.add(record(loss, norm))
    assert losses.failed.item() == (0 if finite else 1)
    (values,) = losses.read()
    assert losses.finite(values) is finite


def test_a_failure_stays_and_reading_ends_with_it():
    losses = DeferredLosses(CPU, False, 1000)
    for batch, loss in enumerate([1.0, 2.0, NAN, 4.0]):
        losses.add(record(loss, batch=batch))
    assert losses.failed.item() == 1
    assert [values.record.batch for values in losses.read()] == [0, 1, 2]
    assert losses.read() == []


def test_it_is_read_when_time_is_over_or_many_steps_wait(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(deferred.time, "monotonic", lambda: now[0])
    losses = DeferredLosses(CPU, False, 0.1)
    assert not losses.due
    losses.add(record(1.0))
    assert not losses.due
    now[0] += 0.2
    assert losses.due
    losses.read()
    assert not losses.due
    for _ in range(deferred.MOST_STEPS):
        losses.add(record(1.0))
    assert losses.due


@pytest.fixture
def late(monkeypatch):
    """Trains as on a device of its own: batches made ahead, losses read after many steps."""
    monkeypatch.setattr(state, "is_asynchronous", lambda device: True)
    monkeypatch.setattr(state, "INTERVAL", 1000.0)


TASKS = {
    "classify": [],
    "tag": ["tokenizer.kind=lowercase"],
    "translate": ["tokenizer.kind=characters"],
    "generate": ["tokenizer.kind=words"],
}


@pytest.mark.parametrize("task", TASKS)
def test_reading_late_gives_the_same_bits(tmp_path, task, monkeypatch):
    train(tmp_path / "once", *TASKS[task], task=task)
    monkeypatch.setattr(state, "is_asynchronous", lambda device: True)
    monkeypatch.setattr(state, "INTERVAL", 1000.0)
    train(tmp_path / "late", *TASKS[task], task=task)
    assert same(tmp_path / "once", tmp_path / "late")
    one, two = (lines(tmp_path / name / "metrics.jsonl") for name in ("once", "late"))
    for entry in (*one, *two):
        del entry["seconds"], entry["tokens_per_second"]
    assert one == two


def poison(monkeypatch, number):
    """Make the loss of step `number` (from 1) of every training NaN; the weights before it."""
    real, seen, before = state.StepModule.forward, [], []

    def forward(self, batch, carried):
        seen.append(batch)
        if len(seen) == number:
            before.append(copy.deepcopy(self.task.state_dict()))
        return scaled(real(self, batch, carried), NAN if len(seen) == number else 1)

    monkeypatch.setattr(state.StepModule, "forward", forward)
    return seen, before


def kept(monkeypatch):
    """The task of the training that begins next, and what it holds when it ends."""
    tasks = []
    real = pipeline.fit

    def fit(task, *arguments):
        tasks.append(task)
        return real(task, *arguments)

    monkeypatch.setattr(pipeline, "fit", fit)
    return tasks


@pytest.mark.parametrize("number", [1, 3])
def test_no_step_after_a_failed_one_changes_a_weight(tmp_path, late, monkeypatch, number):
    seen, before = poison(monkeypatch, number)
    tasks = kept(monkeypatch)
    with pytest.raises(NotFinite, match=f"loss is nan.* in epoch 1, batch {number} "):
        train(tmp_path / "run")
    assert len(seen) > number + 2  # the failure was read after further steps
    after = tasks[0].state_dict()
    assert all(torch.equal(weight, before[0][name]) for name, weight in after.items())


def test_the_message_is_the_one_of_reading_at_once(tmp_path, monkeypatch):
    messages = []
    for name, apart in (("once", False), ("late", True)):
        monkeypatch.setattr(state, "is_asynchronous", lambda device, apart=apart: apart)
        monkeypatch.setattr(state, "INTERVAL", 1000.0)
        with monkeypatch.context() as context:
            poison(context, 2)
            with pytest.raises(NotFinite) as caught:
                train(tmp_path / name)
        messages.append(str(caught.value))
    assert messages[0] == messages[1]
    assert re.search(r"epoch 1, batch 2 \(training rows \d+", messages[0])


def test_a_gradient_that_overflows_stops_the_training(tmp_path, late, monkeypatch):
    real, seen = state.StepModule.forward, []

    def forward(self, batch, carried):
        seen.append(batch)
        step = real(self, batch, carried)
        if len(seen) == 2:  # the loss stays finite, its gradient does not
            return step._replace(loss=step.loss + (step.loss - step.loss.detach()) * 3e38 * 10)
        return step

    monkeypatch.setattr(state.StepModule, "forward", forward)
    with pytest.raises(NotFinite, match=r"norm of its gradient (inf|nan) in epoch 1, batch 2"):
        train(tmp_path / "run")


def test_a_failure_is_read_before_a_checkpoint_is_written(tmp_path, late, monkeypatch):
    poison(monkeypatch, 2)
    with pytest.raises(NotFinite):
        train(tmp_path / "run", "train.checkpoint_steps=3")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("task", ["classify", "generate"])
def test_an_interrupted_epoch_goes_on_to_the_same_bits(tmp_path, late, monkeypatch, task):
    words = [*TASKS[task], "train.epochs=3"]
    train(tmp_path / "whole", *words, task=task)
    real, caught, steps = state.StepModule.forward, [], []

    def forward(self, batch, carried):
        steps.append(batch)
        if len(steps) == 5:  # in the middle of an epoch, with further batches made already
            caught.append(2)
        return real(self, batch, carried)

    with monkeypatch.context() as context:
        context.setattr(loop, "interruptions", lambda: nullcontext(caught))
        context.setattr(state.StepModule, "forward", forward)
        with pytest.raises(loop.Stopped):
            train(tmp_path / "run", *words, task=task)
    resume(tmp_path / "run")
    assert same(tmp_path / "whole", tmp_path / "run")


def test_a_random_augmentation_is_not_made_ahead(tmp_path, late, monkeypatch):
    depths = []
    real = state.TrainingState.__init__

    def init(self, *arguments):
        real(self, *arguments)
        depths.append(self.ahead)

    monkeypatch.setattr(state.TrainingState, "__init__", init)
    words = ("tokenizer.kind=subwords", "tokenizer.size=60", "train.epochs=1")
    train(tmp_path / "plain", *words, task="translate")
    train(tmp_path / "drawn", *words, "task.subword_sampling=0.1", task="translate")
    assert depths == [state.AHEAD, 0]
    assert weights(tmp_path / "drawn").keys() == weights(tmp_path / "plain").keys()


def test_a_scaler_skips_every_step_after_a_failed_one():
    """With fp16 the loss itself becomes NaN, so that the scaler finds it."""
    losses = DeferredLosses(CPU, True, 1000)
    moving = state.TrainingState.__new__(state.TrainingState)
    moving.losses = losses
    weight = torch.ones(2, requires_grad=True)
    (grad,) = torch.autograd.grad(moving.skippable(weight.sum()), weight)
    assert grad.tolist() == [1, 1]
    losses.add(record(NAN))
    (grad,) = torch.autograd.grad(moving.skippable(weight.sum()), weight)
    assert grad.isnan().all()
