"""The generation config of a call: the values of the folder, with those of the call over them.

The folder holds the bounds of each value as a JSON schema, so they stand in one place: the class
`zoo.generation.config.GenerationConfig`, which needs a package that is not here.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from zoo.errors import InputError


@dataclasses.dataclass(frozen=True)
class Generation:
    """Settings of text generation: see `zoo.generation.config.GenerationConfig`."""

    beam_size: int
    n_best: int
    length_penalty: float
    min_length: int
    max_length: int
    sample: bool
    temperature: float
    top_k: int
    top_p: float
    repetition_penalty: float
    stop: tuple[str, ...]
    seed: int | None


NAMES = {field.name for field in dataclasses.fields(Generation)}


def generation_of(parts: Mapping[str, Any] | None, given: Any, place: Path) -> Generation:
    """Return the config of a call. `given` is a mapping, a config, or None.

    `parts` holds the "values" of a folder and their "schema". Raises InputError.
    """
    if (
        not isinstance(parts, Mapping)
        or {*parts} != {"values", "schema"}
        or not all(isinstance(part, Mapping) and {*part} == NAMES for part in parts.values())
    ):
        raise InputError(f"{place}: generation is no object of values and their schema")
    if given is None:
        given = {}
    elif dataclasses.is_dataclass(given) and not isinstance(given, type):
        given = dataclasses.asdict(given)
    if not isinstance(given, Mapping):
        raise InputError(f"config={given!r}: a dict is needed, such as {{'beam_size': 1}}")
    if unknown := {*given} - NAMES:
        known = ", ".join(sorted(NAMES))
        raise InputError(f"generation.{min(unknown)} is unknown; there are: {known}")
    values = {**parts["values"], **given}
    for name, value in values.items():
        why = _wrong(value, parts["schema"][name])
        if why:
            raise InputError(f"generation.{name}={value!r}: {why}")
    made = Generation(**{**values, "stop": tuple(values["stop"])})
    if made.n_best > made.beam_size and not made.sample:
        raise InputError(
            f"generation: n_best={made.n_best} needs a beam as wide, not beam_size={made.beam_size}"
        )
    return made


def _wrong(value: Any, schema: Mapping[str, Any]) -> str:
    """Return what is wrong with a value, "" if nothing is."""
    if "anyOf" in schema:
        found = [_wrong(value, one) for one in schema["anyOf"]]
        return "" if "" in found else found[0]
    kind = schema.get("type")
    if kind == "null":
        return "" if value is None else "Input should be None"
    if kind == "boolean":
        return "" if isinstance(value, bool) else "Input should be true or false"
    if kind == "array":
        if isinstance(value, str) or not isinstance(value, (list, tuple)):
            return "Input should be a list of texts"
        return next((why for item in value if (why := _wrong(item, schema["items"]))), "")
    if kind == "string":
        some = isinstance(value, str) and len(value) >= schema.get("minLength", 0)
        return "" if some else "Input should be a text with one character at least"
    whole = isinstance(value, int) and not isinstance(value, bool)
    if kind == "integer" and not whole:
        return "Input should be a whole number"
    if not whole and not (isinstance(value, float) and math.isfinite(value)):
        return "Input should be a number"
    for bound, holds, words in (
        ("minimum", lambda limit: value >= limit, "at least"),
        ("exclusiveMinimum", lambda limit: value > limit, "above"),
        ("maximum", lambda limit: value <= limit, "at most"),
        ("exclusiveMaximum", lambda limit: value < limit, "below"),
    ):
        if bound in schema and not holds(schema[bound]):
            return f"Input should be {words} {schema[bound]}"
    return ""
