"""Training in two processes of one thread beside one process.

    python -m zoo.bench processes [tasks=classify,tag] [link=100mbit] [SETTING=VALUE ...]

Without `link` the one process has two threads, so that both sides have two cores. With `link` each
of the two processes is in a network namespace of its own, as on a machine of its own. The one
process then has one thread. A link needs Linux and root.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

from zoo.bench.measure import compare
from zoo.bench.processes.link import LOCAL, Place, linked
from zoo.cli.environment import variables
from zoo.config import check, compose
from zoo.errors import InputError

TASKS = "classify,tag,generate"
WORLD = 2  # processes
OWN = {"tasks": TASKS, "link": ""}  # options of this benchmark; all others are settings

Workers = list[subprocess.Popen[str]]


def processes(arguments: Sequence[str], rounds: int) -> Iterator[dict[str, Any]]:
    """Yield a case for each task: training steps in two processes against one.

    All processes are started first, then the sides take turns. Raises InputError for a wrong
    setting, and for a link that cannot be made here.
    """
    pairs = [argument.split("=", 1) for argument in arguments]
    own = OWN | {pair[0]: pair[1] for pair in pairs if len(pair) == 2 and pair[0] in OWN}
    settings = [each for each in arguments if each.split("=", 1)[0] not in OWN]
    for task in own["tasks"].split(","):
        chosen = [f"task={task}", "device=cpu", *settings]
        check(compose(chosen))
        yield _case(task, chosen, own["link"], rounds)


def _case(task: str, settings: Sequence[str], link: str, rounds: int) -> dict[str, Any]:
    """Return the case of one task."""
    threads = 1 if link else WORLD
    with ExitStack() as stack:
        places = stack.enter_context(linked(link)) if link else [LOCAL] * WORLD
        one = stack.enter_context(_started(settings, [LOCAL], threads))
        several = stack.enter_context(_started(settings, places, 1))
        tokens = _round(one)
        if _round(several) != tokens:
            raise RuntimeError("both sides must train on the same tokens")
        over = f" over {link}" if link else ""
        alone = f"one of {threads} thread{'s' * (threads > 1)}"
        name = f"{task}: training in {WORLD} processes of 1 thread{over}, against {alone}"
        ours, peer = partial(_round, several), partial(_round, one)
        return compare(name, "tokens/s", tokens, ours, peer, rounds)


@contextmanager
def _started(settings: Sequence[str], places: Sequence[Place], threads: int) -> Iterator[Workers]:
    """Start a worker in each place, as `torchrun` does; a lone one knows of no others."""
    with socket.socket() as found:
        found.bind(("", 0))
        port = str(found.getsockname()[1])
    running: Workers = []
    try:
        fixed = variables() | {"OMP_NUM_THREADS": str(threads)}  # torchrun sets it, too
        for rank, place in enumerate(places):
            known = {"RANK": str(rank), "LOCAL_RANK": str(rank), "MASTER_PORT": port}
            known |= {"WORLD_SIZE": str(len(places)), **place.variables}
            worker = [sys.executable, "-m", "zoo.bench.processes.worker"]
            running.append(
                subprocess.Popen(
                    [*place.prefix, *worker, *settings, f"threads={threads}"],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    text=True,
                    env=os.environ | fixed | (known if len(places) > 1 else {}),
                )
            )
        yield running
    finally:
        for process in running:
            process.communicate()  # the end of its input ends it


def _round(workers: Workers) -> float:
    """Let workers train on their batches once; returns the tokens of these batches.

    Raises InputError when one of them has ended.
    """
    for worker in workers:
        assert worker.stdin is not None
        worker.stdin.write("\n")
        worker.stdin.flush()
    answers = [worker.stdout.readline() for worker in workers if worker.stdout is not None]
    if not all(answers):
        raise InputError("a process of the benchmark has ended; its error is above")
    return float(json.loads(answers[0]))
