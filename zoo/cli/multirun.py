"""`-m`: one training after the other for each combination of values, and a table of their results."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from zoo.config import Settings, values_of
from zoo.errors import InputError
from zoo.files.output import is_terminal
from zoo.files.run_folder import create_next, remove_empty
from zoo.messages import _, translated


@dataclass(frozen=True)
class Outcome:
    """The result of one training of several."""

    changed: list[str]  # its own values of the settings that have several
    task: str
    folder: Path
    status: int | None  # the exit status; None when it was not started
    report: dict[str, Any] | None  # None when it failed


def combinations(arguments: Sequence[str]) -> list[list[str]]:
    """Return the command line of each run: all combinations of the values that are given."""
    return [[*words] for words in product(*map(values_of, arguments))]


def train_each(runs: Sequence[list[str]], settings: Sequence[Settings]) -> list[Outcome]:
    """Train each command line in a process of its own, one after the other.

    `settings` are their checked settings. Run N writes into the folder N of `out=`; without that,
    of the next free one under runs/. A run that fails ends no other; Ctrl-C ends all. Raises
    InputError for a mode other than training, and for a run that is resumed.
    """
    first = settings[0]
    wrong = next((s.mode for s in settings if s.mode != "train"), None)
    if wrong is not None:
        raise InputError(f"--multirun trains: mode={wrong} runs without it")
    if first.resume is not None:
        raise InputError("--multirun begins trainings: resume=DIR goes on with one, without it")
    made: list[Path] = []
    if first.out is not None:
        folder = Path(first.out)
    else:
        made = create_next(f"runs/{first.task['name']}-{first.data['name']}-multirun")
        folder = made[0]
    changed = _changed(runs)
    outcomes: list[Outcome] = []
    stopped = False
    for number, (words, own) in enumerate(zip(runs, settings, strict=True), 1):
        place = folder / str(number)
        status: int | None = None
        if not stopped:
            shown = shlex.join(changed[number - 1])
            said = _("run {number} of {runs}: {words}", number=number, runs=len(runs), words=shown)
            print(translated(said), flush=True)
            given = [word for word in words if not word.startswith("out=")]
            status, stopped = _train([*given, f"out={place}"])
        report = _report(place) if status == 0 else None
        outcomes.append(Outcome(changed[number - 1], own.task["name"], place, status, report))
    remove_empty(made)  # no run came so far as to leave a file
    return outcomes


def _changed(runs: Sequence[list[str]]) -> list[list[str]]:
    """Return of each run the words that differ between runs."""
    differ = [len({*column}) > 1 for column in zip(*runs, strict=True)]
    return [[word for word, one in zip(words, differ, strict=True) if one] for words in runs]


def _train(words: list[str]) -> tuple[int, bool]:
    """Train in a process of its own. Return its exit status, and whether Ctrl-C was pressed.

    Ctrl-C reaches that process too, which saves its state.
    """
    process = subprocess.Popen([sys.executable, "-m", "zoo.run", *words])
    stopped = False
    while True:
        try:
            return process.wait(), stopped
        except KeyboardInterrupt:
            stopped = True


def _report(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "report.json").read_text("utf-8"))


def print_table(outcomes: Sequence[Outcome]) -> None:
    """Print what each run reached, by the main metric of its task."""
    wide = None if is_terminal() else 1000  # a pipe has no width: keep lines whole
    console = Console(highlight=False, soft_wrap=True, width=wide)
    table = Table(title=translated(_("{runs} runs", runs=len(outcomes))))
    numbers = _("valid"), _("test"), _("baseline"), _("seconds")
    table.add_column(translated(_("run")))
    for heading in numbers:
        table.add_column(translated(heading), justify="right")
    table.add_column(translated(_("folder")))
    for outcome in outcomes:
        name = " ".join(outcome.changed) or outcome.task
        cells = _cells(outcome)
        table.add_row(escape(name), *cells, _where(outcome.folder))
    console.print(table)
    failed = [outcome for outcome in outcomes if outcome.report is None]
    if failed:
        counts = {"failed": len(failed), "runs": len(outcomes)}
        console.print(
            translated(_("{failed} of {runs} runs have no result", **counts)), markup=False
        )


def _where(folder: Path) -> str:
    """Return the folder of a run as the table shows it: nothing for one that the run did not make."""
    return escape(str(folder)) if folder.exists() else ""


def _cells(outcome: Outcome) -> list[str]:
    """Return the figures of a run: validation, test, baseline, seconds."""
    if outcome.report is None:
        ended = _("not started") if outcome.status is None else _("failed")
        return [translated(ended), "", "", ""]
    report = outcome.report
    metric = report["metric"]
    parts = [report["valid"], report["test"], report["baseline"] or {}]
    shown = [f"{metric} {part[metric]:.4f}" if metric in part else "" for part in parts]
    return [*shown, f"{report['train_seconds']:.0f}"]
