"""Sides that take turns, and the rate of a plain matrix product."""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any

import torch

from zoo import device as machine

ROUNDS = 5


def interleave(
    sides: Mapping[str, Callable[[], Any]], rounds: int = ROUNDS, warm: bool = False
) -> dict[str, float]:
    """The median seconds of each side. They take turns, in another order each round.

    The first round only warms up. With `warm` a side is run twice in its turn and the second run
    counts: a short one then does not pay for the caches that the side before it has emptied.
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
    """One case: `work` units divided by the median time of each side, and their ratio."""
    seconds = interleave({"ours": ours, "peer": peer}, rounds)
    return case(name, unit, work, seconds["ours"], seconds["peer"])


def case(name: str, unit: str, work: float, ours: float, peer: float) -> dict[str, Any]:
    """A case from the seconds of both sides; the ratio is of their rates, above 1 where ours is
    faster."""
    return {
        "name": name, "unit": unit, "ours": work / ours, "peer": work / peer, "ratio": peer / ours,
    }  # fmt: skip


def matrix_rate(device: torch.device, precision: str) -> float:
    """Operations per second of a square matrix product."""
    size = square(device)
    product = matrix_product(device, precision, size)
    return 2 * size**3 / interleave({"product": product})["product"]


def square(device: torch.device) -> int:
    """Rows of a matrix that is large enough for the device to multiply at its full rate."""
    return 8192 if device.type == "cuda" else 2048


def matrix_product(device: torch.device, precision: str, size: int) -> Callable[[], None]:
    """A square matrix product of `size`, 2 * size ** 3 operations."""
    left = torch.randn(size, size, device=device, dtype=machine.DTYPES[precision])

    def product() -> None:
        left @ left
        wait(device)

    return product


def wait(device: torch.device) -> None:
    """Until the device has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize()
