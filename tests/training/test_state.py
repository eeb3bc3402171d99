"""The state of a training: frozen layers, learning rates, averages."""

from __future__ import annotations

import os
import re
import signal
from itertools import pairwise
from types import SimpleNamespace

import pytest
import torch
from conftest import build_task, resume, settings, train
from safetensors.torch import load_file

from zoo.config import TrainConfig
from zoo.data.corpora import open_corpus
from zoo.errors import InputError
from zoo.nn.backbone import Backbone, BackboneConfig
from zoo.training import loop, state
from zoo.training.loop import fit
from zoo.training.rows import encode_rows

QUICK = [
    "tokenizer.kind=words",
    "backbone.num_layers=2",
    "train.init_embeddings=false",
    "train.ema_decay=0",
    "train.patience=0",
    "train.batch_rows=26",
    "train.batch_tokens=4096",
    "train.schedule=constant",
    "train.warmup=0",
]
LAYERS = {
    "embedding": r"^backbone\.embedding",
    "lower": "_l0(_|$)",
    "upper": "_l1(_|$)",
    "head": r"^head\.",
}
STEPS = 3  # of an epoch of 73 rows, in batches of 26


def prepared(folder, *overrides):
    """What `fit` takes: an untrained task, its rows, settings, an accelerator, a folder."""
    chosen = settings(None, *QUICK, *overrides)
    torch.manual_seed(chosen.seed)
    splits = open_corpus(chosen.data)
    task = build_task(chosen, splits)
    store = encode_rows(task, splits.train, folder / "train")
    valid = encode_rows(task, splits.valid, folder / "valid"), list(splits.valid)
    accelerator = state.accelerator_for("cpu", "fp32")
    return task, store, valid, chosen.train, chosen.seed, accelerator, folder


def layer(name: str) -> str:
    """Of a parameter of a model of two layers, its layer."""
    (found,) = (part for part, mark in LAYERS.items() if re.search(mark, name))
    return found


def moved(before: dict, after: dict) -> set[str]:
    """The layers whose weights are others; all of a layer's move, or none."""
    changed = {name: not torch.equal(before[name], after[name]) for name in before}
    found = {layer(name) for name, other in changed.items() if other}
    still = {layer(name) for name, other in changed.items() if not other}
    assert not found & still
    return found


@pytest.fixture
def watched(monkeypatch):
    """Of the trainings of a test: the weights before and after every epoch, what learned in each
    step, and `stop`, the step after which it is interrupted."""
    seen = SimpleNamespace(states=[], learning=[], stop=0)
    real, step = loop._epoch, loop.step

    def weights(task):
        return {name: weight.detach().clone() for name, weight in task.named_parameters()}

    def epoch(training, *others):
        before = weights(training.task)
        real(training, *others)
        seen.states.append((before, weights(training.task)))

    def one(training, *others):
        stop = step(training, *others)
        names = {layer(n) for n, w in training.task.named_parameters() if w.requires_grad}
        seen.learning.append(names)
        if len(seen.learning) == seen.stop:
            os.kill(os.getpid(), signal.SIGTERM)
        return stop

    monkeypatch.setattr(loop, "_epoch", epoch)
    monkeypatch.setattr(loop, "step", one)
    return seen


ALL = {*LAYERS}
FROZEN = {
    "none": [ALL] * 5,
    "backbone": [{"head"}] * 5,
    "gradual": [{"head"}, {"head", "upper"}, {"head", "upper", "lower"}, ALL, ALL],
}


@pytest.mark.parametrize("freeze", FROZEN)
def test_in_each_epoch_what_is_not_frozen_learns(tmp_path, watched, freeze):
    given = prepared(tmp_path, f"train.freeze={freeze}", "train.epochs=5")
    fit(*given)
    assert [moved(*both) for both in watched.states] == FROZEN[freeze]
    assert watched.learning == [names for names in FROZEN[freeze] for _ in range(STEPS)]
    for (_, after), (before, _) in pairwise(watched.states):
        assert moved(after, before) == set()
    assert all(weight.requires_grad for weight in given[0].parameters())


GRADUAL = [*QUICK, "train.freeze=gradual", "train.epochs=4", "backbone.dropout=0.2"]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole") / "run"
    train(folder, *GRADUAL)
    return folder


@pytest.mark.parametrize("stop", [STEPS + 1, STEPS * 2])
def test_a_resumed_training_thaws_where_it_was(tmp_path, whole, watched, stop):
    watched.stop = stop
    with pytest.raises(InputError, match="interrupted"):
        train(tmp_path / "run", *GRADUAL)
    watched.states.clear()
    resume(tmp_path / "run")
    left = FROZEN["gradual"][stop // STEPS : 4]
    assert [moved(*both) for both in watched.states] == left
    wanted = [names for names in FROZEN["gradual"][:4] for _ in range(STEPS)]
    assert watched.learning == wanted
    one, two = (load_file(at / "model.safetensors") for at in (whole, tmp_path / "run"))
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_an_interrupted_training_leaves_nothing_frozen(tmp_path, watched):
    watched.stop = 1
    given = prepared(tmp_path, "train.freeze=backbone")
    with pytest.raises(InputError, match="interrupted"):
        fit(*given)
    assert watched.learning[0] == {"head"}
    task, store = given[:2]
    assert all(weight.requires_grad for weight in task.parameters())
    task.training_step(task.collate(store.examples(range(8)))).loss.backward()
    assert all(bool(weight.grad.any()) for weight in task.backbone.parameters())


def test_a_moving_average_of_what_is_frozen_is_what_it_was(tmp_path):
    given = prepared(tmp_path, "train.freeze=backbone", "train.ema_decay=0.9")
    task = given[0]
    before = {name: weight.detach().clone() for name, weight in task.named_parameters()}
    fit(*given)
    assert moved(before, dict(task.named_parameters())) == {"head"}


@pytest.mark.parametrize("freeze", ["gradual", "backbone"])
def test_of_several_processes_none_changes_its_mind_and_still_nothing_frozen_learns(
    tmp_path, freeze
):
    """Who takes part in the gradient's exchange is settled before the first step."""
    task, store, _, chosen, seed, accelerator, _ = prepared(tmp_path, f"train.freeze={freeze}")
    begun = state.TrainingState(task, store, chosen, seed, accelerator)
    before = {name: weight.detach().clone() for name, weight in task.named_parameters()}
    task.requires_grad_()
    begun.accelerator = SimpleNamespace(num_processes=2)
    begun.set_trainable()
    taking_part = [weight.requires_grad for weight in task.backbone.parameters()]
    assert {*taking_part} == {freeze == "gradual"}
    begun.accelerator = accelerator
    loop.step(begun, next(iter(store.sampler(4096, 99))))
    assert moved(before, dict(task.named_parameters())) == {"head"}


def change(folder, *overrides) -> dict:
    """How far each weight goes in the first step of a training."""
    task, store, _, chosen, seed, accelerator, _ = prepared(
        folder, "train.batch_rows=72", *overrides
    )
    before = {name: weight.detach().clone() for name, weight in task.named_parameters()}
    begun = state.TrainingState(task, store, chosen, seed, accelerator)
    loop.step(begun, next(iter(store.sampler(4096, 99))))
    return {name: weight.detach() - before[name] for name, weight in task.named_parameters()}


@pytest.mark.parametrize("scale", [0.1, 3])
def test_the_backbone_goes_at_a_rate_of_its_own(tmp_path, scale):
    words = ["backbone.dropout=0", "backbone.input_dropout=0", "backbone.word_dropout=0"]
    one = change(tmp_path / "one", *words)
    other = change(tmp_path / "other", *words, f"train.backbone_rate={scale}")
    for name, way in one.items():
        assert way.abs().max() > 1e-3
        by = 1 if name.startswith("head.") else scale
        torch.testing.assert_close(other[name], by * way, rtol=1e-4, atol=1e-6)


@pytest.fixture
def rates(monkeypatch):
    """The learning rates of the groups of weights in each step of a training."""
    seen, real = [], loop.step

    def step(training, *others):
        stop = real(training, *others)
        seen.append([group["lr"] for group in training.optimizer.param_groups])
        return stop

    monkeypatch.setattr(loop, "step", step)
    return seen


def test_the_rate_of_the_backbone_rises_and_falls_with_the_other(tmp_path, rates):
    fit(
        *prepared(tmp_path, "train.backbone_rate=0.25", "train.schedule=cosine", "train.warmup=0.3")
    )
    assert len(rates) == 2 * STEPS
    assert [below for _, below in rates] == pytest.approx([above / 4 for above, _ in rates])
    assert max(above for above, _ in rates) > 2 * rates[-1][0]


@pytest.mark.parametrize("options", [{}, {"learned_state": True, "layer_norm": True}])
@pytest.mark.parametrize("both", [True, False])
def test_layer_eleven_is_not_layer_one(options, both):
    shape = {"vocabulary_size": 9, "embedding_size": 3, "hidden_size": 2, "num_layers": 12}
    backbone = Backbone(BackboneConfig(**shape, bidirectional=both, **options))
    layers = state._layers(backbone)
    names = {id(weight): name for name, weight in backbone.named_parameters()}
    found = [{names[id(weight)] for weight in layer} for layer in layers]
    assert found[0] == {"embedding.weight"}
    assert sum(map(len, found)) == len(names)
    learned = {"lstm.h_0", "lstm.c_0"} if options else set()
    for number, layer in enumerate(found[1:]):
        ends = {f"_l{number}", f"_l{number}_reverse"} if both else {f"_l{number}"}
        assert {re.search(r"_l\d+(_reverse)?$", name)[0] for name in layer - learned} == ends
        assert len(layer - learned) == (6 if options else 4) * (1 + both)
        assert layer & learned == (learned if number == 0 else set())


def test_a_young_average_forgets_its_first_weights_sooner(tmp_path):
    task, store, _, chosen, seed, accelerator, _ = prepared(tmp_path, "train.ema_decay=0.9")
    training = state.TrainingState(task, store, chosen, seed, accelerator)
    weight = next(training.task.parameters())
    kept = next(training.evaluated_task.parameters())
    expected = 0.0
    for count in range(100):  # from count 80 on, (1 + count) / (10 + count) is above 0.9
        value = float(count % 7)
        with torch.no_grad():
            weight.fill_(value)
        training.average.update_parameters(training.task)
        decay = min(0.9, (1 + count) / (10 + count)) if count else 0.0
        expected = decay * expected + (1 - decay) * value
        torch.testing.assert_close(kept, torch.full_like(kept, expected))


def test_the_learning_rate_changes_with_every_step(tmp_path, rates):
    words = ["train.epochs=2", "train.learning_rate=0.06", "train.warmup=0.5"]
    fit(*prepared(tmp_path, *words))
    assert [above for above, *_ in rates] == pytest.approx(
        [0, 0.06 * 26 / 73, 0.06 * 52 / 73, 0.06, 0.06, 0.06]
    )  # STEPS of the two epochs


def schedule_of(name: str) -> TrainConfig:
    return settings(None, f"train.schedule={name}", "train.warmup=0.2").train


def test_rates_rise_and_fall():
    for schedule, expected in {
        "cosine": [0, 0.5, 1, 0.5, 0],
        "onecycle": [0, 0.5, 1, 0.5, 0],
        "constant": [0, 0.5, 1, 1, 1],
    }.items():
        chosen = schedule_of(schedule)
        found = [state.learning_rate_factor(done, chosen) for done in (0, 0.1, 0.2, 0.6, 1)]
        assert found == pytest.approx(expected)
    quarter = [state.learning_rate_factor(0.05, schedule_of(s)) for s in ("cosine", "onecycle")]
    assert quarter == pytest.approx([0.25, 0.14644661])
