"""Work in a child of this process, which has imported what is slow to import."""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import IO

HEAVY = "torch", "sklearn.utils", "scipy.stats", "matplotlib.pyplot", "accelerate", "sentencepiece"


def forked(
    work: Callable[[], int], seconds: int, clock: int = 0, memory: int = 0, raised: int = 1
) -> tuple[int, str]:
    """Do some work in a fork; return its exit status, negative for a signal, and what it printed.

    A signal ends it after so many `seconds` of work, or of the `clock`, 0 for never. `memory` is the
    most bytes of addresses, 0 for any. `raised` is the status when the work raises an exception.
    """
    with tempfile.TemporaryFile() as output:
        child = os.fork()
        if not child:
            status = raised
            try:
                resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 5))
                resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
                if memory:
                    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
                signal.alarm(clock)
                nothing = os.open(os.devnull, os.O_RDONLY)
                for stream, file in ((0, nothing), (1, output.fileno()), (2, output.fileno())):
                    os.dup2(file, stream)
                status = work()
            except SystemExit as error:
                status = error.code if isinstance(error.code, int) else raised
            except BaseException:
                traceback.print_exc()
            finally:
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(status)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        output.seek(0)
        return status, output.read().decode("utf-8", "replace")


def _temporary(opened: contextlib.ExitStack) -> IO[bytes]:
    return opened.enter_context(tempfile.TemporaryFile())


class Forked:
    """A command line of `zoo.run` in a fork of this process; a start of Python and torch takes seconds.

    It begins at once. `given` is its standard input, `encoding` that of all three streams. `largest`
    is the most bytes that a file may have, 0 for any. Warnings are errors. Signals do what they do
    in a process that nobody has set up.
    """

    def __init__(
        self, words: Sequence[str], given: str = "", *, encoding: str = "utf-8", largest: int = 0
    ) -> None:
        self.encoding = encoding
        self.returncode: int | None = None  # negative for a signal
        self.stdout = self.stderr = ""  # once it has ended
        self._open = contextlib.ExitStack()
        self._streams = [_temporary(self._open) for _ in range(3)]
        for module in HEAVY:
            import_module(module)
        self._streams[0].write(given.encode(encoding))
        self._streams[0].seek(0)
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore", DeprecationWarning
            )  # Python 3.12 warns if there are threads
            self.pid = os.fork()
        if not self.pid:
            status = 1
            try:
                status = self._work(words, largest)
            except SystemExit as error:
                status = error.code if isinstance(error.code, int) else 1
            except BaseException:
                traceback.print_exc()
            finally:
                for stream in (sys.stdout, sys.stderr):
                    with contextlib.suppress(OSError):
                        stream.flush()
                os._exit(status)

    def _work(self, words: Sequence[str], largest: int) -> int:
        from zoo import run

        signal.signal(signal.SIGINT, signal.default_int_handler)
        for kind in (signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE):
            signal.signal(kind, signal.SIG_DFL)
        for number, stream in enumerate(self._streams):
            os.dup2(stream.fileno(), number)
        sys.stdin = os.fdopen(0, "r", encoding=self.encoding)
        sys.stdout = os.fdopen(1, "w", encoding=self.encoding)
        sys.stderr = os.fdopen(2, "w", encoding=self.encoding, errors="backslashreplace")
        warnings.simplefilter("error")
        if largest:
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # as Python does at its start
            resource.setrlimit(resource.RLIMIT_FSIZE, (largest, largest))
        return run.main([*words])

    def poll(self) -> int | None:
        """Return the exit status, None while it works."""
        if self.returncode is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.returncode = os.waitstatus_to_exitcode(status)
                self._read()
        return self.returncode

    def wait_for(self, path: Path, lines: int) -> None:
        """Wait until it has written so many lines into a file."""
        while not path.exists() or path.read_text("utf-8").count("\n") < lines:
            assert self.poll() is None, self.stdout + self.stderr
            time.sleep(0.005)

    def wait(self, seconds: float) -> int:
        """Wait until it ends; return the exit status. After so many seconds it is killed."""
        end = time.monotonic() + seconds
        while (status := self.poll()) is None:
            if time.monotonic() > end:
                self.send_signal(signal.SIGKILL)
                os.waitpid(self.pid, 0)
                self._read()
                raise TimeoutError(f"no end after {seconds} s: {self.stdout}{self.stderr}")
            time.sleep(0.005)
        return status

    def send_signal(self, kind: int) -> None:
        """Send it a signal."""
        os.kill(self.pid, kind)

    def _read(self) -> None:
        with self._open:
            for stream in self._streams:
                stream.seek(0)
            _, out, err = (
                stream.read().decode(self.encoding, "surrogateescape") for stream in self._streams
            )
        self.stdout, self.stderr = out, err
