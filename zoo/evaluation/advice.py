"""What to try next where the baseline is ahead of the model by more than noise."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Any

from zoo.messages import Message, _

MARGIN = 0.01  # of the metric: the noise where it has no interval
HIGHER_IS_BETTER = "accuracy", "f1", "bleu"
COMPARED = *HIGHER_IS_BETTER, "mae"  # metrics of baselines, besides the main one
FEW_ROWS = 5_000
FEW_UPDATES = 1_000
MANY_CUT = 0.1  # share of the texts


def verdict(report: Mapping[str, Any], likely: Iterable[tuple[str, str]]) -> list[str]:
    """Return the lines that a run prints when its baseline wins, none when it does not.

    `likely` are settings and why each may help, the likeliest first: those that the task advises.
    """
    if not baseline_wins(report):
        return []
    name = _compared(report)
    own, other = report["test"][name], report["baseline"][name]
    line = _(
        "the baseline is ahead: {name} {other:.4f}, the LSTM {own:.4f}, by more than noise. "
        "Most likely to help:",
        name=name,
        other=other,
        own=own,
    )
    two = islice(likely, 2)
    return [line, *(Message("  {setting}: {why}", {"setting": a, "why": b}) for a, b in two)]


def baseline_wins(report: Mapping[str, Any]) -> bool:
    """Return whether the baseline lies on the better side of the 95 % interval of the model."""
    name = _compared(report)
    if name is None:
        return False
    own, other = report["test"][name], report["baseline"][name]
    noise = MARGIN * abs(own)
    interval = (report.get("intervals") or {}).get(name, {"low": own - noise, "high": own + noise})
    lower = name not in HIGHER_IS_BETTER and report.get("lower_is_better", False)
    return bool(other < interval["low"] if lower else other > interval["high"])


def _compared(report: Mapping[str, Any]) -> str | None:
    """Return the metric by which the two are compared, None if they share none."""
    baseline, own = report.get("baseline") or {}, report.get("test") or {}
    first = report.get("metric")
    return next((name for name in (first, *COMPARED) if name in own and name in baseline), None)


def options(report: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the settings of the task that a run was given."""
    return (report.get("settings") or {}).get("task") or {}


def general(
    report: Mapping[str, Any], own: Iterable[tuple[str, str]] = (), longest: int | None = None
) -> Iterator[tuple[str, str]]:
    """Yield settings and why each may help any task, the likeliest first.

    `own` are those of one task. `longest` is the default of its `max_length`, if it cuts texts.
    """
    settings, rows = report.get("settings") or {}, report["rows"]
    tokenizer, train = settings.get("tokenizer") or {}, settings.get("train") or {}
    backbone = settings.get("backbone") or {}
    few = rows.get("train", FEW_ROWS)
    kind = tokenizer.get("kind", "")
    epochs = train.get("epochs", 1)
    texts = report.get("reads_text", True)
    if (
        texts
        and settings.get("init") is None
        and kind in ("words", "whitespace")
        and few < FEW_ROWS
    ):
        yield (
            "tokenizer.kind=subwords tokenizer.size=800",
            _("{rows:,} rows are few to learn whole words from", rows=few),
        )
    cut = (report.get("cut") or {}).get("train", 0)
    if longest is not None and cut > MANY_CUT * few:
        longer = 2 * int(options(report).get("max_length", longest))
        why = _("{cut:,} of {rows:,} texts are cut", cut=cut, rows=few)
        yield f"task.max_length={longer}", why
    if report.get("best_epoch") == report.get("epochs") == epochs:
        why = _("the last epoch was the best: it was still learning")
        yield f"train.epochs={3 * epochs}", why
    batch = train.get("batch_rows", 64)
    updates = epochs * few // max(1, batch)
    if updates < FEW_UPDATES and batch > 8:
        why = _("there were only about {updates:,} updates of the weights", updates=updates)
        yield "train.batch_rows=8", why
    yield from own
    size = int(backbone.get("hidden_size", 128))
    yield f"backbone.hidden_size={2 * size}", _("a larger model")
    yield f"train.epochs={3 * epochs} train.patience=0", _("a longer training")
