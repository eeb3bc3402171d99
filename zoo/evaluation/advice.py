"""What to try next where the baseline is ahead of the model by more than noise."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

MARGIN = 0.01  # of the metric: the noise where it has no interval
HIGHER_IS_BETTER = "accuracy", "f1", "bleu"
OF_FLOATS = "sequences", "digits"  # corpora without texts
FEW_ROWS = 5_000
FEW_UPDATES = 1_000
MANY_CUT = 0.1  # share of the texts


def verdict(report: Mapping[str, Any]) -> list[str]:
    """Return the lines that a run prints when its baseline wins, none when it does not."""
    if not baseline_wins(report):
        return []
    name = _compared(report)
    own, other = report["test"][name], report["baseline"][name]
    line = f"the baseline is ahead: {name} {other:.4f}, the LSTM {own:.4f}, by more than noise"
    likely = list(_candidates(report))[:2]
    return [f"{line}. Most likely to help:", *(f"  {setting}: {why}" for setting, why in likely)]


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
    names = [first, "mae"] if report.get("task") == "forecast" else [first, *HIGHER_IS_BETTER]
    return next((name for name in names if name in own and name in baseline), None)


def _of_forecast(report: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield settings of a forecast and why each may help."""
    task = (report.get("settings") or {}).get("task") or {}
    if task.get("residual", "linear") != "linear":
        yield "task.residual=linear", "the LSTM learns what the linear forecast leaves"
    yield f"task.input={2 * int(task.get('input', 96))}", "a longer past"
    yield "more series, or covariates that are known ahead (data.future=…)", "one series is little"


def _candidates(report: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield settings and why each may help, the most likely ones first."""
    if report["task"] == "forecast":
        yield from _of_forecast(report)
        return
    settings, rows = report.get("settings") or {}, report["rows"]
    tokenizer, train = settings.get("tokenizer") or {}, settings.get("train") or {}
    task, backbone = settings.get("task") or {}, settings.get("backbone") or {}
    few = rows.get("train", FEW_ROWS)
    kind = tokenizer.get("kind", "")
    epochs = train.get("epochs", 1)
    texts = report.get("data") not in OF_FLOATS
    if (
        texts
        and settings.get("init") is None
        and kind in ("words", "whitespace")
        and few < FEW_ROWS
    ):
        yield (
            "tokenizer.kind=subwords tokenizer.size=800",
            f"{few:,} rows are few to learn whole words from",
        )
    cut = (report.get("cut") or {}).get("train", 0)
    if report["task"] == "classify" and cut > MANY_CUT * few:
        longer = 2 * int(task.get("max_length", 400))
        yield f"task.max_length={longer}", f"{cut:,} of {few:,} texts are cut"
    if report.get("best_epoch") == report.get("epochs") == epochs:
        yield f"train.epochs={3 * epochs}", "the last epoch was the best: it was still learning"
    batch = train.get("batch_rows", 64)
    updates = epochs * few // max(1, batch)
    if updates < FEW_UPDATES and batch > 8:
        yield "train.batch_rows=8", f"there were only about {updates:,} updates of the weights"
    if report["task"] == "classify" and task.get("pool", "merged") == "merged":
        yield "task.pool=max", "single words decide, wherever in the text they stand"
    if report["task"] == "tag" and not task.get("crf"):
        yield "task.crf=true", "neighbouring labels depend on each other"
    if report["task"] == "translate" and kind != "characters":
        yield "tokenizer.kind=characters", "small corpora spell better than they know words"
    size = int(backbone.get("hidden_size", 128))
    yield f"backbone.hidden_size={2 * size}", "a larger model"
    yield f"train.epochs={3 * epochs} train.patience=0", "a longer training"
