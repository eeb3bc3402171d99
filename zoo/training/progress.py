"""The progress of a training, and its progress bar on a terminal."""

from __future__ import annotations

import logging
import sys
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as RichProgress

log = logging.getLogger("zoo")


@dataclass
class Progress:
    """The progress of a training; a checkpoint stores all of it."""

    epoch: int = 0  # epochs that are complete
    batch: int = 0  # batches of the running epoch that are complete
    rows: int = 0  # their rows, in all processes
    loss: float = 0.0  # sum of loss * size, in this process
    size: int = 0  # sum of size, in this process
    seconds: float = 0.0  # of training, earlier runs included
    tokens: int = 0  # of all epochs, in all processes
    history: list[dict[str, Any]] = field(default_factory=list)
    best: dict[str, Any] = field(default_factory=dict)  # epoch, value, weights


class Bar:
    """One progress bar for all epochs. It draws nothing when the output is not a terminal."""

    def __init__(self, epochs: int, rows: int, main: bool = True) -> None:
        self.epochs, self.rows = epochs, rows
        self.bar = RichProgress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("loss {task.fields[loss]:.3f}"),
            TextColumn("{task.fields[speed]:.1f} k tokens/s"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(elapsed_when_finished=False),
            console=Console(file=sys.stdout),
            transient=True,
            disable=not (main and sys.stdout.isatty()),
        )
        self.id = self.bar.add_task("epoch 1", total=epochs * rows, loss=0.0, speed=0.0)

    def __enter__(self) -> Bar:
        self.bar.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.bar.stop()

    def update(self, progress: Progress) -> None:
        """Update the bar after a batch."""
        self.bar.update(
            self.id,
            completed=progress.epoch * self.rows + progress.rows,
            description=f"epoch {progress.epoch + 1}/{self.epochs}",
            loss=progress.loss / max(progress.size, 1),
            speed=progress.tokens / max(progress.seconds, 1e-9) / 1000,
        )

    def epoch(self, entry: dict[str, Any], metric: str, best: bool) -> None:
        """Log one line after an epoch."""
        valid = entry["valid"]
        others = f", loss {valid['loss']:.4f}" if "loss" in valid else ""
        log.info(
            "epoch %d/%d  loss %.4f  valid %s %.4f%s  %.1f k tokens/s  %.0f s%s",
            entry["epoch"],
            self.epochs,
            entry["loss"],
            metric,
            valid[metric],
            others,
            entry["tokens_per_second"] / 1000,
            entry["seconds"],
            "  best" if best else "",
        )
