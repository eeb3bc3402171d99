"""The models that come with the package: what they are called, what they can, what they were made of."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from zoo.errors import InputError
from zoo.model_folder.quantize import Form
from zoo.model_folder.verify import SHIPPED, read_config, shipped

RECIPES = SHIPPED / "recipes.json"


@dataclass(frozen=True)
class ShippedModel:
    """One model, as the list shows it."""

    name: str  # what zoo.load takes
    task: str
    reads: str  # of the LSTM
    languages: str
    size: int  # bytes of its folder
    metric: str  # the task's own, of the test rows
    value: float


class ModelTable(list[ShippedModel]):
    """Shipped models; printed, a table."""

    def __str__(self) -> str:
        rows = [("name", "task", "reads", "languages", "MB", "test")]
        for model in self:
            result = f"{model.metric} {model.value:.4g}"
            size = f"{model.size / 1e6:.1f}"
            rows.append((model.name, model.task, model.reads, model.languages, size, result))
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        padded = ([cell.ljust(w) for cell, w in zip(row, widths, strict=True)] for row in rows)
        return "\n".join("  ".join(row).rstrip() for row in padded)

    __repr__ = __str__


def list_models() -> ModelTable:
    """The models that come with the package, by name."""
    return ModelTable(_seen(name) for name in shipped())


def _seen(name: str) -> ShippedModel:
    config, folder = read_config(name), SHIPPED / name
    metadata = config["metadata"]
    metric = metadata["metric"]
    size = sum(path.stat().st_size for path in folder.iterdir())
    return ShippedModel(
        name,
        config["task"],
        metadata["reads"],
        metadata["languages"],
        size,
        metric,
        metadata["test"][metric],
    )


@dataclass(frozen=True)
class Recipe:
    """How a shipped model is made again.

    `steps` are settings of trainings, each of which starts from the model of the one before (so
    `init=` is not given); the last one's is the model. The corpus's `data.path` is the caller's.
    """

    steps: list[list[str]]
    weights: Form
    languages: str
    limits: str
    inputs: list[str]  # that expected.json answers


def recipe(name: str) -> Recipe:
    """The recipe of a shipped model. Raises InputError that lists those there are."""
    recipes: dict[str, Any] = json.loads(RECIPES.read_text("utf-8"))
    if name not in recipes:
        raise InputError(f"{name}: no such model; there are: {', '.join(recipes)}")
    return Recipe(**recipes[name])
