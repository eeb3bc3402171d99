"""What the answers of an exported task need besides its graphs: options, and arrays of no graph."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from zoo.evaluation.label_sets import LabelSets
from zoo.nn.crf import CRF
from zoo.runtime.folder import ARRAYS
from zoo.task import Task


def options(task: Task) -> dict[str, Any]:
    """Return the options of a task that `zoo.runtime` reads, as plain data."""
    return OPTIONS[task.name](task)


def arrays(task: Task, folder: Path) -> list[str]:
    """Write the arrays that are no part of a graph: the scores of a CRF. Return their files."""
    chain = getattr(task, "chain", None)
    if not isinstance(chain, CRF):
        return []
    start, transitions = chain.allowed()
    for name, value in zip(ARRAYS, (start, transitions, chain.end), strict=True):
        np.save(folder / name, value.detach().numpy())
    return [*ARRAYS]


def _classify(task: Any) -> dict[str, Any]:
    thresholds = None
    if isinstance(task.decision, LabelSets):
        thresholds = task.decision.thresholds.tolist()
    return {
        "max_length": task.config.max_length,
        "append_eos": task.config.append_eos,
        "thresholds": thresholds,
    }


def _tag(task: Any) -> dict[str, Any]:
    config = task.config
    return {"words": config.words, "crf": config.crf, "append_eos": config.append_eos}


def _translate(task: Any) -> dict[str, Any]:
    decoder = task.decoder
    return {
        "max_length": task.config.max_length,
        "state": [*decoder.backbone.rnn.parts],
        "num_layers": decoder.backbone.rnn.num_layers,
        "hidden_size": decoder.backbone.rnn.hidden_size,
        "size": decoder.size,
        "input_feeding": decoder.input_feeding,
    }


def _generate(task: Any) -> dict[str, Any]:
    rnn = task.onward[0].rnn
    start = None
    if rnn.learned_state:
        start = {name: getattr(rnn, f"{name}_0")[:, 0].tolist() for name in rnn.parts}
    return {
        "stream": task.config.stream,
        "state": [*rnn.parts],
        "num_layers": rnn.num_layers,
        "hidden_size": rnn.hidden_size,
        "start": start,
    }


def _forecast(task: Any) -> dict[str, Any]:
    config = task.config
    names = "input", "horizon", "segment", "channels", "normalization"
    return {
        "framing": {name: getattr(config, name) for name in names},
        "residual": config.residual,
        "quantiles": [] if config.head == "point" else [*config.quantiles],
    }


# By the task's name: its parts are read, which only it has.
OPTIONS: dict[str, Callable[[Any], dict[str, Any]]] = {
    "classify": _classify,
    "tag": _tag,
    "translate": _translate,
    "generate": _generate,
    "forecast": _forecast,
}
