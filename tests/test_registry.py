"""The registry finds the classes of tasks, in the zoo's own folder only."""

import sys
import types

import pytest
from conftest import DATA, SMALL, fails

import zoo
from tasks.classify import Classify
from zoo import registry, run
from zoo.errors import InputError
from zoo.registry import find, find_saved
from zoo.shared_backbone import Multitask


@pytest.mark.parametrize(
    "name", ["", "nope", "../zoo", "Classify", "classify.py", "os", "__init__"]
)
def test_only_tasks_in_the_folder_are_found(name):
    with pytest.raises(
        InputError, match=r"no such task; there are: classify, .*generate, .*tag, .*tr"
    ):
        find(name)


def test_a_task_is_the_class_named_after_its_file(tmp_path, monkeypatch):
    assert find("classify") is Classify
    (tmp_path / "two_words.py").write_text("class TwoWords:\n    pass\n")
    monkeypatch.setattr(registry, "FOLDER", tmp_path)
    found = find("two_words")
    assert found.__name__ == "TwoWords"
    assert find("two_words") is found  # its file is run once
    monkeypatch.delitem(sys.modules, found.__module__)


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


OWN = """
from tasks.classify import Classify, ClassifyConfig
from zoo.option_classes import Count, checked_dataclass


@checked_dataclass
class MoodConfig(ClassifyConfig):
    horizon: Count = 12
    \"\"\"How far it looks.\"\"\"


class Mood(Classify):
    \"\"\"Tell the mood of a text.\"\"\"

    config_class = MoodConfig
"""


@pytest.fixture
def own(tmp_path, monkeypatch):
    """A file with a task of its own, which is forgotten after the test."""
    monkeypatch.setattr(registry, "_registered", {})
    path = tmp_path / "mine.py"
    path.write_text(OWN)
    return path


def test_a_task_in_a_file_trains_is_saved_loaded_and_answers(own, tmp_path, capsys, monkeypatch):
    out = tmp_path / "out"
    words = ["data=files", f"data.train={DATA}/classify.jsonl", *SMALL, f"out={out}"]
    assert run.main([f"task={own}", "task.horizon=3", *words]) == 0
    shown = capsys.readouterr().out
    assert f"next: python -m zoo.run mode=predict model={out} task={own} text=" in shown
    kind = registry.load_file(own)
    assert registry.find("mood") is kind  # its file is run once
    model = zoo.load(out)
    assert type(model) is kind
    assert model.config.horizon == 3
    question = ["mode=predict", f"model={out}", "text=Snow."]
    monkeypatch.setattr(registry, "_registered", {})
    assert "task=FILE.py" in fails(capsys, *question)
    assert run.main([*question, f"task={own}"]) == 0
    assert capsys.readouterr().out == model.predict("Snow.")[0] + "\n"
    assert run.main(["--help", f"task={own}"]) == 0
    shown = capsys.readouterr().out
    assert "task=mood: Tell the mood of a text." in shown
    assert "task.horizon=12    int from 1 to 1,000,000,000\n      How far it looks." in shown


def test_a_model_of_an_unknown_task_names_the_cure(own, tmp_path, monkeypatch):
    kind = registry.load_file(own)
    zoo.train(
        "task=mood",
        "data=files",
        f"data.train={DATA}/classify.jsonl",
        *SMALL,
        f"out={tmp_path}/out",
    )
    monkeypatch.setattr(registry, "_registered", {})
    with pytest.raises(InputError, match=r"a model of task 'mood'.*zoo.register\(MyTask\)"):
        zoo.load(tmp_path / "out")
    assert zoo.register(kind) is kind
    assert type(zoo.load(tmp_path / "out")) is kind


@pytest.mark.parametrize(
    ("content", "line"),
    [
        ("x = 1\n", "must define one subclass of zoo.Task, not none"),
        (
            OWN + "class Other(Mood):\n    pass\n",
            "must define one subclass of zoo.Task, not Mood, O",
        ),
        ("import nowhere\n", "ModuleNotFoundError: No module named 'nowhere'"),
        ("raise SystemExit\n", "SystemExit"),
        (OWN.replace("Mood", "Tag"), "task tag: the zoo has this name"),
        (None, "no such file"),
    ],
)
def test_a_file_that_is_not_one_task_is_one_line(own, capsys, content, line):
    if content is None:
        own.unlink()
    else:
        own.write_text(content)
    assert line in fails(capsys, f"task={own}")


def test_an_option_of_an_own_task_is_checked(own, capsys, tmp_path):
    words = [f"task={own}", f"out={tmp_path}/out"]
    wrong = fails_after_log(capsys, *words, "task.horison=3")
    assert wrong == "task.horison: no such setting; did you mean task.horizon?"
    assert "task.horizon=0: Input should be" in fails_after_log(capsys, *words, "task.horizon=0")
    assert not (tmp_path / "out").exists()


def fails_after_log(capsys, *words):
    assert run.main([*words]) == 2
    return capsys.readouterr().err.removeprefix("error: ").strip()


def test_a_name_belongs_to_one_class(monkeypatch):
    monkeypatch.setattr(registry, "_registered", {})
    own = type("MyTask", (Classify,), {"__module__": "one"})
    assert zoo.register(own) is own
    again = type("MyTask", (Classify,), {"__module__": "one"})  # a notebook's cell, run again
    assert zoo.register(again) is find("my_task")
    with pytest.raises(InputError, match=r"task my_task: one.MyTask has this name"):
        zoo.register(type("MyTask", (Classify,), {"__module__": "two"}))
    with pytest.raises(InputError, match="task classify: the zoo has this name"):
        zoo.register(Classify)
    with pytest.raises(InputError, match="a subclass of Task"):
        zoo.register(int)
    with pytest.raises(InputError, match="task task: Task does not define "):
        zoo.register(zoo.Task)
