"""JSON bodies of requests become checked inputs of a model."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from zoo.config import ServeConfig
from zoo.data.readers import Row
from zoo.errors import InputError
from zoo.generation.config import GenerationConfig
from zoo.model_folder.verify import line_of
from zoo.serving.guard import Refused
from zoo.serving.worker import Place
from zoo.task import Generative, Task

Input = str | dict[str, Any] | list[Any]
STOPS = 16  # most stop strings of a request
LONGEST_LINE = 300  # characters of an error


class Body(BaseModel):
    """What the body of every request may hold."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)

    model: str | None = None
    """Name of the model, one of GET /models; not needed when there is one."""


class PredictBody(Body):
    """One input or several, with what their answers shall be like."""

    input: Input | None = None
    """A text; a row, as an object with the input columns; or a list of words or numbers."""
    inputs: Annotated[list[Input], Field(min_length=1)] | None = None
    """Several inputs."""
    top: Annotated[int, Field(ge=1, le=1_000_000)] = 1
    """Labels of a classifier's answer, the most probable ones."""
    threshold: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Least probability of a classifier's label."""
    generation: dict[str, Any] | None = None
    """Options of GenerationConfig that differ from the model's."""


class ExplainBody(Body):
    """One input whose answer is explained."""

    input: Input
    """A text; a row, as an object with the input columns; or a list of words or numbers."""
    target: str | int | None = None
    """What is explained: a label, the number of a word or step, or a text; null: the answer."""
    generation: dict[str, Any] | None = None
    """Options of GenerationConfig that differ from the model's."""


class StreamBody(Body):
    """A text to which the answer is sent in pieces."""

    input: str
    """A text."""
    generation: dict[str, Any] | None = None
    """Options of GenerationConfig that differ from the model's."""


Kind = TypeVar("Kind", bound=Body)


def parse(kind: type[Kind], content: bytes) -> Kind:
    """Return a body of a kind. Raises Refused with one line for anything else."""
    try:
        return kind.model_validate_json(content)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
    if first["type"] == "json_invalid":
        raise Refused(400, f"the body is no JSON: {_short(first['msg'])}")
    place = ".".join(str(part) for part in first["loc"][:2]) or "body"
    if first["type"] == "extra_forbidden":
        there = ", ".join(kind.model_fields)
        raise Refused(422, f"{_short(place)}: not known here; there are: {there}")
    if first["loc"][:1] in (("input",), ("inputs",)) and first["type"] != "too_short":
        raise Refused(422, f"{_input_place(first['loc'])}: a text, an object or a list is needed")
    raise Refused(422, f"{_short(place)}: {_short(first['msg'])}")


def _input_place(place: tuple[int | str, ...]) -> str:
    numbered = len(place) > 1 and isinstance(place[1], int)
    return f"inputs[{place[1]}]" if numbered else str(place[0])


def _short(line: str) -> str:
    """Return the beginning of a line, without line ends."""
    line = " ".join(line.split())
    return line if len(line) <= LONGEST_LINE else f"{line[: LONGEST_LINE - 1]}…"


def rows_of(task: Task, body: PredictBody, options: ServeConfig, splitter: str) -> list[Row]:
    """Return the inputs of a request as rows. Raises Refused for the first wrong one."""
    if (body.input is None) == (body.inputs is None):
        raise Refused(422, 'give one of "input" and "inputs"')
    inputs = [body.input] if body.inputs is None else body.inputs
    if len(inputs) > options.inputs:
        raise Refused(
            422,
            f"inputs: {len(inputs):,} are more than {options.inputs:,}: send several requests",
        )
    return [row_of(task, value, options, splitter, n) for n, value in enumerate(inputs)]


def row_of(
    task: Task, value: Any, options: ServeConfig, splitter: str = "words", number: int = 0
) -> Row:
    """Return input `number` of a request as a row, with its place as its source."""
    length = _length(value)
    place = Place(number)
    if length > options.input_length:
        raise Refused(
            422,
            f"{place}: {length:,} characters or numbers are more than "
            f"{options.input_length:,}: shorten it, or send it in parts",
        )
    try:
        row = task._as_row(value, splitter)
    except (ValueError, TypeError, KeyError, IndexError, OverflowError) as error:
        raise Refused(422, _at(place, error)) from None
    row.source = place
    return row


def _at(place: str, error: Exception) -> str:
    """Return an error about an input, with the place of the input in its request."""
    line = line_of(error)
    for own in ("inputs[0]: ", "input 1: ", "input: "):
        line = line.removeprefix(own)
    return _short(f"{place}: {line}")


def line_for_client(error: Exception) -> str:
    """Return an error about an input on one short line."""
    return _short(line_of(error))


def _length(value: Any) -> int:
    """Return the characters of a text, or the values in lists and objects of any depth."""
    waiting, total = [value], 0
    while waiting:
        one = waiting.pop()
        if isinstance(one, Mapping):
            waiting += one.values()
        elif isinstance(one, list):
            waiting += one
        else:
            total += max(1, len(one)) if isinstance(one, str) else 1
    return total


def generation_of(
    task: Task, given: Mapping[str, Any] | None, options: ServeConfig
) -> GenerationConfig | None:
    """Return how a request generates: the model's own config with what the request gives.

    None for a task that does not generate. Raises Refused.
    """
    if not isinstance(task, Generative):
        if given:
            raise Refused(422, f"generation: {task.name} does not generate: leave it out")
        return None
    own = task.config.generation
    if not given:
        return own
    try:
        config = GenerationConfig(**{**asdict(own), **given})
    except (InputError, TypeError) as error:
        raise Refused(422, _short(line_of(error))) from None
    for name, most in (
        ("max_length", max(options.generated, own.max_length)),
        ("beam_size", max(options.beams, own.beam_size)),
        ("n_best", max(options.beams, own.n_best)),
        ("min_length", max(options.generated, own.min_length)),
    ):
        if getattr(config, name) > most:
            raise Refused(422, f"generation.{name}={getattr(config, name)}: at most {most} here")
    if len(config.stop) > STOPS:
        raise Refused(422, f"generation.stop: at most {STOPS} strings")
    return config


def check_labels(task: Task, body: PredictBody) -> None:
    """Raise Refused for `top` and `threshold` with a task that has no label for a whole text."""
    labelled = "label" in task.target_columns and "words" not in task.input_columns
    if (body.top > 1 or body.threshold > 0) and not labelled:
        raise Refused(422, f"top, threshold: {task.name} has no label for a whole text")


def finite(value: Any) -> Any:
    """Return plain data with None for numbers that JSON does not have."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: finite(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(one) for one in value]
    return value
