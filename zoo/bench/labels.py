"""Compare a pretrained backbone with training from scratch, on all, 10 % and 1 % of the labels."""

from __future__ import annotations

import logging
import statistics
from collections.abc import Sequence
from typing import Any

from zoo.config import SHAPE, check, compose
from zoo.errors import InputError
from zoo.model_folder.verify import read_config
from zoo.training import pipeline

log = logging.getLogger("zoo")

SHARES = {1.0: 1, 0.1: 2, 0.01: 5}  # share of the labels -> factor on the epochs
UNIT = "of the test rows' metric"


def labels(arguments: Sequence[str], rounds: int) -> list[dict[str, Any]]:
    """Compare test metrics of trainings that start from `init=MODEL` with trainings from scratch.

    Both sides have the same rows, the same sizes and the same number of epochs. The side from
    scratch learns its tokenizer and its embedding from its own rows. Each side trains once for each
    of the seeds 1 to `rounds`, which also draw the rows. `shares=0.1,0.01` measures these shares
    alone. Raises InputError without `init`.
    """
    given = dict(argument.partition("=")[::2] for argument in arguments)
    if "init" not in given:
        raise InputError("zoo.bench labels needs init=MODEL, whose backbone is to be compared")
    shares = [float(share) for share in given.get("shares", "1,0.1,0.01").split(",")]
    both = [a for a in arguments if not a.startswith(("init=", "shares=", "directions="))]
    begun = [a for a in arguments if a.startswith(("init=", "directions="))]
    options = read_config(given["init"])["backbone"]
    turned = {"both": True, "forward": False}.get(
        given.get("directions", ""), options["bidirectional"]
    )
    shape = {name: options[name] for name in SHAPE} | {"bidirectional": turned}
    alone = [f"backbone.{name}={str(value).lower()}" for name, value in shape.items()]
    return [_at(share, rounds, both, begun, alone) for share in shares]


def _at(
    share: float, seeds: int, both: Sequence[str], begun: Sequence[str], alone: Sequence[str]
) -> dict[str, Any]:
    """Train both sides on one share of the labels, and return their case."""
    epochs = check(compose([*both, *alone])).train.epochs * SHARES.get(share, 1)
    found: dict[str, list[float]] = {"ours": [], "peer": []}
    for seed in range(1, seeds + 1):
        for side, own in (("ours", begun), ("peer", alone)):
            more = [f"train.fraction={share}", f"train.epochs={epochs}", "train.patience=0"]
            task, report = pipeline.train(*both, *own, *more, f"seed={seed}", "baseline=false")
            found[side].append(report["test"][task.metric])
            rows = report["rows"]["train"]
            log.warning(
                "%s: %d rows, seed %d: %s %.4f after %.0f s of training",
                side,
                rows,
                seed,
                task.metric,
                found[side][-1],
                report["train_seconds"],
            )
    means = {side: statistics.mean(values) for side, values in found.items()}
    gap = min(found["ours"]) - max(found["peer"])
    return {
        "name": f"{share:.0%} of the labels, {rows} rows",
        "unit": UNIT,
        **means,
        "ratio": means["ours"] / means["peer"],
        "share": share,
        "epochs": epochs,
        "all": found,
        "least_gap": gap,
    }
