"""A whole training run: prepare, fit, save, test once, compare with the baseline, report."""

from __future__ import annotations

import json
import logging
import os
import shlex
import tempfile
import time
import warnings
from collections.abc import Collection, Mapping
from concurrent.futures import Future
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast_object_list
from torch import Tensor

from zoo.config import Settings, check, check_together, compose, recipes, typed
from zoo.data.corpora import Splits
from zoo.data.dataset import Dataset
from zoo.data.processors import LabelEncoder, LabelSetEncoder
from zoo.data.readers import Row, Rows
from zoo.device import describe, find_device, find_precision, set_deterministic, versions
from zoo.errors import InputError
from zoo.evaluation import label_sets, plots, time_limit
from zoo.evaluation.config import EvaluationConfig
from zoo.evaluation.logistic import MANY_LABELS
from zoo.evaluation.metrics import intervals, macro_f1, translation_intervals
from zoo.files import write_text
from zoo.files.run_folder import (
    MANIFEST,
    MARKER,
    SETTINGS,
    STATE,
    TUNING,
    check_free,
    create_next,
    has_checkpoint,
    locked,
    remove_all,
    remove_state,
)
from zoo.loading import load
from zoo.memory import check_fits, in_words
from zoo.messages import _
from zoo.model_folder.card import FACTS, printable
from zoo.prediction.processes import launched
from zoo.registry import resolve
from zoo.task import Generative, Task, noted
from zoo.text.tokenizers import units
from zoo.training import checkpoint, embedding_init
from zoo.training.build import batch_size, build, training_size
from zoo.training.defaults import from_data
from zoo.training.loop import NotFinite, Stopped, evaluate, fit
from zoo.training.options import Options, evaluation_of, generation_of, options_of
from zoo.training.progress import Progress
from zoo.training.resume.cleaning import clean_held
from zoo.training.resume.folder import (
    Began,
    finish,
    load_learned,
    reopen,
    save_learned,
    state_of,
    write_settings,
)
from zoo.training.resume.rows import RowHashes, check_rows, file_of
from zoo.training.resume.settings import settings_to_resume
from zoo.training.rows import encode_rows, open_rows, say_known, say_labels
from zoo.training.state import accelerator_for, choosing_metric, host_kept

log = logging.getLogger("zoo")

THREADS_PER_CORE = 8
COMPARED = "zoo.tuning.from_python"  # by name: tuning stands above the training
BASELINE_LABELS = 1_000  # a baseline has weights for each pair of label and feature


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
    facts: dict[str, Any]  # what a checkpoint keeps of rows and settings


@host_kept()
def run(
    settings: Settings,
    command: str,
    began: float,
    corpus: Splits | None = None,
    changes: Collection[str] = (),
    claimed: Path | None = None,
) -> tuple[Path, dict[str, Any]]:
    """Train, test, and write the run folder; returns the folder and the report.

    `command` goes into the model card; `began` is time.time() at the start. `corpus` holds the rows
    of a training from Python; without it they are those of `data`. `changes` names the settings that
    a resumed run takes from `settings`. `claimed` is the folder if the caller has locked it already.
    If the run fails before its first checkpoint, everything that it wrote is removed. Raises
    InputError, Stopped when interrupted, and NotFinite when the loss is NaN or infinite.
    """
    resume = settings.resume is not None
    folder: Path | None = None
    try:
        with ExitStack() as lock:
            if settings.resume is not None:
                folder = Path(settings.resume)
                _hold(folder, lock)
                first = settings_to_resume(folder, settings, changes)
                settings, command = first.settings, first.command
            accelerator, precision = set_up_process(settings)
            options = options_of(settings)
            splits = open_rows(settings, options.kind, corpus)  # before anything is written
            settings, options = from_data(settings, options, splits)
            if not resume:
                folder = _claim(settings, command, accelerator, lock, claimed)
            elif accelerator.is_main_process and folder is not None:
                reopen(folder, first)
            accelerator.wait_for_everyone()
            assert folder is not None
            base = settings, command, folder, accelerator, precision, options, splits
            run = _prepare(*base, resume)
            progress = _fit(run, resume)
            return folder, _finish(run, progress, began)
    except KeyboardInterrupt:
        if folder is None or not has_checkpoint(folder / STATE):
            raise
        raise Stopped.at(folder) from None  # after the last epoch


def _hold(folder: Path, lock: ExitStack) -> None:
    """Lock the folder of a run that goes on, and remove what a killed process left there.

    Of several processes the first one does it. Raises InputError for a folder without a state.
    """
    if os.environ.get("RANK", "0") == "0":
        if not (folder / MARKER).is_file():
            state_of(folder)  # of a run before there was a marker: raises before one is made
        lock.enter_context(locked(folder, "resume"))
        clean_held(folder)


def train(*settings: str) -> tuple[Task, dict[str, Any]]:
    """Train as `python -m zoo.run SETTINGS` does; returns the best epoch's model and the report.

    >>> import zoo
    >>> data = "data.locales=[en,de]", "data.documents=20", "baseline=false"
    >>> model, report = zoo.train("task=classify", "train.epochs=1", *data)
    >>> report["task"], 0 <= report["test"]["accuracy"] <= 1
    ('classify', True)

    Without `out=DIR` nothing stays on the disk. Raises InputError for invalid settings.
    """
    given = resolve(settings)
    checked = check(compose([*given, "mode=train"]))
    check_together(checked, [*settings])
    log.info(_("recipes: {names}", names=", ".join(recipes(given)) or _("none")))
    command = shlex.join(["python", "-m", "zoo.run", *settings])
    return train_and_load(checked, command, changes=typed(settings))


def train_and_load(
    settings: Settings,
    command: str,
    corpus: Splits | None = None,
    changes: Collection[str] = (),
) -> tuple[Task, dict[str, Any]]:
    """Run a training as `run` does; returns the best epoch's model and the report.

    With `tune`, settings are compared first, into `report["tuning"]`; with `folds`, the training
    rows are cross-validated first, into `report["folds"]`. Without `out` nothing stays on the disk.
    """
    unfinished = (Path(settings.resume or "") / TUNING).is_file()
    train: Any = run
    if settings.tune or settings.folds or unfinished:
        train = import_module(COMPARED).run
    with tempfile.TemporaryDirectory() as folder:
        if settings.out is None:
            settings = settings.model_copy(update={"out": str(Path(folder) / "run")})
        place, report = train(settings, command, time.time(), corpus, changes)
        return load(place), report


def set_up_process(settings: Settings) -> tuple[Accelerator, str]:
    """Set threads and seed; returns the accelerator and the precision of the settings."""
    most = THREADS_PER_CORE * (os.cpu_count() or 1)
    if settings.threads > most:
        raise InputError(
            _(
                "threads={threads}: at most {most} on this machine",
                threads=settings.threads,
                most=most,
            )
        )
    if settings.threads:
        torch.set_num_threads(settings.threads)
    device = find_device(settings.device)
    set_deterministic(device, settings.deterministic)  # before CUDA starts
    precision = find_precision(settings.precision, device)
    accelerator = accelerator_for(device.type, precision)
    torch.manual_seed(settings.seed)
    return accelerator, precision


def _claim(
    settings: Settings,
    command: str,
    accelerator: Accelerator,
    lock: ExitStack,
    claimed: Path | None,
) -> Path:
    """Create and lock the run folder, with the settings in it. It is the same in all processes.

    `lock` holds it, and removes at the end what a run without a checkpoint has written.
    """
    name = settings.out
    if accelerator.is_main_process:
        name = str(claimed or claim(settings, lock))
    folder = Path(broadcast_object_list([name])[0])
    if accelerator.is_main_process:
        lock.callback(_remove_without_checkpoint, folder)
        remove_state(folder)  # of a run without a checkpoint
        (folder / STATE).mkdir()
        write_settings(Began(settings, command, os.getcwd()), folder / STATE)
    accelerator.wait_for_everyone()
    return folder


def claim(settings: Settings, lock: ExitStack) -> Path:
    """Create and lock `out`, or the next free folder under runs/, for one process.

    `lock` holds it; at its end a folder that was created is removed if it is empty. Raises
    InputError when the folder is in use, or holds anything of others or a run.
    """
    if settings.out is None:
        return _lock_next(settings, lock)
    folder = Path(settings.out)
    check_free(folder)  # before anything is touched
    lock.enter_context(locked(folder, "out"))
    check_free(folder)  # another run may have ended at the same moment
    remove_all(folder)  # of a run without a checkpoint
    return folder


def _lock_next(settings: Settings, lock: ExitStack) -> Path:
    """Create and lock the next free folder under runs/."""
    stem = f"runs/{settings.task['name']}-{settings.data['name']}"
    while True:
        made = create_next(stem)
        with suppress(InputError):  # another training with this `out` was faster
            lock.enter_context(locked(made[0], "out", made))
            check_free(made[0])
            return made[0]


def _remove_without_checkpoint(folder: Path) -> None:
    """Remove what a run has written that has no checkpoint and no model."""
    if not has_checkpoint(folder / STATE) and not (folder / MANIFEST).exists():
        remove_all(folder)


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
    kept = load_learned(folder / STATE) if resume else {}
    task = build(options, settings, splits, kept)
    if not resume:
        say_labels(task)
    if accelerator.is_main_process and not resume:
        save_learned(task.processors, folder / STATE)
    encoded = folder / STATE / f"encoded-{accelerator.process_index}"
    remove_state(folder, encoded.name)  # of an interrupted run
    parts = {"train": splits.train, "valid": splits.valid, "test": splits.test}
    digests = _check_kept(folder / STATE, parts, options.kind) if resume else {}
    datasets = {}
    hashes: dict[str, RowHashes] = {}
    vectors: Future[Tensor] | None = None
    for name, rows in parts.items():
        hashes[name] = RowHashes(options.kind)
        datasets[name] = encode_rows(task, rows, encoded / name, hashes[name])
        if not resume:
            if name == "train":
                vectors = learn_vectors(task, datasets[name], settings)
            say_known(rows, hashes[name], hashes["train"])
            digests[name] = hashes[name].digest()
            if accelerator.is_main_process:
                hashes[name].save(folder / STATE / file_of(name))
    facts = {"rows": digests, "settings": (folder / STATE / SETTINGS).read_text("utf-8")}
    if not resume:
        initialize_embedding(task, datasets["train"], vectors)
    log.info(
        _(
            "{train:,} train, {valid:,} valid, {test:,} test rows; {inputs}; "
            "{parameters:,} parameters; {precision} on {device}",
            **{name: len(dataset) for name, dataset in datasets.items()},
            inputs=_input_in_words(task),
            parameters=task.parameter_count,
            precision=precision,
            device=accelerator.device,
        )
    )
    _check_memory(task, datasets["train"], settings, accelerator)
    return Run(
        settings, command, folder, accelerator, precision, options, splits, task, datasets, facts
    )


def learn_vectors(task: Task, dataset: Dataset, settings: Settings) -> Future[Tensor] | None:
    """Begin to learn word vectors for a new embedding, if the settings ask for them.

    A thread learns them while the other splits are encoded.
    """
    embedding = task.backbone.embedding
    if not settings.train.init_embeddings or embedding is None or settings.init is not None:
        return None
    return embedding_init.begin(dataset, embedding.num_embeddings, embedding.embedding_dim)


def initialize_embedding(task: Task, dataset: Dataset, vectors: Future[Tensor] | None) -> None:
    """Start the embedding from the vectors of `learn_vectors`, if there are any.

    The task also fits what is not trained step by step.
    """
    task._initialize(dataset)
    if vectors is not None and task.backbone.embedding is not None:
        embedding_init.initialize(task.backbone.embedding, vectors.result())


def _check_kept(state: Path, parts: Mapping[str, Rows], kind: type[Task]) -> dict[str, str]:
    """Return the digests of the rows of a run. Raises InputError when rows have changed since."""
    digests = checkpoint.load(state, mmap=True)["facts"]["rows"]
    for name, rows in parts.items():
        changed = check_rows(rows, name, digests[name], state, kind)
        if changed:
            raise InputError(f"resume={state.parent}: {changed}")
    return digests


def _check_memory(
    task: Task, dataset: Dataset, settings: Settings, accelerator: Accelerator
) -> None:
    """Say what the training will take of the memory. Raises InputError when that is not free."""
    weights = training_size(task.parameter_count, settings)
    batch = batch_size(task, dataset, settings)
    log.info(
        _(
            "memory: at least {weights} for the weights and their training, {batch} for a batch",
            weights=in_words(weights),
            batch=in_words(batch),
        )
    )
    share = settings.train.batch_tokens, settings.train.batch_rows
    what = f"batches of train.batch_tokens={share[0]} and train.batch_rows={share[1]}"
    check_fits(weights + batch, what, "choose smaller ones", accelerator.device)


def _input_in_words(task: Task) -> str:
    """Return what the backbone reads: `8,000 subwords` or `3 features`."""
    if "tokenizer" in task.processors:
        named = units(task.tokenizer.kind)
        return _("{count:,} {units}", count=len(task.tokenizer), units=named)
    return _("{count} features", count=task.backbone.config.input_size)


def _fit(run: Run, resume: bool) -> Progress:
    valid = (run.datasets["valid"], list(run.splits.valid))
    settings = run.settings
    metric, lower = choosing_metric(run.task, settings.train)
    if metric != type(run.task).metric:
        if lower:
            way = _("the best epoch is the one with the lowest validation {metric}", metric=metric)
        else:
            way = _("the best epoch is the one with the highest validation {metric}", metric=metric)
        log.info(way)
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
            run.facts,
        )
    except NotFinite as error:
        if not has_checkpoint(run.folder / STATE):
            raise
        if run.accelerator.is_main_process:
            run.task.save(run.folder, {"stopped": str(error), "command": run.command})
        raise NotFinite(f"{error}; the best epoch's model is kept in {run.folder}") from None


def _finish(run: Run, progress: Progress, began: float) -> dict[str, Any]:
    """Save the model, test once, run the baseline, draw and report; remove the checkpoint.

    The model is saved first. What fails afterwards is said in one line and noted in the report.
    """
    report = _facts(run, progress)
    folder, task = run.folder, run.task
    main = run.accelerator.is_main_process
    if main:
        _save(run, report)
    rows = list(run.splits.test)
    answers: list[Any] | None = None
    with noted("test figures", report):
        report["test"], answers = evaluate(
            task, run.datasets["test"], rows, run.accelerator, "test", run.options.evaluation
        )
    if not main:
        return {}
    _save(run, report)
    if answers is not None:
        with noted("intervals", report):
            report["intervals"] = _intervals(task, report["test"], answers, rows)
    with noted("learning curve", report):
        best = report["best_epoch"]
        plots.learning_curve(progress.history, report["chosen_by"], folder, best)
    if answers is not None:
        with noted("task's own report", report):
            _add(report, task.report(answers, rows, folder))
    if run.settings.baseline and task.baseline is not None:
        with noted("baseline", report):
            rows_read = len(run.datasets["train"])
            report["baseline"] = run_baseline(
                task, run.splits, rows_read, progress.seconds, run.options.evaluation
            )
        _save(run, report)
    report["total_seconds"] = round(time.time() - began, 2)
    with noted("report.json", report):
        write_text(folder / "report.json", json.dumps(report, indent=1) + "\n")
    finish(folder)
    return report


def _facts(run: Run, progress: Progress) -> dict[str, Any]:
    """Return what a report says of a training before it is tested."""
    settings, task = run.settings, run.task
    return {
        "task": task.name,
        "data": settings.data["name"],
        "data_settings": settings.data,
        "reads": task.reads,
        "reads_text": "tokenizer" in task.processors,
        "predict": task.predict_example,
        "test": {},
        "valid": progress.history[progress.best["epoch"] - 1]["valid"],
        "intervals": {},
        "metric": task.metric,
        "lower_is_better": task.lower_is_better,
        "chosen_by": choosing_metric(task, settings.train)[0],
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
        "notes": [],
    }


def _save(run: Run, report: dict[str, Any]) -> None:
    """Write the model folder with what is known so far."""
    run.task.save(run.folder, printable({name: report[name] for name in FACTS}))


def _add(report: dict[str, Any], own: dict[str, Any]) -> None:
    """Add a task's own entries to a report, and its notes to the notes."""
    report["notes"] += own.pop("notes", [])
    report |= own


def _intervals(
    task: Task, values: dict[str, float], answers: list[Any], rows: list[Row]
) -> dict[str, dict[str, Any]]:
    """Return the 95 % intervals of the test figures."""
    of_rows = {"sentence_accuracy", "exact_match"}
    if "bleu" in values:
        return translation_intervals(values, answers, [str(row["target"]) for row in rows])
    if "label" not in task.target_columns:
        return intervals(values, answers, rows, task.compute_metrics, of_rows)
    if isinstance(task.processors.get("labels"), LabelSetEncoder):
        return label_sets.intervals(values, answers, rows)
    truth = [str(row["label"]) for row in rows]
    found = [str(answer["label"]) for answer in answers]
    numbers = {label: number for number, label in enumerate(dict.fromkeys([*truth, *found]))}
    answered = [numbers[label] for label in found]
    wanted = [numbers[label] for label in truth]
    return intervals(values, answered, wanted, macro_f1, {*of_rows, "accuracy"})


def run_baseline(
    task: Task,
    splits: Splits,
    rows: int = 0,
    seconds: float = 0.0,
    evaluation: EvaluationConfig | None = None,
) -> dict[str, Any]:
    """Run the baseline on `rows` training rows, in about `seconds` at most; without `rows`, on all.

    Raises ValueError when there are too many labels for it.
    """
    assert task.baseline is not None
    encoder = task.processors.get("labels")
    labels = len(encoder.labels) if isinstance(encoder, LabelEncoder) else 0
    if labels > BASELINE_LABELS:
        raise ValueError(
            f"it keeps weights for each label, and {labels:,} are more than {BASELINE_LABELS:,}"
        )
    log.info(_("baseline …"))
    kind = task.tokenizer.kind if "tokenizer" in task.processors else ""
    method: Any = task.baseline
    if evaluation is not None and evaluation.origins is not None:
        method = partial(method, origins=evaluation.origins)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", MANY_LABELS)  # `say_labels` says so
        return time_limit.within(method, splits.train, splits.test, kind, rows, seconds)


def evaluate_saved(settings: Settings) -> tuple[Task, dict[str, float]]:
    """Evaluate a saved model on the test rows of `data`; returns the model and the metrics.

    With `precision=auto` a shipped model is evaluated in the precision of the figures on its card.
    """
    task, _, metrics, _, _ = _test_saved(settings)
    return task, metrics


def measure(settings: Settings) -> dict[str, Any]:
    """Evaluate a saved model as `evaluate_saved` does; returns a report with baseline and intervals.

    The baseline is that of the model's training if the rows are the same, else it is run here. Of
    several processes only the first one reports; the others return {}.
    """
    task, splits, metrics, answers, rows = _test_saved(settings)
    if launched()[0]:
        return {}
    kept = task.metadata or {}
    report = {
        "task": task.name,
        "data": settings.data["name"],
        "model": settings.model,
        "place": splits.test.name,
        "reads": task.reads,
        "metric": task.metric,
        "lower_is_better": task.lower_is_better,
        "rows": {"test": len(rows)},
        "test": metrics,
        "intervals": {},
        "baseline": None,
        "notes": [],
    }
    with noted("intervals", report):
        report["intervals"] = _intervals(task, metrics, answers, rows)
    with noted("task's own report", report), tempfile.TemporaryDirectory() as folder:
        _add(report, task.report(answers, rows, Path(folder)))
    known = kept.get("baseline")
    own = kept.get("data_settings", {"name": kept.get("data")} | _without_name(settings.data))
    if not settings.baseline or task.baseline is None:
        return report
    same = own == settings.data and kept["rows"]["test"] == len(rows)
    if known and same and known.get("origins") == settings.evaluate.get("origins"):
        report["baseline"] = known
    else:
        with noted("baseline", report):
            if splits.train.name == splits.test.name:
                raise ValueError("it learns from training rows: add data.train=FILE")
            evaluation = evaluation_of(settings, type(task))
            report["baseline"] = run_baseline(task, splits, evaluation=evaluation)
    return report


def _without_name(data: dict[str, Any]) -> dict[str, Any]:
    """Return the settings of a corpus without its name."""
    return {key: value for key, value in data.items() if key != "name"}


@host_kept()
def _test_saved(
    settings: Settings,
) -> tuple[Task, Splits, dict[str, float], list[Any], list[Row]]:
    """Return a saved model, the splits, and the metrics, answers and rows of the test."""
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
    splits = open_rows(settings, kind)
    usable = splits.test
    with tempfile.TemporaryDirectory() as folder:
        dataset = encode_rows(task, usable, Path(folder) / "test")
        rows = list(usable)
        metrics, answers = evaluate(
            task, dataset, rows, accelerator, "test", evaluation, generation
        )
    return task, splits, metrics, answers, rows
