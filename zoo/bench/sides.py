"""What benchmarks of tasks share: rows and task of the settings, and training side by side."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.utils import clip_grad_norm_

from zoo import device as machine
from zoo.bench import peers
from zoo.bench.measure import compare, wait
from zoo.config import Settings
from zoo.data.dataset import Batch, ExampleList, bucket_sampler
from zoo.data.readers import Row
from zoo.task import Task
from zoo.training import build

ROWS = 2048  # training rows that a round goes through


def start(settings: Settings) -> torch.device:
    """Seed and threads of the settings; the device."""
    torch.manual_seed(settings.seed)
    if settings.threads:
        torch.set_num_threads(settings.threads)
    return machine.find_device(settings.device)


def prepared(settings: Settings) -> tuple[list[Row], Task]:
    """The first rows of a corpus, spread over it, and a task for them."""
    device = start(settings)
    splits = build.open_rows(settings, build.check_options(settings)[0])
    rows = list(splits.train)
    generator = np.random.default_rng(settings.seed)
    chosen = [rows[i] for i in sorted(generator.permutation(len(rows))[:ROWS])]
    task = build.build(settings, splits)
    return chosen, task.to(device)


def precisions(device: torch.device) -> list[str]:
    """What trainings are measured in: fp32, what `auto` chooses, and all three on CUDA."""
    found = {machine.find_precision("auto", device), "fp32"}
    return sorted(found | ({"bf16"} if device.type == "cuda" else set()))


def training(
    task: Task, peer: nn.Module, peer_batches: Sequence[Any], examples: ExampleList,
    settings: Settings, against: str, unit: str, tokens: int, rounds: int,
) -> Iterator[tuple[str, dict[str, Any]]]:  # fmt: skip
    """Each precision and its case: our steps over the rows in our batches, and the peer's steps, as
    tutorials do them, over the same rows in its own. `tokens` is what a round goes through.

    The batches of both sides are on the device before the clock starts."""
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
        examples.batch(numbers).to(device)
        for numbers in bucket_sampler(examples, *limits, generator)
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
    """One step of training as `zoo.training.loop` does it: forward, backward, clip, AdamW."""
    optimizer = torch.optim.AdamW(task.parameters(), lr=1e-3, fused=True)

    def step(batch: Batch) -> None:
        task.train()
        with machine.autocast(task.device, precision):
            loss = task.loss(batch)
        loss.backward()
        clip_grad_norm_(task.parameters(), clip)
        optimizer.step()
        optimizer.zero_grad()

    return step
