"""The progress of a training: the bar's numbers and the line after an epoch."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import re
import subprocess
import sys
import time

import pytest
from conftest import ROOT, fails, lines, same, train
from rich.cells import cell_len

from zoo.messages import NAMES, translated
from zoo.training.progress import Bar, Heartbeat, Progress


def test_the_bar_counts_rows_of_all_epochs_and_averages_the_loss():
    with Bar(epochs=4, rows=100) as bar:
        bar.update(Progress(epoch=2, rows=50, loss=30.0, size=20, seconds=2.0, tokens=5000))
        (shown,) = bar.bar.tasks
    assert (shown.completed, shown.total) == (250, 400)
    assert shown.description == "epoch 3/4"
    assert shown.fields["loss"] == 1.5
    assert shown.fields["speed"] == 2.5  # thousand tokens per second


def test_the_bar_divides_by_nothing_before_the_first_batch():
    with Bar(epochs=1, rows=10) as bar:
        bar.update(Progress())
        (shown,) = bar.bar.tasks
    assert (shown.completed, shown.fields["loss"], shown.fields["speed"]) == (0, 0.0, 0.0)


@pytest.mark.parametrize("best", [False, True])
def test_an_epoch_is_one_line_of_a_terminal(caplog, monkeypatch, best):
    entry = {"epoch": 2, "loss": 0.5, "seconds": 3.6, "tokens_per_second": 12340}
    entry["valid"] = {"accuracy": 0.875, "loss": 0.25}
    with caplog.at_level(logging.INFO, "zoo"):
        Bar(epochs=3, rows=10).epoch(entry, "accuracy", best)
    line = "epoch 2/3  loss 0.5000  valid accuracy 0.8750, loss 0.2500  4 s"
    assert caplog.messages == [line + ("  best" if best else "")]
    monkeypatch.setenv("LC_ALL", "C.UTF-8")
    for name in NAMES:  # a terminal has 80 columns, of which a Japanese character takes two
        monkeypatch.setenv("LANGUAGE", name)
        assert cell_len(translated(caplog.records[0].msg)) <= 80 - len("2 100 s")


def test_a_task_without_a_loss_shows_its_metric_alone(caplog):
    entry = {"epoch": 1, "loss": 1.0, "seconds": 1.0, "tokens_per_second": 1000}
    entry["valid"] = {"perplexity": 7.0}
    with caplog.at_level(logging.INFO, "zoo"):
        Bar(epochs=1, rows=10).epoch(entry, "perplexity", False)
    assert caplog.messages == ["epoch 1/1  loss 1.0000  valid perplexity 7.0000  1 s"]


DRAWN = """
import logging, sys, time
from zoo.training.progress import Bar, Progress
logging.basicConfig(format="%(message)s", level=logging.INFO, stream=sys.{stream})
entry = {{"epoch": 1, "loss": 0.5, "seconds": 123.0, "tokens_per_second": 123456}}
entry["valid"] = {{"accuracy": 0.875, "loss": 0.25}}
with Bar(epochs=100, rows=10) as bar:
    for batch in range(5):
        bar.update(Progress(epoch=98, batch=batch, rows=batch, loss=1.0, size=1, seconds=1.0, tokens=123456))
        time.sleep(0.15)
    bar.epoch(entry, "accuracy", True)
    time.sleep(0.15)
"""


def in_terminal(source: str, columns: int) -> str:
    """What a program writes to a terminal of so many columns."""
    pty = pytest.importorskip("pty")
    termios = pytest.importorskip("termios")
    main, side = pty.openpty()
    termios.tcsetwinsize(side, (30, columns))
    names = ("COLUMNS", "LINES", "NO_COLOR", "FORCE_COLOR")
    env = {name: value for name, value in os.environ.items() if name not in names}
    process = subprocess.Popen(
        [sys.executable, "-c", source],
        stdout=side,
        stderr=side,
        cwd=ROOT,
        env=env | {"TERM": "xterm", "PYTHONIOENCODING": "utf-8"},
    )
    os.close(side)
    written = b""
    with contextlib.suppress(OSError):  # the end of a terminal on Linux
        while part := os.read(main, 65536):
            written += part
    os.close(main)
    assert process.wait(timeout=60) == 0, written
    return written.decode()


def screen(written: str) -> list[str]:
    """The lines that a terminal shows in the end."""
    shown, row = [""], 0
    for part in re.findall(r"\x1b\[[0-9;?]*[a-zA-Z]|\r|\n|[^\x1b\r\n]+", written):
        if part == "\n":
            row += 1
            shown += [""] * (row == len(shown))
        elif part.endswith("A") and part.startswith("\x1b"):
            row -= int(part[2:-1])
        elif part == "\x1b[2K":
            shown[row] = ""
        elif part != "\r" and not part.startswith("\x1b"):
            shown[row] += part
    return shown


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
@pytest.mark.parametrize("columns", [80, 100])
def test_the_line_of_an_epoch_stands_above_the_bar(stream, columns):
    """Even if it is logged to a stream that was there before the bar."""
    written = in_terminal(DRAWN.format(stream=stream), columns)
    line = "epoch 1/100  loss 0.5000  valid accuracy 0.8750, loss 0.2500  123 s  best"
    assert " ".join(" ".join(screen(written)).split()) == " ".join(line.split())
    plain = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", written)
    bars = re.findall(r"epoch 99/100 [^\r\n]*", plain)
    assert len(bars) > 2
    assert max(map(len, bars)) <= columns
    assert all("loss 1.000 123.5 k tokens/s" in bar and "left" in bar for bar in bars[1:])


def test_a_handler_has_its_stream_back_after_the_bar(monkeypatch):
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stdout", stream)
    handler = logging.StreamHandler(stream)
    monkeypatch.setattr(logging.getLogger("zoo"), "handlers", [handler])
    with Bar(epochs=1, rows=1) as bar:
        monkeypatch.setattr(bar, "moved", [(handler, stream)])
        handler.setStream(sys.stderr)
    assert handler.stream is stream


def beats(caplog, seconds: float) -> list[str]:
    with caplog.at_level(logging.INFO, "zoo"), Heartbeat(silence=0.2) as heart:
        logging.getLogger("zoo").info("baseline …")
        time.sleep(seconds)
    assert not heart.thread.is_alive()
    assert heart not in logging.getLogger("zoo").handlers
    return caplog.messages


def test_a_silent_run_says_what_it_does(caplog):
    first, *more = beats(caplog, 1.0)
    assert first == "baseline …"
    assert 2 <= len(more) <= 5
    assert {*more} <= {"… baseline, 0 s", "… baseline, 1 s"}


def test_a_silent_run_says_how_far_it_is_unless_a_bar_is_drawn(caplog, monkeypatch):
    with Bar(epochs=4, rows=100) as bar:
        bar.update(Progress(epoch=2, rows=50, loss=30.0, size=20, seconds=2.0, tokens=5000))
        line = "… epoch 3/4: 62 % of the training, loss 1.500, 2.5 k tokens/s"
        assert {*beats(caplog, 0.5)[1:]} == {line}
        caplog.clear()
        monkeypatch.setattr(Bar, "drawn", True)
        assert beats(caplog, 0.5) == ["baseline …"]


def test_a_run_that_speaks_has_no_heartbeat(caplog):
    with caplog.at_level(logging.INFO, "zoo"), Heartbeat(silence=0.5):
        for number in range(10):
            logging.getLogger("zoo").info("line %d", number)
            time.sleep(0.1)
    assert caplog.messages == [f"line {number}" for number in range(10)]


def test_each_epoch_is_an_event_of_tensorboard(tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    entry = {"loss": 0.5, "seconds": 1.0, "tokens_per_second": 1000, "valid": {"accuracy": 0.75}}
    for epoch in (1, 2, 3, 2):  # the second one again, after a resume
        bar = Bar(epochs=3, rows=10, events=tmp_path)
        bar.epoch(entry | {"epoch": epoch, "loss": epoch / 2}, "accuracy", True)
    events = EventAccumulator(str(tmp_path)).Reload()
    assert {*events.Tags()["scalars"]} == {
        "train/loss",
        "train/tokens_per_second",
        "valid/accuracy",
    }
    assert [(e.step, e.value) for e in events.Scalars("train/loss")] == [(1, 0.5), (2, 1.0)]
    assert events.Scalars("valid/accuracy")[0].value == 0.75


def test_without_tensorboard_a_run_says_what_to_install(capsys, monkeypatch, tmp_path):
    monkeypatch.setattr("zoo.config.find_spec", lambda name: None)
    monkeypatch.chdir(tmp_path)
    line = "train.tensorboard=true needs the package tensorboard: pip install tensorboard"
    assert fails(capsys, "train.tensorboard=true") == line
    assert not [*tmp_path.iterdir()]


def test_a_training_writes_events_where_it_writes_its_metrics(tmp_path, monkeypatch):
    written = []
    monkeypatch.setattr(
        "zoo.training.progress.write_events", lambda entry, folder: written.append((entry, folder))
    )
    monkeypatch.setattr("zoo.config.find_spec", lambda name: name)
    train(tmp_path / "with", "train.tensorboard=true")
    assert [folder for _, folder in written] == [tmp_path / "with/tensorboard"] * 2
    assert [entry for entry, _ in written] == lines(tmp_path / "with/metrics.jsonl")
    train(tmp_path / "without")
    assert len(written) == 2
    assert same(tmp_path / "with", tmp_path / "without")
