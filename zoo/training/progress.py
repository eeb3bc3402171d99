"""The progress of a training: its bar on a terminal, its lines in a pipe, its TensorBoard events."""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, TextIO

from rich.console import Console
from rich.progress import (
    BarColumn,
    ProgressColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as RichProgress
from rich.table import Column
from rich.text import Text

from zoo.files.output import is_terminal
from zoo.messages import _, text_of, translated
from zoo.training.python.notebook import NotebookBar

LONGEST_SILENCE = 8.0  # seconds without a line, until a line says what is being done
BESIDE_THE_BAR = 64  # columns of what stands beside the bar

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


class FigureColumn(ProgressColumn):
    """A column of the bar: a message made of the fields of its task."""

    def __init__(self, say: Callable[[dict[str, Any]], str], column: Column) -> None:
        super().__init__(column)
        self.say = say

    def render(self, task: Task) -> Text:
        """Return what the column shows."""
        return Text(translated(self.say(task.fields)))


def _loss(fields: dict[str, Any]) -> str:
    return _("loss {loss:.3f}", loss=fields["loss"])


def _speed(fields: dict[str, Any]) -> str:
    return _("{speed:.1f} k tokens/s", speed=fields["speed"])


class Bar:
    """One progress bar for all epochs, on a terminal or in a notebook that shows the log.

    Lines that are logged while it is drawn stand above it. With `events` each epoch is also
    written into that folder for TensorBoard.
    """

    running: ClassVar[Bar | None] = None

    def __init__(
        self, epochs: int, rows: int, main: bool = True, events: Path | None = None
    ) -> None:
        self.epochs, self.rows = epochs, rows
        self.events = events if main else None
        console = Console(file=sys.stdout)
        whole = Column(no_wrap=True)
        self.bar = RichProgress(
            TextColumn("{task.description}", table_column=whole),
            BarColumn(bar_width=max(4, min(40, console.width - BESIDE_THE_BAR))),
            FigureColumn(_loss, whole),
            FigureColumn(_speed, whole),
            TimeElapsedColumn(table_column=whole),
            TextColumn(translated(_("left")), table_column=whole),
            TimeRemainingColumn(elapsed_when_finished=False, table_column=whole),
            console=console,
            transient=True,
            disable=not (main and is_terminal()),
        )
        self.cell = NotebookBar() if main else None
        self.moved: list[tuple[logging.StreamHandler[TextIO], TextIO]] = []
        first = translated(_("epoch {epoch}", epoch=1))
        self.id = self.bar.add_task(first, total=epochs * rows, loss=0.0, speed=0.0)

    def __enter__(self) -> Bar:
        streams = sys.stdout, sys.stderr
        self.bar.start()
        Bar.running = self
        for handler in _stream_handlers():  # rich has replaced the streams: lines go above the bar
            for before, now in zip(streams, (sys.stdout, sys.stderr), strict=True):
                if handler.stream is before and now is not before:
                    self.moved.append((handler, before))
                    handler.setStream(now)
        return self

    def __exit__(self, *error: object) -> None:
        Bar.running = None
        for handler, stream in self.moved:
            handler.setStream(stream)
        self.moved.clear()
        self.bar.stop()
        if self.cell is not None:
            self.cell.close()

    @property
    def drawn(self) -> bool:
        """Whether the bar is drawn, on a terminal or in a notebook."""
        return not self.bar.disable or (self.cell is not None and self.cell.is_drawn)

    def __str__(self) -> str:
        (task,) = self.bar.tasks
        share = 100 * task.completed / max(task.total or 0, 1)
        said = _(
            "{epoch}: {share:.0f} % of the training, {loss}, {speed}",
            epoch=task.description,
            share=share,
            loss=_loss(task.fields),
            speed=_speed(task.fields),
        )
        return translated(said)

    def update(self, progress: Progress) -> None:
        """Update the bar after a batch."""
        self.bar.update(
            self.id,
            completed=progress.epoch * self.rows + progress.rows,
            description=translated(
                _("epoch {epoch}/{epochs}", epoch=progress.epoch + 1, epochs=self.epochs)
            ),
            loss=progress.loss / max(progress.size, 1),
            speed=progress.tokens / max(progress.seconds, 1e-9) / 1000,
        )
        if self.cell is not None:
            share = self.bar.tasks[0].completed / max(self.bar.tasks[0].total or 0, 1)
            self.cell.update(share, str(self))

    def epoch(self, entry: dict[str, Any], metric: str, best: bool) -> None:
        """Log one line after an epoch, and write its events."""
        if self.events is not None:
            write_events(entry, self.events)
        valid = entry["valid"]
        log.info(
            _(
                "epoch {epoch}/{epochs}  loss {loss:.4f}  valid {metric} {value:.4f}{others}  "
                "{seconds:.0f} s{best}",
                epoch=entry["epoch"],
                epochs=self.epochs,
                loss=entry["loss"],
                metric=metric,
                value=valid[metric],
                others=_(", loss {loss:.4f}", loss=valid["loss"]) if "loss" in valid else "",
                seconds=entry["seconds"],
                best=_("  best") if best else "",
            )
        )


def _stream_handlers() -> Iterator[logging.StreamHandler[TextIO]]:
    """Yield the handlers that print what this package logs."""
    for handler in [*log.handlers, *logging.getLogger().handlers]:
        if isinstance(handler, logging.StreamHandler):
            yield handler


def write_events(entry: dict[str, Any], folder: Path) -> None:
    """Append the figures of one epoch to the TensorBoard events in `folder`.

    Earlier events of this epoch and later ones, of a run that was resumed, are no longer shown.
    """
    from torch.utils.tensorboard import SummaryWriter  # the package tensorboard may be missing

    epoch = entry["epoch"]
    with SummaryWriter(str(folder), purge_step=epoch, filename_suffix=f".{epoch}") as writer:
        writer.add_scalar("train/loss", entry["loss"], epoch)
        writer.add_scalar("train/tokens_per_second", entry["tokens_per_second"], epoch)
        for name, value in entry["valid"].items():
            writer.add_scalar(f"valid/{name}", value, epoch)


class Heartbeat(logging.Handler):
    """A line about every ten seconds that says what a run is doing, when nothing else is logged.

    A logged line that ends with "…" says what begins; it is repeated with the seconds since then.
    A progress bar that is drawn needs no such lines.
    """

    def __init__(self, silence: float = LONGEST_SILENCE) -> None:
        super().__init__()
        self.silence = silence
        self.doing = ""
        self.began = self.spoke = time.monotonic()
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Heartbeat:
        log.addHandler(self)
        self.thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.ended.set()
        self.thread.join()
        log.removeHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        """Note what a line says, and when."""
        self.spoke = time.monotonic()
        message = text_of(record)
        if message.endswith("…"):
            self.doing = message.removesuffix("…").strip()
            self.began = self.spoke

    def _watch(self) -> None:
        while not self.ended.wait(self.silence / 16):
            if time.monotonic() - self.spoke >= self.silence:
                self._speak()

    def _speak(self) -> None:
        bar = Bar.running
        if bar is not None and bar.drawn:
            return
        if bar is not None:
            log.info("… %s", bar)
        else:
            seconds = time.monotonic() - self.began
            doing = self.doing or _("at work")
            log.info(_("… {doing}, {seconds:.0f} s", doing=doing, seconds=seconds))
