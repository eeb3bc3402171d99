"""A zoo of sequence tasks on one LSTM: which of `output`, `h_n`, `c_n` does your task use?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from zoo.backbone import Backbone, Encoded
    from zoo.errors import InputError
    from zoo.hub import load
    from zoo.hub.shelf import models
    from zoo.job import trained
    from zoo.lstm import LSTM
    from zoo.search import Search
    from zoo.shared import share

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
    "LSTM": "zoo.lstm", "Backbone": "zoo.backbone", "Encoded": "zoo.backbone",
    "InputError": "zoo.errors", "load": "zoo.hub",
    "Search": "zoo.search", "trained": "zoo.job", "models": "zoo.hub.shelf",
    "share": "zoo.shared",
}  # fmt: skip


def __getattr__(name: str) -> Any:
    """Import a part when it is first used: `python -m zoo.run --help` needs no torch."""
    if name not in _HOMES:
        raise AttributeError(f"module 'zoo' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)
