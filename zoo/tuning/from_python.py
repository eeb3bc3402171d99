"""`tune=SECONDS` and `folds=K` from Python: what `zoo.train` and `Classify.fit` do with them."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

from zoo.config import Settings
from zoo.data.corpora import Splits
from zoo.tuning import cross_validation, tune


def run(
    settings: Settings,
    command: str,
    began: float,
    corpus: Splits | None = None,
    changes: Collection[str] = (),
) -> tuple[Path, dict[str, Any]]:
    """Compare settings or score folds, then train; returns the folder and the training's report.

    The report holds `tuning` or `folds` as well. The arguments are those of a training. Raises
    InputError, and Stopped when interrupted.
    """
    if settings.folds:
        return cross_validation.run_and_train(settings, command, began, corpus)
    return tune.run(settings, command, began, changes, corpus)
