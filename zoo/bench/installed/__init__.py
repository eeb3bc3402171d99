"""Compare with installed packages that people take for the same task: flair, fastText, JoeyNMT."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from copy import deepcopy
from dataclasses import replace
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from zoo.bench.installed.sides import corpus
from zoo.config import check, compose
from zoo.errors import InputError

PEERS = {"classify": ("fasttext", "flair"), "tag": ("flair",), "translate": ("joeynmt",)}
# JoeyNMT wants a protobuf that is older than that of other packages here, so no extra has it.
CURES = {"translate": "pip install joeynmt, in an environment of its own"}


def installed(arguments: Sequence[str], rounds: int) -> Iterator[dict[str, Any]]:
    """Measure training, prediction, and the score after equally many seconds.

    Each package that is installed reads the same rows, with the task's sizes where it has such.
    Raises InputError for a task that no package here has, and where none is installed.
    """
    settings = check(compose([*arguments]))
    task = settings.task["name"]
    if task not in PEERS:
        raise InputError(f"zoo.bench installed: task={task}: choose one of {', '.join(PEERS)}")
    there = [name for name in PEERS[task] if find_spec(name)]
    if not there:
        cure = CURES.get(task, "pip install sequence-zoo[bench]")
        raise InputError(f"none of {', '.join(PEERS[task])} is here: {cure}")
    rows = corpus(settings)
    for name in there:
        measured = import_module(f"zoo.bench.installed.of_{name}")
        yield from measured.cases(settings, rounds, replace(rows, task=deepcopy(rows.task)))
