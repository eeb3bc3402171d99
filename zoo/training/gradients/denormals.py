"""Denormal numbers, those below 1.2e-38 in float32, which processors compute very slowly.

Adam's mean of a gradient shrinks by a tenth in each step without one. After 800 steps that of a
word that is rare is denormal, and stays so: an update of such weights takes seven times as long.
The gradient of an early step of a long text becomes denormal, too. Such a number changes no weight:
it is far below the last digit of whatever it is added to.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from zoo import torch_private


@contextmanager
def flushed() -> Iterator[None]:
    """Compute with 0 in the place of denormal numbers, in this thread and in torch's own threads.

    Threads of others compute as before, and at the end these do, too. Where the processor cannot do
    it, or does it anyway, nothing is changed.

    >>> import torch
    >>> small = torch.tensor(1e-30)
    >>> with flushed():
    ...     (small * 1e-10).item()
    0.0
    >>> (small * 1e-10).item() > 0
    True
    """
    if is_flushing() or not torch.set_flush_denormal(True):
        yield
        return
    try:
        _set_team(True)
        yield
    finally:
        torch.set_flush_denormal(False)
        _set_team(False)


def is_flushing() -> bool:
    """Return whether this thread computes with 0 in the place of denormal numbers.

    >>> is_flushing()
    False
    """
    return sys.float_info.min / 2 == 0


def _set_team(wanted: bool) -> None:
    """Set the flag of the threads of torch's OpenMP, among which operations are split."""
    threads = torch.get_num_threads()
    if threads > 1 and torch_private.openmp() is not None:
        torch_private.run_in_team(lambda: _set(wanted), threads)


def _set(wanted: bool) -> None:
    torch.set_flush_denormal(wanted)
