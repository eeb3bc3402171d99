"""Part "strength" trains the strongest language model of WikiText-2 that the time allows."""

from __future__ import annotations

import math
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator

from zoo import device
from zoo.bench.gpu import pieces
from zoo.bench.gpu.parts import Measurement, Setting
from zoo.bench.measure import wait
from zoo.config import Settings, check, compose
from zoo.data.corpora import Splits
from zoo.data.dataset import Dataset
from zoo.data.stream import HALVED
from zoo.hub.retrain import FORMS
from zoo.loading import load
from zoo.task import Task
from zoo.training import loop, pipeline
from zoo.training.build import build
from zoo.training.options import options_of
from zoo.training.rows import encode_rows, open_rows
from zoo.training.state import TrainingState

# Merity et al.'s AWD-LSTM has layers of 400-1150-1150-400 and tied embeddings. Here all layers have
# one size, a multiple of 128 for the kernels. A linear map leads back to the embedding's 400. Their
# dropouts are for 750 epochs. These ones overfit after 17 of 26 epochs, validation perplexity 85.0;
# 0.3, 0.55, 0.45 and 0.5 still learned after 16 of 17 epochs, validation perplexity 94.6.
RECIPE = [
    "task=generate",
    "tokenizer.kind=whitespace",
    "tokenizer.size=50000",
    "tokenizer.min_count=1",
    "task.softmax=full",
    "task.tied=true",
    "task.activation_penalty=2.0",
    "task.change_penalty=1.0",
    "backbone.embedding_size=400",
    "backbone.hidden_size=1152",
    "backbone.num_layers=3",
    "backbone.dropout=0.25",
    "backbone.input_dropout=0.4",
    "backbone.output_dropout=0.4",
    "backbone.weight_dropout=0.4",
    "backbone.embedding_dropout=0.1",
    "train.batch_rows=64",
    "train.batch_tokens=4480",
    "train.learning_rate=3e-3",
    "train.schedule=onecycle",
    "train.warmup=0.15",
    "train.weight_decay=0.05",
    "train.ema_decay=0.999",
    "train.patience=0",
]
TINY = [
    "backbone.embedding_size=8",
    "backbone.hidden_size=12",
    "train.batch_rows=16",
    "train.batch_tokens=512",
    "train.fraction=0.2",
    "threads=1",
]
WARM, TIMED = 8, 30  # numbers of steps that the estimate uses
RESERVE = 0.16  # share of the part's time for what comes after the training
TEST = 0.06  # share of the part's time that reading the test rows needs
KEPT = 0.45  # share of the training's time between two kept models
MOST, MOST_TINY = 100, 2  # epochs
_kept: list[str] = []  # names of the trainings that ended with a model


@dataclass
class Prepared:
    """A training is made of these objects."""

    settings: Settings
    accelerator: Accelerator
    precision: str
    splits: Splits
    task: Task
    stores: dict[str, Dataset]

    @property
    def valid(self) -> tuple[Dataset, list[Any]]:
        return self.stores["valid"], [*self.splits.valid]


def measurements(setting: Setting) -> list[Measurement]:
    """Return the training, and one in float32 that takes its place if it fails."""
    names = {"language model": "auto", "language model, the second try": "fp32"}
    return [
        Measurement(name, partial(model, name, precision, setting), 1.0)
        for name, precision in names.items()
    ]


def model(name: str, precision: str, setting: Setting) -> Iterator[dict[str, Any]]:
    """Prepare, estimate, train in one cycle, keep the best epoch in int8, and test once."""
    if _kept:
        yield {"note": f"not needed: {_kept[0]!r} ended with a model"}
        return
    began = time.time()
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        made = _prepared(setting, precision, place)
        yield {
            "data": made.settings.data["name"] + ("" if setting.data else " (embedded)"),
            "precision": made.precision,
            "parameters": made.task.parameter_count,
            "vocabulary": len(made.task.tokenizer),
            "rows": {part: len(store) for part, store in made.stores.items()},
            "settings": made.settings.model_dump(),
            "seconds": time.time() - began,
        }
        estimate = _estimate(made, setting)
        yield {"estimate": estimate}
        keeper = Keeper(made, setting, place / "model")
        yield from _training(made, setting, estimate, keeper, place)
        yield keeper.keep(made.task)
        _kept.append(name)
        yield from _tested(made, setting, keeper)


def _words(setting: Setting, precision: str) -> list[str]:
    """Return the settings as a command line has them."""
    data = ["data=pydoc"]
    if setting.data is not None:
        data = ["data=wikitext2", f"data.path={setting.data}"]
    own = TINY if setting.small else []
    return [*RECIPE, *data, *own, f"device={setting.device}", f"precision={precision}"]


def _prepared(setting: Setting, precision: str, folder: Path) -> Prepared:
    settings = check(compose(_words(setting, precision)))
    accelerator, precision = pipeline.set_up_process(settings)
    options = options_of(settings)
    splits = open_rows(settings, options.kind)
    task = build(options, settings, splits)
    parts = {"train": splits.train, "valid": splits.valid, "test": splits.test}
    stores = {
        part: encode_rows(task, rows, folder / "encoded" / part) for part, rows in parts.items()
    }
    return Prepared(settings, accelerator, precision, splits, task, stores)


def _estimate(made: Prepared, setting: Setting) -> dict[str, Any]:
    """Estimate the seconds of an epoch, and the number of epochs. The task stays as it is."""
    settings, task = made.settings.train, made.task
    first = {name: weight.clone() for name, weight in task.state_dict().items()}
    random = torch.get_rng_state()
    training = TrainingState(
        task, made.stores["train"], settings, made.settings.seed, made.accelerator
    )
    training.model.train()
    plan = made.stores["train"].sampler(settings.batch_tokens, settings.batch_rows)
    warm, timed = (list(islice(plan, count)) for count in (WARM, TIMED))
    for numbers in warm:
        loop.step(training, numbers)
    steps = timed or warm
    step = _seconds(lambda: [loop.step(training, numbers) for numbers in steps], task) / len(steps)
    judged = training.evaluated_task
    evaluation = _seconds(lambda: _validate(judged, made), task)
    made.accelerator.free_memory()  # it would unscale the gradients for each optimizer it knows
    task.load_state_dict(first)
    torch.set_rng_state(random)
    steps_per_epoch = made.stores["train"].progress() / settings.batch_tokens / (1 - HALVED / 2)
    epoch = step * steps_per_epoch + evaluation
    left = setting.left() - RESERVE * setting.seconds
    most = MOST_TINY if setting.small else MOST
    return {
        "step_seconds": step,
        "steps_per_epoch": math.ceil(steps_per_epoch),
        "evaluation_seconds": evaluation,
        "epoch_seconds": epoch,
        "seconds_left": left,
        "epochs": max(1, min(most, int(left / epoch))),
    }


def _validate(task: Task, made: Prepared) -> dict[str, float]:
    """Return metrics on the validation rows, computed as they are to compare epochs."""
    return loop.evaluate(task, *made.valid, made.accelerator, "validate")[0]


def _seconds(call: Any, task: Task) -> float:
    wait(task.device)
    start = time.perf_counter()
    call()
    wait(task.device)
    return time.perf_counter() - start


class Keeper:
    """A keeper writes a model in int8, and its pieces into the folder of `--keep`."""

    def __init__(self, made: Prepared, setting: Setting, folder: Path) -> None:
        self.made, self.setting, self.folder = made, setting, folder
        self.facts: dict[str, Any] = {
            "data": made.settings.data["name"],
            "reads": made.task.reads,
            "parameters": made.task.parameter_count,
            "rows": {part: len(store) for part, store in made.stores.items()},
            "seed": made.settings.seed,
            "precision": made.precision,
            "weights": FORMS["int8"],
            "versions": device.versions(),
        }
        self.last = time.time()

    def keep(self, task: Task, **facts: Any) -> dict[str, Any]:
        """Write the model as it is, and return what was written."""
        began = time.time()
        self.facts |= facts
        task.save(self.folder, self.facts, "int8")
        kept: dict[str, Any] = {"bytes": sum(p.stat().st_size for p in self.folder.iterdir())}
        if self.setting.keep is not None:
            into = Path(self.setting.keep)
            paths = pieces.pack(self.folder, into)
            command = pieces.joining(into, into / "model")
            kept |= {
                "pieces": [path.name for path in paths],
                "join": command,
                "piece_bytes": [path.stat().st_size for path in paths],
            }
            print(f"the model's pieces: {command}", flush=True)
        self.last = time.time()
        return {"kept": kept | {"seconds": self.last - began}}


def _training(
    made: Prepared, setting: Setting, estimate: dict[str, Any], keeper: Keeper, folder: Path
) -> Iterator[dict[str, Any]]:
    """Train, and yield each epoch's metrics. The task holds the best epoch's weights afterwards."""
    began, task, chosen = time.time(), made.task, made.settings
    settings = replace(chosen.train, epochs=estimate["epochs"])
    between = KEPT * estimate["epochs"] * estimate["epoch_seconds"]
    training = TrainingState(task, made.stores["train"], settings, chosen.seed, made.accelerator)
    progress, before = training.progress, time.time()
    running = loop.epochs(training, made.valid, folder, checkpoints=False)
    try:
        for entry in running:
            yield entry | {"clock": time.time() - began, "of_epochs": settings.epochs}
            best = progress.best["epoch"] == entry["epoch"]
            keeper.facts |= _facts(training)
            if best and time.time() - keeper.last > between and progress.epoch < settings.epochs:
                yield keeper.keep(training.evaluated_task)
            took, before = time.time() - before, time.time()
            late = setting.left() < took + RESERVE * setting.seconds / 2
            if late and progress.epoch < settings.epochs:
                yield {"stopped": f"after epoch {progress.epoch}: the time is over"}
                break
    except loop.NotFinite as error:
        if not progress.best:
            raise
        yield {"stopped": str(error)}
    finally:
        running.close()


def _facts(training: TrainingState) -> dict[str, Any]:
    progress = training.progress
    best = progress.best["epoch"]
    return {
        "valid": progress.history[best - 1]["valid"],
        "best_epoch": best,
        "train_seconds": round(progress.seconds, 2),
    }


def _tested(made: Prepared, setting: Setting, keeper: Keeper) -> Iterator[dict[str, Any]]:
    """Evaluate the kept model on the validation rows, and once on the test rows if time is left."""
    task = load(keeper.folder, setting.device)
    yield {"valid_int8": _validate(task, made)}
    if setting.left() < TEST * setting.seconds:
        yield {"note": "no time was left for the test rows"}
        return
    start = time.time()
    rows = [*made.splits.test]
    metrics, _ = loop.evaluate(task, made.stores["test"], rows, made.accelerator)
    yield {"test": metrics, "seconds": time.time() - start}
    if setting.left() > 0:
        yield keeper.keep(made.task, test=metrics)
