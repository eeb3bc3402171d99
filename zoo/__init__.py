"""A zoo of sequence tasks on one LSTM: which of `output`, `h_n`, `c_n` does your task use?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from zoo.errors import InputError
    from zoo.generation.config import Search
    from zoo.hub.shipped import models
    from zoo.loading import load
    from zoo.multitask import share
    from zoo.nn.backbone import Backbone, Encoded
    from zoo.rnn.lstm import LSTM
    from zoo.training.pipeline import trained

__all__ = [
    "LSTM",
    "Backbone",
    "Encoded",
    "InputError",
    "Search",
    "load",
    "models",
    "share",
    "trained",
]
__version__ = "0.1.0"

_HOMES = {
    "LSTM": "zoo.rnn.lstm", "Backbone": "zoo.nn.backbone", "Encoded": "zoo.nn.backbone",
    "InputError": "zoo.errors", "load": "zoo.loading",
    "Search": "zoo.generation.config", "trained": "zoo.training.pipeline", "models": "zoo.hub.shipped",
    "share": "zoo.multitask",
}  # fmt: skip


def __getattr__(name: str) -> Any:
    """Import a part when it is first used: `python -m zoo.run --help` needs no torch."""
    if name not in _HOMES:
        raise AttributeError(f"module 'zoo' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)
