"""This module times sides that take turns. It keeps to a given time, whatever a side does."""

from __future__ import annotations

import random
import statistics
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import torch

from zoo.bench.gpu.device import broken, clock, free

SAMPLE = 0.005  # seconds of a sample; a short call is repeated within it
SLOW = 2.0  # seconds of a second call that is followed by no third one
REPEATS = 20  # number of calls in a sample at most
ROUNDS = 3, 9  # number of samples at least and at most; a slow side gets one

Side = Callable[[], Any]


class _Plan(NamedTuple):
    first: float  # seconds of the first call, which may compile
    repeats: int
    rounds: int


def medians(
    sides: Mapping[str, Side], device: torch.device, seconds: float
) -> dict[str, dict[str, Any]]:
    """Measure the median seconds of a call of each side, in about `seconds` altogether.

    A side's third call decides how often it is called. A side that fails has an "error" in place
    of figures. Raises that error when it leaves the device unusable.
    """
    found: dict[str, dict[str, Any]] = {}
    share = seconds / max(1, len(sides))
    plans: dict[str, _Plan] = {}
    samples: dict[str, list[float]] = {}
    for name, side in sides.items():
        plan = _guarded(name, partial(_plan, side, device, share), found)
        if plan is not None:
            plans[name], samples[name] = plan, []
    shuffled, order = random.Random(1), [*plans]
    for lap in range(max((plan.rounds for plan in plans.values()), default=0)):
        for name in order:
            plan = plans[name]
            if lap < plan.rounds and name not in found:
                sample = _guarded(name, partial(clock, sides[name], plan.repeats, device), found)
                samples[name] += [] if sample is None else [sample]
        shuffled.shuffle(order)
    for name, plan in plans.items():
        if name not in found:
            found[name] = {
                "seconds": statistics.median(samples[name]),
                "least": min(samples[name]),
                "most": max(samples[name]),
                "samples": plan.rounds,
                "calls": plan.repeats,
                "first_seconds": plan.first,
            }
    return {name: found[name] for name in sides}


def _plan(side: Side, device: torch.device, seconds: float) -> _Plan:
    first, later = (clock(side, 1, device) for _ in range(2))
    if later < SLOW:
        later = clock(side, 1, device)  # the second call may still have captured a CUDA graph
    repeats = max(1, min(REPEATS, int(SAMPLE / max(later, 1e-9))))
    least, most = ROUNDS
    affordable = int(seconds / max(repeats * later, 1e-9))
    rounds = min(most, max(1 if later > seconds else least, affordable))
    return _Plan(first, repeats, rounds)


def _guarded(name: str, measure: Callable[[], Any], found: dict[str, dict[str, Any]]) -> Any:
    """Return what `measure` returns, or None when it fails and its error is in `found`."""
    try:
        return measure()
    except Exception as error:
        kind = "cuda" if torch.cuda.is_available() else "cpu"
        if broken(kind):
            raise
        found[name] = {"error": f"{type(error).__name__}: {str(error)[:500]}"}
    free(kind)
    return None


def ratios(found: Mapping[str, Mapping[str, Any]], peers: Mapping[str, str]) -> dict[str, float]:
    """Divide each peer's seconds by its side's own. A faster side has a ratio above 1."""
    return {
        side: found[peer]["seconds"] / found[side]["seconds"]
        for side, peer in peers.items()
        if "seconds" in found.get(side, {}) and "seconds" in found.get(peer, {})
    }
