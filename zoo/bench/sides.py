"""Shared by the benchmarks of tasks: rows and task of the settings, training side by side."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from zoo.bench import peers
from zoo.bench.measure import compare, wait
from zoo.config import Settings
from zoo.data.batch import Batch
from zoo.data.dataset import ExampleList
from zoo.data.readers import Row
from zoo.device import autocast, find_device, find_precision
from zoo.rnn.stack import State
from zoo.task import Task
from zoo.training.build import build
from zoo.training.gradients.clipping import clip_gradients
from zoo.training.gradients.denormals import flushed
from zoo.training.gradients.embeddings import EmbeddingGradients
from zoo.training.options import options_of
from zoo.training.rows import open_rows

ROWS = 2048  # number of training rows in a round


def start(settings: Settings) -> torch.device:
    """Set the seed and the threads of the settings, and return their device."""
    torch.manual_seed(settings.seed)
    if settings.threads:
        torch.set_num_threads(settings.threads)
    return find_device(settings.device)


def prepared(settings: Settings, most: int | None = None) -> tuple[list[Row], Task]:
    """Return random rows of the corpus, in its order, and an untrained task.

    There are at most `most` rows; None means `ROWS`.
    """
    device = start(settings)
    options = options_of(settings)
    splits = open_rows(settings, options.kind)
    rows = list(splits.train)
    generator = np.random.default_rng(settings.seed)
    chosen = [rows[i] for i in sorted(generator.permutation(len(rows))[: most or ROWS])]
    task = build(options, settings, splits)
    return chosen, task.to(device)


def collated(task: Task, examples: ExampleList, numbers: np.ndarray) -> Batch:
    """Return some rows as a batch on the task's device, with the places of its targets."""
    return task.collate(examples.examples(numbers)).with_places().to(task.device)


def precisions(device: torch.device) -> list[str]:
    """Return the precisions to train in: fp32, the one that `auto` finds, and bf16 on CUDA."""
    found = {find_precision("auto", device), "fp32"}
    return sorted(found | ({"bf16"} if device.type == "cuda" else set()))


def training(
    task: Task,
    peer: nn.Module,
    peer_batches: Sequence[Any],
    examples: ExampleList,
    settings: Settings,
    against: str,
    unit: str,
    tokens: int,
    rounds: int,
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield each precision with its case.

    Our side trains on the rows of `examples` in our batches. The peer trains on `peer_batches` as
    tutorials do. `tokens` is the number of tokens in a round. The batches of both sides are on the
    device before the clock starts.
    """
    device = task.device
    optimizer = torch.optim.Adam(peer.parameters(), lr=1e-3)

    def theirs() -> None:
        peer.train()
        for batch in peer_batches:
            peers.packed_step(peer, optimizer, batch)
        wait(device)

    generator = np.random.default_rng(settings.seed)
    limits = settings.train.batch_tokens, settings.train.batch_rows
    planned = [
        collated(task, examples, numbers) for numbers in examples.sampler(*limits, generator)
    ]
    for precision in precisions(device):
        step = step_of(task, settings.train.grad_clip, precision)

        def ours(step: Callable[[Batch], None] = step) -> None:
            for batch in planned:
                step(batch)
            wait(device)

        name = f"training step, {precision} against {against}"
        yield precision, compare(name, unit, tokens, ours, theirs, rounds)


def step_of(task: Task, clip: float, precision: str) -> Callable[[Batch], None]:
    """Return a function that takes one training step: forward, backward, clip, AdamW.

    A window of a stream starts from the state after the window before.
    """
    optimizer = torch.optim.AdamW(task.parameters(), lr=1e-3, fused=True)
    embeddings = EmbeddingGradients()

    state: State | None = None

    def step(batch: Batch) -> None:
        nonlocal state
        task.train()
        with flushed():
            with embeddings.sparse(task, batch.count_steps()):
                with autocast(task.device, precision):
                    loss, _, state = task.training_step(batch, state)
                loss.backward()
            clip_gradients(task.parameters(), clip)
            optimizer.step()
        optimizer.zero_grad()

    return step
