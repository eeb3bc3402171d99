"""Several threads use one model, each with arguments of its own: every task in `tasks/`."""

from __future__ import annotations

import copy
import inspect
import sys
import weakref
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from threading import Barrier
from typing import Any

import pytest
import torch
from every_task import TASKS, asked, heads_of, toys, training_batch, untrained, untrained_heads
from torch import Tensor, nn

from zoo.generation.config import GenerationConfig
from zoo.nn.losses.cross_entropy import linear_cross_entropy
from zoo.task import Generative, Task

# Arguments of `predict` -> values whose answers differ.
ARGUMENTS: dict[str, list[Any]] = {
    "config": [
        GenerationConfig(beam_size=1, max_length=6),
        GenerationConfig(beam_size=3, n_best=3, max_length=4),
        GenerationConfig(sample=True, seed=1, max_length=5),
        GenerationConfig(sample=True, seed=2, n_best=2, top_k=9, max_length=5),
        GenerationConfig(beam_size=2, stop=("e",), max_length=7),
        GenerationConfig(beam_size=1, repetition_penalty=3.0, max_length=8),
    ],
    "splitter": ["words", "whitespace"],
    "probabilities": [False, True],
}
MULTITASK = "multitask"
REPEATS = 5
Call = Callable[[], Any]


@pytest.fixture(autouse=True)
def _frequent_switches():
    """Let threads take turns after a few instructions."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(before)


@pytest.fixture(scope="module", params=[*TASKS, MULTITASK])
def made(request) -> Task:
    """An untrained model with its usual dropout, in eval mode."""
    if request.param == MULTITASK:
        return untrained_heads()
    return untrained(request.param, "backbone.input_dropout=0.5")


@pytest.fixture
def task(made) -> Task:
    """A copy that no test has used yet."""
    return copy.deepcopy(made)


def texts(task: Task) -> list[Any]:
    """Inputs for `predict`, with words that the splitters treat in different ways."""
    name = "classify" if task.name == MULTITASK else task.name
    last = (
        "the dog, isn't it?" if any(head.text_columns for head in heads_of(task)) else "3 1 4 1 5"
    )
    return [*asked(task, toys(name)[:3]), last]


def calls_of(task: Task) -> list[list[Call]]:
    """Return calls of `predict`: a list for each combination of arguments, a call for each text."""
    known = [name for name in inspect.signature(task.predict).parameters if name in ARGUMENTS]
    options: list[dict[str, Any]] = [{}]
    for name in known:
        options = [{**some, name: value} for some in options for value in ARGUMENTS[name]]
    return [
        [partial(task.predict, one, **some) for one in (*texts(task), texts(task))]
        for some in options
    ]


def at_once(several: list[list[Call]]) -> list[list[Any]]:
    """Make the calls of each list in a thread of its own, all threads at once."""
    barrier = Barrier(len(several))

    def work(calls: list[Call]) -> list[Any]:
        barrier.wait()
        return [call() for call in calls]

    with ThreadPoolExecutor(len(several)) as pool:
        return [*pool.map(work, several)]


def snapshot(value: Any, seen: tuple[int, ...] = ()) -> Any:
    """Return a copy of the attributes of a module and all its parts that compares by value."""
    if isinstance(value, weakref.ref):
        value = value()
    if isinstance(value, Tensor):
        return value.dtype, tuple(value.shape), value.flatten().tolist()
    if id(value) in seen:
        return None
    seen = (*seen, id(value))
    if isinstance(value, Mapping):
        return {key: snapshot(each, seen) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [snapshot(each, seen) for each in value]
    if isinstance(value, nn.Module):
        return type(value), snapshot(vars(value), seen)
    return value


def test_the_answers_to_different_arguments_differ(task):
    found = [repr([call() for call in calls]) for calls in calls_of(task)]
    assert len({*found}) == len(found)


def test_two_threads_with_different_arguments_get_the_answers_of_one(task):
    before = snapshot(task)
    calls = calls_of(task)
    if len(calls) == 1:
        calls *= 2
    wanted = [[call() for call in each] for each in calls]
    for number in range(0, len(calls), 2):
        pair = calls[number : number + 2]
        right = [answers * REPEATS for answers in wanted[number : number + 2]]
        pair[1] = pair[1][::-1]
        right[1] = right[1][::-1]
        assert at_once([each * REPEATS for each in pair]) == right
    assert at_once(calls) == wanted
    assert snapshot(task) == before


def test_a_prediction_sets_no_attribute_of_the_model(task, monkeypatch):
    written: list[str] = []
    real = nn.Module.__setattr__

    def note(module: nn.Module, name: str, value: Any) -> None:
        written.append(f"{type(module).__name__}.{name}")
        real(module, name, value)

    monkeypatch.setattr(nn.Module, "__setattr__", note)
    for calls in calls_of(task):
        calls[0]()
    for head in heads_of(task):
        if isinstance(head, Generative):
            for config in ARGUMENTS["config"]:
                "".join(head.stream("a", config))
    assert written == []


def losses(task: Task, rows: list) -> list[Any]:
    """Return the loss of rows in training, and the gradient of every weight."""
    task.train()
    weights = [weight for weight in task.parameters() if weight.requires_grad]
    loss = task.training_step(training_batch(task, rows)).loss
    found = torch.autograd.grad(loss, weights, materialize_grads=True)
    return [loss.item(), *(gradient.tolist() for gradient in found)]


@pytest.mark.parametrize("name", TASKS)
def test_two_threads_that_train_models_of_their_own_get_the_losses_of_one(name):
    rows = toys(name)[:24]
    parts = [rows[:4], rows[4:24]]  # batches of different sizes
    models = [copy.deepcopy(untrained(name)) for _ in parts]
    calls = [[partial(losses, *both)] * 8 for both in zip(models, parts, strict=True)]
    wanted = [[call() for call in each] for each in calls]
    assert at_once(calls) == wanted


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_two_threads_that_compute_a_cross_entropy_get_the_values_of_one(dtype):
    torch.manual_seed(0)

    def loss(rows: int, vocabulary: int) -> Call:
        x, weight = torch.randn(rows, 8, dtype=dtype), torch.randn(vocabulary, 8, dtype=dtype)
        leaves = [x, weight, torch.randn(vocabulary, dtype=dtype)]
        target = torch.randint(vocabulary, (rows,))

        def call() -> list[Any]:
            own = [leaf.detach().requires_grad_() for leaf in leaves]
            value = linear_cross_entropy(*own, target)
            return [value.item(), *(part.tolist() for part in torch.autograd.grad(value, own))]

        return call

    calls = [[loss(5, 300)] * 40, [loss(64, 400)] * 40]
    assert at_once(calls) == [[call() for call in each] for each in calls]
