"""The registry of tasks: every file in `tasks/` is a task."""

from __future__ import annotations

import importlib
import importlib.util
import re
import sys
from pathlib import Path

from zoo.errors import InputError
from zoo.task import Task

FOLDER = Path(__file__).resolve().parents[1] / "tasks"


# Models of several tasks: name -> module, class.
MULTITASK = {"multitask": ("zoo.shared_backbone", "Multitask")}


def find_saved(name: str) -> type[Task]:
    """The class of a saved model: a task, or a model of several tasks. Raises InputError."""
    if name in MULTITASK:
        module, class_name = MULTITASK[name]
        return getattr(importlib.import_module(module), class_name)
    return find(name)


def find(name: str) -> type[Task]:
    """The class of `tasks/NAME.py`: `classify` is `Classify`, `two_words` is `TwoWords`.

    Only the zoo's own folder is searched, even if another package is called `tasks`.
    Raises InputError with the list of tasks.
    """
    path = FOLDER / f"{name}.py"
    if not re.fullmatch("[a-z][a-z0-9_]*", name) or not path.is_file():
        known = ", ".join(sorted(p.stem for p in FOLDER.glob("[a-z]*.py")))
        raise InputError(f"task={name}: no such task; there are: {known}")
    module = sys.modules.get(f"tasks.{name}")
    if module is None:
        spec = importlib.util.spec_from_file_location(f"tasks.{name}", path)
        assert spec is not None
        assert spec.loader is not None
        module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    return getattr(module, "".join(part.capitalize() for part in name.split("_")))
