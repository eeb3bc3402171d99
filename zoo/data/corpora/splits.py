"""Splits of a corpus: training, validation and test rows; missing splits are held out.

The distinct inputs are sorted by label and by a hash, and every tenth one is held out. So each label
has its share in every split, equal inputs stay in one split, and all machines hold out the same rows.
(scikit-learn's stratified splits refuse labels with fewer rows than folds.) Running text is cut at its
end instead.
"""

from __future__ import annotations

import json
import logging
import zlib
from array import array
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, partial
from itertools import chain, islice

import numpy as np

from zoo.data.corpora.stratify import stratify
from zoo.data.readers import Row, Rows, label_set
from zoo.errors import InputError
from zoo.messages import _

log = logging.getLogger("zoo")

SETTINGS = {"labels": "column"}  # column -> its setting, where the names differ
TENTH_OF = "(a tenth of it)"  # the end of the name of rows that are held out
TENTH = 10  # one row in so many is held out for a split
SHOWN = 5  # labels that a log line names
MOST_HELD_OUT = 20_000  # rows of a held-out split; more are not needed for a precise score


@dataclass(frozen=True)
class Splits:
    """The training rows, the validation rows, and the test rows, which are scored once."""

    train: Rows
    valid: Rows
    test: Rows


def complete(parts: dict[str, Rows], by: str) -> Splits:
    """Hold out a tenth of the distinct training rows, by column `by`, for each missing split."""
    missing = [part for part in ("test", "valid") if part not in parts]
    source = parts["train"]
    held = cache(partial(_hold_out, source, missing, by))
    for part in missing:
        log.info(
            _(
                "no {part} rows are given: a tenth of {name} is held out",
                part=part,
                name=source.name,
            )
        )
        parts[part] = Rows(partial(_of_part, source, held, part, by), f"{source.name} {TENTH_OF}")
    if missing:
        parts["train"] = Rows(partial(_of_part, source, held, "train", by), source.name)
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
            raise InputError(
                _(
                    "{name}: {count} rows are too few to hold some out",
                    name=source.name,
                    count=count(),
                )
            )
        left = count() - held * len(missing)
        if part not in missing:
            return 0, left
        start = left + held * missing.index(part)
        return start, start + held

    def read(part: str) -> Iterator[Row]:
        return islice(source, *bounds(part))

    names = dict.fromkeys(missing, f"{source.name} {TENTH_OF}") | {"train": source.name}
    return {part: Rows(partial(read, part), name) for part, name in names.items()}


def _of_part(
    source: Rows, held: Callable[[], dict[int, str]], wanted: str, by: str
) -> Iterator[Row]:
    """Yield the rows of the split `wanted`; `held` returns the split of each hash that is held out."""
    part_of = held()
    if wanted != "train" and not part_of:
        raise InputError(
            _(
                "{name}: too few distinct rows to hold some out: give data.valid=… and data.test=…",
                name=source.name,
            )
        )
    return (row for row in source if part_of.get(_hash(row, by), "train") == wanted)


def _hold_out(source: Rows, missing: list[str], by: str) -> dict[int, str]:
    """Return the split of the hash of each input that is held out.

    Inputs are stratified by label if the task reads texts with labels. A label with too few inputs
    for all splits stays in training, as do empty inputs. Fewer than ten inputs are not split.
    """
    hashes, labels = array("Q"), array("Q")
    numbers: dict[str, int] = {}  # label -> its number
    sets: dict[int, list[str]] = {}  # hash -> the labels of a row that may have several
    for row in source:
        if by in row and not str(row[by] or "").strip():
            continue
        label = str(row.get("label", "")) if by == "text" else ""
        if by == "text" and isinstance(row.get("label"), (list, tuple)):
            sets.setdefault(_hash(row, by), label_set(row))
            label = ""
        hashes.append(_hash(row, by))
        labels.append(numbers.setdefault(label, len(numbers)))
    codes, first = np.unique(np.frombuffer(hashes, np.uint64), return_index=True)
    if len(codes) < TENTH:
        return {}
    if sets:
        single = {number: [label] if label else [] for label, number in numbers.items()}
        own = np.frombuffer(labels, np.uint64)[first].tolist()
        found = [sets.get(code, single[n]) for code, n in zip(codes.tolist(), own, strict=True)]
        return _hold_out_sets(source.name, codes.tolist(), found, missing)
    names = sorted(numbers)  # by name: the order of the rows does not matter
    rank = np.empty(len(names), np.int64)
    rank[[numbers[name] for name in names]] = np.arange(len(names))
    own = rank[np.frombuffer(labels, np.uint64)[first]]
    counts = np.bincount(own, minlength=len(names))
    rare = counts <= len(missing)
    if not rare.all():
        _log_rare(source.name, {names[i]: int(counts[i]) for i in np.flatnonzero(rare)})
        codes, own = codes[~rare[own]], own[~rare[own]]
    places = np.lexsort((codes, own))  # by label, then by hash
    held: dict[int, str] = {}
    for number, part in enumerate(missing):
        start = number * TENTH // len(missing)
        chosen = np.sort(codes[places[start::TENTH]])[:MOST_HELD_OUT]
        held |= dict.fromkeys(chosen.tolist(), part)
    return held


def _hold_out_sets(
    name: str, codes: list[int], labels: list[list[str]], missing: list[str]
) -> dict[int, str]:
    """Return the split of each hash that is held out, of inputs with any number of labels.

    An input with a label that has too few inputs for all splits stays in training.
    """
    counts = Counter(chain.from_iterable(labels))
    rare = {label: counts[label] for label in sorted(counts) if counts[label] <= len(missing)}
    _log_rare(name, rare)
    kept = [i for i, own in enumerate(labels) if rare.keys().isdisjoint(own)]
    numbers = {label: number for number, label in enumerate(sorted(counts))}
    share = min(1 / TENTH, MOST_HELD_OUT / max(1, len(kept)))
    shares = [1 - share * len(missing), *[share] * len(missing)]
    parts = stratify([[numbers[label] for label in labels[i]] for i in kept], shares).tolist()
    return {codes[i]: missing[part - 1] for i, part in zip(kept, parts, strict=True) if part}


def _log_rare(name: str, rare: dict[str, int]) -> None:
    """Log which labels are not held out because they have too few rows."""
    if rare:
        shown = ", ".join(f"{label!r} ({count})" for label, count in islice(rare.items(), SHOWN))
        more = _(" and {count} more", count=len(rare) - SHOWN) if len(rare) > SHOWN else ""
        log.info(
            _(
                "{name}: labels with too few rows stay in training: {labels}{more}",
                name=name,
                labels=shown,
                more=more,
            )
        )


def _hash(row: Row, by: str) -> int:
    """Return a hash of a row's input, the same one on every machine."""
    text = json.dumps(row.get(by, row), sort_keys=True, default=str)
    return zlib.crc32(text.encode())
