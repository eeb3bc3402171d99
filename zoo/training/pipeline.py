"""A whole training run: prepare, fit, test once, compare with the baseline, save."""

from __future__ import annotations

import json
import logging
import shlex
import shutil
import tempfile
import time
from dataclasses import asdict, dataclass
from itertools import count
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast_object_list

from zoo.config import Settings, check, check_together, compose, recipes
from zoo.data.corpora import Splits
from zoo.data.dataset import Dataset
from zoo.data.processors import Processor
from zoo.device import describe, find_device, find_precision, set_deterministic, versions
from zoo.errors import InputError
from zoo.evaluation import plots
from zoo.files import write_text
from zoo.loading import load
from zoo.model_folder.card import FACTS
from zoo.model_folder.format import load_processors, save_processors
from zoo.registry import resolve
from zoo.task import Generative, Task
from zoo.training import checkpoint, embedding_init
from zoo.training.build import build
from zoo.training.loop import NotFinite, Stopped, evaluate, fit
from zoo.training.options import Options, evaluation_of, generation_of, options_of
from zoo.training.progress import Progress
from zoo.training.rows import encode_rows, open_rows
from zoo.training.state import accelerator_for

log = logging.getLogger("zoo")

STATE = "checkpoint"  # folder of an unfinished run: weights, tokenizer, encoded rows, settings
SETTINGS = "settings.json"
KINDS = "processors.json"  # of the checkpoint's processors: name -> kind


@dataclass
class Run:
    """The parts of one training run."""

    settings: Settings
    command: str
    folder: Path
    accelerator: Accelerator
    precision: str
    options: Options
    splits: Splits
    task: Task
    datasets: dict[str, Dataset]


def run(settings: Settings, command: str, began: float) -> tuple[Path, dict[str, Any]]:
    """Train, test, and write the run folder; returns the folder and the report.

    `command` goes into the model card; `began` is time.time() at the start. If the run fails before
    its first checkpoint, everything that it wrote is removed. Raises InputError, Stopped when
    interrupted, and NotFinite when the loss is NaN or infinite.
    """
    resume = settings.resume is not None
    if settings.resume is not None:
        folder = Path(settings.resume)
        settings, command = _resumed(folder)
    accelerator, precision = set_up_process(settings)
    options = options_of(settings)
    splits = open_rows(settings, options.kind)  # before anything is written
    made: list[Path] = []
    try:
        if not resume:
            folder = _claim(settings, command, accelerator, made)
        base = settings, command, folder, accelerator, precision, options, splits
        run = _prepare(*base, resume)
        progress = _fit(run, resume)
        return folder, _finish(run, progress, began)
    except BaseException as error:
        if made and not (made[0] / checkpoint.FILE).exists():
            _withdraw(made)
        elif isinstance(error, KeyboardInterrupt):  # after the last epoch
            raise Stopped.at(folder) from None
        raise


def train(*settings: str) -> tuple[Task, dict[str, Any]]:
    """Train as `python -m zoo.run SETTINGS` does; returns the best epoch's model and the report.

        model, report = zoo.train("task=classify", "train.epochs=2", "baseline=false")
        report["test"]["accuracy"]; model.predict(["…"])

    Without `out=DIR` nothing stays on the disk. Raises InputError for invalid settings.
    """
    with tempfile.TemporaryDirectory() as folder:
        given = resolve(settings)
        checked = check(compose([*given, "mode=train"]))
        check_together(checked, [*settings])
        log.info("recipes: %s", ", ".join(recipes(given)) or "none")
        if checked.out is None:
            checked = checked.model_copy(update={"out": str(Path(folder) / "run")})
        command = shlex.join(["python", "-m", "zoo.run", *settings])
        place, report = run(checked, command, time.time())
        return load(place), report


def set_up_process(settings: Settings) -> tuple[Accelerator, str]:
    """Set threads and seed; returns the accelerator and the precision of the settings."""
    if settings.threads:
        torch.set_num_threads(settings.threads)
    device = find_device(settings.device)
    set_deterministic(device, settings.deterministic)  # before CUDA starts
    precision = find_precision(settings.precision, device)
    accelerator = accelerator_for(device.type, precision)
    torch.manual_seed(settings.seed)
    return accelerator, precision


def _claim(settings: Settings, command: str, accelerator: Accelerator, made: list[Path]) -> Path:
    """Create the run folder: `out`, or the next free one under runs/; the same in all processes.

    The folders that were created are added to `made`, the innermost first. Raises InputError when
    `out` holds a run already.
    """
    name = settings.out
    if name is None:
        stem = f"runs/{settings.task['name']}-{settings.data['name']}"
        names = (stem if number == 1 else f"{stem}-{number}" for number in count(1))
        name = next(name for name in names if not Path(name).exists())
    folder = Path(broadcast_object_list([name])[0])
    if accelerator.is_main_process:
        state = folder / STATE
        begun = (state / checkpoint.FILE).exists()
        if begun or (folder / "manifest.json").exists():
            cure = f", or go on with resume={folder}" if begun else ""
            raise InputError(f"out={folder}: holds a run already: choose another out=DIR{cure}")
        shutil.rmtree(state, ignore_errors=True)  # of a run without a checkpoint
        made += [path for path in (state, folder, *folder.parents) if not path.exists()]
        state.mkdir(parents=True)
        kept = {"settings": settings.model_dump(), "command": command}
        write_text(state / SETTINGS, json.dumps(kept, indent=1))
    accelerator.wait_for_everyone()
    return folder


def _resumed(folder: Path) -> tuple[Settings, str]:
    """Settings and command of an interrupted run. Raises InputError when it cannot be resumed."""
    checkpoint.load(folder / STATE, mmap=True)  # raises when it is missing or broken
    path = folder / STATE / SETTINGS
    try:
        kept = json.loads(path.read_text("utf-8"))
        return check(kept["settings"]), str(kept["command"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}: {error}") from None


def _withdraw(made: list[Path]) -> None:
    """Remove the folders of a run that has no checkpoint; folders with other files stay."""
    shutil.rmtree(made[0], ignore_errors=True)
    for path in made[1:]:
        if path.is_dir() and not any(path.iterdir()):
            path.rmdir()


def _prepare(
    settings: Settings,
    command: str,
    folder: Path,
    accelerator: Accelerator,
    precision: str,
    options: Options,
    splits: Splits,
    resume: bool,
) -> Run:
    """Build the processors and the task, and encode every split; each process has its own files."""
    kept = _kept_processors(folder / STATE) if resume else {}
    task = build(options, settings, splits, kept)
    if accelerator.is_main_process and not resume:
        save_processors(task.processors, folder / STATE)
        kinds = {name: each.kind for name, each in task.processors.items()}
        write_text(folder / STATE / KINDS, json.dumps(kinds))
    encoded = folder / STATE / f"encoded-{accelerator.process_index}"
    shutil.rmtree(encoded, ignore_errors=True)  # of an interrupted run
    parts = {"train": splits.train, "valid": splits.valid, "test": splits.test}
    datasets = {name: encode_rows(task, rows, encoded / name) for name, rows in parts.items()}
    embedding = task.backbone.embedding
    loaded = resume or settings.init is not None  # the weights come from a file
    if settings.train.init_embeddings and embedding is not None and not loaded:
        embedding_init.initialize(embedding, datasets["train"])
    sizes = ", ".join(f"{len(dataset):,} {name}" for name, dataset in datasets.items())
    log.info(
        "%s rows; %s; %s parameters; %s on %s",
        sizes,
        _input_in_words(task),
        f"{task.parameter_count:,}",
        precision,
        accelerator.device,
    )
    return Run(settings, command, folder, accelerator, precision, options, splits, task, datasets)


def _kept_processors(folder: Path) -> dict[str, Processor]:
    """Return the processors of an interrupted run. Raises InputError for a broken file."""
    path = folder / KINDS
    try:
        return load_processors(folder, json.loads(path.read_text("utf-8")))
    except (OSError, ValueError, AttributeError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path}: {error}") from None


def _input_in_words(task: Task) -> str:
    """Return what the backbone reads: `8,000 subwords` or `3 features`."""
    if "tokenizer" in task.processors:
        return f"{len(task.tokenizer):,} {task.tokenizer.kind}"
    return f"{task.backbone.config.input_size} features"


def _fit(run: Run, resume: bool) -> Progress:
    valid = (run.datasets["valid"], list(run.splits.valid))
    settings = run.settings
    try:
        return fit(
            run.task,
            run.datasets["train"],
            valid,
            settings.train,
            settings.seed,
            run.accelerator,
            run.folder,
            resume,
            run.options.evaluation,
        )
    except NotFinite as error:
        if not (run.folder / STATE / checkpoint.FILE).exists():
            raise
        if run.accelerator.is_main_process:
            run.task.save(run.folder, {"stopped": str(error), "command": run.command})
        raise NotFinite(f"{error}; the best epoch's model is kept in {run.folder}") from None


def _finish(run: Run, progress: Progress, began: float) -> dict[str, Any]:
    """Test once, run the baseline, write plots, report and model; remove the checkpoint."""
    rows = list(run.splits.test)
    metrics, answers = evaluate(
        run.task, run.datasets["test"], rows, run.accelerator, "test", run.options.evaluation
    )
    if not run.accelerator.is_main_process:
        return {}
    settings, task = run.settings, run.task
    report = {
        "task": task.name,
        "data": settings.data["name"],
        "reads": task.reads,
        "test": metrics,
        "valid": progress.history[progress.best["epoch"] - 1]["valid"],
        "baseline": None,
        "best_epoch": progress.best["epoch"],
        "epochs": progress.epoch,
        "rows": {name: len(dataset) for name, dataset in run.datasets.items()},
        "cut": {name: dataset.count_truncated() for name, dataset in run.datasets.items()},
        "parameters": task.parameter_count,
        "train_seconds": round(progress.seconds, 2),
        "tokens_per_second": round(progress.tokens / progress.seconds),
        "seed": settings.seed,
        "precision": run.precision,
        "command": run.command,
        "processes": run.accelerator.num_processes,
        "machine": describe(),
        "settings": settings.model_dump(),
        "versions": versions(),
    }
    if settings.baseline and task.baseline is not None:
        log.info("baseline …")
        kind = task.tokenizer.kind if "tokenizer" in task.processors else ""
        report["baseline"] = task.baseline(run.splits.train, run.splits.test, kind)
    plots.learning_curve(progress.history, task.metric, run.folder)
    report |= task.report(answers, rows, run.folder)
    task.save(run.folder, {name: report[name] for name in FACTS})
    report["total_seconds"] = round(time.time() - began, 2)
    write_text(run.folder / "report.json", json.dumps(report, indent=1) + "\n")
    shutil.rmtree(run.folder / STATE)
    return report


def evaluate_saved(settings: Settings) -> tuple[Task, dict[str, float]]:
    """Evaluate a saved model on the test rows of `data`; returns the model and the metrics.

    With `precision=auto` a shipped model is evaluated in the precision of the figures on its card.
    """
    task = load(str(settings.model))
    kept = (task.metadata or {}).get("test_precision", "auto")
    if settings.precision == "auto":
        settings = check(settings.model_dump() | {"precision": kept})
    kind = type(task)
    if isinstance(task, Generative):
        own = asdict(task.config.generation)
        settings = settings.model_copy(update={"generation": own | settings.generation})
    accelerator, _ = set_up_process(settings)
    task.to(accelerator.device)
    evaluation = evaluation_of(settings, kind)
    generation = generation_of(settings, kind)
    usable = open_rows(settings, kind).test
    with tempfile.TemporaryDirectory() as folder:
        dataset = encode_rows(task, usable, Path(folder) / "test")
        rows = list(usable)
        metrics, _ = evaluate(task, dataset, rows, accelerator, "test", evaluation, generation)
    return task, metrics
