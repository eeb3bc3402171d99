"""The registry of tasks: every file in `tasks/`, and the classes that a program registers."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import inspect
import re
import sys
import threading
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import TypeVar

from zoo.config import add_task
from zoo.errors import InputError
from zoo.option_classes import did_you_mean
from zoo.task import Task

FOLDER = Path(__file__).resolve().parents[1] / "tasks"

# Models of several tasks: name -> module, class.
MULTITASK = {"multitask": ("zoo.shared_backbone", "Multitask")}

_registered: dict[str, type[Task]] = {}  # tasks from outside, by name
_lock = threading.RLock()

AnyTask = TypeVar("AnyTask", bound=type[Task])


def register(kind: AnyTask) -> AnyTask:
    """Make a task from outside known by its `task_name`; also a decorator of the class.

    Then `zoo.train("task=NAME")` trains it and `zoo.load` loads its models. Raises InputError for
    a name that another class has, and for a class that is abstract or no Task.

    >>> import zoo
    >>> @zoo.register
    ... class Mood(zoo.Classify):
    ...     why = "a mood is that of the whole text"
    >>> Mood.task_name
    'mood'
    """
    if not (isinstance(kind, type) and issubclass(kind, Task)):
        raise InputError(f"zoo.register takes a subclass of Task, not {kind!r}")
    name = kind.task_name
    if inspect.isabstract(kind):
        missing = ", ".join(sorted(kind.__abstractmethods__))
        raise InputError(f"task {name}: {kind.__name__} does not define {missing}")
    if not re.fullmatch("[a-z][a-z0-9_]*", name):
        raise InputError(f"task {name!r}: a name has small letters, digits and _")
    with _lock:
        other = _registered.get(name)
        again = other is not None and _place(other) == _place(kind)  # a notebook's cell, run again
        if name in known_files() or name in MULTITASK or not (other is None or again):
            owner = "the zoo" if other is None else _place(other)
            raise InputError(f"task {name}: {owner} has this name: rename {kind.__name__}")
        _registered[name] = kind
        add_task(name)
    return kind


def _place(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"


def known_files() -> list[str]:
    """The names of the tasks in the zoo's own folder."""
    return sorted(path.stem for path in FOLDER.glob("[a-z]*.py"))


def find_saved(name: str) -> type[Task]:
    """The class of a saved model: a task, or a model of several tasks. Raises InputError."""
    if name in MULTITASK:
        module, class_name = MULTITASK[name]
        return getattr(importlib.import_module(module), class_name)
    if name not in _registered and name not in known_files():
        raise InputError(f"a model of task {name!r}, which is not one of the zoo")
    return find(name)


def find(name: str) -> type[Task]:
    """The class of a task: a registered one, or that of `tasks/NAME.py`.

    `classify` is `Classify`, `two_words` is `TwoWords`. Only the zoo's own folder is searched, even
    if another package is called `tasks`. Raises InputError with the list of tasks.
    """
    with _lock:
        if name in _registered:
            return _registered[name]
    if not re.fullmatch("[a-z][a-z0-9_]*", name) or name not in known_files():
        known = sorted([*known_files(), *_registered])
        raise InputError(
            f"task={name}: no such task; there are: {', '.join(known)}{did_you_mean(name, known)}; "
            "one of your own: task=FILE.py, or zoo.register(MyTask)"
        )
    if _tasks_are_ours():
        module = importlib.import_module(f"tasks.{name}")
    else:
        module = _import(f"zoo_task_{name}", FOLDER / f"{name}.py")
    return getattr(module, "".join(part.capitalize() for part in name.split("_")))


def load_file(path: str | Path) -> type[Task]:
    """Load a Python file as a module of its own, and register the one Task defined in it.

    The same file is loaded once. Raises InputError for a file that is missing, that does not run,
    or that does not define exactly one task.
    """
    place = Path(path).resolve()
    if not place.is_file():
        raise InputError(f"task={path}: no such file")
    name = f"zoo_task_{hashlib.sha256(str(place).encode()).hexdigest()[:12]}"
    try:
        module = _import(name, place)
    except (Exception, SystemExit) as error:
        raise InputError(f"task={path}: {type(error).__name__}: {error}") from error
    defined = [
        kind
        for kind in vars(module).values()
        if isinstance(kind, type)
        and issubclass(kind, Task)
        and kind.__module__ == name
        and not inspect.isabstract(kind)
    ]
    found = list(dict.fromkeys(defined))
    if len(found) != 1:
        names = ", ".join(kind.__name__ for kind in found) or "none"
        raise InputError(f"task={path}: must define one subclass of zoo.Task, not {names}")
    try:
        return register(found[0])
    except InputError as error:
        raise InputError(f"task={path}: {error}") from None


def resolve(overrides: Sequence[str]) -> list[str]:
    """Replace `task=FILE.py` by the name of the task in that file, which becomes known."""
    return [
        f"task={load_file(text.partition('=')[2]).task_name}"
        if re.fullmatch(r"task=.*\.py", text)
        else text
        for text in overrides
    ]


def _tasks_are_ours() -> bool:
    """Whether `import tasks` gives the zoo's own folder, not another package of that name."""
    package = sys.modules.get("tasks")
    if package is None:
        spec = importlib.util.find_spec("tasks")
        places = [] if spec is None else spec.submodule_search_locations or []
    else:
        places = getattr(package, "__path__", [])
    return str(FOLDER) in {str(Path(place).resolve()) for place in places}


def _import(name: str, path: Path) -> ModuleType:
    """Import a file under a module name, once; importlib's locks let other threads wait for it."""
    with _lock:
        _FINDER.paths[name] = path
        if _FINDER not in sys.meta_path:
            sys.meta_path.append(_FINDER)
    return importlib.import_module(name)


class _Finder:
    """A finder of importlib for files that are no part of a package."""

    def __init__(self) -> None:
        self.paths: dict[str, Path] = {}  # module name -> file

    def find_spec(self, name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        """The spec of one of the files; None for other modules."""
        place = self.paths.get(name)
        return None if place is None else importlib.util.spec_from_file_location(name, place)


_FINDER = _Finder()
