"""The registry finds the classes of tasks, in the zoo's own folder only."""

import sys
import types

import pytest

from tasks.classify import Classify
from zoo import registry
from zoo.errors import InputError
from zoo.registry import find, find_saved
from zoo.shared_backbone import Multitask


@pytest.mark.parametrize(
    "name", ["", "nope", "../zoo", "Classify", "classify.py", "os", "__init__"]
)
def test_only_tasks_in_the_folder_are_found(name):
    with pytest.raises(InputError, match="no such task; there are: classify, generate, tag, tr"):
        find(name)


def test_a_task_is_the_class_named_after_its_file(tmp_path, monkeypatch):
    assert find("classify") is Classify
    (tmp_path / "two_words.py").write_text("class TwoWords:\n    pass\n")
    monkeypatch.setattr(registry, "FOLDER", tmp_path)
    monkeypatch.delitem(sys.modules, "tasks.two_words", raising=False)
    found = find("two_words")
    assert (found.__name__, found.__module__) == ("TwoWords", "tasks.two_words")
    assert find("two_words") is found  # its file is run once
    monkeypatch.delitem(sys.modules, "tasks.two_words")


def test_another_package_called_tasks_is_not_asked(monkeypatch):
    other = types.ModuleType("tasks")
    other.__path__ = []
    monkeypatch.setitem(sys.modules, "tasks", other)
    monkeypatch.delitem(sys.modules, "tasks.tag", raising=False)
    assert find("tag").__name__ == "Tag"


def test_a_model_of_several_tasks_is_found_only_in_a_folder():
    assert find_saved("multitask") is Multitask
    assert find_saved("classify") is Classify
    with pytest.raises(InputError, match="task=multitask: no such task"):
        find("multitask")
