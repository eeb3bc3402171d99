"""Every task in `tasks/` predicts and trains in double, bfloat16 and half, on the CPU."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Mapping

import numpy as np
import pytest
import torch
from conftest import ROOT
from every_task import (
    TASKS,
    answering_batch,
    asked,
    toys,
    training_batch,
    untrained,
    untrained_heads,
)

from zoo.config import TokenizerConfig
from zoo.data.readers import Row
from zoo.generation.config import GenerationConfig
from zoo.nn.backbone import Backbone, BackboneConfig
from zoo.registry import load_file
from zoo.task import Generative, Task, TaskConfig

# Settings of each task that change which operations compute its answers or its loss.
VARIANTS = {
    "classify": [
        "task.pool=mean",
        "task.pool=max",
        "task.pool=last",
        "task.pool=attention",
        "task.class_weights=balanced task.label_smoothing=0.1",
        "backbone.layer_norm=true backbone.learned_state=true backbone.num_layers=2",
        "task.r_drop=1",
    ],
    "tag": [
        "task.crf=true",
        "task.label_smoothing=0.1",
        "task.r_drop=1 task.label_smoothing=0.1",
        "task.words=subword tokenizer.kind=characters task.crf=true",
    ],
    "translate": [
        "task.attention=dot",
        "task.attention=additive task.input_feeding=true",
        "task.attention=none task.init=h_n",
        "task.init=zero task.tied=false",
        "task.r_drop=1",
    ],
    "generate": [
        "task.softmax=adaptive",
        "task.softmax=adaptive task.tied=false",
        "task.activation_penalty=1 task.change_penalty=1",
        "task.stream=false backbone.bidirectional=true",
    ],
}
CASES = [(name, words) for name in TASKS for words in ("", *VARIANTS.get(name, ()))]
# How far a loss may be from float32's, relative to it.
BOUNDS = {torch.float64: 1e-5, torch.bfloat16: 0.05, torch.float16: 0.01}
CONFIGS = [
    GenerationConfig(beam_size=2, max_length=5, repetition_penalty=1.2, stop=("e",)),
    GenerationConfig(sample=True, seed=1, temperature=0.5, top_k=5, top_p=0.9, max_length=5),
]
SERIES = [
    Row({"past": [0.1 * i for i in range(k, 2 * k + 3)], "future": [0.5, k]}, "here")
    for k in range(4)
]
kinds = pytest.mark.parametrize("kind", BOUNDS, ids=str)


@pytest.fixture(scope="module", params=CASES, ids="-".join)
def task(request) -> Task:
    """An untrained float32 model without dropout. A test changes a copy."""
    name, words = request.param
    return untrained(name, *words.split())


def predictions(task: Task) -> list:
    """Return complete answers to toy rows, with and without targets."""
    rows = toys(task.name)[:5]
    known = training_batch(task, rows)
    open_ended = answering_batch(task, asked(task, rows))
    options = [{"config": c} for c in CONFIGS] if isinstance(task, Generative) else [{}]
    with torch.no_grad():
        return [task.predict_batch(b, **some) for b in (known, open_ended) for some in options]


def numbers(value) -> Iterator[float]:
    """Yield all floats of an answer."""
    if isinstance(value, float):
        yield value
    elif isinstance(value, Mapping):
        yield from numbers([*value.values()])
    elif isinstance(value, list | tuple):
        for each in value:
            yield from numbers(each)


def learn(task: Task, rows: list[Row]) -> float:
    """Train one step; the loss. The gradients have the dtype of the weights."""
    step = task.train().training_step(training_batch(task, rows))
    step.loss.backward()
    for name, weight in task.named_parameters():
        assert weight.grad is not None, name
        assert weight.grad.dtype == weight.dtype, name
        assert bool(weight.grad.isfinite().all()), name
    torch.optim.SGD(task.parameters(), 0.01).step()
    assert all(bool(weight.isfinite().all()) for weight in task.parameters())
    return step.loss.item()


@kinds
def test_a_task_of_any_float_dtype_answers_and_trains(task, kind):
    rows = toys(task.name)[:5]
    wanted = learn(copy.deepcopy(task), rows)
    made = copy.deepcopy(task).to(kind)
    found = [*numbers(predictions(made))]
    assert found
    assert all(map(math.isfinite, found))
    assert len(made.predict(asked(task, rows))) == len(rows)
    assert learn(made, rows) == pytest.approx(wanted, rel=BOUNDS[kind])


@kinds
def test_heads_of_any_float_dtype_answer_and_train(kind):
    both = untrained_heads().to(kind)
    assert {*both.predict("two small birds, isn't it?")} == {*both.heads}
    for name, head in both.each():
        rows = toys(head.name)[:5]
        both.train().zero_grad()
        batch = both.collate([head.encode(row) | {"head": name} for row in rows])
        loss = both.training_step(batch).loss
        loss.backward()
        assert bool(loss.isfinite())
        assert all(bool(w.grad.isfinite().all()) for w in head.parameters() if w.grad is not None)


def forecast() -> Task:
    kind = load_file(ROOT / "tests" / "cases" / "toy_forecast.py")
    torch.manual_seed(0)
    processors = kind.learn(SERIES, TaskConfig(), TokenizerConfig())
    return kind(Backbone(BackboneConfig(input_size=1, hidden_size=4)), processors).eval()


@kinds
def test_features_get_the_dtype_of_the_model(kind):
    wanted = [*numbers(forecast().predict(SERIES))]
    made = forecast().to(kind)
    assert [*numbers(made.predict(SERIES))] == pytest.approx(wanted, rel=0.05, abs=0.05)
    assert math.isfinite(learn(made, SERIES))


def along(task: Task, measure: Callable[[], list[float]], step: float) -> np.ndarray:
    """Return the change of measured values from one side of the weights to the other.

    The two sides are `step` away, in a random direction of all weights.
    """
    generator = torch.Generator().manual_seed(1)
    weights = [*task.parameters()]
    ways = [torch.randn(w.shape, dtype=w.dtype, generator=generator) for w in weights]
    found = []
    for sign in (1, -1):
        shift(weights, ways, sign * step)
        found.append(np.array(measure()))
        shift(weights, ways, -sign * step)
    return found[0] - found[1]


@torch.no_grad()
def shift(weights: list, ways: list, step: float) -> None:
    for weight, way in zip(weights, ways, strict=True):
        weight.add_(way, alpha=step)


def test_a_model_in_double_loses_no_precision_on_the_way_to_its_answers(task):
    """Rounding to float32 hides a change of 1e-7, or doubles it."""
    made = copy.deepcopy(task).double()
    near, far = (along(made, lambda: [*numbers(predictions(made))], step) for step in (1e-7, 2e-7))
    assert np.abs(near).max() > 1e-8
    np.testing.assert_allclose(far, 2 * near, rtol=1e-3, atol=1e-12)


def test_a_model_in_double_loses_no_precision_in_training(task):
    made = copy.deepcopy(task).double().train()
    batch = training_batch(made, toys(made.name)[:5])
    loss = made.training_step(batch).loss
    generator = torch.Generator().manual_seed(1)
    gradients = torch.autograd.grad(loss, [*made.parameters()], materialize_grads=True)
    slope = sum(
        float(
            (
                gradient * torch.randn(gradient.shape, dtype=gradient.dtype, generator=generator)
            ).sum()
        )
        for gradient in gradients
    )
    change = along(made, lambda: [made.training_step(batch).loss.item()], 1e-6)
    assert change.item() == pytest.approx(2e-6 * slope, rel=1e-5)


@pytest.mark.parametrize("name", [*TASKS, "toy_forecast"])
def test_a_model_built_in_double_by_default_answers_and_trains(name):
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        task = forecast() if name == "toy_forecast" else untrained(name)
        rows = SERIES if name == "toy_forecast" else toys(name)[:5]
        assert {weight.dtype for weight in task.parameters()} == {torch.float64}
        assert len(task.predict(asked(task, rows))) == len(rows)
        assert math.isfinite(learn(task, rows))
    finally:
        torch.set_default_dtype(before)
