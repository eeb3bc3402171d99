"""Splits: the rows to learn from, to choose by, and to report; what is missing is held out.

What a corpus does not hold out itself is held out here, by a hash of what is read: the same rows on
every machine, and a text that occurs twice stays on one side.
"""

from __future__ import annotations

import json
import logging
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, partial
from itertools import islice

from zoo.data.readers import Row, Rows
from zoo.errors import InputError

log = logging.getLogger("zoo")

SETTINGS = {"labels": "column"}  # settings that are not called as the column they choose
TENTH = 0.1
MOST_HELD_OUT = 20_000  # rows; of a large corpus more than that are not needed to measure well


@dataclass(frozen=True)
class Splits:
    """The rows to learn from, to choose by, and to report once."""

    train: Rows
    valid: Rows
    test: Rows


def complete(parts: dict[str, Rows], by: str) -> Splits:
    """Hold a tenth of the training rows out for each split that is missing."""
    missing = [part for part in ("test", "valid") if part not in parts]
    source = parts["train"]
    for part in missing:
        log.info("no %s rows are given: about a tenth of %s is held out", part, source.name)
        parts[part] = Rows(
            partial(_held, source, missing, part, by), f"{source.name} (a tenth of it)"
        )
    if missing:
        parts["train"] = Rows(partial(_held, source, missing, "train", by), source.name)
    return Splits(**parts)


def last_parts(source: Rows, missing: list[str]) -> dict[str, Rows]:
    """A text that is one: each split that is missing is a piece of its end, a tenth of its rows at
    most MOST_HELD_OUT, and what stands before them is the training text."""

    @cache
    def count() -> int:
        return sum(1 for _ in source)

    def bounds(part: str) -> tuple[int, int]:
        held = min(count() // 10, MOST_HELD_OUT)
        if not held:
            raise InputError(f"{source.name}: {count()} rows are too few to hold some out")
        left = count() - held * len(missing)
        place = missing.index(part) if part in missing else -1
        return (0, left) if place < 0 else (left + held * place, left + held * (place + 1))

    def read(part: str) -> Iterator[Row]:
        return islice(source, *bounds(part))

    names = dict.fromkeys(missing, f"{source.name} (a tenth of it)") | {"train": source.name}
    return {part: Rows(partial(read, part), name) for part, name in names.items()}


def _held(source: Rows, missing: list[str], wanted: str, by: str) -> Iterator[Row]:
    held: dict[str, set[int]] = {part: set() for part in missing}
    for row in source:
        text = json.dumps(row.get(by, row), sort_keys=True, default=str)
        code = zlib.crc32(text.encode())
        drawn = code / 2**32 / TENTH
        part = missing[int(drawn)] if drawn < len(missing) else "train"
        if part != "train" and code not in held[part]:
            if len(held[part]) < MOST_HELD_OUT:
                held[part].add(code)
            else:
                part = "train"
        if part == wanted:
            yield row
