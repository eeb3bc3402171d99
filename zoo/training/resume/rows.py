"""Fingerprints of the rows of a run, by which a change before a resume is found and named."""

from __future__ import annotations

import hashlib
import json
from array import array
from collections import Counter
from collections.abc import Iterable
from itertools import islice
from pathlib import Path
from typing import Any, Self

from zoo.data.readers import Row
from zoo.files import atomic
from zoo.task import Task

PARTS = {"train": "training", "valid": "validation", "test": "test"}


def file_of(part: str) -> str:
    """Return the name of the file with the hashes of a split, in the checkpoint's folder."""
    return f"rows-{part}.bin"


class RowHashes:
    """Hashes of the rows of a split, in order: of their inputs, and of their targets."""

    def __init__(self, kind: type[Task]) -> None:
        self.target_columns = kind.target_columns
        self.input_columns = [n for n in kind.training_columns if n not in kind.target_columns]
        self.inputs = array("Q")
        self.targets = array("Q")

    @classmethod
    def of(cls, rows: Iterable[Row], kind: type[Task]) -> Self:
        """Read rows and return their hashes."""
        found = cls(kind)
        for row in rows:
            found.add(row)
        return found

    def add(self, row: Row) -> None:
        """Add the hashes of a row."""
        self.inputs.append(_hash([row.get(name) for name in self.input_columns]))
        self.targets.append(_hash([row.get(name) for name in self.target_columns]))

    def __len__(self) -> int:
        return len(self.inputs)

    def digest(self) -> str:
        """Return one hash of all rows in their order."""
        return hashlib.sha256(self.inputs.tobytes() + self.targets.tobytes()).hexdigest()

    def known(self, others: RowHashes) -> int:
        """Return how many of these rows have an input that is one of `others`, too."""
        if not self.input_columns:
            return 0
        known = {*others.inputs}
        return sum(each in known for each in self.inputs)

    def save(self, path: Path) -> None:
        """Write the hashes to a file."""
        with atomic(path) as file:
            file.write(self.inputs.tobytes() + self.targets.tobytes())

    def load(self, path: Path) -> bool:
        """Read the hashes from a file; returns whether there is such a file."""
        if not path.is_file() or path.stat().st_size % 16:
            return False
        data = path.read_bytes()
        self.inputs = array("Q", data[: len(data) // 2])
        self.targets = array("Q", data[len(data) // 2 :])
        return True


def _hash(values: list[Any]) -> int:
    text = json.dumps(values, ensure_ascii=True, default=_plain)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")


def _plain(value: Any) -> str:
    """Return the bytes of an array as text; of stored values a hash; others as they are printed."""
    if hasattr(value, "digest"):
        return str(value.digest())
    return value.tobytes().hex() if hasattr(value, "tobytes") else repr(value)


def check_rows(rows: Iterable[Row], part: str, digest: str, state: Path, kind: type[Task]) -> str:
    """Return what has changed in a split since the run began, in one line; "" for nothing.

    `digest` is that of the run's rows; the folder `state` holds their hashes.
    """
    now = RowHashes.of(rows, kind)
    if now.digest() == digest:
        return ""
    line = f"the {PARTS[part]} rows are not those that the run began with"
    before = RowHashes(kind)
    if not before.load(state / file_of(part)) or before.digest() != digest:
        return line
    place, change = difference(before, now)
    source = next((row.source for row in islice(rows, place, None)), "")
    where = f" ({source})" if source and place < len(now) else ""
    return f"{line}: row {place + 1}{where} {change}"


def difference(before: RowHashes, now: RowHashes) -> tuple[int, str]:
    """Return the number of the first row that differs, from 0, and what has changed there."""
    old = [*zip(before.inputs, before.targets, strict=True)]
    new = [*zip(now.inputs, now.targets, strict=True)]
    place = next(
        (n for n, (one, two) in enumerate(zip(old, new, strict=False)) if one != two),
        min(len(old), len(new)),
    )
    removed, added = Counter(old) - Counter(new), Counter(new) - Counter(old)
    if not removed and not added:
        return place, "and others are in another order"
    if not removed:
        return place, f"is new: {_counted(added)} added"
    if not added:
        return place, f"is missing: {_counted(removed)} removed"
    if len(old) != len(new):
        return place, f"differs: {_counted(removed)} removed, {_counted(added)} added"
    more = removed.total() - 1
    others = f", and so {'has' if more == 1 else 'have'} {more} more" if more else ""
    if place < len(old) and old[place][0] == new[place][0]:
        return place, f"has another {' and '.join(now.target_columns)}{others}"
    return place, f"has another {' and '.join(now.input_columns)}{others}"


def _counted(rows: Counter[tuple[int, int]]) -> str:
    count = rows.total()
    return f"{count:,} row was" if count == 1 else f"{count:,} rows were"
