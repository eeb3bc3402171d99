"""Each number of the optimizer, the stages and precision of an evaluation, and a second Ctrl-C."""

from __future__ import annotations

import copy
import os
import signal

import pytest
import torch
from conftest import build_task, settings, train

from zoo.data.corpora import open_corpus
from zoo.data.dataset import ExampleList
from zoo.generation.config import GenerationConfig
from zoo.task import GREEDY, predict_dataset
from zoo.training import loop, pipeline, state
from zoo.training.rows import encode_rows

STILL = [f"backbone.{name}=0" for name in ("dropout", "input_dropout", "word_dropout")]
PLAIN = [*STILL, "task.dropout=0", "train.schedule=constant", "train.warmup=0"]


def begun(folder, *overrides):
    """A training before its first step, and its rows in batches."""
    chosen = settings(None, *PLAIN, *overrides)
    torch.manual_seed(1)
    splits = open_corpus(chosen.data)
    task = build_task(chosen, splits)
    store = encode_rows(task, splits.train, folder / "train")
    training = state.TrainingState(
        task, store, chosen.train, 1, state.accelerator_for("cpu", "fp32")
    )
    return training, [*store.sampler(128, 8)]


def by_hand(task, store, batches, chosen, betas=(0.9, 0.99)):
    """The weights after AdamW's steps on batches, as torch's own optimizer takes them."""
    task = copy.deepcopy(task).train()
    optimizer = torch.optim.AdamW(
        task.parameters(), lr=chosen.learning_rate, betas=betas, weight_decay=chosen.weight_decay
    )
    for numbers in batches:
        optimizer.zero_grad()
        task.training_step(task.collate(store.examples(numbers))).loss.backward()
        torch.nn.utils.clip_grad_norm_(task.parameters(), chosen.grad_clip)
        optimizer.step()
    return dict(task.named_parameters())


@pytest.mark.parametrize(
    "words",
    [
        ["train.grad_clip=1e-3", "train.weight_decay=0"],
        ["train.grad_clip=100", "train.weight_decay=0.9"],
        ["train.grad_clip=0.05", "train.weight_decay=0.2", "train.learning_rate=0.1"],
    ],
)
def test_steps_are_those_of_adamw_on_clipped_gradients(tmp_path, words):
    """A clipped gradient matters to Adam where it changes from step to step."""
    training, batches = begun(tmp_path, "train.ema_decay=0", *words)
    wanted = by_hand(training.task, training.dataset, batches[:6], training.settings)
    other = by_hand(training.task, training.dataset, batches[:6], training.settings, (0.9, 0.999))
    training.model.train()
    for numbers in batches[:6]:
        loop.step(training, numbers)
    # Adam divides by the root of a small sum, so a rounding grows: to a thousandth of a step at most.
    bound = max(1e-6, 1e-3 * training.settings.learning_rate)
    for name, weight in training.task.named_parameters():
        torch.testing.assert_close(weight, wanted[name], rtol=1e-4, atol=bound)
    head = "head.weight"
    assert not torch.allclose(wanted[head], other[head], rtol=1e-3, atol=1e-5)


def test_epochs_are_compared_greedily_and_the_test_is_as_the_model_generates(tmp_path):
    chosen = settings(
        None,
        "generation.beam_size=4",
        "generation.n_best=3",
        "generation.max_length=5",
        task="translate",
    )
    task = build_task(chosen)
    examples = ExampleList([task.encode(row) for row in open_corpus(chosen.data).valid][:3])
    for stage, count in (("validate", 1), ("test", 3), ("validate", 1), ("test", 3)):
        answers = [answer for _, answer in predict_dataset(task, examples, stage=stage)]
        assert {len(answer["n_best"]) for answer in answers} == {count}
    assert (GREEDY.beam_size, GREEDY.n_best) == (1, 1)
    some = GenerationConfig(beam_size=2, n_best=2)
    answers = [a for _, a in predict_dataset(task, examples, stage="validate", config=some)]
    assert {len(answer["n_best"]) for answer in answers} == {2}


def test_each_epoch_is_validated_and_the_end_is_tested(tmp_path, monkeypatch):
    stages, real = [], loop.predict_dataset

    def note(task, dataset, evaluation, stage, *others):
        stages.append(stage)
        return real(task, dataset, evaluation, stage, *others)

    monkeypatch.setattr(loop, "predict_dataset", note)
    train(tmp_path / "run", "train.epochs=2", "train.patience=0")
    assert stages == ["validate", "validate", "test"]


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_an_evaluation_computes_in_the_precision_of_the_training(monkeypatch, precision):
    with state.host_kept():
        task = build_task(settings(None))
        rows = [*open_corpus(settings(None).data).valid]
        examples = ExampleList([task.encode(row) for row in rows])
        seen, real = [], type(task).predict_batch

        def note(self, batch, **options):
            seen.append(torch.is_autocast_enabled("cpu"))
            return real(self, batch, **options)

        monkeypatch.setattr(type(task), "predict_batch", note)
        loop.evaluate(task, examples, rows, state.accelerator_for("cpu", precision))
    assert {*seen} == {precision == "bf16"}


def test_a_second_ctrl_c_stops_at_once_and_a_second_sigterm_waits():
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    with loop.interruptions() as caught:
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGTERM)
        assert caught == [signal.SIGTERM] * 2
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    with loop.interruptions() as caught:
        os.kill(os.getpid(), signal.SIGINT)
        assert caught == [signal.SIGINT]
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


def test_set_up_gives_the_precision_it_says():
    with state.host_kept():
        accelerator, precision = pipeline.set_up_process(settings(None, "precision=fp32"))
        assert (accelerator.mixed_precision, precision) == ("no", "fp32")
