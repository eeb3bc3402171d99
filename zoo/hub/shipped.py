"""The shipped models: their list and their training recipes."""

from __future__ import annotations

import json
from dataclasses import dataclass
from html import escape
from typing import Any

from zoo.errors import InputError
from zoo.messages import _
from zoo.model_folder.quantize import Form
from zoo.model_folder.verify import SHIPPED, read_config, shipped
from zoo.option_classes import did_you_mean

RECIPES = SHIPPED / "recipes.json"


@dataclass(frozen=True)
class ShippedModel:
    """One model in the list."""

    name: str  # the argument of zoo.load
    task: str
    reads: str  # the LSTM output that the task reads
    languages: str
    size: int  # bytes of the folder
    metric: str  # the main metric of the task, on the test rows
    value: float


class ModelTable(list[ShippedModel]):
    """A list of shipped models that prints as a table."""

    def __str__(self) -> str:
        rows = self._cells()
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        padded = ([cell.ljust(w) for cell, w in zip(row, widths, strict=True)] for row in rows)
        return "\n".join("  ".join(row).rstrip() for row in padded)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        """Return the table in HTML, as a notebook shows it."""
        header, *rows = self._cells()
        head = "".join(f"<th>{escape(cell)}</th>" for cell in header)
        lines = ["".join(f"<td>{escape(cell)}</td>" for cell in row) for row in rows]
        body = "".join(f"<tr>{line}</tr>\n" for line in lines)
        return f"<table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}</tbody>\n</table>"

    def _cells(self) -> list[tuple[str, ...]]:
        """Return the header, and the cells of each model."""
        rows: list[tuple[str, ...]] = [("name", "task", "reads", "languages", "MB", "test")]
        for model in self:
            result = f"{model.metric} {model.value:.4g}"
            size = f"{model.size / 1e6:.1f}"
            rows.append((model.name, model.task, model.reads, model.languages, size, result))
        return rows


def list_models() -> ModelTable:
    """Return the shipped models, in order of their names. It prints as a table.

    >>> import zoo
    >>> [model.reads for model in zoo.list_models() if model.name == "classify/imdb"]
    ['h_n']
    """
    return ModelTable(_describe(name) for name in shipped())


def _describe(name: str) -> ShippedModel:
    config = read_config(name)
    folder = SHIPPED / name
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
    """How to train a shipped model.

    `steps` holds the settings of one or more trainings. Each starts from the model of the step
    before, so `init=` is not given. The last one trains the shipped model. The caller gives
    `data.path`.
    """

    steps: list[list[str]]
    weights: Form
    languages: str
    limits: str
    inputs: list[str]  # of expected.json


def recipe(name: str) -> Recipe:
    """Return the recipe of a shipped model. Raises InputError that lists the known names."""
    recipes: dict[str, Any] = json.loads(RECIPES.read_text("utf-8"))
    if name not in recipes:
        near = did_you_mean(name, recipes)
        raise InputError(
            _(
                "{name}: no such model; there are: {known}{near}",
                name=name,
                known=", ".join(recipes),
                near=near,
            )
        )
    return Recipe(**recipes[name])
