"""Each part measures in a process of its own, and this module watches that process."""

from __future__ import annotations

import math
import multiprocessing
import time
import traceback
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from zoo.bench.gpu import device, packages

if TYPE_CHECKING:
    from multiprocessing.context import ForkServerContext, SpawnContext

GRACE = 8.0  # seconds that a measurement may take beyond its part's end
PRELOADED = ["zoo.bench.gpu.right"]  # module that imports what most parts need
STARTS = 4  # processes that a part may use up
TEXTS = 5  # number of warnings that a measurement keeps
Message = tuple[str, str, Any]  # what it is about, the measurement's name, the content


@dataclass(frozen=True)
class Setting:
    """A part reads here where it runs, until when, and the folders of the command line."""

    device: str  # "cuda" or "cpu"; on a CPU all sizes are tiny
    seconds: float  # of the part
    deadline: float  # time.time() of its end
    data: str | None = None
    keep: str | None = None

    @property
    def small(self) -> bool:
        return self.device == "cpu"

    def left(self) -> float:
        """Return the seconds until the part is over."""
        return self.deadline - time.time()


class Measurement(NamedTuple):
    """A measurement. Its function `run` yields cases, each a dict of plain values."""

    name: str
    run: Callable[[], Iterable[dict[str, Any]]]
    limit: float = 0.5  # share of the part's seconds; without a case for so long, it is ended

    @property
    def kind(self) -> str:
        """Return the name up to its first comma."""
        return kind_of(self.name)


def kind_of(name: str) -> str:
    """Return what a measurement's name begins with, up to the first comma."""
    return name.partition(",")[0]


@dataclass
class Found:
    """This record holds what is known of a part so far."""

    budget: float
    began: float = field(default_factory=time.time)
    head: dict[str, Any] = field(default_factory=dict)
    names: list[str] = field(default_factory=list)
    measurements: dict[str, dict[str, Any]] = field(default_factory=dict)
    failures: list[dict[str, str]] = field(default_factory=list)  # of the part itself
    imported: list[str] = field(default_factory=list)
    starts: int = 0
    took: float | None = None

    lost: set[str] = field(default_factory=set)  # kinds of measurements that ended a process

    def of(self, name: str) -> dict[str, Any]:
        return self.measurements.setdefault(name, {"cases": []})

    @property
    def missed(self) -> list[str]:
        """Return the names of the measurements that have not begun."""
        return [name for name in self.names if name not in self.measurements]

    def plain(self) -> dict[str, Any]:
        measured = [{"name": name, **each} for name, each in self.measurements.items()]
        return {
            "budget_seconds": round(self.budget, 1),
            "seconds": None if self.took is None else round(self.took, 1),
            "over": self.took is not None,
            "failures": self.failures,
            "missed": self.missed,
            "processes": self.starts,
            "measurements": measured,
        }


def failure(error: BaseException) -> dict[str, str]:
    """Return an error as the JSON file holds it."""
    return {
        "error": f"{type(error).__name__}: {error}",
        "traceback": "".join(traceback.format_exception(error))[-6000:],
    }


def finite(value: Any) -> Any:
    """Return a value that JSON can hold. Numbers that are not finite become texts."""
    if isinstance(value, dict):
        return {str(key): finite(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [finite(each) for each in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value if isinstance(value, str | int | float | None) else str(value)


def work(
    module: str, setting: Setting, done: frozenset[str], late: frozenset[str], pipe: Connection
) -> None:
    """Measure what is not `done` of a part, and send the results.

    Kinds in `late` come last. The function runs in a process of its own.
    """
    if setting.small:
        torch.set_num_threads(1)  # tiny sizes do not gain from more
    try:
        pipe.send(("head", "", finite(device.head(setting.device))))
        measurements: list[Measurement] = import_module(module).measurements(setting)
        pipe.send(("limits", "", {m.name: m.limit for m in measurements}))
    except Exception as error:
        pipe.send(("failed", "", failure(error)))
        return
    for measurement in sorted(measurements, key=lambda each: each.kind in late):
        if measurement.name in done:
            continue
        if setting.left() <= 0:
            break
        usable = _measure(measurement, setting, pipe)
        if not usable:
            return  # the watcher starts another process
    pipe.send(("over", "", packages.imported()))


def _measure(measurement: Measurement, setting: Setting, pipe: Connection) -> bool:
    """Run one measurement, and return whether the device is usable afterwards."""
    name, start = measurement.name, time.perf_counter()
    pipe.send(("begun", name, None))
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("default")
        try:
            for case in measurement.run():
                pipe.send(("case", name, finite(case)))
                if setting.left() <= 0:
                    pipe.send(("cut", name, True))
                    break
        except Exception as error:
            pipe.send(("failed", name, failure(error)))
    texts = list(dict.fromkeys(str(each.message)[:300] for each in seen))[:TEXTS]
    ended = {"seconds": round(time.perf_counter() - start, 3)}
    pipe.send(("ended", name, ended | ({"warnings": texts} if texts else {})))
    if device.broken(setting.device):
        return False
    device.free(setting.device)
    return True


def conduct(module: str, setting: Setting, save: Callable[[Found], None]) -> Found:
    """Run the part in `module` until it or its time is over. Call `save` with each result.

    Another process replaces one that dies, or that takes too long over a measurement. It goes on
    with the other measurements, and leaves those of the same kind to the end.
    """
    found = Found(setting.seconds)
    over = False
    while not over and found.starts < STARTS and (setting.left() > 0 or not found.starts):
        found.starts += 1
        over = _attend(module, setting, found, save)
    found.took = time.time() - found.began
    save(found)
    return found


def _attend(module: str, setting: Setting, found: Found, save: Callable[[Found], None]) -> bool:
    """Attend to one process of a part, and return whether the part is over with it."""
    done, late = frozenset(found.measurements), frozenset(found.lost)
    process, pipe = begin(work, module, setting, done, late)
    limits: dict[str, float] = {}
    current, since = "", time.time()
    try:
        while True:
            limit = limits.get(current, 1.0) * setting.seconds
            end = min(since + limit, setting.deadline + GRACE)
            if not pipe.poll(max(0.0, end - time.time())):
                raise TimeoutError(f"ended from outside after {time.time() - since:.1f} s")
            kind, name, content = pipe.recv()
            if kind == "limits":
                limits, found.names = content, [*content]
            elif kind == "head":
                found.head = content
            elif kind == "over":
                found.imported = content
                return True
            else:
                current, since = _note(found, kind, name, content), time.time()
                if kind == "failed" and not name:
                    return True  # it would fail again
            save(found)
    except (EOFError, OSError) as error:  # TimeoutError is an OSError
        process.join(1)
        died = f"the process ended with code {process.exitcode}"
        said = error if isinstance(error, TimeoutError) else RuntimeError(died)
        if current:
            found.of(current).update(failure(said))
            found.lost.add(kind_of(current))
        elif isinstance(error, TimeoutError) or process.exitcode:
            found.failures.append(failure(said))
        save(found)
        return False
    finally:
        stop(process, pipe)


def _note(found: Found, kind: str, name: str, content: Any) -> str:
    """Record a message, and return the measurement that is running after it, "" for none."""
    if not name:
        found.failures.append(content)
        return ""
    measured = found.of(name)
    if kind == "case":
        measured["cases"].append(content)
    elif kind == "cut":
        measured["cut"] = content
    elif kind in ("failed", "ended"):
        measured.update(content)
    return "" if kind == "ended" else name


def begin(function: Callable[..., None], *given: Any) -> tuple[BaseProcess, Connection]:
    """Call a function in a fresh Python process, with a connection behind its arguments.

    The process is no copy of this one, because CUDA does not survive a fork. Without CUDA it is a
    fork of a third one, which has imported torch and done nothing else: it starts at once.
    """
    context = _context()
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=function, args=(*given, sender))
    process.start()
    sender.close()
    return process, receiver


@cache
def _context() -> SpawnContext | ForkServerContext:
    if torch.cuda.is_available() or "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    return context


def stop(process: BaseProcess, pipe: Connection) -> None:
    """End a process that is still running."""
    pipe.close()
    process.join(2)
    if process.is_alive():
        process.kill()
        process.join()


def apart(function: Callable[[], dict[str, Any]], seconds: float) -> dict[str, Any]:
    """Run a function in a fresh process, and return its result.

    Raises RuntimeError with the traceback of its error, and TimeoutError after `seconds`.
    """
    process, pipe = begin(_call, function)
    try:
        if not pipe.poll(max(0.0, seconds)):
            process.kill()
            raise TimeoutError(f"not done after {seconds:.1f} s")
        try:
            right, content = pipe.recv()
        except EOFError:
            process.join(1)
            raise RuntimeError(f"the process ended with code {process.exitcode}") from None
    finally:
        stop(process, pipe)
    if not right:
        raise RuntimeError(content["traceback"])
    return content


def _call(function: Callable[[], dict[str, Any]], pipe: Connection) -> None:
    try:
        pipe.send((True, function()))
    except Exception as error:
        pipe.send((False, failure(error)))
