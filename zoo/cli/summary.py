"""The summary that `python -m zoo.run` prints at its end."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table

from zoo.cli import explain, tagged_text
from zoo.data.batch import Batch
from zoo.evaluation import advice
from zoo.messages import _, translated
from zoo.task import ONE_TEXT, Task

MISTAKES = 3  # mistakes of the report that are printed
COMMON = 30  # labels whose scores are printed; the rarest of more share a line
LONGEST_LABEL = 40  # columns of a label in their table
FEW = 8  # labels whose confusions are printed as a table


def training(
    folder: Path, report: dict[str, Any], kind: type[Task], file: str | None = None
) -> None:
    """Print the metrics beside the baseline's, the most confident mistakes, and next commands.

    `file` says where a task from outside is defined.
    """
    console = Console(highlight=False, soft_wrap=True)
    baseline = report["baseline"] or {}
    _figures(console, report)
    for line in advice.verdict(report, kind._advise(report)):
        _print(console, line)
    if baseline and baseline["rows"] < report["rows"]["train"]:
        rows = baseline["rows"]
        _print(console, _("(the baseline learned from the first {rows:,} rows)", rows=rows))
    if "confusion" in report:
        _confusion(console, **report["confusion"])
    for mistake in report.get("mistakes", [])[:MISTAKES]:
        text = " ".join(mistake["text"].split())[:80]
        line = _(
            "  {answer}, {share:.0%} sure, is {label}: {text}",
            answer=mistake["answer"],
            share=mistake["probability"],
            label=mistake["label"],
            text=text,
        )
        _print(console, line)
    _scores_of_labels(console, report)
    for sentence in report.get("sentences", []):
        shown = tagged_text.coloured(
            sentence["words"],
            sentence["labels"],
            sorted({*report["confusion"]["labels"], *sentence["labels"]}),
        )
        console.print("  ", shown if console.is_terminal else sentence["shown"], markup=False)
    for example in report.get("examples", []):
        for name, text in example.items():
            console.print(f"  {name + ':':<8} {' '.join(text.split())[:120]}", markup=False)
    saved = _("saved in {folder}: model, report.json, metrics.jsonl, pictures", folder=folder)
    _print(console, saved)
    model = f"model={shlex.quote(str(folder))}"
    if file is not None:
        model += f" task={shlex.quote(file)}"
    given = report.get("predict", kind.predict_example)
    command = f"python -m zoo.run mode=predict {model} {given}"
    _print(console, _("next: {command}", command=command))
    if given == ONE_TEXT:
        _print(console, _("or:   {command}", command=f"python -m zoo.run mode=chat {model}"))


def evaluation(report: dict[str, Any]) -> None:
    """Print what was measured on which rows, beside the baseline."""
    console = Console(highlight=False, soft_wrap=True)
    _figures(console, report)
    _scores_of_labels(console, report)
    _print(console, _("rows: {place}", place=report["place"]))


def _print(console: Console, line: str) -> None:
    """Print a line in the user's language; nothing in it is markup."""
    console.print(translated(line), markup=False)


def _figures(console: Console, report: dict[str, Any]) -> None:
    """Print the table of metrics, their intervals and the baseline's."""
    rows = report["rows"]["test"]
    title = _(
        "{task} on {data}, {rows:,} test rows", task=report["task"], data=report["data"], rows=rows
    )
    table = Table(title=escape(translated(title)))
    table.add_column(translated(_("metric")))
    reads = _("LSTM, reads {reads}", reads=report["reads"])
    table.add_column(translated(reads), justify="right")
    intervals = report.get("intervals") or {}
    if intervals:
        table.add_column(translated(_("95 % interval")), justify="right")
    baseline = report["baseline"] or {}
    if baseline:
        table.add_column(baseline["method"], justify="right")
    for name, value in report["test"].items():
        row = [name, f"{value:.4f}"]
        if intervals:
            row.append(_interval(intervals.get(name)))
        if baseline:
            row.append(f"{baseline[name]:.4f}" if name in baseline else "")
        table.add_row(*row)
    if baseline and "train_seconds" in report:
        seconds = [
            translated(_("seconds")),
            f"{report['train_seconds']:.0f}",
            f"{baseline['seconds']:.0f}",
        ]
        table.add_row(*seconds[:2], *[""] * bool(intervals), seconds[2])
    console.print(table)
    methods = {each["method"]: name for name, each in intervals.items()}
    if methods:
        said = ", ".join(f"{method} ({_names(intervals, method)})" for method in methods)
        _print(console, _("intervals of few rows: {methods}", methods=said))
    if not baseline:
        why = [note for note in report.get("notes", []) if note.startswith("no baseline")]
        _print(console, f"({why[0]})" if why else _("(no baseline beside it)"))


def _interval(found: dict[str, Any] | None) -> str:
    """Return an interval as `0.70–0.94`, "" for none."""
    return "" if found is None else f"{found['low']:.4g}–{found['high']:.4g}"


def _names(intervals: dict[str, dict[str, Any]], method: str) -> str:
    """Return the metrics whose intervals were found by a method."""
    return ", ".join(name for name, each in intervals.items() if each["method"] == method)


def _scores_of_labels(console: Console, report: dict[str, Any]) -> None:
    """Print the scores of span types, else those of labels, if the report has either."""
    for name in ("per_span", "per_label"):
        if name in report:
            _per_label(console, report[name])
            return


def _per_label(console: Console, rows: list[dict[str, Any]]) -> None:
    """Print the scores of labels or span types, the most frequent first.

    The rarest of more than COMMON labels share one line with the mean of their scores.
    """
    shares = ["precision", "recall", "f1"]
    if any("threshold" in row for row in rows):
        shares.append("threshold")
    label = Column(
        translated(_("label")), max_width=LONGEST_LABEL, no_wrap=True, overflow="ellipsis"
    )
    table = Table(label, *(Column(name, justify="right") for name in (*shares, "count")))
    ordered = sorted(rows, key=lambda row: -row["count"])
    shown = len(ordered) if len(ordered) <= COMMON else COMMON - 1
    for row in ordered[:shown]:
        figures = (f"{row[name]:.3f}" for name in shares)
        table.add_row(escape(row["label"]), *figures, f"{row['count']:,}")
    if rarer := ordered[shown:]:
        means = (f"{sum(row[name] for row in rarer) / len(rarer):.3f}" for name in shares)
        total = sum(row["count"] for row in rarer)
        mean = translated(_("{count:,} rarer labels, mean", count=len(rarer)))
        table.add_row(mean, *means, f"{total:,}")
    console.print(table)


def _confusion(console: Console, labels: list[str], counts: list[list[int]]) -> None:
    """Print the confusion matrix, or only the most frequent confusions if there are many labels."""
    if len(labels) <= FEW:
        truth, answers = translated(_("truth")), translated(_("answers"))
        table = Table(truth, *(escape(label) for label in labels), title=answers)
        for label, row in zip(labels, counts, strict=True):
            table.add_row(escape(label), *map(str, row))
        console.print(table)
        return
    wrong = [
        (count, translated(_confused(label, truth, count)))
        for truth, row in zip(labels, counts, strict=True)
        for label, count in zip(labels, row, strict=True)
        if label != truth and count
    ]
    commonest = sorted(wrong, key=lambda pair: -pair[0])[:FEW]
    if commonest:
        shown = "; ".join(text for _, text in commonest)
        _print(console, _("commonest confusions: {confusions}", confusions=shown))


def _confused(label: str, truth: str, count: int) -> str:
    """Return a confusion and its count in words."""
    times = _("once") if count == 1 else _("{count:,} times", count=count)
    return _("predicted {label}, was {truth}, {times}", label=label, truth=truth, times=times)


def explanation(task: Task, batch: Batch) -> None:
    """Print the tensors of a batch with their shapes, what the task reads and why, and the kernel."""
    console = Console(highlight=False, soft_wrap=True)
    table = Table(title=f"{task.name}: a batch of {len(batch)}")
    table.add_column("tensor")
    table.add_column("shape")
    table.add_column("what it is")
    for line in explain.shapes(task, batch):
        style = "bold" if line.name in (task.reads, f"read from {task.reads}") else None
        table.add_row(line.name, str(line.shape), line.meaning, style=style)
    console.print(table)
    whole = not console.is_terminal  # a terminal breaks lines between words
    console.print(explain.sentence(task), markup=False, soft_wrap=whole)
    console.print(str(explain.kernel(task, batch)), markup=False)
