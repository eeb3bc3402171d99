"""A zoo of sequence tasks on one LSTM: which of `output`, `h_n`, `c_n` does your task use?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from zoo.errors import InputError
    from zoo.generation.config import GenerationConfig
    from zoo.hub.shipped import list_models
    from zoo.loading import load
    from zoo.nn.backbone import Backbone, Encoded
    from zoo.rnn.lstm import LSTM
    from zoo.shared_backbone import multitask
    from zoo.training.pipeline import train

__all__ = [
    "LSTM",
    "Backbone",
    "Encoded",
    "GenerationConfig",
    "InputError",
    "list_models",
    "load",
    "multitask",
    "train",
]
__version__ = "0.1.0"

_HOMES = {
    "LSTM": "zoo.rnn.lstm",
    "Backbone": "zoo.nn.backbone",
    "Encoded": "zoo.nn.backbone",
    "GenerationConfig": "zoo.generation.config",
    "InputError": "zoo.errors",
    "list_models": "zoo.hub.shipped",
    "load": "zoo.loading",
    "multitask": "zoo.shared_backbone",
    "train": "zoo.training.pipeline",
}


def __getattr__(name: str) -> Any:
    """Import a part when it is first used: `python -m zoo.run --help` needs no torch."""
    if name not in _HOMES:
        raise AttributeError(f"module 'zoo' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)
