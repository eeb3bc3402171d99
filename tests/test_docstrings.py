"""Every public name says what it takes and gives, and its example runs."""

from __future__ import annotations

import doctest
import inspect

import pytest

import zoo
from zoo import registry

FINDER = doctest.DocTestFinder(recurse=False)
RULES = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


@pytest.mark.parametrize("name", zoo.__all__)
def test_the_example_of_a_public_name_runs(name, monkeypatch, capsys):
    monkeypatch.setattr(registry, "_registered", {})  # `register` shows how one is added
    tests = FINDER.find(getattr(zoo, name), name, module=False, globs={})
    examples = [test for test in tests if test.examples]
    assert examples, f"zoo.{name} has no example"
    runner = doctest.DocTestRunner(verbose=False, optionflags=RULES)
    for test in examples:
        runner.run(test, clear_globs=True)
    assert runner.failures == 0, capsys.readouterr().out


@pytest.mark.parametrize("name", zoo.__all__)
def test_what_a_public_name_offers_is_described(name):
    """By us: a method of torch or of Python that we do not override has its own reference."""
    value = getattr(zoo, name)
    members = vars(value).items() if inspect.isclass(value) else ()
    methods = [
        (member, found.__func__ if isinstance(found, (classmethod, staticmethod)) else found)
        for member, found in members
        if not member.startswith("_")
    ]
    undescribed = [
        member
        for member, found in methods
        if (inspect.isfunction(found) or isinstance(found, property)) and not inspect.getdoc(found)
    ]
    assert not undescribed


def test_the_constructor_of_the_lstm_is_described_by_us():
    text = zoo.LSTM.__init__.__doc__
    assert text is not None
    assert "described at the class" in text
    assert "Raises ValueError" in text
