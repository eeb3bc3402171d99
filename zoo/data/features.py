"""Float sequences as rows: a column holds (steps, features) instead of a text or a list of words."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from zoo.data.processors import Scaler
from zoo.data.readers import Row
from zoo.errors import RowError

SHOWN = 6  # values of a sequence in a message


def are_features(value: Any) -> bool:
    """Return whether a value is a sequence of numbers, or of lists of numbers."""
    if isinstance(value, np.ndarray):
        return value.dtype.kind in "fiub"
    if not isinstance(value, (list, tuple)) or not value:
        return False
    first = value[0]
    inner = first[0] if isinstance(first, (list, tuple)) and first else first
    return isinstance(inner, (int, float)) and not isinstance(inner, bool)


def are_steps(value: Any) -> bool:
    """Return whether a value is an array of steps, or a list of lists or of floats, not of words."""
    if isinstance(value, np.ndarray):
        return are_features(value)
    listed = isinstance(value, (list, tuple)) and bool(value)
    return listed and isinstance(value[0], (list, tuple, float)) and are_features(value)


def in_rows(rows: Iterable[Row], column: str) -> bool:
    """Return whether the first row holds float features in a column; words may be whole numbers."""
    first = next(iter(rows), None)
    told = are_steps if column == "words" else are_features
    return first is not None and told(first.get(column))


def of_row(row: Row, column: str) -> np.ndarray:
    """Return the features of a row, (steps, features) float64. Raises RowError."""
    value = row.get(column)
    if isinstance(value, str) and not value.strip():
        return np.empty((0, 0))
    try:
        found = np.asarray(value, np.float64)
    except (ValueError, TypeError):
        found = np.empty((0, 0, 0))
    found = found[:, None] if found.ndim == 1 else found
    if found.ndim != 2:
        raise RowError(row.source, f"column {column!r} is no list of steps with numbers")
    wrong = np.argwhere(~np.isfinite(found))
    if len(wrong):
        step, feature = (int(i) + 1 for i in wrong[0])
        raise RowError(row.source, f"step {step}, feature {feature} is no finite number")
    return found


def learn(rows: Iterable[Row], column: str) -> Scaler:
    """Learn mean and deviation of the features of training rows. Raises InputError."""
    return Scaler.learn(of_row(row, column) for row in rows)


def encode(row: Row, column: str, scaler: Scaler) -> np.ndarray:
    """Return the scaled features of a row, (steps, features) float32. Raises RowError."""
    found = of_row(row, column)
    if not len(found):
        return np.empty((0, scaler.width), np.float32)
    if found.shape[1] != scaler.width:
        many = f"{found.shape[1]} features, the model knows {scaler.width}"
        raise RowError(row.source, f"column {column!r}: {many}")
    return scaler.encode(found)


def as_rows(inputs: Any, column: str) -> list[Row]:
    """Return one sequence (steps, features), or several, or rows of such, as rows."""
    several = inputs
    if isinstance(inputs, Mapping) or (isinstance(inputs, np.ndarray) and inputs.ndim <= 2):
        several = [inputs]
    return [
        Row(dict(one) if isinstance(one, Mapping) else {column: one}, f"input {number}")
        for number, one in enumerate(several, 1)
    ]


def shown(value: Any) -> str:
    """Return the beginning of a sequence as text; a text as it is."""
    if isinstance(value, str):
        return value
    values = np.asarray(value, float).ravel()[:SHOWN]
    return " ".join(f"{v:.3g}" for v in values) + " …"


def step_names(values: np.ndarray) -> list[str]:
    """Return the values of each step of a sequence (steps, features) as a text."""
    return [" ".join(f"{value:.4g}" for value in step) for step in values]


def summary(values: np.ndarray) -> np.ndarray:
    """Return mean, deviation, first and last of each feature of a sequence (steps, features)."""
    if not len(values):
        return np.zeros(4 * values.shape[1])
    return np.concatenate([values.mean(0), values.std(0), values[0], values[-1]])


def with_neighbours(values: np.ndarray) -> np.ndarray:
    """Return each step (steps, features) with the one before and the one behind it beside it."""
    padded = np.concatenate([values[:1], values, values[-1:]])
    return np.concatenate([values, padded[:-2], padded[2:]], 1)
