"""Our side of a benchmark: rows and task of the settings, and a step of training."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch.nn.utils import clip_grad_norm_

from zoo import machine, prepare
from zoo.batches import Batch
from zoo.config import Settings
from zoo.rows import Row
from zoo.task import Task

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
    splits = prepare.open_rows(settings, prepare.checked(settings)[0])
    rows = list(splits.train)
    generator = np.random.default_rng(settings.seed)
    chosen = [rows[i] for i in sorted(generator.permutation(len(rows))[:ROWS])]
    task = prepare.build(settings, splits)
    return chosen, task.to(device)


def training_step(task: Task, clip: float, precision: str) -> Callable[[Batch], None]:
    """One step of training as `zoo.train` does it: forward, backward, clip, AdamW."""
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
