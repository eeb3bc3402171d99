"""Work in a child of this process, which has imported what is slow to import."""

from __future__ import annotations

import os
import resource
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable


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
