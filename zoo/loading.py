"""A model from its folder: which class it is, and that class with the folder's weights."""

from __future__ import annotations

from pathlib import Path

from zoo.errors import InputError
from zoo.model_folder.format import read_model
from zoo.model_folder.verify import line_of
from zoo.registry import find_saved
from zoo.task import Task


def load(name: str | Path, device: str = "cpu") -> Task:
    """The model of a folder, or a shipped one by its name, ready to predict.

    Raises InputError that names the file at fault, or lists the shipped names.
    """
    saved = read_model(name)
    try:
        kind = find_saved(saved.config["task"])
    except (ValueError, TypeError) as error:
        raise InputError(f"{saved.path}: {line_of(error)}") from None
    return kind.from_saved(saved, device)
