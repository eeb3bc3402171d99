"""Load a model from its folder."""

from __future__ import annotations

from pathlib import Path

from zoo.errors import InputError
from zoo.model_folder.format import read_model
from zoo.model_folder.verify import line_of
from zoo.registry import find_saved
from zoo.task import Task, restore

CURE = "register it first with zoo.register(MyTask), or name its file with task=FILE"


def load(name: str | Path, device: str = "cpu") -> Task:
    """Load a model folder, or a shipped model by its name, ready to predict.

    Raises InputError that names the broken file, or lists the shipped models.
    """
    saved = read_model(name)
    try:
        kind = find_saved(saved.task)
    except (ValueError, TypeError) as error:
        raise InputError(f"{saved.path}: {line_of(error)}: {CURE}") from None
    return restore(kind, saved, device)
