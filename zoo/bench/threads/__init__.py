"""Two threads beside one: an LSTM layer in both directions, a tagger's and a classifier's training.

    python -m zoo.bench threads [SETTING=VALUE ...]

Both sides run in one process, in turns. The layer is also compared with `nn.LSTM`, which splits
every product over the threads where `zoo.LSTM` gives each direction one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from zoo.bench.lstm import Sizes, call
from zoo.bench.measure import case, compare, interleave
from zoo.bench.sides import collated, precisions, prepared, step_of
from zoo.bench.tag import lengthened
from zoo.config import check, compose
from zoo.data.dataset import ExampleList
from zoo.errors import InputError
from zoo.rnn.lstm import LSTM

SIZES = (
    Sizes(32, 30, 256),
    Sizes(8, 30, 64),
    Sizes(32, 60, 128),
    Sizes(64, 60, 256),
    Sizes(32, 100, 512),
)
# Each task with its settings, and whether its embedded phrases are joined to sentences.
TASKS: dict[str, tuple[list[str], bool]] = {
    "tag": (["task.crf=false"], True),
    "classify": ([], False),
}
THREADS = 2


def threads(arguments: Sequence[str], rounds: int) -> Iterator[dict[str, Any]]:
    """Yield a case for each size of a layer, then one for each task and precision.

    `ours` is the rate with two threads, `peer` that with one. Raises InputError for `threads=`,
    and for another device than a CPU.
    """
    settings = check(compose(["task=tag", "device=cpu", *arguments]))
    if settings.threads or settings.device != "cpu":
        raise InputError("zoo.bench threads: it compares one and two threads of a processor itself")
    before = torch.get_num_threads()
    try:
        for size in SIZES:
            yield from _layer(size, rounds)
        for task in TASKS:
            yield from _training(task, arguments, rounds)
    finally:
        torch.set_num_threads(before)


def _layer(size: Sizes, rounds: int) -> Iterator[dict[str, Any]]:
    """Yield the cases of one layer in both directions, fp32, forward and backward."""
    x = torch.randn(size.time, size.batch, size.hidden)
    own = call(LSTM(size.hidden, size.hidden, bidirectional=True), x, (), "fp32", True)
    theirs = call(nn.LSTM(size.hidden, size.hidden, bidirectional=True), x, (), "fp32", True)
    sides = {
        "two": _with(THREADS, own),
        "one": _with(1, own),
        "nn.LSTM": _with(THREADS, theirs),
        "nn.LSTM, one": _with(1, theirs),
    }
    seconds = interleave(sides, rounds, warm=True)
    work = size.time * size.batch
    for name, ours, peer in (
        ("LSTM, two threads against one", "two", "one"),
        ("nn.LSTM, two threads against one", "nn.LSTM", "nn.LSTM, one"),
        ("LSTM against nn.LSTM, two threads", "two", "nn.LSTM"),
    ):
        yield case(f"{name}, {size}", "tokens/s", work, seconds[ours], seconds[peer])


def _training(name: str, arguments: Sequence[str], rounds: int) -> Iterator[dict[str, Any]]:
    """Yield the cases of a task's training steps, one for each precision."""
    given, joined = TASKS[name]
    settings = check(compose([f"task={name}", "device=cpu", *given, *arguments]))
    rows, task = prepared(settings)
    if joined and not any(argument.startswith("data=") for argument in arguments):
        rows = lengthened(rows, settings.seed)
    examples = ExampleList([task.encode(row) for row in rows])
    tokens = sum(len(example["inputs"]) for example in examples.encoded)
    limits = settings.train.batch_tokens, settings.train.batch_rows
    generator = np.random.default_rng(settings.seed)
    batches = [collated(task, examples, some) for some in examples.sampler(*limits, generator)]
    for precision in precisions(task.device):
        step = step_of(task, settings.train.grad_clip, precision)

        def steps(step: Callable[[Any], None] = step) -> None:
            for batch in batches:
                step(batch)

        sides = _with(THREADS, steps), _with(1, steps)
        what = f"{name}, training step in {precision}, two threads against one"
        yield compare(what, "tokens/s", tokens, *sides, rounds)


def _with(count: int, function: Callable[[], None]) -> Callable[[], None]:
    """Return the function with so many threads."""

    def run() -> None:
        torch.set_num_threads(count)
        function()

    return run
