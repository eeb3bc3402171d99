"""The training loop on Accelerate: `fit` trains, `evaluate` computes metrics.

One process and several compute the same. All processes draw the same batches, and each takes its
share of the rows of a batch. Losses are weighted so that the gradient is that of the whole batch.
Each row counts once in every metric.
"""

from __future__ import annotations

import json
import logging
import shlex
import signal
import threading
import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from textwrap import indent
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import gather_object

from zoo.config import TrainConfig
from zoo.data.batch import Batch
from zoo.data.dataset import Dataset, ExampleList
from zoo.data.interleave import InterleavedDataset
from zoo.data.prefetch import prefetch
from zoo.data.readers import Row
from zoo.data.sampler import shard
from zoo.device import is_asynchronous
from zoo.errors import InputError
from zoo.evaluation.config import EvaluationConfig
from zoo.files import write_text
from zoo.files.run_folder import EVENTS
from zoo.generation.config import GenerationConfig
from zoo.memory import release_memory
from zoo.messages import _
from zoo.option_classes import did_you_mean
from zoo.task import Generative, Stage, Task, predict_dataset
from zoo.training.deferred import StepRecord
from zoo.training.gradients.denormals import flushed
from zoo.training.progress import Bar, Progress
from zoo.training.state import TrainingState, learning_rate_factor

log = logging.getLogger("zoo")

TRIED = 8  # validation rows that are answered to learn which metrics a task computes


class Stopped(InputError):
    """Training was interrupted and has saved its state."""

    @classmethod
    def at(cls, folder: Path) -> Stopped:
        command = f"python -m zoo.run resume={shlex.quote(str(folder))}"
        return cls(_("interrupted; go on with: {command}", command=command))


class NotFinite(InputError):
    """The loss or its gradient is NaN or infinite."""


def fit(
    task: Task,
    dataset: Dataset | InterleavedDataset,
    valid: tuple[Dataset | InterleavedDataset, Sequence[Row]],
    settings: TrainConfig,
    seed: int,
    accelerator: Accelerator,
    folder: Path,
    resume: bool = False,
    evaluation: EvaluationConfig | None = None,
    facts: Mapping[str, Any] | None = None,
) -> Progress:
    """Train for all epochs, or until no epoch was better for `patience` epochs.

    Afterwards the task holds the weights of its best epoch on `valid`. `folder/checkpoint` is
    written after every epoch and on Ctrl-C, SIGTERM or SIGHUP, with the `facts` of the run. `resume`
    continues from it, bit for bit.
    Raises Stopped when interrupted, and NotFinite when the loss is NaN or infinite. In both cases
    the task holds the weights of the best epoch so far.
    """
    training = TrainingState(task, dataset, settings, seed, accelerator, evaluation, facts)
    if resume:
        training.load(folder / "checkpoint")
    for _epoch in epochs(training, valid, folder):
        pass
    return training.progress


def epochs(
    training: TrainingState,
    valid: tuple[Dataset | InterleavedDataset, Sequence[Row]],
    folder: Path,
    checkpoints: bool = True,
) -> Generator[dict[str, Any], None, None]:
    """Train as `fit` does, and yield the metrics of each epoch when it is complete.

    When the iterator ends or is closed, the task holds the weights of its best epoch so far.
    Without `checkpoints` none are written after epochs, which saves time with large models.
    """
    settings, progress, task = training.settings, training.progress, training.task
    if settings.metric is not None:
        _check_metric(training, *valid)
    accelerator, count = training.accelerator, training.dataset.progress()
    try:
        shown = accelerator.is_main_process
        events = folder / EVENTS if settings.tensorboard else None
        with interruptions() as interrupted, Bar(settings.epochs, count, shown, events) as bar:
            released = time.monotonic()
            while progress.epoch < settings.epochs and not _stale(training):
                with flushed():
                    _epoch(training, interrupted, bar, folder)
                _finish_epoch(training, valid, bar, folder, checkpoints)
                released = release_memory(released)
                yield progress.history[-1]
                if interrupted and accelerator.num_processes == 1:  # several agree within a step
                    raise Stopped.at(folder)
    finally:
        task.requires_grad_()
        if training.exchange is not None:
            training.exchange.release()
        if progress.best:
            task.load_state_dict(progress.best["weights"])


@dataclass(frozen=True)
class Prepared:
    """This process's share of a batch, with counts made before it moves to the device."""

    batch: Batch
    has_rows: bool  # False if the batch only stands in for a share without rows
    steps: int  # tokens


def prepare(training: TrainingState, numbers: np.ndarray) -> Prepared:
    """Collate this process's rows of a batch, for CUDA in pinned memory."""
    accelerator = training.accelerator
    mine = shard(numbers, accelerator.process_index, accelerator.num_processes)
    has_rows = len(mine) > 0
    # A process without a row still takes part in the gradient reduction, with weight 0.
    examples = training.dataset.examples(mine if has_rows else numbers[:1])
    batch = training.task.collate(examples, augment=True)
    if is_asynchronous(accelerator.device):
        batch = batch.with_places()
    if accelerator.device.type == "cuda":
        batch = batch.pin_memory()
    return Prepared(batch, has_rows, batch.count_steps() if has_rows else 0)


def _epoch(training: TrainingState, interrupted: list[int], bar: Bar, folder: Path) -> None:
    """Train on the batches of one epoch that are not done yet."""
    progress = training.progress
    settings = training.settings
    generator = np.random.default_rng([training.seed, progress.epoch])
    batches = training.dataset.sampler(settings.batch_tokens, settings.batch_rows, generator)
    training.model.train()
    training.set_trainable()
    rest = islice(batches, progress.batch, None)
    released = time.monotonic()
    with closing(prefetch(partial(prepare, training), rest, training.ahead)) as prepared:
        while True:
            start = time.perf_counter()
            numbers, made = next(prepared, (None, None))
            if numbers is None or made is None:
                break
            stop = step(training, numbers, made, bool(interrupted))
            progress.batch += 1
            every = settings.checkpoint_steps
            saving = stop or (every > 0 and progress.batch % every == 0)
            if saving:
                _read_losses(training)
            if not is_asynchronous(training.accelerator.device):
                released = release_memory(released)
            progress.seconds += time.perf_counter() - start
            bar.update(progress)
            if saving:
                training.save(folder / "checkpoint")
            if stop:
                raise Stopped.at(folder)
    start = time.perf_counter()
    _read_losses(training)
    progress.seconds += time.perf_counter() - start


def step(
    training: TrainingState, numbers: np.ndarray, made: Prepared | None = None, stop: bool = False
) -> bool:
    """Train on one batch: loss, gradient, update. Returns True when any process wants to stop.

    `made` is the batch, if it was prepared in advance. A single process does not wait for the
    device here.
    """
    made = made or prepare(training, numbers)
    accelerator, progress, settings = training.accelerator, training.progress, training.settings
    done = progress.epoch + progress.rows / training.dataset.progress()
    for group in training.optimizer.param_groups:
        now = settings.learning_rate * learning_rate_factor(done / settings.epochs, settings)
        group["lr"] = now * group["scale"]
    head = made.batch.extras.get("head", "")
    state = training.carried.get(head) if made.batch.continues else None
    exchange = training.exchange
    with training.sparse_gradients(made.steps):
        loss, count, state = training.model(made.batch.to(accelerator.device), state)
        if state is not None:
            training.carried[head] = state
        size = count if made.has_rows else 0
        if exchange is None:
            total, steps, stopping = _summed(accelerator, size, made.steps, stop)
            weight_of_share = size * accelerator.num_processes / total
            accelerator.backward(training.skippable(loss * weight_of_share))
        else:  # the sums are known after the backward pass
            with exchange.sending():
                accelerator.backward(loss * (size / len(numbers)))
            total, steps, stopping = exchange.receive(size, made.steps, stop)
    for weight in training.frozen:
        weight.grad = None
    if exchange is None:
        norm = training.clip()
    else:
        norm = exchange.clip(settings.grad_clip, len(numbers) / total)
    record = StepRecord(loss, norm, size, progress.epoch, progress.batch, numbers)
    training.losses.add(record)
    if training.losses.due or accelerator.num_processes > 1:  # several read at every step
        _read_losses(training)
    training.update()
    progress.rows += training.dataset.progress(numbers)
    progress.tokens += steps
    return bool(stopping)


def _summed(accelerator: Accelerator, *counts: int) -> list[int]:
    """Return the sums of counts over all processes."""
    if accelerator.num_processes == 1:
        return [*counts]
    return accelerator.reduce(torch.tensor(counts).to(accelerator.device)).tolist()


def _read_losses(training: TrainingState) -> None:
    """Read the waiting losses and add them to the epoch's sum.

    Raises NotFinite for the first one that is not finite; that step changed no weight, nor did later ones.
    """
    progress = training.progress
    for step in training.losses.read():
        if not training.losses.finite(step):
            at = step.record
            place = f"epoch {at.epoch + 1}, batch {at.batch + 1}"
            raise NotFinite(
                f"the loss is {step.loss}, the norm of its gradient {step.norm} in {place} "
                f"({training.dataset.describe_batch(at.rows)}): lower train.learning_rate"
            )
        progress.loss += step.loss * step.record.size
        progress.size += step.record.size


def _finish_epoch(
    training: TrainingState,
    valid: tuple[Dataset | InterleavedDataset, Sequence[Row]],
    bar: Bar,
    folder: Path,
    checkpoints: bool,
) -> None:
    """Evaluate, keep the best weights, write metrics and checkpoint."""
    progress, task = training.progress, training.evaluated_task
    sums = torch.tensor([progress.loss, progress.size], dtype=torch.float64)
    # Behind this, all processes have averaged their parts of the weights.
    sums = training.accelerator.reduce(sums.to(training.accelerator.device))
    metrics, _ = evaluate(task, *valid, training.accelerator, "validate", training.evaluation)
    entry = {
        "epoch": progress.epoch + 1,
        "loss": float(sums[0] / sums[1]),
        "valid": metrics,
        "seconds": round(progress.seconds, 2),
        "tokens_per_second": round(progress.tokens / max(progress.seconds, 1e-9)),
    }
    sign = -1 if training.lower_is_better else 1
    value = [sign * metrics[training.metric], -metrics.get("loss", 0.0)]  # ties: the lower loss
    if not progress.best or _is_better(value, training):
        weights = {name: w.detach().cpu().clone() for name, w in task.state_dict().items()}
        progress.best = {"epoch": entry["epoch"], "value": value, "weights": weights}
    progress.history.append(entry)
    progress.epoch += 1
    progress.batch = progress.rows = progress.size = 0
    progress.loss = 0.0
    if checkpoints:
        training.save(folder / "checkpoint")
    if training.accelerator.is_main_process:
        lines = [json.dumps(e) + "\n" for e in progress.history]
        write_text(folder / "metrics.jsonl", "".join(lines))
    bar.epoch(entry, training.metric, best=progress.best["epoch"] == entry["epoch"])
    shown = training.accelerator.is_main_process and log.isEnabledFor(logging.INFO)
    preview = task.preview() if shown and isinstance(task, Generative) else None
    if preview is not None:
        log.info("%s", indent(preview.strip("\n"), "    | ", lambda line: True))


def _check_metric(
    training: TrainingState, dataset: Dataset | InterleavedDataset, rows: Sequence[Row]
) -> None:
    """Raise InputError when the task does not compute the metric that chooses the best epoch.

    The untrained task answers a few validation rows, or a whole stream.
    """
    some: ExampleList = dataset
    if type(dataset) is Dataset:
        count = min(TRIED, len(rows))
        some, rows = ExampleList(dataset.examples(np.arange(count))), rows[:count]
    task = training.evaluated_task
    found, _answers = evaluate(
        task, some, rows, training.accelerator, "validate", training.evaluation
    )
    if training.metric not in found:
        there, near = ", ".join(found), did_you_mean(training.metric, found)
        raise InputError(
            _(
                "train.metric={metric}: {task} computes {there}{near}",
                metric=training.metric,
                task=task.name,
                there=there,
                near=near,
            )
        )


def _is_better(value: list[float], training: TrainingState) -> bool:
    """Return whether an epoch is better than the best one so far.

    `value` is its metric and its negative loss. Metrics within `tolerance` of the highest one are
    equal, as few validation rows cannot tell them apart: then the lower loss is better.
    """
    progress, tolerance = training.progress, training.settings.tolerance
    best = progress.best["value"]
    if not tolerance:
        return value > best
    sign = -1 if training.lower_is_better else 1
    metrics = [sign * entry["valid"][training.metric] for entry in progress.history]
    least = max([value[0], *metrics]) - tolerance
    if value[0] < least or best[0] < least:
        return value[0] >= least
    return value[1] > best[1]


def evaluate(
    task: Task,
    dataset: ExampleList,
    rows: Sequence[Row],
    accelerator: Accelerator,
    stage: Stage = "test",
    evaluation: EvaluationConfig | None = None,
    config: GenerationConfig | None = None,
) -> tuple[dict[str, float], list[Any]]:
    """Return metrics on all rows, and the answers in their order; the same in every process.

    `config` is for tasks that generate; by default it is the task's own, or greedy search when
    the `stage` is "validate".
    """
    rank, world = accelerator.process_index, accelerator.num_processes
    with accelerator.autocast():
        answers = list(predict_dataset(task, dataset, evaluation, stage, rank, world, config))
    if world > 1:
        answers = gather_object(answers)
    answers.sort(key=lambda pair: pair[0])
    if [number for number, _ in answers] != list(range(len(rows))):
        raise RuntimeError("each row must be answered once")
    plain = [answer for _, answer in answers]
    if stage == "validate":
        plain = task._calibrate(plain, rows)
    return task.compute_metrics(plain, rows), plain


def _stale(training: TrainingState) -> bool:
    """Whether no epoch was better for `patience` epochs."""
    progress, settings = training.progress, training.settings
    since = progress.epoch - progress.best["epoch"] if progress.best else 0
    if settings.patience and since >= settings.patience:
        said = _(
            "no better {metric} for {epochs} epochs: stopped",
            metric=training.metric,
            epochs=since,
        )
        log.info(said)
        return True
    return False


@contextmanager
def interruptions() -> Iterator[list[int]]:
    """Yield a list to which Ctrl-C, SIGTERM and SIGHUP are added; a second Ctrl-C stops at once.

    SIGHUP is left alone where it is ignored, as under nohup.
    """
    caught: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield caught  # signals belong to the main thread
        return

    def note(number: int, frame: object) -> None:
        if caught and number == signal.SIGINT:
            raise KeyboardInterrupt
        caught.append(number)

    numbers = [signal.SIGINT, signal.SIGTERM]
    if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        numbers.append(signal.SIGHUP)  # the terminal was closed
    before = {number: signal.signal(number, note) for number in numbers}
    try:
        yield caught
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
