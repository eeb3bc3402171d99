"""One training of a comparison: it keeps no checkpoint, writes no report and logs no epochs."""

from __future__ import annotations

import logging
import os
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from zoo.config import Settings
from zoo.data.corpora import Splits
from zoo.data.readers import Row, Rows
from zoo.errors import InputError
from zoo.task import Task
from zoo.training.build import build
from zoo.training.loop import epochs, evaluate
from zoo.training.options import Options
from zoo.training.pipeline import initialize_embedding, learn_vectors, set_up_process
from zoo.training.progress import Progress
from zoo.training.rows import encode_rows
from zoo.training.state import TrainingState

log = logging.getLogger("zoo")


@dataclass(frozen=True)
class Trial:
    """The result of one training."""

    task: Task  # with the weights of its best epoch
    metric: str  # that chose it
    lower_is_better: bool
    progress: Progress
    valid: dict[str, float]  # metrics of that epoch
    rows: int  # training rows
    seconds: float  # all of it
    epoch_seconds: float  # of a mean epoch, its validation included


def train(
    settings: Settings,
    options: Options,
    splits: Splits,
    most_seconds: float | None = None,
    check: Callable[[Settings, np.ndarray], None] | None = None,
) -> Trial:
    """Train on `splits.train` and compare the epochs on `splits.valid`; test rows are not read.

    After `most_seconds` no further epoch begins; one is always trained. `check` gets the ids of the
    training texts before that, and may raise InputError. Raises InputError, NotFinite
    when the loss is NaN or infinite, and Stopped when interrupted.
    """
    began = time.monotonic()
    accelerator, _ = set_up_process(settings)
    with quiet(), tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        task = build(options, settings, splits)
        dataset = encode_rows(task, splits.train, folder / "train")
        if check is not None and "tokenizer" in task.processors:
            check(settings, dataset.values["inputs"])
        vectors = learn_vectors(task, dataset, settings)
        valid = encode_rows(task, splits.valid, folder / "valid")
        initialize_embedding(task, dataset, vectors)
        plain = replace(settings.train, tensorboard=False, checkpoint_steps=0)
        training = TrainingState(
            task, dataset, plain, settings.seed, accelerator, options.evaluation
        )
        ready = time.monotonic()
        steps = epochs(training, (valid, list(splits.valid)), folder, checkpoints=False)
        with closing(steps):
            for _ in steps:
                if most_seconds is not None and time.monotonic() - began >= most_seconds:
                    break
        progress = training.progress
        now = time.monotonic()
        best = progress.history[progress.best["epoch"] - 1]["valid"]
        each = (now - ready) / max(1, progress.epoch)
        metric, lower = training.metric, training.lower_is_better
        return Trial(task, metric, lower, progress, best, len(dataset), now - began, each)


def test(trial: Trial, settings: Settings, options: Options, rows: list[Row]) -> dict[str, float]:
    """Return the metrics of a trained task on rows that it has not seen."""
    accelerator, _ = set_up_process(settings)
    trial.task.to(accelerator.device)
    with quiet(), tempfile.TemporaryDirectory() as name:
        dataset = encode_rows(trial.task, Rows(lambda: rows, "the fold"), Path(name) / "test")
        return evaluate(trial.task, dataset, rows, accelerator, "test", options.evaluation)[0]


def refuse_several_processes(setting: str) -> None:
    """Raise InputError where several processes would compare trainings."""
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise InputError(
            f"{setting}=…: trains one model after the other in one process, not several"
        )


@contextmanager
def quiet() -> Iterator[None]:
    """Drop what this thread logs below errors; a heartbeat, of another thread, goes on."""
    own = threading.get_ident()

    def keep(record: logging.LogRecord) -> bool | Any:
        return record.thread != own or record.levelno >= logging.ERROR

    log.addFilter(keep)
    try:
        yield
    finally:
        log.removeFilter(keep)
