"""What a training shows in a notebook; a real kernel's output is looked at by hand."""

from __future__ import annotations

import io
import logging
import sys
from types import SimpleNamespace

import pytest

from zoo.training.progress import Bar, Progress
from zoo.training.python import notebook

log = logging.getLogger("zoo")


class Display:
    """IPython.display with one output, that of a cell."""

    def __init__(self) -> None:
        self.shown: list[str] = []
        self.handles = 0

    def HTML(self, text):
        return text

    def display(self, html, display_id):
        assert display_id is True
        self.handles += 1
        self.shown.append(html)
        return SimpleNamespace(update=self.shown.append)


@pytest.fixture
def cell(monkeypatch):
    """The output of a cell of a notebook in which this process seems to run."""
    display = Display()
    shell = SimpleNamespace(kernel=None)
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: shell))
    monkeypatch.setitem(sys.modules, "IPython.display", display)
    monkeypatch.setattr(notebook, "PAUSE", 0.0)
    return display


@pytest.fixture
def bare(monkeypatch):
    """A program that has not set up logging."""
    root = logging.getLogger()
    monkeypatch.setattr(root, "level", logging.WARNING)
    log.manager._clear_cache()
    yield
    log.manager._clear_cache()


def training(steps: int) -> None:
    with Bar(epochs=2, rows=100) as bar:
        for number in range(steps):
            bar.update(
                Progress(epoch=1, rows=50 + number, loss=1.5, size=1, seconds=1, tokens=2000)
            )


def test_a_notebook_has_one_bar_that_is_removed_at_the_end(cell, bare):
    with notebook.shown() as visible:
        assert visible
        training(2)
    assert cell.handles == 1
    first, second, last = cell.shown
    assert '<progress value="0.7500" max="1"' in first
    assert "epoch 2/2: 75 % of the training, loss 1.500, 2.0 k tokens/s" in first
    assert '"0.7550"' in second
    assert last == ""


def test_the_bar_is_redrawn_a_few_times_a_second_at_most(cell, bare, monkeypatch):
    monkeypatch.setattr(notebook, "PAUSE", 60.0)
    with notebook.shown():
        training(20)
    assert len(cell.shown) == 2


def test_a_silent_log_has_no_bar(cell, bare):
    training(2)
    assert cell.shown == []


def test_without_a_notebook_there_is_no_bar(monkeypatch):
    monkeypatch.delitem(sys.modules, "IPython", raising=False)
    with logging_at(logging.INFO):
        training(2)
    shell = SimpleNamespace()  # IPython in a terminal has no kernel
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: shell))
    assert not notebook.in_notebook()


class logging_at:
    """The level of the zoo's log for a while."""

    def __init__(self, level: int) -> None:
        self.level = level

    def __enter__(self):
        log.setLevel(self.level)

    def __exit__(self, *error):
        log.setLevel(logging.NOTSET)


def test_a_notebook_shows_the_log_and_afterwards_all_is_as_before(cell, bare, capsys):
    with notebook.shown() as visible:
        log.info("epoch 1/2")
    log.info("nobody asked")
    assert visible
    assert capsys.readouterr().out == "epoch 1/2\n"
    assert (log.level, log.handlers, log.propagate) == (logging.NOTSET, [], True)


def test_it_is_as_before_after_an_error_too(cell, bare):
    with pytest.raises(ValueError, match="planted"), notebook.shown():
        raise ValueError("planted")
    assert (log.level, log.handlers, log.propagate) == (logging.NOTSET, [], True)


def test_a_level_that_a_program_has_set_stays(cell, bare, capsys):
    with logging_at(logging.WARNING), notebook.shown() as visible:
        log.info("epoch 1/2")
        assert log.level == logging.WARNING
    assert not visible
    assert capsys.readouterr().out == ""


def test_a_terminal_shows_the_log_unless_the_program_has_handlers(bare, monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setattr(logging.getLogger(), "handlers", [])  # those of pytest
    with notebook.shown():
        log.info("epoch 1/2")
    logging.getLogger().addHandler(logging.NullHandler())
    with notebook.shown() as visible:
        log.info("epoch 2/2")
    assert not visible
    assert screen.getvalue() == "epoch 1/2\n"
