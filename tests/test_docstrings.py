"""Every public name says what it takes and gives, and its example runs."""

from __future__ import annotations

import doctest
import inspect

import pytest
from every_task import TASKS

import zoo
from zoo import option_classes, registry

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


def public(module) -> list:
    """The classes and functions that a module defines."""
    found = [value for name, value in vars(module).items() if not name.startswith("_")]
    kinds = (inspect.isclass, inspect.isfunction)
    return [
        v for v in found if any(is_kind(v) for is_kind in kinds) and v.__module__ == module.__name__
    ]


OPTIONS = [*public(option_classes), *(registry.find(name).config_class for name in TASKS)]


@pytest.mark.parametrize("value", OPTIONS, ids=lambda value: value.__name__)
def test_the_example_of_an_option_class_runs(value, capsys):
    (test,) = FINDER.find(value, value.__name__, globs=dict(vars(inspect.getmodule(value))))
    assert test.examples, f"{value.__name__} has no example"
    runner = doctest.DocTestRunner(verbose=False, optionflags=RULES)
    runner.run(test)
    assert runner.failures == 0, capsys.readouterr().out


def test_the_constructor_of_the_lstm_is_described_by_us():
    text = zoo.LSTM.__init__.__doc__
    assert text is not None
    assert "described at the class" in text
    assert "Raises ValueError" in text
