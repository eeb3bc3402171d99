"""Explain an answer: its probability, what in the input mattered, and the LSTM's tensors."""

from __future__ import annotations

import logging
import math
from itertools import islice
from typing import Any

import numpy as np

from zoo.data.python.inputs import inputs as rows_of_inputs
from zoo.data.readers import Row
from zoo.data.series import asking
from zoo.errors import InputError
from zoo.evaluation.attribution import Attribution, Question, agreement, attribute
from zoo.explanation.states import states
from zoo.generation.config import GenerationConfig
from zoo.task import Task, input_row, predict_rows
from zoo.text.tokenizers import cut_at

log = logging.getLogger("zoo")

DIGITS = 6  # significant ones, of all numbers


def explain_answer(
    task: Task,
    input: Any,
    *,
    target: Any = None,
    config: GenerationConfig | None = None,
    splitter: str = "words",
    full: bool = False,
) -> dict[str, Any]:
    """Return the answer to one input, why it was given, and the tensors of the LSTM, as plain data.

    task, reads, why: of the model.
    answer: as `predict_rows` gives it. target: what is explained. probability: of the target, by
        part the geometric mean; None for a forecast.
    tokens: the input as it is to be shown, joined it is the text.
    occlusion, gradient: a number for each token: how much log-probability (of a forecast, how much
        of the mean of its values) the answer would lose without the token, measured and estimated.
    agreement: the rank correlation of both, None below three tokens.
    window: how many neighbouring tokens were hidden together; above 1 in long inputs.
    written: of each written token, word, label or step: token, probability, occlusion, gradient
        and attention (None without it), of a step its value; empty for a single label.
    lstm: see `zoo.explanation.states.states`; with `full` its cells hold h at each step.

    `target`, `config` and `splitter` are as for `predict` and `Task.question`. The model is left as
    it is; threads may share it. Raises InputError.
    """
    if task.training:
        task.eval()
    given = _single(task, input)
    answer = next(predict_rows(task, [_read(task, given, splitter)], config=config))
    return explain_given(task, given, answer, target, splitter, full)


def explain_given(
    task: Task,
    given: Row,
    answer: Any,
    target: Any = None,
    splitter: str = "words",
    full: bool = False,
) -> dict[str, Any]:
    """Return what `explain_answer` does, of an answer that `predict_rows` gave to a row."""
    row = _read(task, given, splitter)
    question = task.question(row, answer, target)
    if "words" in task.input_columns and isinstance(given.get("text"), str):
        question.tokens = cut_at(answer["words"], given["text"]) or question.tokens
    found = attribute(task, question)
    if found.window > 1:
        log.info(
            "%s tokens: %d neighbours are hidden at a time",
            f"{len(question.tokens):,}",
            found.window,
        )
    return {
        "task": task.name,
        "reads": task.reads,
        "why": task.why,
        "answer": {k: v for k, v in answer.items() if k not in task.hidden_keys},
        "target": question.target,
        "probability": _probability(question, found.score),
        "tokens": [*question.tokens],
        "occlusion": _plain(found.occlusion),
        "gradient": _plain(found.gradient),
        "agreement": _rounded(agreement(found.occlusion, found.gradient)),
        "window": found.window,
        "written": _written(question, found),
        "lstm": states(task, question, full),
    }


def _read(task: Task, given: Row, splitter: str) -> Row:
    """Return what a task reads of a row; of a series also its covariates, which have no column."""
    return given if "past" in task.input_columns else input_row(task, given, splitter)


def _single(task: Task, input: Any) -> Row:
    """Return the row of the one input to explain. Raises InputError for none, or several."""
    if isinstance(input, Row):
        return input
    if not task.text_columns or "scaler" in task.processors:
        return _of_floats(task, input)
    several = [input] if "words" in task.input_columns and isinstance(input, list) else input
    rows = [*islice(rows_of_inputs(several, task.input_columns), 2)]
    if len(rows) != 1:
        raise InputError(f"explain takes one input, not {'several' if rows else 'none'}")
    return rows[0]


def _of_floats(task: Task, input: Any) -> Row:
    """Return the row of one series, or of one sequence of features."""
    name = task.input_columns[0]
    if name == "past":
        rows = asking.rows_of_values(input, task.processors["scaler"])  # type: ignore[arg-type]
        if len(rows) != 1:
            raise InputError(f"explain takes one series, not {len(rows)}")
        return rows[0]
    return Row(dict(input) if isinstance(input, dict) else {name: input}, "input")


def _probability(question: Question, score: float) -> float | None:
    return _round(math.exp(score)) if question.of_probabilities else None


def _written(question: Question, found: Attribution) -> list[dict[str, Any]]:
    """Return the explanation of each part of an answer that has several."""
    if len(question.parts) < 2 and not question.lists_parts:
        return []
    if len(found.scores) < len(question.parts):
        log.info(
            "%s parts of the answer: the first %d are explained one by one",
            f"{len(question.parts):,}",
            len(found.scores),
        )
    entries: list[dict[str, Any]] = []
    for number, score in enumerate(found.scores.tolist()):
        attention = None if found.attention is None else _plain(found.attention[number])
        value = {} if question.of_probabilities else {"value": _round(score)}
        entries.append(
            {
                "token": question.parts[number],
                "probability": _probability(question, score),
                **value,
                "occlusion": _plain(found.part_occlusion[number]),
                "gradient": _plain(found.part_gradient[number]),
                "attention": attention,
            }
        )
    return entries


def _plain(values: np.ndarray) -> list[float]:
    return [_round(value) for value in values.tolist()]


def _round(value: float) -> float:
    return float(f"{value:.{DIGITS}g}")


def _rounded(value: float | None) -> float | None:
    return None if value is None else _round(value)
