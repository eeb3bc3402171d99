"""A worker for each model: requests that arrive together are answered as one batch.

Several threads take batches, and each computes its own: two threads of torch in one small product
mostly wait for each other. An answer does not depend on the others of its batch. Requests with
different generation configs are different batches. Texts that are streamed advance in turns, a
piece each, between the batches.
"""

from __future__ import annotations

import logging
import math
import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from typing import Any, ClassVar, Protocol

import torch

from zoo.config import ServeConfig
from zoo.data.readers import Row
from zoo.errors import InputError, RowError
from zoo.evaluation.config import EvaluationConfig
from zoo.generation.config import GenerationConfig
from zoo.generation.interrupt import ask_before_modules, interruptible
from zoo.memory import release_memory
from zoo.model_folder.verify import line_of
from zoo.task import Generative, Task, predict_rows

log = logging.getLogger("zoo")

# Rows per call of the model: reviews of IMDb are answered fastest so. More only add padding.
EVALUATION = EvaluationConfig(batch_rows=8)
CALLS = 2  # least number of calls in a full batch


class Full(Exception):
    """Too many requests wait already."""


class Gone(Exception):
    """Nobody waits for the answer that is computed."""


class Place(str):
    """The place of an input in its request, as the source of its row."""

    number: int

    def __new__(cls, number: int) -> Place:
        place = super().__new__(cls, f"inputs[{number}]")
        place.number = number
        return place


class Job:
    """A request that waits for its answers. `gone` is set when nobody waits for them any more."""

    def __init__(self) -> None:
        self.arrived = time.monotonic()
        self.gone = False


class Prediction(Job):
    """Inputs that are answered together with those of other requests."""

    def __init__(self, rows: Sequence[Row], config: GenerationConfig | None) -> None:
        super().__init__()
        self.rows = rows
        self.config = config
        self.answers: Future[tuple[list[Any], list[int]]] = (
            Future()
        )  # with the inputs that were cut


class Call(Job):
    """A function that is called on its own."""

    def __init__(self, function: Callable[[], Any]) -> None:
        super().__init__()
        self.function = function
        self.answers: Future[Any] = Future()


class Stream(Job):
    """A text that is sent in pieces: `send` takes each, then None, or the error that ended it."""

    def __init__(
        self,
        text: str,
        config: GenerationConfig | None,
        send: Callable[[str | Exception | None], None],
    ) -> None:
        super().__init__()
        self.text = text
        self.config = config
        self.send = send


class Counts(Protocol):
    """What a worker reports to the metrics."""

    def batch(self, model: str, inputs: int) -> None:
        """Count a batch and its inputs."""


class Own(threading.local):
    """What belongs to one thread of a worker."""

    def __init__(self) -> None:
        self.streams: list[tuple[Stream, Iterator[str]]] = []
        self.running: Sequence[Job] = ()


class Worker:
    """The threads that answer the requests to one model."""

    # The memory is that of the process: one thread releases it, whatever its model.
    _releasing: ClassVar[threading.Lock] = threading.Lock()
    _released: ClassVar[float] = 0.0

    def __init__(
        self,
        name: str,
        task: Task,
        options: ServeConfig,
        counts: Counts,
        precision: str = "fp32",
        threads: int = 1,
    ) -> None:
        """Each of `threads` answers batches of its own, from the first request on, until `stop`."""
        self.name = name
        self.task = task.eval()
        self.options = options
        self.counts = counts
        self.precision = precision
        self.threads = threads
        self.waiting = 0  # jobs that were accepted and are not answered yet
        self._lock = threading.Lock()
        self._jobs: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._own = Own()
        self._collecting = threading.Lock()
        self._stopped = False
        self._threads = [
            threading.Thread(target=self._run, name=f"zoo {name} {number}", daemon=True)
            for number in range(threads)
        ]
        self._stop_asking = ask_before_modules(self.task)

    def submit(self, job: Job) -> None:
        """Let a job wait for its turn. Raises Full when too many do already."""
        with self._lock:
            if self.waiting >= self.options.queue or self._stopped:
                raise Full
            self.waiting += 1
            if self._threads[0].ident is None:
                for thread in self._threads:
                    thread.start()
            self._jobs.put(job)

    def stop(self) -> None:
        """Answer what was accepted, then end the threads."""
        with self._lock:
            self._stopped = True
        self._jobs.put(None)
        for thread in self._threads:
            if thread.is_alive():
                thread.join()
        self._stop_asking()

    def _check(self) -> None:
        """Raise Gone inside of the model when nobody waits for what it computes."""
        if self._own.running and all(job.gone for job in self._own.running):
            raise Gone

    def _run(self) -> None:
        torch.set_num_threads(1)
        with interruptible(self._check):
            while (jobs := self._collect()) is not None:
                for group in _groups(jobs):
                    self._do(group)
                self._advance()
                self._release()

    def _release(self) -> None:
        """Give freed memory back now and then: batches of many shapes leave gaps in it."""
        if Worker._releasing.acquire(blocking=False):
            try:
                Worker._released = release_memory(Worker._released)
            finally:
                Worker._releasing.release()

    def _collect(self) -> list[Job] | None:
        """Return the jobs that arrived, and those that arrive within `batch_wait` of the first.

        Does not wait while texts are streamed. Returns None at the end.
        """
        streams = bool(self._own.streams)
        if not self._collecting.acquire(blocking=not streams):  # one batch fills up after the other
            return []
        try:
            first = self._next(0 if streams else None)
            if first is None:
                return None if self._stopped and not streams else []
            jobs = [first]
            # The other threads get their share of what waits, unless it is little: of several calls
            # of the model each has rows of like length.
            share = math.ceil((1 + self._jobs.qsize()) / self.threads)
            most = min(self.options.batch_inputs, max(CALLS * EVALUATION.batch_rows, share))
            until = first.arrived + (0 if streams else self.options.batch_wait)
            while sum(map(_inputs, jobs)) < most:
                job = self._next(max(0.0, until - time.monotonic()))
                if job is None:
                    break
                jobs.append(job)
            return jobs
        finally:
            self._collecting.release()

    def _next(self, seconds: float | None) -> Job | None:
        """Return the next job; None when none arrives in time, or at the end."""
        try:
            job = self._jobs.get(timeout=seconds) if seconds != 0 else self._jobs.get_nowait()
        except queue.Empty:
            return None
        if job is None:  # the end: seen by everyone who asks after it
            self._jobs.put(None)
        return job

    def _do(self, jobs: Sequence[Job]) -> None:
        """Answer jobs of one kind. An error belongs to the request that it is about."""
        jobs = [job for job in jobs if not job.gone or self._finish(job)]
        if not jobs:
            return
        self._own.running = jobs
        try:
            self._compute(jobs)
        except Exception as error:
            if len(jobs) == 1 or isinstance(error, Gone):
                for job in jobs:
                    self._finish(job, _cause(self.task, job, error))
            else:
                for job in jobs:
                    self._do([job])
        finally:
            self._own.running = ()

    def _compute(self, jobs: Sequence[Job]) -> None:
        """Compute what the jobs of one kind ask for."""
        job = jobs[0]
        if isinstance(job, Prediction):
            predictions = [each for each in jobs if isinstance(each, Prediction)]
            rows = [row for each in predictions for row in each.rows]
            cut: list[str] = []
            self.counts.batch(self.name, len(rows))
            with torch.inference_mode():
                found = predict_rows(self.task, rows, self.precision, EVALUATION, job.config, cut)
                answers = list(found)
            places = {id(place) for place in cut}
            for each in predictions:
                own = answers[: len(each.rows)]
                del answers[: len(each.rows)]
                numbers = [n for n, row in enumerate(each.rows) if id(row.source) in places]
                self._finish(each, (own, numbers))
        elif isinstance(job, Call):
            self._finish(job, job.function())
        elif isinstance(job, Stream):
            assert isinstance(self.task, Generative)
            self._own.streams.append((job, iter(self.task.stream(job.text, job.config))))

    def _advance(self) -> None:
        """Send the next piece of every text that is streamed."""
        for job, pieces in list(self._own.streams):
            self._own.running = [job]
            try:
                with torch.inference_mode():
                    piece = None if job.gone else next(pieces, None)
            except Exception as error:
                self._end(job, pieces, error)
                continue
            finally:
                self._own.running = ()
            if piece is None:
                self._end(job, pieces)
            else:
                job.send(piece)

    def _end(self, job: Stream, pieces: Iterator[str], error: Exception | None = None) -> None:
        """Take a text out of those that are streamed."""
        self._own.streams = [each for each in self._own.streams if each[0] is not job]
        del pieces
        self._finish(job, error)

    def _finish(self, job: Job, result: Any = None) -> bool:
        """Hand a job its result or its error. Returns False."""
        with self._lock:
            self.waiting -= 1
        if isinstance(job, Stream):
            job.send(result)
        elif isinstance(job, (Prediction, Call)):
            with suppress(InvalidStateError):  # cancelled: nobody waits for it
                if isinstance(result, Exception):
                    job.answers.set_exception(result)
                else:
                    job.answers.set_result(result)
        return False


def _cause(task: Task, job: Job, error: Exception) -> Exception:
    """Return the error of the input that cannot be read, if there is one; else `error`."""
    if isinstance(job, Prediction) and not isinstance(error, (InputError, Gone)):
        for row in job.rows:
            try:
                task.encode(row)
            except InputError as own:
                return own
            except Exception as own:
                return RowError(row.source, f"it cannot be read: {line_of(own)}")
    return error


def _inputs(job: Job) -> int:
    """Return the inputs that a job adds to a batch."""
    return len(job.rows) if isinstance(job, Prediction) else 1


def _groups(jobs: Sequence[Job]) -> list[list[Job]]:
    """Return jobs in groups that are answered together: predictions with one generation config."""
    groups: dict[Any, list[Job]] = {}
    for job in jobs:
        key = (Prediction, job.config) if isinstance(job, Prediction) else id(job)
        groups.setdefault(key, []).append(job)
    return [*groups.values()]
