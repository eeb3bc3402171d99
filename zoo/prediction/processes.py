"""Work that the processes of one run share out, as `torchrun` starts them; alone without it."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from itertools import islice
from types import FrameType
from typing import Any, NoReturn, TypeVar

from torch import distributed

from zoo.errors import InputError

Item = TypeVar("Item")
Result = TypeVar("Result")

LAUNCHED = "RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"  # what torchrun sets
PATIENCE = timedelta(days=7)  # a lost process ends the connection at once, a slow one does not
EXPECTED = InputError, OSError  # errors that become one line, whichever process they are of


class Failed:
    """An error in the place of a result or of an item; it can be sent to another process."""

    def __init__(self, error: Exception) -> None:
        self.error = InputError(str(error)) if isinstance(error, InputError) else error


class Processes:
    """Process `rank` of `world`. Only process 0 writes."""

    def __init__(self, rank: int = 0, world: int = 1, group: Any = None) -> None:
        """`group` is the gloo group of several processes."""
        self.rank = rank
        self.world = world
        self.group = group
        self.counts = [0] * world  # items that each process has worked on; known to process 0

    def map(
        self,
        work: Callable[[Item], Result],
        items: Iterable[Item],
        size: Callable[[Any], int] = len,
    ) -> Iterator[Result]:
        """Yield the results of `work` in the order of the items, in process 0; elsewhere nothing.

        Every process iterates over all items, and works on every `world`-th. They keep step, so
        that memory holds `world` items and results. `size` is what an item adds to `counts`. The
        first error in the order of the items is raised in process 0, after the results before it;
        the other processes then end with status 2, in silence.
        """
        if self.world == 1:
            for item in items:
                self.counts[0] += size(item)
                yield work(item)
            return
        source = _with_error(iter(items))
        while True:
            taken = [*islice(source, self.world)]
            own = taken[self.rank] if self.rank < len(taken) else None
            wrong = next((item for item in taken if isinstance(item, Failed)), None)
            if own is not None and not isinstance(own, Failed):
                own = _tried(work, own)
            failed, results = self._gathered(wrong if own is None else own, len(taken))
            for rank, item in enumerate(taken if self.rank == 0 else ()):
                if isinstance(results[rank], Failed):
                    raise results[rank].error
                self.counts[rank] += size(item)
                yield results[rank]
            if failed:
                with suppress(RuntimeError):  # process 0 says what is wrong, and leaves
                    distributed.barrier(self.group)
                raise SystemExit(2)
            if len(taken) < self.world:
                return

    def same(self, items: Iterable[Item]) -> Iterator[Item]:
        """Yield in every process the items that process 0 has: what only that one can read."""
        if self.world == 1:
            yield from items
            return
        source = _with_error(iter(items)) if self.rank == 0 else iter(())
        while True:
            sent: list[Any] = [next(source, None)]
            with _lost_is_one_line():
                distributed.broadcast_object_list(sent, src=0, group=self.group)
            if sent[0] is None:
                return
            if isinstance(sent[0], Failed):
                raise sent[0].error
            yield sent[0]

    def _gathered(self, result: Any, taken: int) -> tuple[bool, list[Any]]:
        """Return whether a process failed and, in process 0, the results of all processes.

        Raises InputError unless all processes have `taken` as many items.
        """
        flags: list[Any] = [None] * self.world
        results: list[Any] = [None] * self.world
        with _lost_is_one_line():
            distributed.all_gather_object(flags, (isinstance(result, Failed), taken), self.group)
            gathered = results if self.rank == 0 else None
            distributed.gather_object(result, gathered, group=self.group)
        failed = any(wrong for wrong, _ in flags)
        if not failed and len({count for _, count in flags}) > 1:
            raise InputError("the processes read different inputs: each needs the same file")
        return failed, results


def _with_error(items: Iterator[Any]) -> Iterator[Any]:
    """Yield the items, and an error of the iterator as the last of them."""
    try:
        yield from items
    except EXPECTED as error:
        yield Failed(error)


def _tried(work: Callable[[Any], Any], item: Any) -> Any:
    """Return the result of `work`, or its error."""
    try:
        return work(item)
    except EXPECTED as error:
        return Failed(error)


@contextmanager
def _lost_is_one_line() -> Iterator[None]:
    """Turn the end of another process into one line."""
    try:
        yield
    except RuntimeError:  # of gloo: the connection is closed
        raise InputError(
            "another process of this run has ended: the answers are not complete"
        ) from None


def launched() -> tuple[int, int]:
    """Return the number of this process and of all processes, as torchrun gives them; else (0, 1)."""
    if not all(name in os.environ for name in LAUNCHED):
        return 0, 1
    return int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])


@contextmanager
def started() -> Iterator[Processes]:
    """Join the processes that torchrun started, over gloo; one process alone is ready at once.

    SIGTERM, which torchrun sends when one of them has ended, ends this one with its files removed.
    """
    rank, world = launched()
    if world == 1:
        yield Processes()
        return
    with _ended_by_sigterm():
        if not distributed.is_initialized():
            distributed.init_process_group("gloo", timeout=PATIENCE)
        yield Processes(rank, world, distributed.new_group(timeout=PATIENCE, backend="gloo"))


@contextmanager
def _ended_by_sigterm() -> Iterator[None]:
    """Let SIGTERM unwind the main thread, so that half-written files are removed."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def end(number: int, frame: FrameType | None) -> NoReturn:
        raise SystemExit(128 + number)

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
