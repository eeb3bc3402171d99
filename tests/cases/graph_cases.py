"""A stand-in for CUDA graphs."""

from __future__ import annotations

from contextlib import contextmanager


class Tape:
    """In place of CUDA graphs: it runs the work once, as a warm-up, and again at each replay."""

    def __init__(self, fail_at=None, error=None):
        self.recorded = self.replayed = self.finished = 0
        self.fail_at, self.error = fail_at, error or RuntimeError("broken")
        self.inside, self.occupied = False, False

    def record(self, work):
        assert self.inside
        self.recorded += 1
        if self.recorded == self.fail_at:
            raise self.error
        work()

        def replay():
            assert self.inside
            self.replayed += 1
            work()

        return replay

    @contextmanager
    def turn(self):
        assert not self.inside
        self.inside = True
        try:
            yield
        finally:
            self.inside = False

    def finish(self):
        self.finished += 1

    def busy(self):
        return self.occupied
