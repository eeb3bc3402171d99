"""Time sides that take turns, and the rate of a plain matrix product."""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any

import torch

from zoo.device import DTYPES

ROUNDS = 5


def interleave(
    sides: Mapping[str, Callable[[], Any]], rounds: int = ROUNDS, warm: bool = False
) -> dict[str, float]:
    """Return the median seconds of each side. They take turns, in another order each round.

    The first round only warms up. With `warm` a side runs twice in its turn, and the second run
    counts. A short run then does not pay for the caches that the previous side has emptied.
    """
    seconds: dict[str, list[float]] = {side: [] for side in sides}
    order = list(sides)
    shuffled = random.Random(1)
    for lap in range(rounds + 1):
        for side in order:
            if warm:
                sides[side]()
            start = time.perf_counter()
            sides[side]()
            if lap:
                seconds[side].append(time.perf_counter() - start)
        shuffled.shuffle(order)
    return {side: statistics.median(laps) for side, laps in seconds.items()}


def compare(
    name: str,
    unit: str,
    work: float,
    ours: Callable[[], Any],
    peer: Callable[[], Any],
    rounds: int = ROUNDS,
) -> dict[str, Any]:
    """Return one case: `work` over the median seconds of each side, and the ratio of the rates."""
    seconds = interleave({"ours": ours, "peer": peer}, rounds)
    return case(name, unit, work, seconds["ours"], seconds["peer"])


def case(name: str, unit: str, work: float, ours: float, peer: float) -> dict[str, Any]:
    """Return a case from the seconds of both sides. A faster `ours` has a ratio above 1."""
    return {
        "name": name,
        "unit": unit,
        "ours": work / ours,
        "peer": work / peer,
        "ratio": peer / ours,
    }


def matrix_rate(device: torch.device, precision: str) -> float:
    """Return the operations per second of a square matrix product."""
    size = square(device)
    product = matrix_product(device, precision, size)
    return 2 * size**3 / interleave({"product": product})["product"]


def square(device: torch.device) -> int:
    """Return the rows of a square matrix that the device multiplies at its full rate."""
    return 8192 if device.type == "cuda" else 2048


def matrix_product(device: torch.device, precision: str, size: int) -> Callable[[], None]:
    """Return a function that multiplies (size, size) matrices: 2 * size ** 3 operations."""
    left = torch.randn(size, size, device=device, dtype=DTYPES[precision])

    def product() -> None:
        left @ left
        wait(device)

    return product


def wait(device: torch.device) -> None:
    """Wait until the device has finished its work."""
    if device.type == "cuda":
        torch.cuda.synchronize()
