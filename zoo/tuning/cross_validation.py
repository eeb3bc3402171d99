"""`folds=K`: stratified k-fold cross-validation, with the baseline beside each fold.

The folds are made of the training rows, and of the validation rows where these are held out of the
training file. Test rows are not read: they stay for the one score at the very end. No model is
kept, as each fold's model has seen a part of the rows only.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zoo.config import Settings
from zoo.data.corpora import Splits
from zoo.errors import InputError
from zoo.files import write_text
from zoo.files.run_folder import FOLDS
from zoo.messages import _, message_of
from zoo.training.defaults import from_data
from zoo.training.loop import Stopped
from zoo.training.options import Options, options_of
from zoo.training.pipeline import claim, run_baseline
from zoo.training.pipeline import run as training
from zoo.training.rows import open_rows
from zoo.training.state import host_kept
from zoo.tuning import folds, trial
from zoo.tuning.tables import Table

log = logging.getLogger("zoo")

OTHERS = 2  # metrics in the table, beside the main one


@dataclass(frozen=True)
class Fold:
    """What one fold gave."""

    rows: int  # that were scored
    metric: str  # that chose the best epoch
    metrics: dict[str, float]
    baseline: dict[str, Any]  # empty without one
    seconds: float


def run(settings: Settings, command: str) -> tuple[Path, dict[str, Any]]:
    """Train and score once for each fold; returns the folder and what `folds.json` holds.

    Raises InputError for tasks whose rows cannot be divided, and when interrupted.
    """
    with ExitStack() as lock:
        folder, report = scored(settings, command, lock)
    log.info(
        _(
            "saved in {folder}: {file}. No model is kept: train one without folds=…",
            folder=folder,
            file=FOLDS,
        )
    )
    return folder, report


@host_kept()
def run_and_train(
    settings: Settings, command: str, began: float, corpus: Splits | None = None
) -> tuple[Path, dict[str, Any]]:
    """Score each fold as `run` does, then train on all training rows; what a program asks for.

    Returns the folder and the report of the training, with the folds' figures in `folds`. `corpus`
    holds rows in memory. Raises InputError as `run` and a training do, and Stopped when interrupted.
    """
    with ExitStack() as lock:
        folder, figures = scored(settings, command, lock, corpus)
        one = settings.model_copy(update={"folds": 0})
        place, report = training(one, command, began, corpus, claimed=folder)
    return place, report | {"folds": figures}


def scored(
    settings: Settings, command: str, lock: ExitStack, corpus: Splits | None = None
) -> tuple[Path, dict[str, Any]]:
    """Train and score once for each fold; returns the folder, which `lock` holds, and the figures.

    The figures stand in `folds.json`, too. Raises InputError as `run` does.
    """
    trial.refuse_several_processes("folds")
    options = options_of(settings)
    kind = options.kind
    if not kind.text_columns or kind.text_columns == kind.target_columns:
        raise InputError(
            f"folds={settings.folds}: {kind.task_name} reads one long series, which has no rows to "
            "divide: leave it out"
        )
    splits = open_rows(settings, kind, corpus)
    splits = Splits(splits.train, splits.valid, folds.unread(splits.test.name))
    settings, options = from_data(settings, options, splits)
    done: list[Fold] = []
    folder = claim(settings, lock)
    try:
        for fold in _each(settings, options, splits):
            done.append(fold)
    except (KeyboardInterrupt, Stopped):
        raise InputError(
            f"interrupted after {len(done)} of {settings.folds} folds: start it again"
        ) from None
    report = _report(done) | {"task": kind.task_name, "data": settings.data["name"]}
    write_text(folder / FOLDS, json.dumps(report | {"command": command}, indent=1) + "\n")
    table = _table(report)
    log.info("%s", table.shown())
    return folder, report | {"table": table.kept()}


def _each(settings: Settings, options: Options, splits: Splits) -> Iterator[Fold]:
    """Train and score one fold after the other."""
    kind = options.kind
    rows = folds.pool(splits, settings)
    folds.say_rare(rows, kind, settings.folds)
    said = _("{rows:,} rows in {folds} folds", rows=len(rows), folds=settings.folds)
    log.info(_("{what}; no test row is read", what=said))
    parts = folds.stratified(rows, kind, settings.folds, settings.seed)
    for number, (outside, inside) in enumerate(parts, 1):
        log.info(_("fold {number} of {folds} …", number=number, folds=settings.folds))
        began = time.monotonic()
        with trial.quiet():
            own = folds.with_valid(outside, inside, splits, settings, kind.input_columns[0])
        found = trial.train(settings, options, own)
        metrics = trial.test(found, settings, options, inside)
        seconds = round(time.monotonic() - began, 2)
        asked = settings.baseline and kind.baseline is not None
        baseline = _baseline(found, own) if asked else {}
        fold = Fold(len(inside), found.metric, metrics, baseline, seconds)
        log.info(_line(number, fold))
        yield fold


def _report(done: list[Fold]) -> dict[str, Any]:
    """Return the figures of all folds, and a summary of the metrics that all of them have."""
    names = [n for n in done[0].metrics if all(n in fold.metrics for fold in done)]
    return {
        "metric": done[0].metric,
        "folds": [vars(fold) for fold in done],
        "summary": {name: folds.describe(fold.metrics[name] for fold in done) for name in names},
    }


def _baseline(found: trial.Trial, splits: Splits) -> dict[str, Any]:
    """Return what the baseline reaches on a fold; nothing, with a line, if it fails."""
    try:
        with trial.quiet():
            return run_baseline(found.task, splits, found.rows, found.progress.seconds)
    except ValueError as error:
        log.info(_("no baseline: {error}", error=message_of(error)))
        return {}


def _line(number: int, fold: Fold) -> str:
    metric = fold.metric
    beside: str = ""
    if metric in fold.baseline:
        beside = _(", baseline {value:.4f}", value=fold.baseline[metric])
    return _(
        "fold {number}: {rows} rows, {metric} {value:.4f}{beside}",
        number=number,
        rows=fold.rows,
        metric=metric,
        value=fold.metrics[metric],
        beside=beside,
    )


def _table(report: dict[str, Any]) -> Table:
    """Return the figures of all folds as a table, with mean, standard deviation and range."""
    done, metric = report["folds"], report["metric"]
    columns = {metric: [fold["metrics"][metric] for fold in done]}
    if all(metric in fold["baseline"] for fold in done):
        columns[_("baseline")] = [fold["baseline"][metric] for fold in done]
    others = [name for name in report["summary"] if name != metric][:OTHERS]
    columns |= {name: [fold["metrics"][name] for fold in done] for name in others}
    lines: list[list[str]] = []
    for number, fold in enumerate(done):
        figures = [f"{column[number]:.4f}" for column in columns.values()]
        lines.append([str(number + 1), f"{fold['rows']:,}", *figures, f"{fold['seconds']:.0f}"])
    spreads = [folds.describe(column) for column in columns.values()]
    total = sum(fold["seconds"] for fold in done)
    in_all = _("{seconds:.0f} in all", seconds=total)
    lines.append([_("mean"), "", *[f"{each['mean']:.4f}" for each in spreads], in_all])
    lines.append([_("deviation"), "", *[f"{each['deviation']:.4f}" for each in spreads], ""])
    ranges = [f"{each['least']:.3f}–{each['greatest']:.3f}" for each in spreads]
    lines.append([_("range"), "", *ranges, ""])
    title = _(
        "{task} on {data}, {folds} folds",
        task=report["task"],
        data=report["data"],
        folds=len(done),
    )
    names = [_("fold"), _("rows"), *columns, _("seconds")]
    return Table(title, names, lines, bold=len(done))
