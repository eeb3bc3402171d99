"""What the environment tells torch and OpenMP, unless the user has told them."""

from __future__ import annotations

import os

# torch then allocates large tensors in huge pages. With 4 kB pages, a third of a training step over
# a large vocabulary (half a second) went into new pages.
HUGE_PAGES = "THP_MEM_ALLOC_ENABLE", "1"

# The rounds in which a thread of OpenMP waits for another one before it sleeps. By default they take
# milliseconds, which other programs could work in. A step of an LSTM (16 rows, 20 steps, 128 units,
# two threads on two cores; median, ms):
#
#     rounds                   300,000 (default)  10,000   1,000     0
#     nothing else runs                      4.2     4.4     5.6    20
#     five other programs                  4,500     190
#
# 256 units take 82, 81, 85 and 111 ms. The results have the same bits.
SHORT_WAITS = "GOMP_SPINCOUNT", "10000"


def variables() -> dict[str, str]:
    """Return the variables that are not set. They are read when torch is imported."""
    wanted = [HUGE_PAGES]
    if "OMP_WAIT_POLICY" not in os.environ:
        wanted.append(SHORT_WAITS)
    return {name: value for name, value in wanted if name not in os.environ}
