"""Train on rows in memory: what `Classify.fit(texts, labels)` and its sisters do."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import asdict, is_dataclass
from os import PathLike, fspath
from typing import Any

import numpy as np

from zoo.config import SECTIONS, Settings, check, check_together, compose, names
from zoo.data.corpora import in_memory
from zoo.errors import InputError
from zoo.evaluation import advice
from zoo.evaluation.config import EvaluationConfig
from zoo.generation.config import GenerationConfig
from zoo.messages import _
from zoo.nn.backbone import BackboneConfig
from zoo.option_classes import as_text, did_you_mean, option_names
from zoo.registry import find
from zoo.task import Task
from zoo.training import pipeline
from zoo.training.loop import Stopped
from zoo.training.progress import Heartbeat
from zoo.training.python import notebook

log = logging.getLogger("zoo")

# Settings of `fit` besides the sections; the others belong to the command line.
SINGLE = {"out", "init", "directions", "resume", "seed", "device", "deterministic", "precision"}
SINGLE |= {"threads", "baseline", "from_data", "strict", "tune", "folds"}
CLASSES = (EvaluationConfig, GenerationConfig, BackboneConfig)


def fit(
    kind: type[Task], rows: tuple[Any, ...], valid: Any, test: Any, given: Mapping[str, Any]
) -> Task:
    """Train a task on rows in memory, as `Task.fit` describes. Raises InputError."""
    try:
        known = find(kind.task_name)
    except InputError:
        known = None
    if known is not kind:
        raise InputError(f"{kind.__name__}: call zoo.register({kind.__name__}) first")
    values = _values(given)
    settings = _settings(kind, values)
    changes = ["task.name", *(name for name in values if name != "resume")]
    parts = {"train": rows, "valid": valid, "test": test}
    parts = {name: _columns(part) for name, part in parts.items() if part is not None}
    columns = {name: text for name, text in settings.data.items() if name != "name"}
    with notebook.shown() as visible, Heartbeat() if visible else nullcontext():
        splits = in_memory.splits(
            parts, columns, kind.training_columns, kind.text_columns, kind.input_columns[0]
        )
        try:
            task, report = pipeline.train_and_load(settings, _command(kind, given), splits, changes)
        except Stopped:
            raise Stopped(_interrupted(kind, settings)) from None
        _log_result(report, kind)
    compared = {name: report[name] for name in ("tuning", "folds") if name in report}
    task.metadata = (task.metadata or {}) | compared
    return task


def _columns(given: Any) -> tuple[Any, ...]:
    """Return the rows of a split as `fit` takes them: one value, or one for each column."""
    if isinstance(given, tuple) and not any(isinstance(part, Mapping) for part in given):
        return given
    return (given,)


def _values(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the given settings by their names on the command line.

    `given` are sections, `{"train": {"epochs": 3}}`, or single settings, `{"train.epochs": 3}`.
    """
    values: dict[str, Any] = {}
    for name, value in given.items():
        if is_dataclass(value) and not isinstance(value, type):
            value = asdict(value)
        if name in SECTIONS and isinstance(value, Mapping):
            values |= {f"{name}.{key}": _plain(each) for key, each in value.items()}
        else:
            values[name] = _plain(value)
    return values


def _settings(kind: type[Task], values: Mapping[str, Any]) -> Settings:
    """Return the checked settings of a training. Raises InputError for a wrong one."""
    start = [f"task={kind.task_name}", "data=files", f"data.train={in_memory.NAME}"]
    composed = compose(start)
    composed["data"] = {}
    for name, value in values.items():
        section, dot, key = name.partition(".")
        _check_name(name, value, kind)
        if dot:
            composed[section] = {**(composed.get(section) or {}), key: value}
        else:
            composed[section] = value
    columns = in_memory.settings_of(composed["data"])
    composed["data"] = {"name": in_memory.NAME, **columns}
    composed.given = frozenset({"task.name", "data.name", *values})
    settings = check(composed)
    check_together(settings, [f"{name}={as_text(value)}" for name, value in values.items()])
    return settings


def _plain(value: Any) -> Any:
    """Return a value as the command line knows it: no path, nothing of numpy."""
    if isinstance(value, PathLike):
        return fspath(value)
    return value.item() if isinstance(value, np.generic) else value


def _check_name(name: str, value: Any, kind: type[Task]) -> None:
    """Raise InputError for a setting that a training from Python does not have."""
    section, dot, _ = name.partition(".")
    if section in {*Settings.model_fields} - {*SECTIONS} - SINGLE:
        raise InputError(f"{name}: {kind.__name__}.fit does not have this setting: leave it out")
    if name == "task.name":
        raise InputError(f"{name}: {kind.__name__}.fit trains {kind.task_name}: leave it out")
    if section in SECTIONS and not dot:
        raise InputError(f"{name}={value!r}: a dict is needed, {name}={{'NAME': value}}")
    if section in Settings.model_fields:
        return
    known = [*names(), *(f"task.{option}" for option in option_names(kind.config_class))]
    for owner in CLASSES:
        known += [f"{owner.section}.{option}" for option in option_names(owner)]
    found = next((each for each in known if each.rpartition(".")[2] == name), "")
    section, _, key = found.rpartition(".")
    cure = f"; did you mean {section}={{{key!r}: …}}?" if section else did_you_mean(name, known)
    raise InputError(f"{name}: no such setting{cure}")


def _command(kind: type[Task], given: Mapping[str, Any]) -> str:
    """Return the call as the model card shows it, without the rows."""
    names = [name for name in given if name.isidentifier()]
    rest = {name: given[name] for name in given if name not in names}
    shown = ["…", *(f"{name}={given[name]!r}" for name in names)]
    shown += [f"**{rest!r}"] if rest else []
    return f"zoo.{kind.__name__}.fit({', '.join(shown)})"


def _interrupted(kind: type[Task], settings: Settings) -> str:
    """Return what to do after an interruption."""
    folder = settings.resume or settings.out
    if folder is None:
        return "interrupted; nothing is kept without out=DIR"
    return f"interrupted; go on with {kind.__name__}.fit(…, resume={folder!r})"


def _log_result(report: Mapping[str, Any], kind: type[Task]) -> None:
    """Log the main figure of the test rows, its interval and the baseline's, and which wins."""
    name, baseline = report["metric"], report["baseline"] or {}
    if name not in report["test"]:
        return
    found = report["intervals"].get(name)
    interval: str = ""
    if found:
        interval = _(" (95 % interval {low:.4f}–{high:.4f})", low=found["low"], high=found["high"])
    beside = ""
    if name in baseline:
        beside = f"; {baseline['method']}: {baseline[name]:.4f}"
    log.info(
        _(
            "{rows:,} test rows: {name} {value:.4f}{interval}{beside}",
            rows=report["rows"]["test"],
            name=name,
            value=report["test"][name],
            interval=interval,
            beside=beside,
        )
    )
    for line in advice.verdict(report, kind._advise(report)):
        log.info(line)
