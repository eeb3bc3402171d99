"""Splits of a corpus: training, validation and test rows; missing splits are held out.

A hash of the task's input assigns each row to a split: the same one on every machine and for equal
inputs. Running text is cut at its end instead.
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

SETTINGS = {"labels": "column"}  # column -> its setting, where the names differ
TENTH = 0.1
MOST_HELD_OUT = 20_000  # rows of a held-out split; more are not needed for a precise score


@dataclass(frozen=True)
class Splits:
    """The training rows, the validation rows, and the test rows, which are scored once."""

    train: Rows
    valid: Rows
    test: Rows


def complete(parts: dict[str, Rows], by: str) -> Splits:
    """Hold out about a tenth of the training rows, by column `by`, for each missing split."""
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
    """Hold out pieces at the end of a running text for the missing splits.

    Each piece is a tenth of the rows, at most MOST_HELD_OUT; the rest is the training text. Reading
    raises InputError if the text has fewer than ten rows.
    """

    @cache
    def count() -> int:
        return sum(1 for _ in source)

    def bounds(part: str) -> tuple[int, int]:
        held = min(count() // 10, MOST_HELD_OUT)
        if not held:
            raise InputError(f"{source.name}: {count()} rows are too few to hold some out")
        left = count() - held * len(missing)
        if part not in missing:
            return 0, left
        start = left + held * missing.index(part)
        return start, start + held

    def read(part: str) -> Iterator[Row]:
        return islice(source, *bounds(part))

    names = dict.fromkeys(missing, f"{source.name} (a tenth of it)") | {"train": source.name}
    return {part: Rows(partial(read, part), name) for part, name in names.items()}


def _held(source: Rows, missing: list[str], wanted: str, by: str) -> Iterator[Row]:
    """Yield the rows of the split `wanted`."""
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
