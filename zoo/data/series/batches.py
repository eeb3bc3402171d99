"""Windows of series as batches of torch tensors."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from zoo.data.batch import Batch, Example
from zoo.data.series.framing import Framing
from zoo.data.series.linear import LinearForecast


def batch_of(
    framing: Framing, examples: Sequence[Example], linear: LinearForecast | None = None
) -> Batch:
    """Return windows as a batch: see `Framing.arrays`.

    extras: "base", "scale" and "channels", and "known" where covariates are known ahead.
    """
    made = framing.arrays(examples, linear)
    extras = {name: torch.from_numpy(made[name]) for name in ("base", "scale")}
    extras["channels"] = made["channels"]
    if framing.future:
        extras["known"] = torch.from_numpy(made["known"])
    targets = None if made["targets"] is None else torch.from_numpy(made["targets"])
    return Batch(
        torch.from_numpy(made["inputs"]), torch.from_numpy(made["lengths"]), targets, extras
    )
